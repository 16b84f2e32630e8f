"""What the contract tests need of a back-end, and the netns one.

A further back-end is another class with these methods, and a line in ``BACKENDS``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any, Protocol

from am_bridge.handlers.catalogue import Catalogue
from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.spec import SliverSpec, read_spec
from mininet_scenarios.openvswitch import PrivateOvs

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"


class BackEnd(Protocol):
    """A back-end under test."""

    catalogue: Catalogue
    folder: Path

    def spec(self, name: str, **more: Any) -> SliverSpec:
        """A sliver of this test, with one card on VLAN 101 unless told otherwise."""

    def traces(self) -> list[str]:
        """Everything on this machine that belongs to slivers of this test."""

    def execute(self, spec: SliverSpec, *command: str) -> str:
        """What a command inside the sliver prints; ``AssertionError`` when it fails."""

    def home(self, spec: SliverSpec) -> str:
        """The folder of the sliver's own files on the host, with ``keys/USER``."""


class Netns:
    """Network namespaces on a bridge of the test's own Open vSwitch."""

    def __init__(self, ovs: PrivateOvs, folder: Path) -> None:
        self.ovs = ovs
        self.folder = folder
        self.slice_id = f"t-{uuid.uuid4().hex[:12]}"
        self.names: set[str] = set()
        ovs.add_bridge("br-int", 0xA, fail_mode="standalone")
        path = folder / "handlers.yaml"
        variables = {
            "netns_bridge": "br-int",
            "netns_ovs_rundir": str(ovs.directory),
            "netns_commands": True,
            "netns_published_ports": "3100-3199",
        }
        handlers = {
            "processor": {"workers": 2, "stop_grace": 2},
            "playbooks": {"netns": "netns.yml"},
            "hosts": {"here": {"variables": variables}},
            "handlers": {"netns": {"actions": "start stop reboot add_keys remove_keys cpuinfo numainfo".split()}},
        }
        path.write_text(json.dumps(handlers))
        self.catalogue = read_catalogue(path)

    def spec(self, name: str, **more: Any) -> SliverSpec:
        number = len(self.names) + 1
        self.names.add(name)
        card = {"name": "eth1", "vlan": 101, "addresses": [f"10.0.1.{number}/24"]}
        document = {"slice_id": self.slice_id, "sliver_id": name, "resource_type": "netns", "interfaces": [card]}
        return read_spec(document | more)

    def instance(self, name: str) -> str:
        """The namespace's name: another run of these tests, or one that failed, has other slices."""
        return f"vmoc-{name}-{hashlib.sha256(f'{self.slice_id}/{name}'.encode()).hexdigest()[:8]}"

    def traces(self) -> list[str]:
        found = [one["ifname"] for one in json.loads(_run("ip", "-j", "link")) if one["ifname"][:1] in "vi"]
        found += [line for line in self.ovs.vsctl("list-ports", "br-int").split() if line.startswith("v")]
        found += [line for line in _run("nft", "list", "tables").splitlines() if "vmoc_" in line]
        for folder in ("/run/netns", "/etc/netns", "/var/lib/vmoc/netns"):
            for one in os.listdir(folder) if os.path.isdir(folder) else ():
                if one in map(self.instance, self.names):
                    found.append(f"{folder}/{one}")
        return found

    def home(self, spec: SliverSpec) -> str:
        return f"/var/lib/vmoc/netns/{self.instance(spec.sliver_id)}"

    def execute(self, spec: SliverSpec, *command: str) -> str:
        return _run("ip", "netns", "exec", self.instance(spec.sliver_id), *command)


def _run(*command: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


BACKENDS = {"netns": Netns}
