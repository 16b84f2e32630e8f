"""Everything is killed once, and comes back."""

from __future__ import annotations

import pytest

from mininet_scenarios.processes import wait_until
from tests.ovs.lab import NORTH, Lab, a_slice

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
