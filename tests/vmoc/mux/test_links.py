"""Links to controllers: dialling, backing off, and no DPID shown twice (vetting A.2, D.1, D.5; vector 5)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, endpoint, piece, with_limits, with_segment
from vmoc.events import Kind
from vmoc.model import DpidScheme, FailMode, Timers
from vmoc.mux.effects import AbandonDial, Dial

BOTH = pytest.mark.parametrize("version", [V10, V13])
LOW = 0x0000_0000_0000_00AA
HIGH = 0xFFFF_0000_0000_00AA
EVERYWHERE = piece("twin", 9, dpid=None, controllers=("shared",))


def states(book: Playbook) -> list[str]:
    return [
        link["state"]
        for switch in book.mux.describe()["switches"]  # type: ignore[attr-defined]
        for datapath in switch["datapaths"]
        for link in datapath["controllers"]
    ]


# -- dialling --------------------------------------------------------------------------------------------


@BOTH
def test_waits_double_with_jitter_and_are_bounded(version: int):
    book = Playbook((ALICE,), accept=False)
    book.switch(version)
    book.advance(300)
    moments = [dial.at for dial in book.attempts]
    waits = [b - a for a, b in pairwise(moments)]
    assert moments[0] == 1000.0
    bounds = [(1, 1.5), (1, 2), (2, 4), (4, 8), (8, 16), (15, 30)]
    for wait, (least, most) in zip(waits, [*bounds, *[bounds[-1]] * len(waits)], strict=False):
        assert least <= wait <= most
    assert len(set(waits)) == len(waits)
    assert len(book.told(Kind.CONTROLLER_FAILED)) == len(moments)
    assert "connection refused" in book.told(Kind.CONTROLLER_FAILED)[0].message


@BOTH
def test_the_waits_are_configurable(version: int):
    book = Playbook((ALICE,), accept=False, timers=Timers(reconnect_first=0.1, reconnect_max=0.2))
    book.switch(version)
    book.advance(10)
    assert 50 <= len(book.attempts) <= 100


@BOTH
def test_a_handshake_starts_the_waits_over(version: int):
    book = Playbook((ALICE,), accept=False)
    book.switch(version)
    book.advance(100)
    book.accept = True
    book.advance(31)
    a = book.at("alice")
    now, before = book.now, len(book.attempts)
    book.accept = False
    a.close()
    book.advance(1.6)
    assert len(book.attempts) == before + 1
    assert 1 <= book.attempts[-1].at - now <= 1.5


@BOTH
def test_a_connection_without_handshake_does_not(version: int):
    book = Playbook((ALICE,), accept=True, greet=False)
    book.switch(version)
    for _ in range(6):
        for end in book.controllers():
            end.close()
        book.advance(31)
    waits = [b.at - a.at for a, b in pairwise(book.attempts)]
    assert waits[-1] > 10


def test_a_hundred_do_not_knock_at_one_moment():
    book = Playbook(tuple(piece(f"s{n}", n, (1,)) for n in range(1, 101)), accept=False)
    book.switch(V10)
    book.advance(1.6)
    later = [dial.at for dial in book.attempts[100:]]
    assert len(later) >= 100
    assert len(set(later)) > 95


@BOTH
def test_what_describe_says_of_a_link(version: int):
    book = Playbook((ALICE,), accept=None)
    switch = book.switch(version)

    def link() -> dict[str, object]:
        return book.mux.describe()["switches"][0]["datapaths"][0]["controllers"][0]  # type: ignore[index, no-any-return]

    assert (link()["state"], link()["since"], link()["last_error"]) == ("dialling", 1000.0, "")
    book.now += 5
    book.answer(book.dials[0], False)
    assert (link()["state"], link()["since"], link()["last_error"]) == ("waiting", 1005.0, "connection refused")
    assert 1006.0 <= link()["next_retry"] <= 1006.5  # type: ignore[operator]
    book.advance(2)
    book.greet = False
    end = book.answer(book.dials[0])
    assert link()["state"] == "handshaking"
    assert end is not None
    end.send(of.hello(version, 0, (4,) if version == V13 else None))
    assert (link()["state"], link()["last_error"], link()["next_retry"]) == ("active", "", None)
    switch.close()
    assert link()["state"] == "idle"


@BOTH
def test_a_dial_on_its_way_is_abandoned(version: int):
    book = Playbook((ALICE, BOB), accept=None)
    book.switch(version)
    book.adopt(BOB)
    assert [dial.endpoint.host for dial in book.dials] == ["bob"]
    assert [type(e) for e in book.effects if isinstance(e, Dial | AbandonDial)] == [Dial, Dial, AbandonDial]


@BOTH
def test_a_link_that_waits_is_dropped_quietly(version: int):
    book = Playbook((ALICE, BOB), accept=False)
    book.switch(version)
    book.adopt(BOB)
    book.advance(40)
    assert [dial.endpoint.host for dial in book.attempts[2:]].count("alice") == 0


# -- collisions ------------------------------------------------------------------------------------------


@BOTH
def test_the_second_to_show_a_dpid_is_held_down(version: int):
    book = Playbook((EVERYWHERE,))
    first, second = book.switch(version, LOW), book.switch(version, HIGH)
    assert len(book.controllers()) == 1
    (event,) = book.told(Kind.DPID_COLLISION)
    assert (event.slice, event.vlan, event.dpid, event.controller) == ("twin", 9, HIGH, "tcp:shared:6653")
    assert states(book) == ["active", "held"]
    assert [d["datapaths"][0]["state"] for d in book.mux.describe()["switches"]] == ["ready", "colliding"]  # type: ignore[attr-defined]
    book.advance(100)
    assert len(book.attempts) == 1
    old = book.controllers()[0]
    first.close()
    assert not old.open
    assert states(book) == ["idle", "active"]
    again = book.switch(model=first.model)
    assert states(book) == ["held", "active"]
    assert again.open and second.open
    assert len(book.told(Kind.DPID_COLLISION)) == 2


@BOTH
def test_one_link_may_be_held_and_another_not(version: int):
    """A real DPID that is what another slice shows: nobody can know before the switches come."""
    real = 9 << 48 | LOW
    other = with_segment(
        piece("other", 10, dpid=real), controllers=(endpoint("shared"), endpoint("own")), dpid=DpidScheme.PHYSICAL
    )
    book = Playbook((EVERYWHERE, other))
    book.switch(version, LOW)
    book.switch(version, real)
    assert states(book) == ["active", "held", "held", "active"]
    datapaths = [d for switch in book.mux.describe()["switches"] for d in switch["datapaths"]]  # type: ignore[attr-defined]
    assert [d["state"] for d in datapaths] == ["ready", "colliding", "ready"]
    book.adopt(other)
    assert states(book) == ["active", "active"]
    assert {end.endpoint.host for end in book.controllers()} == {"shared", "own"}


@BOTH
def test_a_held_one_may_go_first(version: int):
    book = Playbook((EVERYWHERE,))
    first, second = book.switch(version, LOW), book.switch(version, HIGH)
    second.close()
    first.close()
    book.switch(model=first.model)
    assert states(book) == ["active", "idle"]


@BOTH
def test_other_dpids_do_not_collide(version: int):
    book = Playbook((EVERYWHERE, piece("two", 10, dpid=None, controllers=("shared",))))
    book.switch(version, 1)
    book.switch(version, 2)
    assert states(book) == ["active"] * 4


@BOTH
def test_packet_ins_of_a_held_datapath_are_dropped(version: int):
    book = Playbook((EVERYWHERE,))
    book.switch(version, LOW)
    second = book.switch(version, HIGH)
    book.clear()
    second.packet_in(1, E(9))
    assert book.heard() == {}
    assert book.mux.counters.dropped_packet_ins["down"] == 1


def test_scene_uses_every_link_once():
    book, _ = scene(V10)
    assert len(book.attempts) == 4


@BOTH
def test_what_happens_to_a_connection_nobody_wants_any_more_is_no_failure(version: int):
    book, switch = scene(version, ALICE)
    a = book.at("alice")
    link = book.mux._links.get(a.link)
    assert link is not None
    switch.close()
    book.clear()
    before = book.mux.counters.reconnects["north"]
    link.lost("connection reset", book.now)
    book.advance(60)
    assert states(book) == ["idle"]
    assert not book.attempts[1:] and not book.told(Kind.CONTROLLER_LOST)
    assert book.mux.counters.reconnects["north"] == before


# -- another address ----------------------------------------------------------------------------------------


MOVED = with_segment(ALICE, controllers=(endpoint("moved"),))


def hosts(book: Playbook) -> list[str]:
    return sorted(end.endpoint.host for end in book.controllers())


@BOTH
@pytest.mark.parametrize("fail_mode", list(FailMode))
def test_the_new_controller_is_connected_before_the_old_one_goes(version: int, fail_mode: FailMode):
    old = with_segment(ALICE, fail_mode=fail_mode)
    book, switch = scene(version, old, BOB)
    a, bob = book.at("alice"), book.at("bob")
    a.add(2, priority=7)
    kept = [entry.cookie for entry in switch.flows(100)]
    book.greet = False
    book.adopt(with_segment(MOVED, fail_mode=fail_mode), BOB)
    assert hosts(book) == ["alice", "bob", "moved"]
    switch.packet_in(1, E(100))
    assert a.packet_ins(), "it still controls"
    (moved,) = (end for end in book.controllers() if end.endpoint.host == "moved")
    moved.version = version
    switch.take()
    moved.send(of.hello(version, 1, (4,) if version == V13 else None))
    assert hosts(book) == ["bob", "moved"] and not a.open and bob is book.at("bob")
    assert not switch.log("flow_mod"), "nothing is flushed, and nothing stands in"
    assert [entry.cookie for entry in switch.flows(100)] == kept
    switch.packet_in(1, E(100))
    assert moved.packet_ins()


@BOTH
def test_an_old_controller_does_not_outlive_its_address_for_long(version: int):
    book, switch = scene(version, ALICE, BOB)
    book.accept = False
    book.adopt(MOVED, BOB)
    book.advance(9.9)
    assert hosts(book) == ["alice", "bob"]
    book.adopt(with_limits(MOVED, max_flows=9), BOB)
    assert hosts(book) == ["alice", "bob"], "another change makes no difference"
    book.advance(0.2)
    assert hosts(book) == ["bob"]
    book.accept = True
    book.advance(10)
    assert hosts(book) == ["bob", "moved"]
    switch.packet_in(1, E(100))
    assert book.at("moved").packet_ins()


@BOTH
def test_an_old_controller_that_goes_is_not_called_again(version: int):
    book, _ = scene(version, ALICE, BOB)
    book.accept = False
    book.adopt(MOVED, BOB)
    book.at("alice").close()
    book.accept = True
    book.advance(9)
    assert hosts(book) == ["bob", "moved"]
    assert [dial.endpoint.host for dial in book.attempts].count("alice") == 1


@BOTH
def test_back_to_the_old_address_while_it_is_still_connected(version: int):
    book, _ = scene(version, ALICE, BOB)
    a = book.at("alice")
    book.accept = False
    book.adopt(MOVED, BOB)
    book.adopt(ALICE, BOB)
    book.advance(60)
    assert book.at("alice") is a and states(book) == ["active", "active"]


@BOTH
def test_a_controller_that_nobody_replaces_goes_at_once(version: int):
    two = with_segment(ALICE, controllers=(endpoint("alice"), endpoint("alice2")))
    book, _ = scene(version, two, BOB)
    book.adopt(ALICE, BOB)
    assert hosts(book) == ["alice", "bob"]
    book.adopt(with_segment(ALICE, controllers=()), BOB)
    assert hosts(book) == ["bob"]


@BOTH
def test_an_old_controller_does_not_come_back_with_its_switch(version: int):
    book, switch = scene(version, ALICE, BOB)
    book.accept = False
    book.adopt(MOVED, BOB)
    switch.close()
    book.accept = True
    book.switch(version)
    assert hosts(book) == ["bob", "moved"]
