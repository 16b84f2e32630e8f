"""Events, and what is at the beginning of a stream of them, as messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from am_bridge.fields import to_timestamp
from am_bridge.services.told import LIFECYCLES, datapath_message, entry_message, summary_message
from vmoc.events import Event, Kind
from vmoc.ledger import Entry
from vmoc.model import format_dpid
from vmoc.status import DatapathStatus, SwitchSummary
from vmoc.telemetry.events import TITLES, headline
from vmoc.telemetry.stream import Group, Happened
from vmoc.v1 import events_pb2 as m
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import switches_pb2 as s

GROUPS: Final[dict[int, Group]] = {
    m.EVENT_KIND_SLICE: Group.SLICE,
    m.EVENT_KIND_VIRTUAL_DATAPATH: Group.SEGMENT,
    m.EVENT_KIND_SWITCH: Group.SWITCH,
    m.EVENT_KIND_CONTROLLER_CONNECTION: Group.CONTROLLER,
    m.EVENT_KIND_REFUSAL: Group.REFUSAL,
    m.EVENT_KIND_QUOTA: Group.QUOTA,
    m.EVENT_KIND_OPERATION: Group.OPERATION,
    m.EVENT_KIND_SERVER: Group.SERVER,
}
MOST_SEGMENTS: Final = 100
"""Of a slice that is told with its event."""
_KINDS: Final[dict[Group, Any]] = {group: kind for kind, group in GROUPS.items()}
_CHANGES: Final = {
    Kind.SLICE_ADDED: pb.CHANGE_KIND_ADDED,
    Kind.SLICE_CHANGED: pb.CHANGE_KIND_CHANGED,
    Kind.SLICE_REMOVED: pb.CHANGE_KIND_REMOVED,
    Kind.SLICE_EXPIRED: pb.CHANGE_KIND_REMOVED,
}
_PORT_CHANGES: Final = {
    "added": pb.CHANGE_KIND_ADDED,
    "changed": pb.CHANGE_KIND_CHANGED,
    "removed": pb.CHANGE_KIND_REMOVED,
}
# The core's words for a virtual datapath's states; whether a controller is there is told by other events.
_STATES: Final = {str(word): state for word, state in LIFECYCLES.items()} | {
    "ready": pb.VIRTUAL_DATAPATH_STATE_CONNECTING,
    "gone": pb.VIRTUAL_DATAPATH_STATE_DRAINING,
}
_SWITCH_STATES: Final = {
    Kind.SWITCH_UP: s.SWITCH_STATE_UP,
    Kind.SWITCH_CONNECTED: s.SWITCH_STATE_CONNECTING,
    Kind.SWITCH_DOWN: s.SWITCH_STATE_DISCONNECTED,
    Kind.SWITCH_REFUSED: s.SWITCH_STATE_DISCONNECTED,
}
_CONNECTING: Final = pb.CONTROLLER_CONNECTION_STATE_CONNECTING
_ACTIVE: Final = pb.CONTROLLER_CONNECTION_STATE_ACTIVE
_BACKOFF: Final = pb.CONTROLLER_CONNECTION_STATE_BACKOFF
_CONNECTION_STATES: Final = {
    Kind.CONTROLLER_CONNECTED: (_CONNECTING, _ACTIVE),
    Kind.CONTROLLER_LOST: (_ACTIVE, _BACKOFF),
    Kind.CONTROLLER_FAILED: (_CONNECTING, _BACKOFF),
    Kind.VERSION_MISMATCH: (_CONNECTING, _BACKOFF),
}
# What these say may name other managers' slices.
_DISCREET: Final = frozenset(
    {Kind.FOREIGN_FLOW, Kind.DPID_COLLISION, Kind.SLICE_HELD, Kind.CONFIG_REJECTED, Kind.PIPELINE}
)


class Teller:
    """Writes events out. ``summarise`` puts a refused message in one line; ``boot_id`` is the server's."""

    def __init__(self, boot_id: str, summarise: Callable[[bytes], str]) -> None:
        self._boot_id = boot_id
        self._summarise = summarise

    def event(self, happened: Happened, entry: Entry | None, *, discreet: bool) -> m.Event:
        """An event; ``entry`` is its slice as it is now. ``discreet``: others' slices are not named."""
        event = happened.event
        message = m.Event(
            event_time=to_timestamp(happened.time),
            kind=_KINDS[happened.group],
            name=event.kind.value,
            message=_text(TITLES[event.kind] if discreet and event.kind in _DISCREET else _sentence(event)),
            slice_id=event.slice or "",
            vlan_id=event.vlan or 0,
            dpid=format_dpid(event.dpid) if event.dpid is not None else "",
        )
        match happened.group:
            case Group.SLICE:
                message.slice.CopyFrom(_of_slice(event, entry))
            case Group.SEGMENT:
                message.virtual_datapath.CopyFrom(_of_datapath(happened))
            case Group.SWITCH:
                message.switch.CopyFrom(_of_switch(happened))
            case Group.CONTROLLER:
                message.controller_connection.CopyFrom(_of_connection(happened))
            case Group.REFUSAL:
                message.refusal.CopyFrom(self._of_refusal(event))
            case Group.QUOTA:
                message.quota.CopyFrom(_of_quota(event.detail))
            case Group.SERVER:
                details = {key: _text(str(value)) for key, value in event.detail.items()}
                message.server.CopyFrom(m.ServerEvent(boot_id=self._boot_id, details=details))
            case Group.OPERATION:
                message.operation.CopyFrom(_of_operation(event))
        return message

    def _of_refusal(self, event: Event) -> m.RefusalEvent:
        detail = event.detail
        told = m.RefusalEvent(
            reason=event.reason or "",
            message_summary=_text(self._summarise(event.raw)) or _text(str(detail.get("message", ""))),
            address=_text(event.controller or str(detail.get("peer", ""))),
            count=1,
        )
        if "error_type" in detail:
            error = m.OpenFlowError(name=str(detail.get("error", "")).partition(" ")[0])
            error.type, error.code = _number(detail, "error_type"), _number(detail, "error_code")
            told.openflow_error.CopyFrom(error)
        return told


def switch_state(one: SwitchSummary, now: float) -> m.Event:
    """A switch as it is; ``now`` is seconds since the epoch."""
    kind = Kind.SWITCH_UP if one.up else Kind.SWITCH_CONNECTED if one.connected else Kind.SWITCH_DOWN
    return m.Event(
        event_time=to_timestamp(one.since or now),
        kind=m.EVENT_KIND_SWITCH,
        name=kind.value,
        message=TITLES[kind],
        dpid=format_dpid(one.dpid),
        initial=True,
        switch=m.SwitchEvent(switch=summary_message(one)),
    )


def datapath_state(one: DatapathStatus, now: float) -> m.Event:
    """A virtual datapath as it is."""
    reason = f": {one.reason}" if one.reason else ""
    return m.Event(
        event_time=to_timestamp(one.since or now),
        kind=m.EVENT_KIND_VIRTUAL_DATAPATH,
        name=Kind.DATAPATH_STATE.value,
        message=f"virtual datapath is {one.lifecycle}{reason}",
        slice_id=one.slice,
        vlan_id=one.vlan,
        dpid=format_dpid(one.dpid),
        initial=True,
        virtual_datapath=m.VirtualDatapathEvent(virtual_datapath=datapath_message(one)),
    )


def _sentence(event: Event) -> str:
    if event.kind is Kind.DATAPATH_STATE:
        return f"virtual datapath is {event.detail.get('state', event.reason)}" + (
            f": {event.message}" if event.message else ""
        )
    return headline(event)


def _of_slice(event: Event, entry: Entry | None) -> m.SliceEvent:
    told = m.SliceEvent(change=_CHANGES.get(event.kind, pb.CHANGE_KIND_UNSPECIFIED))
    if entry is not None and len(entry.slice.segments) <= MOST_SEGMENTS:
        told.slice.CopyFrom(entry_message(entry))
    expires = event.detail.get("expire_time")
    if isinstance(expires, float | int):
        told.expire_time.CopyFrom(to_timestamp(expires))
    return told


def _of_datapath(happened: Happened) -> m.VirtualDatapathEvent:
    event = happened.event
    states = {Kind.DPID_COLLISION: "colliding", Kind.TAINTED: "tainted"}
    state = states.get(event.kind) or str(event.detail.get("state", ""))
    shown = event.detail.get("presented_dpid")
    told = pb.VirtualDatapath(
        dpid=format_dpid(event.dpid) if event.dpid is not None else "",
        vlan_id=event.vlan or 0,
        slice_id=event.slice or "",
        presented_dpid=format_dpid(shown) if isinstance(shown, int) else "",
        state=_STATES.get(state, pb.VIRTUAL_DATAPATH_STATE_UNSPECIFIED),
        state_time=to_timestamp(happened.time),
    )
    before = _STATES.get(str(event.detail.get("before", "")), pb.VIRTUAL_DATAPATH_STATE_UNSPECIFIED)
    return m.VirtualDatapathEvent(virtual_datapath=told, previous_state=before)


def _of_switch(happened: Happened) -> m.SwitchEvent:
    event = happened.event
    told = m.SwitchEvent(reason=_text(event.reason or ""))
    told.switch.peer = _text(str(event.detail.get("peer", "")))
    if event.dpid is not None:
        told.switch.dpid = format_dpid(event.dpid)
    state = _SWITCH_STATES.get(event.kind)
    if state is not None:
        told.switch.state = state
        told.switch.state_time.CopyFrom(to_timestamp(happened.time))
    if event.kind is Kind.PORT_CHANGED:
        told.port.port = _number(event.detail, "port")
        told.port.name = _text(str(event.detail.get("name", "")))
        told.port_change = _PORT_CHANGES.get(str(event.detail.get("change")), pb.CHANGE_KIND_UNSPECIFIED)
    return told


def _of_connection(happened: Happened) -> m.ControllerConnectionEvent:
    event = happened.event
    before, state = _CONNECTION_STATES[event.kind]
    told = pb.ControllerConnection(
        address=event.controller or "",
        slice_id=event.slice or "",
        vlan_id=event.vlan or 0,
        dpid=format_dpid(event.dpid) if event.dpid is not None else "",
        state=state,
        state_time=to_timestamp(happened.time),
        last_error=_text(event.message) if state == _BACKOFF else "",
    )
    return m.ControllerConnectionEvent(connection=told, previous_state=before)


def _of_quota(detail: Mapping[str, object]) -> m.QuotaEvent:
    return m.QuotaEvent(
        limit=str(detail.get("limit", "")), value=_number(detail, "value"), affected_count=_number(detail, "count")
    )


def _of_operation(event: Event) -> m.OperationEvent:
    detail = event.detail
    over = event.kind is Kind.OPERATION_ENDED
    metadata = v.OperationMetadata(
        sliver_id=_text(str(detail.get("sliver", ""))),
        slice_id=event.slice or "",
        requester=_text(str(detail.get("by", ""))),
        phase=v.OPERATION_PHASE_DONE if over else _word(v.OperationPhase, "OPERATION_PHASE_", detail.get("state")),
    )
    verb = str(detail.get("verb", ""))
    metadata.verb = _word(v.Verb, "VERB_", verb)
    if metadata.verb == v.VERB_UNSPECIFIED:
        metadata.verb, metadata.action = v.VERB_ACTION, _text(verb)
    return m.OperationEvent(
        operation_name=_text(f"operations/{detail.get('operation', '')}"),
        metadata=metadata,
        done=over,
        error=_text(event.message),
    )


def _word(enum: EnumTypeWrapper, prefix: str, word: object) -> Any:
    """The value with that name; the unspecified one if there is none."""
    return dict(enum.items()).get(f"{prefix}{str(word).upper()}", 0)


def _number(detail: Mapping[str, object], key: str) -> int:
    value = detail.get(key)
    return value if isinstance(value, int) else 0


def _text(text: str) -> str:
    """Text of peers, as protobuf takes it."""
    return text.encode("utf-8", "replace").decode("utf-8")
