"""Slices come, change and go through the API while Open vSwitch carries the traffic of others (``vmoc slice ...``)."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from mininet_scenarios.processes import run, wait_until
from mininet_scenarios.vmoc import command
from tests.emulation import wire as of
from tests.emulation.controller import Connection
from tests.ovs.lab import NORTH, VMOC_ADDRESS, Lab, a_slice, established
from tests.ovs.stream import Stream, lossless

A, B = 101, 102
ALICE, BOB, CAROL = (f"tcp:127.0.0.1:{NORTH + number}" for number in range(3))
ONE, TWO, THREE = "br0p1", "br0p2", "br0p3"
VERSIONS = pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])


def vmoc(*words: str) -> str:
    """What a ``vmoc`` command prints. Raises ``RuntimeError`` with what it says when it fails."""
    return run([command(), *words])


def register(name: str, controller: str, *ports: int, vlan: int = A) -> str:
    """``vmoc slice register`` on switch 1."""
    attach = "0x1:" + ",".join(map(str, ports))
    return vmoc("slice", "register", name, "--vlan", str(vlan), "--controller", controller, "--attach", attach)


def start(lab: Lab, version: int) -> Connection:
    """VMOC with a state file, and bob on VLAN 102, at work and registered by the file; his controller's connection."""
    bob = lab.controller(version, NORTH + 1)
    lab.run_vmoc(a_slice("bob", B, BOB), state={"path": str(lab.directory / "vmoc.db")})
    lab.bridge(protocols=["OpenFlow10" if version == of.V10 else "OpenFlow13"])
    (b,) = established(bob)
    connect(b, 1, 2)
    return b


def connect(controller: Connection, one: int, other: int, priority: int = 7) -> None:
    """Flows both ways between two ports."""
    for source, target in ((one, other), (other, one)):
        match = of.match(controller.version, in_port=source)
        controller.flow_mod("add", match, of.output(controller.version, target), priority=priority)
    controller.barrier()


def slices_flows(lab: Lab, vlan: int) -> list[str]:
    """A VLAN's flows without those that keep the frames of nobody's VLAN from VMOC for five seconds."""
    return [flow for flow in lab.flows(vlan) if "hard_timeout=5, priority=0" not in flow or "actions=drop" not in flow]


@VERSIONS
def test_a_slice_comes_and_goes_and_the_other_one_loses_nothing(lab: Lab, version: int) -> None:
    b = start(lab, version)
    alice = lab.controller(version, NORTH)
    before = lab.flows(B)
    with lossless(B, ONE, TWO), lossless(B, TWO, ONE):
        assert "alice added, VLAN 101" in register("alice", ALICE, 1, 2)
        (a,) = established(alice)
        connect(a, 1, 2)
        lab.unicast(A, ONE, TWO)
        lab.unicast(A, TWO, ONE)
        assert lab.flows(A)
        traffic = Stream(A, ONE, TWO)
        traffic.arrives()
        vmoc("slice", "unregister", "alice")
        a.expect_closed()
        wait_until(lambda: not slices_flows(lab, A), "the flows of VLAN 101 to go")
        traffic.close()
        lab.stays_out(A, ONE, TWO, fence=(B, ONE))
    wait_until(lambda: lab.flows() == before, "the switch to be as it was before")
    assert b.closed is None
    assert "alice" not in vmoc("slice", "list")


def test_a_slice_changes_while_its_own_traffic_flows(lab: Lab) -> None:
    version = of.V13
    start(lab, version)
    alice = lab.controller(version, NORTH)
    register("alice", ALICE, 1, 2)
    (a,) = established(alice)
    connect(a, 1, 2)
    with lossless(B, ONE, TWO), lossless(A, ONE, TWO):
        assert "alice changed" in register("alice", ALICE, 1, 2, 3)
        a.expect("port_status")
        match = of.match(version, in_port=3)
        a.flow_mod("add", match, of.output(version, 1), priority=7)
        a.barrier()
        lab.unicast(A, THREE, ONE)
        assert "alice changed" in register("alice", ALICE, 1, 2)
        wait_until(
            lambda: not [one for one in lab.flows(A) if "in_port=3" in one and "drop" not in one], "port 3 to go"
        )
        lab.wire(THREE).clear()
        lab.stays_out(A, THREE, ONE, fence=(B, TWO))
    assert a.closed is None, "the very same connection"


def test_a_controller_moves_and_the_flows_stay(lab: Lab) -> None:
    version = of.V10
    start(lab, version)
    alice = lab.controller(version, NORTH)
    register("alice", ALICE, 1, 2)
    (a,) = established(alice)
    connect(a, 1, 2)
    before = lab.flows(A)
    moved = lab.controller(version, NORTH + 2, greet=False)
    with lossless(A, ONE, TWO), lossless(B, ONE, TWO):
        vmoc("slice", "update", "alice", "--controller", CAROL)
        connection = wait_until(lambda: moved.connections, "the new controller to be called")[0]
        a.barrier()  # the new one is silent: the old one is still served
        connection.send(of.hello(version, versions=(version,) if version != of.V10 else None))
        a.expect_closed()
        (m,) = connected(vmoc("slice", "show", "alice", "-o", "json"))
        assert m["address"] == CAROL and m["state"] == "active"
    assert lab.flows(A) == before


def connected(text: str) -> list[dict[str, Any]]:
    """The connections of a slice's one virtual datapath."""
    (datapath,) = json.loads(text)["status"]["virtual_datapaths"]
    links: list[dict[str, Any]] = datapath["controllers"]
    return links


@pytest.mark.parametrize(("version", "killed"), [(of.V10, False), (of.V13, True)], ids=["1.0", "1.3-killed"])
def test_unregistered_while_the_switch_is_away(lab: Lab, version: int, killed: bool) -> None:
    start(lab, version)
    alice, carol = lab.controller(version, NORTH), lab.controller(version, NORTH + 2)
    register("alice", ALICE, 1, 2)
    (a,) = established(alice)
    connect(a, 1, 2, priority=77)
    with lossless(B, ONE, TWO):
        lab.disconnect()
        a.expect_closed()
        vmoc("slice", "unregister", "alice")
        register("carol", CAROL, 1, 2)
        assert [one for one in lab.flows(A) if "priority=77" in one], "nobody could tell the switch yet"
        if killed:
            lab.vmoc.kill()
            lab.vmoc.start()
        seen = flows_when_called(lab, carol)
        lab.ovs.set_controller("br0", VMOC_ADDRESS)
        lab.ovs.wait_connected("br0")
        (c,) = established(carol, timeout=25)
        assert seen() == [], "of alice's flows nothing is left when carol's controller is first heard"
        assert c.flow_stats() == []
        connect(c, 1, 2)
        lab.unicast(A, ONE, TWO)
    assert not [one for one in lab.flows(A) if "priority=77" in one]
    assert not alice.live()


def flows_when_called(lab: Lab, controller: Any) -> Any:
    """Look at the switch the moment the controller is first called; what was there of alice is returned by the call."""
    found: list[str] = []
    looked = threading.Event()

    def look(_: Connection, __: object) -> None:
        if not looked.is_set():
            found.extend(one for one in lab.flows(A) if "priority=77" in one)
            looked.set()

    controller.react = look

    def answer() -> list[str]:
        assert looked.wait(15)
        return found

    return answer


def test_vmoc_is_killed_in_the_middle(lab: Lab) -> None:
    version = of.V13
    start(lab, version)
    alice = lab.controller(version, NORTH)
    register("alice", ALICE, 1, 2)
    (a,) = established(alice)
    connect(a, 1, 2)
    register("carol", CAROL, 1, 2, vlan=103)
    before = {vlan: lab.flows(vlan) for vlan in (A, B)}
    with lossless(B, ONE, TWO), lossless(A, ONE, TWO):
        vmoc("slice", "unregister", "carol")
        lab.vmoc.kill()  # what was answered is so
        a.expect_closed()
        lab.vmoc.start()
        (a,) = established(alice, timeout=25)
        listed = {one["slice_id"] for one in json.loads(vmoc("slice", "list", "-o", "json"))}
        assert listed == {"alice", "bob"}
        assert len(a.flow_stats()) == 2
    assert {vlan: lab.flows(vlan) for vlan in (A, B)} == before
    vmoc("slice", "unregister", "alice")
    wait_until(lambda: not slices_flows(lab, A), "the flows of VLAN 101 to go")
    assert lab.flows(B) == before[B]
