"""The module behind the vm back-end: killed after each of its steps, and what only machines have."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import Component, Nic, PublishedPort, SliverSpec, User
from mininet_scenarios.processes import wait_until
from tests.ovs.handlers.backend import KEY
from tests.ovs.handlers.machines import Machines
from tests.ovs.handlers.quick import DIRECT

pytestmark = [
    pytest.mark.parametrize("backend", [pytest.param("vm", marks=pytest.mark.slow)], indirect=True),
    pytest.mark.timeout(300),
]
PROGRAMS = ("virsh", "ovs-vsctl", "nft", "ip", "xorrisofs", "qemu-img")
LETHAL = """#!/bin/sh
{program} "$@"
status=$?
case "$*" in
*" list "*|*domstate*|*dumpxml*|*agent-command*|*" find "*|*list-br*|*" get "*|"list "*) exit $status ;;
esac
echo "$(basename "$0") $*" >> "{count}"
[ "$(wc -l < "{count}")" -lt "$VMOC_DEADLY" ] || kill -9 $PPID
exit $status
"""


class Calls:
    """Calls of the module, with programs around it that may kill it."""

    def __init__(self, backend: Machines) -> None:
        self.backend = backend
        self.count = backend.folder / "count"
        folder = backend.folder / "bin"
        folder.mkdir()
        for program in PROGRAMS:
            found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            (folder / program).write_text(LETHAL.format(program=found, count=self.count))
            (folder / program).chmod(stat.S_IRWXU)
        self.path = f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"

    def __call__(self, verb: str, spec: SliverSpec | None, deadly: int = 0, **more: Any) -> dict[str, Any]:
        """The module's answer; nothing when it was killed, which it is after its ``deadly``-th change."""
        self.count.unlink(missing_ok=True)
        document = {} if spec is None else encode(spec)
        words = json.dumps({**self.backend.arguments, "verb": verb, "spec": document, **more})
        done = subprocess.run(
            [sys.executable, str(DIRECT), "vm_sliver", words],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, "PATH": self.path, "VMOC_DEADLY": str(deadly or 10_000)},
        )
        if done.returncode == -9:
            return {}
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer if answer.get("failed") else dict(answer["vmoc_result"])

    def changes(self) -> list[str]:
        """The programs that the last call changed something with."""
        return [line.split()[0] for line in self.count.read_text().splitlines()] if self.count.exists() else []


@pytest.fixture
def call(backend: Machines) -> Calls:
    return Calls(backend)


def test_killed_after_any_step_a_delete_leaves_nothing(backend: Machines, call: Calls) -> None:
    spec = replace(backend.spec("kill"), published_ports=(PublishedPort(22),), users=(User("alice", (KEY,)),))
    steps = []
    while not (made := call("create", spec, deadly=len(steps) + 1)):
        steps.append(call.changes()[-1])
        if len(steps) % 2:
            assert call("delete", spec)["leftovers"] == []
        else:  # as the reconciliation of a host does
            name = backend.instance("kill")
            swept = call("inventory", None, parameters={"known": [], "remove": [name]})
            assert swept["leftovers"] == [] and name not in [one["name"] for one in swept["facts"]["instances"]]
        assert backend.traces() == [], steps
    assert made["state"] == "ready" and steps == ["xorrisofs", "virsh", "virsh", "nft"]
    known = [{"slice_id": spec.slice_id, "sliver_id": "kill"}]
    kept = call("inventory", None, parameters={"known": known, "remove": [backend.instance("kill")]})
    assert {"name": backend.instance("kill"), **known[0]} in kept["facts"]["instances"] and not kept["changed"]
    assert call("delete", spec)["leftovers"] == []


def test_a_machine_over_its_life(backend: Machines, call: Calls) -> None:
    spec = replace(backend.spec("life"), vcpus=2, hostname="box.example")
    planned = call("create", spec, _ansible_check_mode=True)
    assert planned["changed"] and backend.traces() == []
    made = call("create", spec)
    number = made["interfaces"][0]["port"]
    console = Path(made["facts"]["console"])
    assert re.search(r"^vmoc-boot [0-9a-f]{16} done", console.read_text(), re.MULTILINE)
    assert backend.execute(spec, "hostname").strip() == "box.example"

    # Processors and memory: refused, changed, kept.
    for bad in ([{"vcpu": 0, "cpu": 999}], [{"vcpu": 2, "cpu": 0}], "0", [{"vcpu": 0}]):
        assert call("cpupin", spec, parameters={"vcpu_cpu_map": bad})["failed"]
    assert "there are 0" in call("numatune", spec, parameters={"node_set": ["7"]})["msg"]
    pinned = call("cpupin", spec, parameters={"vcpu_cpu_map": [{"vcpu": 1, "cpu": 0}]})
    assert [one["affinity"] for one in pinned["facts"]["cpuinfo"]["vcpus"]][1] == "0"
    assert call("numatune", spec, parameters={"node_set": [0]})["facts"]["numainfo"]["node_set"] == "0"
    assert not call("create", spec)["changed"]

    # A disk, a card with a VLAN inside, and another amount of memory; the last waits.
    volume = backend.folder / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(volume), "4M"], check=True, timeout=30)
    disk = {"path": str(volume), "format": "qcow2", "serial": "data", "mount_point": "", "scratch": False}
    trunk = Nic("eth2", 105, addresses=("10.5.0.1/24",), tagged=True)
    storage = Component("Storage", "data", volume="data")
    more = replace(spec, interfaces=(*spec.interfaces, trunk), components=(storage,), memory_mib=160)
    changed = call("modify", more, volumes=[disk])
    assert changed["problems"] == ["processors and memory change when it is rebooted"]
    assert changed["interfaces"][1]["addresses"] == ["10.5.0.1/24"] and changed["interfaces"][1]["vlan"] == 105
    assert "data" in backend.execute(more, "sh", "-c", "cat /sys/block/vd*/serial")
    assert json.loads(backend.ovs.vsctl("--format=json", "--columns=trunks", "find", "port", "tag=[]", "trunks=105"))
    grown = call("reboot", more)
    assert grown["state"] == "ready" and grown["interfaces"][0]["port"] == number
    total = re.search(r"MemTotal: +(\d+)", backend.execute(more, "cat", "/proc/meminfo"))
    assert total is not None and int(total[1]) > 128 * 1024 * 0.9
    assert [one["affinity"] for one in call("cpuinfo", more)["facts"]["cpuinfo"]["vcpus"]][1] == "0"
    call("modify", replace(more, components=(), interfaces=spec.interfaces))
    assert "data" not in backend.execute(spec, "sh", "-c", "cat /sys/block/vd*/serial")

    # Its process dies. Nobody is told but who asks.
    (pid,) = [int(path.parts[2]) for path in processes(backend.instance("life"))]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: backend.virsh("domstate", backend.instance("life"))[1].strip() == "shut off", "libvirt to see")
    seen = call("probe", replace(spec, memory_mib=160))
    assert seen["state"] == "degraded" and "it is shut off; start it, or reboot" in seen["problems"]
    assert call("delete", spec)["leftovers"] == []


def processes(name: str) -> list[Path]:
    """Of the machine's emulator."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"guest={name},".encode() in path.read_bytes():
                found.append(path)
    return found


def test_a_boot_that_never_ends_is_given_up(backend: Machines, call: Calls) -> None:
    images = Path(backend.arguments["images"])
    described = json.loads((images / "tiny.json").read_text())
    (images / "mute.json").write_text(json.dumps({**described, "sign": "message", "message": "never said"}))
    spec = replace(backend.spec("mute"), image="mute", boot_timeout=1)
    answer = call("create", spec)
    assert answer["failed"] and answer["msg"].startswith("the machine did not say within 1 s that it is up; ")
    assert call("delete", spec)["leftovers"] == []
    for image, why in (("none", "there is no image none in "), ("../../etc/passwd", "there is no image ../../etc/")):
        answer = call("create", replace(spec, image=image))
        assert answer["failed"] and answer["msg"].startswith(why)
        assert call("delete", spec)["leftovers"] == []


def test_a_stray_s_functions_are_nobody_else_s(backend: Machines, call: Calls) -> None:
    """Nobody has erased what it left on them."""
    name, claims = backend.instance("stray"), backend.folder / "claims"
    claims.mkdir()
    (claims / "0000:41:00.2").write_text(json.dumps({"instance": name, "vepa": ""}))
    state = Path("/var/lib/vmoc/netns", name)
    state.mkdir(parents=True)
    (state / "made").write_text(f"vm\n{backend.arguments['installation']}\n")
    backend.names.add("stray")
    swept = call("inventory", None, parameters={"known": [], "remove": [name]}, claims=str(claims))
    assert swept["leftovers"] == ["pci:0000:41:00.2"] and not state.exists()


def test_without_libvirt_everything_says_so(backend: Machines, call: Calls) -> None:
    spec = backend.spec("lost")
    uri = "qemu+unix:///system?socket=/nowhere"
    for verb in ("create", "probe", "delete"):
        answer = call(verb, spec, uri=uri)
        assert answer["failed"] and answer["msg"] == f"libvirt does not answer at {uri}; see vm_uri"
    assert backend.traces() == []
