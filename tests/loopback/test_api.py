"""The API of a real ``vmoc run``: every method is there, and the commands show what really is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2  # noqa: F401 - into the pool of descriptors
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from am_bridge.auth import METHODS, Access
from am_bridge.reasons import API_REASONS
from tests.loopback.scene import Scene
from vmoc.v1 import events_pb2, events_pb2_grpc, server_pb2, slices_pb2, slivers_pb2, switches_pb2

FILES = (slices_pb2, switches_pb2, events_pb2, server_pb2, slivers_pb2)
SERVICES = [name for file in FILES for name in file.DESCRIPTOR.services_by_name]
BROKEN = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
OPERATIONS = "google.longrunning.Operations"


def described(name: str) -> Any:
    return descriptor_pool.Default().FindServiceByName(name)


def channel(scene: Scene) -> grpc.Channel:
    return grpc.insecure_channel(scene.vmoc.config["grpc"]["listen"])


@pytest.fixture
def api(scene13: Scene) -> Iterator[grpc.Channel]:
    scene13.vmoc.wait_log("the API is at")
    with channel(scene13) as opened:
        yield opened


def test_every_method_has_its_place_in_the_table_of_who_may_call() -> None:
    names = [*(f"vmoc.v1.{name}" for name in SERVICES), OPERATIONS]
    methods = {f"/{name}/{method.name}" for name in names for method in described(name).methods}
    assert methods == {method for method in METHODS if not method.startswith("/grpc.")}


@pytest.mark.parametrize("name", [*(f"vmoc.v1.{name}" for name in SERVICES), OPERATIONS])
def test_every_method_is_served(api: grpc.Channel, name: str) -> None:
    for method in described(name).methods:
        request = GetMessageClass(method.input_type)()
        if method.server_streaming:
            call = api.unary_stream(f"/{name}/{method.name}")(request.SerializeToString(), timeout=20)
            code = first_of(call)
            call.cancel()
        else:
            code = outcome(api.unary_unary(f"/{name}/{method.name}"), request.SerializeToString())
        assert code not in BROKEN, method.name


def test_every_call_that_may_change_something_is_in_the_audit_log(api: grpc.Channel) -> None:
    writing = {method.rpartition("/")[2] for method, access in METHODS.items() if access is Access.WRITE}
    stub = events_pb2_grpc.EventServiceStub(api)
    told = stub.WatchEvents(events_pb2.WatchEventsRequest(kinds=[events_pb2.EVENT_KIND_SERVER]), timeout=50)
    assert next(told).heartbeat
    for method in METHODS:
        if not method.startswith("/grpc."):
            service, _, name = method[1:].partition("/")
            if described(service).methods_by_name[name].server_streaming:
                first_of(api.unary_stream(method)(b"", timeout=0.5))
            else:
                outcome(api.unary_unary(method), b"")
    found: dict[str, str] = {}
    while found.keys() < writing:
        answer = next(told)
        if answer.event.name == "call":
            details = answer.event.server.details
            assert details["identity"] == "local" and details["outcome"] in {"OK", *API_REASONS}
            found[details["method"]] = details["outcome"]
    told.cancel()
    assert found.keys() == writing and found["RegisterSlice"] == "FIELD_INVALID"


def outcome(method: Any, request: bytes) -> grpc.StatusCode:
    try:
        method(request, timeout=20)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[no-any-return]
    return grpc.StatusCode.OK


def first_of(call: Any) -> grpc.StatusCode:
    try:
        next(call)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[no-any-return]
    return grpc.StatusCode.OK
