"""Errors on their way to the caller: codes, details, and what fits into a call's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from am_bridge import reasons
from am_bridge.reasons import API_REASONS
from am_bridge.status import (
    MOST_DETAILS,
    ApiError,
    RetryAfter,
    api_error,
    conflict_error,
    from_rpc_error,
    from_status,
    to_grpc,
    to_status,
)
from am_bridge.violations import Violations
from vmoc.errors import FOREIGN_VLAN, Refused
from vmoc.model import Attachment, Origin, Segment, Slice
from vmoc.registry import PlanRejectedError, Registry
from vmoc.v1 import server_pb2, server_pb2_grpc
from vmoc.v1.slivers_pb2 import HandlerFailure

M = TypeVar("M", bound=Message)


def detail(status: status_pb2.Status, kind: Callable[[], M]) -> M | None:
    found = kind()
    return found if any(packed.Unpack(found) for packed in status.details) else None


@pytest.mark.parametrize("reason", API_REASONS.values(), ids=API_REASONS)
def test_every_reason_survives_the_way(reason: reasons.ApiReason) -> None:
    status = to_status(ApiError(reason, metadata={"slice": "a"}))
    assert status.code == reason.status.value[0] != 0
    assert status.message == reason.summary
    info = detail(status, error_details_pb2.ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.code, "vmoc", {"slice": "a"})
    back = from_status(status_pb2.Status.FromString(status.SerializeToString()))
    assert back.reason is reason
    assert back.metadata == {"slice": "a"}


def test_reasons_are_named_and_worded_alike() -> None:
    for code, reason in API_REASONS.items():
        assert code == reason.code == code.upper()
        assert reason.summary[0].islower()
        assert reason.summary[-1] != "."


def test_violations_and_retry_come_back() -> None:
    error = ApiError(reasons.FIELD_INVALID, "x", violations=[("a.b[0]", "no")], retry=RetryAfter(1.5))
    back = from_status(to_status(error))
    assert back.violations == (("a.b[0]", "no"),)
    assert back.retry == RetryAfter(1.5)


def test_further_details_are_kept() -> None:
    failure = HandlerFailure(playbook="p", task="t", rc=2)
    status = to_status(ApiError(reasons.HANDLER_FAILED, details=[failure]))
    assert detail(status, HandlerFailure) == failure


@given(st.integers(1, 5000), st.text(min_size=1, max_size=300), st.text(max_size=2000))
def test_nothing_grows_beyond_a_calls_metadata(count: int, path: str, text: str) -> None:
    problems = Violations()
    for _ in range(count):
        problems.add(path, text)
    error = problems.error()
    error.metadata = {f"{path}{index}": text for index in range(20)}
    status = to_status(error)
    assert sum(packed.ByteSize() for packed in status.details) <= MOST_DETAILS
    assert detail(status, error_details_pb2.ErrorInfo) is not None
    bad = detail(status, error_details_pb2.BadRequest)
    if bad is not None:
        told = len(bad.field_violations)
        left = bad.field_violations[-1].description
        assert told == count or left == f"and {count - told + 1} more; mend these first"


def test_a_handler_failure_that_is_too_long_is_left_out_and_nothing_else() -> None:
    failure = HandlerFailure(output_tail=["x" * 1000] * 10)
    status = to_status(ApiError(reasons.HANDLER_FAILED, details=[failure]))
    assert detail(status, HandlerFailure) is None
    assert detail(status, error_details_pb2.ErrorInfo) is not None


def clashing(count: int) -> PlanRejectedError | ApiError:
    registry = Registry()
    theirs = [Slice(f"theirs{vlan}", (Segment(vlan, attachments=(Attachment(1),)),)) for vlan in range(1, count + 1)]
    registry.adopt(registry.plan(theirs, origin=Origin.API))
    ours = Slice("ours", tuple(Segment(vlan) for vlan in range(1, count + 1)))
    plan = registry.plan_change([ours], [], origin=Origin.API)
    return conflict_error(plan.conflicts, lambda name: name == "theirs1")


def test_a_clash_names_both_sides() -> None:
    error = clashing(1)
    assert isinstance(error, ApiError)
    assert error.reason is reasons.VLAN_OWNED_ELSEWHERE
    assert error.metadata == {
        "slice": "ours",
        "vlan": "1",
        "dpid": "0x0000000000000001",
        "other_slice": "theirs1",
        "other_vlan": "1",
        "conflicts": "1",
    }
    assert "slice theirs1, VLAN 1" in error.message


def test_who_may_not_know_the_other_slice_is_not_told() -> None:
    error = clashing(2)
    assert isinstance(error, ApiError)
    wire = to_status(error)
    failures = detail(wire, error_details_pb2.PreconditionFailure)
    assert failures is not None
    assert [one.subject for one in failures.violations] == ["slices/ours/segments/1", "slices/ours/segments/2"]
    assert b"theirs1" in wire.SerializeToString()
    assert b"theirs2" not in wire.SerializeToString()


def test_many_clashes_are_cut_to_what_fits() -> None:
    error = clashing(500)
    assert isinstance(error, ApiError)
    assert "(and 499 more)" in error.message
    wire = to_status(error)
    failures = detail(wire, error_details_pb2.PreconditionFailure)
    assert failures is not None
    assert 10 < len(failures.violations) < 500
    assert wire.ByteSize() < MOST_DETAILS + 600


def test_a_taken_id_is_another_status() -> None:
    registry = Registry()
    registry.adopt(registry.plan([Slice("a")], origin=Origin.FILE))
    plan = registry.plan_change([Slice("a")], [], origin=Origin.API)
    error = conflict_error(plan.conflicts, lambda _: False)
    assert (error.reason.code, error.reason.status) == ("NAME_TAKEN", grpc.StatusCode.ALREADY_EXISTS)


def test_what_was_not_foreseen_says_nothing_of_itself() -> None:
    error = api_error(RuntimeError("secret"))
    assert error.reason is reasons.BUG
    assert b"secret" not in to_status(error).SerializeToString()


def test_our_other_errors() -> None:
    refused = api_error(Refused(FOREIGN_VLAN, "VLAN 7"))
    assert (refused.reason.code, refused.reason.status) == ("foreign-vlan", grpc.StatusCode.PERMISSION_DENIED)
    assert refused.message == "VLAN 7"
    again = api_error(PlanRejectedError("x"))
    assert again.reason.status is grpc.StatusCode.ABORTED
    assert again.retry is not None


def test_damaged_and_foreign_details_do_no_harm() -> None:
    status = to_status(ApiError(reasons.NOT_OWNER, "text"))
    status.details[0].value = b"\xff\xff"
    back = from_status(status)
    assert (back.reason.status, back.message) == (grpc.StatusCode.PERMISSION_DENIED, "text")
    foreign = status_pb2.Status(code=5, message="gone")
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_OWNER", domain="example.org"))
    assert from_status(foreign).reason.status is grpc.StatusCode.NOT_FOUND


class Failing(server_pb2_grpc.ServerServiceServicer):
    """Ends every call with the same error."""

    def __init__(self, error: ApiError) -> None:
        self.error = error

    def GetServerInfo(self, request: server_pb2.GetServerInfoRequest, context: grpc.ServicerContext) -> None:
        context.abort_with_status(to_grpc(self.error))


@contextmanager
def serving(error: ApiError) -> Iterator[int]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server_pb2_grpc.add_ServerServiceServicer_to_server(Failing(error), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def test_the_longest_answer_passes_a_real_connection() -> None:
    problems = Violations()
    for index in range(5000):
        problems.add(f"slices[{index}].segments[0].vlan_id", "must be a VLAN 1 to 4094, not \N{SNOWMAN}" * 9)
    error = problems.error()
    error.metadata = {str(index): "x" * 999 for index in range(99)}
    with serving(error) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = server_pb2_grpc.ServerServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=20)
    back = from_rpc_error(caught.value)
    assert back.reason is reasons.FIELD_INVALID
    back_again = from_status(to_status(back))
    assert back_again.metadata == back.metadata
    assert 3 <= len(back.metadata) < 99
    assert 3 <= len(back.violations) < 100


def test_violations_pass_a_real_connection() -> None:
    problems = Violations()
    for index in range(40):
        problems.add(f"slices[{index}].segments[0].vlan_id", "must be a VLAN 1 to 4094, not 0")
    with serving(problems.error()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = server_pb2_grpc.ServerServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=20)
    assert from_rpc_error(caught.value).violations == tuple(problems.found)


def test_a_call_that_failed_on_its_way_is_an_error_too() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stub = server_pb2_grpc.ServerServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=20)
    back = from_rpc_error(caught.value)
    assert (back.reason.status, back.reason.code) == (grpc.StatusCode.UNAVAILABLE, ""), "not the server's word"
    assert from_rpc_error(grpc.RpcError("odd")).reason.status is grpc.StatusCode.UNKNOWN
