"""The core as plain values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, LIMITS, piece, with_segment
from vmoc.mux.datapath import State
from vmoc.mux.view import lifecycle_of
from vmoc.status import Connection, DatapathStatus, Lifecycle, Traffic, Usage

EPOCH = 1_000_000.0


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


# -- typed -----------------------------------------------------------------------------------------


def status(book: Playbook, name: str, dpid: int = DPID) -> DatapathStatus:
    owner = book.mux.view.slice(name)
    assert owner is not None
    segment = owner.segments[0]
    found = book.mux.view.statuses(owner, segment, EPOCH, book.mux.view.places(segment))
    return next(one for one in found if one.dpid == dpid)


def connections(book: Playbook, **filters: object) -> list[Connection]:
    return book.mux.view.connections(0, 1000, EPOCH, **filters)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "name"), [(V10, "1.0"), (V13, "1.3")])
def test_a_switch_and_its_ports(version: int, name: str):
    book, switch = scene(version)
    view = book.mux.view
    assert view.switch_keys() == [(DPID, 0)]
    (summary,) = view.switches([(DPID, 0), (0x77, 0)], EPOCH)
    assert (summary.dpid, summary.connected, summary.up, summary.version) == (DPID, True, True, name)
    assert (summary.ports, summary.datapaths, summary.peer) == (7, 4, "198.51.100.1:4")
    assert summary.ailing == 0
    found = view.switch((DPID, 0), EPOCH)
    assert found is not None and found.summary == summary
    assert found.vlans == (100, 200, 300, 400)
    assert [port.name for port in found.ports][:2] == ["p1", "p2"]
    assert [port.is_local for port in found.ports] == [False] * 6 + [True]
    assert len(found.ports[0].hw_addr) == 17
    assert found.summary.flows == 0 and found.summary.tables == switch.model.n_tables
    assert [one.slice for one in view.datapaths((DPID, 0), (100, 300, 999), EPOCH)] == ["alice", "tina"]
    assert view.switch((0x77, 0), EPOCH) is None


@pytest.mark.parametrize("version", [V10, V13])
def test_a_switch_that_is_away_is_not_shown_as_connected(version: int):
    book, switch = scene(version)
    book.advance(3)
    switch.send(of.message(version, "echo_request"))
    heard = book.now
    book.advance(7)
    switch.close()
    book.advance(2)
    (summary,) = book.mux.view.switches([(DPID, 0)], EPOCH)
    assert (summary.connected, summary.up, summary.peer) == (False, False, None)
    assert summary.ailing == summary.datapaths == 4
    assert summary.last_seen == heard + EPOCH
    assert summary.since == book.now - 2 + EPOCH
    alice = status(book, "alice")
    assert (alice.lifecycle, alice.reason) == (Lifecycle.PENDING, "the switch is not connected")
    assert {link.state for link in alice.controllers} == {"idle"}
    assert alice.controllers[0].role is None


@pytest.mark.parametrize("version", [V10, V13])
def test_a_virtual_datapath_with_its_usage_and_traffic(version: int):
    book, switch = scene(version)
    alice = book.at("alice")
    alice.add(2, priority=5)
    alice.add(4)  # bob's port
    alice.packet_out(E(100), 2)
    switch.packet_in(1, E(100))
    switch.packet_in(1, E(100))
    found = status(book, "alice")
    assert (found.lifecycle, found.state, found.reason) == (Lifecycle.ACTIVE, "ready", "")
    assert (found.presented_dpid, found.ports) == (0x0064_0000_0000_00AA, (1, 2, 3))
    assert (found.flows, found.groups, found.meters) == (Usage(1, 10), Usage(0, 4), Usage(0, 2))
    assert found.traffic == Traffic(packet_ins=2, flow_mods=2, packet_outs=1, refused=1)
    (link,) = found.controllers
    assert (link.slice, link.vlan, link.endpoint, link.state) == ("alice", 100, "tcp:alice:6653", "active")
    assert (link.is_default, link.version) == (False, {V10: "1.0", V13: "1.3"}[version])
    assert (link.role, link.last_error, link.next_retry) == ("equal", "", None)
    assert link.last_seen == book.now + EPOCH
    assert status(book, "bob").traffic == Traffic()


def test_a_controller_that_went_shows_when_it_was_last_heard_and_when_it_is_tried_again():
    book, _ = scene(V10)
    book.advance(4)
    book.at("alice").request("barrier_request")
    heard = book.now
    book.advance(3)
    book.at("alice").close("reset")
    found = status(book, "alice")
    (link,) = found.controllers
    assert link.state == "waiting"
    assert (link.last_error, link.last_seen, link.since) == ("reset", heard + EPOCH, book.now + EPOCH)
    assert link.next_retry is not None and link.next_retry > book.now + EPOCH
    assert (link.failures, link.version) == (0, None)
    assert (found.lifecycle, found.reason) == (Lifecycle.FAILED, "tcp:alice:6653: reset")


def test_where_a_switch_never_was():
    book = Playbook((piece("away", 7, (1,), dpid=0x99), piece("everywhere", 8, dpid=None)))
    found = status(book, "away", 0x99)
    assert (found.lifecycle, found.state, found.since) == (Lifecycle.PENDING, "absent", None)
    assert found.reason == "the switch has never been connected"
    assert (found.presented_dpid, found.flows) == (7 << 48 | 0x99, Usage(0, LIMITS.max_flows))
    segment = book.slices[1].segments[0]
    assert book.mux.view.places(segment) == []


def test_a_disabled_slice_says_so():
    book, _ = scene(V10)
    book.adopt(replace(ALICE, enabled=False), BOB)
    found = status(book, "alice")
    assert (found.lifecycle, found.reason) == (Lifecycle.DISABLED, "the slice is disabled")


def test_a_segment_on_a_per_vlan_instance_and_on_the_switch_itself():
    book = Playbook((ALICE,))
    book.switch(V10, native=100)
    assert book.mux.view.places(ALICE.segments[0]) == [(DPID, 100)]
    book.switch(V10)
    assert book.mux.view.places(ALICE.segments[0]) == [(DPID, 100), (DPID, 0)]


def test_connections_come_in_pieces_by_number():
    book, _ = scene(V10)
    every = connections(book)
    assert [link.slice for link in every] == ["alice", "bob", "tina", "uma"]
    first, more = book.mux.view.connections(0, 3, EPOCH)
    assert first == every[:3] and more == 3
    assert book.mux.view.connections(more, 3, EPOCH) == (every[3:], None)
    assert connections(book, dpid=0x77) == []
    assert connections(book, state="active") == every
    book.adopt(ALICE, with_segment(BOB, controllers=()))
    assert [link.slice for link in connections(book)] == ["alice"]


def test_links_are_counted_as_they_change():
    book, switch = scene(V10)
    counts = book.mux._hub.link_states
    assert counts == {(name, "active"): 1 for name in ("alice", "bob", "tina", "uma")}
    switch.close()
    assert counts == {(name, "idle"): 1 for name in ("alice", "bob", "tina", "uma")}
    book.adopt(BOB)
    assert counts == {("bob", "idle"): 1}
    book.adopt()
    assert not counts


@pytest.mark.parametrize(
    ("state", "lifecycle", "words"),
    [
        (State.PENDING, Lifecycle.PENDING, "looked through"),
        (State.FLUSHING, Lifecycle.FLUSHING, "proven empty"),
        (State.TAINTED, Lifecycle.TAINTED, "could not be removed"),
        (State.GONE, Lifecycle.DRAINING, "being deleted"),
        (State.READY, Lifecycle.ACTIVE, ""),
    ],
)
def test_what_a_state_is_called(state: State, lifecycle: Lifecycle, words: str):
    book, _ = scene(V10, ALICE)
    (inside,) = book.mux._switches.values()
    (datapath,) = inside.datapaths.values()
    datapath.state = state
    called, reason = lifecycle_of(datapath)
    assert called is lifecycle and words in reason and bool(reason) is bool(words)
    (summary,) = book.mux.view.switches([(DPID, 0)], EPOCH)
    assert summary.ailing == (state is State.TAINTED), "the switch is up: what is not ready yet soon is"


def test_a_datapath_without_any_controller_and_one_that_is_being_called():
    book, _ = scene(V10, with_segment(ALICE, controllers=()))
    found = status(book, "alice")
    assert found.lifecycle is Lifecycle.FAILED and "no default" in found.reason
    book, _ = scene(V10, ALICE, accept=None)
    assert (status(book, "alice").lifecycle, status(book, "alice").reason) == (Lifecycle.CONNECTING, "")


def test_the_second_of_a_presented_dpid_says_why_it_waits():
    book = Playbook((piece("everywhere", 9, dpid=None),))
    for dpid in (0x0001_0000_0000_0001, 0x0002_0000_0000_0001):
        book.switch(V10, dpid)
    second = status(book, "everywhere", 0x0002_0000_0000_0001)
    assert second.lifecycle is Lifecycle.COLLIDING and second.reason == second.controllers[0].last_error != ""


def test_which_segments_are_at_a_place():
    book = Playbook((ALICE, BOB, piece("away", 7, (1,), dpid=0x99)))
    view = book.mux.view
    assert [(owner.id, segment.vlan) for owner, segment in view.placed(200, None)] == [("bob", 200)]
    assert view.placed(200, 0x99) == [] and len(view.placed(200, DPID)) == 1
    assert [owner.id for owner, _ in view.placed(None, DPID)] == ["alice", "bob"]
    assert [owner.id for owner, _ in view.placed(None, 0x99)] == ["away"]
    assert view.placed(None, None) == []


def test_a_dump_of_a_switch_that_never_was():
    book = Playbook((ALICE,))
    found: list[object] = []
    book.mux.view.dump_flows((0x99, 0), None, found.append, book.now)
    (dump,) = found
    assert "never been connected" in dump.problem  # type: ignore[attr-defined]
