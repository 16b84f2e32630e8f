"""Flow-mods, flow statistics, flow-removed, packet-out and packet-in of both versions against os-ken."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import osken
from tests.property.wire import actions10, actions13, instructions, matches, u8, u16, u32, u64, unsigned
from vmoc.mux import classify, flows, upward
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13
from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import Grant
from vmoc.policy.packetout import PacketOut, vet_packet_out

PADDING10 = 0xFF << 8 * 18 | 0xFFFF << 8 * 12
matches10 = unsigned(320).map(lambda match: (match & ~PADDING10).to_bytes(40, "big"))


def seen13(match: Any) -> oxm.Match:
    """What os-ken found in a 1.3 match, as ours."""
    found = []
    for number, value, mask in (osken.NUMBERS[4].oxm_from_user(name, value) for name, value in match.items()):
        given_mask = None if mask is None else int.from_bytes(mask, "big")
        found.append((number & 0x7F, int.from_bytes(value, "big"), given_mask))
    return tuple(sorted(found))


def repacked(parts: list[Any]) -> bytes:
    """os-ken's objects written by os-ken."""
    buffer = bytearray()
    for part in parts:
        part.serialize(buffer, len(buffer))
    return bytes(buffer)


# -- flow-mod --------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(u32, matches10, u64, u16, u16, u16, u16, u16, u16, actions10)
def test_flow_mod_of_1_0(
    xid: int, match: bytes, cookie: int, command: int, idle: int, hard: int, priority: int, out: int, flags: int,
    actions: list[a10.Action],
) -> None:  # fmt: skip
    theirs = osken.written(
        1, "FlowMod", osken.match10(match), cookie, command, idle, hard, priority, header.NO_BUFFER, out, flags,
        [osken.action10(action) for action in actions], xid=xid,
    )  # fmt: skip
    packed = a10.pack(actions)
    ours = f10.flow_mod(
        xid, match, command, cookie=cookie, idle=idle, hard=hard, priority=priority, out_port=out, flags=flags,
        actions=packed,
    )  # fmt: skip
    assert ours == theirs
    assert f10.parse_flow_mod(theirs) == (
        xid, int.from_bytes(match, "big"), cookie, command, idle, hard, priority, header.NO_BUFFER, out, flags, actions,
    )  # fmt: skip
    read = osken.read(ours)
    assert (read.cookie, read.command, read.idle_timeout, read.hard_timeout) == (cookie, command, idle, hard)
    assert (read.priority, read.buffer_id, read.out_port, read.flags) == (priority, header.NO_BUFFER, out, flags)
    assert repacked(read.actions) == packed
    assert repacked([read.match]) == match


FIELDS10: dict[str, dict[str, Any]] = {
    "in_port": {"in_port": 3},
    "dl_src": {"dl_src": 0x0A0B0C0D0E0F},
    "dl_dst": {"dl_dst": 0x0A0B0C0D0E0F},
    "dl_vlan": {"dl_vlan": 101},
    "dl_vlan_pcp": {"dl_vlan_pcp": 5},
    "dl_type": {"dl_type": 0x0800},
    "nw_tos": {"dl_type": 0x0800, "nw_tos": 0xB8},
    "nw_proto": {"dl_type": 0x0800, "nw_proto": 6},
    "nw_src": {"dl_type": 0x0800, "nw_src": 0x0A000001},
    "nw_dst": {"dl_type": 0x0806, "nw_dst": 0x0A000001},
    "tp_src": {"dl_type": 0x0800, "nw_proto": 6, "tp_src": 80},
    "tp_dst": {"dl_type": 0x0800, "nw_proto": 17, "tp_dst": 53},
}


@pytest.mark.parametrize("name", FIELDS10)
def test_fields_of_1_0(name: str) -> None:
    fields = dict(FIELDS10[name])
    theirs = {key: value.to_bytes(6, "big") if key in ("dl_src", "dl_dst") else value for key, value in fields.items()}
    written = repacked([osken.parser10.OFPMatch(**theirs)])
    # os-ken counts 63 ignored bits where we say 32: the same, in our canonical form.
    assert m10.canonical(int.from_bytes(written, "big")).to_bytes(40, "big") == m10.pack(**fields)


@pytest.mark.parametrize("prefix", range(33))
def test_prefixes_of_1_0(prefix: int) -> None:
    theirs = osken.parser10.OFPMatch(dl_type=0x0800, nw_src="10.1.2.3", nw_src_mask=prefix)
    found = m10.canonical(int.from_bytes(repacked([theirs]), "big"))
    again = osken.parser10.OFPMatch.parse(found.to_bytes(40, "big"), 0)
    assert again["nw_src_mask"] == prefix
    assert m10.wildcards_of(found) >> m10.NW_SRC_SHIFT & 0x3F == 32 - prefix


@settings(max_examples=100)
@given(u32, u64, u64, u8, u8, u16, u16, u16, u32, u32, u16, matches(), instructions)
def test_flow_mod_of_1_3(
    xid: int, cookie: int, mask: int, table: int, command: int, idle: int, hard: int, priority: int, out: int,
    group: int, flags: int, match: oxm.Match, wanted: list[a13.Instruction],
) -> None:  # fmt: skip
    theirs = osken.written(
        4, "FlowMod", cookie, mask, table, command, idle, hard, priority, header.NO_BUFFER, out, group, flags,
        osken.match13(match), [osken.instruction13(instruction) for instruction in wanted], xid=xid,
    )  # fmt: skip
    packed = a13.pack_instructions(wanted)
    ours = f13.flow_mod(
        xid, oxm.pack(match), command, table=table, cookie=cookie, cookie_mask=mask, idle=idle, hard=hard,
        priority=priority, out_port=out, out_group=group, flags=flags, instructions=packed,
    )  # fmt: skip
    assert ours == theirs
    assert f13.parse_flow_mod(theirs) == (
        xid, cookie, mask, table, command, idle, hard, priority, header.NO_BUFFER, out, group, flags, match, wanted,
    )  # fmt: skip
    read = osken.read(ours)
    assert (read.cookie, read.cookie_mask, read.table_id, read.command) == (cookie, mask, table, command)
    assert (read.idle_timeout, read.hard_timeout, read.priority) == (idle, hard, priority)
    assert (read.buffer_id, read.out_port, read.out_group, read.flags) == (header.NO_BUFFER, out, group, flags)
    assert seen13(read.match) == match
    assert repacked(read.instructions) == packed


@pytest.mark.parametrize("number", sorted(oxm.FIELDS))
def test_fields_of_1_3(number: int) -> None:
    field = oxm.FIELDS[number]
    whole: list[oxm.Match] = [((number, field.full, None),), ((number, 1, None),)]
    if field.maskable:
        whole += [((number, field.full >> 1, field.full >> 1),), ((number, 0, 1),)]
    for match in whole:
        packed = oxm.pack(match)
        assert repacked([osken.match13(match)]) == packed
        assert seen13(osken.parser13.OFPMatch.parser(packed, 0)) == match
        if match[0][2] is None:
            action = a13.pack([(a13.SET_FIELD, number, match[0][1])])
            assert repacked([osken.action13((a13.SET_FIELD, number, match[0][1]))]) == action


# -- flow statistics and flow-removed --------------------------------------------------------------


@settings(max_examples=60)
@given(u32, matches10, u8, u16, st.sampled_from(("FlowStatsRequest", "AggregateStatsRequest")))
def test_flow_requests_of_1_0(xid: int, match: bytes, table: int, out: int, name: str) -> None:
    kind = stats.FLOW if name.startswith("Flow") else stats.AGGREGATE
    body = stats.flow_request_body10(match, table, out)
    theirs = osken.written(1, name, 0, osken.match10(match), table, out, xid=xid)
    assert theirs == stats.request(1, xid, kind, body)
    assert stats.head(theirs) == (kind, 0)


@settings(max_examples=60)
@given(u32, matches(), u8, u32, u32, u64, u64, st.sampled_from(("FlowStatsRequest", "AggregateStatsRequest")))
def test_flow_requests_of_1_3(
    xid: int, match: oxm.Match, table: int, out: int, group: int, cookie: int, mask: int, name: str
) -> None:
    kind = stats.FLOW if name.startswith("Flow") else stats.AGGREGATE
    body = stats.flow_request_body13(oxm.pack(match), table, out, group, cookie, mask)
    theirs = osken.written(4, name, 0, table, out, group, cookie, mask, osken.match13(match), xid=xid)
    assert theirs == stats.request(4, xid, kind, body)
    assert stats.parse_flow_request13(theirs) == (table, out, group, cookie, mask)
    assert oxm.parse(theirs, stats.FLOW13_MATCH_AT, len(theirs)) == (match, len(theirs))


@settings(max_examples=60)
@given(matches10, matches10, u8, u16, u16, u64, u64, actions10, actions10)
def test_flow_entries_of_1_0(
    match: bytes, other: bytes, table: int, priority: int, new_priority: int, cookie: int, new_cookie: int,
    actions: list[a10.Action], new: list[a10.Action],
) -> None:  # fmt: skip
    body = a10.pack(actions)
    raw = struct.pack("!HBx40sIIHHH6xQQQ", 88 + len(body), table, match, 1, 2, priority, 3, 4, cookie, 5, 6) + body
    reply = stats.reply(1, 7, stats.FLOW, raw + raw)
    ours = f10.parse_entries(reply, stats.BODY[1])
    theirs = osken.read(reply).body
    assert [(each.table, each.match, each.priority, each.cookie) for each in ours] == [
        (each.table_id, repacked([each.match]), each.priority, each.cookie) for each in theirs
    ]
    changed = f10.rewrite_entry(raw, other, new_priority, new_cookie, a10.pack(new))
    (seen,) = osken.read(stats.reply(1, 7, stats.FLOW, changed)).body
    assert (seen.table_id, seen.priority, seen.cookie) == (table, new_priority, new_cookie)
    assert repacked([seen.match]) == other
    assert repacked(seen.actions) == a10.pack(new)
    counted = (seen.duration_sec, seen.duration_nsec, seen.idle_timeout, seen.hard_timeout)
    assert (*counted, seen.packet_count, seen.byte_count) == (1, 2, 3, 4, 5, 6)


@settings(max_examples=60)
@given(matches(), matches(), u8, u16, u16, u64, u64, u16, instructions, instructions)
def test_flow_entries_of_1_3(
    match: oxm.Match, other: oxm.Match, table: int, priority: int, new_priority: int, cookie: int, new_cookie: int,
    flags: int, wanted: list[a13.Instruction], new: list[a13.Instruction],
) -> None:  # fmt: skip
    rest = oxm.pack(match) + a13.pack_instructions(wanted)
    raw = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), table, 1, 2, priority, 3, 4, flags, cookie, 5, 6) + rest
    reply = stats.reply(4, 7, stats.FLOW, raw + raw)
    ours = f13.parse_entries(reply, stats.BODY[4])
    theirs = osken.read(reply).body
    assert [(each.table, each.priority, each.cookie) for each in ours] == [
        (each.table_id, each.priority, each.cookie) for each in theirs
    ]
    assert all(each.match == oxm.pack(match) for each in ours)
    changed = f13.rewrite_entry(
        raw, table ^ 1, oxm.pack(other), new_priority, flags ^ 1, new_cookie, a13.pack_instructions(new)
    )
    (seen,) = osken.read(stats.reply(4, 7, stats.FLOW, changed)).body
    assert (seen.table_id, seen.priority, seen.cookie, seen.flags) == (table ^ 1, new_priority, new_cookie, flags ^ 1)
    assert seen13(seen.match) == other
    assert repacked(seen.instructions) == a13.pack_instructions(new)
    counted = (seen.duration_sec, seen.duration_nsec, seen.idle_timeout, seen.hard_timeout)
    assert (*counted, seen.packet_count, seen.byte_count) == (1, 2, 3, 4, 5, 6)


def test_flow_removed_of_1_0() -> None:
    wanted = m10.pack(in_port=1)
    entry = flows.Entry(5, b"", f10.flow_mod(0, wanted, v10.ADD, cookie=77, priority=88), False)
    physical = m10.pack(in_port=1, dl_vlan=101)
    body = physical + struct.pack("!QHBxIIH2xQQ", 0x12340005, 99, 2, 10, 20, 30, 40, 50)
    seen = osken.read(upward.flow_removed(1, header.message(1, header.FLOW_REMOVED, 0, body), entry))
    assert (seen.cookie, seen.priority, seen.reason, seen.xid) == (77, 88, 2, 0)
    assert (seen.duration_sec, seen.duration_nsec, seen.idle_timeout) == (10, 20, 30)
    assert (seen.packet_count, seen.byte_count) == (40, 50)
    assert repacked([seen.match]) == wanted


def test_flow_removed_of_1_3() -> None:
    """The table is the one the controller asked for: the switch's own may be another one, behind an admission table."""
    wanted: oxm.Match = ((oxm.IN_PORT, 1, None),)
    entry = flows.Entry(5, b"", f13.flow_mod(0, oxm.pack(wanted), v10.ADD, table=3, cookie=77, priority=88), False)
    physical = oxm.pack((*wanted, (oxm.VLAN_VID, 0x1065, None)))
    body = struct.pack("!QHBBIIHHQQ", 0x12340005, 99, 2, 4, 10, 20, 30, 35, 40, 50) + physical
    seen = osken.read(upward.flow_removed(4, header.message(4, header.FLOW_REMOVED, 0, body), entry))
    assert (seen.cookie, seen.priority, seen.reason, seen.table_id, seen.xid) == (77, 88, 2, 3, 0)
    assert (seen.duration_sec, seen.duration_nsec, seen.idle_timeout, seen.hard_timeout) == (10, 20, 30, 35)
    assert (seen.packet_count, seen.byte_count) == (40, 50)
    assert seen13(seen.match) == wanted


# -- packet-out and packet-in ----------------------------------------------------------------------

FRAME = bytes.fromhex("0a0000000001 0a0000000002 8100 6065 0800") + b"payload of some frame"
FRAME_AT10 = 18
PORTS = frozenset((1, 2, 3))


@settings(max_examples=60)
@given(u32, st.sampled_from((1, v10.NONE)), st.lists(st.sampled_from((1, 2, 3)), unique=True, min_size=1), u16)
def test_packet_out_of_1_0(xid: int, in_port: int, ports: list[int], limit: int) -> None:
    # At least one action: without any, os-ken writes its fixed part over the frame.
    actions = [(a10.OUTPUT, port, limit) for port in ports]
    theirs = [osken.action10(action) for action in actions]
    data = osken.written(1, "PacketOut", header.NO_BUFFER, in_port, theirs, FRAME, xid=xid)
    verdict = vet_packet_out(Grant(1, 101, PORTS), data)
    assert isinstance(verdict, PacketOut)
    assert (verdict.in_port, verdict.frame) == (in_port, FRAME)
    assert verdict.message(xid) == data


@settings(max_examples=60)
@given(u32, st.sampled_from((1, v13.CONTROLLER)), st.lists(st.sampled_from((1, 2, 3)), unique=True), u16, u8)
def test_packet_out_of_1_3(xid: int, in_port: int, ports: list[int], limit: int, ttl: int) -> None:
    actions: list[a13.Action] = [(a13.SET_NW_TTL, ttl), *((a13.OUTPUT, port, limit) for port in ports)]
    theirs = [osken.action13(action) for action in actions]
    data = osken.written(4, "PacketOut", header.NO_BUFFER, in_port, theirs, FRAME, xid=xid)
    verdict = vet_packet_out(Grant(4, 101, PORTS), data)
    assert isinstance(verdict, PacketOut)
    assert (verdict.in_port, verdict.frame) == (in_port, FRAME)
    assert verdict.message(xid) == data


@given(u16, st.integers(1, 4095), st.sampled_from((b"\x81\x00", b"\x88\xa8")))
def test_packet_in_of_1_0(in_port: int, vid: int, tpid: bytes) -> None:
    frame = FRAME[:12] + tpid + (0x6000 | vid).to_bytes(2, "big") + FRAME[16:]
    body = struct.pack("!IHHBx", header.NO_BUFFER, len(frame), in_port, 1) + frame
    data = header.message(1, header.PACKET_IN, 0, body)
    seen = osken.read(data)
    assert seen.data == frame == data[FRAME_AT10:]
    assert classify.frame_vid(data, FRAME_AT10) == vid
    assert seen.in_port == in_port == int.from_bytes(data[14:16], "big")


@settings(max_examples=60)
@given(u32, st.integers(1, 4095), u64, u64, st.booleans())
def test_packet_in_of_1_3(in_port: int, vid: int, metadata: int, tunnel: int, told: bool) -> None:
    frame = FRAME[:14] + (0x6000 | vid).to_bytes(2, "big") + FRAME[16:]
    fields: list[oxm.Oxm] = [(oxm.IN_PORT, in_port, None), (oxm.METADATA, metadata, None)]
    fields += [(oxm.VLAN_VID, 0x1000 | vid, None)] if told else []
    fields += [(oxm.TUNNEL_ID, tunnel, None)]
    body = struct.pack("!IHBBQ", header.NO_BUFFER, len(frame), 1, 2, 3) + oxm.pack(fields) + b"\0\0" + frame
    data = header.message(4, header.PACKET_IN, 0, body)
    seen, found = osken.read(data), classify.classify13(data)
    assert found is not None
    assert seen.data == frame == data[found.frame_at :]
    assert (found.in_port, found.vid, found.stripped) == (seen.match["in_port"], vid, False)
    assert seen13(seen.match) == found.match
    delivered = classify.delivered_match(found.match, frozenset(), hide_tag=False)
    assert seen13(osken.parser13.OFPMatch.parser(delivered, 0)) == found.match


# -- groups and meters -----------------------------------------------------------------------------

buckets = st.lists(st.builds(g13.Bucket, u16, u32, u32, actions13), max_size=4)


@settings(max_examples=60)
@given(u32, u16, u8, u32, buckets)
def test_group_mod(xid: int, command: int, kind: int, group: int, wanted: list[g13.Bucket]) -> None:
    theirs = [
        osken.parser13.OFPBucket(each.weight, each.watch_port, each.watch_group, [*map(osken.action13, each.actions)])
        for each in wanted
    ]
    data = osken.written(4, "GroupMod", command, kind, group, theirs, xid=xid)
    assert data == g13.group_mod(xid, command, kind, group, g13.pack_buckets(wanted))
    assert g13.parse_group_mod(data) == (command, kind, group, wanted)


bands = st.lists(
    st.one_of(
        st.builds(g13.Band, st.just(g13.BAND_DROP), u32, u32, st.just(0)),
        st.builds(g13.Band, st.just(g13.BAND_DSCP_REMARK), u32, u32, u8),
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(u32, u16, u16, u32, bands)
def test_meter_mod(xid: int, command: int, flags: int, meter: int, wanted: list[g13.Band]) -> None:
    theirs = [
        osken.parser13.OFPMeterBandDrop(each.rate, each.burst)
        if each.kind == g13.BAND_DROP
        else osken.parser13.OFPMeterBandDscpRemark(each.rate, each.burst, each.extra)
        for each in wanted
    ]
    data = osken.written(4, "MeterMod", command, flags, meter, theirs, xid=xid)
    assert data == g13.meter_mod(xid, command, flags, meter, wanted)
    assert g13.parse_meter_mod(data) == (command, flags, meter, wanted)
