"""An os-ken application beside VMOC: link discovery sees the real links, and the slices see nothing of it."""

from __future__ import annotations

import json
import sys

import pytest

from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.ovs.lab import NORTH, SOUTH, Lab, a_slice, configuration, established


@pytest.mark.parametrize("workers", [1, 2])
def test_discovery_finds_the_links_between_switches_of_both_versions(lab: Lab, workers: int) -> None:
    controller = lab.controller(of.V13, versions=(of.V10, of.V13))
    file = lab.directory / "discovery.yaml"
    file.write_text(json.dumps(configuration(a_slice("alice", 101, f"tcp:127.0.0.1:{NORTH}"))))
    words = [sys.executable, "-m", "vmoc", "run", "-c", str(file), "--app", "vmoc.apps.discovery"]
    words += ["--workers", str(workers)]
    vmoc = lab.process("vmoc", *words)
    wait_until(lambda: listening(SOUTH) or not vmoc.alive, "VMOC to listen", timeout=30)
    for number, protocols in enumerate((["OpenFlow13"], ["OpenFlow13"], ["OpenFlow10"]), start=1):
        lab.bridge(f"br{number}", number, ports=1, protocols=protocols)
    lab.ovs.add_patch("br1", 11, "br2", 11)
    lab.ovs.add_patch("br2", 12, "br3", 12)

    links = {(1, 11, 2, 11), (2, 11, 1, 11), (2, 12, 3, 12), (3, 12, 2, 12)}
    texts = {f"link up: {a:#018x}:{p} -> {b:#018x}:{q}" for a, p, b, q in links}
    wait_until(lambda: all(text in vmoc.output() for text in texts), f"{texts} in {vmoc.output()}", timeout=40)
    assert vmoc.output().count("link up:") == len(links)

    lab.ovs.vsctl("del-port", "br1", "br1-br2")
    wait_until(lambda: "link down:" in vmoc.output(), "the cut link to be reported", timeout=40)
    for connection in established(controller):
        assert not [message for message in connection.log if message.name == "packet_in"], "LLDP reached a slice"
    assert "Traceback" not in vmoc.output()
