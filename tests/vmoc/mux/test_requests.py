"""What a virtual switch answers by itself, and what it passes on (vetting A.2, A.6, A.8; vectors F.2, F.10, F.12)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, endpoint, piece, with_limits, with_segment
from vmoc.events import Kind
from vmoc.model import Policy

TWO = with_segment(ALICE, controllers=(endpoint("alice"), endpoint("alice2")))
BOTH = pytest.mark.parametrize("version", [V10, V13])


# -- FEATURES, CONFIG (vectors 15..25) -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dpid", "ports", "capabilities", "actions"),
    [
        ("alice", 0x006400000000_00AA, [1, 2, 3], 0xC7, 0xFF7),
        ("bob", 0x00C800000000_00AA, [2, 3, 4], 0x87, 0x7F7),
        ("tina", 0x012C00000000_00AA, [1, 2, 5], 0x87, 0x7F1),
        ("uma", 0x019000000000_00AA, [1, 2, 3, 4, 5, 6], 0x87, 0x7F1),
    ],
)
def test_features_of_1_0(name: str, dpid: int, ports: list[int], capabilities: int, actions: int):
    book, switch = scene(V10)
    a = book.at(name)
    a.request("features_request", xid=7)
    reply = a.take_one("features_reply")
    features = of.parse_features(reply)
    assert reply.xid == 7
    assert (features.dpid, features.n_buffers, features.n_tables) == (dpid, 0, 1)
    assert (features.capabilities, features.actions) == (capabilities, actions)
    assert [port.number for port in features.ports] == ports
    real = {port.number: port for port in switch.model.ports.values()}
    assert all((p.hw, p.name, p.state) == (real[p.number].hw, p.name, real[p.number].state) for p in features.ports)
    assert not switch.inbox


def test_features_of_1_3():
    book, switch = scene(V13)
    b = book.at("bob")
    b.request("features_request", xid=8)
    features = of.parse_features(b.take_one("features_reply"))
    assert features.dpid == 0x00C80000000000AA
    assert (features.n_buffers, features.n_tables, features.auxiliary) == (0, 4, 0)
    assert not features.capabilities & (0x20 | 0x40 | 0x100)
    assert features.capabilities & 0x7 == 0x7
    assert not switch.inbox


@BOTH
def test_only_port_down_of_the_real_configuration_shows(version: int):
    book, switch = scene(version)
    switch.port_status("modify", 2, config=0x7F, state=1)
    book.clear()
    a = book.at("alice")
    if version == V10:
        a.request("features_request")
        ports = of.parse_features(a.take_one("features_reply")).ports
    else:
        ((_, body),) = a.stats_replies(a.stats("port_desc"))
        ports = of.parse_ports(version, body)
    assert [(p.number, p.config, p.state) for p in ports] == [(1, 0, 0), (2, 1, 1), (3, 0, 0)]


@BOTH
def test_echo_keeps_xid_and_payload(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.request("echo_request", b"abc", xid=9)
    assert a.take_one("echo_reply").raw == of.message(version, "echo_reply", b"abc", 9)


@BOTH
def test_configuration_is_each_controllers_own(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")

    def shown(end: object) -> tuple[int, int]:
        end.request("get_config_request")  # type: ignore[attr-defined]
        return struct.unpack("!HH", end.take_one("get_config_reply").body)  # type: ignore[attr-defined]

    assert shown(a) == (0, 128)
    a.request("set_config", struct.pack("!HH", 0, 0xFFFF))
    assert (shown(a), shown(b)) == ((0, 0xFFFF), (0, 128))
    assert not switch.inbox
    assert switch.model.miss_send_len == 0xFFFF, "ours, from when the switch came"


@pytest.mark.parametrize(
    ("version", "flags", "code"),
    [(V10, 1, (1, 5)), (V10, 2, (1, 5)), (V10, 4, (1, 5)), (V13, 1, (10, 2)), (V13, 3, (10, 2)), (V13, 4, (10, 0))],
)
def test_switch_wide_configuration_is_refused(version: int, flags: int, code: tuple[int, int]):
    book, _ = scene(version)
    a = book.at("alice")
    xid = a.request("set_config", struct.pack("!HH", flags, 5))
    a.error(xid, code)
    a.request("get_config_request")
    assert struct.unpack("!HH", a.take_one("get_config_reply").body) == (0, 128)


@BOTH
@pytest.mark.parametrize("name", ["features_request", "get_config_request", "barrier_request", "set_config"])
def test_wrong_sizes_are_refused(version: int, name: str):
    book, switch = scene(version)
    a = book.at("alice")
    xid = a.request(name, bytes(16))
    a.error(xid, (1, 6))
    assert not switch.inbox


@pytest.mark.parametrize(
    "name", ["role_request", "get_async_request", "set_async", "table_mod", "group_mod", "meter_mod"]
)
def test_wrong_sizes_of_1_3(name: str):
    book, _ = scene(V13)
    a = book.at("alice")
    xid = a.request(name, bytes(4))
    a.error(xid, (1, 6))


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        "0104001800001003000023200000000f0100000000000000",
        "0404001800001003" + "4f4e4600000008fc" + "0000000000000000",
    ],
)
def test_experimenters_are_not_offered(version: int, message: str):
    book, switch = scene(version)
    a = book.at("alice")
    sent = bytes([version]) + bytes.fromhex(message)[1:]
    a.send(sent)
    a.error(0x1003, (1, 3), sent)
    assert not switch.inbox


@BOTH
def test_an_experimenter_message_too_short_to_name_one(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    xid = a.request("experimenter", b"")
    a.error(xid, (1, 6))


# -- PORT_MOD (vectors 269..272) ------------------------------------------------------------------------


def port_mod(
    switch: SwitchEnd, port: int, config: int, mask: int, advertise: int = 0, hw: bytes | None = None
) -> bytes:
    hw = (switch.model.ports[port].hw if port in switch.model.ports else bytes(6)) if hw is None else hw
    if switch.version == V10:
        return of.message(V10, "port_mod", struct.pack("!H6sIII4x", port, hw, config, mask, advertise), 3)
    return of.message(V13, "port_mod", struct.pack("!I4x6s2xIII4x", port, hw, config, mask, advertise), 3)


NO_FLOOD, NO_PACKET_IN, PORT_DOWN, NO_FWD = 1 << 4, 1 << 6, 1, 1 << 5


@pytest.mark.parametrize(
    ("version", "port", "mask", "advertise", "hw", "code"),
    [
        (V10, 2, PORT_DOWN, 0, None, (1, 5)),
        (V10, 4, NO_FLOOD, 0, None, (4, 0)),
        (V10, 99, NO_FLOOD, 0, None, (4, 0)),
        (V10, 2, NO_FLOOD, 0, bytes(6), (4, 1)),
        (V10, 2, NO_FLOOD, 1, None, (1, 5)),
        (V10, 2, NO_FWD, 0, None, (1, 5)),
        (V13, 2, NO_FWD, 0, None, (7, 4)),
        (V13, 2, NO_FLOOD, 0, None, (7, 4)),
        (V13, 4, NO_PACKET_IN, 0, None, (7, 0)),
        (V13, 2, NO_PACKET_IN, 0, bytes(6), (7, 1)),
    ],
)
def test_ports_belong_to_the_operator(
    version: int, port: int, mask: int, advertise: int, hw: bytes | None, code: tuple[int, int]
):
    book, switch = scene(version)
    a = book.at("alice")
    sent = port_mod(switch, port, mask, mask, advertise, hw)
    a.send(sent)
    a.error(3, code, sent)
    assert not switch.inbox


@BOTH
def test_an_empty_mask_changes_nothing(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.send(port_mod(switch, 2, 0xFF, 0))
    assert not a.inbox and not switch.inbox


@BOTH
def test_port_mod_of_the_wrong_size(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.request("port_mod", bytes(20), xid=3)
    a.error(3, (1, 6))


def test_no_flood_is_virtual_and_reissues_floods():
    book, switch = scene(V10)
    a, b = book.at("alice"), book.at("bob")
    a.add("flood", eth_dst=1)
    a.add("all", eth_dst=3)
    book.clear()
    a.send(port_mod(switch, 3, NO_FLOOD, NO_FLOOD))
    mods = switch.flow_mods()
    assert [(m.command, of.output_ports(V10, m.actions)) for m in mods] == [
        ("modify_strict", [1, 2]),
        ("modify_strict", [1, 2, 3]),
    ]
    status = of.parse_port_status(a.take_one("port_status"))
    assert (status.reason, status.port.number, status.port.config) == (2, 3, NO_FLOOD)
    assert not b.inbox
    a.add("flood", eth_dst=2)
    b.add("flood")
    assert [of.output_ports(V10, m.actions) for m in switch.flow_mods()] == [[1, 2], [2, 3, 4]]
    a.packet_out(E(100), "flood")
    assert of.output_ports(V10, of.parse_packet_out(switch.take_one("packet_out")).actions) == [1, 2]
    a.send(port_mod(switch, 3, 0, NO_FLOOD))
    assert {tuple(of.output_ports(V10, m.actions)) for m in switch.flow_mods()} == {(1, 2, 3)}
    assert not switch.log("port_mod")
    a.send(port_mod(switch, 3, 0, NO_FLOOD))
    assert not switch.flow_mods(), "nothing changed, nothing written"


def test_flipping_no_flood_is_paid_for():
    book, switch = scene(V10, with_limits(ALICE, flow_mod_rate=10), BOB)
    a = book.at("alice")
    for number in range(5):
        a.add("flood", eth_dst=number)
    book.advance(2)
    book.clear()
    a.send(b"".join(port_mod(switch, 3, NO_FLOOD if n % 2 else 0, NO_FLOOD) for n in range(1, 20)))
    assert a.paused
    assert len(switch.log("flow_mod")) <= 15


@BOTH
def test_no_packet_in_is_virtual(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    a.send(port_mod(switch, 2, NO_PACKET_IN, NO_PACKET_IN))
    assert of.parse_port_status(a.take_one("port_status")).port.config == NO_PACKET_IN
    for port in (1, 2):
        switch.packet_in(port, E(100))
    switch.packet_in(2, E(200))
    assert [p.in_port for p in a.packet_ins()] == [1]
    assert [p.in_port for p in b.packet_ins()] == [2]
    a.send(port_mod(switch, 2, 0, NO_PACKET_IN))
    switch.packet_in(2, E(100))
    assert [p.in_port for p in a.packet_ins()] == [2]
    assert not switch.log("port_mod")


@BOTH
def test_ports_that_come_and_go_leave_no_configuration_behind(version: int):
    """A switch and a controller that play together: else what is kept of ports, and every journal of it, has no end."""
    book, switch = scene(version, piece("alice", 100), journal=True)
    a = book.at("alice")
    for number in range(100, 150):
        switch.port_status("add", number)
        a.send(port_mod(switch, number, NO_PACKET_IN, NO_PACKET_IN))
        switch.port_status("delete", number)
    assert not a.errors()
    assert len(book.mux._switches[0xAA, 0].datapaths[100].no_packet_in) == 1


def test_other_controllers_of_the_slice_learn_of_it():
    book, switch = scene(V13, *FOUR[1:], TWO)
    first, second = book.at("alice"), book.at("alice2")
    second.request("set_async", struct.pack("!6I", 3, 0, 0, 0, 15, 0))
    first.send(port_mod(switch, 2, NO_PACKET_IN, NO_PACKET_IN))
    assert first.log("port_status") and not second.log("port_status")


# -- TABLE_MOD and friends (vector 268) ------------------------------------------------------------------


def test_tables_belong_to_the_operator():
    book, switch = scene(V13)
    a = book.at("alice")
    for table, code in ((0, (8, 2)), (255, (8, 2)), (9, (8, 0))):
        xid = a.request("table_mod", struct.pack("!B3xI", table, 0))
        a.error(xid, code)
    assert not switch.inbox


# -- roles (vectors 273, 275) ----------------------------------------------------------------------------


def role(book: Playbook, name: str, wanted: int, generation: int = 0) -> tuple[int, int] | list[tuple[int, int]]:
    end = book.at(name)
    end.request("role_request", struct.pack("!I4xQ", wanted, generation))
    replies = end.take("role_reply")
    return struct.unpack("!I4xQ", replies[0].body) if replies else end.errors()  # type: ignore[return-value]


def test_roles_are_a_matter_among_the_slices_controllers():
    book, switch = scene(V13, TWO, BOB)
    assert role(book, "alice", 0) == (1, (1 << 64) - 1)
    assert role(book, "alice", 2, 1) == (2, 1)
    assert role(book, "alice2", 2, 0) == [(11, 0)]
    assert role(book, "alice2", 2, 2) == (2, 2)
    assert role(book, "alice", 0) == (3, 2)
    assert role(book, "bob", 0) == (1, (1 << 64) - 1)
    assert role(book, "alice", 9) == [(11, 2)]
    assert role(book, "alice", 1) == (1, 2)
    assert not switch.log("role_request")


def test_a_slave_may_not_change_the_switch():
    book, switch = scene(V13, TWO)
    assert role(book, "alice", 3, 1) == (3, 1)
    a = book.at("alice")
    hw = switch.model.ports[2].hw
    for message in (
        of.flow_mod(V13, "add", of.match(V13), b"", xid=5),
        of.packet_out(V13, E(100), of.output(V13, 2), xid=5),
        of.message(V13, "group_mod", bytes(8), 5),
        of.message(V13, "meter_mod", bytes(8), 5),
        of.message(V13, "port_mod", struct.pack("!I4x6s2xIII4x", 2, hw, 0, 0, 0), 5),
        of.message(V13, "table_mod", bytes(8), 5),
    ):
        a.send(message)
        a.error(5, (1, 10), message)
    assert not switch.inbox
    a.request("set_config", struct.pack("!HH", 0, 99))
    a.request("barrier_request")
    assert [m.name for m in a.take()] == ["barrier_reply"]
    assert a.flow_stats() == []
    book.at("alice2").add(2)
    assert switch.log("flow_mod")


def test_a_new_master_takes_the_packet_ins_of_a_slave():
    book, switch = scene(V13, TWO)
    first, second = book.at("alice"), book.at("alice2")
    switch.packet_in(1, E(100))
    assert len(first.packet_ins()) == len(second.packet_ins()) == 1
    role(book, "alice", 3, 1)
    switch.packet_in(1, E(100))
    assert len(first.packet_ins()) == 0
    assert len(second.packet_ins()) == 1
    role(book, "alice", 1)
    switch.packet_in(1, E(100))
    assert len(first.packet_ins()) == 1


# -- async masks (vector 224) ----------------------------------------------------------------------------


def test_async_masks_are_per_connection():
    book, switch = scene(V13, TWO)
    first, second = book.at("alice"), book.at("alice2")
    first.request("set_async", struct.pack("!6I", 0, 0, 7, 7, 15, 0))
    switch.packet_in(1, E(100))
    assert not first.packet_ins()
    assert len(second.packet_ins()) == 1
    first.request("get_async_request")
    assert first.take_one("get_async_reply").body == struct.pack("!6I", 0, 0, 7, 7, 15, 0)
    second.request("get_async_request")
    assert second.take_one("get_async_reply").body == struct.pack("!6I", 3, 0, 7, 7, 15, 0)
    first.request("set_async", struct.pack("!6I", 2, 0, 7, 7, 15, 0))
    switch.packet_in(1, E(100), reason=0)
    switch.packet_in(1, E(100), reason=1)
    assert [p.reason for p in first.packet_ins()] == [1]
    switch.packet_in(1, E(100), reason=2)
    assert not first.packet_ins()
    assert not switch.log("set_async")


def test_the_switch_is_asked_for_everything_once():
    book = Playbook()
    switch = book.switch(V13)
    assert [m.body for m in switch.log("set_async")] == [struct.pack("!6I", 7, 7, 7, 7, 15, 15)]


# -- QUEUE_GET_CONFIG (vector 28) ------------------------------------------------------------------------


@BOTH
def test_only_granted_queues_show(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    body = struct.pack("!H2x", 2) if version == V10 else struct.pack("!I4x", 2)
    a.request("queue_config_request", body, xid=6)
    asked = switch.take_one("queue_config_request")
    assert asked.body == body and asked.xid not in (0, 6, 0xFFFFFFFF)
    reply = a.take_one("queue_config_reply")
    assert reply.xid == 6
    queues = reply.raw[16:]
    assert struct.unpack_from("!I", queues)[0] == 7
    assert len(queues) == (8 if version == V10 else 16)


@BOTH
def test_queues_of_foreign_ports_do_not_exist(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for port in (4, 99):
        xid = a.request("queue_config_request", struct.pack("!H2x" if version == V10 else "!I4x", port))
        a.error(xid, (5, 0) if version == V10 else (9, 0))
    xid = a.request("queue_config_request", bytes(3))
    a.error(xid, (1, 6))
    assert not switch.inbox


def test_every_queue_of_every_port_in_1_3():
    book, _ = scene(V13)
    a = book.at("alice")
    a.request("queue_config_request", struct.pack("!I4x", 0xFFFFFFFF))
    reply = a.take_one("queue_config_reply")
    assert [struct.unpack_from("!II", reply.raw, at) for at in range(16, len(reply.raw), 16)] == [(7, 2)]


@BOTH
@pytest.mark.parametrize("body", [b"", bytes(8) + bytes(3), bytes(8) + struct.pack("!IHHII", 7, 4, 4, 0, 0)])
def test_a_malformed_queue_answer_is_dropped(version: int, body: bytes):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"queue_config_reply"}
    a.request("queue_config_request", struct.pack("!H2x" if version == V10 else "!I4x", 2))
    asked = switch.take_one("queue_config_request")
    switch.send(of.message(version, "queue_config_reply", body, asked.xid))
    assert not a.inbox
    assert book.mux.counters.malformed["south"] == 1


# -- FLOW_MOD by the whole chain -------------------------------------------------------------------------


@BOTH
def test_a_dear_selection_is_paid_for(version: int):
    book, _ = scene(version, with_limits(ALICE, max_flows=0, flow_mod_rate=1000))
    a = book.at("alice")
    for number in range(600):
        a.add(2, eth_dst=number)
        book.advance(0.01)
    messages = b"".join(of.flow_mod(version, "delete_strict", of.match(version, eth_dst=1), xid=n) for n in range(900))
    a.send(messages)
    assert a.paused, "900 messages are within the rate, 900 looks at 599 flows are not"


@BOTH
def test_the_quota_is_told_once_in_a_while(version: int):
    book, _ = scene(version, policy=Policy(error_rate=0))
    a = book.at("alice")
    for number in range(30):
        a.add(2, eth_dst=number)
    full = (3, 0) if version == V10 else (5, 1)
    assert a.errors() == [full] * 20
    assert len(book.told(Kind.QUOTA)) == 1
    book.advance(11)
    a.add(2, eth_dst=99)
    first, second = (event.detail for event in book.told(Kind.QUOTA))
    assert (first["limit"], first["value"], second["count"]) == ("max_flows", 10, 20)
