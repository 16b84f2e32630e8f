"""Flow-mod and flow statistics of OpenFlow 1.3 (7.3.4.1, 7.3.5.2).

Flow-mod layout: header 8, cookie 8, cookie_mask 8, table 1, command 1, idle 2,
hard 2, priority 2, buffer_id 4, out_port 4, out_group 4, flags 2, pad 2, match
(padded to 8), instructions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.header import FLOW_MOD, NO_BUFFER, OF13, message
from vmoc.openflow.v13 import ANY, ANY_GROUP, oxm
from vmoc.openflow.v13.actions import Instruction, parse_instructions

MINIMUM: Final = 56
MATCH_AT: Final = 48
_FIXED: Final = Struct("!QQBBHHHIIIH2x")


class FlowMod(NamedTuple):
    """A flow-mod, decoded."""

    xid: int
    cookie: int
    cookie_mask: int
    table: int
    command: int
    idle_timeout: int
    hard_timeout: int
    priority: int
    buffer_id: int
    out_port: int
    out_group: int
    flags: int
    match: oxm.Match
    instructions: list[Instruction]


def parse_flow_mod(data: bytes, *, with_instructions: bool = True) -> FlowMod:
    """Decode; ``BAD_LENGTH`` below 56 bytes, and what the match and instruction readers raise."""
    if len(data) < MINIMUM:
        raise Refused(errors.BAD_LENGTH, f"FLOW_MOD of {len(data)} bytes")
    fixed = _FIXED.unpack_from(data, 8)
    match, after = oxm.parse(data, MATCH_AT, len(data))
    instructions = parse_instructions(data, after, len(data)) if with_instructions else []
    return FlowMod._make((int.from_bytes(data[4:8], "big"), *fixed, match, instructions))


def flow_mod(
    xid: int,
    match: bytes,
    command: int,
    *,
    table: int = 0,
    cookie: int = 0,
    cookie_mask: int = 0,
    idle: int = 0,
    hard: int = 0,
    priority: int = 0x8000,
    out_port: int = ANY,
    out_group: int = ANY_GROUP,
    flags: int = 0,
    instructions: bytes = b"",
) -> bytes:
    """A whole FLOW_MOD without buffer; ``match`` is packed and padded."""
    fixed = _FIXED.pack(
        cookie, cookie_mask, table, command, idle, hard, priority, NO_BUFFER, out_port, out_group, flags
    )
    return message(OF13, FLOW_MOD, xid, fixed + match + instructions)


# Statistics entry: length 2, table 1, pad 1, duration 4+4, priority 2, idle 2, hard 2, flags 2, pad 4,
# cookie 8, packets 8, bytes 8, match, instructions.
ENTRY_MATCH: Final = 48


class Entry(NamedTuple):
    """One flow of a statistics reply, still in bytes: where it is, and what identifies it."""

    table: int
    match: bytes
    priority: int
    cookie: int
    raw: bytes


def parse_entries(data: bytes, start: int) -> list[Entry]:
    """The entries of a flow multipart reply; ``BAD_LENGTH`` when one does not fit."""
    entries: list[Entry] = []
    position, end = start, len(data)
    while position < end:
        if end - position < ENTRY_MATCH + 8:
            raise Refused(errors.BAD_LENGTH, "flow statistics entry cut short")
        length = data[position] << 8 | data[position + 1]
        if length < ENTRY_MATCH + 8 or position + length > end:
            raise Refused(errors.BAD_LENGTH, f"flow statistics entry of length {length}")
        raw = data[position : position + length]
        stated = raw[50] << 8 | raw[51]
        match_length = (stated + 7) & ~7
        if stated < 4 or ENTRY_MATCH + match_length > length:
            raise Refused(errors.BAD_LENGTH, f"flow statistics match of length {stated}")
        entries.append(
            Entry(
                raw[2],
                raw[ENTRY_MATCH : ENTRY_MATCH + match_length],
                raw[12] << 8 | raw[13],
                int.from_bytes(raw[24:32], "big"),
                raw,
            )
        )
        position += length
    return entries


def rewrite_entry(
    raw: bytes, table: int, match: bytes, priority: int, flags: int, cookie: int, instructions: bytes
) -> bytes:
    """The entry with another identity; counters, durations and timeouts stay."""
    return b"".join(
        (
            (ENTRY_MATCH + len(match) + len(instructions)).to_bytes(2, "big"),
            bytes((table, 0)),
            raw[4:12],
            priority.to_bytes(2, "big"),
            raw[14:18],
            flags.to_bytes(2, "big"),
            b"\x00\x00\x00\x00",
            cookie.to_bytes(8, "big"),
            raw[32:48],
            match,
            instructions,
        )
    )
