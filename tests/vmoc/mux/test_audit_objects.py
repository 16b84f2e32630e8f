"""The regular look at the groups and meters that a switch holds (vetting D.7)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.auditing import EVERY, GROUP_DESC, METER_CONFIG, PATIENCE, dumps, findings, next_audit, quick
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import BOB, TINA, UMA
from vmoc.model import Policy

METER_ALL = 0xFFFFFFFF
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
