"""Flow-mod, flow-removed and flow statistics of OpenFlow 1.0 (5.3.3, 5.4.3, 5.3.5).

Flow-mod layout: header 8, match 40, cookie 8, command 2, idle 2, hard 2,
priority 2, buffer_id 4, out_port 2, flags 2, actions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.header import FLOW_MOD, NO_BUFFER, OF10, message
from vmoc.openflow.v10 import NONE
from vmoc.openflow.v10.actions import Action, parse

FIXED: Final = 72
_TAIL: Final = Struct("!QHHHHIHH")


class FlowMod(NamedTuple):
    """A flow-mod, decoded. ``match`` is the 320-bit integer as received, not yet canonical."""

    xid: int
    match: int
    cookie: int
    command: int
    idle_timeout: int
    hard_timeout: int
    priority: int
    buffer_id: int
    out_port: int
    flags: int
    actions: list[Action]


def parse_flow_mod(data: bytes, *, with_actions: bool = True) -> FlowMod:
    """Decode; ``BAD_LENGTH`` below 72 bytes, and what ``actions.parse`` raises."""
    if len(data) < FIXED:
        raise Refused(errors.BAD_LENGTH, f"FLOW_MOD of {len(data)} bytes")
    tail = _TAIL.unpack_from(data, 48)
    actions = parse(data, FIXED, len(data)) if with_actions else []
    return FlowMod._make((int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:48], "big"), *tail, actions))


def flow_mod(
    xid: int,
    match: bytes,
    command: int,
    *,
    cookie: int = 0,
    idle: int = 0,
    hard: int = 0,
    priority: int = 0x8000,
    out_port: int = NONE,
    flags: int = 0,
    actions: bytes = b"",
) -> bytes:
    """A whole FLOW_MOD without buffer."""
    tail = _TAIL.pack(cookie, command, idle, hard, priority, NO_BUFFER, out_port, flags)
    return message(OF10, FLOW_MOD, xid, match + tail + actions)


# Flow-removed: match 40, cookie 8, priority 2, reason 1, pad 1, duration 4+4, idle 2, pad 2, packets 8, bytes 8.
REMOVED_LENGTH: Final = 88

# Flow statistics entry: length 2, table 1, pad 1, match 40, duration 4+4, priority 2, idle 2, hard 2, pad 6,
# cookie 8, packets 8, bytes 8, actions.
ENTRY_FIXED: Final = 88
ENTRY_COOKIE: Final = 64
_ENTRY_PRIORITY: Final = 52


class Entry(NamedTuple):
    """One flow of a statistics reply, still in bytes: where it is, and what identifies it."""

    table: int
    match: bytes
    priority: int
    cookie: int
    raw: bytes


def parse_entries(data: bytes, start: int) -> list[Entry]:
    """The entries of a flow statistics reply; ``BAD_LENGTH`` when one does not fit."""
    entries: list[Entry] = []
    position, end = start, len(data)
    while position < end:
        if end - position < ENTRY_FIXED:
            raise Refused(errors.BAD_LENGTH, "flow statistics entry cut short")
        length = data[position] << 8 | data[position + 1]
        if length < ENTRY_FIXED or position + length > end:
            raise Refused(errors.BAD_LENGTH, f"flow statistics entry of length {length}")
        raw = data[position : position + length]
        priority = raw[_ENTRY_PRIORITY] << 8 | raw[_ENTRY_PRIORITY + 1]
        cookie = int.from_bytes(raw[ENTRY_COOKIE : ENTRY_COOKIE + 8], "big")
        entries.append(Entry(raw[2], raw[4:44], priority, cookie, raw))
        position += length
    return entries


def rewrite_entry(raw: bytes, match: bytes, priority: int, cookie: int, actions: bytes) -> bytes:
    """The entry with another identity; counters, durations and timeouts stay."""
    return b"".join(
        (
            (ENTRY_FIXED + len(actions)).to_bytes(2, "big"),
            raw[2:4],
            match,
            raw[44:52],
            priority.to_bytes(2, "big"),
            raw[54:64],
            cookie.to_bytes(8, "big"),
            raw[72:88],
            actions,
        )
    )
