"""Scenes in which a switch is looked at regularly, and what that found."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.table import Entry
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from vmoc.events import Kind
from vmoc.model import Timers

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
