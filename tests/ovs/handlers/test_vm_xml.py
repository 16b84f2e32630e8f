"""The vm back-end's documents under the judgement of those they are for: libvirt's schema, and cloud-init's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from tests.ovs.handlers.machines import guest

from ansible.module_utils.vm_domain import Card, Disk, Function, Machine, build  # isort: skip
from ansible.module_utils.vm_seed import user_data  # isort: skip

ROOT = Disk("/images/a&b.qcow2", "qcow2", "root")
CARD = Card("eth1", "02:00:00:00:00:01", "v1234", "br-int", 101)
TRUNK = Card("eth2", "02:00:00:00:00:02", "v1235", "br-int", 102, tagged=True, mtu=1400, offload=False)
MANAGEMENT = Card("mgmt0", "02:00:00:00:00:03", "vmg1", host_address="169.254.128.0", peer="169.254.128.1")
MACHINES: dict[str, dict[str, Any]] = {
    "from its disk": {"disks": [ROOT, Disk("/seed.iso", "raw", "seed", readonly=True)], "cards": [CARD]},
    "from a kernel": {"boot": {"kernel": "/k", "initrd": "/i", "cmdline": "console=ttyS0 <&>"}},
    "cards": {"cards": [CARD, TRUNK, MANAGEMENT]},
    "functions": {
        "functions": [Function("nic", "41:00.2", "02:00:00:00:00:09"), Function("gpu", "0000:42:00.0")],
    },
    "pinned": {"pins": {"0": "1", "1": "0"}, "nodes": "0"},
    "bare": {},
}


@pytest.mark.parametrize("which", MACHINES)
@pytest.mark.parametrize("virtualisation", ["kvm", "qemu"])
def test_libvirt_takes_the_domain(which: str, virtualisation: str, tmp_path: Path) -> None:
    machine = Machine("vmoc-a", "<slice>&'\"/a", virtualisation, 512, 2, "/console.log", **MACHINES[which])
    (tmp_path / "domain.xml").write_text(build(machine))
    command = ["virt-xml-validate", str(tmp_path / "domain.xml"), "domain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def test_libvirt_would_not_take_any() -> None:
    """That it judges at all."""
    text = build(Machine("a", "b", "qemu", 512, 2, "/c")).replace("<vcpu>2</vcpu>", "<vcpu>two</vcpu>")
    command = ["virt-xml-validate", "-", "domain"]
    assert subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False).returncode


def test_cloud_init_takes_the_user_data() -> None:
    schema = json.loads((guest() / "cloud-config-schema.json").read_text())
    users = [{"name": "alice", "keys": ["ssh-ed25519 AAAA {{ x }}"], "sudo": True}, {"name": "bob"}]
    more = {"users": users, "commands": ["echo $(id)"], "hosts": [{"address": "10.0.0.1", "names": ["a"]}]}
    spec = encode(read_spec({"slice_id": "s", "sliver_id": "a", "resource_type": "VM", **more}))
    volumes = [{"serial": "data", "mount_point": "/data", "scratch": True}]
    found = yaml.safe_load(user_data(spec, "box", "token", volumes))
    validator = jsonschema.Draft4Validator(schema)
    assert [error.message for error in validator.iter_errors(found)] == []
    assert [*validator.iter_errors({**found, "write_files": "x"})]
