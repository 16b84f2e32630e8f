"""EventService over loopback: the real ring of events, at a reader's own speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from am_bridge import gate
from am_bridge.auth import Caller, Role
from am_bridge.services.happenings import GROUPS, Teller
from am_bridge.status import from_rpc_error
from tests.am_bridge.api import NOW, Api, a_summary
from tests.am_bridge.services.test_switches import Whoever
from tests.emulation import wait_until
from tests.emulation import wire as of
from vmoc.events import Event, Kind
from vmoc.status import DatapathStatus, Lifecycle, SliceStatus, SwitchStatus
from vmoc.telemetry.stream import Group, Happened
from vmoc.telemetry.summary import summarise
from vmoc.v1 import events_pb2 as m
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import switches_pb2 as s

CAPACITY = 50


@pytest.fixture
def whoever() -> Whoever:
    return Whoever()


@pytest.fixture
def api(whoever: Whoever) -> Iterator[Api]:
    running = Api(callers=whoever, capacity=CAPACITY, heartbeat=0.2)
    yield running
    running.close()


class Reader:
    """One stream."""

    def __init__(self, api: Api, **request: Any) -> None:
        self.token = ""
        self._call = api.events.WatchEvents(m.WatchEventsRequest(**request), timeout=20)
        assert api.rack.watching.acquire(timeout=10), "the stream has begun"

    def next(self) -> m.WatchEventsResponse:
        answer: m.WatchEventsResponse = next(self._call)
        self.token = answer.resume_token
        return answer

    def names(self) -> list[str]:
        """Names of the events up to the next heartbeat, or the end of the initial state."""
        found: list[str] = []
        while (answer := self.next()).HasField("event"):
            found.append(f"{answer.event.name}:{answer.event.slice_id}")
        return found

    def failure(self) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            self.drain()
        error = from_rpc_error(caught.value)
        assert error.reason.status is caught.value.code()
        return error.reason.code

    def drain(self) -> None:
        while True:
            self.next()

    def cancel(self) -> None:
        self._call.cancel()


def record(api: Api, *names: str, kind: Kind = Kind.SLICE_ADDED, **fields: Any) -> None:
    for name in names:
        api.rack.log.record(Event(kind, slice=name or None, **fields))


def test_the_backlog_then_a_heartbeat_then_news(api: Api) -> None:
    record(api, "a", "b")
    reader = Reader(api, resume_token="earliest")
    assert reader.names() == ["slice-added:a", "slice-added:b"]
    assert reader.token == "boot.2"
    record(api, "c")
    assert reader.names() == ["slice-added:c"]
    reader.cancel()
    resumed = Reader(api, resume_token="boot.1")
    assert resumed.names() == ["slice-added:b", "slice-added:c"]
    fresh = Reader(api)
    assert fresh.names() == [] and fresh.token == "boot.3", "at once, and says where it is"
    assert fresh.names() == [], "and again while nothing happens"


def test_conditions_are_all_kept(api: Api) -> None:
    record(api, "a", "b")
    record(api, "a", kind=Kind.CONTROLLER_LOST, dpid=1, controller="tcp:x:1")
    record(api, "a", kind=Kind.CONTROLLER_LOST, dpid=2, controller="tcp:x:1")
    record(api, "", kind=Kind.SWITCH_UP, dpid=1)
    conditions: list[tuple[dict[str, Any], list[str]]] = [
        ({"slice_ids": ["b"]}, ["slice-added:b"]),
        ({"kinds": [m.EVENT_KIND_CONTROLLER_CONNECTION]}, ["controller-lost:a"] * 2),
        ({"dpids": ["0x1"]}, ["controller-lost:a", "switch-up:"]),
        ({"dpids": ["0x2"], "slice_ids": ["a", "b"], "kinds": [m.EVENT_KIND_SLICE]}, []),
    ]
    for condition, expected in conditions:
        assert Reader(api, resume_token="earliest", **condition).names() == expected, condition


def test_an_old_token_is_expired_and_a_wrong_one_invalid(api: Api) -> None:
    record(api, *("x" for _ in range(3 * CAPACITY)))
    assert Reader(api, resume_token="boot.1").failure() == "RESUME_TOKEN_EXPIRED"
    assert Reader(api, resume_token="another.120").failure() == "RESUME_TOKEN_EXPIRED", "the server was restarted"
    assert len(Reader(api, resume_token="earliest").names()) == CAPACITY
    for wrong in ("nonsense", f"boot.{3 * CAPACITY + 1}", "boot.-1"):
        call = api.events.WatchEvents(m.WatchEventsRequest(resume_token=wrong))
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert from_rpc_error(caught.value).reason.code == "RESUME_TOKEN_INVALID", wrong
        assert from_rpc_error(caught.value).violations[0][0] == "resume_token"


def test_a_reader_that_is_overrun_is_told_so(api: Api) -> None:
    reader = Reader(api)
    reader.names()
    # In one go on this thread, which has the interpreter: the stream's loop gets to see the last ones only.
    big = "x" * 100
    for _ in range(200):
        record(api, *(big for _ in range(CAPACITY * 4)))
    assert reader.failure() == "SLOW_READER"


def test_who_does_not_read_loses_its_stream_and_nobody_else_notices(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LONGEST_WRITE", 1.5)
    deaf, keen = Reader(api, kinds=[m.EVENT_KIND_REFUSAL]), Reader(api, kinds=[m.EVENT_KIND_REFUSAL])
    deaf.next()
    keen.names()
    text = "x" * 50_000
    ended = api.rack.events
    for _ in range(2000):  # more than fits between the two
        api.rack.log.record(Event(Kind.REFUSED, slice="a", message=text))
        while not keen.next().HasField("event"):
            pass
        if len(ended._readers) == 1:
            break
    assert len(ended._readers) == 1
    assert deaf.failure() == "SLOW_READER"


def test_the_initial_state_then_news(api: Api) -> None:
    api.rack.known[1] = SwitchStatus(a_summary(1), (), ())
    datapath = DatapathStatus("a", 100, 1, 0, 1, Lifecycle.FAILED, "ready", "no luck", None)
    api.rack.statuses["a"] = SliceStatus("a", True, (datapath,), {})
    record(api, "a")
    reader = Reader(api, include_initial_state=True)
    first, second, done = reader.next(), reader.next(), reader.next()
    assert (
        first.event.initial and first.event.name == "switch-up" and first.event.switch.switch.state == s.SWITCH_STATE_UP
    )
    assert second.event.initial and second.event.message == "virtual datapath is failed: no luck"
    assert second.event.event_time.seconds == NOW, "who knows no time says now"
    state = second.event.virtual_datapath.virtual_datapath.state
    assert state == pb.VIRTUAL_DATAPATH_STATE_FAILED
    assert done.initial_state_done and done.resume_token == "boot.1"
    assert reader.names() == []
    record(api, "b")
    assert reader.names() == ["slice-added:b"]
    assert Reader(api, include_initial_state=True, resume_token="boot.1").names() == ["slice-added:b"]


def test_an_aggregate_manager_sees_its_own_and_what_is_nobodys(api: Api, whoever: Whoever) -> None:
    api.register("mine", 100, manager="am")
    api.register("other", 101, manager="else")
    whoever.caller = Caller("cert", Role.AM, "am")
    reader = Reader(api)
    reader.names()
    record(api, "mine", "other")
    record(api, "", kind=Kind.SWITCH_UP, dpid=1)
    record(api, "mine", kind=Kind.CALL, detail={"identity": "cert"})
    record(api, "mine", kind=Kind.CALL, detail={"identity": "root"})
    record(api, "", kind=Kind.CALL, detail={"identity": "root"})
    record(api, "", kind=Kind.OPERATION_ENDED)
    assert reader.names() == ["slice-added:mine", "switch-up:", "call:mine"]
    whoever.caller = Caller("root", Role.ADMIN)
    api.register("late", 102, manager="am")
    record(api, "late", kind=Kind.CONTROLLER_CONNECTED)
    api.book.unregister(["mine"])
    record(api, "mine", kind=Kind.CONTROLLER_LOST)
    record(api, "mine", kind=Kind.SLICE_REMOVED, detail={"manager": "am"})
    record(api, "other", kind=Kind.SLICE_REMOVED, detail={"manager": "else"})
    assert reader.names() == ["controller-connected:late", "controller-lost:mine", "slice-removed:mine"]
    api.now = NOW + 100
    api.register("mine", 100, manager="else")
    record(api, "mine")
    assert reader.names() == [], "the name is somebody else's now"
    api.book.unregister(["mine"])
    api.register("mine", 100, manager="am")
    record(api, "mine")
    assert reader.names() == [], "that was recorded before this slice was made"
    record(api, "late", kind=Kind.DPID_COLLISION, message="VLAN 9 of other")
    answer = reader.next()
    assert "other" not in answer.event.message and answer.event.name == "dpid-collision"


def test_a_filter_out_of_range_is_refused_with_all_its_fields(api: Api) -> None:
    request = m.WatchEventsRequest(slice_ids=["ok", "no way"], dpids=["nine"], kinds=[m.EVENT_KIND_SLICE, 99])  # type: ignore[list-item]
    with pytest.raises(grpc.RpcError) as caught:
        next(api.events.WatchEvents(request))
    assert [path for path, _ in from_rpc_error(caught.value).violations] == ["slice_ids[1]", "dpids[0]", "kinds[1]"]
    with pytest.raises(grpc.RpcError) as caught:
        next(api.events.WatchEvents(m.WatchEventsRequest(slice_ids=["x"] * 1001)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_server_that_stops_says_so(api: Api) -> None:
    reader = Reader(api)
    reader.names()
    api.rack.events.close()
    assert reader.failure() == "SERVER_DRAINING"


def test_a_caller_that_goes_frees_its_place(api: Api) -> None:
    readers = [Reader(api) for _ in range(5)]
    for reader in readers:
        reader.names()
        reader.cancel()
    wait_until(lambda: not api.rack.events._readers, "end of all streams")


# ---- messages --------------------------------------------------------------------------------------------------------


def told(kind: Kind, raw: bytes = b"", **fields: Any) -> m.Event:
    event = Event(kind, slice="a", vlan=5, dpid=1, raw=raw, **fields)
    return Teller("boot", summarise).event(Happened("t", NOW, event), None, discreet=False)


def test_every_kind_has_its_details() -> None:
    assert set(GROUPS.values()) == set(Group) and set(GROUPS) == set(m.EventKind.values()) - {0}
    for kind in Kind:
        message = told(kind)
        assert message.WhichOneof("detail") and message.name == kind.value and message.message and message.kind, kind


def test_details_of_refusal_quota_port_and_state() -> None:
    raw = of.flow_mod(4, "add", of.match(4, in_port=1), of.output(4, 9), xid=1, priority=5)
    detail = {"error": "BAD_MATCH/BAD_FIELD", "error_type": 4, "error_code": 6}
    refusal = told(Kind.REFUSED, raw, reason="foreign-vlan", controller="tcp:x:1", detail=detail).refusal
    assert refusal.reason == "foreign-vlan" and refusal.message_summary.startswith("flow-mod add ")
    assert (refusal.openflow_error.type, refusal.openflow_error.code, refusal.address) == (4, 6, "tcp:x:1")
    quota = told(Kind.QUOTA, detail={"limit": "max_flows", "value": 10, "count": 3}).quota
    assert (quota.limit, quota.value, quota.affected_count) == ("max_flows", 10, 3)
    port = told(Kind.PORT_CHANGED, detail={"port": 7, "name": "eth7", "change": "removed", "peer": "p"}).switch
    assert (port.port.port, port.port_change, port.switch.peer) == (7, pb.CHANGE_KIND_REMOVED, "p")
    state = told(Kind.DATAPATH_STATE, detail={"state": "ready", "before": "flushing", "presented_dpid": 9})
    assert state.virtual_datapath.previous_state == pb.VIRTUAL_DATAPATH_STATE_FLUSHING
    assert state.virtual_datapath.virtual_datapath.presented_dpid == "0x0000000000000009"
    lost = told(Kind.CONTROLLER_LOST, controller="tcp:x:1", message="reset").controller_connection
    assert lost.previous_state == pb.CONTROLLER_CONNECTION_STATE_ACTIVE and lost.connection.last_error == "reset"
    expiring = told(Kind.SLICE_EXPIRING, detail={"expire_time": NOW + 9}).slice
    assert expiring.expire_time.seconds == NOW + 9 and not expiring.HasField("slice")
    server = told(Kind.CONFIG_RELOADED, detail={"added": 3}).server
    assert server.boot_id == "boot" and server.details["added"] == "3"
    detail = {"operation": "0a", "sliver": "vm1", "verb": "create", "state": "running", "by": "cert"}
    operation = told(Kind.OPERATION_GOES_ON, detail=detail).operation
    assert operation.operation_name == "operations/0a" and not operation.done
    assert (operation.metadata.verb, operation.metadata.phase) == (v.VERB_CREATE, v.OPERATION_PHASE_RUNNING)
    ended = told(Kind.OPERATION_ENDED, detail=detail | {"verb": "reboot"}, message="no luck").operation
    assert (ended.metadata.action, ended.done, ended.error) == ("reboot", True, "no luck")
    broken = told(Kind.SWITCH_DOWN, message="bad \udcff byte", detail={"peer": "\ud800"})
    assert broken.SerializeToString() and "bad ? byte" in broken.message
