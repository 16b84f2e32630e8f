"""What a switch says of itself: FEATURES_REPLY and port descriptions, both versions.

Features, 1.0 (5.3.1): dpid 8, n_buffers 4, n_tables 1, pad 3, capabilities 4,
actions 4, ports of 48 bytes. 1.3 (7.3.1): dpid 8, n_buffers 4, n_tables 1,
auxiliary_id 1, pad 2, capabilities 4, reserved 4; ports of 64 bytes come by
multipart PORT_DESC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.header import FEATURES_REPLY, OF10, OF13, message

C_FLOW_STATS: Final = 0x01
C_STP_OR_GROUP: Final = 0x08
C_RESERVED10: Final = 0x10
C_IP_REASM: Final = 0x20
C_QUEUE_STATS: Final = 0x40
C_PORT_BLOCKED13: Final = 0x100

LOCAL10: Final = 0xFFFE
LOCAL: Final = 0xFFFFFFFE
PORT_LENGTH: Final = {OF10: 48, OF13: 64}
NO_FLOOD10: Final = 1 << 4
NO_PACKET_IN: Final = 1 << 6
PORT_DOWN: Final = 1

_FIXED10: Final = Struct("!QIB3xII")
_FIXED13: Final = Struct("!QIBB2xII")


class Features(NamedTuple):
    """A FEATURES_REPLY without its ports. ``last`` is ``actions`` in 1.0, reserved in 1.3."""

    dpid: int
    n_buffers: int
    n_tables: int
    auxiliary_id: int
    capabilities: int
    last: int


def parse_features(data: bytes) -> Features:
    """Decode; ``BAD_LENGTH`` below 32 bytes."""
    if len(data) < 32:
        raise Refused(errors.BAD_LENGTH, f"FEATURES_REPLY of {len(data)} bytes")
    if data[0] == OF10:
        dpid, buffers, tables, capabilities, actions = _FIXED10.unpack_from(data, 8)
        return Features(dpid, buffers, tables, 0, capabilities, actions)
    return Features(*_FIXED13.unpack_from(data, 8))


def features_reply(version: int, xid: int, features: Features, ports: Iterable[Port] = ()) -> bytes:
    """A FEATURES_REPLY; the ports are only part of it in 1.0."""
    if version == OF10:
        body = _FIXED10.pack(*features[:3], features.capabilities, features.last)
        return message(version, FEATURES_REPLY, xid, body + b"".join(port.raw for port in ports))
    return message(version, FEATURES_REPLY, xid, _FIXED13.pack(*features))


@dataclass(frozen=True, slots=True)
class Port:
    """One port description, kept in its bytes.

    1.0: number 2, address 6, name 16, config 4, state 4, four speeds 4 each.
    1.3: number 4, pad 4, address 6, pad 2, name 16, config 4, state 4, four
    feature words, two speeds in kbit/s.
    """

    version: int
    number: int
    raw: bytes

    @property
    def hw_addr(self) -> bytes:
        """The 6-byte address."""
        return self.raw[2:8] if self.version == OF10 else self.raw[8:14]

    @property
    def name(self) -> str:
        """The port's name up to its first NUL."""
        raw = self.raw[8:24] if self.version == OF10 else self.raw[16:32]
        return raw.split(b"\0", 1)[0].decode("latin-1")

    @property
    def config(self) -> int:
        """OFPPC_* bits."""
        at = 24 if self.version == OF10 else 32
        return int.from_bytes(self.raw[at : at + 4], "big")

    @property
    def state(self) -> int:
        """OFPPS_* bits."""
        at = 28 if self.version == OF10 else 36
        return int.from_bytes(self.raw[at : at + 4], "big")

    @property
    def is_local(self) -> bool:
        """Whether this is the switch's own OFPP_LOCAL."""
        return self.number == (LOCAL10 if self.version == OF10 else LOCAL)

    @property
    def is_physical(self) -> bool:
        """Whether the number is an ordinary port's."""
        return 0 < self.number < (0xFF00 if self.version == OF10 else 0xFFFFFF00)

    def with_config(self, config: int) -> Port:
        """The same port under another config word."""
        at = 24 if self.version == OF10 else 32
        return replace(self, raw=self.raw[:at] + config.to_bytes(4, "big") + self.raw[at + 4 :])


def parse_port(version: int, data: bytes, offset: int) -> Port:
    """The description at ``offset``; ``BAD_LENGTH`` when it is cut short."""
    length = PORT_LENGTH[version]
    raw = data[offset : offset + length]
    if len(raw) != length:
        raise Refused(errors.BAD_LENGTH, "port description cut short")
    return Port(version, int.from_bytes(raw[: 2 if version == OF10 else 4], "big"), raw)


def parse_ports(version: int, data: bytes, offset: int) -> list[Port]:
    """All descriptions from ``offset`` to the end; ``BAD_LENGTH`` when they do not fill it."""
    if (len(data) - offset) % PORT_LENGTH[version]:
        raise Refused(errors.BAD_LENGTH, "port descriptions do not fill the message")
    return [parse_port(version, data, at) for at in range(offset, len(data), PORT_LENGTH[version])]


def port_status(version: int, xid: int, reason: int, port: Port) -> bytes:
    """A PORT_STATUS (5.4.3, 7.4.3): reason 1 (0 add, 1 delete, 2 modify), pad 7, port."""
    return message(version, 12, xid, bytes((reason, 0, 0, 0, 0, 0, 0, 0)) + port.raw)
