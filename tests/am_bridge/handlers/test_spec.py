"""What a specification may hold."""

from __future__ import annotations

from typing import Any

import pytest

from am_bridge.handlers.decode import decode, encode
from am_bridge.handlers.difference import find_difference, find_immutable
from am_bridge.handlers.spec import MAX_TEXT, SliverSpec, SpecError, read_spec

NIC = {"name": "eth1", "vlan": 101, "mac": "02:00:00:00:00:01", "addresses": ["10.0.1.1/24", "fd00::1/64"]}
FULL: dict[str, Any] = {
    "slice_id": "urn:publicid:IDN+x+slice+a",
    "sliver_id": "vm1",
    "resource_type": "VM",
    "host": "node-1.example",
    "interfaces": [NIC],
    "users": [{"name": "alice", "keys": ["ssh-ed25519 AAAAC3 a b, c"], "sudo": True}],
    "routes": [{"to": "default", "via": "10.0.1.254"}, {"to": "10.9.0.0/16", "via": "10.0.1.2"}],
    "hosts": [{"address": "10.0.1.2", "names": ["vm2", "vm2.lan"]}],
    "commands": ["echo $HOME\ntrue"],
    "published_ports": [{"port": 22}],
    "components": [{"type": "SmartNIC", "name": "nic1", "bdfs": ["0000:41:00.2"], "macs": ["02:00:00:00:00:09"]}],
    "properties": {"any": ["thing"]},
}


def test_a_specification_survives_writing_and_reading() -> None:
    spec = read_spec(FULL)
    assert decode(SliverSpec, encode(spec)) == spec
    assert spec.interfaces[0].addresses == ("10.0.1.1/24", "fd00::1/64")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"sliver_id": "../etc"}, "sliver_id"),
        ({"sliver_id": "a\n"}, "sliver_id"),
        ({"slice_id": "a b"}, "slice_id"),
        ({"slice_id": "a" * 129}, "slice_id"),
        ({"host": "-oProxyCommand=x"}, "host"),
        ({"image": "--help"}, "image"),
        ({"vcpus": True}, "vcpus"),
        ({"vcpus": -1}, "vcpus"),
        ({"wibble": 1}, "wibble"),
        ({"interfaces": {}}, "interfaces"),
        ({"interfaces": [NIC | {"vlan": 0}]}, "interfaces[0].vlan"),
        ({"interfaces": [NIC | {"vlan": 4095}]}, "interfaces[0].vlan"),
        ({"interfaces": [NIC | {"name": "lo"}]}, "interfaces[0].name"),
        ({"interfaces": [NIC | {"name": "eth1;id"}]}, "interfaces[0].name"),
        ({"interfaces": [NIC | {"mac": "01:00:00:00:00:01"}]}, "interfaces[0].mac"),
        ({"interfaces": [NIC | {"addresses": ["10.0.0.1"]}]}, "interfaces[0].addresses[0]"),
        ({"interfaces": [NIC | {"addresses": ["fe80::1%eth0/64"]}]}, "interfaces[0].addresses[0]"),
        ({"interfaces": [NIC, NIC | {"name": "eth2"}]}, "interfaces"),
        ({"interfaces": [NIC, NIC]}, "interfaces"),
        ({"users": [{"name": "root"}]}, "users[0].name"),
        ({"users": [{"name": "a", "keys": ["ssh-rsa AAAA x\nssh-rsa BBBB y"]}]}, "users[0].keys[0]"),
        ({"users": [{"name": "a", "keys": ['command="id" ssh-rsa AAAA']}]}, "users[0].keys[0]"),
        ({"users": [{"name": "a", "keys": ["ssh-rsa AAAA \x1b[2J"]}]}, "users[0].keys[0]"),
        ({"routes": [{"to": "all", "via": "10.0.0.1"}]}, "routes[0].to"),
        ({"hosts": [{"address": "10.0.0.1", "names": ["a b"]}]}, "hosts[0].names[0]"),
        ({"commands": ["a\0b"]}, "commands[0]"),
        ({"commands": ["x" * (MAX_TEXT + 1)]}, "commands[0]"),
        ({"commands": ["\ud800"]}, "commands[0]"),
        ({"commands": ["true"] * 257}, "commands"),
        ({"published_ports": [{"port": 22, "host_port": 22}]}, "published_ports[0].host_port"),
        ({"components": [{"type": "GPU", "name": "g", "bdfs": ["; reboot"]}]}, "components[0].bdfs[0]"),
        ({"components": [{"type": "NVME", "name": "g", "mount_point": "/../etc"}]}, "components[0].mount_point"),
    ],
)
def test_the_problem_is_found_where_it_is(change: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(FULL | change)
    assert {where for where, _ in caught.value.problems} == {path}


@pytest.mark.parametrize("document", [None, [], "x", {}, {"slice_id": 1, "sliver_id": [], "resource_type": None}])
def test_what_is_no_specification_at_all(document: object) -> None:
    with pytest.raises(SpecError):
        read_spec(document)


def test_the_difference_of_named_things() -> None:
    old = read_spec(FULL)
    two = NIC | {"name": "eth2", "vlan": 102, "mac": "02:00:00:00:00:02"}
    new = read_spec(FULL | {"interfaces": [NIC | {"mtu": 1400}, two], "users": [], "memory_mib": 5, "host": "other"})
    difference = find_difference(old, new)
    assert set(difference) == {"interfaces", "users", "memory_mib", "host"}
    assert [one["name"] for one in difference["interfaces"]["added"]] == ["eth2"]
    assert [one["new"]["mtu"] for one in difference["interfaces"]["changed"]] == [1400]
    assert [one["name"] for one in difference["users"]["removed"]] == ["alice"]
    assert difference["memory_mib"] == {"old": 0, "new": 5}
    assert find_immutable(difference) == ["host"]
    assert find_difference(old, old) == {}
