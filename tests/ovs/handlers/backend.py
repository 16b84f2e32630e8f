"""What the contract tests need of a back-end, and the netns one.

A further back-end is another class with these methods, and a line in ``BACKENDS``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.handler import Handler
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.spec import SliverSpec, read_spec
from mininet_scenarios.openvswitch import PrivateOvs
from tests.ovs.handlers.quick import QuickHandler, call_module

ACTIONS = "start stop reboot add_keys remove_keys cpuinfo numainfo".split()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"


class BackEnd(Protocol):
    """A back-end under test."""

    catalogue: Catalogue
    folder: Path
    host_port: int

    def spec(self, name: str, **more: Any) -> SliverSpec:
        """A sliver of this test, with one card on VLAN 101 unless told otherwise."""

    def traces(self) -> list[str]:
        """Everything on this machine that belongs to slivers of this test."""

    def execute(self, spec: SliverSpec, *command: str) -> str:
        """What a command inside the sliver prints; ``AssertionError`` when it fails."""

    def keys(self, spec: SliverSpec, user: str) -> str:
        """The text of that user's authorized_keys."""

    def place(self, name: str) -> str:
        """A file for the test's use, as it is called inside the sliver."""

    def read(self, spec: SliverSpec, name: str) -> bytes | None:
        """What is in it; None when it is not there."""

    def serve(self, spec: SliverSpec, port: int) -> contextlib.AbstractContextManager[object]:
        """A server inside, at that TCP port, that says "hi" to the first who calls."""

    def count(self, cpuinfo: dict[str, Any]) -> int:
        """1, of what this back-end's ``cpuinfo`` tells."""

    def sweep(self) -> None:
        """After a test that failed: remove all that it left."""

    def handler(self, config: HandlerConfig) -> Handler:
        """What runs the verbs where they need not go through Ansible, which takes a second for each."""


class Netns:
    """Network namespaces on a bridge of the test's own Open vSwitch."""

    kind = "netns"
    module = "netns_sliver"
    host_port = 3150
    """One of the host's that no other back-end's test asks for: they may run at the same time."""

    def __init__(self, ovs: PrivateOvs, folder: Path, stack: contextlib.ExitStack) -> None:
        """``stack`` ends what the back-end starts for itself."""
        self.ovs = ovs
        self.folder = folder
        self.slice_id = f"t-{uuid.uuid4().hex[:12]}"
        self.names: set[str] = set()
        ovs.add_bridge("br-int", 0xA, fail_mode="standalone")
        path = folder / "handlers.yaml"
        variables: dict[str, Any] = {
            "bridge": "br-int",
            "ovs_rundir": str(ovs.directory),
            "published_ports": "3100-3199",
        }
        variables |= self.prepare(stack)
        self.arguments = {**variables, "installation": SqliteJournal(":memory:").installation}
        variables = {f"{self.kind}_{name}": value for name, value in variables.items()}
        handlers = {
            "processor": {"workers": 2, "stop_grace": 2, "cpu_weight": 100},
            "playbooks": {self.kind: f"{self.kind}.yml"},
            "hosts": {"here": {"variables": variables}},
            "handlers": {self.kind: {"playbooks": {"inventory": f"{self.kind}.yml"}, "actions": ACTIONS}},
        }
        path.write_text(json.dumps(handlers))
        self.catalogue = read_catalogue(path)

    def prepare(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        """What else the host's variables say."""
        return {"commands": True}

    def spec(self, name: str, **more: Any) -> SliverSpec:
        number = len(self.names) + 1
        self.names.add(name)
        card = {"name": "eth1", "vlan": 101, "addresses": [f"10.0.1.{number}/24"]}
        document = {"slice_id": self.slice_id, "sliver_id": name, "resource_type": self.kind, "interfaces": [card]}
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

    def keys(self, spec: SliverSpec, user: str) -> str:
        return Path(f"/var/lib/vmoc/netns/{self.instance(spec.sliver_id)}/keys/{user}").read_text()

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, spec: SliverSpec, name: str) -> bytes | None:
        return _read(self.folder / name)

    @contextlib.contextmanager
    def serve(self, spec: SliverSpec, port: int) -> Iterator[object]:
        words = f"s = socket.create_server(('', {port})); print(flush=True); c, _ = s.accept(); c.sendall(b'hi')"
        command = ["ip", "netns", "exec", self.instance(spec.sliver_id), "python3", "-c", f"import socket; {words}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None and server.stdout.readline()
            yield server

    def count(self, cpuinfo: dict[str, Any]) -> int:
        return int(cpuinfo["processes"])

    def sweep(self) -> None:
        parameters = {"known": [], "remove": [self.instance(name) for name in self.names]}
        call_module(self.module, {**self.arguments, "verb": "inventory", "spec": {}, "parameters": parameters})

    def handler(self, config: HandlerConfig) -> Handler:
        return QuickHandler(self.module, self.arguments)

    def execute(self, spec: SliverSpec, *command: str) -> str:
        return _run("ip", "netns", "exec", self.instance(spec.sliver_id), *command)


class Container(Netns):
    """Containers, in such namespaces."""

    kind = "container"
    module = "container_sliver"
    host_port = 3151

    def root(self, spec: SliverSpec) -> Path:
        return Path("/var/lib/vmoc/netns", self.instance(spec.sliver_id), "root")

    def keys(self, spec: SliverSpec, user: str) -> str:
        return (self.root(spec) / "home" / user / ".ssh" / "authorized_keys").read_text()

    def place(self, name: str) -> str:
        return f"/tmp/{name}"

    def read(self, spec: SliverSpec, name: str) -> bytes | None:
        return _read(self.root(spec) / "tmp" / name)

    def first(self, spec: SliverSpec) -> int:
        """The host's number of its first process."""
        for pid in _run("ip", "netns", "pids", self.instance(spec.sliver_id)).split():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line.split() for line in status.splitlines() if line.startswith("NSpid:"))
                if numbers[2:] == ["1"]:
                    return int(pid)
        raise AssertionError("it has no first process")

    def execute(self, spec: SliverSpec, *command: str) -> str:
        return _run("nsenter", "-t", str(self.first(spec)), *"-m -u -i -n -p -C -U -r --wd=/ --".split(), *command)

    def traces(self) -> list[str]:
        mounted = Path("/proc/self/mounts").read_text().splitlines()
        found = [line for line in mounted if any(self.instance(name) in line for name in self.names)]
        for name in self.names:
            found += [str(one) for one in Path("/sys/fs/cgroup").glob(f"**/vmoc/{self.instance(name)}")]
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if any(f"VMOC_SLIVER={self.instance(name)}".encode() in path.read_bytes() for name in self.names):
                    found.append(str(path))
        return super().traces() + [one for one in found if "/run/netns/" not in one]


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _run(*command: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout
