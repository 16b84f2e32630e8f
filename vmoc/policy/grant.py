"""What one virtual datapath may do on one switch, resolved to the switch's own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from vmoc.model import Policy

_NO_QUEUES: Final[Mapping[int, frozenset[int]]] = MappingProxyType({})
_NO_IDS: Final[Mapping[int, int]] = MappingProxyType({})
SLOT_SHIFT: Final = 52
SLOT_BITS: Final = 0xFFF << SLOT_SHIFT
"""Bits of the metadata that say whose a packet is, where slices share a VLAN; the others are the slice's."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Immutable; a change of ports, queues or policy makes a new one.

    ``ports`` are wire numbers of ``version``, LOCAL among them only if granted.
    ``awaited`` are granted ports the switch does not have now, None for any.
    ``hides_tag``: the controller sees untagged frames (transparent presentation,
    or a native switch). ``native``: the wire is untagged too. ``guarded``: drop
    entries at the highest priority keep foreign ports out, so a slice may not
    tie with them. ``groups`` and ``meters`` map the slice's ids to the switch's.
    ``first_table``: the switch's table that is the slice's table 0; ``n_tables``
    counts from there. ``slot``: the upper metadata bits of the slice's packets on
    a switch where a VLAN may be shared, 0 where it may not.
    """

    version: int
    vlan: int
    ports: frozenset[int]
    hides_tag: bool = False
    native: bool = False
    guarded: bool = False
    n_tables: int = 1
    first_table: int = 0
    slot: int = 0
    queues: Mapping[int, frozenset[int]] = field(default_factory=lambda: _NO_QUEUES, hash=False)
    no_flood: frozenset[int] = frozenset()
    groups: Mapping[int, int] = field(default_factory=lambda: _NO_IDS, hash=False)
    meters: Mapping[int, int] = field(default_factory=lambda: _NO_IDS, hash=False)
    policy: Policy = Policy()
    awaited: frozenset[int] | None = frozenset()

    @property
    def max_outputs(self) -> int:
        """Outputs one action list may expand to (vetting 1.2)."""
        return max(64, 2 * len(self.ports))

    def may_enter(self, port: int) -> bool:
        """Whether a flow may name ``port`` as its input: one of the slice's, or one it will have when it appears.

        So a controller can still delete the flows of a port that has just gone.
        """
        if port in self.ports:
            return True
        if self.awaited is not None:
            return port in self.awaited
        return 0 < port < (0xFF00 if self.version == 1 else 0xFFFFFF00)

    def queue_everywhere(self, queue: int) -> bool:
        """Whether ``queue`` is granted on every port of the slice."""
        return bool(self.ports) and all(queue in self.queues.get(port, ()) for port in self.ports)

    def flood_ports(self, in_port: int | None, *, honour_no_flood: bool) -> list[int]:
        """FLOOD and ALL in the slice's own ports: ascending, physical, without ``in_port``."""
        limit = 0xFF00 if self.version == 1 else 0xFFFFFF00
        return [
            port
            for port in sorted(self.ports)
            if port < limit and port != in_port and not (honour_no_flood and port in self.no_flood)
        ]
