"""An Open vSwitch bridge under VMOC forwards within VLANs and not across."""

from __future__ import annotations

import pytest

from mininet_scenarios.openvswitch import BOTH
from tests.ovs.lab import NORTH, SOUTH, VMOC_ADDRESS, Lab, a_slice

A, B = 101, 102
ALICE = f"tcp:127.0.0.1:{NORTH}"
BUILTIN = {"default_controller": {"mode": "builtin"}}


@pytest.mark.parametrize(
    ("protocols", "app"),
    [(["OpenFlow10"], "simple_switch"), (["OpenFlow13"], "simple_switch_13"), (BOTH, "simple_switch_13")],
    ids=["1.0", "1.3", "both"],
)
def test_two_vlans_one_with_its_own_controller(lab: Lab, protocols: list[str], app: str) -> None:
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    lab.app(app)
    lab.bridge(protocols=protocols)
    ports = ("br0p1", "br0p2", "br0p3")
    for port in ports:
        lab.wire(port)
    for vlan in (A, B):
        lab.passes(vlan, "br0p1", "br0p2", "br0p3")
        lab.talk_all(vlan, *ports)
    for nobodys in (None, 103, 4000):
        lab.stays_out(nobodys, "br0p1", "br0p2", "br0p3", fence=(A, "br0p1"))
    lab.only_vlans(A, B)


def test_the_same_addresses_in_both_vlans_at_different_ports(lab: Lab) -> None:
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    lab.app("simple_switch_13")
    lab.bridge()
    lab.talk(A, "br0p1", "br0p2")
    # In bob's VLAN the very address that alice's hosts know behind port 2 is behind port 3.
    lab.station(B, "br0p3", "02:00:00:00:00:02")
    lab.passes(B, "br0p1", "br0p2", "br0p3")
    lab.reaches(B, "br0p1", "br0p3", "02:00:00:00:00:02")
    lab.reaches(A, "br0p1", "br0p2", "02:00:00:00:00:02")


@pytest.mark.parametrize("protocols", [["OpenFlow10"], ["OpenFlow13"]], ids=["1.0", "1.3"])
def test_a_segment_of_some_ports_stays_on_them(lab: Lab, protocols: list[str]) -> None:
    attachments = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    lab.run_vmoc(a_slice("alice", A, attachments=attachments), a_slice("bob", B), **BUILTIN)
    lab.bridge(protocols=protocols)
    lab.wire("br0p3")
    lab.passes(A, "br0p1", "br0p2")
    lab.passes(B, "br0p1", "br0p2", "br0p3")
    lab.stays_out(A, "br0p3", "br0p1", "br0p2", fence=(B, "br0p3"))


def test_two_switches_and_a_trunk(lab: Lab) -> None:
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    lab.app("simple_switch_13")
    lab.bridge("br0", 1, ports=2)
    lab.bridge("br1", 2, ports=2, protocols=["OpenFlow10", "OpenFlow13"])
    lab.ovs.add_patch("br0", 9, "br1", 9)
    for vlan in (A, B):
        lab.passes(vlan, "br0p1", "br0p2", "br1p1", "br1p2")
        lab.talk(vlan, "br0p1", "br1p2")
    lab.only_vlans(A, B)
    lab.only_vlans(A, B, bridge="br1")


def test_a_per_vlan_instance_carries_untagged_frames(lab: Lab) -> None:
    listeners = [{"address": "127.0.0.1", "port": SOUTH}, {"address": "127.0.0.1", "port": 6634, "vlan": 1001}]
    lab.run_vmoc(a_slice("carol", 1001), a_slice("bob", B), openflow={"listen": listeners}, **BUILTIN)
    lab.bridge("br0", 1)
    lab.bridge("br1", 2, controllers=["tcp:127.0.0.1:6634"])
    lab.passes(None, "br1p1", "br1p2", "br1p3")
    lab.talk(None, "br1p1", "br1p2")
    lab.passes(B, "br0p1", "br0p2", "br0p3")
    lab.stays_out(None, "br0p1", "br0p2", "br0p3", fence=(B, "br0p1"))
    assert not [flow for flow in lab.flows(bridge="br1") if "dl_vlan" in flow]


def test_vmoc_listens_where_switches_call_by_default(lab: Lab) -> None:
    assert VMOC_ADDRESS == "tcp:127.0.0.1:6653"
    lab.run_vmoc(a_slice("alice", A), **BUILTIN)
    lab.bridge()
    lab.passes(A, "br0p1", "br0p2", "br0p3")
