"""The client over a real channel: changes, refusals, restarts, other people, events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from am_bridge.client import (
    Change,
    ClosedError,
    ConflictError,
    Connected,
    Deadlines,
    Done,
    Drifted,
    DriftKind,
    Event,
    Gap,
    InvalidRequestError,
    NotFoundError,
    Report,
    Slice,
    TimedOutError,
    Trouble,
    UnreachableError,
    VmocClient,
)
from tests.am_bridge.client.simulated import slice_of
from tests.am_bridge.client.standin import Refusal, StandIn, info
from vmoc.v1 import events_pb2, resources_pb2, slices_pb2

A, B = slice_of("a", 10), slice_of("b", 20)
QUICK: dict[str, Any] = {"manager": "geni", "longest_wait": 0.2}


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_change_is_awaited_for_the_slice_as_the_server_has_it(stand_in: StandIn) -> None:
    async def story() -> tuple[Slice | None, Slice | None, Change]:
        async with VmocClient(stand_in.address, **QUICK) as client:
            made = await client.put(slice_of("a", 0))
            removal = client.remove("a")
            return made, await removal, removal

    made, gone, removal = run(story())
    assert made and made.segments[0].vlan == 1 and gone is None and removal.done
    (request,) = stand_in.requests(slices_pb2.RegisterSliceRequest)
    assert request.slice.manager == "geni" and len(request.request_id) == 32
    (request,) = stand_in.requests(slices_pb2.UnregisterSliceRequest)
    assert request.allow_missing and request.request_id


def test_a_refusal_reaches_the_owner_of_the_change_with_all_that_the_server_said(stand_in: StandIn) -> None:
    stand_in.server.slices["o"] = slice_of("o", 20, manager="other")

    async def story() -> None:
        async with VmocClient(stand_in.address, **QUICK) as client:
            with pytest.raises(ConflictError, match="VLAN 20 is slice o's") as caught:
                await client.put(B)
            error = caught.value
            assert error.reason == "VLAN_OWNED_ELSEWHERE" and error.vlan == 20 and error.other_slice == "o"
            assert error.code == "FAILED_PRECONDITION" and not error.retryable
            await client.settled(5)
            assert not client.desired

    run(story())


def test_a_slice_of_wrong_fields_says_which(stand_in: StandIn) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="slice.owner", description="must be at most 256 characters")

    def refuse(_: Any) -> Any:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "slice.owner: too long", info("FIELD_INVALID"), bad)

    stand_in.rpc.on("SliceService/RegisterSlice", refuse)

    async def story() -> None:
        async with VmocClient(stand_in.address, **QUICK) as client:
            with pytest.raises(InvalidRequestError) as caught:
                await client.put(A)
            assert caught.value.violations == (("slice.owner", "must be at most 256 characters"),)

    run(story())


def test_many_slices_at_once_are_one_sync(stand_in: StandIn) -> None:
    stand_in.server.slices["old"] = slice_of("old", 1)

    async def story() -> None:
        wanted = [slice_of(f"s{n:03}", n) for n in range(1, 101)]
        async with VmocClient(stand_in.address, desired=wanted, **QUICK) as client:
            await client.settled(10)
            assert len(client.desired) == 100 and client.is_settled

    run(story())
    assert set(stand_in.server.slices) == {f"s{n:03}" for n in range(1, 101)}
    (sync,) = stand_in.requests(slices_pb2.SyncSlicesRequest)
    assert sync.manager == "geni" and len(sync.slices) == 100


def test_changes_are_kept_while_there_is_no_server(nobody: str) -> None:
    reports: list[Report] = []

    async def story() -> None:
        async with VmocClient(nobody, on_report=reports.append, **QUICK) as client:
            change = client.put(A)
            await until(lambda: any(isinstance(report, Trouble) for report in reports))
            with pytest.raises(TimeoutError):
                await client.settled(0.01)
            assert not change.done
            with pytest.raises(UnreachableError):
                await client.server()

    run(story())
    assert all(isinstance(report, Trouble) and isinstance(report.error, UnreachableError) for report in reports)


def test_what_is_not_made_when_the_client_closes_fails(nobody: str) -> None:
    async def story() -> None:
        async with VmocClient(nobody, **QUICK) as client:
            change = client.put(A)
        with pytest.raises(ClosedError):
            await change
        with pytest.raises(ClosedError):
            client.put(A)
        with pytest.raises(ClosedError):
            await client.server()
        with pytest.raises(ClosedError):
            VmocClient().put(A)

    run(story())


def test_a_restarted_server_gets_everything_again(stand_in: StandIn) -> None:
    reports: list[Report] = []

    async def story() -> None:
        async with VmocClient(stand_in.address, desired=[A, B], on_report=reports.append, **QUICK) as client:
            await client.settled(5)
            await until(stand_in.streaming.is_set)
            stand_in.server.restart(forget=True)
            stand_in.cut()
            await until(lambda: len(stand_in.server.slices) == 2)
            await client.settled(5)

    run(story())
    assert Connected("1", restarted=False) in reports and Connected("2", restarted=True) in reports
    assert reports.count(Done("a", A)) == 2


def test_a_call_that_hangs_ends_at_its_deadline_and_is_made_again(stand_in: StandIn) -> None:
    stuck = iter([True])
    answer = stand_in._register

    def register(request: Any) -> Any:
        if next(stuck, False):
            time.sleep(0.6)
        return answer(request)

    stand_in.rpc.on("SliceService/RegisterSlice", register)
    reports: list[Report] = []

    async def story() -> None:
        deadlines = Deadlines(one=0.3)
        async with VmocClient(stand_in.address, deadlines=deadlines, on_report=reports.append, **QUICK) as client:
            assert await client.put(A)

    run(story())
    first, second = stand_in.requests(slices_pb2.RegisterSliceRequest)
    assert first.request_id == second.request_id
    assert any(isinstance(report, Trouble) and isinstance(report.error, TimedOutError) for report in reports)


def test_a_slice_somebody_else_removed_is_noticed_by_its_event(stand_in: StandIn) -> None:
    reports: list[Report] = []

    async def story() -> None:
        async with VmocClient(stand_in.address, desired=[A, B], on_report=reports.append, **QUICK) as client:
            await client.settled(5)
            await until(stand_in.streaming.is_set)
            del stand_in.server.slices["a"]
            stand_in.slice_event(resources_pb2.CHANGE_KIND_REMOVED, A)
            await until(lambda: "a" in stand_in.server.slices)
            stand_in.slice_event(resources_pb2.CHANGE_KIND_REMOVED, slice_of("z", 9, manager="other"))
            await client.settled(5)

    run(story())
    assert Drifted("a", DriftKind.REMOVED, None, restored=True) in reports
    assert [request.slice_id for request in stand_in.requests(slices_pb2.GetSliceRequest)] == ["a"]


def test_a_slice_too_large_for_its_event_is_looked_at(stand_in: StandIn) -> None:
    async def story() -> None:
        async with VmocClient(stand_in.address, desired=[A, B], **QUICK) as client:
            await client.settled(5)
            await until(stand_in.streaming.is_set)
            stand_in.server.slices["a"] = replace(A, owner="somebody")
            stand_in.slice_event(resources_pb2.CHANGE_KIND_CHANGED, A, large=True)
            await until(lambda: stand_in.server.slices["a"].owner == A.owner)

    run(story())
    assert [request.slice_id for request in stand_in.requests(slices_pb2.GetSliceRequest)] == ["a"]


def test_a_slice_given_to_another_manager_is_noticed(stand_in: StandIn) -> None:
    async def story() -> None:
        async with VmocClient(stand_in.address, desired=[A, B], **QUICK) as client:
            await client.settled(5)
            await until(stand_in.streaming.is_set)
            stand_in.server.slices["a"] = replace(A, manager="other")
            stand_in.slice_event(resources_pb2.CHANGE_KIND_CHANGED, stand_in.server.slices["a"])
            await until(lambda: bool(stand_in.requests(slices_pb2.GetSliceRequest)))

    run(story())


def test_or_by_the_audit_if_no_event_told(stand_in: StandIn) -> None:
    async def story() -> None:
        async with VmocClient(stand_in.address, desired=[A], audit=0.05, **QUICK) as client:
            await client.settled(5)
            del stand_in.server.slices["a"]
            await until(lambda: "a" in stand_in.server.slices)

    run(story())


def test_a_callback_that_fails_stops_nothing(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    def fail(report: Report) -> None:
        raise RuntimeError(str(report))

    async def story() -> None:
        async with VmocClient(stand_in.address, on_report=fail, **QUICK) as client:
            assert await client.put(A)

    run(story())
    assert "on_report failed" in caplog.text


def test_reading(stand_in: StandIn) -> None:
    for n in range(1, 6):
        stand_in.server.slices[f"s{n}"] = slice_of(f"s{n}", n, manager="geni" if n % 2 else "other")

    async def story() -> None:
        async with VmocClient(stand_in.address, **QUICK) as client:
            assert [one.slice.id async for one in client.slices()] == ["s1", "s2", "s3", "s4", "s5"]
            assert [one.slice.id async for one in client.slices(manager="other")] == ["s2", "s4"]
            one = await client.get("s2")
            assert one.slice == slice_of("s2", 2, manager="other") and one.etag == "e1"
            with pytest.raises(NotFoundError) as caught:
                await client.get("nobody")
            assert caught.value.reason == "SLICE_NOT_FOUND"
            server = await client.server()
            assert (server.version, server.state, server.role, server.manager) == ("1.2.3", "ready", "am", "geni")

    run(story())


# -- events ------------------------------------------------------------------------------------------------------------


def test_events_go_on_where_the_stream_broke(stand_in: StandIn) -> None:
    async def story() -> list[Event | Gap]:
        got: list[Event | Gap] = []
        async with VmocClient(stand_in.address, **QUICK) as client:
            await client.settled(5)
            await until(stand_in.streaming.is_set)  # the client's own stream
            before = len(stand_in.streams)
            events = client.events(kinds=["switch"])
            first = asyncio.ensure_future(anext(events))
            await until(lambda: len(stand_in.streams) > before)
            stand_in.tell(kind=events_pb2.EVENT_KIND_SWITCH, name="switch-up", dpid="0x00000000000000aa", vlan_id=3)
            got.append(await first)
            second = asyncio.ensure_future(anext(events))
            stand_in.cut(Refusal(grpc.StatusCode.UNAVAILABLE, "gone"))
            await until(lambda: len(stand_in.streams) > before)
            stand_in.tell(kind=events_pb2.EVENT_KIND_SWITCH, name="switch-down")
            got.append(await second)
            await events.aclose()
        return got

    up, down = run(story())
    assert isinstance(up, Event) and isinstance(down, Event)
    assert (up.kind, up.name, up.dpid, up.vlan, up.time) == ("switch", "switch-up", 0xAA, 3, 7.0)
    assert down.name == "switch-down"
    switches = [
        r for r in stand_in.requests(events_pb2.WatchEventsRequest) if r.kinds == [events_pb2.EVENT_KIND_SWITCH]
    ]
    assert [request.resume_token for request in switches] == ["", "t1"]


def test_a_token_that_is_too_old_is_a_gap_and_the_stream_goes_on(stand_in: StandIn) -> None:
    watch = stand_in._watch

    def choose(request: Any) -> Any:
        if request.resume_token == "old":
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "no longer kept", info("RESUME_TOKEN_EXPIRED"))
        return watch(request)

    stand_in.rpc.on("EventService/WatchEvents", choose)

    async def story() -> list[Event | Gap]:
        async with VmocClient(stand_in.address, **QUICK) as client:
            await until(stand_in.streaming.is_set)
            before = len(stand_in.streams)
            events = client.events(resume_token="old")
            got = [await anext(events)]
            following = asyncio.ensure_future(anext(events))
            await until(lambda: len(stand_in.streams) > before)
            stand_in.tell(name="switch-up")
            got.append(await following)
            await events.aclose()
            return got

    gap, event = run(story())
    assert gap == Gap("no longer kept") and isinstance(event, Event)


def test_events_that_are_refused_raise(stand_in: StandIn) -> None:
    def refuse(_: Any) -> Any:
        raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "not for you", info("ROLE_FORBIDS"))

    stand_in.rpc.on("EventService/WatchEvents", refuse)

    async def story() -> None:
        async with VmocClient(stand_in.address, **QUICK) as client:
            with pytest.raises(Exception, match="not for you"):
                await anext(client.events())
            with contextlib.suppress(TimeoutError):
                assert await client.put(A)  # slices are kept all the same

    run(story())
    assert "a" in stand_in.server.slices


def test_an_unknown_kind_of_event_is_an_error(nobody: str) -> None:
    async def story() -> None:
        async with VmocClient(nobody, **QUICK) as client:
            with pytest.raises(ValueError, match="EVENT_KIND_COFFEE"):
                await anext(client.events(kinds=["coffee"]))

    run(story())


@pytest.mark.parametrize("turns", range(8))
def test_it_closes_also_while_it_is_being_woken(stand_in: StandIn, turns: int) -> None:
    """Asyncio's ``wait_for`` swallows a cancellation that comes together with what it waits for."""

    async def story() -> None:
        client = VmocClient(stand_in.address, **QUICK)
        await client.__aenter__()
        await client.settled(10)
        await asyncio.sleep(0.05)
        client._wake.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(client.close(), 5)

    run(story())
