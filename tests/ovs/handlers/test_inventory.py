"""What is left of slivers that nobody remembers is found and removed; and slivers ping one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import SliverSpec
from tests.ovs.handlers.backend import BackEnd, Container, Netns
from tests.ovs.handlers.machines import Machines
from tests.ovs.handlers.quick import call_module


def ask(
    backend: Netns, verb: str, spec: SliverSpec | None, installation: str = "", **parameters: Any
) -> dict[str, Any]:
    words = {**backend.arguments, "verb": verb, "spec": {} if spec is None else encode(spec), "parameters": parameters}
    return call_module(backend.module, words | ({"installation": installation} if installation else {}))


def test_a_stray_is_found_and_removed_and_what_is_known_stays(backend: BackEnd) -> None:
    assert isinstance(backend, Netns)
    kept, stray = backend.spec("kept"), backend.spec("stray")
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda spec: ask(backend, "create", spec)["vmoc_result"]["state"], (kept, stray))
        assert list(made) == ["ready", "ready"]
    known = [{"slice_id": backend.slice_id, "sliver_id": "kept"}]
    found = ask(backend, "inventory", None, known=known, remove=[])["vmoc_result"]
    names = {one["name"]: one.get("sliver_id", "") for one in found["facts"]["instances"]}
    assert names[backend.instance("kept")] == "kept" and names[backend.instance("stray")] == ""
    assert found["changed"] is False

    for verb in ("modify", "reboot", "add_keys"):
        refused = ask(backend, verb, stray, "another")
        assert refused["failed"] and "is of another VMOC, memory; it is left alone" in refused["msg"]
    for verb in ("probe", "delete"):
        answer = ask(backend, verb, stray, "another")["vmoc_result"]
        assert answer["state"] == "absent" and "it is left alone" in answer["problems"][0], verb
    ours = {backend.instance("kept"), backend.instance("stray")}
    theirs = ask(backend, "inventory", None, "another", known=known, remove=[*ours])["vmoc_result"]
    assert not ours & {one["name"] for one in theirs["facts"]["instances"]} and not theirs["changed"]
    assert ask(backend, "probe", stray)["vmoc_result"]["state"] == "ready"

    remove = [backend.instance("stray"), "../../etc", "vmoc-no-such-00000000"]
    after = ask(backend, "inventory", None, known=known, remove=remove)["vmoc_result"]
    left = [one["name"] for one in after["facts"]["instances"]]
    assert backend.instance("kept") in left and backend.instance("stray") not in left and after["leftovers"] == []
    assert ask(backend, "probe", kept)["vmoc_result"]["state"] == "ready"
    assert ask(backend, "probe", stray)["vmoc_result"]["state"] == "absent"
    ask(backend, "delete", kept)


@pytest.mark.parametrize("backend", ["netns"], indirect=True)  # each kind pings in test_contract
def test_slivers_ping_one_another(backend: BackEnd) -> None:
    assert isinstance(backend, Netns)
    one, other = backend.spec("one"), backend.spec("two")
    for spec in (one, other):
        ask(backend, "create", spec)
    near = ask(backend, "ping", one, address="10.0.1.2", count=2)["vmoc_result"]["facts"]["ping"]
    assert near == {"address": "10.0.1.2", "sent": 2, "received": 2}
    far = ask(backend, "ping", one, address="10.0.1.9", count=1)["vmoc_result"]["facts"]["ping"]
    assert far["received"] == 0
    for bad in ({"address": "-c 5"}, {"address": "10.0.1.2", "count": 1000}, {"address": "10.0.1.2", "count": "x"}, {}):
        assert ask(backend, "ping", one, **bad)["failed"]
    for spec in (one, other):
        ask(backend, "delete", spec)


@pytest.mark.parametrize("kind", [Netns, Container, Machines])
def test_all_know_the_action(kind: type[Netns]) -> None:
    config = read_catalogue().find({"vm": "VM"}.get(kind.kind, kind.kind))
    assert "ping" in config.actions and config.playbooks["inventory"].name == f"{kind.kind}.yml"
