"""The harness itself: a private Open vSwitch, frames and tags, no VMOC. If this fails, believe no other test here."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from mininet_scenarios.frames import Wire
from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.processes import Process, descendants, wait_until
from tests.ovs.lab import NORTH, Lab

DIRECT = f"tcp:127.0.0.1:{NORTH}"


def test_a_standalone_bridge_carries_tags_as_they_are(lab: Lab) -> None:
    lab.ovs.add_bridge("br0", 1, fail_mode="standalone")
    lab.ovs.add_port("br0", "br0p1", 1)
    lab.ovs.add_port("br0", "br0p2", 2)
    lab.ovs.add_port("br0", "br0p3", 3, tag=101)
    access = Wire("br0p3")
    lab.stack.callback(access.close)
    lab.passes(101, "br0p1", "br0p2")
    wait_until(access.listen, "the access port to hear VLAN 101")
    assert access.heard[0][12:14] == b"\x88\xb5", "an access port takes the tag off"
    mark = lab.passes(102, "br0p1", "br0p2")
    assert not any(mark in one for one in access.listen())


@pytest.mark.parametrize(("app", "protocol"), [("simple_switch", "OpenFlow10"), ("simple_switch_13", "OpenFlow13")])
def test_the_sample_controllers_work_on_a_plain_switch(lab: Lab, app: str, protocol: str) -> None:
    lab.app(app)
    lab.bridge(protocols=[protocol], controllers=[DIRECT])
    lab.wire("br0p3")
    lab.passes(101, "br0p1", "br0p2", "br0p3")
    lab.unicast(101, "br0p2", "br0p1")
    expected = ("in_port=2", "dl_dst=02:00:00:00:00:01", "actions=output:1")
    wait_until(lambda: any(all(part in flow for part in expected) for flow in lab.flows()), "a learned flow")


def test_flows_survive_the_controller_and_not_the_switch(lab: Lab) -> None:
    controller = lab.app("simple_switch_13")
    lab.bridge(controllers=[DIRECT])
    lab.talk(101, "br0p1", "br0p2")
    before = lab.flows()
    controller.kill()
    wait_until(lambda: not lab.ovs.connected("br0"), "the loss to be noticed")
    assert lab.flows() == before
    lab.ovs.kill_switch()
    lab.ovs.start_switch()
    assert lab.flows() == []
    assert {"br0", "br0p1", "br0p2", "br0p3"} <= interfaces()


def test_two_instances_do_not_meet(lab: Lab) -> None:
    lab.ovs.add_bridge("br0", 1)
    first = lab.ovs.vsctl("list-br")
    script = (
        "from mininet_scenarios.namespaces import NetworkNamespace\n"
        "from mininet_scenarios.openvswitch import PrivateOvs\n"
        "with NetworkNamespace.create() as ns, ns.entered(), PrivateOvs() as ovs:\n"
        "    ovs.add_bridge('br0', 2)\n"
        "    print(ovs.vsctl('list-br'), ovs.ofctl('show', 'br0'))\n"
    )
    other = lab.process("other", sys.executable, "-c", script)
    assert other.wait(30) == 0, other.output()
    assert "dpid:0000000000000002" in other.output()
    assert lab.ovs.vsctl("list-br") == first
    assert "dpid:0000000000000001" in lab.ovs.ofctl("show", "br0")


def test_a_killed_owner_leaves_no_process(lab: Lab, tmp_path: Path) -> None:
    script = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"  # or it may come just before we wait for it
        "from mininet_scenarios.namespaces import NetworkNamespace\n"
        "from mininet_scenarios.openvswitch import PrivateOvs\n"
        "with NetworkNamespace.create() as ns, ns.entered(), PrivateOvs() as ovs:\n"
        "    ovs.add_bridge('br0', 2)\n"
        "    print(ovs.directory, flush=True)\n"
        "    signal.sigwait({signal.SIGINT})\n"
    )
    owner = Process("owner", [sys.executable, "-c", script], log=tmp_path / "owner.log", env={"VMOC_OWNER": "dies"})
    lab.stack.callback(owner.stop)
    wait_until(lambda: "vmoc-ovs-" in owner.output(), "the instance to be up", timeout=30)
    directory = Path(owner.output().strip())
    assert len(descendants("VMOC_OWNER=dies")) == 3
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not descendants("VMOC_OWNER=dies"), "the daemons to be gone")
    # Its directory is removed by the next start, ours or one of another run beside us.
    with_next_start = lab.process("next", sys.executable, "-c", script)
    wait_until(lambda: "vmoc-ovs-" in with_next_start.output(), "the next instance to be up", timeout=30)
    assert not directory.exists()
    with_next_start.signal(signal.SIGINT)
    with_next_start.wait()


def test_a_wire_hears_what_the_kernel_took_apart(lab: Lab) -> None:
    lab.ovs.add_bridge("br0", 1, fail_mode="standalone")
    lab.ovs.add_port("br0", "br0p1", 1)
    wire = Wire("br0p1")
    lab.stack.callback(wire.close)
    data = bytes.fromhex("ffffffffffff020000000009810060650800") + bytes(46)  # PCP 3, VLAN 101
    lab.ovs.ofctl("packet-out", "br0", f"in_port=CONTROLLER packet={data.hex()} actions=output:1")
    wait_until(lambda: data in wire.listen(), "the frame with its tag and priority")
