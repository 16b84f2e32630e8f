"""The regular look at what a switch holds (vetting D.7; vector 314)."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.emulation import wire as of
from tests.emulation.answers import flow_entry
from tests.emulation.frames import E
from tests.vmoc.mux.auditing import (
    BOTH,
    EVERY,
    FLOW,
    PATIENCE,
    X,
    Y,
    Z,
    dumps,
    findings,
    flow,
    midway,
    next_audit,
    normal,
    planted,
    quick,
    release,
    tag_of,
    vanish,
)
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, piece, with_segment
from vmoc.events import Kind
from vmoc.model import FailMode, Policy, Timers

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
