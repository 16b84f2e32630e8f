"""The server itself: health, reflection, draining, and callers that ask for too much."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from am_bridge import gate, reasons, room
from am_bridge.auth import Caller, Callers, Role
from am_bridge.server import ApiServer, ListenError
from am_bridge.status import from_rpc_error
from tests.am_bridge.api import Api, a_slice, refused
from tests.am_bridge.services.test_switches import Whoever
from tests.emulation import wait_until
from vmoc.v1 import events_pb2 as e
from vmoc.v1 import slices_pb2 as m
from vmoc.v1 import switches_pb2 as s

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OURS = ("SliceService", "SwitchService", "EventService", "ServerService")


@pytest.fixture
def whoever() -> Whoever:
    return Whoever()


@pytest.fixture
def api(whoever: Whoever) -> Iterator[Api]:
    running = Api(callers=whoever)
    yield running
    running.close()


# ---- health ----------------------------------------------------------------------------------------------------------


def test_health_of_the_whole_and_of_each_service(api: Api) -> None:
    stub = health_pb2_grpc.HealthStub(api.channel)
    for name in ("", *(f"vmoc.v1.{one}" for one in OURS)):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="vmoc.v1.Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_server_that_drains_says_so_and_takes_no_changes(api: Api) -> None:
    stub = health_pb2_grpc.HealthStub(api.channel)
    watched = stub.Watch(health_pb2.HealthCheckRequest(service="vmoc.v1.SliceService"), timeout=20)
    assert next(watched).status == SERVING
    api.server.drain()
    assert next(watched).status == NOT_SERVING
    watched.cancel()
    assert stub.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    with refused("SERVER_DRAINING") as found:
        api.register("one", 100)
    assert found[0].retry is not None
    with refused("SERVER_DRAINING"):
        next(api.events.WatchEvents(e.WatchEventsRequest()))
    assert not api.slices.ListSlices(m.ListSlicesRequest()).slices, "who reads is still answered"
    assert api.rack.audited[0]["outcome"] == "SERVER_DRAINING"


def test_health_is_for_callers_without_a_role_and_nothing_else_is(api: Api, whoever: Whoever) -> None:
    whoever.caller = None
    assert health_pb2_grpc.HealthStub(api.channel).Check(health_pb2.HealthCheckRequest()).status == SERVING
    with refused("NO_IDENTITY"):
        api.slices.ListSlices(m.ListSlicesRequest())
    with pytest.raises(grpc.RpcError) as caught:
        ProtoReflectionDescriptorDatabase(api.channel).get_services()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


# ---- reflection ------------------------------------------------------------------------------------------------------


def test_a_client_that_knows_nothing_can_call_by_reflection(api: Api) -> None:
    api.register("one", 100, owner="ann")
    database = ProtoReflectionDescriptorDatabase(api.channel)
    names = set(database.get_services())
    assert {f"vmoc.v1.{one}" for one in OURS} | {"grpc.health.v1.Health"} <= names
    pool = DescriptorPool(database)
    for service in names - {"grpc.reflection.v1alpha.ServerReflection"}:
        assert pool.FindServiceByName(service).methods, service
    method = pool.FindServiceByName("vmoc.v1.SliceService").methods_by_name["GetSlice"]
    asked, told = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = api.channel.unary_unary("/vmoc.v1.SliceService/GetSlice", asked.SerializeToString, told.FromString)
    answer: Any = call(asked(slice_id="one"))
    assert answer.owner == "ann" and answer.segments[0].vlan_id == 100


# ---- too much --------------------------------------------------------------------------------------------------------


def test_a_message_that_is_too_large_is_refused_and_the_connection_stays(api: Api) -> None:
    options = [("grpc.max_send_message_length", 64 << 20)]
    with grpc.insecure_channel(f"127.0.0.1:{api.server.port}", options=options) as channel:
        call = channel.unary_unary("/vmoc.v1.SliceService/RegisterSlice")
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(17 << 20), timeout=30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        call(m.RegisterSliceRequest(slice=a_slice("one", 100)).SerializeToString(), timeout=30)
    assert len(api.book) == 1


class Slow:
    """A switch that answers when it is let: every read of it takes a thread until then."""

    def __init__(self, api: Api) -> None:
        self.go = threading.Event()
        self._stub, self._calls = api.switches, list[Any]()
        api.rack.flows = self._wait  # type: ignore[method-assign, assignment]

    def _wait(self, *_: object, **__: object) -> None:
        self.go.wait(30)
        raise gate.ApiError(reasons.SWITCH_NOT_FOUND)

    def ask(self, times: int) -> None:
        self._calls += [self._stub.ListFlows.future(s.ListFlowsRequest(dpid="0x1")) for _ in range(times)]

    def refused(self) -> int:
        """How many were turned away so far."""
        done = [call for call in self._calls if call.done()]
        assert {from_rpc_error(call.exception()).reason.code for call in done} <= {"TOO_MANY_CALLS"}
        return len(done)

    def end(self) -> list[str]:
        self.go.set()
        return [from_rpc_error(call.exception(timeout=30)).reason.code for call in self._calls]


def flood(api: Api, slow: Slow, times: int, answered: int) -> None:
    # One connection carries 128 calls at a time; a flood has several.
    slow.ask(times)
    wait_until(lambda: slow.refused() == times - answered, f"{times - answered} refusals")


def test_a_flood_of_reads_is_refused_at_once_and_changes_go_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_CALLS", 30)
    monkeypatch.setattr(room, "KEPT", 10)
    slow = Slow(api)
    flood(api, slow, 100, 20)
    api.register("one", 100)
    with refused("TOO_MANY_CALLS") as found:
        api.slices.ListSlices(m.ListSlicesRequest())
    assert found[0].retry is not None and found[0].retry.seconds > 0
    codes = slow.end()
    assert codes.count("SWITCH_NOT_FOUND") == 20
    wait_until(lambda: _lists(api), "room again")


def _first(stream: Any) -> str:
    try:
        return str(next(stream).WhichOneof("content"))
    except grpc.RpcError as error:
        return from_rpc_error(error).reason.code


def _lists(api: Api) -> bool:
    try:
        return bool(api.slices.ListSlices(m.ListSlicesRequest()).slices)
    except grpc.RpcError:
        return False


def test_one_caller_cannot_take_the_room_of_others(api: Api, whoever: Whoever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_OF_ONE", 8)
    whoever.caller = Caller("greedy", Role.AM, "am")
    slow = Slow(api)
    flood(api, slow, 20, room.MOST_WAITING_OF_ONE)
    watched = [api.events.WatchEvents(e.WatchEventsRequest(), timeout=30) for _ in range(9)]
    assert sorted(_first(stream) for stream in watched) == ["TOO_MANY_CALLS"] + 8 * ["heartbeat"]
    whoever.caller = Caller("other", Role.AM, "else")
    assert not api.slices.ListSlices(m.ListSlicesRequest()).slices
    assert next(api.events.WatchEvents(e.WatchEventsRequest(), timeout=30)).heartbeat
    for stream in watched:
        stream.cancel()
    slow.end()


def test_whoever_has_no_role_cannot_take_the_streams_of_those_who_have_one(
    api: Api, whoever: Whoever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_STREAMS", 12)
    monkeypatch.setattr(room, "MOST_OF_ONE", 8)
    whoever.caller = None
    stub = health_pb2_grpc.HealthStub(api.channel)
    nobodys = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(12)]
    assert sorted(_health(stream) for stream in nobodys) == 8 * ["SERVING"] + 4 * ["TOO_MANY_CALLS"]
    whoever.caller = Caller("am", Role.AM, "am")
    assert next(api.events.WatchEvents(e.WatchEventsRequest(), timeout=30)).heartbeat
    for stream in nobodys:
        stream.cancel()
    wait_until(lambda: api.server._gate.room._all.streams <= 1, "room again")


def _health(stream: Any) -> str:
    try:
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(next(stream).status))
    except grpc.RpcError as error:
        return from_rpc_error(error).reason.code


@pytest.mark.parametrize("method", ["EventService/WatchEvents", "SwitchService/ListFlows"])
def test_a_request_that_is_kept_as_long_as_its_caller_likes_is_small(api: Api, method: str) -> None:
    length = room.LONGEST_KEPT
    # A field nobody knows, 2047 of type bytes: it is kept with the rest of the message.
    unknown = b"\xfa\x7f" + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + bytes(length)
    call = api.channel.unary_stream(f"/vmoc.v1.{method}")(unknown, timeout=20)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert from_rpc_error(caught.value).reason is reasons.FIELD_INVALID
    assert "at most 262144 bytes" in from_rpc_error(caught.value).message


def test_bytes_of_requests_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 5000)
    slow = Slow(api)
    slow.ask(1)
    wait_until(lambda: api.server._gate.room.bytes > 0, "a call in progress")
    with refused("TOO_MANY_CALLS"):
        api.register("one", 100, labels={"a": "x" * 250, **{str(n): "x" * 250 for n in range(20)}})
    api.register("one", 100)
    slow.end()


def test_a_method_that_is_not_there_is_unimplemented(api: Api) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        api.channel.unary_unary("/vmoc.v1.SliceService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_port_that_is_taken_is_an_error_with_advice(api: Api) -> None:
    hooks = gate.Hooks(api.rack.audit, lambda where, trace: None)
    second = ApiServer(f"127.0.0.1:{api.server.port}", api.services(), Callers(None), hooks)
    with pytest.raises(ListenError, match=r"cannot listen on 127\.0\.0\.1:\d+; change grpc.listen"):
        second.start()
