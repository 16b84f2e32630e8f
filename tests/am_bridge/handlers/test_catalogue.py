"""handlers.yaml: what it comes to, and where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from am_bridge.handlers.catalogue import Catalogue, UnsupportedError, check_action
from am_bridge.handlers.catalogue_file import SHIPPED, read_catalogue
from am_bridge.handlers.handler import Host
from am_bridge.handlers.spec import SliverSpec
from vmoc.config import ConfigError

AMHANDLERS = """
playbooks:
  location: books
  inventory_location: inventory
  VM: vm.yml
  SharedNIC: nic.yml
  SharedNIC-OpenStack-vNIC: vnic.yml
  operation: {probe: probe.yml, reboot: reboot.yml}
hosts:
  node1: {address: 10.0.0.1, variables: {bridge: br-int}}
  node2: {}
processor: {workers: 3, stop_grace: 2, cpu_weight: 20}
handlers:
  VM:
    actions: [reboot, start]
    playbooks: {create: create.yml}
    timeouts: {create: 120, reboot: 5}
    retries: {delete: 4}
    max_concurrency: 2
    locks: ["host:{host}", "pool"]
    properties:
      properties: {flavour: {enum: [small, large]}, token: {type: string, writeOnly: true}}
      required: [flavour]
    variables: {images: /srv/images}
"""


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "books").mkdir(exist_ok=True)
    (tmp_path / "inventory").write_text("")
    for name in ("vm", "nic", "vnic", "probe", "reboot", "create"):
        (tmp_path / "books" / f"{name}.yml").write_text("[]")
    path = tmp_path / "handlers.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return read_catalogue(written(tmp_path, AMHANDLERS))


def test_what_an_operator_of_amhandlers_writes(catalogue: Catalogue) -> None:
    vm = catalogue.find("VM", "any")
    assert {word: path.name for word, path in vm.playbooks.items()} == {
        "create": "create.yml",
        "modify": "vm.yml",
        "delete": "vm.yml",
        "probe": "probe.yml",
        "reboot": "reboot.yml",
        "start": "vm.yml",
    }
    assert catalogue.find("SharedNIC").playbooks["create"].name == "nic.yml"
    assert catalogue.find("SharedNIC", "OpenStack-vNIC").playbooks["create"].name == "vnic.yml"
    assert (catalogue.workers, catalogue.queue, catalogue.stop_grace) == (3, 1000, 2.0)
    assert catalogue.cpu_weight == 20 and read_catalogue().cpu_weight == 5
    assert vm.inventory is not None and vm.variables == {"images": "/srv/images"}
    limits = vm.limits
    assert [limits.timeout(word) for word in ("create", "reboot", "delete")] == [120.0, 5.0, 300.0]
    assert [limits.tries(word) for word in ("create", "delete", "probe")] == [1, 5, 2]
    assert limits.concurrency == 2


def test_hosts_locks_and_actions(catalogue: Catalogue) -> None:
    assert catalogue.host("") == Host("node1", "10.0.0.1", {"bridge": "br-int"})
    with pytest.raises(UnsupportedError, match=r"there is no host x; handlers\.yaml has node1, node2"):
        catalogue.host("x")
    vm = catalogue.find("VM")
    spec = SliverSpec("{sliver}", "vm1", "VM")
    assert vm.lock_names(spec, Host("node2")) == {"host:node2", "pool"}
    check_action(vm, "reboot")
    with pytest.raises(UnsupportedError, match="it has reboot, start"):
        check_action(vm, "create")


@pytest.mark.parametrize(
    ("properties", "problems"),
    [
        ({"flavour": "small", "token": "x"}, []),
        ({}, ["properties"]),
        ({"flavour": "huge"}, ["properties.flavour"]),
        ({"flavour": "small", "wibble": 1}, ["properties"]),
        ({"flavour": "small", "token": ["hunter2"]}, ["properties.token"]),
        ({"flavour": "\ud800"}, ["properties"]),
        ({"flavour": "x" * 300_000}, ["properties"]),
        ({"flavour": float("nan")}, ["properties"]),
    ],
)
def test_properties_are_held_to_the_schema(
    catalogue: Catalogue, properties: dict[str, object], problems: list[str]
) -> None:
    found = list(catalogue.find("VM").find_problems(properties))
    assert [path for path, _ in found] == problems
    assert "hunter2" not in str(found)


def test_deep_properties_are_refused_without_recursion(catalogue: Catalogue) -> None:
    deep: object = 1
    for _ in range(17):
        deep = [deep]
    assert list(catalogue.find("VM").find_problems({"flavour": deep}))
    for _ in range(100_000):
        deep = [deep]
    assert list(catalogue.find("VM").find_problems({"flavour": deep}))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("handler: {}", "1:1: handler", "unknown key; did you mean 'handlers'?"),
        ("playbooks: {VM: none.yml}", "1:17: playbooks.VM", "none.yml is not in"),
        ("playbooks: {VM: 3}", "1:17: playbooks.VM", "must be the name of a playbook"),
        ("playbooks: {config: {}}", "1:13: playbooks.config", "import these playbooks"),
        ("playbooks: {inventory_location: nope}", "1:33: playbooks.inventory_location", "must be a file"),
        ("handlers: {VM: {}}", "1:16: handlers.VM", "has no playbook for"),
        ("handlers: {VM: {backend: magic}}", "1:26: handlers.VM.backend", "must be one of ansible, l2bridge, noop"),
        ("handlers: {VM: {backend: noop, wibble: 1}}", "1:32: handlers.VM.wibble", "unknown key"),
        ("handlers: {VM: {backend: noop, retries: {create: 1}}}", "1:50: handlers.VM.retries.create", "must be 0"),
        ("handlers: {VM: {backend: noop, timeouts: {reboot: 1}}}", "1:43: handlers.VM.timeouts.reboot", "is no verb"),
        ("handlers: {VM: {backend: noop, timeouts: {create: 0}}}", "1:51: handlers.VM.timeouts.create", "must be"),
        ("handlers: {VM: {backend: noop, locks: ['{x}']}}", "1:40: handlers.VM.locks[0]", "must be plain text"),
        ("handlers: {VM: {backend: noop, actions: [create]}}", "1:42: handlers.VM.actions[0]", "that is no verb"),
        (
            "handlers: {VM: {backend: noop, properties: {type: nope}}}",
            "1:51: handlers.VM.properties.type",
            "is no JSON Schema",
        ),
        ("hosts: {'-x': {}}", "1:9: hosts.-x", "must be a host name"),
        ("hosts: {a: {capacity: {cats: 1}}}", "1:24: hosts.a.capacity.cats", "must be one of slivers, vcpus"),
        ("hosts: [a]", "1:8: hosts", "must be a mapping"),
        ("processor: {workers: 0}", "1:22: processor.workers", "must be a whole number 1..256"),
        ("handlers: {'a b': {}}", "1:12: handlers.a b", "must be a resource type"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_catalogue(path)
    lines = [one for one in str(caught.value).splitlines() if one.startswith(f"{path}:{place}: ")]
    assert lines and message in lines[0], str(caught.value)


def test_what_comes_with_vmoc_is_right() -> None:
    catalogue = read_catalogue()
    assert catalogue.host("") == Host("local")
    assert all(path.is_relative_to(SHIPPED) for one in catalogue.handlers.values() for path in one.playbooks.values())
