"""F.9 statistics."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vectors.lab import Lab
from tests.vectors.test_f10_groups import DROP, add_group, add_meter, bucket

HX15 = bytes.fromhex("0110000c00001004000d0000")
HX24 = bytes.fromhex(
    "04120038000020040001000000000000fe000000ffffffffffffffff00000000000000000000000000000000000000000001000400000000"
)
TAG_MASK = 0xFFFF << 48
OFPM_CONTROLLER = 0xFFFFFFFE


def forwarded(lab: Lab, raw: bytes) -> Message:
    """The one request that went to the switch, under another xid."""
    (asked,) = lab.switch.derived()
    assert asked.name == "stats_request"
    assert asked.raw[8:10] == raw[8:10]
    assert asked.xid != int.from_bytes(raw[4:8], "big")
    return asked


def head(message: Message) -> tuple[int, int]:
    """Type and flags of a statistics reply."""
    kind, flags = struct.unpack_from("!HH", message.raw, 8)
    return kind, flags


def test_v226(v10: Lab) -> None:
    """FLOW shows its own entries only, whatever the switch answers."""
    v10.added("A", v10.mod(v10.out(2)))
    v10.added("B", v10.mod(v10.out(3)))
    (own,) = [e for e in v10.switch.flows(100) if e.actions]
    (theirs,) = [e for e in v10.switch.flows(200) if e.actions]
    guard = next(e for e in v10.switch.flows(100) if not e.actions)
    stray = v10.switch.entry({"vlan_vid": 100}, cookie=0x33, priority=7, actions=v10.out(3))
    v10.switch.answer_stats("flow", v10.switch.dump([own, theirs, guard, stray]))
    raw = v10.stats("flow", of.flow_stats_body(1))
    reply = v10.ask("A", raw, south=True)
    asked = forwarded(v10, raw)
    assert of.parse_match(1, asked.raw[12:52])[0] == {"vlan_vid": (0x1064, 0x1FFF)}
    assert asked.raw[30:32] == struct.pack("!H", 100)
    (entry,) = of.parse_flow_stats(1, v10.stats_body(reply))
    assert (entry.match, entry.cookie, entry.priority) == ({}, 0x11, 100)


def test_v228(v13: Lab) -> None:
    """A fragment of other slices' entries becomes an empty reply."""
    v13.added("B", v13.mod(v13.out(3)))
    v13.switch.answer_stats("flow", v13.switch.dump(v13.switch.flows(200)))
    raw = v13.stats("flow", of.flow_stats_body(4))
    reply = v13.ask("A", raw, south=True)
    forwarded(v13, raw)
    assert head(reply) == (1, 0)
    assert v13.stats_body(reply) == b""


def test_v229(v10: Lab) -> None:
    """FLOW and AGGREGATE of another VLAN are answered with nothing, here."""
    body = of.flow_stats_body(1, of.match(1, vlan_vid=200))
    assert v10.stats_body(v10.ask("A", v10.stats("flow", body))) == b""
    assert v10.stats_body(v10.ask("A", v10.stats("aggregate", body))) == bytes(24)


def test_v231(v13: Lab) -> None:
    """1.3 AGGREGATE is left to the switch, within VLAN and tag."""
    tag = v13.tag("A")
    raw = v13.stats("aggregate", of.flow_stats_body(4))
    v13.switch.answer_stats("aggregate", struct.pack("!QQI4x", 1234, 5678, 9))
    reply = v13.ask("A", raw, south=True)
    asked = forwarded(v13, raw)
    table, out_port, out_group, cookie, mask = struct.unpack_from("!B3xII4xQQ", asked.raw, 16)
    assert (table, out_port, out_group) == (0xFF, 0xFFFFFFFF, 0xFFFFFFFF)
    assert (cookie, mask) == (tag << 48, TAG_MASK)
    assert asked.raw[48:] == of.match(4, vlan_vid=0x1064)
    assert v13.stats_body(reply) == struct.pack("!QQI4x", 1234, 5678, 9)


def test_v233(private: Callable[..., Lab]) -> None:
    """PORT shows its own ports, and no counters of those it shares."""
    lab = private(of.V10, names="ABT")
    rows = {n: struct.pack("!12Q", *(100 * n + i for i in range(12))) for n in range(1, 7)}
    lab.switch.answer_stats("port", b"".join(struct.pack("!H6x", n) + row for n, row in rows.items()))
    raw = lab.stats("port", of.port_stats_body(1))
    body = lab.stats_body(lab.ask("B", raw, south=True))
    assert struct.unpack_from("!H", forwarded(lab, raw).raw, 12) == (0xFFFF,)
    shown = {struct.unpack_from("!H", body, at)[0]: body[at + 8 : at + 104] for at in range(0, len(body), 104)}
    assert shown == {2: b"\xff" * 96, 3: b"\xff" * 96, 4: rows[4]}


def test_v234(v: Lab) -> None:
    """PORT of a port that is not its own is empty."""
    assert v.stats_body(v.ask("A", v.stats("port", of.port_stats_body(v.version, 4)))) == b""


def test_v235(v10: Lab) -> None:
    """QUEUE shows the queues granted."""
    rows = {(p, q): struct.pack("!H2xIQQQ", p, q, 1, 2, 3) for p, q in ((2, 7), (2, 8), (4, 7))}
    v10.switch.answer_stats("queue", b"".join(rows.values()))
    raw = v10.stats("queue", struct.pack("!H2xI", 0xFFFC, 0xFFFFFFFF))
    reply = v10.ask("A", raw, south=True)
    assert forwarded(v10, raw).raw[12:] == raw[12:]
    assert v10.stats_body(reply) == rows[2, 7]


def test_v237(v10: Lab) -> None:
    """HX15: statistics type 13 in 1.0, which Open vSwitch would answer, is BAD_STAT."""
    v10.refused("A", HX15, 1, 2)


def test_v239(v13: Lab) -> None:
    """HX24: FLOW of table 254 is BAD_TABLE_ID."""
    v13.refused("A", HX24, 1, 9)


def properties(table: bytes) -> dict[int, bytes]:
    """The properties of one ``ofp_table_features``."""
    found = {}
    offset = 64
    while offset < len(table):
        kind, length = struct.unpack_from("!HH", table, offset)
        found[kind] = table[offset + 4 : offset + length]
        offset += (length + 7) // 8 * 8
    return found


def test_v241(v13: Lab) -> None:
    """TABLE_FEATURES shows the tables there are and what a slice may use in them."""
    body = v13.conn("A").stats("table_features")
    v13.fence()
    assert v13.switch.derived() == []
    tables = []
    while body:
        (length,) = struct.unpack_from("!H", body)
        tables.append(body[:length])
        body = body[length:]
    assert [table[2] for table in tables] == [0, 1, 2, 3]
    for table in tables:
        assert struct.unpack_from("!I", table, 60) == (10,)
        shown = properties(table)
        for kind in (12, 13, 14, 15):  # WRITE_SETFIELD, APPLY_SETFIELD and their MISS forms
            for at in range(0, len(shown.get(kind, b"")), 4):
                klass, field = struct.unpack_from("!HB", shown[kind], at)
                assert klass == 0x8000
                assert field >> 1 not in {0, 2, 38}
        for kind in (4, 5, 6, 7):
            actions = {struct.unpack_from("!H", shown.get(kind, b""), at)[0] for at in range(0, len(shown[kind]), 4)}
            assert not actions & {17, 18, 19, 20, 26, 27}
            assert 0 in actions


def test_v243(v13: Lab) -> None:
    """Setting TABLE_FEATURES is EPERM."""
    table = struct.pack("!HB5x32sQQII", 64, 0, b"mine", 0, 0, 0, 10)
    v13.refused("A", v13.stats("table_features", table), 13, 5)


def test_v244(v13: Lab) -> None:
    """GROUP_DESC shows its own groups in its own terms."""
    add_group(v13, "A", 1, bucket(v13.out(2)))
    add_group(v13, "A", 2, bucket(of.group(1)))
    add_group(v13, "B", 1, bucket(v13.out(4)))
    raw = v13.stats("group_desc")
    reply = v13.ask("A", raw, south=True)
    forwarded(v13, raw)
    body, shown = v13.stats_body(reply), {}
    while body:
        length, number = struct.unpack_from("!H2xI", body)
        shown[number] = body[8:length]
        body = body[length:]
    assert shown.keys() == {1, 2}
    assert shown[1] == bucket(v13.out(2))
    assert shown[2] == bucket(of.group(1))


def test_v245(v13: Lab) -> None:
    """METER_CONFIG of all shows its own meters."""
    add_meter(v13, "A", 1)
    add_meter(v13, "B", 1)
    v13.switch.meters[OFPM_CONTROLLER] = (1, DROP)
    raw = v13.stats("meter_config", struct.pack("!I4x", 0xFFFFFFFF))
    reply = v13.ask("A", raw, south=True)
    assert forwarded(v13, raw).raw[16:20] == b"\xff" * 4
    assert v13.stats_body(reply) == struct.pack("!HHI", 8 + len(DROP), 1, 1) + DROP
