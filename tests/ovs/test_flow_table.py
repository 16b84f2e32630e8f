"""What VMOC keeps in a switch's tables: only flows of a slice's VLAN, marked as that slice's, and guards."""

from __future__ import annotations

import struct

import pytest

from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.ovs.lab import NORTH, VMOC_ADDRESS, Lab, a_slice, cookies, established

A, B, GONE = 101, 102, 103
GUARD = 0xFFFE << 48
ALICE, BOB = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"
TWO_PORTS = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
VERSIONS = pytest.mark.parametrize(
    ("version", "protocol"), [(of.V10, "OpenFlow10"), (of.V13, "OpenFlow13")], ids=["1.0", "1.3"]
)


def guards(flows: list[str]) -> list[str]:
    """The guards among dumped flows."""
    return [flow for flow in flows if next(cookies([flow])) >> 48 == 0xFFFE]


@VERSIONS
def test_flows_carry_the_vlan_and_the_slices_tag(lab: Lab, version: int, protocol: str) -> None:
    alice, bob = lab.controller(version), lab.controller(version, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB))
    lab.bridge(protocols=[protocol])
    (a,), (b,) = established(alice), established(bob)
    for one in (a, b):
        for number in (1, 2):
            one.flow_mod("add", of.match(version, in_port=number), of.output(version, 3 - number), cookie=0x11)
        one.barrier()
    own = {vlan: [flow for flow in lab.flows(vlan) if flow not in guards(lab.flows(vlan))] for vlan in (A, B)}
    lab.only_vlans(A, B)
    assert {vlan: len(flows) for vlan, flows in own.items()} == {A: 2, B: 2}
    tags = {vlan: {cookie >> 48 for cookie in cookies(flows)} for vlan, flows in own.items()}
    assert all(len(found) == 1 and 1 <= min(found) <= 0xFFFD for found in tags.values()), tags
    assert tags[A] != tags[B]
    serials = [cookie & ((1 << 48) - 1) for flows in own.values() for cookie in cookies(flows)]
    assert all(serials)
    for one in (a, b):  # what the controller sees is what it sent
        assert sorted((flow.cookie, flow.vlan) for flow in one.flow_stats()) == [(0x11, None)] * 2


@VERSIONS
def test_ports_outside_the_segment_are_guarded(lab: Lab, version: int, protocol: str) -> None:
    alice = lab.controller(version)
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=TWO_PORTS))
    lab.bridge(protocols=[protocol])
    (a,) = established(alice)
    expected = {f"priority=65535,in_port={port},dl_vlan={A} actions=drop" for port in ("3", "LOCAL")}

    def seen() -> set[str]:
        return {"priority=65535" + flow.partition("priority=65535")[2] for flow in guards(lab.flows(A))}

    assert seen() == expected
    assert set(cookies(guards(lab.flows(A)))) == {GUARD}
    # A controller that asks for everything at the highest priority does not get past them, nor rid of them.
    a.flow_mod("add", of.match(version), of.output(version, 1), priority=65535)
    a.barrier()
    assert any("priority=65534" in flow for flow in lab.flows(A))
    a.flow_mod("delete", of.match(version), table=0xFF if version == of.V13 else 0)
    a.barrier()
    wait_until(lambda: seen() == expected and len(lab.flows(A)) == 2, "the guards, and only them, to be there")


@VERSIONS
def test_deleting_everything_deletes_ones_own(lab: Lab, version: int, protocol: str) -> None:
    alice, bob = lab.controller(version), lab.controller(version, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB))
    lab.bridge(protocols=[protocol])
    (a,), (b,) = established(alice), established(bob)
    for one in (a, b):
        one.flow_mod("add", of.match(version), of.output(version, "flood"))
        one.barrier()
    before = lab.flows(B)
    a.flow_mod("delete", of.match(version), table=0xFF if version == of.V13 else 0)
    a.barrier()
    assert lab.flows(B) == before
    assert lab.flows(A) == guards(lab.flows(A))
    xid = b.flow_mod("add", of.match(version, vlan=A), of.output(version, 1))
    b.expect_error(xid, 3 if version == of.V10 else 5, 2 if version == of.V10 else 4)
    assert lab.flows(A) == guards(lab.flows(A))


@VERSIONS
def test_flood_becomes_the_segments_ports(lab: Lab, version: int, protocol: str) -> None:
    alice = lab.controller(version)
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=TWO_PORTS))
    lab.bridge(protocols=[protocol])
    (a,) = established(alice)
    wires = [lab.wire(f"br0p{number}") for number in (1, 2, 3)]
    mark, data = lab.marked(A, "br0p1")
    for port in ("flood", "all"):
        for wire in wires:
            wire.clear()
        a.packet_out(data, of.output(version, port))
        a.barrier()
        wait_until(lambda: all(mark in b"".join(wire.listen()) for wire in wires[:2]), f"{port} on both ports")
        assert not any(mark in one for one in wires[2].listen())


def test_a_slice_removed_by_sighup_leaves_no_flow(lab: Lab) -> None:
    slices = [a_slice("alice", A, ALICE), a_slice("bob", B), a_slice("gone", GONE)]
    lab.run_vmoc(*slices, default_controller={"mode": "builtin"})
    lab.app("simple_switch_13")
    lab.bridge()
    for vlan in (A, B, GONE):
        lab.talk(vlan, "br0p1", "br0p2")
    kept = {vlan: lab.flows(vlan) for vlan in (A, B)}
    assert lab.flows(GONE)
    lab.reload(*slices[:2], default_controller={"mode": "builtin"})
    wait_until(lambda: not lab.flows(GONE), "the removed slice's flows to go")
    assert {vlan: lab.flows(vlan) for vlan in (A, B)} == kept, "a reload applies only the difference"
    lab.stays_out(GONE, "br0p1", "br0p2", fence=(A, "br0p1"))
    lab.only_vlans(A, B)


@VERSIONS
def test_a_port_taken_from_a_slice_and_given_back(lab: Lab, version: int, protocol: str) -> None:
    alice = lab.controller(version)
    wide = [{"dpid": "0x0000000000000001", "ports": [1, 2, 3]}]
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=wide))
    lab.bridge(protocols=[protocol])
    (a,) = established(alice)
    a.flow_mod("add", of.match(version), of.output(version, "flood"), priority=1)
    a.flow_mod("add", of.match(version, in_port=3), of.output(version, 1), priority=2)
    a.barrier()
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    lab.reload(a_slice("alice", A, ALICE, attachments=TWO_PORTS))
    gone = of.parse_port_status(a.expect("port_status"))
    assert (gone.reason, gone.port.number) == (1, 3)
    a.barrier()
    assert any("in_port=3" in flow and "actions=drop" in flow for flow in lab.flows(A))
    assert [flow.priority for flow in a.flow_stats()] == [1], "what named the port is gone"
    lab.ovs.appctl("revalidator/wait")  # until then frames may go by what the switch remembers
    lab.passes(A, "br0p1", "br0p2")  # and not port 3, which this test listens to
    lab.reload(a_slice("alice", A, ALICE, attachments=wide))
    back = of.parse_port_status(a.expect("port_status"))
    assert (back.reason, back.port.number) == (0, 3)
    a.barrier()
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    lab.passes(A, "br0p3", "br0p1", "br0p2")


def test_a_slice_removed_while_its_switch_is_away_leaves_no_flow(lab: Lab) -> None:
    builtin = {"default_controller": {"mode": "builtin"}}
    lab.run_vmoc(a_slice("alice", A), a_slice("gone", GONE), **builtin)
    lab.bridge()
    for vlan in (A, GONE):
        lab.talk(vlan, "br0p1", "br0p2")
    lab.disconnect()
    assert lab.flows(GONE), "a switch in secure mode keeps its flows"
    lab.reload(a_slice("alice", A), **builtin)
    wait_until(lambda: lab.reloads() == 1, "the reload")
    assert lab.flows(GONE)
    lab.ovs.set_controller("br0", VMOC_ADDRESS)
    wait_until(lambda: not lab.flows(GONE), "the removed slice's flows to go")
    lab.talk(A, "br0p1", "br0p2")
    lab.only_vlans(A)


def test_flows_nobody_owns_are_removed_when_a_switch_connects(lab: Lab) -> None:
    lab.run_vmoc(a_slice("alice", A), default_controller={"mode": "builtin"})
    lab.bridge(controllers=[])
    lab.ovs.ofctl("add-flow", "br0", "priority=0,actions=NORMAL")
    lab.ovs.ofctl("add-flow", "br0", f"priority=7,dl_vlan={A},actions=output:2")
    lab.ovs.ofctl("add-flow", "br0", "priority=7,dl_vlan=900,actions=output:2")
    lab.ovs.set_controller("br0", VMOC_ADDRESS)
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    wait_until(lambda: not [flow for flow in lab.flows() if "NORMAL" in flow or "priority=7" in flow], "them to go")
    lab.stays_out(900, "br0p1", "br0p2", fence=(A, "br0p1"))


def test_an_idle_flow_is_reported_to_its_owner_alone(lab: Lab) -> None:
    alice, bob = lab.controller(of.V13), lab.controller(of.V13, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB))
    lab.bridge()
    (a,), (b,) = established(alice), established(bob)
    for one in (a, b):
        one.forget()
    match = of.match(of.V13, eth_dst="02:00:00:00:00:02")
    a.flow_mod("add", match, of.output(of.V13, 2), idle=1, flags=1, cookie=0xA11CE, priority=77)
    a.barrier()
    removed = of.parse_flow_removed(a.expect("flow_removed", timeout=15))
    assert (removed.cookie, removed.priority) == (0xA11CE, 77)
    b.expect_nothing("flow_removed")


def test_statistics_show_ones_own(lab: Lab) -> None:
    alice, bob = lab.controller(of.V13), lab.controller(of.V13, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=TWO_PORTS), a_slice("bob", B, BOB))
    lab.bridge()
    (a,), (b,) = established(alice), established(bob)
    for one in (a, b):
        one.flow_mod("add", of.match(of.V13, in_port=1), of.output(of.V13, 2))
        one.barrier()
    for _ in range(3):
        lab.unicast(A, "br0p1", "br0p2")
    lab.ovs.ofctl("add-flow", "br0", f"priority=3,dl_vlan={A},dl_dst=02:00:00:00:00:77,actions=drop")  # nobody's
    wait_until(lambda: a.flow_stats()[0].packets >= 3, "the switch to count them", every=0.3)
    assert len(a.flow_stats()) == 1
    assert [flow.packets for flow in b.flow_stats()] == [0]
    body = a.stats("port", of.port_stats_body(of.V13))
    numbers = {struct.unpack_from("!I", body, offset)[0] for offset in range(0, len(body), 112)}
    assert numbers == {1, 2}
