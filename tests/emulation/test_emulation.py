"""The emulated switch and controller against each other, and against os-ken's own codec as a third opinion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from os_ken.ofproto import ofproto_parser, ofproto_protocol

from tests.emulation import Connection, E, EmulatedController, EmulatedSwitch, frame_fields
from tests.emulation import wire as of
from tests.emulation.frames import udp, vlan_of
from tests.emulation.layout import Message

BOTH = pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])


@pytest.fixture
def pair(version: int) -> Iterator[tuple[EmulatedSwitch, Connection]]:
    with EmulatedController(version) as controller, EmulatedSwitch(controller.there, version=version) as switch:
        yield switch, controller.wait_up(0xAA)


Pair = tuple[EmulatedSwitch, Connection]


@BOTH
def test_handshake_tells_the_ports(pair: Pair, version: int) -> None:
    _, connection = pair
    assert connection.features is not None and connection.features.n_buffers == 256
    assert [p.number for p in connection.ports] == [*range(1, 7), of.PORTS[version]["local"]]
    connection.expect_nothing()


@BOTH
def test_flows_are_added_replaced_modified_and_deleted(pair: Pair, version: int) -> None:
    switch, c = pair
    c.flow_mod(match=of.match(version, vlan=101, in_port=1), actions=of.output(version, 2), cookie=5)
    c.flow_mod(match=of.match(version, vlan=101, in_port=1), actions=of.output(version, 3), cookie=6)
    c.flow_mod(match=of.match(version, vlan=102), actions=of.output(version, 4), cookie=7)
    c.barrier()
    assert {(e.vlan, e.cookie) for e in switch.flows()} == {(101, 6), (102, 7)}
    c.flow_mod("modify", of.match(version, vlan=101), of.output(version, 5))
    c.barrier()
    assert switch.flows(101)[0].outputs(version) == [5]
    c.flow_mod("delete_strict", of.match(version, vlan=101), priority=100)
    c.barrier()
    assert switch.flows(101), "strict deletion needs the identical match"
    c.flow_mod("delete", of.match(version, vlan=101))
    c.barrier()
    assert [e.vlan for e in switch.flows()] == [102]
    c.expect_nothing()


@BOTH
def test_deletion_honours_out_port(pair: Pair, version: int) -> None:
    switch, c = pair
    for port in (2, 3):
        c.flow_mod(match=of.match(version, in_port=port), actions=of.output(version, port + 1))
    c.flow_mod("delete", out_port=4)
    c.barrier()
    assert [e.outputs(version) for e in switch.flows()] == [[3]]


def test_modify_without_a_match_adds_in_1_0_only() -> None:
    for version in (of.V10, of.V13):
        with EmulatedController(version) as controller, EmulatedSwitch(controller.there, 1, version) as s:
            c = controller.wait_up(1)
            c.flow_mod("modify", of.match(version, vlan=5), of.output(version, 1))
            c.barrier()
            assert len(s.flows()) == (1 if version == of.V10 else 0)


@pytest.mark.parametrize("version", [of.V13], ids=["1.3"])
def test_cookie_mask_confines_deletion(pair: Pair, version: int) -> None:
    switch, c = pair
    for number, cookie in enumerate((0x0001_0000_0000_0001, 0x0002_0000_0000_0001)):
        c.flow_mod(match=of.match(version, vlan=100 + number), actions=of.output(version, 1), cookie=cookie)
    c.flow_mod("delete", cookie=1 << 48, cookie_mask=0xFFFF << 48, table=0xFF)
    c.barrier()
    assert [e.vlan for e in switch.flows()] == [101]


@BOTH
def test_flow_removed_only_when_asked(pair: Pair, version: int) -> None:
    switch, c = pair
    c.flow_mod(match=of.match(version, vlan=1), cookie=1, flags=1)
    c.flow_mod(match=of.match(version, vlan=2), cookie=2)
    c.barrier()
    for entry in switch.flows():
        switch.expire(entry)
    removed = of.parse_flow_removed(c.expect("flow_removed"))
    assert (removed.cookie, removed.priority, removed.reason) == (1, 100, 0)
    switch.echo()
    c.expect_nothing()


@BOTH
def test_statistics_are_fragmented_and_joined(pair: Pair, version: int) -> None:
    switch, c = pair
    switch.stats_size = 500
    for number in range(40):
        c.flow_mod(match=of.match(version, vlan=number + 1), actions=of.output(version, 2), cookie=number)
    stats = c.flow_stats()
    assert sorted(s.cookie for s in stats) == list(range(40))
    assert sum(m.name == "stats_reply" for m in c.log) > 5
    only = c.flow_stats(of.match(version, vlan=7))
    assert [(s.vlan, s.cookie) for s in only] == [(7, 6)]


@BOTH
@pytest.mark.parametrize("kind", ["desc", "table", "aggregate", "port", "queue"])
def test_os_ken_reads_the_statistics(pair: Pair, version: int, kind: str) -> None:
    _, c = pair
    wildcard = 0xFFFF if version == of.V10 else 0xFFFFFFFF
    body = {
        "aggregate": of.flow_stats_body(version),
        "port": of.port_stats_body(version),
        "queue": (0xFFFC if version == of.V10 else wildcard).to_bytes(2 if version == of.V10 else 4, "big")
        + (b"\0\0" if version == of.V10 else b"")
        + b"\xff" * 4,
    }.get(kind, b"")
    c.stats(kind, body)
    reply = next(m for m in reversed(c.log) if m.name == "stats_reply")
    parsed = _os_ken(reply)
    assert parsed is not None and parsed.body
    assert parsed.type == of.STATS[version][kind]


@pytest.mark.parametrize("version", [of.V13], ids=["1.3"])
@pytest.mark.parametrize("kind", ["group_features", "meter_features", "table_features", "port_desc", "group_desc"])
def test_os_ken_reads_the_1_3_statistics(pair: Pair, version: int, kind: str) -> None:
    switch, c = pair
    bucket = b"\0\x20" + bytes(14) + of.output(version, 2)
    c.request(version, "group_mod", b"\0\0\0\0" + (9).to_bytes(4, "big") + bucket)
    c.stats(kind)
    assert switch.groups.keys() == {9}
    parsed = _os_ken(next(m for m in reversed(c.log) if m.name == "stats_reply"))
    assert parsed is not None and parsed.body


@BOTH
def test_os_ken_reads_the_asynchronous_messages(pair: Pair, version: int) -> None:
    switch, c = pair
    switch.packet_in(2, E(101, pcp=3), reason=1)
    parsed = _os_ken(c.expect("packet_in"))
    in_port = parsed.in_port if version == of.V10 else parsed.match["in_port"]
    assert (in_port, parsed.reason, parsed.data) == (2, 1, E(101, pcp=3))
    switch.port_status("modify", 3, state=1)
    parsed = _os_ken(c.expect("port_status"))
    assert (parsed.reason, parsed.desc.port_no, parsed.desc.state) == (2, 3, 1)
    c.flow_mod(match=of.match(version, vlan=8, in_port=1), flags=1, cookie=77)
    c.barrier()
    switch.expire(switch.flows()[0], reason=1)
    parsed = _os_ken(c.expect("flow_removed"))
    assert (parsed.cookie, parsed.reason, parsed.priority) == (77, 1, 100)


def _os_ken(message: Message) -> Any:
    """The message as os-ken's parsers see it."""
    datapath = ofproto_protocol.ProtocolDesc(message.version)
    return ofproto_parser.msg(
        datapath, message.version, message.type, len(message.raw), message.xid, bytearray(message.raw)
    )


@BOTH
def test_os_ken_reads_our_flow_mods(version: int) -> None:
    raw = of.flow_mod(version, match_=of.match(version, vlan=7, in_port=2), actions=of.output(version, 3), cookie=9)
    parsed = _os_ken(Message(raw))
    assert (parsed.cookie, parsed.priority) == (9, 100)
    if version == of.V13:
        assert dict(parsed.match.items()) == {"vlan_vid": 0x1007, "in_port": 2}
    else:
        assert (parsed.match.dl_vlan, parsed.match.in_port) == (7, 2)


@BOTH
def test_bad_messages_are_answered_with_errors(pair: Pair, version: int) -> None:
    _, c = pair
    xid = c.request(version, 99)
    c.expect_error(xid, 1, 1)
    xid = c.request(version, "experimenter", bytes(8))
    c.expect_error(xid, 1, 3)
    xid = c.flow_mod(actions=of.output(version, 200))
    c.expect_error(xid, 2, 4)
    xid = c.flow_mod(9)
    c.expect_error(xid, *((3, 4) if version == of.V10 else (5, 6)))
    xid = c.flow_mod(buffer_id=3)
    c.expect_error(xid, 1, 8)
    xid = c.next_xid()
    c.send(of.stats_request(version, 77, xid=xid))
    c.expect_error(xid, 1, 2)


@BOTH
def test_the_data_plane_follows_the_table(pair: Pair, version: int) -> None:
    switch, c = pair
    c.flow_mod(match=of.match(version, vlan=101, in_port=1), actions=of.output(version, 2) + of.output(version, 3))
    c.flow_mod(match=of.match(version), actions=of.output(version, "controller"), priority=0)
    c.barrier()
    assert switch.inject(1, E(101)).sent == [(2, E(101)), (3, E(101))]
    assert switch.inject(1, E(102)).sent == []
    assert c.expect_packet_in().data == E(102)
    c.packet_out(E(5), of.set_vlan(version, 6) + of.output(version, "flood"), in_port=1)
    c.barrier()
    assert [port for port, _ in switch.transmitted[2:]] == [2, 3, 4, 5, 6]
    assert {vlan_of(frame) for _, frame in switch.transmitted[2:]} == {6}


@BOTH
def test_muted_and_held_answers(pair: Pair, version: int) -> None:
    switch, c = pair
    switch.hold.add("barrier_reply")
    xid = c.request(version, "barrier_request")
    c.flow_mod(match=of.match(version, vlan=3))
    switch.wait_held("barrier_reply")
    c.echo()
    assert not c.unseen("barrier_reply")
    switch.release()
    assert c.expect("barrier_reply").xid == xid
    switch.mute.add("stats_reply")
    c.send(of.stats_request(version, "desc"))
    c.barrier()
    assert not c.unseen("stats_reply")


@BOTH
def test_byte_at_a_time_both_ways(version: int) -> None:
    with (
        EmulatedController(version, chunk=1) as controller,
        EmulatedSwitch(controller.there, 5, version, chunk=1) as switch,
    ):
        c = controller.wait_up(5)
        c.flow_mod(match=of.match(version, vlan=9), actions=of.output(version, 1))
        c.barrier()
        assert [e.vlan for e in switch.flows()] == [9]


def test_reset_reconnect_and_the_table_stays() -> None:
    with EmulatedController() as controller, EmulatedSwitch(controller.there, 6) as switch:
        c = controller.wait_up(6)
        c.flow_mod(match=of.match(of.V10, vlan=9))
        c.barrier()
        switch.drop("reset")
        assert c.expect_closed() == "reset"
        again = controller.wait_up(6)
        assert again is not c
        assert [s.vlan for s in again.flow_stats()] == [9]


def test_a_controller_that_never_reads_leaves_the_bytes_in_the_kernel() -> None:
    with EmulatedController(reading=False) as controller, EmulatedSwitch(controller.there, 7) as switch:
        controller.wait_connected()
        switch.wait_for(lambda: switch.peers, "connection")
        for _ in range(3):
            switch.send_raw(bytes(4_000_000))
        switch.wait_for(lambda: switch.peer.backlog > 0, "backlog")
        assert not controller.connections[0].log


def test_frames() -> None:
    assert E().hex().startswith("ffffffffffff0200000000010800") and len(E()) == 60
    assert E(0x64, pcp=5)[12:18].hex() == "8100a0640800" and len(E(100)) == 64
    assert E(100, inner=200)[12:22].hex() == "81000064810000c80800"
    assert E(7, tpid=0x88A8)[12:16].hex() == "88a80007"
    fields = frame_fields(E(101, payload=udp("10.0.0.1", "10.0.0.2", 1000, 2000)), in_port=4)
    assert (fields["vlan_vid"], fields["ipv4_dst"], fields["udp_dst"], fields["tp_src"]) == (
        0x1065, 0x0A000002, 2000, 1000,
    )  # fmt: skip
