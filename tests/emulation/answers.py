"""The bodies of a switch's statistics and configuration replies."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tests.emulation import wire as of
from tests.emulation.table import Entry, FlowError

if TYPE_CHECKING:
    from tests.emulation.switch import EmulatedSwitch


def describe_port(version: int, dpid: int, number: int, config: int = 0, state: int = 0) -> of.Port:
    """One port; its MAC and name follow from the numbers."""
    local = number == of.PORTS[version]["local"]
    hw = struct.pack("!BBHH", 0x06, 0, dpid & 0xFFFF, number & 0xFFFF)
    name = "LOCAL" if local else f"p{number}"
    label = name.encode()
    if version == of.V10:
        raw = struct.pack("!H6s16sIIIIII", number, hw, label, config, state, 0x40, 0x40, 0x40, 0)
    else:
        speeds = (0x40, 0x40, 0x40, 0, 10_000_000, 10_000_000)
        raw = struct.pack("!I4x6s2x16sIIIIIIII", number, hw, label, config, state, *speeds)
    return of.Port(number, hw, name, config, state, raw)


def split_buckets(data: bytes) -> list[bytes]:
    """Whole ``ofp_bucket``s; ``ValueError`` when a length is wrong."""
    found = []
    while data:
        (length,) = struct.unpack_from("!H", data)
        if length < 16 or length % 8 or length > len(data):
            raise ValueError(f"bucket length {length}")
        found.append(data[:length])
        data = data[length:]
    return found


def stats(switch: EmulatedSwitch, kind: int, body: bytes) -> Iterator[tuple[bool, bytes]]:
    """(more follows, body) of each fragment of the answer; raises ``FlowError``."""
    names = {number: name for name, number in of.STATS[switch.version].items()}
    name = names.get(kind, "")
    if name == "vendor":
        raise FlowError(1, 3)
    answer = _ANSWERS.get(name)
    if answer is None:
        raise FlowError(1, 2)
    yield from _fragments(answer(switch, body), switch.stats_size)


def _fragments(items: Iterable[bytes], size: int) -> Iterator[tuple[bool, bytes]]:
    part = b""
    for item in items:
        if part and len(part) + len(item) > size:
            yield True, part
            part = b""
        part += item
    yield False, part


def _desc(switch: EmulatedSwitch, _: bytes) -> list[bytes]:
    texts = (b"emulation", b"emulated switch", b"1", b"0")
    return [struct.pack("!256s256s256s32s256s", *texts, f"emulated {switch.dpid:#x}".encode())]


def _flow_request(switch: EmulatedSwitch, body: bytes) -> list[Entry]:
    if switch.version == of.V10:
        table, out_port = struct.unpack_from("!BxH", body, 40)
        return switch.table.select(of.parse_match(of.V10, body[:40])[0], table, out_port, 0xFFFFFFFF)
    table, out_port, out_group, cookie, mask = struct.unpack_from("!B3xII4xQQ", body)
    fields, _ = of.parse_match(of.V13, body[32:])
    if table != 0xFF and table >= switch.n_tables:
        raise FlowError(1, 9)
    return switch.table.select(fields, table, out_port, out_group, cookie, mask)


def flow_entry(version: int, entry: Entry) -> bytes:
    """One entry of a FLOW reply."""
    age = int(time.monotonic() - entry.since)
    if version == of.V10:
        rest = struct.pack("!IIHHH6xQQQ", age, 0, entry.priority, entry.idle, entry.hard, entry.cookie,
                           entry.packets, entry.bytes)  # fmt: skip
        data = entry.match_raw + rest + entry.actions
    else:
        rest = struct.pack("!IIHHHH4xQQQ", age, 0, entry.priority, entry.idle, entry.hard, entry.flags,
                           entry.cookie, entry.packets, entry.bytes)  # fmt: skip
        data = rest + entry.match_raw + entry.actions
    return struct.pack("!HBx", 4 + len(data), entry.table) + data


def _flow(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    return [flow_entry(switch.version, entry) for entry in _flow_request(switch, body)]


def _aggregate(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    found = _flow_request(switch, body)
    return [struct.pack("!QQI4x", sum(e.packets for e in found), sum(e.bytes for e in found), len(found))]


def _table(switch: EmulatedSwitch, _: bytes) -> list[bytes]:
    rows = []
    for table in range(switch.n_tables):
        active = sum(e.table == table for e in switch.table.entries)
        if switch.version == of.V10:
            rows.append(struct.pack("!B3x32sIIIQQ", table, b"classifier", 0x3FFFFF, 1 << 20, active, 0, 0))
        else:
            rows.append(struct.pack("!B3xIQQ", table, active, 0, 0))
    return rows


def _port(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    v10 = switch.version == of.V10
    (wanted,) = struct.unpack_from("!H" if v10 else "!I", body)
    rows = []
    for number in switch.ports:
        if wanted in (number, of.PORTS[switch.version]["none"]):
            counters = struct.pack("!12Q", *(number % 1000 * 100 + i for i in range(12)))
            rows.append(struct.pack("!H6x", number) + counters if v10 else
                        struct.pack("!I4x", number) + counters + struct.pack("!II", 60, 0))  # fmt: skip
    return rows


def _queue(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    v10 = switch.version == of.V10
    wanted, queue = struct.unpack("!H2xI" if v10 else "!II", body)
    every = of.PORTS[switch.version]["all" if v10 else "none"]
    rows = []
    for number, ids in switch.queues.items():
        for each in ids:
            if wanted in (number, every) and queue in (each, 0xFFFFFFFF):
                head = struct.pack("!H2xI" if v10 else "!II", number, each) + struct.pack("!QQQ", 1000, 10, 0)
                rows.append(head if v10 else head + struct.pack("!II", 60, 0))
    if not rows and (wanted, queue) != (every, 0xFFFFFFFF) and (wanted not in switch.ports or queue != 0xFFFFFFFF):
        raise FlowError(5 if v10 else 9, 0 if wanted not in (every, *switch.ports) else 1)
    return rows


def queue_config(switch: EmulatedSwitch, body: bytes) -> bytes:
    """The body of a QUEUE_GET_CONFIG reply; raises ``FlowError``."""
    v10 = switch.version == of.V10
    (wanted,) = struct.unpack_from("!H" if v10 else "!I", body)
    ports = [wanted] if v10 or wanted != of.PORTS[4]["none"] else list(switch.queues)
    if not set(ports) <= switch.queues.keys():
        raise FlowError(*((5, 0) if v10 else (9, 0)))
    rows = b""
    for number in ports:
        for each in switch.queues[number]:
            rows += struct.pack("!IH2x", each, 8) if v10 else struct.pack("!IIH6x", each, number, 16)
    return struct.pack("!H6x" if v10 else "!I4x", wanted) + rows


def _group_desc(switch: EmulatedSwitch, _: bytes) -> list[bytes]:
    return [struct.pack("!HBxI", 8 + len(raw), kind, n) + raw for n, (kind, raw) in switch.groups.items()]


def _group(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    (wanted,) = struct.unpack_from("!I", body)
    rows = []
    for number, (_, raw) in switch.groups.items():
        if wanted in (number, 0xFFFFFFFC):
            buckets = bytes(16 * len(split_buckets(raw)))
            uses = sum(e.uses_group(number) for e in switch.table.entries)
            rows.append(struct.pack("!H2xII4xQQII", 40 + len(buckets), number, uses, 0, 0, 60, 0) + buckets)
    return rows


def _group_features(_: EmulatedSwitch, __: bytes) -> list[bytes]:
    most = 0xFFFFFF00
    return [struct.pack("!II4I4I", 0xF, 0x7, most, most, most, most, *(4 * [0x03FF9801]))]


def _meter_ids(switch: EmulatedSwitch, body: bytes) -> list[int]:
    (wanted,) = struct.unpack_from("!I", body)
    if wanted == 0xFFFFFFFF:
        return list(switch.meters)
    if wanted not in switch.meters:
        raise FlowError(12, 3)
    return [wanted]


def _meter(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    return [struct.pack("!IH6xIQQII", n, 40, 0, 0, 0, 60, 0) for n in _meter_ids(switch, body)]


def _meter_config(switch: EmulatedSwitch, body: bytes) -> list[bytes]:
    chosen = [(n, *switch.meters[n]) for n in _meter_ids(switch, body)]
    return [struct.pack("!HHI", 8 + len(bands), flags, n) + bands for n, flags, bands in chosen]


def _meter_features(_: EmulatedSwitch, __: bytes) -> list[bytes]:
    return [struct.pack("!IIIBB2x", 100, 1 << 1, 0xF, 8, 0)]


def _table_features(switch: EmulatedSwitch, _: bytes) -> list[bytes]:
    fields = b"".join(struct.pack("!HBB", 0x8000, number << 1, width) for number, width in of.OXM.values())
    actions = b"".join(struct.pack("!HH", kind, 4) for kind in (0, 11, 12, 17, 18, 19, 20, 21, 22, 23, 24, 25))
    rows = []
    for table in range(switch.n_tables):
        instructions = b"".join(
            struct.pack("!HH", k, 4) for k in (1, 2, 3, 4, 5, 6) if k != 1 or table + 1 < switch.n_tables
        )
        following = bytes(range(table + 1, switch.n_tables))
        lists = {0: instructions, 1: instructions, 2: following, 3: following, 4: actions, 5: actions, 6: actions,
                 7: actions, 8: fields, 10: fields, 12: fields, 13: fields, 14: fields, 15: fields}  # fmt: skip
        properties = b""
        for kind, data in lists.items():
            body = struct.pack("!HH", kind, 4 + len(data)) + data
            properties += body + bytes(-len(body) % 8)
        name = f"table{table}".encode()
        rows.append(struct.pack("!HB5x32sQQII", 64 + len(properties), table, name, -1 & 2**64 - 1, -1 & 2**64 - 1,
                                0, 1 << 20) + properties)  # fmt: skip
    return rows


def _port_desc(switch: EmulatedSwitch, _: bytes) -> list[bytes]:
    return [port.raw for port in switch.ports.values()]


_ANSWERS = {
    "desc": _desc,
    "flow": _flow,
    "aggregate": _aggregate,
    "table": _table,
    "port": _port,
    "queue": _queue,
    "group": _group,
    "group_desc": _group_desc,
    "group_features": _group_features,
    "meter": _meter,
    "meter_config": _meter_config,
    "meter_features": _meter_features,
    "table_features": _table_features,
    "port_desc": _port_desc,
}
