"""The openstack back-end on something like its client. It was never run against a cloud."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from tests.ovs.handlers.quick import DIRECT, PLAYBOOKS

CLIENT = Path(__file__).with_name("cloud.py")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"


class Head:
    """A head node with the client in its path."""

    def __init__(self, folder: Path) -> None:
        self.cloud = folder / "cloud.json"
        self.slice_id = f"t-{uuid.uuid4().hex[:12]}"
        client = folder / "bin" / "openstack"
        client.parent.mkdir()
        client.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {CLIENT} "$@"\n')
        client.chmod(stat.S_IRWXU)
        self.path = f"{client.parent}:{os.environ['PATH']}"

    def spec(self, **more: Any) -> dict[str, Any]:
        nic = {"name": "eth1", "vlan": 101, "addresses": ["10.0.1.5/24"]}
        base = {"slice_id": self.slice_id, "sliver_id": "one", "resource_type": "OpenStack", "image": "debian"}
        return encode(read_spec(base | {"interfaces": [nic]} | more))

    def call(self, verb: str, spec: dict[str, Any], deadly: int = 0, **more: Any) -> dict[str, Any] | None:
        """The module's answer; None when it was killed after its ``deadly``-th change."""
        words = {"verb": verb, "spec": spec, "cloud": "lab", "external_network": "ext", "pause": 0.01, **more}
        self.cloud.with_suffix(".changes").unlink(missing_ok=True)
        environment = {**os.environ, "PATH": self.path, "CLOUD": str(self.cloud), "DIE": str(deadly)}
        command = [sys.executable, str(DIRECT), "openstack_sliver", json.dumps(words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        if done.returncode == -9:
            return None
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer if answer.get("failed") else dict(answer["vmoc_result"])

    def there(self, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self.cloud.read_text())[kind].values()) if self.cloud.exists() else []

    def empty(self) -> bool:
        return not any(self.there(kind) for kind in ("servers", "ports", "floating"))


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def test_a_server_lives_and_dies(head: Head) -> None:
    spec = head.spec(published_ports=[{"port": 22}], vcpus=2, users=[{"name": "alice", "keys": [KEY]}])
    assert head.call("probe", spec)["state"] == "absent"  # type: ignore[index]
    made = head.call("create", spec)
    assert made is not None and made["state"] == "ready" and made["changed"], made
    card = {"name": "eth1", "mac": "fa:16:3e:00:00:02", "vlan": 101, "addresses": ["10.0.1.5/24"]}
    assert made["interfaces"] == [card] and made["logins"] == [{"host": "192.0.2.7", "port": 22}]
    (server,), (port,) = head.there("servers"), head.there("ports")
    assert server["flavor"] == "medium" and port["network"] == "vlan-101"
    assert yaml.safe_load(server["user-data"])["users"][1]["ssh_authorized_keys"] == [KEY]
    before = head.cloud.read_text()
    again = head.call("create", spec)
    assert again is not None and not again["changed"] and {**again, "changed": True} == made
    assert head.call("probe", spec) == again and head.cloud.read_text() == before
    assert head.call("stop", spec)["state"] == "stopped"  # type: ignore[index]
    assert not head.call("stop", spec)["changed"]  # type: ignore[index]
    assert head.call("start", spec)["state"] == "ready"  # type: ignore[index]
    assert head.call("reboot", spec)["changed"]  # type: ignore[index]
    gone = head.call("delete", spec)
    assert gone == {"state": "absent", "leftovers": [], "problems": [], "changed": True} and head.empty()
    assert not head.call("delete", spec)["changed"]  # type: ignore[index]


def test_cards_come_and_go(head: Head) -> None:
    head.call("create", head.spec())
    more = head.spec(interfaces=[{"name": "eth2", "vlan": 102, "mac": "02:00:00:00:00:02", "network": "blue"}])
    seen = head.call("probe", more)
    assert seen is not None and seen["problems"] == ["eth2 is missing"]
    changed = head.call("modify", more)
    assert changed is not None and changed["state"] == "ready"
    (port,) = head.there("ports")
    assert (port["network"], port["MAC Address"]) == ("blue", "02:00:00:00:00:02") and port["device_id"]


def test_killed_after_any_change_a_delete_leaves_nothing_and_a_create_mends(head: Head) -> None:
    spec, step = head.spec(published_ports=[{"port": 22}]), 1
    while head.call("create", spec, deadly=step) is None:
        if step == 2:
            assert head.call("create", spec)["state"] == "ready"  # type: ignore[index]
        assert head.call("delete", spec)["leftovers"] == [] and head.empty()  # type: ignore[index]
        step += 1
    assert step == 5


def test_what_fails_says_why(head: Head) -> None:
    for more, why in (
        ({"image": "broken"}, "openstack server create --image: Image broken could not be found."),
        (
            {"interfaces": [{"name": "e", "vlan": 666}]},
            "openstack port create --network: No Network found for vlan-666",
        ),
        ({"vcpus": 64}, "no flavour has 64 processors, 0 MiB and 0 GiB; ask for less"),
        ({"interfaces": [{"name": "e", "vlan": 5, "tagged": True}]}, "e cannot be tagged: ports of OpenStack are not"),
    ):
        answer = head.call("create", head.spec(**more))
        assert answer is not None and answer["failed"] and answer["msg"] == why
    assert head.call("cpuinfo", head.spec())["msg"] == "such a sliver cannot cpuinfo"  # type: ignore[index]


def test_a_command_that_fails_is_told(head: Head) -> None:
    last = base64.b64encode(b"why").decode()
    head.cloud.with_suffix(".verdict").write_text(f"failed 2 3 {last}")
    answer = head.call("create", head.spec(commands=["true", "exit 3"]))
    assert answer is not None and (answer["msg"], answer["rc"]) == ("command 2 ended with 3: why", 3)


def test_what_cannot_be_removed_is_a_leftover(head: Head) -> None:
    head.call("create", head.spec())
    head.cloud.with_suffix(".stuck").touch()
    gone = head.call("delete", head.spec())
    assert gone is not None and len(gone["leftovers"]) == 1 and gone["leftovers"][0].startswith("port:vmoc-one-")
    assert gone["problems"] == ["openstack port delete id-2: Port is in use."]


def test_check_mode_changes_nothing(head: Head) -> None:
    planned = head.call("create", head.spec(), _ansible_check_mode=True)
    assert planned is not None and planned["changed"] and head.empty()
    head.call("create", head.spec())
    before = head.cloud.read_text()
    assert head.call("delete", head.spec(), _ansible_check_mode=True)["changed"]  # type: ignore[index]
    assert head.cloud.read_text() == before


@pytest.mark.parametrize("playbook", sorted(path.name for path in PLAYBOOKS.glob("*.yml")))
def test_ansible_takes_the_playbook(playbook: str, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("vmoc_target: {hosts: {head: {ansible_host: 192.0.2.1}}}\n")
    library = {"ANSIBLE_LIBRARY": str(PLAYBOOKS / "library"), "ANSIBLE_MODULE_UTILS": str(PLAYBOOKS / "module_utils")}
    command = [sys.executable, "-m", "ansible", "playbook", "--syntax-check", "-i", str(inventory)]
    done = subprocess.run(
        [*command, str(PLAYBOOKS / playbook)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", **library},
    )
    assert done.returncode == 0, done.stderr


def test_what_the_guide_says_of_configuration_holds(tmp_path: Path) -> None:
    """The examples of docs/handlers.md are catalogues, and their properties are checked."""
    text = (PLAYBOOKS.parents[2] / "docs" / "handlers.md").read_text()
    examples = [one.split("```")[0] for one in text.split("```yaml\n")[1:]]
    found = [one for one in examples if one.startswith("playbooks: {")]
    assert len(found) == 2
    for number, example in enumerate(found):
        (tmp_path / f"{number}.yaml").write_text(example)
        catalogue = read_catalogue(tmp_path / f"{number}.yaml")
        if "OpenStack" in catalogue.handlers:
            config = catalogue.find("OpenStack")
            assert [*config.find_problems({"flavor": "m1.small"})] == []
            assert [*config.find_problems({"flavour": "m1.small"})] and [*config.find_problems({"flavor": 3})]
