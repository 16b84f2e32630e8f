"""The regular look at what a switch holds (vetting D.7; vector 314), also while that changes."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.emulation import wire as of
from tests.emulation.answers import flow_entry
from tests.emulation.frames import E
from tests.emulation.table import Entry
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, TINA, UMA, piece, snapshot_of, with_segment
from vmoc.events import Kind
from vmoc.model import Attachment, FailMode, Policy, Timers
from vmoc.mux.tenancy import CLOSING

BOTH = pytest.mark.parametrize("version", [V10, V13])
EVERY = 30.0
PATIENCE = 30.0
"""After which an audit that came to no end is given up: three times the request timeout."""
X, Y, Z = "02:00:00:00:00:11", "02:00:00:00:00:12", "02:00:00:00:00:13"
FLOW, GROUP_DESC, METER_CONFIG = 1, 7, 10


def quick(version: int, *slices: object, **more: object) -> tuple[Playbook, SwitchEnd]:
    return scene(version, *slices, timers=Timers(audit=EVERY), **more)


def dumps(switch: SwitchEnd, kind: int = FLOW) -> int:
    return sum(struct.unpack_from("!H", m.raw, 8)[0] == kind for m in switch.log("stats_request"))


def next_audit(book: Playbook, switch: SwitchEnd) -> None:
    """Let time pass until the next audit is over, or its answer is held back."""
    before = dumps(switch)
    for _ in range(1000):
        if dumps(switch) > before:
            return
        book.advance(0.1)
    raise AssertionError("no audit")


def findings(book: Playbook) -> list[str]:
    return [event.message for event in book.told(Kind.FOREIGN_FLOW) if event.reason == "audit"]


def planted(switch: SwitchEnd, priority: int = 7, cookie: int = 0, actions: bytes = b"", **match: of.Value) -> Entry:
    """An entry nobody here installed."""
    raw = of.match(switch.version, **match)
    found = Entry(0, of.parse_match(switch.version, raw)[0], raw, priority, cookie, actions)
    switch.model.table.entries.append(found)
    return found


def vanish(switch: SwitchEnd, *entries: Entry) -> None:
    switch.model.table.entries = [e for e in switch.model.table.entries if e not in entries]


def flow(switch: SwitchEnd, dst: str) -> Entry:
    (found,) = [e for e in switch.flows() if e.match.get("eth_dst", (0, 0))[0] == int(dst.replace(":", ""), 16)]
    return found


def normal(version: int) -> bytes:
    out = of.output(version, "normal")
    return out if version == V10 else of.apply_actions(out)


def tag_of(book: Playbook, switch: SwitchEnd, name: str = "alice", vlan: int = 100) -> int:
    """The tag of a slice's cookies, as one of its flows shows it."""
    book.at(name).add(2, eth_dst="02:00:00:00:00:77")
    return flow(switch, "02:00:00:00:00:77").cookie >> 48


def release(switch: SwitchEnd) -> None:
    """Now the switch answers what it was asked before."""
    switch.release("stats_reply")


# -- what is right stays ---------------------------------------------------------------------------------


@BOTH
def test_nothing_amiss_nothing_done(version: int):
    book, switch = quick(version)
    for name in ("alice", "bob"):
        for dst in (X, Y):
            book.at(name).add(2, eth_dst=dst)
    before = list(switch.model.table.entries)
    switch.take("flow_mod")
    for _ in range(3):
        next_audit(book, switch)
    book.advance(1)
    assert not switch.log("flow_mod")
    assert switch.model.table.entries == before
    assert not findings(book)


@BOTH
def test_the_interval_is_kept(version: int):
    book, switch = quick(version)
    book.advance(10 * EVERY)
    assert dumps(switch) == 10


@BOTH
def test_zero_is_never(version: int):
    book, switch = scene(version, timers=Timers(audit=0))
    book.advance(600)
    assert not dumps(switch)


@BOTH
def test_controllers_do_not_notice(version: int):
    slow = piece("alice", 100, (1, 2, 3), limits=replace(ALICE.limits, stats_rate=1))
    book, switch = quick(version, slow)
    next_audit(book, switch)
    assert {m.name for m in book.at("alice").inbox} <= {"echo_request"}
    assert book.at("alice").flow_stats() == []  # and that took the only one the slice had


@BOTH
def test_what_the_proxy_put_there_stays(version: int):
    """Standing in for a controller, quietening a port, and what an application has for untagged frames."""
    book, switch = quick(version, with_segment(ALICE, fail_mode=FailMode.STANDALONE), BOB, tap=True)
    mine = of.flow_mod(version, "add", of.match(version, vlan="none"), of.output(version, 1), priority=5)
    book.mux.operator_send((DPID, 0), mine, book.now)
    book.accept = False
    book.at("alice").close()
    book.advance(6)
    for _ in range(12):
        switch.packet_in(1, E(999))
    kept = [e for e in switch.flows(guards=True) if e.priority != 65535]
    assert sorted((e.priority, e.vlan) for e in kept if e.vlan != "none") == [(0, 100), (0, 999)]
    assert len(kept) == 3
    switch.take("flow_mod")
    next_audit(book, switch)
    assert not switch.log("flow_mod")
    assert not findings(book)


# -- what has gone ---------------------------------------------------------------------------------------


@BOTH
def test_v314_a_flow_that_vanished_gives_its_quota_back(version: int):
    book, switch = quick(version)
    a = book.at("alice")
    for number in range(10):
        a.add(2, eth_dst=f"02:00:00:00:01:{number:02x}")
    xid = a.add(2, eth_dst=X)
    a.error(xid, (3, 0) if version == V10 else (5, 1))
    vanish(switch, flow(switch, "02:00:00:00:01:03"))
    book.clear()
    next_audit(book, switch)
    assert {name for names in book.heard().values() for name in names} <= {"echo_request"}
    assert len(a.flow_stats()) == 9
    assert not switch.log("flow_mod")
    assert findings(book) == ["audit: 1 flow(s) had vanished"]
    a.add(2, eth_dst=X)
    assert not a.errors()
    assert flow(switch, X)
    next_audit(book, switch)
    assert len(findings(book)) == 1


@BOTH
def test_a_guard_that_vanished_silently_is_put_back(version: int):
    book, switch = quick(version)
    before = switch.guards(100)
    vanish(switch, *[e for e in switch.flows(100, guards=True) if e.match["in_port"][0] == 5])
    next_audit(book, switch)
    assert switch.guards(100) == before
    assert findings(book) == ["audit: 1 guard(s) put back"]


# -- what should not be there ----------------------------------------------------------------------------


@BOTH
def test_strays_are_deleted_and_nothing_else(version: int):
    book, switch = quick(version)
    tag = tag_of(book, switch)
    book.at("bob").add(3, eth_dst=X)
    good = list(switch.model.table.entries)
    copy = flow(switch, "02:00:00:00:00:77").cookie
    planted(switch, 7, tag << 48 | 0x999, vlan=100)
    planted(switch, 8, actions=normal(version))
    planted(switch, 9, vlan=999)
    planted(switch, 10, 0x1234, vlan=200, eth_dst=X)
    planted(switch, 11, copy, normal(version), vlan=200)
    planted(switch, 12, copy, normal(version))
    planted(switch, 13, 0xFFFE << 48, normal(version), vlan=100, in_port=2)
    planted(switch, 14, 0xFFFE << 48, normal(version))
    planted(switch, 65535, 0xFFFE << 48, vlan=999, in_port=2)
    planted(switch, 15, 0xFFFE << 48 | 3, vlan=100)
    next_audit(book, switch)
    assert switch.model.table.entries == good
    assert findings(book) == ["audit: 10 stray(s) deleted"]


def test_a_stray_is_deleted_by_its_cookie():
    book, switch = quick(V13)
    planted(switch, 7, 0x1234, vlan=100, eth_dst=X)
    switch.take("flow_mod")
    next_audit(book, switch)
    (mod,) = switch.flow_mods()
    assert (mod.command, mod.cookie, mod.cookie_mask, mod.priority, mod.vlan) == (
        "delete_strict",
        0x1234,
        (1 << 64) - 1,
        7,
        100,
    )


@BOTH
def test_nobodys_flows_may_be_kept(version: int):
    book, switch = quick(version, policy=Policy(foreign_flows="keep"))
    tag = tag_of(book, switch)
    kept = [planted(switch, 8, actions=normal(version)), planted(switch, 9, vlan=999)]
    planted(switch, 7, vlan=100)
    planted(switch, 7, tag << 48 | 0x999, vlan=999)
    planted(switch, 7, 0xFFFE << 48, vlan=998)
    next_audit(book, switch)
    assert [e for e in switch.flows(guards=True) if e.priority < 10] == kept
    assert findings(book) == ["audit: 3 stray(s) deleted"]


@BOTH
def test_on_a_native_switch_everything_is_the_slices(version: int):
    book, switch = quick(version, ALICE, native=100)
    book.at("alice").add(2, eth_dst=X)
    mine = flow(switch, X)
    planted(switch, 8, actions=normal(version))
    planted(switch, 9, 0xFFFE << 48 | 1, vlan="none")
    next_audit(book, switch)
    assert switch.flows() == [mine]
    assert findings(book) == ["audit: 2 stray(s) deleted"]


@BOTH
def test_a_flow_that_was_overwritten_is_gone_and_so_is_what_overwrote_it(version: int):
    book, switch = quick(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    mine = flow(switch, X)
    mine.cookie, mine.actions = 0x1234, normal(version)
    next_audit(book, switch)
    assert switch.flows() == []
    assert a.flow_stats() == []
    assert findings(book) == ["audit: 1 flow(s) had vanished, 1 stray(s) deleted"]


@BOTH
def test_a_guard_that_was_overwritten_is_put_back(version: int):
    book, switch = quick(version)
    (guard,) = [e for e in switch.flows(100, guards=True) if e.match["in_port"][0] == 5]
    guard.cookie, guard.actions = 0x1234, normal(version)
    next_audit(book, switch)
    assert 5 in switch.guards(100)
    assert not switch.flows()


@BOTH
def test_what_overwrote_the_entry_standing_in_is_left_to_the_next_controller(version: int):
    book, switch = quick(version, with_segment(ALICE, fail_mode=FailMode.STANDALONE))
    book.accept = False
    book.at("alice").close()
    book.advance(6)
    (standing,) = [e for e in switch.flows(100, guards=True) if e.priority == 0]
    standing.cookie = 0x1234
    next_audit(book, switch)
    assert standing in switch.flows()


# -- meanwhile -------------------------------------------------------------------------------------------


def midway(version: int, *slices: object, **more: object) -> tuple[Playbook, SwitchEnd]:
    """Alice has a flow for X and one for Y; the switch has been asked, and its answer is on its way."""
    book, switch = quick(version, *slices, **more)
    for dst in (X, Y):
        book.at("alice").add(2, eth_dst=dst)
    book.advance(2)
    switch.hold("stats_reply")
    next_audit(book, switch)
    switch.take("flow_mod")
    return book, switch


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


# -- a switch that answers badly, or not at all ----------------------------------------------------------


@BOTH
def test_in_several_parts(version: int):
    book, switch = quick(version, stats_size=100)
    for dst in (X, Y, Z):
        book.at("alice").add(2, eth_dst=dst)
    vanish(switch, flow(switch, Y))
    planted(switch, 7, vlan=999)
    next_audit(book, switch)
    assert len(book.at("alice").flow_stats()) == 2
    assert findings(book) == ["audit: 1 flow(s) had vanished, 1 stray(s) deleted"]


@BOTH
@pytest.mark.parametrize("how", ["refused", "silent", "garbage", "half garbage"])
def test_a_switch_that_does_not_tell_is_asked_again(version: int, how: str):
    book, switch = quick(version)
    book.at("alice").add(2, eth_dst=X)
    vanish(switch, flow(switch, X))
    serve = switch.model._on_stats_request

    def answer(message: object) -> None:
        head = struct.pack("!HH" if version == V10 else "!HH4x", FLOW, 0)
        more = struct.pack("!HH" if version == V10 else "!HH4x", FLOW, 1)
        xid = message.xid  # type: ignore[attr-defined]
        if how == "refused":
            switch.model.error(message, 1, 6, 64)  # type: ignore[arg-type]
        elif how == "garbage":
            switch.model._send("stats_reply", head + b"\0\1\2", xid)
        elif how == "half garbage":
            switch.model._send("stats_reply", more + b"\0\1\2", xid)
            switch.model._send("stats_reply", head, xid)

    switch.model._on_stats_request = answer  # type: ignore[method-assign]
    next_audit(book, switch)
    switch.model._on_stats_request = serve  # type: ignore[method-assign]
    book.advance(1)
    switch.take("stats_request")
    assert not findings(book)
    assert switch.open
    next_audit(book, switch)
    assert findings(book) == ["audit: 1 flow(s) had vanished"]


@BOTH
def test_a_late_answer_is_no_answer(version: int):
    book, switch = midway(version)
    vanish(switch, flow(switch, X))
    book.advance(11)
    release(switch)
    assert not findings(book)
    next_audit(book, switch)
    assert findings(book) == ["audit: 1 flow(s) had vanished"]


@BOTH
def test_a_part_that_never_ends_is_given_up(version: int):
    """The rest of a bad answer is not waited for for ever."""
    book, switch = quick(version)
    serve = switch.model._on_stats_request
    more = struct.pack("!HH" if version == V10 else "!HH4x", FLOW, 1)
    switch.model._on_stats_request = (  # type: ignore[method-assign]
        lambda message: switch.model._send("stats_reply", more + b"\0\1\2", message.xid)
    )
    next_audit(book, switch)
    switch.model._on_stats_request = serve  # type: ignore[method-assign]
    planted(switch, 7, vlan=999)
    book.advance(EVERY + PATIENCE + 1)
    assert findings(book) == ["audit: 1 stray(s) deleted"]


@BOTH
def test_a_connection_lost_meanwhile(version: int):
    book, switch = midway(version)
    model = switch.model
    switch.close()
    model.hold, model.held = set(), []
    book.advance(2 * EVERY)
    again = book.switch(model=model)
    book.advance(1)
    book.clear()
    book.advance(5 * EVERY + 1)
    assert dumps(again) == 5
    assert len(book.at("alice").flow_stats()) == 2
    assert not findings(book)


@BOTH
def test_no_audit_of_a_switch_that_left(version: int):
    book, switch = quick(version)
    switch.close()
    book.advance(3 * EVERY)
    assert not book.told(Kind.FOREIGN_FLOW)


def test_a_switch_that_writes_matches_its_own_way():
    """It is the cookie that tells whose a flow is, as long as the VLAN is the slice's."""
    book, switch = quick(V13)
    book.at("alice").add(2, eth_dst=X)
    mine = flow(switch, X)
    raw = of.match(V13, vlan=100, eth_dst=X, eth_type=0x0800)
    mine.match, mine.match_raw = of.parse_match(V13, raw)[0], raw
    next_audit(book, switch)
    assert switch.flows() == [mine]
    assert not findings(book)
    assert flow_entry(V13, mine)


# -- groups and meters -----------------------------------------------------------------------------------

GROUP_ALL, METER_ALL = 0xFFFFFFFC, 0xFFFFFFFF
ADD, MODIFY, DELETE = range(3)


def group(book: Playbook, number: int, command: int = ADD, port: int = 2, name: str = "alice") -> int:
    out = of.output(V13, port)
    buckets = struct.pack("!HHII4x", 16 + len(out), 0, 0xFFFFFFFF, 0xFFFFFFFF) + out if command != DELETE else b""
    return book.at(name).request("group_mod", struct.pack("!HBxI", command, 0, number) + buckets)


def meter(book: Playbook, number: int, command: int = ADD, name: str = "alice") -> int:
    bands = struct.pack("!HHII4x", 1, 16, 1000, 0) if command != DELETE else b""
    return book.at(name).request("meter_mod", struct.pack("!HHI", command, 1, number) + bands)


def held(book: Playbook, name: str = "alice") -> tuple[list[int], list[int]]:
    """The groups and meters a controller is told it has."""
    end = book.at(name)
    groups = [struct.unpack_from("!I", body, 4)[0] for _, body in end.stats_replies(end.stats("group_desc")) if body]
    meters = [
        struct.unpack_from("!I", body, 4)[0]
        for _, body in end.stats_replies(end.stats("meter_config", struct.pack("!I4x", METER_ALL)))
        if body
    ]
    return groups, meters


def test_groups_and_meters_are_asked_for_only_where_there_are_some():
    book, switch = quick(V13)
    next_audit(book, switch)
    assert not dumps(switch, GROUP_DESC)
    group(book, 1)
    next_audit(book, switch)
    assert (dumps(switch, GROUP_DESC), dumps(switch, METER_CONFIG)) == (1, 1)
    assert not findings(book)


def test_groups_and_meters_that_vanished_give_their_quota_back():
    book, switch = quick(V13)
    a = book.at("alice")
    for number in range(1, 5):
        group(book, number)
    for number in (1, 2):
        meter(book, number)
    group(book, 1, name="bob")
    assert not a.errors()
    a.error(group(book, 5), (6, 3))
    switch.model.groups.pop(min(switch.model.groups))
    switch.model.meters.pop(min(switch.model.meters))
    next_audit(book, switch)
    assert findings(book) == ["audit: 2 group(s) or meter(s) had vanished"]
    group(book, 5)
    meter(book, 3)
    assert not a.errors()
    assert len(switch.model.groups) == 5
    assert len(switch.model.meters) == 2
    a.error(group(book, 1, MODIFY), (6, 8))
    next_audit(book, switch)
    assert len(findings(book)) == 1


def test_groups_and_meters_of_nobody_are_deleted():
    book, switch = quick(V13)
    group(book, 1)
    meter(book, 1)
    good = dict(switch.model.groups), dict(switch.model.meters)
    (mine,) = switch.model.groups
    for number in (mine + 100, 7, 0x7FE << 20 | 3):
        switch.model.groups[number] = (0, b"")
    switch.model.meters |= {77: (1, b""), 0xFFFFFFFE: (1, b"")}
    next_audit(book, switch)
    assert (switch.model.groups, {n: m for n, m in switch.model.meters.items() if n < 0xFFFF0000}) == good
    assert 0xFFFFFFFE in switch.model.meters
    assert findings(book) == ["audit: 4 stray group(s) or meter(s) deleted"]


def test_nobodys_groups_and_meters_may_be_kept():
    book, switch = quick(V13, policy=Policy(foreign_flows="keep"))
    group(book, 1)
    (mine,) = switch.model.groups
    switch.model.groups |= {mine + 100: (0, b""), 7: (0, b"")}
    switch.model.meters[77] = (1, b"")
    next_audit(book, switch)
    assert set(switch.model.groups) == {mine, 7}
    assert set(switch.model.meters) == {77}


def test_groups_and_meters_that_change_meanwhile():
    book, switch = quick(V13)
    for number in (1, 2, 3):
        group(book, number)
    meter(book, 1)
    book.advance(2)
    a = book.at("alice")
    switch.hold("stats_reply")
    next_audit(book, switch)
    group(book, 4)
    switch.release("stats_reply")
    switch.hold("stats_reply")
    next_audit(book, switch)
    switch.does(lambda model: [model.peer.send(raw) for raw in model.held] and model.held.clear())
    # The flows are judged; now the switch has said which groups it has, and that is on its way.
    assert dumps(switch, GROUP_DESC) == 2
    group(book, 1, DELETE)
    group(book, 2, MODIFY, port=3)
    group(book, 5)
    switch.does(lambda model: [model.peer.send(raw) for raw in model.held] and model.held.clear())
    meter(book, 1, DELETE)
    meter(book, 2)
    a.request("barrier_request")
    switch.release("stats_reply")
    assert not a.errors()
    assert not findings(book)
    assert len(switch.model.groups) == 4
    assert len(switch.model.meters) == 1
    next_audit(book, switch)
    assert not findings(book)


def test_a_slice_with_groups_and_meters_removed_meanwhile():
    book, switch = quick(V13)
    for name in ("alice", "bob"):
        group(book, 1, name=name)
        meter(book, 1, name=name)
    switch.hold("stats_reply")
    next_audit(book, switch)
    switch.does(lambda model: [model.peer.send(raw) for raw in model.held] and model.held.clear())
    book.adopt(BOB, TINA, UMA)
    switch.release("stats_reply")
    book.advance(2)
    assert not findings(book)
    assert len(switch.model.groups) == 1
    assert len(switch.model.meters) == 1


@pytest.mark.parametrize("silent", [GROUP_DESC, METER_CONFIG])
def test_a_switch_that_does_not_tell_its_groups_or_meters(silent: int):
    book, switch = quick(V13)
    group(book, 1)
    meter(book, 1)
    switch.model.groups.clear()
    switch.model.meters.clear()
    serve = switch.model._on_stats_request

    def answer(message: object) -> None:
        if struct.unpack_from("!H", message.raw, 8)[0] == silent:  # type: ignore[attr-defined]
            switch.model.error(message, 1, 2, 64)  # type: ignore[arg-type]
        else:
            serve(message)  # type: ignore[arg-type]

    switch.model._on_stats_request = answer  # type: ignore[method-assign]
    next_audit(book, switch)
    assert findings(book) == ["audit: 1 group(s) or meter(s) had vanished"]
    switch.model._on_stats_request = serve  # type: ignore[method-assign]
    next_audit(book, switch)
    assert len(findings(book)) == 2
    assert held(book) == ([], [])


def test_garbage_instead_of_groups_is_no_end_of_audits():
    book, switch = quick(V13)
    group(book, 1)
    serve = switch.model._on_stats_request

    def answer(message: object) -> None:
        if struct.unpack_from("!H", message.raw, 8)[0] == GROUP_DESC:  # type: ignore[attr-defined]
            switch.model._send("stats_reply", struct.pack("!HH4x", GROUP_DESC, 0) + b"\0\1\2", message.xid)  # type: ignore[attr-defined]
        else:
            serve(message)  # type: ignore[arg-type]

    switch.model._on_stats_request = answer  # type: ignore[method-assign]
    next_audit(book, switch)
    switch.model._on_stats_request = serve  # type: ignore[method-assign]
    switch.model.groups.clear()
    book.advance(EVERY + PATIENCE + 1)
    assert findings(book) == ["audit: 1 group(s) or meter(s) had vanished"]
