"""Faucet 1.10 as released, with its own os-ken: the multi-table OpenFlow 1.3 controller.

It switches inside a ``tagged`` slice whose VLAN it is told; in a ``transparent``
one only its port ACLs can work, because its switching puts a tag on every frame.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import Process, wait_until
from tests.compat.hosts import A, B, Rack
from tests.ovs.lab import NORTH, Lab, a_slice

pytestmark = [pytest.mark.ovs, pytest.mark.timeout(300)]

DPID = A << 48 | 1  # what VMOC presents of switch 1 in VLAN A
PORTS = (1, 2, 3)
GAUGE, METRICS = NORTH + 1, 9303
ALICE = f"tcp:127.0.0.1:{NORTH}"
BUILTIN = {"default_controller": {"mode": "builtin"}}
LEARNED = re.compile(r"dl_src=02:00:00:00:00:0(\d)")


def faucet_yaml(port: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A faucet.yaml of one switch with three equal ports."""
    interfaces = {number: dict(port) for number in PORTS}
    return {
        "vlans": {"office": {"vid": A, "faucet_vips": ["10.0.0.254/24"], "faucet_mac": "0e:00:00:00:10:01"}},
        "dps": {"sw": {"dp_id": DPID, "hardware": "Open vSwitch", "interfaces": interfaces}},
    } | more


class Faucet:
    """One Faucet (or Gauge) in a lab."""

    def __init__(self, lab: Lab, programs: Path) -> None:
        self.directory = lab.directory
        self.programs = programs
        self.lab = lab
        self.process: Process

    def write(self, configuration: dict[str, Any]) -> Faucet:
        """Write faucet.yaml; Faucet polls the file and takes a change in by itself."""
        fresh = self.directory / "faucet.yaml.new"
        fresh.write_text(yaml.safe_dump(configuration))
        fresh.rename(self.directory / "faucet.yaml")
        return self

    def start(self, program: str = "faucet", port: int = NORTH) -> Faucet:
        """Start ``faucet`` or ``gauge`` and wait until it listens for switches."""
        upper = program.upper()
        self.process = self.lab.process(
            program,
            "env",
            f"PATH={self.programs}:/usr/bin:/bin",
            f"FAUCET_CONFIG={self.directory}/faucet.yaml",
            "FAUCET_CONFIG_STAT_RELOAD=1",
            f"GAUGE_CONFIG={self.directory}/gauge.yaml",
            f"{upper}_LOG={self.directory}/{program}-own.log",
            f"{upper}_EXCEPTION_LOG={self.directory}/{program}-exceptions.log",
            "FAUCET_PROMETHEUS_ADDR=127.0.0.1",
            str(self.programs / program),
            "--ryu-ofp-listen-host=127.0.0.1",
            f"--ryu-ofp-tcp-listen-port={port}",
        )
        wait_until(lambda: listening(port) or not self.process.alive, f"{program} to listen", timeout=30)
        assert self.process.alive, self.process.output()
        return self

    @property
    def log(self) -> str:
        """What Faucet says."""
        return (self.directory / "faucet-own.log").read_text()

    def complaints(self) -> list[str]:
        """OpenFlow errors and exceptions it wrote down."""
        exceptions = self.directory / "faucet-exceptions.log"
        return [line for line in self.log.splitlines() if "OFError" in line] + (
            exceptions.read_text().splitlines() if exceptions.exists() else []
        )


def learned(lab: Lab) -> set[str]:
    """Behind which ports Faucet has entered a host into its table of sources."""
    return {found[1] for flow in lab.flows(A) if (found := LEARNED.search(flow)) and "table=1" in flow}


def dropping(lab: Lab) -> list[str]:
    """The flows that drop pings."""
    return [flow for flow in lab.flows(A) if "icmp" in flow and "actions=drop" in flow]


def test_it_switches_in_a_tagged_slice(lab: Lab, faucet_programs: Path) -> None:
    faucet = Faucet(lab, faucet_programs).write(faucet_yaml({"tagged_vlans": ["office"]})).start()
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    rack.both_work_apart()
    wait_until(lambda: learned(lab) == {"1", "2", "3"}, "Faucet to learn every host")
    assert rack.hosts["a1"].ping("10.0.0.254", 3) == 3, "Faucet itself answers on the VLAN's gateway address"
    lab.only_vlans(A, B)
    assert not faucet.complaints()


def test_a_change_of_its_configuration_deletes_and_adds_flows(lab: Lab, faucet_programs: Path) -> None:
    config = faucet_yaml({"tagged_vlans": ["office"]})
    faucet = Faucet(lab, faucet_programs).write(config).start()
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    rack.slice_works("a")
    # Bob's controller has started: the rest of his flows is VMOC's.
    wait_until(lambda: any("CONTROLLER" in flow for flow in lab.flows(B)), "bob's controller to connect", timeout=30)
    a1, bobs = rack.hosts["a1"], lab.flows(B)
    no_ping = {"rule": {"dl_type": 0x800, "ip_proto": 1, "actions": {"allow": 0}}}
    anything = {"rule": {"actions": {"allow": 1}}}
    faucet.write(faucet_yaml({"tagged_vlans": ["office"], "acls_in": ["quiet"]}, acls={"quiet": [no_ping, anything]}))
    wait_until(lambda: not a1.ping("10.0.0.2"), "the ACL to drop pings", timeout=30)
    assert dropping(lab)
    faucet.write(config)
    wait_until(lambda: a1.ping("10.0.0.2"), "pings to pass again", timeout=30)
    rack.slice_works("a")
    assert not dropping(lab)
    assert lab.flows(B) == bobs
    assert not faucet.complaints()


def test_gauge_beside_it_as_a_second_controller(lab: Lab, faucet_programs: Path) -> None:
    faucet = Faucet(lab, faucet_programs).write(faucet_yaml({"tagged_vlans": ["office"]})).start()
    watchers = {
        kind: {"dps": ["sw"], "type": kind, "interval": 1, "db": "prometheus"} for kind in ("port_stats", "flow_table")
    }
    gauge = {
        "faucet_configs": [f"{lab.directory}/faucet.yaml"],
        "watchers": watchers,
        "dbs": {
            "prometheus": {"type": "prometheus", "prometheus_addr": "127.0.0.1", "prometheus_port": METRICS},
        },
    }
    (lab.directory / "gauge.yaml").write_text(yaml.safe_dump(gauge))
    Faucet(lab, faucet_programs).start("gauge", GAUGE)
    lab.run_vmoc(a_slice("alice", A, ALICE, f"tcp:127.0.0.1:{GAUGE}"), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    rack.slice_works("a")

    def metrics(name: str) -> list[str]:
        with urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=5) as answer:
            return [line for line in answer.read().decode().splitlines() if line.startswith(name)]

    wait_until(lambda: metrics("flow_packet_count_"), "Gauge to count packets per flow", timeout=30)
    counted = wait_until(lambda: metrics("of_port_rx_packets{"), "Gauge to know the ports", timeout=30)
    assert len(counted) == len(PORTS), counted
    rack.both_work_apart()
    assert not faucet.complaints()


def test_its_acls_work_in_a_transparent_slice(lab: Lab, faucet_programs: Path) -> None:
    """Every frame is steered by a port ACL, in table 0, before Faucet would put a tag on."""
    acls = {
        f"from-{one}": [{"rule": {"actions": {"allow": 0, "output": {"ports": [two for two in PORTS if two != one]}}}}]
        for one in PORTS
    }
    config = faucet_yaml({"native_vlan": "office"}, acls=acls)
    for number, port in config["dps"]["sw"]["interfaces"].items():
        port["acls_in"] = [f"from-{number}"]
    Faucet(lab, faucet_programs).write(config).start()
    lab.run_vmoc(a_slice("alice", A, ALICE, presentation="transparent"), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    rack.both_work_apart()


def test_its_switching_is_refused_in_a_transparent_slice(lab: Lab, faucet_programs: Path) -> None:
    """A transparent slice is an untagged network: Faucet's tags are refused, each with the error that says so."""
    faucet = Faucet(lab, faucet_programs).write(faucet_yaml({"native_vlan": "office"})).start()
    lab.run_vmoc(a_slice("alice", A, ALICE, presentation="transparent"), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    refused = ("OFPET_BAD_ACTION code: OFPBAC_EPERM", "OFPET_FLOW_MOD_FAILED code: OFPFMFC_EPERM")
    wait_until(lambda: all(error in faucet.log for error in refused), "Faucet to hear of it")
    rack.slice_works("b")
    assert rack.hosts["a1"].ping("10.0.0.2") == 0
    assert faucet.process.alive
    assert "reason=vlan-action" in lab.vmoc.output()


def test_acls_with_groups_meters_and_rewriting_in_a_transparent_slice(lab: Lab, faucet_programs: Path) -> None:
    """What a port ACL can do besides ``ports``: a fast-failover group, a meter, a rewritten address."""
    arp = {"dl_type": 0x806}
    quick = {"slow": {"meter_id": 1, "entry": {"flags": "KBPS", "bands": [{"type": "DROP", "rate": 1_000_000}]}}}
    there: dict[str, Any] = {"failover": {"group_id": 1001, "ports": [2, 3]}}
    back: dict[str, Any] = {"set_fields": [{"eth_dst": "02:00:00:00:00:01"}], "port": 1}
    acls = {
        "from-1": [
            {"rule": arp | {"actions": {"allow": 0, "output": {"ports": [2, 3]}}}},
            {"rule": {"dl_type": 0x800, "actions": {"allow": 0, "meter": "slow", "output": there}}},
        ],
        "from-2": [{"rule": {"actions": {"allow": 0, "output": back}}}],
        "from-3": [{"rule": {"actions": {"allow": 0}}}],
    }
    config = faucet_yaml({"native_vlan": "office"}, acls=acls, meters=quick)
    for number, port in config["dps"]["sw"]["interfaces"].items():
        port["acls_in"] = [f"from-{number}"]
    Faucet(lab, faucet_programs).write(config).start()
    lab.run_vmoc(a_slice("alice", A, ALICE, presentation="transparent"), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    wait_until(lambda: rack.hosts["a1"].ping("10.0.0.2"), "a ping through the group and back", timeout=30)
    assert rack.hosts["a1"].ping("10.0.0.2", 3, patience=5) == 3
    assert rack.hosts["a1"].ping("10.0.0.3") == 0, "port 3 may not answer"
    flows = "\n".join(lab.flows(A))
    for part in ("group:", "meter:", "set_field:02:00:00:00:00:01->eth_dst"):
        assert part in flows, flows
    rack.slice_works("b")
    lab.only_vlans(A, B)
