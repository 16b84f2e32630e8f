"""Faucet, as released, behind VMOC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import Process, wait_until
from tests.compat.hosts import A, B, Rack
from tests.ovs.lab import NORTH, Lab, a_slice

pytestmark = [pytest.mark.ovs, pytest.mark.timeout(300)]

ALICE = f"tcp:127.0.0.1:{NORTH}"
BUILTIN = {"default_controller": {"mode": "builtin"}}


def faucet(lab: Lab, place: Path, configuration: dict[str, Any]) -> Process:
    """Run Faucet with this faucet.yaml (JSON is YAML)."""
    file = lab.directory / "faucet.yaml"
    file.write_text(json.dumps(configuration, indent=2))
    process = lab.process(
        "faucet",
        "env",
        f"PATH={place}:/usr/bin:/bin",
        f"FAUCET_CONFIG={file}",
        f"FAUCET_LOG={lab.directory}/faucet-own.log",
        f"FAUCET_EXCEPTION_LOG={lab.directory}/faucet-exceptions.log",
        "FAUCET_PROMETHEUS_ADDR=127.0.0.1",
        str(place / "faucet"),
        "--use-stderr",
        "--ryu-ofp-listen-host=127.0.0.1",
        f"--ryu-ofp-tcp-listen-port={NORTH}",
    )
    wait_until(lambda: listening(NORTH) or not process.alive, "Faucet to listen", timeout=30)
    assert process.alive, process.output()
    return process


def test_faucet_tagged(lab: Lab, faucet_programs) -> None:
    place = faucet_programs
    conf = {"vlans": {"office": {"vid": A}}, "dps": {"sw": {"dp_id": A << 48 | 1, "hardware": "Open vSwitch", "interfaces": {n: {"tagged_vlans": ["office"]} for n in (1, 2, 3)}}}}
    p = faucet(lab, place, conf)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, "OpenFlow13")
    try:
        rack.both_work_apart()
    finally:
        print((lab.directory / "faucet-own.log").read_text()[-6000:])
        print(p.output()[-3000:])
        print("\n".join(lab.flows(A)))
        print(lab.vmoc.output()[-5000:])
