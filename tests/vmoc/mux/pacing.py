"""Scenes in which a switch answers barriers when it is told to, and what has reached it by then."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, piece, with_limits
from vmoc.mux.switch import Switch

BOTH = pytest.mark.parametrize("version", [V10, V13])
WINDOW, EVERY = Switch.WINDOW, Switch.ACK_EVERY
FREE = {"max_flows": 0}
TWO = piece("alice", 100, (1, 2, 3), controllers=("one", "two"))


def calm(version: int, *slices: object, **more: object) -> tuple[Playbook, SwitchEnd]:
    """A scene in which barriers are answered when the test says so."""
    book, switch = scene(version, *(slices or (with_limits(ALICE, **FREE), with_limits(BOB, **FREE))), **more)
    switch.hold("barrier_reply")
    return book, switch


def answer(switch: SwitchEnd, count: int = 1) -> None:
    """The switch answers its oldest barriers, and goes on holding back the next."""
    for _ in range(count):
        assert switch.model.held, "no barrier is waiting for its answer"
        raw = switch.model.held.pop(0)
        switch.does(lambda model, raw=raw: model.peer.send(raw))


def adds(version: int, count: int, first: int = 0, port: int = 2) -> list[bytes]:
    return [
        of.flow_mod(
            version, "add", of.match(version, eth_dst=first + n), of.output(version, port), xid=1000 + first + n
        )
        for n in range(count)
    ]


def seen(switch: SwitchEnd, vlan: int = 100) -> list[int]:
    """What adds of a VLAN have arrived, in order."""
    mods = [of.parse_flow_mod(m) for m in switch.log("flow_mod")]
    return [m.match["eth_dst"][0] for m in mods if m.vlan == vlan and "eth_dst" in m.match]


def in_flight(switch: SwitchEnd, vlan: int = 100) -> int:
    """Adds of a VLAN written after the last barrier before them that was answered (the VLAN's own, or not)."""
    answered = {m.xid for m in switch.log("barrier_request")} - {Message(raw).xid for raw in switch.model.held}
    count = 0
    for message in reversed(switch.inbox):
        if message.name == "barrier_request" and message.xid in answered:
            break
        if message.name == "flow_mod" and of.parse_flow_mod(message).vlan == vlan:
            count += 1
    return count
