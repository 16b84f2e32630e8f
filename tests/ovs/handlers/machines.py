"""The vm back-end under the contract tests: a libvirt and a guest of their own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible.module_utils

from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.handler import Handler
from am_bridge.handlers.spec import SliverSpec
from mininet_scenarios.processes import wait_until
from tests.ovs.handlers.backend import Netns
from tests.ovs.handlers.libvirt import Libvirt
from tests.ovs.handlers.quick import PLAYBOOKS, QuickHandler

ansible.module_utils.__path__.append(str(PLAYBOOKS / "module_utils"))
from ansible.module_utils.vm_guest import Agent, GuestError  # noqa: E402

BUILD = Path(__file__).resolve().parents[3] / "build"
QUICK = "quiet nokaslr mitigations=off cryptomgr.notests tsc=reliable noreplace-smp"
"""What a kernel need not do that is emulated and guards nothing: a fifth of the CPU of its boot."""
HOME_NETWORK = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
"""Where packages can be had, which in a test's own network they cannot."""
MAKER = Path(__file__).with_name("guest") / "build.py"


def guest() -> Path:
    """The folder with the guest's kernel and initrd, made when they are not there."""
    folder = BUILD / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outside = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{HOME_NETWORK}", "--"]
        subprocess.run([*outside, sys.executable, str(MAKER), str(folder)], check=True, timeout=240)
    return folder


class Machines(Netns):
    """Virtual machines of a guest that holds busybox and the guest agent, emulated in software."""

    kind = "vm"
    module = "vm_sliver"
    host_port = 3152

    def prepare(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        images = self.folder / "images"
        images.mkdir()
        made = guest()
        description = {"kernel": str(made / "kernel"), "initrd": str(made / "initrd"), "memory_mib": 128}
        (images / "tiny.json").write_text(json.dumps(description | {"cmdline": f"console=ttyS0 panic=-1 {QUICK}"}))
        libvirt = stack.enter_context(Libvirt(self.folder / "libvirt", self.ovs, BUILD / "libvirt-cache"))
        self.uri = libvirt.uri
        return {"uri": self.uri, "virtualisation": "qemu", "images": str(images), "boot_timeout": 150}

    def spec(self, name: str, **more: Any) -> SliverSpec:
        return super().spec(name, **{"image": "tiny", **more})

    def handler(self, config: HandlerConfig) -> Handler:
        return QuickHandler(self.module, self.arguments)

    def virsh(self, *argv: str) -> tuple[int, str, str]:
        command = ["virsh", "-q", "-c", self.uri, *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def agent(self, spec: SliverSpec) -> Agent:
        return Agent(self.virsh, self.instance(spec.sliver_id))

    def execute(self, spec: SliverSpec, *command: str) -> str:
        try:
            return str(self.agent(spec).run(*command))
        except GuestError as error:
            raise AssertionError(str(error)) from None

    def keys(self, spec: SliverSpec, user: str) -> str:
        return self.execute(spec, "cat", f"/home/{user}/.ssh/authorized_keys")

    def place(self, name: str) -> str:
        return f"/tmp/{name}"

    def read(self, spec: SliverSpec, name: str) -> bytes | None:
        with contextlib.suppress(AssertionError):
            return self.execute(spec, "cat", self.place(name)).encode()
        return None

    @contextlib.contextmanager
    def serve(self, spec: SliverSpec, port: int) -> Iterator[object]:
        words = {"path": "nc", "arg": ["-l", "-p", str(port), "-e", "/bin/echo", "hi"]}
        self.agent(spec).ask("guest-exec", **words)
        wait_until(lambda: f":{port} " in self.execute(spec, "netstat", "-ltn"), "the server inside", timeout=60)
        yield None

    def count(self, cpuinfo: dict[str, Any]) -> int:
        return len(cpuinfo["vcpus"])

    def traces(self) -> list[str]:
        status, out, _ = self.virsh("list", "--all", "--name")
        assert status == 0
        found = [f"domain:{name}" for name in out.split()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes()
                if any(f"guest={self.instance(name)},".encode() in words for name in self.names):
                    found.append(str(path))
        return super().traces() + found
