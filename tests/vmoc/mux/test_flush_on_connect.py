"""``policy: flush_on_connect``: a slice begins with an empty virtual switch, as in the original VMOC (vetting D.5)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, UMA, piece, with_segment
from vmoc.model import FailMode, Policy

BOTH = pytest.mark.parametrize("version", [V10, V13])
X, Y = "02:00:00:00:00:11", "02:00:00:00:00:12"


def flushing(version: int, *slices: object, flush: bool = True, **more: object) -> tuple[Playbook, SwitchEnd]:
    return scene(version, *slices, policy=Policy(flush_on_connect=flush), **more)


def dst(switch: SwitchEnd, vlan: int) -> list[int]:
    return sorted(e.match["eth_dst"][0] & 0xFF for e in switch.flows(vlan))


def leave(book: Playbook, name: str) -> None:
    """A controller goes and does not come back by itself."""
    book.accept = None
    book.at(name).close()
    book.settle()


def come(book: Playbook, name: str) -> None:
    """A controller that was dialled meanwhile answers."""
    book.advance(2)
    (dial,) = [d for d in book.dials if d.endpoint.host == name]
    book.answer(dial)
    book.settle()


@BOTH
def test_by_default_flows_stay(version: int):
    book, switch = flushing(version, flush=False)
    book.at("alice").add(2, eth_dst=X)
    leave(book, "alice")
    come(book, "alice")
    assert dst(switch, 100) == [0x11]
    assert len(book.at("alice").flow_stats()) == 1


@BOTH
def test_flows_go_when_the_controller_comes_and_not_before(version: int):
    book, switch = flushing(version)
    for name in ("alice", "bob"):
        book.at(name).add(2, eth_dst=X)
    guards = switch.guards(100)
    leave(book, "alice")
    assert dst(switch, 100) == [0x11]
    switch.inbox.clear()
    come(book, "alice")
    assert dst(switch, 100) == []
    assert dst(switch, 200) == [0x11]
    assert switch.guards(100) == guards
    deletes = [m for m in switch.flow_mods() if m.command == "delete"]
    assert [m.vlan for m in deletes] == [100]
    assert book.at("alice").flow_stats() == []


@BOTH
def test_what_the_controller_sends_at_once_stays(version: int):
    book, switch = flushing(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    leave(book, "alice")
    come(book, "alice")
    a = book.at("alice")
    a.add(2, eth_dst=X)
    a.add(2, eth_dst=Y)
    book.advance(3)
    assert dst(switch, 100) == [0x11, 0x12]
    assert len(a.flow_stats()) == 2


@BOTH
def test_the_quota_is_free_again_at_once(version: int):
    book, switch = flushing(version)
    a = book.at("alice")
    for number in range(10):
        a.add(2, eth_dst=number)
    leave(book, "alice")
    switch.hold("barrier_reply")
    come(book, "alice")
    a = book.at("alice")
    for number in range(10):
        a.add(3, eth_dst=number)
    assert not a.errors()
    switch.release()
    book.advance(2)
    assert [e.outputs(version) for e in switch.flows(100)] == [[3]] * 10


@BOTH
def test_only_the_first_of_several_controllers(version: int):
    both = piece("alice", 100, (1, 2, 3), controllers=("one", "two"))
    book, switch = flushing(version, both, BOB)
    book.at("one").add(2, eth_dst=X)
    leave(book, "two")
    come(book, "two")
    assert dst(switch, 100) == [0x11]
    leave(book, "one")
    leave(book, "two")
    assert dst(switch, 100) == [0x11]
    come(book, "two")
    assert dst(switch, 100) == []
    book.at("two").add(2, eth_dst=Y)
    come(book, "one")
    assert dst(switch, 100) == [0x12]


@BOTH
def test_one_without_a_hello_changes_nothing(version: int):
    book, switch = flushing(version)
    book.at("alice").add(2, eth_dst=X)
    leave(book, "alice")
    book.greet = False
    come(book, "alice")
    assert dst(switch, 100) == [0x11]


@BOTH
def test_also_what_is_found_after_a_reconnect_of_the_switch(version: int):
    book, switch = flushing(version)
    book.at("alice").add(2, eth_dst=X)
    switch.close()
    again = book.switch(model=switch.model)
    book.advance(3)
    assert dst(again, 100) == []
    assert len(again.guards(100)) == 4
    assert book.at("alice").flow_stats() == []


@BOTH
def test_what_stood_in_for_the_controller_goes_too(version: int):
    book, switch = flushing(version, with_segment(ALICE, fail_mode=FailMode.STANDALONE), BOB, TINA, UMA)
    book.at("alice").add(2, eth_dst=X)
    leave(book, "alice")
    book.advance(6)
    assert sorted(e.priority for e in switch.flows(100, guards=True) if e.priority != 65535) == [0, 100]
    come(book, "alice")
    assert [e for e in switch.flows(100, guards=True) if e.priority != 65535] == []
    assert len(switch.guards(100)) == 4


@BOTH
def test_a_flow_that_wanted_to_be_told_of_is_told_of(version: int):
    """To the controller that is there by the time the switch says so."""
    book, switch = flushing(version)
    book.at("alice").add(2, eth_dst=X, flags=1, cookie=0x55)
    leave(book, "alice")
    come(book, "alice")
    removed = of.parse_flow_removed(book.at("alice").take_one("flow_removed"))
    assert (removed.cookie, removed.reason) == (0x55, 2)
    assert not switch.flows()
