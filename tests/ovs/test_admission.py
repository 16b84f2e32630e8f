"""``pipeline: admission`` and ``vlan_port_sharing`` on Open vSwitch: its tables, and frames on its wires."""

from __future__ import annotations

import re

from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.emulation.actions import goto_table
from tests.ovs.lab import NORTH, Lab, a_slice, established

VLAN = 101
ANNA, BERT = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"
ADMISSION = {"policy": {"pipeline": "admission"}}
SHARING = {"policy": {"pipeline": "admission", "vlan_port_sharing": True}}
CONTROLLER = 0xFFFFFFFD


def at(*ports: int) -> dict[str, object]:
    return {"attachments": [{"dpid": "0x0000000000000001", "ports": list(ports)}]}


def gates(flows: list[str]) -> dict[int, str]:
    """Table 0, every entry of which must be an admission: what it does, by port."""
    found = {}
    for flow in flows:
        if "table=0," not in flow and "table=" in flow:
            continue
        port = re.search(r"in_port=\"?([A-Za-z0-9]+)", flow)
        assert port is not None and "cookie=0xfffe" in flow and "priority=100," in flow and f"dl_vlan={VLAN}" in flow
        name = port[1].removeprefix("br0p")
        found[CONTROLLER if name == "CONTROLLER" else int(name)] = flow.partition("actions=")[2]
    return found


def test_table_0_is_exactly_the_admission_and_slices_see_their_own(lab: Lab) -> None:
    anna = lab.controller(of.V13)
    lab.run_vmoc(a_slice("anna", VLAN, ANNA, **at(1, 2)), **ADMISSION)
    lab.bridge(protocols=["OpenFlow13"])
    (a,) = established(anna)
    assert gates(lab.flows()) == dict.fromkeys((1, 2, CONTROLLER), "goto_table:1")
    a.flow_mod("add", of.match(of.V13), of.output(of.V13, "flood"), table=3, priority=65535)
    a.flow_mod("add", of.match(of.V13), table=0, priority=65535, instructions=goto_table(3))
    a.barrier()
    assert [flow.partition("actions=")[2] for flow in lab.flows() if "table=1," in flow] == ["goto_table:4"]
    assert len([flow for flow in lab.flows() if "table=4," in flow]) == 1
    assert not [flow for flow in lab.flows() if "drop" in flow]
    lab.wire("br0p3")
    lab.passes(VLAN, "br0p1", "br0p2")
    lab.stays_out(VLAN, "br0p3", "br0p1", "br0p2", fence=(VLAN, "br0p1"))
    lab.ovs.add_port("br0", "br0p4", 4)
    lab.passes(VLAN, "br0p2", "br0p1")
    assert sorted(gates(lab.flows())) == [1, 2, CONTROLLER], "a new port that is nobody's is closed"


def test_a_bridge_that_speaks_1_0_stays_direct(lab: Lab) -> None:
    anna = lab.controller(of.V10)
    lab.run_vmoc(a_slice("anna", VLAN, ANNA, **at(1, 2)), **ADMISSION)
    lab.bridge(protocols=["OpenFlow10"])
    (a,) = established(anna)
    direct = "its pipeline is direct: it speaks OpenFlow 1.0"
    wait_until(lambda: direct in lab.vmoc.output(), direct)  # written by a thread of its own
    a.flow_mod("add", of.match(of.V10), of.output(of.V10, "flood"))
    a.barrier()
    lab.wire("br0p3")
    lab.passes(VLAN, "br0p1", "br0p2")


def test_two_slices_on_one_vlan_never_meet(lab: Lab) -> None:
    anna, bert = lab.controller(of.V13), lab.controller(of.V13, NORTH + 1)
    slices = a_slice("anna", VLAN, ANNA, **at(1, 2)), a_slice("bert", VLAN, BERT, **at(3, 4))
    lab.run_vmoc(*slices, **SHARING)
    lab.bridge(protocols=["OpenFlow13"], ports=5)
    (a,), (b,) = established(anna), established(bert)
    found = gates(lab.flows())
    assert sorted(found) == [1, 2, 3, 4]
    assert found[1] == found[2] != found[3] == found[4]
    for does in found.values():
        assert re.fullmatch(r"write_metadata:0x[0-9a-f]{1,3}0{13}/0xfff0{13},goto_table:1", does)
    for one in (a, b):
        one.flow_mod("add", of.match(of.V13), of.output(of.V13, "flood"), table=1)
        one.flow_mod("add", of.match(of.V13), table=0, instructions=goto_table(1))
        one.barrier()
    for number in range(1, 6):
        lab.wire(f"br0p{number}")
    lab.passes(VLAN, "br0p1", "br0p2")  # and, as everywhere here, no other wire hears it
    lab.passes(VLAN, "br0p2", "br0p1")
    lab.passes(VLAN, "br0p3", "br0p4")
    lab.passes(VLAN, "br0p4", "br0p3")
    lab.stays_out(VLAN, "br0p5", "br0p2", fence=(VLAN, "br0p1"))
    lab.stays_out(VLAN, "br0p5", "br0p4", fence=(VLAN, "br0p3"))

    # What goes to a controller goes to that of the port.
    a.flow_mod("add", of.match(of.V13), of.output(of.V13, "controller"), table=0, priority=200)
    a.barrier()
    mark, data = lab.marked(VLAN, "br0p2")

    def punted() -> bool:
        lab.wire("br0p2").send(data)  # again, until Open vSwitch's cache knows of the new flow
        return any(mark in message.raw for message in a.log if message.name == "packet_in")

    wait_until(punted, "a packet-in")
    told = of.parse_packet_in(a.expect("packet_in", lambda message: mark in message.raw))
    assert told.match["in_port"][0] == 2 and told.table == 0 and "metadata" not in told.match
    b.expect_nothing("packet_in")

    # When one goes, what the other has stays: not one of its entries is made anew.
    ages = installed(lab)
    assert len(ages) == 4 + 3 + 2
    lab.reload(slices[1], **SHARING)
    wait_until(lambda: len(lab.flows()) == 4, "anna's entries to be gone")
    assert sorted(gates(lab.flows())) == [3, 4]
    after = installed(lab)
    assert after.keys() < ages.keys() and all(after[flow] >= ages[flow] for flow in after)
    assert b.up
    lab.passes(VLAN, "br0p3", "br0p4")


def installed(lab: Lab) -> dict[str, float]:
    """Seconds since each entry was installed: one that is made anew is young."""
    found = {}
    for flow in lab.flows(counters=True):
        duration = re.search(r"duration=([0-9.]+)s", flow)
        cookie = re.search(r"cookie=(0x[0-9a-f]+)", flow)
        port = re.search(r"in_port=[^, ]+", flow)
        assert duration is not None and cookie is not None
        found[f"{cookie[1]} {port[0] if port else ''}"] = float(duration[1])
    return found
