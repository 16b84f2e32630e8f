"""The regular look at what a switch holds, while that changes (vetting D.7)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.auditing import (
    BOTH,
    EVERY,
    X,
    Y,
    Z,
    findings,
    flow,
    midway,
    next_audit,
    normal,
    planted,
    quick,
    release,
    vanish,
)
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, TINA, UMA, piece, snapshot_of, with_segment
from vmoc.events import Kind
from vmoc.model import Attachment, FailMode
from vmoc.mux.tenancy import CLOSING


@BOTH
def test_a_flow_added_meanwhile(version: int):
    book, switch = midway(version)
    a = book.at("alice")
    a.add(2, eth_dst=Z)
    release(switch)
    assert len(a.flow_stats()) == 3
    assert not findings(book)


@BOTH
def test_a_flow_replaced_meanwhile(version: int):
    book, switch = midway(version)
    a = book.at("alice")
    a.add(3, eth_dst=X)
    a.request("barrier_request")
    release(switch)
    assert flow(switch, X).outputs(version) == [3]
    assert len(a.flow_stats()) == 2
    assert [m.command for m in switch.flow_mods()] == ["add"]
    assert not findings(book)


@BOTH
@pytest.mark.parametrize("told", [False, True])
def test_a_flow_deleted_meanwhile(version: int, told: bool):
    """Also when the switch has confirmed that before it tells what it held."""
    book, switch = midway(version)
    a = book.at("alice")
    a.add(None, "delete_strict", eth_dst=X)
    if told:
        a.request("barrier_request")
    release(switch)
    assert [e.match["eth_dst"][0] & 0xFF for e in switch.flows()] == [0x12]
    assert len(a.flow_stats()) == 1
    assert flow(switch, Y)


@BOTH
def test_a_flow_deleted_and_added_again_meanwhile(version: int):
    book, switch = midway(version)
    a = book.at("alice")
    a.add(None, "delete_strict", eth_dst=X)
    a.request("barrier_request")
    a.add(3, eth_dst=X)
    release(switch)
    assert flow(switch, X).outputs(version) == [3]
    assert not findings(book)
    next_audit(book, switch)
    assert not findings(book)


@BOTH
def test_a_stray_that_a_flow_has_replaced_meanwhile(version: int):
    book, switch = quick(version)
    planted(switch, 100, 0x1234, normal(version), vlan=100, eth_dst=X)
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.at("alice").add(2, eth_dst=X)
    release(switch)
    assert flow(switch, X).outputs(version) == [2]
    assert not findings(book)


@BOTH
def test_what_was_written_before_is_done_before(version: int):
    """Also on a switch that keeps its order only where a barrier says so."""
    book, switch = quick(version)
    book.at("alice").add(2, eth_dst=X)
    next_audit(book, switch)
    names = [m.name for m in switch.inbox]
    assert names[names.index("stats_request") - 1] == "barrier_request"


@BOTH
def test_a_flow_modified_meanwhile(version: int):
    book, switch = midway(version)
    book.at("alice").add(3, "modify_strict", eth_dst=X)
    release(switch)
    assert flow(switch, X).outputs(version) == [3]
    assert not findings(book)


@BOTH
def test_a_flow_that_expired_meanwhile(version: int):
    book, switch = midway(version)
    gone = flow(switch, X)
    switch.does(lambda model: model.expire(gone))
    release(switch)
    assert len(book.at("alice").flow_stats()) == 1
    assert not findings(book)


@BOTH
def test_a_flow_that_the_switch_refuses_meanwhile(version: int):
    """Written before the dump, refused before it is answered: what it would have replaced is there, and stays known."""
    book, switch = quick(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    book.advance(2)
    before = flow(switch, X)
    switch.hold("stats_reply", "barrier_reply")
    switch.answering = False
    a.add(3, eth_dst=X)
    switch.answering = True
    next_audit(book, switch)
    switch.error(switch.log("flow_mod")[-1], 3, 0)
    switch.release()
    assert switch.flows() == [before]
    assert len(a.flow_stats()) == 1
    assert not findings(book)


@BOTH
def test_what_vanished_is_found_although_a_replacement_was_refused(version: int):
    book, switch = midway(version)
    a = book.at("alice")
    switch.answering = False
    a.add(3, eth_dst=X)
    switch.answering = True
    vanish(switch, flow(switch, X))
    switch.error(switch.log("flow_mod")[-1], 3, 0)
    release(switch)
    next_audit(book, switch)
    assert len(a.flow_stats()) == 1
    assert findings(book) == ["audit: 1 flow(s) had vanished"]


@BOTH
def test_a_slice_removed_meanwhile(version: int):
    book, switch = midway(version)
    book.at("bob").add(3, eth_dst=Z)
    release(switch)
    next_audit(book, switch)
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.clear()
    book.adopt(BOB, TINA, UMA)
    release(switch)
    book.advance(2)
    assert not findings(book)
    assert switch.flows(100, guards=True) == []
    assert switch.guards(200)
    assert len(book.at("bob").flow_stats()) == 1


@BOTH
def test_a_slice_about_to_be_deleted(version: int):
    """Its controllers are given a moment to notice; its flows are not the audit's business any more."""
    book, switch = quick(version)
    book.at("alice").add(2, eth_dst=X)
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.mux.adopt(snapshot_of((BOB, TINA, UMA)), book.now)
    book.settle()
    release(switch)
    assert not findings(book)
    book.advance(CLOSING + 2)
    assert switch.flows(100, guards=True) == []
    assert not findings(book)


@BOTH
def test_a_slice_that_comes_meanwhile_proves_its_own_vlan(version: int):
    book, switch = quick(version)
    stray = planted(switch, 5, vlan=600)
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.adopt(*FOUR, piece("erin", 600, (1,)))
    assert stray not in switch.flows()
    release(switch)
    assert book.at("erin")
    assert not findings(book)


@BOTH
def test_a_slice_whose_vlan_cannot_be_proven_is_left_alone(version: int):
    book, switch = quick(version)
    stray = planted(switch, 5, vlan=600)
    drop = switch.model.table._drop
    switch.model.table._drop = lambda gone: drop([e for e in gone if e is not stray])  # type: ignore[method-assign]
    book.adopt(*FOUR, piece("erin", 600, (1,)))
    assert book.told(Kind.TAINTED)
    book.advance(EVERY - 5)
    switch.take("flow_mod")
    next_audit(book, switch)
    assert not [m for m in switch.flow_mods() if m.command == "delete_strict"]
    assert not findings(book)


@BOTH
def test_ports_changed_meanwhile(version: int):
    book, switch = midway(version)
    book.adopt(
        with_segment(ALICE, attachments=(Attachment(DPID, frozenset((1, 2, 4))),)),
        BOB,
        TINA,
        UMA,
    )
    release(switch)
    book.advance(1)
    local = of.port_number(version, "local")
    assert switch.guards(100) == sorted((3, 5, 6, local))
    assert not findings(book)
    next_audit(book, switch)
    assert switch.guards(100) == sorted((3, 5, 6, local))
    assert not findings(book)


@BOTH
def test_a_guard_that_is_wanted_only_since_then(version: int):
    """A stray where a guard has come to be: the guard has replaced it already."""
    book, switch = quick(version)
    planted(switch, 65535, 0x1234, vlan=100, in_port=3)
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.adopt(with_segment(ALICE, attachments=(Attachment(DPID, frozenset((1, 2))),)), BOB, TINA, UMA)
    release(switch)
    assert 3 in switch.guards(100)
    assert not findings(book)


@BOTH
def test_a_guard_that_vanished_and_is_no_longer_wanted(version: int):
    book, switch = quick(version)
    vanish(switch, *[e for e in switch.flows(100, guards=True) if e.match["in_port"][0] == 4])
    switch.hold("stats_reply")
    next_audit(book, switch)
    book.adopt(with_segment(ALICE, attachments=(Attachment(DPID, frozenset((1, 2, 3, 4))),)), BOB, TINA, UMA)
    release(switch)
    assert 4 not in switch.guards(100)
    assert not findings(book)


@BOTH
def test_a_controller_that_comes_back_meanwhile(version: int):
    """What stood in for it is in the dump, and gone by the time that is read."""
    book, switch = quick(version, with_segment(ALICE, fail_mode=FailMode.STANDALONE), BOB)
    book.accept = None
    book.at("alice").close()
    book.advance(6)
    switch.hold("stats_reply")
    next_audit(book, switch)
    (dial,) = book.dials
    book.answer(dial)
    book.settle()
    assert book.at("alice")
    assert not [e for e in switch.flows(100, guards=True) if e.priority == 0]
    release(switch)
    assert not findings(book)
