"""Controller roles and asynchronous-message masks of OpenFlow 1.3 (6.3.4, 7.3.10), virtual.

They are per virtual datapath and per connection; no role request ever reaches
a switch. Masks hold, per kind of message, one bit set per reason: for
EQUAL/MASTER, then for SLAVE.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final


class Role(IntEnum):
    """OFPCR_ROLE_*; NOCHANGE only asks."""

    NOCHANGE = 0
    EQUAL = 1
    MASTER = 2
    SLAVE = 3


_MASKS: Final = Struct("!6I")
EVERY_PACKET_IN: Final = 0x3


class AsyncMasks:
    """packet-in, port-status and flow-removed masks of one connection; defaults as Open vSwitch has them."""

    __slots__ = ("flow_removed", "packet_in", "port_status")

    def __init__(self) -> None:
        self.packet_in = (0x3, 0x0)
        self.port_status = (0x7, 0x7)
        self.flow_removed = (0xF, 0x0)

    def pack(self) -> bytes:
        """Body of GET_ASYNC_REPLY and SET_ASYNC: six words."""
        return _MASKS.pack(*self.packet_in, *self.port_status, *self.flow_removed)

    def load(self, body: bytes) -> None:
        """Take the masks of a SET_ASYNC body of 24 bytes."""
        words = _MASKS.unpack(body)
        self.packet_in = words[0:2]
        self.port_status = words[2:4]
        self.flow_removed = words[4:6]

    def wants(self, masks: tuple[int, int], role: Role, reason: int) -> bool:
        """Whether a message of ``reason`` goes to a connection of ``role``."""
        return bool(masks[role is Role.SLAVE] >> reason & 1)

    def all_packet_ins(self, role: Role) -> bool:
        """Whether both ordinary packet-in reasons pass."""
        return self.packet_in[role is Role.SLAVE] & EVERY_PACKET_IN == EVERY_PACKET_IN


def is_stale(generation: int, cached: int | None) -> bool:
    """Whether a generation id is older than the one known (signed 64-bit distance, 6.3.4)."""
    if cached is None:
        return False
    distance = generation - cached & (1 << 64) - 1
    return distance >> 63 == 1
