"""Everything is killed once, and comes back."""

from __future__ import annotations

import pytest

from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.ovs.lab import NORTH, QUICK, Lab, a_slice, established

A, B = 101, 102
ALICE = f"tcp:127.0.0.1:{NORTH}"
BUILTIN = {"default_controller": {"mode": "builtin"}}


def start(lab: Lab, protocols: tuple[str, ...] = ("OpenFlow13",), app: str = "simple_switch_13") -> None:
    """Alice with a controller of her own, bob with the default one, both at work."""
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    lab.alice = lab.app(app)
    lab.bridge(protocols=protocols)
    for vlan in (A, B):
        lab.talk(vlan, "br0p1", "br0p2")


@pytest.mark.parametrize(
    ("protocol", "app"), [("OpenFlow10", "simple_switch"), ("OpenFlow13", "simple_switch_13")], ids=["1.0", "1.3"]
)
def test_the_switch_is_killed(lab: Lab, protocol: str, app: str) -> None:
    start(lab, (protocol,), app)
    lab.ovs.kill_switch()
    lab.ovs.start_switch()
    lab.rewire()
    lab.ovs.wait_connected("br0")
    for vlan in (A, B):
        lab.talk(vlan, "br0p1", "br0p2", timeout=20)
    lab.only_vlans(A, B)


def test_the_controller_is_killed(lab: Lab) -> None:
    start(lab)
    bobs, alices = lab.flows(B), lab.flows(A)
    lab.alice.kill()
    lab.unicast(B, "br0p1", "br0p2")
    assert lab.flows(B) == bobs
    assert lab.flows(A) == alices, "fail_mode secure keeps the flows"
    lab.unicast(A, "br0p1", "br0p2")
    again = lab.app("simple_switch_13")
    wait_until(lambda: "connected" in again.output(), "VMOC to call it again")
    lab.passes(A, "br0p3", "br0p1", "br0p2")


def test_a_flushing_segment_loses_its_flows_with_its_controller(lab: Lab) -> None:
    lab.run_vmoc(a_slice("alice", A, ALICE, fail_mode="flush"), a_slice("bob", B), **BUILTIN)
    controller = lab.app("simple_switch_13")
    lab.bridge()
    for vlan in (A, B):
        lab.talk(vlan, "br0p1", "br0p2")
    bobs = lab.flows(B)
    controller.kill()
    wait_until(lambda: not [flow for flow in lab.flows(A) if "actions=drop" not in flow], "alice's flows to go")
    assert lab.flows(B) == bobs


def test_a_standalone_segment_is_switched_without_its_controller(lab: Lab) -> None:
    # OpenFlow 1.0: a 1.3 learning switch leaves its table-miss entry behind, and a controller's own entry comes first.
    attachments = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    timers = QUICK | {"standalone_after": 0.3}
    lab.run_vmoc(a_slice("alice", A, ALICE, fail_mode="standalone", attachments=attachments), timers=timers)
    controller = lab.app("simple_switch")
    lab.bridge(protocols=["OpenFlow10"])
    lab.talk(A, "br0p1", "br0p2")
    controller.kill()
    lab.wire("br0p3")
    lab.passes(A, "br0p1", "br0p2")
    stand_in = [flow for flow in lab.flows(A) if "priority=0" in flow]
    assert len(stand_in) == 1 and "NORMAL" not in stand_in[0] and "output:3" not in stand_in[0]
    lab.app("simple_switch")
    wait_until(lambda: not [flow for flow in lab.flows(A) if "priority=0" in flow], "the controller to take over")
    lab.talk(A, "br0p1", "br0p2")
    lab.only_vlans(A)


@pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])
def test_a_restarted_vmoc_shows_what_there_is(lab: Lab, version: int) -> None:
    alice = lab.controller(version)
    lab.run_vmoc(a_slice("alice", A, ALICE))
    lab.bridge(protocols=["OpenFlow10" if version == of.V10 else "OpenFlow13"])
    (a,) = established(alice)
    a.flow_mod("add", of.match(version, in_port=1), of.output(version, 2))
    a.barrier()
    lab.vmoc.kill()
    a.expect_closed()
    lab.vmoc.start()
    wait_until(lambda: lab.ovs.connected("br0"), "the switch to come back", timeout=25)
    again = wait_until(lambda: [one for one in alice.connections if one.up], "VMOC to call again")[0]
    on_the_switch = [flow for flow in lab.flows(A) if "actions=drop" not in flow]
    assert len(again.flow_stats()) == len(on_the_switch), "a controller sees every flow that works for it, and no other"
    again.flow_mod("add", of.match(version, in_port=1), of.output(version, 3))
    again.barrier()
    lab.unicast(A, "br0p1", "br0p3")
    lab.only_vlans(A)


def test_a_second_switch_of_the_same_dpid_is_refused(lab: Lab) -> None:
    start(lab)
    before = {vlan: lab.flows(vlan) for vlan in (A, B)}
    lab.bridge("br1", 1, controllers=[])
    lab.ovs.vsctl("set-controller", "br1", "tcp:127.0.0.1:6653")
    wait_until(lambda: "switch-refused" in lab.vmoc.output(), "the second switch to be refused")
    assert {vlan: lab.flows(vlan) for vlan in (A, B)} == before
    assert lab.flows(bridge="br1") == []
    for vlan in (A, B):
        lab.passes(vlan, "br0p3", "br0p1", "br0p2")


def test_vmoc_is_killed(lab: Lab) -> None:
    start(lab)
    lab.vmoc.kill()
    wait_until(lambda: not lab.ovs.connected("br0"), "the switch to notice")
    for vlan in (A, B):
        lab.unicast(vlan, "br0p1", "br0p2")  # the switch goes on with what it has
    lab.vmoc.start()
    wait_until(lambda: lab.ovs.connected("br0"), "the switch to come back", timeout=25)
    for vlan in (A, B):
        lab.passes(vlan, "br0p3", "br0p1", "br0p2", timeout=20)
        lab.talk(vlan, "br0p1", "br0p2")
    lab.only_vlans(A, B)


def test_vmoc_drains_on_sigterm(lab: Lab) -> None:
    start(lab)
    before = {vlan: lab.flows(vlan) for vlan in (A, B)}
    lab.vmoc.process.signal(15)
    assert lab.vmoc.process.wait(15) == 0, lab.vmoc.output()[-2000:]
    assert {vlan: lab.flows(vlan) for vlan in (A, B)} == before, "traffic goes on while VMOC is restarted"
    lab.unicast(A, "br0p1", "br0p2")


def test_the_switch_loses_its_connection(lab: Lab) -> None:
    start(lab)
    lab.disconnect()
    for vlan in (A, B):
        lab.unicast(vlan, "br0p1", "br0p2")
    lab.ovs.set_controller("br0", "tcp:127.0.0.1:6653")
    lab.ovs.wait_connected("br0")
    for vlan in (A, B):
        lab.passes(vlan, "br0p3", "br0p1", "br0p2")
