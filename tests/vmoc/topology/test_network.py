"""The network at one moment, and how it is written."""

from __future__ import annotations

import json

from vmoc.status import PortStatus
from vmoc.topology import Network, NetworkLink, NetworkSwitch, SlicePorts


def port(number: int) -> PortStatus:
    return PortStatus(number, f"eth{number}", "02:00:00:00:00:01", False, False, False)


def switch(dpid: int, name: str = "", connected: bool = True) -> NetworkSwitch:
    return NetworkSwitch(dpid, 0, name, connected, tuple(port(number) for number in (1, 2, 3)))


RACK = Network(
    (switch(1, 'top "of" rack'), switch(2), switch(3, connected=False)),
    (
        NetworkLink(1, 1, 2, 1, 5.0, 9.0),
        NetworkLink(2, 1, 1, 1, 5.0, 9.0),
        NetworkLink(2, 2, 3, 2, 5.0, 9.0),
    ),
    (
        SlicePorts("alice", 101, 1, (1, 2, 3)),
        SlicePorts("alice", 101, 2, (1,)),
        SlicePorts("alice", 102, 2, (2,)),
        SlicePorts("alice", 103, 3, (2,)),
        SlicePorts("bob", 201, 3, (1, 3)),
    ),
)


def test_a_slice_sees_its_ports_and_links_within_one_of_its_vlans() -> None:
    alice = RACK.of_slice("alice")
    assert {one.dpid: [each.number for each in one.ports] for one in alice.switches} == {
        1: [1, 2, 3],
        2: [1, 2],
        3: [2],
    }
    # 2:2 is in VLAN 102 and 3:2 in VLAN 103: no frame of the slice's passes there.
    assert alice.links == RACK.links[:2]
    assert {one.slice for one in alice.slices} == {"alice"}
    bob = RACK.of_slice("bob")
    assert ([one.dpid for one in bob.switches], bob.links) == ([3], ())
    assert RACK.of_slice("nobody") == Network((), (), ())


def test_as_a_graph() -> None:
    graph = RACK.graph()
    assert sorted(graph.nodes) == [1, 2, 3] and not graph.nodes[3]["connected"]
    assert graph.nodes[1]["ports"] == {1: "eth1", 2: "eth2", 3: "eth3"}
    assert graph.edges[2, 3, (2, 2)] == {"source_port": 2, "target_port": 2}


def test_as_json() -> None:
    found = json.loads(RACK.to_json())
    assert [one["dpid"] for one in found["switches"]] == [f"0x{dpid:016x}" for dpid in (1, 2, 3)]
    assert found["links"][2] == {
        "source_dpid": "0x0000000000000002", "source_port": 2, "target_dpid": "0x0000000000000003", "target_port": 2,
        "since": 5.0, "last_seen": 9.0,
    }  # fmt: skip
    assert found["slices"][0] == {"slice": "alice", "vlan": 101, "dpid": "0x0000000000000001", "ports": [1, 2, 3]}


def test_as_dot() -> None:
    lines = RACK.to_dot().splitlines()
    assert (lines[0], lines[-1]) == ("graph vmoc {", "}")
    assert '  "0x0000000000000001" -- "0x0000000000000002" [taillabel="1", headlabel="1"];' in lines
    assert len([line for line in lines if "--" in line]) == 2, "both directions are one line"
    (one_way,) = [line for line in lines if "--" in line and "dashed" in line]
    assert '"0x0000000000000002" -- "0x0000000000000003"' in one_way
    labels = [line for line in lines if "label=" in line and "--" not in line]
    assert 'top \\"of\\" rack\\n0x0000000000000001\\nalice VLAN 101: 1-3"' in labels[0]
    assert "bob VLAN 201: 1,3" in labels[2] and "style=dashed" in labels[2]


def test_a_label_does_not_grow_with_the_slices() -> None:
    slices = tuple(SlicePorts(f"s{n}", n, 1, ()) for n in range(1, 101))
    label = next(line for line in Network((switch(1),), (), slices).to_dot().splitlines() if "label=" in line)
    assert label.count("VLAN") == 8 and "and 92 more" in label and "no ports" in label
