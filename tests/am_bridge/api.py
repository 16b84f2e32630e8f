"""The API on loopback for a test: a real book in memory, a real server, and a rack that says what the test wants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from am_bridge.auth import Callers
from am_bridge.gate import Hooks
from am_bridge.paging import PageTokens
from am_bridge.server import ApiServer, Served
from am_bridge.services.slices import SliceService
from am_bridge.status import ApiError, from_rpc_error
from vmoc.config import Vlans
from vmoc.ledger import Rules, SliceBook
from vmoc.model import Limits, Slice
from vmoc.registry import Registry
from vmoc.status import Owner, SliceStatus
from vmoc.store import SqliteStore
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m
from vmoc.v1 import slices_pb2_grpc

NOW = 1_800_000_000.0


@dataclass
class FakeRack:
    """What the test puts in is what the services see."""

    statuses: dict[str, SliceStatus] = field(default_factory=dict)
    owners: list[Owner] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float) -> dict[str, SliceStatus]:
        assert timeout > 0
        return {name: self.statuses[name] for name in slice_ids if name in self.statuses}

    def slice_status(self, slice_id: str, *, timeout: float) -> SliceStatus:
        return self.slice_statuses([slice_id], timeout=timeout)[slice_id]

    def lookup_owner(
        self, vlan: int | None = None, dpid: int | None = None, port: int | None = None, *, timeout: float
    ) -> list[Owner]:
        assert timeout > 0
        return [one for one in self.owners if vlan in (None, one.vlan) and dpid in (None, one.dpid)]

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


class Api:
    """A running server, and a channel to it."""

    def __init__(self, vlans: Vlans | None = None, file: Iterable[Slice] = (), callers: Callers | None = None) -> None:
        self.store = SqliteStore(":memory:")
        self.now = NOW
        self.book = SliceBook(Registry(), self.store, Rules(vlans=vlans or Vlans()), clock=lambda: self.now)
        assert not self.book.open(list(file)).conflicts
        self.rack = FakeRack()
        self.bugs: list[str] = []
        self.tokens = PageTokens()
        self.server = ApiServer(
            "127.0.0.1:0",
            self.services(),
            callers or Callers(None),
            Hooks(self.rack.audit, lambda where, trace: self.bugs.append(f"{where}\n{trace}")),
        )
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.slices = slices_pb2_grpc.SliceServiceStub(self.channel)

    def services(self) -> list[Served]:
        slices = SliceService(self.book, self.rack, self.tokens, Limits, wall=lambda: self.now)
        return [Served("vmoc.v1.SliceService", slices_pb2_grpc.add_SliceServiceServicer_to_server, slices)]

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
