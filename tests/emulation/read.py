"""Messages taken apart into plain values; ``ValueError`` or ``struct.error`` when the bytes are wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from tests.emulation.layout import COMMANDS, V10, V13, Message
from tests.emulation.match import Match, is_exact10, parse_match, vlan_in


@dataclass(frozen=True, slots=True)
class Error:
    """OFPT_ERROR."""

    type: int
    code: int
    data: bytes


def parse_error(msg: Message) -> Error:
    """Read an ERROR."""
    kind, code = struct.unpack_from("!HH", msg.raw, 8)
    return Error(kind, code, msg.raw[12:])


@dataclass(frozen=True, slots=True)
class PacketIn:
    """PACKET_IN; ``cookie`` and ``table`` are None in 1.0."""

    buffer_id: int
    total_len: int
    in_port: int
    reason: int
    table: int | None
    cookie: int | None
    match: Match
    data: bytes


def parse_packet_in(msg: Message) -> PacketIn:
    """Read a PACKET_IN."""
    if msg.version == V10:
        buffer_id, total_len, in_port, reason = struct.unpack_from("!IHHB", msg.raw, 8)
        return PacketIn(buffer_id, total_len, in_port, reason, None, None, {}, msg.raw[18:])
    buffer_id, total_len, reason, table, cookie = struct.unpack_from("!IHBBQ", msg.raw, 8)
    fields, used = parse_match(V13, msg.raw[24:])
    return PacketIn(buffer_id, total_len, fields["in_port"][0], reason, table, cookie, fields, msg.raw[24 + used + 2 :])


@dataclass(frozen=True, slots=True)
class Port:
    """One ``ofp_phy_port`` or ``ofp_port``."""

    number: int
    hw: bytes
    name: str
    config: int
    state: int
    raw: bytes


PORT_SIZE: Final = {V10: 48, V13: 64}


def parse_ports(version: int, data: bytes) -> list[Port]:
    """Read a list of port descriptions."""
    ports = []
    for offset in range(0, len(data), PORT_SIZE[version]):
        raw = data[offset : offset + PORT_SIZE[version]]
        layout = "!H6s16sII" if version == V10 else "!I4x6s2x16sII"
        number, hw, name, config, state = struct.unpack_from(layout, raw)
        ports.append(Port(number, hw, name.rstrip(b"\0").decode(), config, state, raw))
    return ports


@dataclass(frozen=True, slots=True)
class Features:
    """FEATURES_REPLY; ``ports`` is empty in 1.3, ``actions`` and ``auxiliary`` are 0 where a version lacks them."""

    dpid: int
    n_buffers: int
    n_tables: int
    auxiliary: int
    capabilities: int
    actions: int
    ports: list[Port]


def parse_features(msg: Message) -> Features:
    """Read a FEATURES_REPLY."""
    dpid, n_buffers, n_tables, auxiliary, capabilities, actions = struct.unpack_from("!QIBB2xII", msg.raw, 8)
    if msg.version == V10:
        return Features(dpid, n_buffers, n_tables, 0, capabilities, actions, parse_ports(V10, msg.raw[32:]))
    return Features(dpid, n_buffers, n_tables, auxiliary, capabilities, 0, [])


@dataclass(frozen=True, slots=True)
class FlowMod:
    """A FLOW_MOD as a switch reads it; ``actions`` is the raw action list (1.0) or instruction list (1.3)."""

    command: str
    match: Match
    match_raw: bytes
    actions: bytes
    cookie: int
    cookie_mask: int
    table: int
    priority: int
    idle: int
    hard: int
    buffer_id: int
    out_port: int
    out_group: int
    flags: int

    @property
    def vlan(self) -> int | str | None:
        return vlan_in(self.match)


def parse_flow_mod(msg: Message) -> FlowMod:
    """Read a FLOW_MOD; ``ValueError`` or ``struct.error`` when it is not one."""
    names = {number: name for name, number in COMMANDS.items()}
    if msg.version == V10:
        fields = parse_match(V10, msg.raw[8:48])[0]
        cookie, command, idle, hard, priority, buffer_id, out, flags = struct.unpack_from("!QHHHHIHH", msg.raw, 48)
        if is_exact10(fields):
            priority = 65535
        return FlowMod(names.get(command, str(command)), fields, msg.raw[8:48], msg.raw[72:], cookie, 0, 0, priority,
                       idle, hard, buffer_id, out, 0xFFFFFFFF, flags)  # fmt: skip
    head = struct.unpack_from("!QQBBHHHIIIH", msg.raw, 8)
    cookie, mask, table, command, idle, hard, priority, buffer_id, out, out_group, flags = head
    fields, used = parse_match(V13, msg.raw[48:])
    return FlowMod(names.get(command, str(command)), fields, msg.raw[48 : 48 + used], msg.raw[48 + used :], cookie,
                   mask, table, priority, idle, hard, buffer_id, out, out_group, flags)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PacketOut:
    """A PACKET_OUT as a switch reads it."""

    buffer_id: int
    in_port: int
    actions: bytes
    data: bytes


def parse_packet_out(msg: Message) -> PacketOut:
    """Read a PACKET_OUT."""
    if msg.version == V10:
        buffer_id, in_port, length = struct.unpack_from("!IHH", msg.raw, 8)
        start = 16
    else:
        buffer_id, in_port, length = struct.unpack_from("!IIH", msg.raw, 8)
        start = 24
    if start + length > len(msg.raw):
        raise ValueError("actions overrun the message")
    return PacketOut(buffer_id, in_port, msg.raw[start : start + length], msg.raw[start + length :])


@dataclass(frozen=True, slots=True)
class FlowStat:
    """One entry of a FLOW reply; ``actions`` as in ``FlowMod``."""

    table: int
    match: Match
    priority: int
    cookie: int
    idle: int
    hard: int
    flags: int
    packets: int
    octets: int
    actions: bytes

    @property
    def vlan(self) -> int | str | None:
        return vlan_in(self.match)


def parse_flow_stats(version: int, data: bytes) -> list[FlowStat]:
    """Read the body of a FLOW reply (all fragments joined)."""
    stats = []
    offset = 0
    while offset < len(data):
        length, table = struct.unpack_from("!HB", data, offset)
        if length < 56 or offset + length > len(data):
            raise ValueError(f"flow stats entry of length {length}")
        entry = data[offset : offset + length]
        offset += length
        if version == V10:
            fields = parse_match(V10, entry[4:44])[0]
            priority, idle, hard, cookie, packets, count = struct.unpack_from("!8xHHH6xQQQ", entry, 44)
            stats.append(FlowStat(table, fields, priority, cookie, idle, hard, 0, packets, count, entry[88:]))
        else:
            priority, idle, hard, flags, cookie, packets, count = struct.unpack_from("!HHHH4xQQQ", entry, 12)
            fields, used = parse_match(V13, entry[48:])
            stats.append(
                FlowStat(table, fields, priority, cookie, idle, hard, flags, packets, count, entry[48 + used :])
            )
    return stats


@dataclass(frozen=True, slots=True)
class FlowRemoved:
    """FLOW_REMOVED."""

    match: Match
    cookie: int
    priority: int
    reason: int
    table: int
    idle: int
    packets: int


def parse_flow_removed(msg: Message) -> FlowRemoved:
    """Read a FLOW_REMOVED."""
    if msg.version == V10:
        cookie, priority, reason, idle, packets = struct.unpack_from("!QHBx8xH2xQ", msg.raw, 48)
        return FlowRemoved(parse_match(V10, msg.raw[8:48])[0], cookie, priority, reason, 0, idle, packets)
    cookie, priority, reason, table, idle, packets = struct.unpack_from("!QHBB8xH2xQ", msg.raw, 8)
    return FlowRemoved(parse_match(V13, msg.raw[48:])[0], cookie, priority, reason, table, idle, packets)


@dataclass(frozen=True, slots=True)
class PortStatus:
    """PORT_STATUS; reason 0 add, 1 delete, 2 modify."""

    reason: int
    port: Port


def parse_port_status(msg: Message) -> PortStatus:
    """Read a PORT_STATUS."""
    return PortStatus(msg.raw[8], parse_ports(msg.version, msg.raw[16:])[0])
