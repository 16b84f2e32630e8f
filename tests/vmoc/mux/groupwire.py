"""GROUP_MODs and METER_MODs as controllers write them, and their statistics as controllers read them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tests.emulation import wire as of
from tests.emulation.answers import split_buckets
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import ControllerEnd, SwitchEnd

ANY = 0xFFFFFFFF
EVERY_GROUP = 0xFFFFFFFC
EVERY_METER = 0xFFFFFFFF
ADD, MODIFY, DELETE = range(3)
ALL, SELECT, INDIRECT, FAST_FAILOVER = range(4)
DROP = struct.pack("!HHII4x", 1, 16, 100, 0)
SEND_FLOW_REM = 1


def out(port: int | str) -> bytes:
    """OUTPUT."""
    return of.output(of.V13, port)


def bucket(actions: bytes = b"", *, weight: int = 0, watch_port: int = ANY, watch_group: int = ANY) -> bytes:
    """One bucket."""
    return struct.pack("!HHII4x", 16 + len(actions), weight, watch_port, watch_group) + actions


TO2 = bucket(out(2))


def meter(number: int) -> bytes:
    """The METER instruction."""
    return of.instruction(6, struct.pack("!I", number))


def group_mod(
    end: ControllerEnd, number: int, buckets: bytes = b"", command: int = ADD, kind: int = ALL, xid: int | None = None
) -> int:
    """Send a GROUP_MOD; its xid."""
    return end.request("group_mod", struct.pack("!HBxI", command, kind, number) + buckets, xid)


def meter_mod(end: ControllerEnd, number: int, bands: bytes = DROP, command: int = ADD) -> int:
    """Send a METER_MOD; its xid."""
    return end.request("meter_mod", struct.pack("!HHI", command, 1, number) + bands)


def change(message: Message) -> tuple[int, int]:
    """(command, id) of a GROUP_MOD or METER_MOD."""
    command, number = struct.unpack_from("!H2xI", message.raw, 8)
    return command, number


def changes(switch: SwitchEnd, name: str = "group_mod") -> list[tuple[int, int]]:
    """Those the switch has got since the last call."""
    return [change(message) for message in switch.take(name)]


def group_desc(end: ControllerEnd) -> dict[int, tuple[int, list[bytes]]]:
    """Type and buckets of every group."""
    found = {}
    for record in _records(body for _, body in end.stats_replies(end.stats("group_desc"))):
        kind, number = struct.unpack_from("!2xBxI", record)
        found[number] = kind, split_buckets(record[8:])
    return found


def group_references(end: ControllerEnd, number: int = EVERY_GROUP) -> dict[int, int]:
    """ref_count of every group."""
    parts = end.stats_replies(end.stats("group", struct.pack("!I4x", number)))
    assert parts, f"no answer: {end.inbox}"
    return dict(struct.unpack_from("!4xII", record) for record in _records(body for _, body in parts))


@dataclass
class MeterStats:
    """What METER and METER_CONFIG say of one meter."""

    flows: int
    flags: int
    bands: bytes


def meters(end: ControllerEnd) -> dict[int, MeterStats]:
    """Every meter."""
    every = struct.pack("!I4x", EVERY_METER)
    found = {}
    for _, body in end.stats_replies(end.stats("meter_config", every)):
        for record in _records([body]):
            flags, number = struct.unpack_from("!2xHI", record)
            found[number] = MeterStats(-1, flags, record[8:])
    for _, body in end.stats_replies(end.stats("meter", every)):
        while body:
            number, length, flows = struct.unpack_from("!IH6xI", body)
            found[number].flows = flows
            body = body[length:]
    return found


def _records(parts: Iterable[bytes]) -> list[bytes]:
    found = []
    for body in parts:
        while body:
            (length,) = struct.unpack_from("!H", body)
            assert 8 <= length <= len(body)
            found.append(body[:length])
            body = body[length:]
    return found
