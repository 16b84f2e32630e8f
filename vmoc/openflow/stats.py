"""Statistics (1.0, 5.3.5) and multipart (1.3, 7.3.5) messages: their frame and the bodies we touch.

Frame: type 2, flags 2, and in 1.3 four bytes of padding; the body starts at
byte 12 in 1.0 and 16 in 1.3. Kinds 0..5 have the same numbers in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v10, v13
from vmoc.openflow.header import MAX_LENGTH, OF10, message

BODY: Final = {1: 12, 4: 16}
REQUEST: Final = {1: v10.STATS_REQUEST, 4: v13.MULTIPART_REQUEST}
REPLY: Final = {1: v10.STATS_REPLY, 4: v13.MULTIPART_REPLY}

DESC: Final = 0
FLOW: Final = 1
AGGREGATE: Final = 2
TABLE: Final = 3
PORT: Final = 4
QUEUE: Final = 5
PORT_DESC13: Final = 13

_HEAD: Final = Struct("!HH")
_AGGREGATE: Final = Struct("!QQI4x")
UNAVAILABLE: Final = 0xFFFFFFFFFFFFFFFF


def head(data: bytes) -> tuple[int, int]:
    """(kind, flags) of a request or reply; ``BAD_LENGTH`` when it is shorter than its frame."""
    if len(data) < BODY[data[0]]:
        raise Refused(errors.BAD_LENGTH, f"statistics message of {len(data)} bytes")
    kind, flags = _HEAD.unpack_from(data, 8)
    return kind, flags


def request(version: int, xid: int, kind: int, body: bytes = b"") -> bytes:
    """A statistics request with flags 0."""
    return message(version, REQUEST[version], xid, _frame(version, kind, 0) + body)


def reply(version: int, xid: int, kind: int, body: bytes = b"", *, more: bool = False) -> bytes:
    """One statistics reply."""
    return message(version, REPLY[version], xid, _frame(version, kind, int(more)) + body)


def replies(version: int, xid: int, kind: int, items: Iterable[bytes], *, more: bool = False) -> Iterator[bytes]:
    """As many replies as ``items`` need; all but the last say "more", the last says what ``more`` says."""
    room = MAX_LENGTH - BODY[version]
    held: list[bytes] = []
    size = 0
    for item in items:
        if size + len(item) > room:
            yield reply(version, xid, kind, b"".join(held), more=True)
            held, size = [], 0
        held.append(item)
        size += len(item)
    yield reply(version, xid, kind, b"".join(held), more=more)


def _frame(version: int, kind: int, flags: int) -> bytes:
    return _HEAD.pack(kind, flags) + (b"" if version == OF10 else b"\0\0\0\0")


def flow_request_body10(match: bytes, table: int, out_port: int) -> bytes:
    """1.0 FLOW and AGGREGATE: match 40, table 1, pad 1, out_port 2."""
    return match + bytes((table, 0)) + out_port.to_bytes(2, "big")


_FLOW13: Final = Struct("!B3xII4xQQ")


def flow_request_body13(match: bytes, table: int, out_port: int, out_group: int, cookie: int, mask: int) -> bytes:
    """1.3 FLOW and AGGREGATE: table 1, pad 3, out_port 4, out_group 4, pad 4, cookie 8, cookie_mask 8, match."""
    return _FLOW13.pack(table, out_port, out_group, cookie, mask) + match


def parse_flow_request13(data: bytes) -> tuple[int, int, int, int, int]:
    """(table, out_port, out_group, cookie, cookie_mask) of a 1.3 FLOW or AGGREGATE request."""
    if len(data) < 16 + _FLOW13.size + 8:
        raise Refused(errors.BAD_LENGTH, "flow statistics request cut short")
    table, out_port, out_group, cookie, mask = _FLOW13.unpack_from(data, 16)
    return table, out_port, out_group, cookie, mask


FLOW13_MATCH_AT: Final = 16 + _FLOW13.size


def aggregate_body(packets: int, octets: int, flows: int) -> bytes:
    """AGGREGATE reply body: packets 8, bytes 8, flows 4, pad 4."""
    return _AGGREGATE.pack(packets, octets, flows)


PORT_STATS_LENGTH: Final = {1: 104, 4: 112}
QUEUE_STATS_LENGTH: Final = {1: 32, 4: 40}


def fixed_items(data: bytes, length: int) -> list[bytes]:
    """The body of a reply cut into records of ``length``; ``BAD_LENGTH`` when they do not fill it."""
    start = BODY[data[0]]
    if (len(data) - start) % length:
        raise Refused(errors.BAD_LENGTH, "statistics records do not fill the reply")
    return [data[at : at + length] for at in range(start, len(data), length)]


def item_port(version: int, item: bytes) -> int:
    """The port number a port or queue record starts with."""
    return int.from_bytes(item[: 2 if version == OF10 else 4], "big")


def masked_port_item(version: int, item: bytes) -> bytes:
    """A port record whose counters all say "not available": the port is shared with others."""
    if version == OF10:
        return item[:8] + b"\xff" * 96
    return item[:8] + b"\xff" * 96 + item[104:]


_DESC: Final = Struct("!256s256s256s32s256s")


def desc_body(mfr: bytes, hardware: bytes, software: bytes, serial: bytes, datapath: bytes) -> bytes:
    """DESC reply body, 1056 bytes; longer texts are cut so that a NUL always ends them."""
    return _DESC.pack(mfr[:255], hardware[:255], software[:255], serial[:31], datapath[:255])


def parse_desc(data: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The five texts of a DESC reply; ``BAD_LENGTH`` when it is cut short."""
    if len(data) < BODY[data[0]] + _DESC.size:
        raise Refused(errors.BAD_LENGTH, "DESC reply cut short")
    mfr, hardware, software, serial, datapath = (
        field.split(b"\0", 1)[0] for field in _DESC.unpack_from(data, BODY[data[0]])
    )
    return mfr, hardware, software, serial, datapath


_TABLE10: Final = Struct("!B3x32sIIIQQ")
_TABLE13: Final = Struct("!B3xIQQ")


def table_item10(table: int, name: bytes, wildcards: int, max_entries: int, active: int) -> bytes:
    """A 1.0 TABLE record: id 1, pad 3, name 32, wildcards 4, max 4, active 4, lookups 8, matches 8."""
    return _TABLE10.pack(table, name[:31], wildcards, max_entries, active, UNAVAILABLE, UNAVAILABLE)


def table_item13(table: int, active: int) -> bytes:
    """A 1.3 TABLE record: id 1, pad 3, active 4, lookups 8, matches 8."""
    return _TABLE13.pack(table, active, UNAVAILABLE, UNAVAILABLE)
