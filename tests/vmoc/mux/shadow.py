"""Looking at a slice's flows: as its controller is told, and as the core remembers them."""

from __future__ import annotations

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, ControllerEnd
from tests.vmoc.mux.playbook import Playbook
from vmoc.mux.flows import FlowTable

X, Y = 0x020000000001, 0x020000000002


def outputs(version: int, flow: object) -> list[int]:
    return [p for part in of.action_lists(version, flow.actions) for p in of.output_ports(version, part)]  # type: ignore[attr-defined]


def shown(a: ControllerEnd) -> list[tuple[int, int, int]]:
    """(eth_dst, cookie, first output) of what the controller is told it has."""
    return sorted((s.match.get("eth_dst", (0, 0))[0], s.cookie, outputs(a.version, s)[0]) for s in a.flow_stats())


def table(book: Playbook, vlan: int = 100) -> FlowTable:
    (switch,) = book.mux._switches.values()
    return switch.datapaths[vlan].flows


def full(version: int) -> tuple[int, int]:
    return (3, 0) if version == V10 else (5, 1)
