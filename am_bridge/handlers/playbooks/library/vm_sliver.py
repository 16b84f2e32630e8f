"""An Ansible module: one sliver as a virtual machine of libvirt's, its cards on an Open vSwitch bridge.

Everything carries the instance's name or a hash of it::

    domain         vmoc-SLIVER-HASH
    files          /var/lib/vmoc/netns/vmoc-SLIVER-HASH/: disk.qcow2, seed.iso, console.log, what we must remember
    card           vHASHxxxx, an access port of the card's VLAN
    management     vmgHASH; inside it is mgmt0    only when ports are published
    nftables       table ip vmoc_HASH
"""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from typing import Any

from ansible.module_utils.pci_claims import CLAIMS
from ansible.module_utils.sliver_verbs import run
from ansible.module_utils.vm_machine import VirtualMachine

DOCUMENTATION = """
module: vm_sliver
short_description: A sliver as a virtual machine
description: Makes, changes, removes and looks at a libvirt domain with cards on an Open vSwitch bridge.
"""

NODES = "/sys/devices/system/node/node[0-9]*"


class ActingMachine(VirtualMachine):  # type: ignore[misc]
    """A machine, and the actions that only machines have."""

    def perform(self, verb: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if verb == "ping":
            return {"ping": self.ping(parameters)}
        if verb == "cpupin":
            pin(self, parameters)
        if verb == "numatune":
            tune(self, parameters)
        if verb in ("cpuinfo", "cpupin"):
            return {"cpuinfo": read_processors(self)}
        return {"numainfo": read_nodes(self)} if verb in ("numainfo", "numatune") else {}


def read_processors(machine: VirtualMachine) -> dict[str, Any]:
    """The host's CPUs, and where each virtual one runs and may run."""
    found = []
    for block in machine.ask("vcpuinfo", machine.name, "--pretty").split("\n\n"):
        words = dict(re.findall(r"^([^:\n]+):\s*(.*)$", block, re.M))
        if "VCPU" in words:
            runs = words.get("CPU", "").strip()
            found.append(
                {
                    "vcpu": int(words["VCPU"]),
                    "cpu": int(runs) if runs.isdecimal() else None,
                    "state": words.get("State", ""),
                    "seconds": float(words.get("CPU time", "0s").rstrip("s") or 0),
                    "affinity": words.get("CPU Affinity", "").split(" (")[0],
                }
            )
    return {"cpus": sorted(os.sched_getaffinity(0)), "vcpus": found}


def pin(machine: VirtualMachine, parameters: dict[str, Any]) -> None:
    """``vcpu_cpu_map``: a list of ``{vcpu, cpu}``. It outlives a reboot."""
    pairs, there = parameters.get("vcpu_cpu_map"), os.sched_getaffinity(0)
    wanted: dict[str, str] = {}
    for one in pairs if isinstance(pairs, list) else [None]:
        vcpu, cpu = (number(one.get(name)) for name in ("vcpu", "cpu")) if isinstance(one, dict) else (-1, -1)
        if cpu not in there or not 0 <= vcpu < max(1, machine.spec["vcpus"]):
            machine.fail(f"vcpu_cpu_map must be a list of vcpu and cpu; CPUs here are {sorted(there)}")
        wanted[str(vcpu)] = str(cpu)
    for vcpu_name, cpus in wanted.items():
        where = ["--live", "--config"] if machine.running() else ["--config"]
        machine.tell("vcpupin", machine.name, vcpu_name, cpus, *where)
    machine.save(pins={**machine.state().get("pins", {}), **wanted})


def read_nodes(machine: VirtualMachine) -> dict[str, Any]:
    """The host's NUMA nodes, and how much of the machine's memory is on each, in MiB."""
    nodes = {}
    for folder in sorted(glob.glob(NODES)):
        with suppress(OSError), open(f"{folder}/cpulist") as cpus, open(f"{folder}/meminfo") as memory:
            sizes = dict(re.findall(r"(MemTotal|MemFree):\s+(\d+)", memory.read()))
            nodes[folder.rpartition("node")[2]] = {
                "cpus": cpus.read().strip(),
                "memory_mib": int(sizes.get("MemTotal", 0)) // 1024,
                "free_mib": int(sizes.get("MemFree", 0)) // 1024,
            }
    used: dict[str, int] = {}
    for pid in machine.emulators():
        with suppress(OSError), open(f"/proc/{pid}/numa_maps") as maps:
            for line in maps:
                size = re.search(r"kernelpagesize_kB=(\d+)", line)
                for node, pages in re.findall(r"\bN(\d+)=(\d+)", line):
                    used[node] = used.get(node, 0) + int(pages) * int(size[1] if size else 4)
    return {
        "nodes": nodes,
        "machine_mib": {node: kib // 1024 for node, kib in sorted(used.items())},
        "node_set": machine.state().get("nodes", ""),
    }


def tune(machine: VirtualMachine, parameters: dict[str, Any]) -> None:
    """``node_set``: the NUMA nodes that its memory comes from, from the next start on at the latest."""
    nodes, there = parameters.get("node_set"), {one.rpartition("node")[2] for one in glob.glob(NODES)}
    if not isinstance(nodes, list) or not nodes or not {str(one) for one in nodes} <= there:
        machine.fail(f"node_set must be a list of NUMA nodes; there are {', '.join(sorted(there))}")
    wanted = ",".join(sorted({str(one) for one in nodes or ()}))
    if machine.state().get("nodes") == wanted:
        return
    machine.tell("numatune", machine.name, "--mode", "strict", "--nodeset", wanted, "--config")
    if machine.running():
        status, _, _ = machine.virsh("numatune", machine.name, "--nodeset", wanted, "--live")
        if status != 0:
            machine.problems.append("its memory moves when it is rebooted")
    machine.save(nodes=wanted)


def number(value: Any) -> int:
    """A whole number, -1 for what is none."""
    return int(value) if str(value).isdecimal() else -1


if __name__ == "__main__":
    run(
        ActingMachine,
        volumes={"type": "list", "elements": "dict", "default": []},
        uri={"type": "str", "default": "qemu:///system"},
        virtualisation={"type": "str", "default": "kvm", "choices": ["kvm", "qemu"]},
        offload={"type": "str", "default": "auto", "choices": ["auto", "on", "off"]},
        images={"type": "path", "required": True},
        claims={"type": "path", "default": CLAIMS},
        template={"type": "path", "default": ""},
        boot_timeout={"type": "float", "default": 300.0},
        stop_grace={"type": "float", "default": 20.0},
    )
