"""Every method of a real ``vmoc run`` with requests that nobody would write: precise refusals, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2  # noqa: F401 - into the pool of descriptors
from google.protobuf import descriptor_pool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from am_bridge.auth import METHODS
from am_bridge.reasons import API_REASONS
from am_bridge.status import from_rpc_error
from tests.am_bridge.generated import messages
from tests.emulation import VmocProcess
from vmoc.v1 import events_pb2, server_pb2, slices_pb2, slivers_pb2, switches_pb2  # noqa: F401

OURS = sorted(method for method in METHODS if not method.startswith("/grpc."))
WAITING = {"WaitOperation", "ProbeSliver"}
"""These take as long as the caller lets them."""
AT_ONCE = 30.0
EXAMPLES = 60


class World:
    def __init__(self, folder: Path) -> None:
        self.vmoc = VmocProcess(folder, {"slices": [{"id": "alice", "segments": [{"vlan": 101}]}]}).start()
        self.vmoc.wait_log("the API is at")
        self.channel = grpc.insecure_channel(self.vmoc.config["grpc"]["listen"])

    def call(self, method: str, data: bytes, deadline: float) -> grpc.RpcError | None:
        """What came of it; of a stream, what came first."""
        try:
            if described(method).server_streaming:
                stream = self.channel.unary_stream(method)(data, timeout=deadline)
                try:
                    next(stream, None)
                finally:
                    stream.cancel()
            else:
                self.channel.unary_unary(method)(data, timeout=deadline)
        except grpc.RpcError as error:
            return error
        return None

    def check(self, method: str, data: bytes) -> None:
        name = method.rpartition("/")[2]
        waits = name in WAITING or described(method).server_streaming
        error = self.call(method, data, 0.3 if waits else AT_ONCE)
        if error is None or (waits and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED):
            return
        told = from_rpc_error(error)
        assert told.reason.code in API_REASONS, f"{name}: {error.code()} {error.details()}"
        assert error.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), f"{name}: {error.details()}"
        assert told.message and len(told.message.encode()) <= 512

    def close(self) -> None:
        self.channel.close()
        self.vmoc.stop()


def described(method: str) -> Any:
    service, _, name = method.strip("/").partition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("vmoc"))
    yield made
    made.close()


quietly = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.slow
@pytest.mark.parametrize("method", OURS)
def test_any_request_is_answered_or_refused_with_a_reason(world: World, method: str) -> None:
    @quietly
    @given(messages(described(method).input_type))
    def every(request: Any) -> None:
        world.check(method, request.SerializeToString())

    every()
    assert world.call("/vmoc.v1.ServerService/GetServerInfo", b"", 20) is None, "it is still there"


@pytest.mark.slow
@quietly
@given(st.sampled_from(OURS), st.binary(max_size=200))
def test_bytes_that_are_no_message(world: World, method: str, data: bytes) -> None:
    world.check(method, data)
