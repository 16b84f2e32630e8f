"""The seed says what the specification says, whatever is in it, in YAML that any parser reads the same."""

from __future__ import annotations

import base64
import subprocess
from typing import Any

import pytest
import yaml
from ansible.module_utils import vm_seed
from hypothesis import given
from hypothesis import strategies as st

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
EVIL = [
    "{{ lookup('pipe', 'id') }}",
    "'\"; touch /tmp/x; `id` $(id)",
    "- !!python/object/apply:os.system [id]",
    "\\n: # & * ? | > % @ \t\x07\x1b[2J\u2028\u0085\ufeff",
    "ünï 漢字 \U0001f600",
    "yes",
    "",
]


def a_spec(**more: Any) -> dict[str, Any]:
    base = {"slice_id": "s", "sliver_id": "vm", "resource_type": "VM"}
    return encode(read_spec(base | more))


@pytest.mark.parametrize("text", EVIL)
def test_a_quoted_text_is_that_text(text: str) -> None:
    assert yaml.safe_load(vm_seed.quote(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_quoted_text_is_that_text(text: str) -> None:
    quoted = vm_seed.quote(text)
    assert yaml.safe_load(f"a: {quoted}\nb: [{quoted}]\n") == {"a": text, "b": [text]}
    assert "\n" not in quoted


def test_users_and_files_are_what_was_asked_for() -> None:
    users = [
        {"name": "alice", "keys": [f"{KEY} {text}" for text in ("a b", "ünï", '{{ x }} "q" \\ $(id)')], "sudo": True},
        {"name": "bob", "keys": []},
    ]
    commands = [text for text in EVIL if text.strip()]
    hosts = [{"address": "10.0.0.9", "names": ["peer", "peer.example"]}]
    spec = a_spec(users=users, commands=commands, hosts=hosts)
    text = vm_seed.user_data(spec, "box", "t0ken", [])
    assert text.startswith("#cloud-config\n")
    found = yaml.safe_load(text)
    assert found["hostname"] == "box" and found["manage_etc_hosts"] is False
    default, alice, bob = found["users"]
    assert default == "default"
    assert alice["ssh_authorized_keys"] == users[0]["keys"] and alice["sudo"] == "ALL=(ALL) NOPASSWD:ALL"
    assert "sudo" not in bob and "ssh_authorized_keys" not in bob
    written = {one["path"]: base64.b64decode(one["content"]).decode() for one in found["write_files"]}
    assert all(one["encoding"] == "b64" for one in found["write_files"])
    assert "10.0.0.9 peer peer.example\n" in written["/etc/hosts"] and "127.0.1.1 box\n" in written["/etc/hosts"]
    scripts = [written[f"/var/lib/vmoc/commands/{number}"] for number in range(1, len(commands) + 1)]
    assert scripts == [f"{command}\n" for command in commands]
    assert not [line for line in written[vm_seed.SCRIPT].splitlines() if "lookup" in line]


def test_the_boot_script_runs_commands_once_and_tells(tmp_path: Any) -> None:
    spec = a_spec(commands=["echo one >>log", "echo why >&2; exit 3", "echo never >>log"])
    files = {path: text for path, _, text in vm_seed.files(spec, "box", "t0ken")}
    script = files[vm_seed.SCRIPT].replace("cd /", f"cd {tmp_path}").replace("/dev/ttyS0", "/nowhere")
    script = script.replace(vm_seed.PLACE, str(tmp_path)).replace("console=/dev/console", f"console={tmp_path}/console")
    (tmp_path / "commands").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "commands" / str(number)).write_text(files[f"{vm_seed.PLACE}/commands/{number}"])

    def boot() -> str:
        subprocess.run(["/bin/sh", "-c", script], check=True, timeout=10)
        return str((tmp_path / "console").read_text()).strip()

    last = base64.b64encode(b"why\n").decode()
    assert boot() == f"vmoc-boot t0ken failed 2 3 {last} ."
    (tmp_path / "commands" / "2").write_text("true")
    assert boot() == "vmoc-boot t0ken done ."
    assert boot() == "vmoc-boot t0ken done ."
    assert (tmp_path / "log").read_text() == "one\none\nnever\n", "done once is done"


def a_card(name: str, *addresses: str, **more: Any) -> dict[str, Any]:
    card = {"name": name, "mac": f"02:00:00:00:00:0{name[-1]}", "vlan": 101, "mtu": 0, "tagged": False}
    return card | {"addresses": list(addresses)} | more


def test_cards_are_found_by_their_address_and_routes_by_their_gateway() -> None:
    cards = [a_card("eth1", "10.0.1.5/24", "fd00::5/64", mtu=1400), a_card("eth2", "10.0.2.5/24", tagged=True)]
    routes = [
        {"to": "default", "via": "10.0.1.254"},
        {"to": "10.9.0.0/16", "via": "10.0.2.254"},
        {"to": "default", "via": "fd00::1"},
        {"to": "10.8.0.0/16", "via": "192.0.2.1"},
    ]
    found = yaml.safe_load(vm_seed.network_config(cards, routes))
    assert found["version"] == 2
    one, two = found["ethernets"]["eth1"], found["ethernets"]["eth2"]
    assert one["match"] == {"macaddress": "02:00:00:00:00:01"} and one["set-name"] == "eth1" and one["mtu"] == 1400
    assert one["addresses"] == ["10.0.1.5/24", "fd00::5/64"] and one["dhcp4"] is False
    assert one["routes"] == [
        {"to": "0.0.0.0/0", "via": "10.0.1.254"},
        {"to": "::/0", "via": "fd00::1"},
        {"to": "10.8.0.0/16", "via": "192.0.2.1"},
    ]
    assert "addresses" not in two and "routes" not in two
    inner = {"id": 101, "link": "eth2", "addresses": ["10.0.2.5/24"]}
    assert found["vlans"] == {"eth2.101": inner | {"routes": [{"to": "10.9.0.0/16", "via": "10.0.2.254"}]}}


def test_a_machine_without_cards_has_a_network_config_all_the_same() -> None:
    assert yaml.safe_load(vm_seed.network_config([], [{"to": "default", "via": "10.0.0.1"}])) == {"version": 2}


def test_volumes_are_mounted_and_scratch_is_made_a_file_system_first() -> None:
    volumes = [
        {"serial": "data", "mount_point": "/data", "scratch": False},
        {"serial": "a-long-name-of-20-ch", "mount_point": "/scratch", "scratch": True},
        {"serial": "raw", "mount_point": "", "scratch": False},
    ]
    found = yaml.safe_load(vm_seed.user_data(a_spec(), "box", "t", volumes))
    assert [one[:2] for one in found["mounts"]] == [
        ["/dev/disk/by-id/virtio-data", "/data"],
        ["/dev/disk/by-id/virtio-a-long-name-of-20-ch", "/scratch"],
    ]
    (made,) = found["fs_setup"]
    assert made["device"] == "/dev/disk/by-id/virtio-a-long-name-of-20-ch" and made["overwrite"] is False


def test_meta_data() -> None:
    found = yaml.safe_load(vm_seed.meta_data("vmoc-a-1-t0ken", "a.example"))
    assert found == {"instance-id": "vmoc-a-1-t0ken", "local-hostname": "a.example"}
