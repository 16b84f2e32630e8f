"""The core as plain values."""

from __future__ import annotations

import json

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.playbook import ALICE, FOUR, V10, V13, Playbook, scene


@pytest.mark.parametrize(("version", "name"), [(V10, "1.0"), (V13, "1.3")])
def test_describe(version: int, name: str):
    book, switch = scene(version)
    book.at("alice").add(2)
    view = json.loads(json.dumps(book.mux.describe()))
    assert view["slices"] == sorted(one.id for one in FOUR)
    (shown,) = view["switches"]
    assert (shown["dpid"], shown["native_vlan"]) == ("0x00000000000000aa", None)
    assert (shown["connected"], shown["up"], shown["version"]) == (True, True, name)
    assert (shown["peer"], shown["in_flight"]) == ("198.51.100.1:4", 1)
    local = of.port_number(version, "local")
    assert shown["ports"][0] == {"number": 1, "name": "p1"}
    assert {port["number"] for port in shown["ports"]} == {1, 2, 3, 4, 5, 6, local}
    alice = shown["datapaths"][0]
    assert (alice["slice"], alice["vlan"], alice["state"]) == ("alice", 100, "ready")
    assert (alice["presented_dpid"], alice["ports"]) == ("0x00640000000000aa", [1, 2, 3])
    assert (alice["flows"], alice["flow_quota"]) == (1, 10)
    (link,) = alice["controllers"]
    assert (link["endpoint"], link["state"]) == ("tcp:alice:6653", "active")
    switch.close()
    (shown,) = book.mux.describe()["switches"]  # type: ignore[misc]
    assert (shown["connected"], shown["up"], shown["peer"]) == (False, False, None)
    assert shown["datapaths"][0]["state"] == "pending"


def test_describe_of_nothing():
    assert Playbook(()).mux.describe() == {"switches": [], "slices": []}


def test_a_native_switch_says_its_vlan():
    book, _ = scene(V10, ALICE, native=100)
    (shown,) = book.mux.describe()["switches"]  # type: ignore[misc]
    assert shown["native_vlan"] == 100
