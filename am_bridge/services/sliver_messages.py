"""Slivers, operations and what they tell, as messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge import reasons
from am_bridge.fields import to_timestamp
from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.decode import encode
from am_bridge.handlers.handler import FailureKind, HandlerFailure, SliverState, Verb
from am_bridge.handlers.inventory import HOST_KEY
from am_bridge.handlers.operations import Event, Operation, OperationState, Sliver
from am_bridge.handlers.queue import Phase
from am_bridge.handlers.spec import SliverSpec
from am_bridge.handlers.spec_schema import spec_schema
from am_bridge.status import ApiError, to_status
from vmoc.v1 import slivers_pb2 as v

PREFIX: Final = "operations/"
IN_MESSAGE: Final = frozenset({"slice_id", "sliver_id", "resource_type", "host"})
"""Fields of a specification that are the message's own."""
VERBS: Final = {
    Verb.CREATE: v.VERB_CREATE,
    Verb.MODIFY: v.VERB_MODIFY,
    Verb.DELETE: v.VERB_DELETE,
    Verb.PROBE: v.VERB_PROBE,
    Verb.ACTION: v.VERB_ACTION,
    Verb.INVENTORY: v.VERB_RECONCILE,
}
_PHASES: Final = {
    Phase.QUEUED: v.OPERATION_PHASE_QUEUED,
    Phase.MAIN: v.OPERATION_PHASE_RUNNING,
    Phase.BACKOFF: v.OPERATION_PHASE_RETRYING,
    Phase.UNDO: v.OPERATION_PHASE_UNDOING,
    Phase.CHECK: v.OPERATION_PHASE_UNDOING,
}
_STATES: Final = {
    SliverState.PENDING: v.SLIVER_STATE_PENDING,
    SliverState.READY: v.SLIVER_STATE_ACTIVE,
    SliverState.STOPPED: v.SLIVER_STATE_STOPPED,
    SliverState.DEGRADED: v.SLIVER_STATE_FAILED,
    SliverState.ABSENT: v.SLIVER_STATE_FAILED,
    SliverState.FAILED: v.SLIVER_STATE_FAILED,
}
_WORKED_ON: Final = {
    Verb.CREATE: v.SLIVER_STATE_CREATING,
    Verb.MODIFY: v.SLIVER_STATE_MODIFYING,
    Verb.DELETE: v.SLIVER_STATE_DELETING,
}
TASKS: Final = {
    "task": v.TASK_STATE_STARTED,
    "ok": v.TASK_STATE_OK,
    "changed": v.TASK_STATE_CHANGED,
    "skipped": v.TASK_STATE_SKIPPED,
    "ignored": v.TASK_STATE_IGNORED,
    "failed": v.TASK_STATE_FAILED,
    "unreachable": v.TASK_STATE_UNREACHABLE,
}
"""Kinds of events that are about a task."""
_REASONS: Final = {
    FailureKind.TASK: reasons.HANDLER_FAILED,
    FailureKind.UNREACHABLE: reasons.HOST_UNREACHABLE,
    FailureKind.TIMEOUT: reasons.HANDLER_TIMEOUT,
    FailureKind.STOPPED: reasons.CANCELLED,
    FailureKind.CRASHED: reasons.HANDLER_FAILED,
    FailureKind.UNSUPPORTED: reasons.ACTION_UNSUPPORTED,
    FailureKind.INVALID: reasons.WRONG_STATE,
    FailureKind.EXHAUSTED: reasons.NO_CAPACITY,
    FailureKind.RESTARTED: reasons.SERVER_RESTARTED,
}
_MOST_LINES: Final = 20
_MOST_LINE: Final = 400


def sliver_message(one: Sliver, host: str, operation: Operation | None = None) -> v.Sliver:
    """A sliver; ``host`` is the one it is on if it names none, ``operation`` what works on it now."""
    spec = one.spec
    message = v.Sliver(
        sliver_id=spec.sliver_id,
        slice_id=spec.slice_id,
        resource_type=spec.resource_type,
        spec=spec_struct(spec),
        host=spec.host or host,
        generation=one.generation,
        etag=one.etag,
        create_time=_moment(one.create_time),
        update_time=_moment(one.update_time),
        expire_time=_moment(one.expire_time),
    )
    _fill_status(message.status, one, spec.host or host, operation)
    return message


def _fill_status(status: v.SliverStatus, one: Sliver, host: str, operation: Operation | None) -> None:
    status.state, since = _state(one, operation)
    status.state_time.CopyFrom(to_timestamp(since))
    status.observed_generation = one.generation
    result, failure = one.result, one.failure
    if result is not None:
        networks = {nic.name: nic.network for nic in one.spec.interfaces}
        status.instance = result.instance
        status.management_addresses.extend(result.management_addresses)
        facts = dict(result.facts)
        if result.logins:
            facts["logins"] = encode(result.logins)
        status.facts.CopyFrom(to_struct(facts))
        for card in result.interfaces:
            status.interfaces.add(
                network=networks.get(card.name, ""),
                dpid=card.dpid,
                port=max(0, card.port),
                mac_address=card.mac,
                ip_addresses=card.addresses,
                vlan_id=card.vlan,
                guest_name=card.name,
            )
        if failure is None and one.state in (SliverState.DEGRADED, SliverState.ABSENT, SliverState.FAILED):
            text = "; ".join(result.problems) or f"the handler says that it is {one.state}"
            failure = HandlerFailure(FailureKind.TASK, text, host=host)
    status.leftovers.extend(leftover_messages(one.leftovers, host))
    if failure is not None:
        status.failure.CopyFrom(failure_message(failure))
    if operation is not None:
        status.operation_name = PREFIX + operation.id
    if one.probe_time:
        status.probe_time.CopyFrom(to_timestamp(one.probe_time))


def _state(one: Sliver, operation: Operation | None) -> tuple[v.SliverState, float]:
    if operation is not None and operation.verb in _WORKED_ON:
        if operation.start_time or operation.verb is not Verb.CREATE:
            return _WORKED_ON[operation.verb], operation.start_time or operation.create_time
        return v.SLIVER_STATE_PENDING, operation.create_time
    since = one.state_time or one.create_time
    if one.leftovers:
        return v.SLIVER_STATE_DELETE_FAILED, since
    if one.failure is not None and one.failure.kind is FailureKind.UNREACHABLE:
        return v.SLIVER_STATE_UNKNOWN, one.update_time
    return _STATES[one.state], since


def spec_struct(spec: SliverSpec) -> Struct:
    """What was asked for: fields that are not at their defaults, but for those that are the message's own."""
    plain, bare = encode(spec), encode(SliverSpec(spec.slice_id, spec.sliver_id, spec.resource_type))
    wanted = {name: value for name, value in plain.items() if name not in IN_MESSAGE and value != bare[name]}
    return to_struct({name: value if name == "properties" else _dense(value) for name, value in wanted.items()})


def _dense(value: Any) -> Any:
    """Without the empty fields of lists' items: absent ones mean the same."""
    if isinstance(value, Mapping):
        return {key: one for key, one in value.items() if one not in (0, "", [], {}, False)}
    return [_dense(one) for one in value] if isinstance(value, list) else value


def to_struct(values: Mapping[str, Any]) -> Struct:
    """Any JSON-like values; numbers that JSON has no form for become text."""
    message = Struct()
    for key, one in values.items():
        _set(message.fields[str(key)], one)
    return message


def _set(target: Value, value: Any) -> None:
    match value:
        case None:
            target.null_value = 0  # type: ignore[assignment]
        case bool():
            target.bool_value = value
        case int() | float():
            if math.isfinite(value):
                target.number_value = value
            else:
                target.string_value = str(value)
        case str():
            target.string_value = value.encode("utf-8", "replace").decode()
        case Mapping():
            target.struct_value.CopyFrom(to_struct(value))
        case list() | tuple():
            target.list_value.SetInParent()
            for one in value:
                _set(target.list_value.values.add(), one)
        case _:
            target.string_value = str(value)


def leftover_messages(left: Iterable[str], host: str, reason: str = "") -> list[v.Leftover]:
    """Texts like ``port:v1234``."""
    pairs = ((text.partition(":") if ":" in text else ("thing", ":", text)) for text in left)
    return [v.Leftover(kind=kind, name=name, host=host, reason=reason) for kind, _, name in pairs]


def failure_message(failure: HandlerFailure) -> v.HandlerFailure:
    """What a handler said."""
    return v.HandlerFailure(
        playbook=failure.playbook,
        task=failure.task,
        host=failure.host,
        message=failure.message[:1000],
        rc=max(-(1 << 31), min(failure.rc, (1 << 31) - 1)),
        unreachable=failure.kind is FailureKind.UNREACHABLE,
        timed_out=failure.kind is FailureKind.TIMEOUT,
        output_tail=[line[:_MOST_LINE] for line in failure.output[-_MOST_LINES:]],
    )


def failure_error(failure: HandlerFailure | None, state: OperationState = OperationState.FAILED) -> ApiError:
    """Why an operation has no result."""
    if failure is None:
        reason = reasons.CANCELLED if state is OperationState.CANCELLED else reasons.HANDLER_FAILED
        return ApiError(reason)
    reason = reasons.CANCELLED if state is OperationState.CANCELLED else _REASONS[failure.kind]
    told = failure_message(failure)
    metadata = {key: value for key in ("playbook", "task", "host") if (value := getattr(told, key))}
    # The status travels in a call's metadata, and must stay small: of the output the end counts.
    while told.ByteSize() > 2048 and told.output_tail:
        del told.output_tail[0]
    return ApiError(reason, failure.message, metadata=metadata, details=(told,))


def operation_message(one: Operation, host: str, attempts: int, now: float) -> operations_pb2.Operation:
    """An operation with its metadata, and its result or error when it is over."""
    message = operations_pb2.Operation(name=PREFIX + one.id, done=one.over)
    message.metadata.Pack(_metadata(one, host, attempts, now))
    if not one.over:
        return message
    if one.state is OperationState.SUCCEEDED:
        message.response.Pack(_result(one, host))
    else:
        message.error.CopyFrom(to_status(failure_error(one.failure, one.state)))
    return message


def _metadata(one: Operation, host: str, attempts: int, now: float) -> v.OperationMetadata:
    of_host = one.verb is Verb.INVENTORY
    where = one.spec.host or host
    return v.OperationMetadata(
        verb=VERBS[one.verb],
        action=one.action,
        sliver_id="" if of_host else one.sliver.sliver_id,
        slice_id="" if one.sliver.slice_id == HOST_KEY else one.sliver.slice_id,
        host=where,
        resource_type="" if of_host else one.resource_type,
        phase=v.OPERATION_PHASE_DONE if one.over else _PHASES[one.phase],
        attempt=one.attempt,
        max_attempts=attempts,
        progress_percent=_progress(one, now),
        current_task=one.current_task,
        task_count=one.tasks_done,
        cancel_requested=one.cancel_requested,
        requester=one.requested_by,
        request_id=one.request_id,
        create_time=_moment(one.create_time),
        start_time=_moment(one.start_time),
        update_time=_moment(one.end_time or one.start_time or one.create_time),
        end_time=_moment(one.end_time),
        deadline_time=_moment(one.deadline),
        leftovers=leftover_messages(one.leftovers, where),
    )


def _progress(one: Operation, now: float) -> int:
    """By the time gone of the time allowed; a run that ends earlier jumps to the end."""
    if one.over:
        return 100
    if not one.start_time or one.deadline <= one.start_time:
        return 0
    return round(99 * min(1.0, max(0.0, (now - one.start_time) / (one.deadline - one.start_time))))


def _result(one: Operation, host: str) -> Message:
    after = None if one.sliver_after is None else sliver_message(one.sliver_after, host)
    facts = one.result.facts if one.result is not None else {}
    if one.verb is Verb.DELETE:
        removed = facts.get("removed", [])
        return v.DeleteSliverResponse(removed=[str(each) for each in removed] if isinstance(removed, list) else [])
    if one.verb is Verb.ACTION:
        return v.PerformActionResponse(sliver=after, result=to_struct(facts))
    if one.verb is Verb.INVENTORY:
        strays = [v.Leftover(kind="instance", name=str(each), host=host) for each in facts.get("strays", [])]
        return v.ReconcileHostResponse(
            strays=strays, missing_sliver_ids=facts.get("missing", []), removed=facts.get("removed", [])
        )
    return after if after is not None else v.Sliver(sliver_id=one.sliver.sliver_id, slice_id=one.sliver.slice_id)


def task_message(event: Event, playbook: str = "") -> v.TaskEvent:
    """An event of kind ``TASKS``."""
    return v.TaskEvent(playbook=playbook, task=event.task, host=event.host, state=TASKS[event.kind], message=event.text)


def handler_message(name: str, config: HandlerConfig, workers: int) -> v.Handler:
    """An entry of the catalogue."""
    message = v.Handler(
        resource_type=name,
        description=config.description,
        backend=config.backend,
        verbs=[VERBS[verb] for verb in Verb if verb is not Verb.ACTION or config.actions],
        actions=[v.HandlerAction(name=action) for action in sorted(config.actions)],
        spec_schema=to_struct(spec_schema(config.schema)),
        max_concurrency=config.limits.concurrency or workers,
    )
    if "inventory" not in config.playbooks:
        message.verbs.remove(v.VERB_RECONCILE)
    for word in ("default", *(verb.value for verb in Verb if verb.value in config.limits.timeouts)):
        message.timeouts[word].FromNanoseconds(round(config.limits.timeout(word) * 1e9))
    return message


def _moment(seconds: float) -> Timestamp | None:
    return to_timestamp(seconds) if seconds else None
