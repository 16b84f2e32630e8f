"""The server's calls, each with a deadline and with errors of ``am_bridge.client.errors``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from am_bridge.client import records
from am_bridge.client.errors import ClientError, NotFoundError, client_error
from am_bridge.client.steps import Check, Greet, Greeting, ListAll, Register, Step, Sync, Unregister, Wanted
from am_bridge.convert import Choice, slice_message
from vmoc.model import Slice, format_dpid
from vmoc.v1 import (
    events_pb2,
    events_pb2_grpc,
    resources_pb2,
    server_pb2,
    server_pb2_grpc,
    slices_pb2,
    slices_pb2_grpc,
)

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that calls may take: one thing, a page or batch of up to 1000, everything at once."""

    one: float = 10.0
    many: float = 60.0
    all: float = 300.0


class Calls:
    """One channel to one server."""

    def __init__(self, channel: grpc.aio.Channel, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._slices: Any = slices_pb2_grpc.SliceServiceStub(channel)
        self._server: Any = server_pb2_grpc.ServerServiceStub(channel)
        self._events: Any = events_pb2_grpc.EventServiceStub(channel)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def server(self) -> records.ServerRecord:
        """GetServerInfo."""
        request = server_pb2.GetServerInfoRequest()
        return records.server_record(await _answer(self._server.GetServerInfo(request, timeout=self._deadlines.one)))

    async def slice(self, slice_id: str, *, status: bool) -> records.SliceRecord:
        """GetSlice."""
        view = slices_pb2.SLICE_VIEW_FULL if status else slices_pb2.SLICE_VIEW_BASIC
        request = slices_pb2.GetSliceRequest(slice_id=slice_id, view=view)
        return records.slice_record(await _answer(self._slices.GetSlice(request, timeout=self._deadlines.one)))

    async def slices(self, **conditions: Any) -> AsyncIterator[resources_pb2.Slice]:
        """ListSlices, page after page; ``conditions`` as in ListSlicesRequest."""
        request = slices_pb2.ListSlicesRequest(page_size=PAGE, **conditions)
        while True:
            page = await _answer(self._slices.ListSlices(request, timeout=self._deadlines.many))
            for one in page.slices:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def free_vlans(self, *, dpid: int | None, pool: str) -> list[int]:
        """ListVlans, those that are free."""
        request = slices_pb2.ListVlansRequest(
            dpid="" if dpid is None else format_dpid(dpid), pool=pool, states=[slices_pb2.VLAN_STATE_FREE]
        )
        return records.vlans_of(await _answer(self._slices.ListVlans(request, timeout=self._deadlines.many)))

    def watch(self, request: events_pb2.WatchEventsRequest) -> Any:
        """WatchEvents, the call itself. It has no deadline: the channel's keepalive finds a dead peer."""
        return self._events.WatchEvents(request)

    # -- the steps of a reconciler -------------------------------------------------------------------------------------

    async def make(self, step: Step, manager: str) -> object:
        """Make a step; returns its answer, raises ``ClientError``."""
        match step:
            case Greet():
                return _greeting(await self.server())
            case ListAll():
                # Paging leaves room for other tasks of the loop between thousands of slices.
                listed = self.slices(manager=manager, origin=resources_pb2.SLICE_ORIGIN_API)
                return [records.slice_of(one) async for one in listed]
            case Check(slice_id):
                return await self._check(slice_id, manager)
            case Register():
                return await self._register(step)
            case Unregister():
                await self._unregister(step)
                return None
            case Sync():
                return await self._sync(step, manager)

    async def _check(self, slice_id: str, manager: str) -> Slice | None:
        try:
            one = (await self.slice(slice_id, status=False)).slice
        except NotFoundError:
            return None
        return one if one.manager == manager else None

    async def _register(self, step: Register) -> list[Slice]:
        if len(step.wanted) == 1:
            single = slices_pb2.RegisterSliceRequest(slice=_message(step.wanted[0]), request_id=step.request_id)
            answer = await _answer(self._slices.RegisterSlice(single, timeout=self._deadlines.one))
            return [records.slice_of(answer.slice)]
        request = slices_pb2.BatchRegisterSlicesRequest(
            slices=[_message(one) for one in step.wanted], request_id=step.request_id
        )
        batch = await _answer(self._slices.BatchRegisterSlices(request, timeout=self._deadlines.many))
        return [records.slice_of(one.slice) for one in batch.results]

    async def _unregister(self, step: Unregister) -> None:
        request = slices_pb2.UnregisterSliceRequest(
            slice_id=step.slice_id, allow_missing=True, request_id=step.request_id
        )
        await _answer(self._slices.UnregisterSlice(request, timeout=self._deadlines.one))

    async def _sync(self, step: Sync, manager: str) -> list[Slice]:
        request = slices_pb2.SyncSlicesRequest(
            manager=manager, slices=[_message(one) for one in step.wanted], request_id=step.request_id
        )
        answer = await _answer(self._slices.SyncSlices(request, timeout=self._deadlines.all))
        return [records.slice_of(one) for one in (*answer.added, *answer.changed)]


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except grpc.RpcError as error:
        raise client_error(error) from None
    except ValueError as error:  # protobuf's, of a message that can't be written
        raise ClientError(f"the request can't be sent: {error}") from error


def _greeting(server: records.ServerRecord) -> Greeting:
    return Greeting(
        server.boot_id,
        server.manager,
        server.max_batch_slices or PAGE,
        server.max_sync_slices or PAGE,
        server.server_time or time.time(),
    )


def _message(wanted: Wanted) -> resources_pb2.Slice:
    message = slice_message(wanted.slice)
    for index, choice in wanted.choices.items():
        if message.segments[index].vlan_id == 0:
            message.segments[index].vlan_choice.CopyFrom(_choice_message(choice))
    return message


def _choice_message(choice: Choice) -> resources_pb2.VlanChoice:
    return resources_pb2.VlanChoice(
        ranges=_ranges(choice.ranges), avoided_ranges=_ranges(choice.avoided), pool=choice.pool
    )


def _ranges(pairs: Iterable[tuple[int, int]]) -> list[resources_pb2.VlanRange]:
    return [resources_pb2.VlanRange(first=first, last=last) for first, last in pairs]
