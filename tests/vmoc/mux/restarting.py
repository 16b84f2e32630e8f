"""Scenes in which VMOC is restarted, and what is there before and after."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13, ControllerEnd, SwitchEnd
from tests.vmoc.mux.groupwire import bucket, group_mod, meter, meter_mod, out
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, piece
from vmoc.model import Slice
from vmoc.mux.journal import Kept, replay

BOTH = pytest.mark.parametrize("version", [V10, V13])
CAROL = piece("carol", 100, (1, 2, 3))
X, Y = "02:00:00:00:00:11", "02:00:00:00:00:12"


def stage(version: int, *slices: Slice, **more: Any) -> tuple[Playbook, SwitchEnd]:
    return scene(version, *(slices or (ALICE, BOB)), journal=True, **more)


def back(book: Playbook, switch: SwitchEnd) -> SwitchEnd:
    """The switch connects to the VMOC of after the restart."""
    again = book.switch(model=switch.model)
    book.advance(3)
    return again


def restarted(book: Playbook, switch: SwitchEnd, *slices: Slice) -> SwitchEnd:
    book.restart(*slices)
    return back(book, switch)


def shown(end: ControllerEnd) -> list[tuple[int, int, int]]:
    """(table, priority, cookie) of what a controller is told it has."""
    return sorted((stat.table, stat.priority, stat.cookie) for stat in end.flow_stats())


def physical(switch: SwitchEnd) -> set[tuple[object, ...]]:
    return {
        (e.table, e.priority, tuple(sorted(e.match.items())), e.cookie, e.actions, id(e)) for e in switch.model.flows()
    }


def unguarded(switch: SwitchEnd) -> list[of.FlowMod]:
    """What was written to the switch but guards."""
    return [mod for mod in switch.flow_mods() if mod.cookie >> 48 != 0xFFFE]


def journal(book: Playbook) -> list[Kept]:
    """What a restart now would find."""
    return replay(book.batches)


def fill(book: Playbook, version: int) -> None:
    for number, name in enumerate(("alice", "bob")):
        end = book.at(name)
        end.add(2, cookie=0x10 + number, eth_dst=X, priority=5)
        end.add("flood", cookie=0x20 + number, eth_dst=Y, priority=6)
        assert not end.errors()


def objects(book: Playbook) -> None:
    alice, bob = book.at("alice"), book.at("bob")
    for end in (alice, bob):
        group_mod(end, 1, bucket(out(2)) + bucket(out(3)))
        group_mod(end, 2, bucket(of.group(1)))
        meter_mod(end, 1)
        meter_mod(end, 2)
        end.flow_mod("add", of.match(V13, eth_dst=X), instructions=meter(1) + of.apply_actions(of.group(2)), cookie=7)
        assert not end.errors()
