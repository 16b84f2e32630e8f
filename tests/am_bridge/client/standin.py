"""A gRPC server for the client's tests: the simulated server behind real messages."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.client.errors import ClientError
from am_bridge.client.records import slice_of
from am_bridge.client.steps import Register, Sync, Unregister, Wanted
from am_bridge.convert import asked_slice, slice_message
from tests.am_bridge.client.simulated import Server
from tests.vmoc.cli.fakeserver import FakeServer, Refusal, info
from vmoc.model import Limits, Slice
from vmoc.v1 import events_pb2, resources_pb2, server_pb2, slices_pb2

END = object()


class StandIn:
    """``server`` may be changed by the test; ``tell`` sends an event to every stream, ``cut`` ends the streams."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server()
        self.rpc = FakeServer()
        self.lock = threading.RLock()
        self.streams: list[queue.Queue[Any]] = []
        self.streaming = threading.Event()
        for name, answer in (
            ("ServerService/GetServerInfo", self._info),
            ("SliceService/ListSlices", self._list),
            ("SliceService/GetSlice", self._get),
            ("SliceService/RegisterSlice", self._register),
            ("SliceService/BatchRegisterSlices", self._batch),
            ("SliceService/SyncSlices", self._sync),
            ("SliceService/UnregisterSlice", self._unregister),
            ("EventService/WatchEvents", self._watch),
        ):
            self.rpc.on(name, answer)

    @property
    def address(self) -> str:
        return self.rpc.address

    def stop(self) -> None:
        self.cut()
        self.rpc.stop()

    def requests(self, kind: type) -> list[Any]:
        return [request for request in self.rpc.requests if isinstance(request, kind)]

    # events

    def tell(self, **event: Any) -> None:
        with self.lock:
            self._told = getattr(self, "_told", 0) + 1
            answer = events_pb2.WatchEventsResponse(
                resume_token=f"t{self._told}", event=events_pb2.Event(event_time=Timestamp(seconds=7), **event)
            )
            for stream in self.streams:
                stream.put(answer)

    def slice_event(self, change: int, one: Slice, *, large: bool = False) -> None:
        """As the server tells it: of a slice that is gone, or ``large``, only the id."""
        bare = large or change == resources_pb2.CHANGE_KIND_REMOVED
        self.tell(
            kind=events_pb2.EVENT_KIND_SLICE,
            name="slice-changed",
            slice_id=one.id,
            slice=events_pb2.SliceEvent(change=change, slice=None if bare else slice_message(one)),
        )

    def cut(self, how: Any = END) -> None:
        with self.lock:
            streams, self.streams = self.streams, []
        self.streaming.clear()
        for stream in streams:
            stream.put(how)

    def _watch(self, _: Any) -> Iterator[Any]:
        stream: queue.Queue[Any] = queue.Queue()
        with self.lock:
            self.streams.append(stream)
        yield events_pb2.WatchEventsResponse(heartbeat=True, resume_token="t0")
        self.streaming.set()
        while (item := stream.get()) is not END:
            yield item

    # slices

    def _info(self, _: Any) -> Any:
        info_ = server_pb2.ServerInfo(boot_id=str(self.server.boot), version="1.2.3")
        info_.state = server_pb2.SERVER_STATE_READY
        info_.caller.role = server_pb2.CALLER_ROLE_AM
        info_.caller.manager = "geni"
        info_.request_limits.max_batch_slices = self.server.most_batch
        info_.request_limits.max_sync_slices = 50_000
        info_.server_time.FromSeconds(int(self.server.clock))
        return info_

    def _list(self, request: Any) -> Any:
        with self.lock:
            chosen = [one for one in self.server.slices.values() if request.manager in ("", one.manager)]
        start = int(request.page_token or 0)
        page = sorted(chosen, key=lambda one: one.id)[start : start + 2]
        more = str(start + 2) if start + 2 < len(chosen) else ""
        return slices_pb2.ListSlicesResponse(slices=map(slice_message, page), next_page_token=more)

    def _get(self, request: Any) -> Any:
        with self.lock:
            one = self.server.slices.get(request.slice_id)
        if one is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "there is no such slice", info("SLICE_NOT_FOUND"))
        return slice_message(one, etag="e1")

    def _make(self, step: Any) -> Any:
        try:
            with self.lock:
                return self.server.make(step)
        except ClientError as error:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION, error.message, info(error.reason, vlan="20", other_slice="o")
            ) from None

    @staticmethod
    def _wanted(message: resources_pb2.Slice) -> Wanted:
        asked = asked_slice(message, Limits())
        return Wanted(asked.slice, asked.choices, 0)

    def _register(self, request: Any) -> Any:
        (one,) = self._make(Register((self._wanted(request.slice),), request.request_id))
        return slices_pb2.RegisterSliceResponse(slice=slice_message(one), change=resources_pb2.CHANGE_KIND_ADDED)

    def _batch(self, request: Any) -> Any:
        answer = self._make(Register(tuple(map(self._wanted, request.slices)), request.request_id))
        results = [slices_pb2.RegisterSliceResponse(slice=slice_message(one)) for one in answer]
        return slices_pb2.BatchRegisterSlicesResponse(results=results)

    def _sync(self, request: Any) -> Any:
        before = dict(self.server.slices)
        answer = self._make(Sync(tuple(map(self._wanted, request.slices)), (), request.request_id))
        return slices_pb2.SyncSlicesResponse(
            added=[slice_message(one) for one in answer if one.id not in before],
            changed=[slice_message(one) for one in answer if one.id in before and before[one.id] != one],
            unchanged_slice_ids=[one.id for one in answer if before.get(one.id) == one],
        )

    def _unregister(self, request: Any) -> Any:
        self._make(Unregister(request.slice_id, 0, request.request_id))
        return slices_pb2.UnregisterSliceResponse()


__all__ = ["Refusal", "StandIn", "info", "slice_of"]
