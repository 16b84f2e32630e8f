"""``vmoc run --workers 2``: as one process to everybody outside, and no worker's end is another's business."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.emulation import E, EmulatedController, EmulatedSwitch, VmocProcess, wait_until
from tests.emulation import wire as of
from tests.emulation.process import children
from tests.loopback.scene import DEBUG, NO_RATES, presented, slice_of
from vmoc.v1 import events_pb2, events_pb2_grpc, resources_pb2, slices_pb2, slices_pb2_grpc, switches_pb2
from vmoc.v1 import switches_pb2_grpc as switches_grpc

pytestmark = pytest.mark.slow  # each test starts three processes or more
VLAN = 101
DPIDS = (0xA1, 0xA2, 0xA3, 0xA4)


class Floor:
    """Four switches, alice in VLAN 101 of all of them, and the processes of one VMOC."""

    def __init__(self, directory: Path, version: int, workers: int = 2, **config: Any) -> None:
        self.version = version
        self.alice = EmulatedController(version, name="alice")
        config = {"slices": [slice_of("alice", VLAN, [self.alice.address])], "limits": dict(NO_RATES)} | config
        self.vmoc = VmocProcess(directory, config, options=(*DEBUG, "--workers", str(workers)))
        self.switches = {dpid: EmulatedSwitch(self.vmoc.address, dpid, version) for dpid in DPIDS}
        self.others: list[EmulatedController] = []
        self.known: set[int] = set()

    def up(self) -> Floor:
        """Everything runs, and alice has all her switches."""
        self.vmoc.start()
        self.vmoc.wait_log("VMOC has started", 40)
        for switch in self.switches.values():
            switch.start()
        self.wait_up()
        return self

    def wait_up(self) -> None:
        for dpid in self.switches:
            self.alice.wait_up(presented(VLAN, dpid), 30)

    def at(self, dpid: int) -> Any:
        return self.alice.wait_up(presented(VLAN, dpid))

    def workers(self) -> list[int]:
        """Process ids, by the number of the worker."""
        found = children(self.vmoc.pid, "vmoc.daemon.workers.worker")
        self.known.update(found)
        return found

    def served_by(self, pid: int) -> set[int]:
        """The switches whose connections a process holds."""
        inodes = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(descriptor))
        ports = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes:
                ports[int(fields[2].rsplit(":", 1)[1], 16)] = int(fields[1].rsplit(":", 1)[1], 16)
        there = {port for port, here in ports.items() if here == self.vmoc.port}
        return {
            dpid
            for dpid, switch in self.switches.items()
            if switch.peers and switch.peer._sock.getsockname()[1] in there
        }

    def works(self, dpid: int) -> None:
        """A packet-in reaches alice, and what she answers reaches that switch, in her VLAN only."""
        connection, switch = self.at(dpid), self.switches[dpid]
        frame = E(VLAN, src="02:00:00:00:00:%02x" % (dpid & 0xFF))
        switch.packet_in(2, frame)
        assert connection.expect_packet_in(lambda got: got.data == frame).data == frame
        connection.flow_mod(match=of.match(self.version), actions=of.output(self.version, 1), priority=7)
        connection.barrier()
        assert [entry.outputs(self.version) for entry in switch.flows(VLAN) if entry.actions] == [[1]]

    def back(self, dpid: int, before: Any) -> None:
        """The switch has another connection to alice than ``before``."""
        virtual = presented(VLAN, dpid)
        self.alice.wait_for(lambda: [one for one in self.alice.live(virtual) if one is not before], "it to return", 30)

    @contextlib.contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(self.vmoc.config["grpc"]["listen"]) as opened:
            grpc.channel_ready_future(opened).result(20)
            yield opened

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.vmoc.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        assert found, f"{name} in {lines}"
        return sum(found)

    def close(self) -> None:
        if self.vmoc.running:
            self.workers()
        for part in (*self.switches.values(), self.alice, *self.others):
            part.stop()
        self.vmoc.stop()
        wait_until(lambda: not [pid for pid in self.known if alive(pid)], "every worker to be gone")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


Make = Callable[..., Floor]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Floor] = []

    def build(version: int, **config: Any) -> Floor:
        made.append(Floor(tmp_path, version, **config))
        return made[-1]

    yield build
    for floor in made:
        floor.close()


def test_one_slice_on_the_switches_of_two_workers(make: Make, version: int) -> None:
    floor = make(version).up()
    one, two = floor.workers()
    served = floor.served_by(one), floor.served_by(two)
    assert sorted(map(len, served)) == [2, 2] and served[0] | served[1] == set(DPIDS)
    for dpid in DPIDS:
        floor.works(dpid)
    # To whoever looks it is one.
    with floor.channel() as opened:
        switches = switches_grpc.SwitchServiceStub(opened)
        first = switches.ListSwitches(switches_pb2.ListSwitchesRequest(page_size=3))
        rest = switches.ListSwitches(switches_pb2.ListSwitchesRequest(page_size=3, page_token=first.next_page_token))
        names = [one.dpid for one in (*first.switches, *rest.switches)]
        assert names == [f"0x{dpid:016x}" for dpid in DPIDS] and not rest.next_page_token
        for dpid in DPIDS:
            flows = switches.ListFlows(switches_pb2.ListFlowsRequest(dpid=f"{dpid:#x}", slice_id="alice")).flows
            assert [one.dpid for one in flows if one.kind == switches_pb2.FLOW_KIND_SLICE] == [f"0x{dpid:016x}"]
        found: list[str] = []
        token = ""
        while True:
            page = switches.ListControllerConnections(
                switches_pb2.ListControllerConnectionsRequest(page_size=1, page_token=token)
            )
            found += [one.dpid for one in page.connections]
            token = page.next_page_token
            if not token:
                break
        assert sorted(found) == names
        told = slices_pb2_grpc.SliceServiceStub(opened).GetSlice(slices_pb2.GetSliceRequest(slice_id="alice"))
        states = {one.dpid: one.state for one in told.status.virtual_datapaths}
        assert states == dict.fromkeys(names, resources_pb2.VIRTUAL_DATAPATH_STATE_ACTIVE)
        graph = switches.GetTopology(switches_pb2.GetTopologyRequest())
        assert sorted(one.dpid for one in graph.switches) == names
        with pytest.raises(grpc.RpcError) as caught:
            switches.GetSwitch(switches_pb2.GetSwitchRequest(dpid="0xbeef"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert floor.metric("vmoc_packet_ins_total") == 4
    assert floor.metric("vmoc_switch_connected") == 4
    assert floor.metric("vmoc_worker_up") == 2


def test_a_change_has_reached_every_worker_when_the_call_returns(make: Make) -> None:
    floor = make(of.V13).up()
    bob = EmulatedController(of.V13, name="bob")
    floor.others.append(bob)
    with floor.channel() as opened:
        slices = slices_pb2_grpc.SliceServiceStub(opened)
        segment = resources_pb2.Segment(vlan_id=102, controllers=[bob.address])
        wanted = resources_pb2.Slice(slice_id="bob", segments=[segment])
        slices.RegisterSlice(slices_pb2.RegisterSliceRequest(slice=wanted))
        status = slices.GetSlice(slices_pb2.GetSliceRequest(slice_id="bob")).status
        assert len(status.virtual_datapaths) == 4
        for one in status.virtual_datapaths:
            assert one.state != resources_pb2.VIRTUAL_DATAPATH_STATE_PENDING, one
        for dpid in DPIDS:
            bob.wait_up(presented(102, dpid))
        slices.UnregisterSlice(slices_pb2.UnregisterSliceRequest(slice_id="bob"))
        for connection in list(bob.connections):
            connection.expect_closed()
    # And a reload.
    third = EmulatedController(of.V13, name="carol")
    floor.others.append(third)
    before = [floor.at(dpid) for dpid in DPIDS]
    floor.vmoc.reload(slices=[slice_of("alice", VLAN, [floor.alice.address]), slice_of("carol", 103, [third.address])])
    for dpid in DPIDS:
        third.wait_up(presented(103, dpid))
    assert before == [floor.at(dpid) for dpid in DPIDS]
    floor.vmoc.wait_log("slice=carol kind=slice-added")
    for name in ("bob", "carol"):
        told = [line for line in floor.vmoc.log().splitlines() if "slice-added" in line and f"slice={name}" in line]
        assert len(told) == 1, told


def test_a_killed_worker_is_replaced_and_the_other_notices_nothing(make: Make, version: int, tmp_path: Path) -> None:
    floor = make(version, state={"path": str(tmp_path / "vmoc.db")}).up()
    victim, other = floor.workers()
    lost, kept = floor.served_by(victim), floor.served_by(other)
    for dpid in DPIDS:
        floor.works(dpid)
    before = {dpid: floor.at(dpid) for dpid in DPIDS}
    (dpid, *_) = kept
    sent = [E(VLAN, src=f"02:00:00:01:{number >> 8:02x}:{number & 0xFF:02x}") for number in range(300)]
    for number, frame in enumerate(sent):
        floor.switches[dpid].packet_in(2, frame)
        if number == 100:
            os.kill(victim, signal.SIGKILL)
    for frame in sent:  # all of them, in order, and nothing else
        assert before[dpid].expect_packet_in().data == frame
    for each in lost:
        floor.back(each, before[each])
    for each in DPIDS:
        floor.works(each)
        # What alice had there has stayed: nothing was flushed, nor is it there twice.
        assert len([entry for entry in floor.switches[each].flows(VLAN) if entry.actions]) == 1
    assert all(floor.at(each) is before[each] for each in kept)
    wait_until(lambda: floor.metric("vmoc_worker_up") == 2, "both workers")
    assert floor.metric("vmoc_worker_restarts_total") == 1
    assert other in floor.workers() and victim not in floor.workers()
    with floor.channel() as opened:
        for item in events_pb2_grpc.EventServiceStub(opened).WatchEvents(
            events_pb2.WatchEventsRequest(resume_token="earliest"), timeout=10
        ):
            if item.event.name == "worker-lost":
                break


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_parent(make: Make, number: int) -> None:
    floor = make(of.V13).up()
    for dpid in DPIDS:
        floor.works(dpid)
    connections = [floor.at(dpid) for dpid in DPIDS]
    workers = floor.workers()
    for switch in floor.switches.values():
        switch.reconnect = None
    if number == signal.SIGTERM:
        assert floor.vmoc.terminate() == 0
    else:
        os.kill(floor.vmoc.pid, number)  # and nobody sweeps up after it
    wait_until(lambda: not [pid for pid in workers if alive(pid)], "the workers to end")
    for connection in connections:
        connection.expect_closed()
    for switch in floor.switches.values():
        assert len([entry for entry in switch.flows(VLAN) if entry.actions]) == 1
    if number == signal.SIGTERM:
        assert "kind=worker-lost" not in floor.vmoc.log() and "kind=switch-down" not in floor.vmoc.log()


@pytest.mark.timeout(180)
def test_flows_stay_when_the_number_of_workers_changes(tmp_path: Path) -> None:
    """Also when everybody is killed each time."""
    controller, vmoc = None, None
    switches: dict[int, EmulatedSwitch] = {}
    try:
        for turn, workers in enumerate((1, 3, 2)):
            floor = Floor(tmp_path, of.V13, workers, state={"path": str(tmp_path / "vmoc.db")})
            if controller is None:
                controller, vmoc, switches = floor.alice, floor.vmoc, floor.switches
            assert vmoc is not None
            floor.alice, floor.switches = controller, switches
            vmoc._options = (*DEBUG, "--workers", str(workers))
            vmoc.config["slices"] = [slice_of("alice", VLAN, [controller.address])]
            floor.vmoc = vmoc
            floor.up()
            for dpid in DPIDS:
                if turn == 0:
                    floor.works(dpid)
                floor.at(dpid).echo()
                flows = [entry for entry in switches[dpid].flows(VLAN) if entry.actions]
                assert len(flows) == 1, f"after a start with {workers} workers"
                deletes = [mod for mod in switches[dpid].flow_mods() if mod.command in (3, 4) and mod.priority == 7]
                assert not deletes
            assert "is not used" not in vmoc.log()
            for switch in switches.values():
                switch.stop()
            known = floor.workers()
            vmoc.kill()
            wait_until(lambda known=known: not [pid for pid in known if alive(pid)], "the workers to end")
        left = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".flows")
        assert left == ["vmoc.db.0.flows", "vmoc.db.1.flows"]
    finally:
        for switch in switches.values():
            switch.stop()
        if controller is not None:
            controller.stop()
        if vmoc is not None:
            vmoc.stop()


def test_two_switches_that_would_show_one_dpid_meet(make: Make) -> None:
    floor = make(of.V13).up()
    twin = EmulatedSwitch(floor.vmoc.address, 0x0123_0000_0000_0000 | DPIDS[1], of.V13)
    twin.start()
    try:
        floor.vmoc.wait_log("kind=dpid-collision")
        again = EmulatedSwitch(floor.vmoc.address, DPIDS[2], of.V13, reconnect=None)
        again.start()
        floor.vmoc.wait_log("reason=duplicate-dpid")
        again.stop()
    finally:
        twin.stop()
    for dpid in DPIDS:
        floor.works(dpid)
