"""Actions and instructions of both versions: written, and taken apart again."""

from __future__ import annotations

import struct

from tests.emulation.layout import V10, port_number
from tests.emulation.match import Value, oxm


def output(version: int, port: int | str, max_len: int = 0xFFFF) -> bytes:
    """OUTPUT."""
    number = port_number(version, port)
    if version == V10:
        return struct.pack("!HHHH", 0, 8, number, max_len)
    return struct.pack("!HHIH6x", 0, 16, number, max_len)


def set_field(name: str, value: Value) -> bytes:
    """1.3 SET_FIELD with one OXM."""
    tlv = oxm(name, value)
    length = (4 + len(tlv) + 7) // 8 * 8
    return (struct.pack("!HH", 25, length) + tlv).ljust(length, b"\0")


def set_vlan(version: int, vid: int) -> bytes:
    """1.0 SET_VLAN_VID, 1.3 SET_FIELD vlan_vid (PRESENT added)."""
    if version == V10:
        return struct.pack("!HHH2x", 1, 8, vid)
    return set_field("vlan_vid", 0x1000 | vid)


def set_pcp(version: int, pcp: int) -> bytes:
    """1.0 SET_VLAN_PCP, 1.3 SET_FIELD vlan_pcp."""
    return struct.pack("!HHB3x", 2, 8, pcp) if version == V10 else set_field("vlan_pcp", pcp)


def strip_vlan(version: int) -> bytes:
    """1.0 STRIP_VLAN, 1.3 POP_VLAN."""
    return struct.pack("!HH4x", 3 if version == V10 else 18, 8)


def push_vlan(tpid: int = 0x8100) -> bytes:
    """1.3 PUSH_VLAN."""
    return struct.pack("!HHH2x", 17, 8, tpid)


def group(number: int) -> bytes:
    """1.3 GROUP."""
    return struct.pack("!HHI", 22, 8, number)


def enqueue(version: int, port: int, queue: int) -> bytes:
    """1.0 ENQUEUE; for 1.3 SET_QUEUE followed by OUTPUT."""
    if version == V10:
        return struct.pack("!HHH6xI", 11, 16, port, queue)
    return struct.pack("!HHI", 21, 8, queue) + output(version, port)


def instruction(kind: int, body: bytes) -> bytes:
    """1.3 instruction; ``body`` starts right after the length field."""
    return struct.pack("!HH", kind, 4 + len(body)) + body


def apply_actions(actions: bytes) -> bytes:
    """1.3 APPLY_ACTIONS."""
    return instruction(4, bytes(4) + actions)


def write_actions(actions: bytes) -> bytes:
    """1.3 WRITE_ACTIONS."""
    return instruction(3, bytes(4) + actions)


def goto_table(table: int) -> bytes:
    """1.3 GOTO_TABLE."""
    return instruction(1, bytes([table, 0, 0, 0]))


def split_actions(data: bytes) -> list[tuple[int, bytes]]:
    """(type, whole action) of an action or instruction list; ``ValueError`` when a length is wrong."""
    found = []
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise ValueError("short action")
        kind, length = struct.unpack_from("!HH", data, offset)
        if length < 8 or length % 8 or offset + length > len(data):
            raise ValueError(f"action length {length}")
        found.append((kind, data[offset : offset + length]))
        offset += length
    return found


def action_lists(version: int, data: bytes) -> list[bytes]:
    """The action lists of an entry: the list itself in 1.0, those inside write and apply instructions in 1.3."""
    if version == V10:
        return [data]
    return [body[8:] for kind, body in split_actions(data) if kind in (3, 4)]


def output_ports(version: int, actions: bytes) -> list[int]:
    """The ports that OUTPUT (and 1.0 ENQUEUE) actions of one list name, in order."""
    ports = []
    for kind, body in split_actions(actions):
        if kind == 0 or (version == V10 and kind == 11):
            ports.append(int.from_bytes(body[4:6] if version == V10 else body[4:8], "big"))
    return ports
