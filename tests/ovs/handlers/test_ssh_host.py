"""The ssh-host back-end's module on a host made for it, with accounts, files and a network of its own."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from am_bridge.handlers.variables import to_unsafe_yaml
from tests.ovs.handlers.quick import DIRECT, PLAYBOOKS

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
PROGRAMS = ("ip", "useradd", "userdel", "runuser")
LETHAL = """#!/bin/sh
{program} "$@"
status=$?
case "$*" in *"-j "*|*" show "*|*" cat /"*) exit $status;; esac
echo x >> "{count}"
[ "$(wc -l < "{count}")" -lt "$VMOC_DEADLY" ] || kill -9 $PPID
exit $status
"""
INSIDE = """
for place in etc home var/lib/vmoc; do mkdir -p "/$place"; mount --bind "$0/$place" "/$place"; done
exec "$@"
"""


class Bare:
    """A host of its own, and calls of the module there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "host"
        self.bin = folder / "bin"
        self.count = folder / "count"
        self.slice_id = f"t-{uuid.uuid4().hex[:12]}"
        shutil.copytree("/etc", self.root / "etc", symlinks=True)
        (self.root / "home").mkdir()
        (self.root / "var" / "lib" / "vmoc").mkdir(parents=True)
        self.before = self.files()
        self.bin.mkdir()
        for program in PROGRAMS:
            found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            (self.bin / program).write_text(LETHAL.format(program=found, count=self.count))
            (self.bin / program).chmod(stat.S_IRWXU)
        for words in ("link add eth1 type veth peer name far1", "link set far1 up", "addr add 192.0.2.9/24 dev eth1"):
            subprocess.run(["ip", *words.split()], check=True, timeout=10)

    def files(self) -> dict[str, str]:
        names = ("etc/passwd", "etc/hosts")
        return {name: (self.root / name).read_text() for name in names}

    def spec(self, sliver: str = "one", **more: Any) -> dict[str, Any]:
        nic = {"name": "eth1", "vlan": 101, "addresses": ["10.0.1.5/24", "192.0.2.9/24"]}
        user = {"name": "alice-t", "keys": [f"{KEY} {{{{ 1 }}}} $(id) 'x'"]}
        base = {"slice_id": self.slice_id, "sliver_id": sliver, "resource_type": "Host", "interfaces": [nic]}
        more = {"users": [user], "hosts": [{"address": "10.0.1.6", "names": ["peer"]}], **more}
        return encode(read_spec(base | {"routes": [{"to": "10.9.0.0/16", "via": "10.0.1.6"}]} | more))

    def inside(self, *command: str, deadly: int = 0) -> subprocess.CompletedProcess[str]:
        self.count.unlink(missing_ok=True)
        path = f"{self.bin}:{os.environ['PATH']}" if deadly else os.environ["PATH"]
        environment = {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin", "VMOC_DEADLY": str(deadly)}
        words = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", INSIDE, str(self.root), *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)

    def call(self, verb: str, spec: dict[str, Any], deadly: int = 0, **more: Any) -> dict[str, Any] | None:
        words = json.dumps({"verb": verb, "spec": spec, "commands": True, "sudo": True, **more})
        done = self.inside(sys.executable, str(DIRECT), "host_sliver", words, deadly=deadly)
        if done.returncode in (-9, 137):
            return None
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer if answer.get("failed") else dict(answer["vmoc_result"])

    def addresses(self) -> set[str]:
        text = subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True, timeout=10).stdout
        links = [one for one in json.loads(text) if one["ifname"].startswith("eth1")]
        return {one["local"] for link in links for one in link["addr_info"] if one["family"] == "inet"}

    def clean(self) -> bool:
        state = [path.name for path in (self.root / "var" / "lib" / "vmoc").iterdir()]
        sudo = list((self.root / "etc" / "sudoers.d").glob("vmoc-*"))
        homes = list((self.root / "home").iterdir())
        return self.files() == self.before and self.addresses() == {"192.0.2.9"} and not (state or sudo or homes)


@pytest.fixture
def bare(namespace: None, tmp_path: Path) -> Bare:
    return Bare(tmp_path)


def test_a_host_is_handed_over_and_taken_back(bare: Bare) -> None:
    spec = bare.spec(commands=["echo ran >>/home/alice-t/ran"])
    assert bare.call("probe", spec)["state"] == "absent"  # type: ignore[index]
    made = bare.call("create", spec)
    assert made is not None and made["state"] == "ready" and made["changed"], made
    assert made["interfaces"][0]["addresses"] == ["10.0.1.5/24", "192.0.2.9/24"]
    keys = bare.root / "home" / "alice-t" / ".ssh" / "authorized_keys"
    assert keys.read_text() == spec["users"][0]["keys"][0] + "\n" and keys.stat().st_mode & 0o777 == 0o600
    assert keys.stat().st_uid > 0
    assert (bare.root / "etc" / "hosts").read_text().endswith("# vmoc: begin\n10.0.1.6 peer\n# vmoc: end\n")
    again = bare.call("create", spec)
    assert again is not None and not again["changed"] and {**again, "changed": True} == made
    assert bare.call("probe", spec) == again
    assert (bare.root / "home" / "alice-t" / "ran").read_text() == "ran\n"
    other = bare.call("create", bare.spec("two"))
    assert other is not None and other["failed"] and other["msg"].startswith("this host is vmoc-one-")
    assert bare.call("delete", bare.spec("two"))["changed"] is False  # type: ignore[index]
    gone = bare.call("delete", spec)
    assert gone == {"state": "absent", "leftovers": [], "problems": [], "changed": True} and bare.clean()
    assert not bare.call("delete", spec)["changed"]  # type: ignore[index]


def test_users_and_keys_change(bare: Bare) -> None:
    spec = bare.spec()
    bare.call("create", spec)
    added = bare.call("add_keys", spec, parameters={"user": "alice-t", "keys": [f"{KEY} two"]})
    assert added is not None and added["changed"]
    keys = bare.root / "home" / "alice-t" / ".ssh" / "authorized_keys"
    assert keys.read_text().splitlines() == [*spec["users"][0]["keys"], f"{KEY} two"]
    assert not bare.call("create", spec)["changed"], "what an action gave is not taken away"  # type: ignore[index]
    refused = bare.call("add_keys", spec, parameters={"user": "root", "keys": [KEY]})
    assert refused is not None and refused["failed"]
    bob = bare.spec(users=[{"name": "bob-t", "sudo": True}], routes=[])
    changed = bare.call("modify", bob)
    assert changed is not None and changed["state"] == "ready"
    passwd = (bare.root / "etc" / "passwd").read_text()
    assert "bob-t:" in passwd and "alice-t:" not in passwd and not keys.exists()
    assert (bare.root / "etc" / "sudoers.d" / "vmoc-bob-t").exists()
    bare.call("delete", bob)
    assert bare.clean()


def test_a_link_in_the_user_s_home_leads_nowhere(bare: Bare) -> None:
    spec = bare.spec()
    bare.call("create", spec)
    home = bare.root / "home" / "alice-t"
    shutil.rmtree(home / ".ssh")
    (home / ".ssh").symlink_to("/etc/ssh")
    answer = bare.call("create", spec)
    assert answer is not None and answer["failed"] and "the keys of alice-t cannot be written" in answer["msg"]
    assert not (bare.root / "etc" / "ssh" / "authorized_keys").exists()
    bare.call("delete", spec)


@pytest.mark.parametrize(
    ("more", "arguments", "why"),
    [
        ({"users": [{"name": "games"}]}, {}, "games is an account of this host's; ask for another name"),
        ({"interfaces": [{"name": "eth7", "vlan": 5}]}, {}, "there is no card eth7 on this host"),
        ({}, {"protected": ["eth1"]}, "eth1 is a card that the operator keeps; see host_protected"),
        ({"commands": ["true"]}, {"commands": False}, "this host runs no commands of slivers: they would be root's; "),
        ({"commands": ["echo why; exit 3"]}, {}, "command 1 ended with 3: why"),
        ({"published_ports": [{"port": 22}]}, {}, "such a sliver has no components and publishes no ports; "),
    ],
)
def test_what_is_refused(bare: Bare, more: dict[str, Any], arguments: dict[str, Any], why: str) -> None:
    answer = bare.call("create", bare.spec(**more), **arguments)
    assert answer is not None and answer["failed"] and answer["msg"].startswith(why)
    bare.call("delete", bare.spec(**more))
    assert bare.clean()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_after_any_step_a_delete_leaves_nothing(bare: Bare) -> None:
    spec, step = bare.spec(), 1
    while bare.call("create", spec, deadly=step) is None:
        gone = bare.call("delete", spec)
        assert gone is not None and gone["leftovers"] == [] and bare.clean(), step
        step += 1
    assert step >= 5
    bare.call("delete", spec)


def test_check_mode_changes_nothing(bare: Bare) -> None:
    planned = bare.call("create", bare.spec(), _ansible_check_mode=True)
    assert planned is not None and planned["changed"] and bare.clean()
    bare.call("create", bare.spec())
    before = bare.files()
    assert bare.call("delete", bare.spec(), _ansible_check_mode=True)["changed"]  # type: ignore[index]
    assert bare.files() == before and "10.0.1.5" in bare.addresses()


def test_ansible_plans_it(bare: Bare, tmp_path: Path) -> None:
    """``ansible-playbook --check`` of the playbook, as it comes."""
    subject = {"verb": "create", "action": "", "parameters": {}, "spec": bare.spec(), "previous": None}
    (tmp_path / "vars.yml").write_text(to_unsafe_yaml({"vmoc": subject}))
    local = f"{{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}"
    (tmp_path / "inventory.yml").write_text(f"vmoc_target: {{hosts: {{bare: {local}}}}}\n")
    environment = {"ANSIBLE_LIBRARY": PLAYBOOKS / "library", "ANSIBLE_MODULE_UTILS": PLAYBOOKS / "module_utils"}
    settings = [f"{name}={value}" for name, value in {**environment, "HOME": tmp_path, "LC_ALL": "C.UTF-8"}.items()]
    command = [sys.executable, "-m", "ansible", "playbook", "--check", "-i", str(tmp_path / "inventory.yml")]
    done = bare.inside("env", *settings, *command, "-e", f"@{tmp_path / 'vars.yml'}", str(PLAYBOOKS / "ssh_host.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout and bare.clean()
