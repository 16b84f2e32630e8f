"""Controllers written for a plain switch work behind VMOC unmodified."""

from __future__ import annotations

import pytest

from mininet_scenarios.processes import wait_until
from tests.ovs.lab import NORTH, Lab, a_slice

A, B = 101, 102
ALICE, BOB = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"


@pytest.mark.parametrize(("app", "protocol"), [("simple_switch", "OpenFlow10"), ("simple_switch_13", "OpenFlow13")])
def test_os_kens_simple_switch(lab: Lab, app: str, protocol: str) -> None:
    controller = lab.app(app)
    lab.run_vmoc(a_slice("alice", A, ALICE))
    lab.bridge(protocols=[protocol])
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    lab.talk_all(A, "br0p1", "br0p2", "br0p3")
    learned = ("in_port=1", f"dl_vlan={A}", "dl_dst=02:00:00:00:00:02", "actions=output:2")
    wait_until(lambda: [flow for flow in lab.flows(A) if all(part in flow for part in learned)], "the learned flow")
    before = controller.output().count("packet in")
    for _ in range(20):
        lab.unicast(A, "br0p1", "br0p2")
    assert controller.output().count("packet in") == before, "known destinations do not trouble the controller"
    assert "Traceback" not in controller.output()


@pytest.mark.parametrize("protocol", ["OpenFlow10", "OpenFlow13"])
def test_open_vswitchs_own_test_controller(lab: Lab, protocol: str) -> None:
    lab.process("ovs-testcontroller", "ovs-testcontroller", "-O", protocol, f"ptcp:{NORTH}:127.0.0.1")
    lab.run_vmoc(a_slice("alice", A, ALICE))
    lab.bridge(protocols=[protocol])
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    lab.talk_all(A, "br0p1", "br0p2", "br0p3")
    lab.only_vlans(A)


def test_two_controllers_see_the_same_switch_as_two(lab: Lab) -> None:
    one, two = lab.app("simple_switch_13"), lab.app("simple_switch_13", NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB))
    lab.bridge(dpid=0xAB)
    for process, vlan in ((one, A), (two, B)):
        dpid = f"{vlan << 48 | 0xAB:016x}"
        wait_until(lambda log=process, name=dpid: f"switch {name} connected" in log.output(), f"DPID {dpid}")
        lab.talk(vlan, "br0p1", "br0p2")
    assert "simple_switch_13" not in one.output() or "Traceback" not in one.output() + two.output()


def test_a_hostile_controller_reaches_nothing(lab: Lab) -> None:
    attacker = lab.app("hostile_13")
    lab.run_vmoc(a_slice("a", A, ALICE), a_slice("b", B), default_controller={"mode": "builtin"})
    lab.bridge()
    victim = lab.wire("br0p2")
    lab.talk(B, "br0p1", "br0p2")
    before = lab.flows(B)
    wait_until(lambda: '"done"' in attacker.output(), "the attacks to end", timeout=30)
    assert lab.flows(B) == before
    lab.only_vlans(A, B)
    lab.unicast(B, "br0p1", "br0p2")
    assert not [one for one in victim.listen() if one[12:16] == b"\x81\x00\x00\x66" and b"hostile" in one]
    assert "no barrier reply" not in attacker.output()
