"""The parent's rack: everything is asked of whoever knows, and an answer that does not come is an error in words."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from vmoc.daemon.asking import BusyError, NotKnownError, Page, PageTokenError, RackTimeoutError
from vmoc.daemon.rack import Rack
from vmoc.daemon.workers import merging
from vmoc.daemon.workers.messages import Raised, pack
from vmoc.daemon.workers.rack import CrewRack
from vmoc.daemon.workers.worker import ASKABLE
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.net.edge import Edge
from vmoc.registry import Registry
from vmoc.status import Connection, DatapathStatus, Lifecycle, SliceStatus, SwitchSummary
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import EventFilter, StateEnd, StateItem
from vmoc.topology import Network, NetworkSwitch, SlicePorts

# These are about slices, events and this process, and are answered by the parent.
ANSWERED_HERE = {"lookup_owner", "watch", "audit"}
# These are made of what workers tell.
PARTLY = {"slice_statuses", "topology"}
HOMES = {1: 0, 2: 1}
ALICE = Slice("alice", (Segment(101, (Endpoint("tcp", "h", 1),)),))


def summary(dpid: int) -> SwitchSummary:
    return SwitchSummary(dpid, 0, True, True, "1.3", None, None, None, 0, 0, 0, 0, "", "", "", "", "")


def link(number: int, dpid: int) -> Connection:
    return Connection(
        number, "alice", 101, dpid, 0, 1, "tcp:h:1", "active", 0.0, None, "", None, 0, "1.3", "equal", False
    )


class Member:
    """A worker that answers by script."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[tuple[Any, ...]] = []
        self.says: dict[str, Callable[..., object]] = {}

    def ask(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Future[bytes]:
        assert method in ASKABLE
        inspect.signature(getattr(Rack, method, None) or CrewRack._flows).bind(
            None, *arguments, timeout=timeout, **options
        )
        self.asked.append((method, *arguments))
        future: Future[bytes] = Future()
        if method in self.says:
            try:
                future.set_result(pack(self.says[method](*arguments, **options)))
            except BusyError as exc:
                future.set_result(pack(Raised.of(exc)))
        return future


class Nothing:
    """A core that is never asked."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None

    def take(self) -> Any:
        from vmoc.mux.effects import Output

        return Output()


class Quiet:
    def log(self, level: int, event: str, **context: Any) -> None: ...


@pytest.fixture
def world() -> Iterator[tuple[CrewRack, list[Member]]]:
    registry = Registry()
    registry.adopt(registry.plan([ALICE], origin=Origin.FILE))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    members = [Member(0), Member(1)]
    edge = Edge(Nothing(), loop, report=lambda event: None, bug=lambda where, trace: None)
    rack = CrewRack(edge, lambda: registry.snapshot, HOMES.get, members, EventLog(Quiet()), lambda: None)  # type: ignore[arg-type]
    yield rack, members
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_nothing_that_a_rack_offers_is_forgotten():
    offered = {name for name, _ in inspect.getmembers(Rack, inspect.isfunction) if not name.startswith("_")} | {"flows"}
    assert offered == ASKABLE | ANSWERED_HERE
    remote = {name for name in vars(CrewRack) if not name.startswith("_")} | {"flows"}
    assert ASKABLE - remote == PARTLY, "which is what CrewRack._statuses and _network_switches ask for"


def test_lists_are_of_all_and_one_switch_is_of_its_worker(world: tuple[CrewRack, list[Member]]):
    rack, (one, two) = world
    one.says["switches"] = lambda token, size: Page((summary(1), summary(5)), "5.0")
    two.says["switches"] = lambda token, size: Page((summary(2),))
    page = rack.switches(size=2)
    assert [item.dpid for item in page.items] == [1, 2] and page.next == "2.0"
    two.says["switch"] = lambda dpid, native: f"switch {dpid} of {native}"
    assert rack.switch(2, 7) == "switch 2 of 7"
    assert one.asked == [("switches", "", 2)]
    with pytest.raises(NotKnownError, match="there is no switch 0x0000000000000003"):
        rack.switch(3)
    with pytest.raises(PageTokenError):
        rack.switches("nonsense")


def test_pages_of_connections_go_from_worker_to_worker(world: tuple[CrewRack, list[Member]]):
    rack, members = world
    for member in members:
        every = [link(number, member.number + 1) for number in (1, 2, 5)]

        def page(token: str, size: int, dpid: Any, state: Any, every: list[Connection] = every) -> Page[Connection]:
            left = [one for one in every if one.number > int(token or 0)]
            return Page(tuple(left[:size]), str(left[size - 1].number) if len(left) > size else "")

        member.says["connections"] = page
    found, token = [], ""
    for _ in range(10):
        answer = rack.connections(token, 2)
        found += [one.number for one in answer.items]
        token = answer.next
        if not token:
            break
    assert found == [1, 2, 5, *(merging.NUMBERS + number for number in (1, 2, 5))]
    assert [one.number for one in rack.connections(size=100).items] == found


def test_a_slice_is_what_all_tell_of_it(world: tuple[CrewRack, list[Member]]):
    rack, members = world
    for member in members:
        told = tuple(
            DatapathStatus(
                "alice",
                101,
                dpid,
                0,
                dpid,
                Lifecycle.ACTIVE if home == member.number else Lifecycle.PENDING,
                "",
                "",
                None,
                controllers=(link(4, dpid),) if home == member.number else (),
            )
            for dpid, home in HOMES.items()
        )
        member.says["slice_statuses"] = lambda names, told=told: {"alice": SliceStatus("alice", True, told, {})}
        member.says["switches"] = lambda token, size, number=member.number: Page((summary(number + 1),))
    found = rack.slice_statuses(["alice", "nobody"])
    assert {name: one.counts for name, one in found.items()} == {"alice": {Lifecycle.ACTIVE: 2}}
    status = found["alice"]
    assert [(one.dpid, one.lifecycle) for one in status.datapaths] == [(1, Lifecycle.ACTIVE), (2, Lifecycle.ACTIVE)]
    assert [one.number for one in rack.connections(slice_id="alice").items] == [4, merging.NUMBERS + 4]
    assert [owner.slice for owner in rack.lookup_owner(vlan=101)] == ["alice"]
    with pytest.raises(NotKnownError, match="there is no slice nobody"):
        rack.connections(slice_id="nobody")
    reader = rack.watch(EventFilter(), initial_state=True)
    items = []
    while not isinstance(item := reader.next(5), StateEnd):
        assert isinstance(item, StateItem)
        items.append(item.value)
    reader.close()
    assert [type(item) for item in items] == [SwitchSummary, SwitchSummary, DatapathStatus, DatapathStatus]


def test_a_network_is_put_together(world: tuple[CrewRack, list[Member]]):
    rack, members = world
    alone = DatapathStatus("alice", 101, 1, 0, 1, Lifecycle.ACTIVE, "", "", None, ports=(1, 2))
    for member, dpid in zip(members, (2, 1), strict=True):
        part = Network((NetworkSwitch(dpid, 0, f"s{dpid}", True, ()),), (), ())
        member.says["topology"] = lambda slice_id, among, part=part: part if among == [] else None
        member.says["slice_statuses"] = lambda names: {}
    members[0].says["slice_statuses"] = lambda names: {"alice": SliceStatus("alice", True, (alone,), {})}
    network = rack.topology()
    assert [one.dpid for one in network.switches] == [1, 2]
    assert network.slices == (SlicePorts("alice", 101, 1, (1, 2)),)
    assert [one.dpid for one in rack.topology("alice").switches] == [1]
    assert rack.topology(among=[]).slices == ()
    with pytest.raises(NotKnownError):
        rack.topology("nobody")


def test_flows_of_a_slice_are_not_asked_of_who_need_not_know_it(world: tuple[CrewRack, list[Member]]):
    rack, (_, two) = world
    elsewhere = Slice("bob", (Segment(102, attachments=(Attachment(1),)),))
    before = rack._core.view.slices  # type: ignore[attr-defined]
    rack._core.view.slice = lambda name: elsewhere if name == "bob" else before().get(name)  # type: ignore[method-assign]
    two.says["flows"] = lambda dpid, **options: Page((options["slice_id"],))
    assert rack.flows(2, slice_id="alice").items == ("alice",)
    assert rack.flows(2, slice_id="bob") == Page(())
    for wrong in ({"dpid": 2, "slice_id": "nobody"}, {"dpid": 9, "slice_id": "alice"}):
        with pytest.raises(NotKnownError):
            rack.flows(**wrong)


def test_what_a_worker_raises_is_raised(world: tuple[CrewRack, list[Member]]):
    rack, (one, _) = world

    def busy(dpid: int, **options: Any) -> None:
        raise BusyError("later", 0.5)

    one.says["flows"] = busy
    with pytest.raises(BusyError) as caught:
        rack.flows(1)
    assert caught.value.retry_after == 0.5


def test_a_worker_that_does_not_answer_is_not_waited_for_for_ever(world: tuple[CrewRack, list[Member]]):
    rack, (one, _) = world
    one.says["connected_controllers"] = lambda: 3
    with pytest.raises(RackTimeoutError, match="try again"):
        rack.connected_controllers(timeout=0.05)
