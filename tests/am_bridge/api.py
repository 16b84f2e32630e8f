"""The API on loopback for a test: a real book in memory, a real server, and a rack that says what the test wants."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from am_bridge import reasons
from am_bridge.auth import Callers
from am_bridge.gate import Hooks
from am_bridge.handlers.operations import Sliver
from am_bridge.paging import PageTokens
from am_bridge.server import ApiServer, Served
from am_bridge.services.events import EventService
from am_bridge.services.info import Identity, ServerService, Tally
from am_bridge.services.slices import SliceService
from am_bridge.services.switches import SwitchService
from am_bridge.status import ApiError, from_rpc_error
from vmoc.config import Vlans
from vmoc.ledger import Rules, SliceBook
from vmoc.model import Limits, Slice
from vmoc.registry import Registry
from vmoc.status import (
    Connection,
    DatapathStatus,
    FlowStatus,
    Owner,
    SliceStatus,
    SwitchStatus,
    SwitchSummary,
)
from vmoc.store import SqliteStore
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import EventFilter, Item, StateEnd, StateItem, Stream, Subscription
from vmoc.telemetry.summary import summarise
from vmoc.topology import Network
from vmoc.v1 import events_pb2_grpc, server_pb2_grpc, slices_pb2_grpc, switches_pb2_grpc
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m

NOW = 1_800_000_000.0


class Quiet:
    def log(self, level: int, event: str, **context: Any) -> None: ...


@dataclass
class Part:
    items: Sequence[Any]
    next: str


@dataclass
class FakeRack:
    """What the test puts in is what the services see. Events are real; ``record`` is for one thread."""

    statuses: dict[str, SliceStatus] = field(default_factory=dict)
    owners: list[Owner] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)
    known: dict[int, SwitchStatus] = field(default_factory=dict)
    on_switch: dict[int, list[DatapathStatus]] = field(default_factory=dict)
    links: list[Connection] = field(default_factory=list)
    flow_list: list[FlowStatus] = field(default_factory=list)
    network: Network = field(default_factory=lambda: Network((), (), ()))
    asked: list[dict[str, Any]] = field(default_factory=list)
    boot_id: str = "boot"
    capacity: int = 100

    def __post_init__(self) -> None:
        self.log = EventLog(Quiet(), capacity=self.capacity, wall=lambda: NOW + 1)
        self.events = Stream(self.log, self.boot_id)
        self.watching = threading.Semaphore(0)
        """Released for each stream that has begun."""

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float) -> dict[str, SliceStatus]:
        assert timeout > 0
        return {name: self.statuses[name] for name in slice_ids if name in self.statuses}

    def lookup_owner(
        self, vlan: int | None = None, dpid: int | None = None, port: int | None = None, *, timeout: float
    ) -> list[Owner]:
        assert timeout > 0
        return [one for one in self.owners if vlan in (None, one.vlan) and dpid in (None, one.dpid)]

    def switches(self, token: str = "", size: int = 100, *, timeout: float) -> Part:
        return self._part([one.summary for one in self.known.values()], token, size)

    def switch(self, dpid: int, native_vlan: int | None = None, *, timeout: float) -> SwitchStatus:
        if dpid not in self.known:
            raise ApiError(reasons.SWITCH_NOT_FOUND)
        return self.known[dpid]

    def datapaths(self, dpid: int, native_vlan: int | None = None, *, timeout: float) -> list[DatapathStatus]:
        return self.on_switch.get(dpid, [])

    def connections(self, token: str = "", size: int = 500, *, timeout: float, **conditions: Any) -> Part:
        self.asked.append(conditions)
        wanted = [one for one in self.links if conditions["slice_id"] in (None, one.slice)]
        return self._part(wanted, token, size)

    def flows(self, dpid: int, *, token: str = "", size: int = 1000, timeout: float, **conditions: Any) -> Part:
        self.asked.append({"dpid": dpid} | conditions)
        return self._part(self.flow_list, token, size)

    def topology(self, slice_id: str | None = None, *, among: Iterable[str] | None = None, timeout: float) -> Network:
        self.asked.append({"slice_id": slice_id, "among": among})
        return self.network if slice_id is None else self.network.of_slice(slice_id)

    def _part(self, items: list[Any], token: str, size: int) -> Part:
        start = int(token or 0)
        end = start + size
        return Part(items[start:end], str(end) if end < len(items) else "")

    def watch(
        self,
        wanted: EventFilter | None = None,
        token: str = "",
        *,
        initial_state: bool = False,
        among: Collection[str] | None = None,
        on_news: Callable[[], None] | None = None,
    ) -> Subscription:
        prelude = self._state(among) if initial_state and not token else None
        reader = self.events.subscribe(wanted, token, prelude, on_news)
        self.watching.release()
        return reader

    def _state(self, among: Collection[str] | None) -> Iterator[Item]:
        yield from (StateItem(one.summary) for one in self.known.values())
        found = (one for status in self.statuses.values() for one in status.datapaths)
        yield from (StateItem(one) for one in found if among is None or one.slice in among)
        yield StateEnd(self.events.now())

    def audit(
        self, identity: str, method: str, slice_id: str | None, outcome: str, message: str = "", **detail: object
    ) -> None:
        self.audited.append(
            {
                "identity": identity,
                "method": method,
                "slice": slice_id,
                "outcome": outcome,
                "message": message,
                **detail,
            }
        )


def a_summary(dpid: int, up: bool = True, connected: bool = True) -> SwitchSummary:
    version = "1.3" if connected else None
    return SwitchSummary(
        dpid, 0, connected, up, version, "192.0.2.9:4", NOW, NOW, 3, 1, 0, 4, "maker", "hw", "sw", "serial", "text"
    )


class Condition:
    def look(self, timeout: float) -> tuple[str, Tally]:
        return "ready", Tally(slices=1)


class Api:
    """A running server, and a channel to it."""

    def __init__(
        self,
        vlans: Vlans | None = None,
        file: Iterable[Slice] = (),
        callers: Callers | None = None,
        *,
        capacity: int = 100,
        heartbeat: float = 15.0,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.heartbeat = heartbeat
        self.store = SqliteStore(":memory:")
        self.now = NOW
        self.book = SliceBook(Registry(), self.store, Rules(vlans=vlans or Vlans()), clock=lambda: self.now)
        assert not self.book.open(list(file)).conflicts
        self.rack = FakeRack(capacity=capacity)
        self.bugs: list[str] = []
        self.tokens = PageTokens()
        self.server = ApiServer(
            "127.0.0.1:0",
            self.services(),
            callers or Callers(None),
            Hooks(self.rack.audit, lambda where, trace: self.bugs.append(f"{where}\n{trace}")),
            credentials,
        )
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.slices = slices_pb2_grpc.SliceServiceStub(self.channel)
        self.switches = switches_pb2_grpc.SwitchServiceStub(self.channel)
        self.events = events_pb2_grpc.EventServiceStub(self.channel)

    def known_slivers(self) -> Iterable[Sliver]:
        """What there is of slivers: none here."""
        return ()

    def services(self) -> list[Served]:
        book, rack, tokens = self.book, self.rack, self.tokens
        slices = SliceService(book, rack, tokens, Limits, lambda: self.now, self.known_slivers)
        events = EventService(book, rack, summarise, lambda: self.now, self.heartbeat)
        info = ServerService(Identity("1", "boot", NOW, ["1.3"], [], 1 << 20), Condition(), lambda: self.now)
        return [
            Served("vmoc.v1.SliceService", slices_pb2_grpc.add_SliceServiceServicer_to_server, slices),
            Served(
                "vmoc.v1.SwitchService",
                switches_pb2_grpc.add_SwitchServiceServicer_to_server,
                SwitchService(book, rack, tokens),
            ),
            Served("vmoc.v1.EventService", events_pb2_grpc.add_EventServiceServicer_to_server, events),
            Served("vmoc.v1.ServerService", server_pb2_grpc.add_ServerServiceServicer_to_server, info),
        ]

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0.5)
        self.book.close()
        assert not self.bugs, self.bugs[0]

    def register(self, slice_id: str, *vlans: int, **fields: Any) -> m.RegisterSliceResponse:
        return self.slices.RegisterSlice(m.RegisterSliceRequest(slice=a_slice(slice_id, *vlans, **fields)))


def a_slice(slice_id: str, *vlans: int, **fields: Any) -> pb.Slice:
    segments = [pb.Segment(vlan_id=vlan, controllers=["tcp:192.0.2.1:6653"]) for vlan in vlans]
    return pb.Slice(slice_id=slice_id, segments=segments, **fields)


@contextlib.contextmanager
def refused(code: str) -> Iterator[list[ApiError]]:
    """The call in it fails with that reason; the list then holds the error."""
    found: list[ApiError] = []
    with pytest.raises(grpc.RpcError) as caught:
        yield found
    found.append(from_rpc_error(caught.value))
    reason = found[0].reason
    assert reason.code == code, f"{reason.code}, not {code}: {found[0].message}"
    assert caught.value.code() is reason.status
