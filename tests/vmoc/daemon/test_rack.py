"""The read side of a service: real sockets, a real loop in its thread, asked from this one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic, time
from typing import Any

import pytest
import uvloop

from tests.emulation import EmulatedController, EmulatedSwitch, free_port
from tests.emulation import wire as of
from vmoc.daemon import rack as rack_module
from vmoc.daemon.asking import (
    BusyError,
    NotKnownError,
    PageTokenError,
    RackTimeoutError,
    SwitchAwayError,
)
from vmoc.daemon.rack import Rack
from vmoc.events import Event, Kind
from vmoc.model import Attachment, Endpoint, Limits, Origin, Segment, Slice
from vmoc.mux.core import Mux
from vmoc.net.edge import Edge
from vmoc.net.northbound import Dialler
from vmoc.net.southbound import Listener, Listening
from vmoc.registry import Registry
from vmoc.status import DatapathStatus, Lifecycle, SwitchSummary
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import EventFilter, Happened, StateEnd, StateItem
from vmoc.topology import Link, PortRef, Topology

DPID, AWAY = 0xAA, 0xBB
LIMITS = Limits(100, 0, 0, 0, 0, 0, 0, 0)


class Quiet:
    def log(self, level: int, event: str, **context: Any) -> None: ...


class Running:
    """Mux, edge, listener and dialler on a loop of their own."""

    def __init__(self, slices: list[Slice]) -> None:
        self.registry = Registry()
        self.registry.adopt(self.registry.plan(slices, origin=Origin.FILE))
        self.mux = Mux(self.registry.snapshot, seed=1)
        self.events = EventLog(Quiet())
        self.bugs: list[str] = []
        self.loop = uvloop.new_event_loop()
        self.edge = Edge(
            self.mux, self.loop, report=self.events.record, bug=lambda where, trace: self.bugs.append(trace)
        )
        self.edge.use_dialler(Dialler(self.edge, None))
        self.listener = Listener(self.edge, Listening("127.0.0.1", 0, 0, None))
        self.listener.bind()
        self.loop.call_soon(self.listener.start)
        self.rack = Rack(self.edge, self.mux, self.events)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def close(self) -> None:
        def end() -> None:
            self.listener.close()
            self.edge.close()
            self.loop.call_later(0.05, self.loop.stop)

        self.rack.events.close()
        self.loop.call_soon_threadsafe(end)
        self.thread.join(10)
        self.loop.close()
        assert not self.bugs, self.bugs


def slices(port: int) -> list[Slice]:
    here = Attachment(DPID, frozenset({1, 2, 3}))
    at = Endpoint("tcp", "127.0.0.1", port)
    return [
        Slice("alice", (Segment(101, (at,), attachments=(here,)), Segment(102, (at,), attachments=(here,))), LIMITS),
        Slice("bob", (Segment(201, (at,), attachments=(replace(here, ports=None), Attachment(AWAY))),), LIMITS),
        Slice("carol", (Segment(301, (Endpoint("tcp", "127.0.0.1", free_port()),), attachments=(here,)),), LIMITS),
        Slice("off", (Segment(401, (at,), attachments=(here,)),), LIMITS, enabled=False),
    ]


@pytest.fixture(scope="module", params=[of.V10, of.V13], ids=["1.0", "1.3"])
def world(request: pytest.FixtureRequest) -> Iterator[tuple[Running, EmulatedSwitch]]:
    version = int(request.param)
    port = free_port()
    controller = EmulatedController(version, port)
    controller.listen()
    running = Running(slices(port))
    switch = EmulatedSwitch(("127.0.0.1", running.listener.port), DPID, version)
    try:
        switch.start()
        for vlan in (101, 102, 201):
            flow = of.flow_mod(
                version, "add", of.match(version, in_port=1), of.output(version, 2), xid=1, priority=vlan, cookie=7
            )
            controller.wait_up(vlan << 48 | DPID).send(flow)
        wait(running, lambda: running.rack.switch(DPID).summary.flows == 3)
        wait(
            running, lambda: running.rack.slice_statuses(["carol"])["carol"].datapaths[0].lifecycle is Lifecycle.FAILED
        )
        yield running, switch
    finally:
        switch.kill()
        controller.kill()
        running.close()


def wait(running: Running, condition: Any) -> None:
    """Until it holds; looks again after every event, and every 50 ms."""
    deadline = monotonic() + 20
    reader = running.rack.watch()
    while not condition():
        assert monotonic() < deadline, "it did not come to that"
        reader.next(0.05)
    reader.close()


def test_switches(world: tuple[Running, EmulatedSwitch]) -> None:
    rack = world[0].rack
    page = rack.switches()
    (summary,) = page.items
    assert page.next == "" and summary.connected and summary.up and summary.dpid == DPID
    assert summary.last_seen is not None and abs(summary.last_seen - time()) < 60
    status = rack.switch(DPID)
    assert status.vlans == (101, 102, 201, 301) and status.summary.flows == 3
    assert [one.vlan for one in rack.datapaths(DPID)] == [101, 102, 201, 301]
    with pytest.raises(NotKnownError, match="there is no switch 0x00000000000000bb"):
        rack.switch(AWAY)
    with pytest.raises(PageTokenError):
        rack.switches("nonsense")


def test_a_slice(world: tuple[Running, EmulatedSwitch]) -> None:
    rack = world[0].rack
    alice = rack.slice_statuses(["alice"])["alice"]
    assert [(one.vlan, one.lifecycle) for one in alice.datapaths] == [(101, "active"), (102, "active")]
    assert alice.counts == {Lifecycle.ACTIVE: 2} and alice.datapaths[0].flows.used == 1
    bob = rack.slice_statuses(["bob"])["bob"]
    assert [(one.dpid, one.lifecycle) for one in bob.datapaths] == [(DPID, "active"), (AWAY, "pending")]
    assert rack.slice_statuses(["off"])["off"].counts == {Lifecycle.DISABLED: 1}
    both = rack.slice_statuses(["bob", "nobody", "carol"])
    assert {name: one.counts for name, one in both.items()} == {
        "bob": {Lifecycle.ACTIVE: 1, Lifecycle.PENDING: 1},
        "carol": {Lifecycle.FAILED: 1},
    }


def test_connections(world: tuple[Running, EmulatedSwitch], monkeypatch: pytest.MonkeyPatch) -> None:
    rack = world[0].rack
    every = rack.connections().items
    assert sorted(link.slice for link in every) == ["alice", "alice", "bob", "carol"]
    monkeypatch.setattr(rack_module, "PIECE", 1)
    pages, token = [], ""
    while True:
        page = rack.connections(token, 3)
        pages.append([link.number for link in page.items])
        token = page.next
        if not token:
            break
    assert [number for page in pages for number in page] == [link.number for link in every]
    assert len(pages[0]) == 3
    first = rack.connections(size=1, slice_id="alice")
    (second,) = rack.connections(first.next, 1, slice_id="alice").items
    assert {first.items[0].vlan, second.vlan} == {101, 102}
    assert {link.slice for link in rack.connections(state="active").items} == {"alice", "bob"}
    assert rack.connections(dpid=AWAY).items == ()
    with pytest.raises(PageTokenError):
        rack.connections("x")


def test_flows_of_the_switch_with_its_counters(world: tuple[Running, EmulatedSwitch]) -> None:
    running, switch = world
    with switch.changed:
        for entry in switch.table.entries:
            if entry.vlan == 101 and entry.actions:
                entry.packets, entry.bytes = 12, 1200
    wait_for_budget()
    first = running.rack.flows(DPID, size=4)
    found, token = list(first.items), first.next
    while token:
        page = running.rack.flows(DPID, token=token, size=4)
        found, token = found + list(page.items), page.next
    assert len(found) == len(switch.flows()) == len({(one.table, one.priority, one.physical) for one in found})
    own = {one.slice: one for one in found if one.kind == "slice" and one.vlan in (101, 201)}
    assert own["alice"].counts is not None and own["alice"].counts.packets == 12
    assert own["alice"].virtual_cookie == 7 and "cookie=0x7" in own["alice"].virtual
    assert all(one.confirmed for one in found) and {one.kind for one in found} == {"slice", "guard"}
    assert {one.slice for one in running.rack.flows(DPID, slice_id="alice").items} == {"alice"}


def wait_for_budget() -> None:
    threading.Event().wait(1.1)  # the budget for dumps is by the second


def test_a_switch_is_not_asked_without_end(world: tuple[Running, EmulatedSwitch]) -> None:
    rack = world[0].rack

    def ask() -> None:
        for _ in range(20):
            rack.flows(DPID)

    with pytest.raises(BusyError) as refused:
        ask()
    assert 0 < refused.value.retry_after <= 1


def test_who_has_what(world: tuple[Running, EmulatedSwitch]) -> None:
    rack = world[0].rack
    assert [(one.slice, one.dpid, one.ports) for one in rack.lookup_owner(vlan=201)] == [
        ("bob", DPID, None),
        ("bob", AWAY, None),
    ]
    assert [(one.slice, one.vlan) for one in rack.lookup_owner(dpid=DPID, port=3)] == [
        ("alice", 101), ("alice", 102), ("bob", 201), ("carol", 301),
    ]  # fmt: skip
    assert [one.slice for one in rack.lookup_owner(dpid=DPID, port=9)] == ["bob"]
    assert rack.lookup_owner(vlan=999) == rack.lookup_owner() == []


def test_the_topology(world: tuple[Running, EmulatedSwitch]) -> None:
    running, _ = world
    graph = Topology(lifetime=60)
    graph.switch_up(DPID, {1: "p1", 2: "p2"})
    graph.switch_up(AWAY, {1: "q1"})
    graph.link_seen(Link(PortRef(DPID, 1), PortRef(AWAY, 1)), monotonic())
    rack = Rack(running.edge, running.mux, running.events, graph.snapshot)
    network = rack.topology()
    (one,) = network.switches
    assert one.connected and 1 in [port.number for port in one.ports]
    (link,) = network.links
    assert (link.source_dpid, link.target_dpid) == (DPID, AWAY) and abs(link.last_seen - time()) < 60
    assert [(owned.slice, owned.vlan) for owned in network.slices] == [
        ("alice", 101), ("alice", 102), ("bob", 201), ("carol", 301),
    ]  # fmt: skip
    alice = rack.topology("alice")
    assert [port.number for port in alice.switches[0].ports] == [1, 2, 3] and alice.links == ()
    assert running.rack.topology().links == (), "discovery does not run"
    with pytest.raises(NotKnownError):
        rack.topology("nobody")


def test_the_initial_state_then_news(world: tuple[Running, EmulatedSwitch]) -> None:
    running, _ = world
    reader = running.rack.watch(EventFilter(slices=frozenset({"alice"}), unowned=True), initial_state=True)
    values = []
    while isinstance(item := reader.next(10), StateItem):
        values.append(item.value)
    assert isinstance(item, StateEnd)
    assert [type(value) for value in values] == [SwitchSummary, DatapathStatus, DatapathStatus]
    running.rack.audit("cn=am", "RegisterSlice", "alice", "OK", seconds=0.1)
    running.rack.audit("cn=am", "RegisterSlice", "bob", "OK")
    running.edge.call(lambda: running.events.record(Event(Kind.SLICE_CHANGED, slice="alice")))
    news = [reader.next(10), reader.next(10)]
    assert [(one.event.kind, one.event.slice) for one in news if isinstance(one, Happened)] == [
        (Kind.CALL, "alice"),
        (Kind.SLICE_CHANGED, "alice"),
    ]
    assert isinstance(news[0], Happened)
    assert dict(news[0].event.detail) == {
        "identity": "cn=am", "method": "RegisterSlice", "outcome": "OK", "seconds": 0.1,
    }  # fmt: skip
    again = running.rack.watch(token=news[0].token)
    follows = again.next(10)
    assert isinstance(follows, Happened) and follows.event.slice == "bob"
    reader.close()
    again.close()


def test_a_loop_that_does_not_answer(world: tuple[Running, EmulatedSwitch]) -> None:
    running, _ = world
    release = threading.Event()
    running.loop.call_soon_threadsafe(release.wait, 20)
    try:
        with pytest.raises(RackTimeoutError):
            running.rack.switches(timeout=0.02)
    finally:
        release.set()
    assert running.rack.switches().items


def test_a_switch_that_goes(world: tuple[Running, EmulatedSwitch]) -> None:
    """Last: the switch does not come back."""
    running, switch = world
    switch.kill()
    wait(running, lambda: not running.rack.switches().items[0].connected)
    (summary,) = running.rack.switches().items
    assert (summary.up, summary.peer) == (False, None) and summary.last_seen is not None
    assert running.rack.slice_statuses(["alice"])["alice"].counts == {Lifecycle.PENDING: 2}
    assert {link.state for link in running.rack.connections().items} == {"idle"}
    with pytest.raises(SwitchAwayError, match="the switch is not connected"):
        running.rack.flows(DPID)
    assert running.rack.flows(DPID, counts=False).items, "what is known is shown all the same"
