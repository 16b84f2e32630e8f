"""Ryu 4.34, its last release, with the applications it ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import Process, wait_until
from tests.compat.hosts import A, B, Rack
from tests.ovs.lab import NORTH, VMOC_ADDRESS, Lab, a_slice

pytestmark = [pytest.mark.ovs, pytest.mark.timeout(300)]

ALICE = f"tcp:127.0.0.1:{NORTH}"
WEB = 8080
BUILTIN = {"default_controller": {"mode": "builtin"}}


def ryu(lab: Lab, programs: Path, *words: str) -> Process:
    """Run ``ryu-manager`` with these options and applications."""
    process = lab.process(
        "ryu",
        str(programs / "python"),
        str(Path(__file__).with_name("ryu_manager.py")),
        "--ofp-listen-host=127.0.0.1",
        f"--ofp-tcp-listen-port={NORTH}",
        "--wsapi-host=127.0.0.1",
        f"--wsapi-port={WEB}",
        *words,
    )
    wait_until(lambda: listening(NORTH) or not process.alive, "Ryu to listen", timeout=30)
    assert process.alive, process.output()
    return process


def page(path: str) -> Any:
    """What Ryu's web interface answers."""
    with urlopen(f"http://127.0.0.1:{WEB}{path}", timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("presentation", ["tagged", "transparent"])
@pytest.mark.parametrize(("app", "protocol"), [("simple_switch", "OpenFlow10"), ("simple_switch_13", "OpenFlow13")])
def test_simple_switch(lab: Lab, ryu_programs: Path, app: str, protocol: str, presentation: str) -> None:
    process = ryu(lab, ryu_programs, f"ryu.app.{app}")
    lab.run_vmoc(a_slice("alice", A, ALICE, presentation=presentation), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, protocol)
    rack.both_work_apart()
    lab.only_vlans(A, B)
    output = process.output()
    assert "Traceback" not in output
    assert "EventOFPErrorMsg received" not in output


def test_it_discovers_the_slices_topology(lab: Lab, ryu_programs: Path) -> None:
    """Its LLDP frames stay in the slice's VLAN, so it sees that slice's ports and links and nothing else."""
    process = ryu(lab, ryu_programs, "--observe-links", "ryu.app.rest_topology", "ryu.app.ofctl_rest")
    attachments = [{"dpid": "0x0000000000000001", "ports": [1, 9]}, {"dpid": "0x0000000000000002", "ports": [1, 9]}]
    lab.run_vmoc(
        a_slice("alice", A, ALICE, presentation="transparent", attachments=attachments), a_slice("bob", B), **BUILTIN
    )
    for bridge, dpid in (("br0", 1), ("br1", 2)):
        lab.bridge(bridge, dpid, ports=2, protocols=["OpenFlow13"], controllers=[])
    lab.ovs.add_patch("br0", 9, "br1", 9)
    for bridge in ("br0", "br1"):
        lab.ovs.set_controller(bridge, VMOC_ADDRESS)
        lab.ovs.wait_connected(bridge)
    names = [f"{A << 48 | dpid:016x}" for dpid in (1, 2)]
    both = {(names[0], names[1]), (names[1], names[0])}

    def links() -> set[tuple[str, str]]:
        return {(link["src"]["dpid"], link["dst"]["dpid"]) for link in page("/v1.0/topology/links")}

    wait_until(lambda: links() == both, "Ryu to find the link, both ways", timeout=30)
    assert sorted(switch["dpid"] for switch in page("/v1.0/topology/switches")) == names
    for switch in page("/v1.0/topology/switches"):
        assert sorted(int(port["port_no"], 16) for port in switch["ports"]) == [1, 9]
    for kind in ("desc", "flow", "aggregateflow", "table", "port", "portdesc", "groupdesc", "group", "meter", "role"):
        answer = page(f"/stats/{kind}/{A << 48 | 1}")
        assert answer.get(str(A << 48 | 1)) is not None, (kind, answer)
    assert "Traceback" not in process.output()


def test_its_discovery_frames_are_refused_in_a_tagged_slice(lab: Lab, ryu_programs: Path) -> None:
    """There a controller's frames have the slice's tag; Ryu's LLDP frames have none."""
    process = ryu(lab, ryu_programs, "--observe-links", "ryu.app.rest_topology", "ryu.app.simple_switch_13")
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    wait_until(lambda: "reason=packet-vlan" in lab.vmoc.output(), "an LLDP frame to be refused")
    wait_until(lambda: rack.hosts["a1"].ping("10.0.0.2"), "the switching to work all the same")
    assert "Traceback" not in process.output()
