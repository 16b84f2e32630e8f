"""Messages of both versions that both codecs can write or read: the same bytes, the same meaning."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import osken
from tests.property.wire import u8, u16, u32, u64
from vmoc.openflow import features, header, stats
from vmoc.openflow.features import Features

VERSIONS = pytest.mark.parametrize("version", [1, 4])
versions = st.sampled_from((1, 4))
MAC = bytes.fromhex("0a0b0c0d0e0f")


@given(versions, u32, st.binary(max_size=100))
def test_echo(version: int, xid: int, payload: bytes) -> None:
    request = header.message(version, header.ECHO_REQUEST, xid, payload)
    reply = header.echo_reply(request)
    assert osken.written(version, "EchoReply", payload, xid=xid) == reply
    assert osken.read(reply).data == payload


@given(versions, u32, u16, u16, st.binary(min_size=1, max_size=64))
def test_error(version: int, xid: int, kind: int, code: int, refused: bytes) -> None:
    ours = header.error(version, xid, (kind, code), refused)
    if kind != 0xFFFF:
        assert osken.written(version, "ErrorMsg", kind, code, refused, xid=xid) == ours
        message = osken.read(ours)
        assert (message.type, message.code, message.data, message.xid) == (kind, code, refused, xid)
    assert header.error_code(ours) == (kind, code)


def test_hello() -> None:
    message = osken.read(header.hello(4, (1, 4), 9))
    assert [element.versions for element in message.elements] == [[1, 4]]
    assert osken.read(header.hello(1, (1,), 9)).xid == 9
    assert header.hello(1, (1,), 9) == osken.written(1, "Hello", xid=9)
    assert header.hello_versions(osken.written(1, "Hello")) == {1}


BARE = ["FeaturesRequest", "GetConfigRequest", "BarrierRequest"]


@VERSIONS
@pytest.mark.parametrize("name", BARE)
def test_requests_of_a_bare_header(version: int, name: str) -> None:
    kinds = {"FeaturesRequest": 5, "GetConfigRequest": 7, "BarrierRequest": 18 if version == 1 else 20}
    assert osken.written(version, name, xid=3) == header.message(version, kinds[name], 3)


@st.composite
def raw_ports(draw: st.DrawFn, version: int) -> bytes:
    """A port description as a switch sends it."""
    name = draw(st.text("abcdefgh0123456789-", min_size=1, max_size=15)).encode()
    mac, config, state = draw(st.binary(min_size=6, max_size=6)), draw(u32), draw(u32)
    speeds = [draw(u32) for _ in range(4 if version == 1 else 6)]
    if version == 1:
        return struct.pack("!H6s16s6I", draw(u16), mac, name, config, state, *speeds)
    return struct.pack("!I4x6s2x16s8I", draw(u32), mac, name, config, state, *speeds)


def same_port(port: features.Port, theirs: Any) -> bool:
    """Whether os-ken reads the same from a port description."""
    name = theirs.name.decode() if isinstance(theirs.name, bytes) else theirs.name
    mac = bytes.fromhex(theirs.hw_addr.replace(":", ""))
    seen = (theirs.port_no, mac, name, theirs.config, theirs.state)
    return seen == (port.number, port.hw_addr, port.name, port.config, port.state)


@settings(max_examples=60)
@given(versions.flatmap(lambda version: st.tuples(st.just(version), raw_ports(version))), u8, u32, u32)
def test_port_status(case: tuple[int, bytes], reason: int, xid: int, config: int) -> None:
    version, raw = case
    port = features.parse_port(version, raw, 0)
    message = osken.read(features.port_status(version, xid, reason, port))
    assert message.reason == reason
    assert same_port(port, message.desc)
    changed = port.with_config(config)
    assert same_port(changed, osken.read(features.port_status(version, xid, reason, changed)).desc)


@settings(max_examples=60)
@given(u64, u32, u8, u8, u32, u32, st.lists(raw_ports(1), max_size=5, unique_by=lambda raw: raw[:2]))
def test_features(
    dpid: int, buffers: int, tables: int, auxiliary: int, capabilities: int, last: int, raw: list[bytes]
) -> None:
    ports = [features.parse_port(1, each, 0) for each in raw]
    data = features.features_reply(1, 7, Features(dpid, buffers, tables, 0, capabilities, last), ports)
    theirs = osken.read(data)
    seen = (theirs.datapath_id, theirs.n_buffers, theirs.n_tables, theirs.capabilities, theirs.actions)
    assert seen == (dpid, buffers, tables, capabilities, last)
    assert set(theirs.ports) == {port.number for port in ports}
    assert all(same_port(port, theirs.ports[port.number]) for port in ports)
    assert features.parse_features(data) == (dpid, buffers, tables, 0, capabilities, last)
    assert features.parse_ports(1, data, 32) == ports

    data = features.features_reply(4, 7, Features(dpid, buffers, tables, auxiliary, capabilities, last))
    theirs = osken.read(data)
    seen = (theirs.datapath_id, theirs.n_buffers, theirs.n_tables, theirs.auxiliary_id, theirs.capabilities)
    assert seen == (dpid, buffers, tables, auxiliary, capabilities)
    assert features.parse_features(data) == (*seen, last)


@settings(max_examples=40)
@given(st.lists(raw_ports(4), max_size=5))
def test_port_descriptions(raw: list[bytes]) -> None:
    (data,) = stats.replies(4, 7, stats.PORT_DESC13, raw)
    theirs = osken.read(data)
    ours = features.parse_ports(4, data, stats.BODY[4])
    assert len(theirs.body) == len(ours) == len(raw)
    assert all(same_port(port, each) for port, each in zip(ours, theirs.body, strict=True))


# -- statistics ------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(("name", "kind"), [("DescStatsRequest", stats.DESC), ("TableStatsRequest", stats.TABLE)])
def test_requests_without_a_body(version: int, name: str, kind: int) -> None:
    assert osken.written(version, name, 0, xid=5) == stats.request(version, 5, kind)


def test_port_desc_request() -> None:
    assert osken.written(4, "PortDescStatsRequest", 0, xid=5) == stats.request(4, 5, stats.PORT_DESC13)


@VERSIONS
def test_port_and_queue_requests(version: int) -> None:
    port = struct.pack("!H6x" if version == 1 else "!I4x", 7)
    assert osken.written(version, "PortStatsRequest", 0, 7, xid=5) == stats.request(version, 5, stats.PORT, port)
    queue = struct.pack("!H2xI" if version == 1 else "!II", 7, 9)
    assert osken.written(version, "QueueStatsRequest", 0, 7, 9, xid=5) == stats.request(version, 5, stats.QUEUE, queue)


@VERSIONS
def test_description(version: int) -> None:
    body = stats.desc_body(b"maker", b"hardware", b"software", b"serial", b"path")
    theirs = osken.read(stats.reply(version, 5, stats.DESC, body))
    shown = [
        theirs.body.mfr_desc,
        theirs.body.hw_desc,
        theirs.body.sw_desc,
        theirs.body.serial_num,
        theirs.body.dp_desc,
    ]
    texts = [text if isinstance(text, bytes) else text.encode() for text in shown]
    assert texts == [b"maker", b"hardware", b"software", b"serial", b"path"]


@given(versions, u64, u64, u32)
def test_aggregate(version: int, packets: int, octets: int, flows: int) -> None:
    theirs = osken.read(stats.reply(version, 5, stats.AGGREGATE, stats.aggregate_body(packets, octets, flows))).body
    theirs = theirs[0] if isinstance(theirs, list) else theirs
    assert (theirs.packet_count, theirs.byte_count, theirs.flow_count) == (packets, octets, flows)


def test_tables() -> None:
    items = [stats.table_item10(1, b"classifier", 0x3FFFFF, 1000, 5), stats.table_item10(2, b"", 0, 1, 0)]
    first, second = osken.read(stats.reply(1, 5, stats.TABLE, b"".join(items))).body
    assert (first.table_id, first.name.rstrip(b"\0"), first.wildcards) == (1, b"classifier", 0x3FFFFF)
    assert (first.max_entries, first.active_count, first.lookup_count) == (1000, 5, stats.UNAVAILABLE)
    assert (second.table_id, second.max_entries, second.matched_count) == (2, 1, stats.UNAVAILABLE)
    items = [stats.table_item13(1, 5), stats.table_item13(2, 0)]
    first, second = osken.read(stats.reply(4, 5, stats.TABLE, b"".join(items))).body
    assert (first.table_id, first.active_count, first.matched_count) == (1, 5, stats.UNAVAILABLE)
    assert (second.table_id, second.active_count, second.lookup_count) == (2, 0, stats.UNAVAILABLE)


@VERSIONS
def test_port_records(version: int) -> None:
    numbers = list(range(1, 13))
    item = struct.pack("!H6x12Q", 7, *numbers) if version == 1 else struct.pack("!I4x12QII", 7, *numbers, 30, 40)
    (shown,) = osken.read(stats.reply(version, 5, stats.PORT, item)).body
    assert stats.item_port(version, item) == shown.port_no == 7
    (hidden,) = osken.read(stats.reply(version, 5, stats.PORT, stats.masked_port_item(version, item))).body
    counted = [name for name in shown._fields if name not in ("port_no", "duration_sec", "duration_nsec")]
    assert [getattr(shown, name) for name in counted] == numbers
    assert [getattr(hidden, name) for name in counted] == [stats.UNAVAILABLE] * 12
    assert hidden.port_no == 7
    if version == 4:
        assert (hidden.duration_sec, hidden.duration_nsec) == (30, 40)


@VERSIONS
def test_queue_records(version: int) -> None:
    layout = "!H2xI3Q" if version == 1 else "!II3QII"
    items = [struct.pack(layout, 7, queue, 1, 2, 3, *((4, 5) if version == 4 else ())) for queue in (1, 2)]
    reply = stats.reply(version, 5, stats.QUEUE, b"".join(items))
    assert stats.fixed_items(reply, stats.QUEUE_STATS_LENGTH[version]) == items
    assert [(each.port_no, each.queue_id) for each in osken.read(reply).body] == [(7, 1), (7, 2)]
    assert [stats.item_port(version, item) for item in items] == [7, 7]


@VERSIONS
def test_replies_in_several_parts(version: int) -> None:
    layout = "!H2xI3Q" if version == 1 else "!II3QII"
    items = [struct.pack(layout, 7, queue, 1, 2, 3, *((4, 5) if version == 4 else ())) for queue in range(4000)]
    parts = [osken.read(part) for part in stats.replies(version, 5, stats.QUEUE, items)]
    assert [each.queue_id for part in parts for each in part.body] == list(range(4000))
    assert [part.flags for part in parts] == [1] * (len(parts) - 1) + [0]
    assert len(parts) > 1
