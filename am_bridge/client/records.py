"""What the server tells, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.convert import read_slice
from am_bridge.violations import Violations
from vmoc.model import Limits, Origin, Slice, parse_dpid
from vmoc.v1 import events_pb2, resources_pb2, server_pb2, slices_pb2


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """The connection of a virtual datapath to one of its controllers. ``state`` is as in "active" or "backoff"."""

    address: str
    state: str
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class DatapathStatus:
    """A segment on a switch. ``state`` is as in "active", "pending" or "failed"; ``detail`` says why."""

    dpid: int
    vlan: int
    presented_dpid: int | None
    state: str
    detail: str = ""
    controllers: tuple[ControllerStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """A slice on the server. Times are seconds since the epoch; ``datapaths`` is empty unless the status was asked."""

    slice: Slice
    etag: str = ""
    create_time: float | None = None
    update_time: float | None = None
    datapaths: tuple[DatapathStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The server and who it thinks the caller is. ``role`` and ``state`` are as in "admin" and "ready"."""

    version: str
    boot_id: str
    state: str
    features: tuple[str, ...]
    openflow_listeners: tuple[str, ...]
    caller: str
    role: str
    manager: str
    max_batch_slices: int
    max_sync_slices: int
    server_time: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``name`` is one of docs/events.md, ``kind`` its class, such as "slice".

    ``details`` are the event's own, named as in ``proto/vmoc/v1/events.proto``. ``resume_token`` continues the stream
    after it.
    """

    time: float
    kind: str
    name: str
    message: str
    slice_id: str = ""
    vlan: int = 0
    dpid: int | None = None
    initial: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    resume_token: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were missed here: what is known from events must be asked for anew. What follows is news again."""

    reason: str


def slice_of(message: resources_pb2.Slice) -> Slice:
    """The slice in an answer."""
    # Answers are taken as they are: what a later server allows isn't this client's to refuse.
    one = read_slice(message, Limits(), "slice", Violations()).slice
    if message.origin == resources_pb2.SLICE_ORIGIN_FILE:
        object.__setattr__(one, "origin", Origin.FILE)  # it is ours alone yet, and replace() costs as much again
    return one


def slice_record(message: resources_pb2.Slice) -> SliceRecord:
    """A slice with all that an answer says of it."""
    return SliceRecord(
        slice_of(message),
        message.etag,
        seconds(message.create_time) if message.HasField("create_time") else None,
        seconds(message.update_time) if message.HasField("update_time") else None,
        tuple(_datapath(one) for one in message.status.virtual_datapaths),
    )


def _datapath(one: resources_pb2.VirtualDatapath) -> DatapathStatus:
    return DatapathStatus(
        dpid=parse_dpid(one.dpid),
        vlan=one.vlan_id,
        presented_dpid=parse_dpid(one.presented_dpid) if one.presented_dpid else None,
        state=_word(resources_pb2.VirtualDatapathState.Name, one.state),
        detail=one.detail,
        controllers=tuple(
            ControllerStatus(
                each.address, _word(resources_pb2.ControllerConnectionState.Name, each.state), each.last_error
            )
            for each in one.controllers
        ),
    )


def server_record(message: server_pb2.ServerInfo) -> ServerRecord:
    """GetServerInfo's answer."""
    return ServerRecord(
        version=message.version,
        boot_id=message.boot_id,
        state=_word(server_pb2.ServerState.Name, message.state),
        features=tuple(message.features),
        openflow_listeners=tuple(message.openflow_listeners),
        caller=message.caller.name,
        role=_word(server_pb2.CallerRole.Name, message.caller.role),
        manager=message.caller.manager,
        max_batch_slices=message.request_limits.max_batch_slices,
        max_sync_slices=message.request_limits.max_sync_slices,
        server_time=seconds(message.server_time),
    )


def event_of(answer: events_pb2.WatchEventsResponse) -> Event:
    """The event in an answer that has one."""
    told = answer.event
    kind = told.WhichOneof("detail")
    return Event(
        time=seconds(told.event_time),
        kind=_word(events_pb2.EventKind.Name, told.kind),
        name=told.name,
        message=told.message,
        slice_id=told.slice_id,
        vlan=told.vlan_id,
        dpid=parse_dpid(told.dpid) if told.dpid else None,
        initial=told.initial,
        details=MessageToDict(getattr(told, kind), preserving_proto_field_name=True) if kind else {},
        resume_token=answer.resume_token,
    )


def vlans_of(answer: slices_pb2.ListVlansResponse) -> list[int]:
    """The VLANs of ListVlans."""
    return [one.vlan_id for one in answer.vlans]


def seconds(time: Timestamp) -> float:
    """Since the epoch."""
    return float(time.seconds + time.nanos / 1e9)


_PREFIXES = (
    "VIRTUAL_DATAPATH_STATE_",
    "CONTROLLER_CONNECTION_STATE_",
    "SERVER_STATE_",
    "CALLER_ROLE_",
    "EVENT_KIND_",
)


def _word(name: Any, number: int) -> str:
    """ "active" for VIRTUAL_DATAPATH_STATE_ACTIVE; a number for a value that a later server has."""
    try:
        word: str = name(number)
    except ValueError:
        return str(number)
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word.lower().replace("_", "-")
