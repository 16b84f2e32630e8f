"""What one slice can see of, and do to, the other: nothing. Both versions unless the name says otherwise."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.emulation import E, EmulatedController
from tests.emulation import wire as of
from tests.loopback.scene import DPID, PORTS_A, PORTS_B, VLAN_A, VLAN_B, Scene, presented, slice_of


def refused_flow(version: int) -> tuple[int, int]:
    """FLOW_MOD_FAILED / EPERM."""
    return (3, 2) if version == of.V10 else (5, 4)


# --- what a controller sees ------------------------------------------------------------------------------------------


def test_a_slice_sees_a_switch_of_its_own(scene: Scene) -> None:
    for connection, vlan, ports in ((scene.A, VLAN_A, PORTS_A), (scene.B, VLAN_B, PORTS_B)):
        assert connection.features is not None
        assert connection.dpid == scene.presented(vlan)
        assert connection.features.n_buffers == 0
        assert [p.number for p in connection.ports] == ports
        assert [p.name for p in connection.ports] == [f"p{n}" for n in ports]


def test_hello_offers_only_what_the_switch_speaks(scene: Scene) -> None:
    first = scene.A.log[0]
    assert first.name == "hello"
    if scene.version == of.V10:
        assert first.version == 1 and len(first.raw) == 8
    else:
        assert first.version == 4
        assert first.body == struct.pack("!HHI", 1, 8, 1 << 4)


def test_packet_ins_reach_their_owner_only(scene: Scene) -> None:
    scene.switch.packet_in(1, E(VLAN_A, pcp=5), buffer_id=77)
    scene.switch.packet_in(2, E(VLAN_B, inner=VLAN_A))
    found = scene.A.expect_packet_in()
    assert (found.in_port, found.data, found.buffer_id) == (1, E(VLAN_A, pcp=5), of.NO_BUFFER)
    assert scene.B.expect_packet_in().data == E(VLAN_B, inner=VLAN_A)
    scene.fence()
    scene.A.expect_nothing()
    scene.B.expect_nothing()


@pytest.mark.parametrize(
    ("port", "frame"),
    [(4, E(VLAN_A)), (1, E(VLAN_B)), (2, E()), (2, E(0)), (2, E(999)), (2, E(VLAN_A, tpid=0x9100)), (2, b"\x81\x00")],
    ids=["A-on-B's-port", "B-on-A's-port", "untagged", "priority-tag", "unowned-vlan", "other-tag", "two-bytes"],
)
def test_packet_ins_of_nobody_reach_nobody(scene: Scene, port: int, frame: bytes) -> None:
    scene.switch.packet_in(port, frame)
    scene.fence()
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_port_changes_reach_those_who_have_the_port(scene: Scene) -> None:
    for port in (1, 4, 6, 2):
        scene.switch.port_status("modify", port, state=1)
    scene.fence()
    seen = {
        name: [of.parse_port_status(m).port.number for m in connection.unseen("port_status")]
        for name, connection in (("A", scene.A), ("B", scene.B))
    }
    assert seen == {"A": [1, 2], "B": [4, 2]}


def test_flow_removed_reaches_its_owner_who_asked(scene: Scene) -> None:
    version = scene.version
    scene.A.flow_mod(match=of.match(version, in_port=1), actions=of.output(version, 2), flags=1, cookie=0xCAFE)
    scene.A.flow_mod(match=of.match(version, in_port=2), actions=of.output(version, 1))
    scene.B.flow_mod(match=of.match(version, in_port=2), actions=of.output(version, 3))
    for connection in (scene.A, scene.B):
        connection.barrier()
    for entry in scene.slice_flows():
        scene.switch.expire(entry)
    removed = of.parse_flow_removed(scene.A.expect("flow_removed"))
    assert (removed.cookie, removed.priority, removed.reason) == (0xCAFE, 100, 0)
    assert removed.match == {"in_port": (1, 0xFFFF if version == of.V10 else 0xFFFFFFFF)}
    scene.fence()
    scene.A.expect_nothing()
    scene.B.expect_nothing()


# --- flow-mods -------------------------------------------------------------------------------------------------------


def test_every_flow_is_narrowed_to_the_slices_vlan(scene: Scene) -> None:
    version = scene.version
    scene.A.flow_mod(actions=of.output(version, 2))
    scene.B.flow_mod(match=of.match(version, vlan=VLAN_B), actions=of.output(version, 2))
    scene.A.barrier()
    scene.B.barrier()
    assert sorted((e.vlan, e.priority) for e in scene.slice_flows()) == [(VLAN_A, 100), (VLAN_B, 100)]
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_what_the_switch_does_with_frames_stays_inside_the_slice(scene: Scene) -> None:
    version = scene.version
    scene.A.flow_mod(actions=of.output(version, "flood"))
    scene.A.barrier()
    assert scene.switch.inject(1, E(VLAN_A)).sent == [(2, E(VLAN_A)), (3, E(VLAN_A))]
    for port, frame in ((1, E(VLAN_B)), (4, E(VLAN_A)), (6, E(VLAN_A)), (2, E())):
        assert scene.switch.inject(port, frame).sent == [], f"port {port}"


@pytest.mark.parametrize("vlan", [VLAN_B, "none", 4095])
@pytest.mark.parametrize("command", ["add", "modify", "delete", "delete_strict"])
def test_a_foreign_vlan_is_refused(scene10: Scene, command: str, vlan: int | str) -> None:
    refuse_foreign(scene10, command, vlan)


@pytest.mark.parametrize("vlan", [VLAN_B, "none"])
@pytest.mark.parametrize("command", ["add", "modify_strict", "delete", "delete_strict"])
def test_a_foreign_vlan_is_refused_in_1_3(scene13: Scene, command: str, vlan: int | str) -> None:
    refuse_foreign(scene13, command, vlan)


def refuse_foreign(scene: Scene, command: str, vlan: int | str) -> None:
    version = scene.version
    scene.B.flow_mod(actions=of.output(version, 3))
    scene.B.barrier()
    before = scene.switch.flows()
    raw = of.flow_mod(version, command, of.match(version, vlan=vlan), of.output(version, 2), xid=0xDEADBEEF)
    scene.A.send(raw)
    scene.A.expect_error(0xDEADBEEF, *refused_flow(version), sent=raw)
    scene.A.barrier()
    assert scene.switch.flows() == before
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_foreign_ports_are_refused(scene: Scene) -> None:
    version = scene.version
    xid = scene.A.flow_mod(match=of.match(version, in_port=4), actions=of.output(version, 2))
    scene.A.expect_error(xid, *refused_flow(version))
    for port in (4, 5, 77, "local", "normal", "table"):
        xid = scene.A.flow_mod(actions=of.output(version, port))
        scene.A.expect_error(xid, 2, 4)
    scene.A.barrier()
    assert scene.slice_flows() == []


def test_vlan_changing_actions_are_refused(scene: Scene) -> None:
    version = scene.version
    for action in (of.set_vlan(version, VLAN_B), of.strip_vlan(version)):
        xid = scene.A.flow_mod(actions=action + of.output(version, 2))
        scene.A.expect_error(xid, 2, 6)
    scene.A.flow_mod(actions=of.set_vlan(version, VLAN_A) + of.output(version, 2))
    scene.A.barrier()
    scene.A.expect_nothing()
    assert len(scene.slice_flows(VLAN_A)) == 1


def test_buffers_do_not_exist(scene: Scene) -> None:
    xid = scene.A.flow_mod(actions=of.output(scene.version, 2), buffer_id=5)
    scene.A.expect_error(xid, 1, 8)
    xid = scene.A.packet_out(b"", of.output(scene.version, 2), buffer_id=5)
    scene.A.expect_error(xid, 1, 8)


def test_flood_and_all_become_the_slices_ports(scene: Scene) -> None:
    version = scene.version
    scene.A.flow_mod(actions=of.output(version, "flood"), priority=1)
    scene.A.flow_mod(match=of.match(version, in_port=1), actions=of.output(version, "all"), priority=2)
    scene.A.barrier()
    found = {e.priority: sorted(e.outputs(version)) for e in scene.slice_flows(VLAN_A)}
    assert found == {1: [1, 2, 3], 2: [2, 3]}
    stats = {s.priority: s for s in scene.A.flow_stats()}
    for priority, name in ((1, "flood"), (2, "all")):
        lists = of.action_lists(version, stats[priority].actions)
        assert of.output_ports(version, lists[0]) == [of.PORTS[version][name]], "the controller sees what it wrote"


@pytest.mark.parametrize("command", ["delete", "modify"])
def test_commands_without_a_match_are_scoped(scene: Scene, command: str) -> None:
    version = scene.version
    for connection in (scene.A, scene.B):
        for port in (2, 3):
            connection.flow_mod(match=of.match(version, in_port=port), actions=of.output(version, 5 - port))
        connection.barrier()
    scene.A.flow_mod(command, actions=of.output(version, 1), table=0xFF if command == "delete" else 0)
    scene.A.barrier()
    outputs = {vlan: sorted(e.outputs(version)[0] for e in scene.slice_flows(vlan)) for vlan in (VLAN_A, VLAN_B)}
    assert outputs == {VLAN_A: [] if command == "delete" else [1, 1], VLAN_B: [2, 3]}
    assert len(scene.B.flow_stats()) == 2
    scene.B.expect_nothing()


def test_guards_survive_delete_all(scene: Scene) -> None:
    """The slice's own "delete everything" must not open ports that are not its own."""
    scene.A.flow_mod("delete", table=0xFF)
    scene.A.flow_mod(actions=of.output(scene.version, 2))
    scene.A.barrier()
    assert scene.switch.inject(4, E(VLAN_A)).sent == []
    assert scene.switch.inject(1, E(VLAN_A)).sent == [(2, E(VLAN_A))]


def test_a_foreign_cookie_selects_nothing(scene13: Scene) -> None:
    scene = scene13
    scene.A.flow_mod(actions=of.output(of.V13, 2), cookie=1)
    scene.A.barrier()
    physical = scene.slice_flows(VLAN_A)[0].cookie
    scene.B.flow_mod("delete", cookie=physical, cookie_mask=2**64 - 1, table=0xFF)
    scene.B.barrier()
    assert len(scene.slice_flows(VLAN_A)) == 1


def test_the_same_match_in_both_slices_is_two_entries(scene: Scene) -> None:
    version = scene.version
    match = of.match(version, in_port=2, eth_src="02:00:00:00:00:01", eth_dst="02:00:00:00:00:02")
    for connection in (scene.A, scene.B):
        connection.flow_mod(match=match, actions=of.output(version, 3), flags=2)
        connection.barrier()
        connection.expect_nothing()
    assert {e.vlan for e in scene.slice_flows()} == {VLAN_A, VLAN_B}


# --- packet-outs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [E(VLAN_B), E(), E(VLAN_B, inner=VLAN_A), E(VLAN_A, tpid=0x88A8)])
def test_packet_outs_of_other_frames_are_refused(scene10: Scene, frame: bytes) -> None:
    xid = scene10.A.packet_out(frame, of.output(of.V10, 2))
    scene10.A.expect_error(xid, 1, 5)
    scene10.A.barrier()
    assert scene10.switch.transmitted == []


def test_packet_outs_leave_on_the_slices_ports(scene: Scene) -> None:
    version = scene.version
    frame = E(VLAN_A, pcp=3)
    scene.A.packet_out(frame, of.output(version, 3))
    scene.A.packet_out(frame, of.output(version, "flood"), in_port=1)
    scene.A.packet_out(frame, of.output(version, "in_port"), in_port=2)
    scene.A.barrier()
    assert scene.switch.transmitted == [(3, frame), (2, frame), (3, frame), (2, frame)]
    xid = scene.A.packet_out(frame, of.output(version, 4))
    scene.A.expect_error(xid, 2, 4)
    xid = scene.A.packet_out(frame, of.output(version, "in_port"), in_port=4)
    scene.A.expect_error(xid, 1, 5 if version == of.V10 else 11)
    scene.A.barrier()
    assert len(scene.switch.transmitted) == 4


# --- statistics ------------------------------------------------------------------------------------------------------


def test_flow_statistics_show_own_flows_as_written(scene: Scene) -> None:
    version = scene.version
    match = of.match(version, in_port=2, eth_dst="02:00:00:00:00:09")
    scene.A.flow_mod(match=match, actions=of.output(version, 3), cookie=0xDEADBEEFCAFEF00D, priority=9, idle=30)
    for number in range(5):
        scene.B.flow_mod(match=of.match(version, eth_dst=f"02:00:00:00:00:{number:02x}"), actions=of.output(version, 3))
    scene.A.barrier()
    scene.B.barrier()
    (stat,) = scene.A.flow_stats()
    assert stat.match == of.parse_match(version, match)[0]
    assert (stat.cookie, stat.priority, stat.idle) == (0xDEADBEEFCAFEF00D, 9, 30)
    assert len(scene.B.flow_stats()) == 5
    assert scene.A.flow_stats(of.match(version, vlan=VLAN_B)) == []
    totals = struct.unpack_from("!QQI", scene.A.stats("aggregate", of.flow_stats_body(version)))
    assert totals[2] == 1


def test_large_statistics_arrive_whole_and_sliced(scene: Scene) -> None:
    version = scene.version
    scene.switch.stats_size = 2000
    for connection in (scene.A, scene.B):
        for number in range(150):
            match = of.match(version, eth_dst=f"02:00:00:00:00:{number:02x}")
            connection.flow_mod(match=match, actions=of.output(version, 3), cookie=number)
        connection.barrier()
    for connection in (scene.A, scene.B):
        assert sorted(s.cookie for s in connection.flow_stats()) == list(range(150))


def test_port_statistics_show_own_ports(scene: Scene) -> None:
    size = 104 if scene.version == of.V10 else 112
    body = scene.B.stats("port", of.port_stats_body(scene.version))
    width = 2 if scene.version == of.V10 else 4
    numbers = [int.from_bytes(body[i : i + width], "big") for i in range(0, len(body), size)]
    assert numbers == PORTS_B
    assert scene.A.stats("port", of.port_stats_body(scene.version, 4)) == b""


def test_descriptions_name_ones_own_vlan_and_nobody_elses(scene: Scene) -> None:
    texts = (b"emulation", b"emulated switch", b"1", b"0")
    for connection, vlan in ((scene.A, VLAN_A), (scene.B, VLAN_B)):
        datapath = f"vlan {vlan} of 0x{scene.dpid:016x}".encode()
        assert connection.stats("desc") == struct.pack("!256s256s256s32s256s", *texts, datapath)


def test_unknown_statistics_are_an_error(scene: Scene) -> None:
    for kind, code in ((77, 2), (0xFFFF, 3)):
        xid = scene.A.next_xid()
        scene.A.send(of.stats_request(scene.version, kind, bytes(8), xid=xid))
        scene.A.expect_error(xid, 1, code)


def test_queues_that_are_not_granted_do_not_exist(scene: Scene) -> None:
    version = scene.version
    xid = scene.A.flow_mod(actions=of.enqueue(version, 2, 7))
    scene.A.expect_error(xid, 2, 8)


# --- xids, barriers, errors ------------------------------------------------------------------------------------------


def test_a_barrier_is_answered_after_the_switch_has(scene: Scene) -> None:
    version = scene.version
    scene.switch.hold.add("barrier_reply")
    scene.A.flow_mod(actions=of.output(version, 2))
    xid = scene.A.request(version, "barrier_request")
    scene.switch.wait_held("barrier_reply")
    assert scene.slice_flows(VLAN_A), "the flow went before the barrier"
    scene.A.expect_nothing("barrier_reply")
    scene.switch.release()
    assert scene.A.expect("barrier_reply").xid == xid


def test_equal_xids_of_two_slices_do_not_mix(scene: Scene) -> None:
    version = scene.version
    scene.B.flow_mod(match=of.match(version, in_port=3), actions=of.output(version, 2), cookie=2)
    scene.B.barrier()
    scene.switch.hold |= {"barrier_reply", "stats_reply"}
    for connection in (scene.A, scene.B):
        connection.send(of.stats_request(version, "flow", of.flow_stats_body(version), xid=0x1234))
        connection.send(of.message(version, "barrier_request", b"", 0x1235))
    scene.switch.wait_held("stats_reply", 2)
    scene.switch.wait_held("barrier_reply")
    scene.switch.release()
    for connection, count in ((scene.A, 0), (scene.B, 1)):
        reply = connection.expect("stats_reply")
        assert reply.xid == 0x1234
        body = reply.raw[12 if version == of.V10 else 16 :]
        assert len(of.parse_flow_stats(version, body)) == count
        assert connection.expect("barrier_reply").xid == 0x1235
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_every_xid_comes_back_exactly(scene: Scene) -> None:
    for xid in (0, 0xFFFFFFFF, 1, 0x80000000):
        scene.A.send(of.message(scene.version, "barrier_request", b"", xid))
        assert scene.A.expect("barrier_reply").xid == xid
    on_the_wire = [m.xid for m in scene.switch.log("barrier_request")]
    assert len(on_the_wire) == len(set(on_the_wire))
    assert not {0, 0xFFFFFFFF} & set(on_the_wire)


def test_errors_of_the_switch_reach_whoever_caused_them(scene: Scene) -> None:
    version = scene.version
    full = (3, 0) if version == of.V10 else (5, 1)
    scene.switch.table.capacity = len(scene.switch.table.entries)
    raw = of.flow_mod(version, match_=of.match(version, in_port=1), actions=of.output(version, 2), xid=0xBEEF)
    scene.A.send(raw)
    scene.A.barrier()
    scene.A.expect_error(0xBEEF, *full, sent=raw)
    scene.A.expect_nothing()
    scene.B.expect_nothing()
    assert scene.A.flow_stats() == []


def test_local_and_forwarded_answers_keep_their_order(scene: Scene) -> None:
    version = scene.version
    scene.A.flow_mod(actions=of.output(version, 4), xid=0xF01)
    scene.A.flow_mod(actions=of.output(version, 2), xid=0xF02)
    scene.A.send(of.message(version, "barrier_request", b"", 0xF03))
    scene.A.send(of.message(version, "get_config_request", b"", 0xF04))
    scene.A.expect("get_config_reply")
    answers = [(m.name, m.xid) for m in scene.A.log if m.xid & ~0xF == 0xF00]
    assert answers == [("error", 0xF01), ("barrier_reply", 0xF03), ("get_config_reply", 0xF04)]


def test_configuration_is_each_controllers_own(scene: Scene) -> None:
    version = scene.version

    def miss_send_len(name: str) -> int:
        connection = getattr(scene, name)
        connection.request(version, "get_config_request")
        return int(struct.unpack("!HH", connection.expect("get_config_reply").body)[1])

    assert (miss_send_len("A"), miss_send_len("B")) == (128, 128)
    scene.A.request(version, "set_config", struct.pack("!HH", 0, 0xFFFF))
    assert (miss_send_len("A"), miss_send_len("B")) == (0xFFFF, 128)
    xid = scene.A.request(version, "set_config", struct.pack("!HH", 1, 64))
    scene.A.expect_error(xid, *((1, 5) if version == of.V10 else (10, 2)))


def test_two_controllers_of_one_slice(make_scene: Callable[..., Scene], version: int) -> None:
    scene = make_scene(version)
    second = EmulatedController(version, name="controller A2")
    scene.others.append(second)
    alice = scene.alice()
    alice["segments"][0]["controllers"].append(second.address)
    scene.vmoc.config["slices"] = [alice, scene.bob()]
    scene.up()
    a1, a2 = scene.A, second.wait_up(presented(VLAN_A))
    scene.switch.packet_in(1, E(VLAN_A))
    assert a1.expect_packet_in().data == a2.expect_packet_in().data == E(VLAN_A)
    a1.barrier()
    xid = a1.flow_mod(actions=of.output(version, 4))
    a1.expect_error(xid, 2, 4)
    for connection in (a1, a2):
        connection.expect_nothing()


def test_slices_everywhere_see_every_switch(make_scene: Callable[..., Scene], version: int) -> None:
    from tests.emulation import EmulatedSwitch

    scene = make_scene(version)
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [scene.a.address]), scene.bob()]
    other = EmulatedSwitch(scene.vmoc.address, 0xBB, version, ports=[1, 2])
    scene.others.append(other)
    scene.up()
    other.start()
    there = scene.a.wait_up(presented(VLAN_A, 0xBB))
    assert [p.number for p in there.ports] == [1, 2]
    assert [p.number for p in scene.a.wait_up(presented(VLAN_A, DPID)).ports] == list(range(1, 7))
    other.packet_in(1, E(VLAN_A))
    other.packet_in(1, E(VLAN_B))
    assert there.expect_packet_in().data == E(VLAN_A)
    other.echo()
    scene.fence()
    assert scene.A.unseen() == scene.B.unseen() == []
    there.flow_mod(actions=of.output(version, 2))
    there.barrier()
    assert [e.vlan for e in other.flows() if e.actions] == [VLAN_A]
    assert scene.slice_flows() == []
