"""Reload, drain, limits, fail modes, per-VLAN listeners, the default controller: what an operator does with VMOC."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.emulation import E, EmulatedController, EmulatedSwitch, free_port, wait_until
from tests.emulation import wire as of
from tests.emulation.frames import vlan_of
from tests.emulation.process import QUICK_TIMERS, vmoc_command
from tests.loopback.scene import DPID, NO_RATES, PORTS_A, PORTS_B, VLAN_A, VLAN_B, Scene, presented, slice_of

Make = Callable[..., Scene]
pytestmark = pytest.mark.slow  # each test starts a VMOC of its own


# --- reload ----------------------------------------------------------------------------------------------------------


def test_reload_adds_a_slice_and_touches_nobody(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    third = EmulatedController(scene.version, name="controller C")
    scene.others.append(third)
    scene.vmoc.reload(slices=[scene.alice(), scene.bob(), slice_of("carol", 103, [third.address], [5, 6])])
    c = third.wait_up(presented(103))
    assert [p.number for p in c.ports] == [5, 6]
    scene.switch.packet_in(5, E(103))
    assert c.expect_packet_in().data == E(103)
    assert (a, b) == (scene.A, scene.B)
    assert len(scene.slice_flows(VLAN_A)) == len(scene.slice_flows(VLAN_B)) == 1


def test_reload_removes_a_slice_and_all_its_flows(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    scene.vmoc.reload(slices=[scene.alice()])
    b.expect_closed()
    scene.switch.wait_for(lambda: not scene.switch.flows(VLAN_B), "end of B's flows, guards included")
    assert scene.A is a
    assert len(scene.slice_flows(VLAN_A)) == 1
    scene.switch.packet_in(3, E(VLAN_B))
    scene.switch.echo()
    a.expect_nothing()


def test_a_slice_removed_while_the_switch_was_away_leaves_nothing(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    scene.switch.stop()
    scene.vmoc.reload(slices=[scene.alice()])
    scene.vmoc.wait_log("config-reloaded")
    scene.switch.start()
    scene.a.wait_up(presented(VLAN_A))
    assert scene.switch.flows(VLAN_B) == []
    assert len(scene.slice_flows(VLAN_A)) == 1


def test_reload_with_the_same_file_changes_nothing(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    before = len(scene.switch.log("flow_mod"))
    scene.vmoc.reload()
    scene.vmoc.wait_log("config-reloaded")
    a.barrier()
    b.barrier()
    assert (a, b) == (scene.A, scene.B)
    assert len(scene.switch.log("flow_mod")) == before


def test_reload_moves_a_slice_to_another_controller(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    other = EmulatedController(scene.version, name="new controller A")
    scene.others.append(other)
    scene.vmoc.reload(slices=[slice_of("alice", VLAN_A, [other.address], PORTS_A), scene.bob()])
    a.expect_closed()
    new = other.wait_up(presented(VLAN_A))
    assert [s.priority for s in new.flow_stats()] == [7], "flows belong to the slice, not to its controller"
    assert scene.B is b


def test_reload_gives_a_slice_to_another_owner(own_scene: Scene) -> None:
    """The VLAN changes hands: the new owner starts with an empty table."""
    scene = own_scene
    scene.check_works()
    heir = EmulatedController(scene.version, name="heir")
    scene.others.append(heir)
    scene.vmoc.reload(slices=[slice_of("heir", VLAN_A, [heir.address], PORTS_A), scene.bob()])
    new = heir.wait_up(presented(VLAN_A))
    assert new.flow_stats() == []
    assert scene.slice_flows(VLAN_A) == []


def test_reload_adds_and_removes_ports(own_scene: Scene) -> None:
    scene = own_scene
    a, b = scene.A, scene.B
    version = scene.version
    a.flow_mod(actions=of.output(version, "flood"))
    a.barrier()
    scene.vmoc.reload(slices=[slice_of("alice", VLAN_A, [scene.a.address], [1, 2, 5]), scene.bob()])
    changes = {}
    for _ in range(2):
        status = of.parse_port_status(a.expect("port_status"))
        changes[status.port.number] = status.reason
    assert changes == {5: 0, 3: 1}
    a.barrier()
    assert [sorted(e.outputs(version)) for e in scene.slice_flows(VLAN_A)] == [[1, 2, 5]]
    assert scene.switch.inject(3, E(VLAN_A)).sent == []
    assert [port for port, _ in scene.switch.inject(5, E(VLAN_A)).sent] == [1, 2]
    assert (a, b) == (scene.A, scene.B)
    b.expect_nothing()


def test_a_wrong_file_is_not_loaded(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    good = scene.vmoc.file.read_text()
    scene.vmoc.file.write_text(good + "\nslises: []\n")
    scene.vmoc.signal(signal.SIGHUP)
    scene.vmoc.wait_log("slises")
    a.barrier()
    b.barrier()
    assert (a, b) == (scene.A, scene.B)
    scene.vmoc.file.write_text(good)


# --- the end ---------------------------------------------------------------------------------------------------------


def test_sigterm_drains_and_keeps_flows(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    version = scene.version
    a.send(of.flow_mod(version, match_=of.match(version, in_port=2), actions=of.output(version, 3), priority=8))
    a.barrier()
    assert scene.vmoc.terminate() == 0
    for connection in (a, b):
        assert connection.expect_closed() == "eof"
    assert len(scene.slice_flows(VLAN_A)) == 2 and len(scene.slice_flows(VLAN_B)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_without_anybody_connected(make_scene: Make, number: int) -> None:
    scene = make_scene()
    scene.vmoc.start()
    scene.vmoc.signal(number)
    wait_until(lambda: not scene.vmoc.running, "the end")
    assert scene.vmoc.returncode == 0


def test_a_port_in_use_is_named(make_scene: Make) -> None:
    scene = make_scene()
    scene.vmoc.start()
    second = make_scene()
    second.vmoc.config["openflow"] = scene.vmoc.config["openflow"]
    second.vmoc.launch()
    wait_until(lambda: not second.vmoc.running, "the second one's end")
    assert second.vmoc.returncode == 1
    assert str(scene.vmoc.port) in second.vmoc.log()


def test_a_wrong_file_ends_with_2_and_its_place(make_scene: Make) -> None:
    scene = make_scene()
    scene.vmoc.write_config()
    lines = scene.vmoc.file.read_text().splitlines()
    scene.vmoc.file.write_text("\n".join([*lines, "openflo: {}"]) + "\n")
    command = [*vmoc_command(), "run", "-c", str(scene.vmoc.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert f"{scene.vmoc.file}:{len(lines) + 1}" in said and "openflo" in said
    assert "Traceback" not in said


# --- fail modes ------------------------------------------------------------------------------------------------------


def test_fail_mode_secure_keeps_flows(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    scene.a.kill()
    scene.switch.packet_in(1, E(VLAN_A))
    scene.switch.echo()
    scene.B.barrier()
    assert len(scene.slice_flows(VLAN_A)) == 1
    scene.a.listen()
    assert len(scene.A.flow_stats()) == 1


def test_fail_mode_flush_removes_flows(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    scene.vmoc.config["slices"] = [scene.alice(fail_mode="flush"), scene.bob()]
    scene.up().check_works()
    scene.a.kill()
    scene.switch.wait_for(lambda: not scene.slice_flows(VLAN_A), "flush")
    assert len(scene.slice_flows(VLAN_B)) == 1
    assert scene.switch.inject(4, E(VLAN_A)).sent == []
    scene.a.listen()
    assert scene.A.flow_stats() == []


def test_fail_mode_standalone_switches_by_itself(make_scene: Make, version: int) -> None:
    scene = make_scene(version, timers=QUICK_TIMERS | {"standalone_after": 0.2})
    scene.vmoc.config["slices"] = [scene.alice(fail_mode="standalone"), scene.bob()]
    scene.up()
    scene.a.kill()
    scene.switch.wait_for(lambda: scene.slice_flows(VLAN_A), "the standalone entry")
    (entry,) = scene.slice_flows(VLAN_A)
    assert entry.priority == 0
    assert sorted(port for port, _ in scene.switch.inject(1, E(VLAN_A)).sent) == [2, 3]
    assert scene.switch.inject(4, E(VLAN_A)).sent == []
    scene.a.listen()
    assert scene.A.flow_stats() == []
    assert scene.slice_flows(VLAN_A) == []


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_slice_over_its_flow_mod_rate_is_slowed_not_cut(make_scene: Make, version: int) -> None:
    scene = make_scene(version, limits=NO_RATES | {"flow_mod_rate": 100}).up()
    b = scene.B
    for number in range(250):
        scene.A.flow_mod(match=of.match(version, eth_dst=f"02:00:00:00:00:{number:02x}"), actions=of.output(version, 2))
    begun = time.monotonic()
    b.flow_mod(actions=of.output(version, 3))
    b.barrier()
    quick = time.monotonic() - begun
    scene.A.barrier(20)
    slow = time.monotonic() - begun
    assert len(scene.slice_flows(VLAN_A)) == 250
    assert slow > 1.0 > quick, f"A took {slow:.1f} s, B {quick:.1f} s"
    scene.A.expect_nothing()


def test_packet_ins_over_the_rate_are_dropped_for_that_slice_only(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    alice = scene.alice() | {"limits": {"packet_in_rate": 20}}
    scene.vmoc.config["slices"] = [alice, scene.bob()]
    scene.up()
    for _ in range(300):
        scene.switch.packet_in(1, E(VLAN_A))
        scene.switch.packet_in(2, E(VLAN_B))
    scene.fence()
    assert len(scene.B.unseen("packet_in")) == 300
    assert 1 <= len(scene.A.unseen("packet_in")) < 150


def test_flow_quota(make_scene: Make, version: int) -> None:
    scene = make_scene(version, limits=NO_RATES | {"max_flows": 5}).up()
    full = (3, 0) if version == of.V10 else (5, 1)
    for number in range(5):
        scene.A.flow_mod(match=of.match(version, in_port=1), priority=number, actions=of.output(version, 2))
    xid = scene.A.flow_mod(match=of.match(version, in_port=1), priority=5, actions=of.output(version, 2))
    scene.A.expect_error(xid, *full)
    scene.A.flow_mod(match=of.match(version, in_port=1), priority=0, actions=of.output(version, 3))
    scene.A.flow_mod("delete_strict", of.match(version, in_port=1), priority=1)
    scene.A.flow_mod(match=of.match(version, in_port=1), priority=5, actions=of.output(version, 2))
    scene.A.barrier()
    scene.A.expect_nothing()
    assert sorted(e.priority for e in scene.slice_flows(VLAN_A)) == [0, 2, 3, 4, 5]
    scene.B.flow_mod(actions=of.output(version, 2))
    scene.B.barrier()
    scene.B.expect_nothing()


# --- per-VLAN listener -----------------------------------------------------------------------------------------------


def test_a_switch_on_a_per_vlan_listener_is_untagged(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    native = free_port()
    listeners = scene.vmoc.config["openflow"]["listen"]
    listeners.append({"address": "127.0.0.1", "port": native, "vlan": VLAN_A})
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [scene.a.address]), scene.bob()]
    for part in ("controllers", "vmoc"):
        scene.start(part)
    switch = EmulatedSwitch(("127.0.0.1", native), 0xBB, version, ports=[1, 2])
    scene.others.append(switch)
    switch.start()
    a = scene.a.wait_up(presented(VLAN_A, 0xBB))
    frame = E(src="02:00:00:00:00:05")
    switch.packet_in(1, frame)
    assert a.expect_packet_in().data == frame
    a.flow_mod(match=of.match(version, in_port=1), actions=of.output(version, "flood"))
    a.packet_out(frame, of.output(version, 2))
    a.barrier()
    (entry,) = [e for e in switch.flows() if e.actions]
    assert (entry.vlan, entry.outputs(version)) == (None, [2])
    assert switch.transmitted == [(2, frame)]
    xid = a.flow_mod(match=of.match(version, vlan=VLAN_A), actions=of.output(version, 2))
    a.expect_error(xid, *((3, 2) if version == of.V10 else (5, 4)))
    xid = a.flow_mod(actions=of.set_vlan(version, VLAN_A) + of.output(version, 2))
    a.expect_error(xid, 2, 6)
    a.barrier()
    assert len([e for e in switch.flows() if e.actions]) == 1


def test_tagged_frames_on_a_per_vlan_listener_reach_no_other_slice(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    native = free_port()
    scene.vmoc.config["openflow"]["listen"].append({"address": "127.0.0.1", "port": native, "vlan": VLAN_A})
    everywhere = slice_of("bob", VLAN_B, [scene.b.address])
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [scene.a.address]), everywhere]
    for part in ("controllers", "vmoc"):
        scene.start(part)
    switch = EmulatedSwitch(("127.0.0.1", native), 0xBB, version, ports=[1, 2])
    scene.others.append(switch)
    switch.start()
    scene.a.wait_up(presented(VLAN_A, 0xBB))
    switch.packet_in(1, E(VLAN_B))
    switch.echo()
    assert scene.b.live() == []


# --- the default controller ------------------------------------------------------------------------------------------


def test_a_slice_without_a_controller_gets_the_learning_switch(make_scene: Make, version: int) -> None:
    scene = make_scene(version, default_controller={"mode": "builtin"})
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [], PORTS_A), scene.bob()]
    scene.b.listen()
    scene.vmoc.start()
    switch = scene.switch.start()
    switch.wait_connected()
    one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
    there, back = E(VLAN_A, src=one, dst=two), E(VLAN_A, src=two, dst=one)

    def reaches(port: int, frame: bytes, targets: set[int]) -> Callable[[], bool]:
        """Sends the frame and looks where it went, now or by an earlier attempt."""

        def attempt() -> bool:
            switch.inject(port, frame)
            with switch.changed:
                return switch.changed.wait_for(lambda: targets <= gone(frame), 0.2)

        return attempt

    def gone(frame: bytes) -> set[int]:
        return {port for port, sent in switch.transmitted if sent == frame}

    wait_until(reaches(1, there, {2, 3}), "the unknown address to be flooded", 20)
    wait_until(reaches(2, back, {1}), "the learnt address")
    assert gone(back) == {1}
    switch.wait_for(lambda: scene.slice_flows(VLAN_A), "a learnt flow")
    assert {vlan_of(frame) for _, frame in switch.transmitted} == {VLAN_A}
    assert {port for port, _ in switch.transmitted} <= set(PORTS_A)


def test_a_slice_without_any_controller_is_quiet(make_scene: Make) -> None:
    scene = make_scene(of.V13)
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [], PORTS_A), scene.bob()]
    scene.b.listen()
    scene.vmoc.start()
    scene.switch.start()
    b = scene.B
    scene.switch.packet_in(1, E(VLAN_A))
    scene.switch.echo()
    b.expect_nothing()
    assert scene.slice_flows() == []
    assert [p.number for p in b.ports] == PORTS_B
    assert b.dpid == presented(VLAN_B, DPID)
