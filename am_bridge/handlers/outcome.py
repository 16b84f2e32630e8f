"""What an operation's end means for its sliver: pure."""

from __future__ import annotations

from dataclasses import replace

from am_bridge.handlers.handler import FailureKind, HandlerResult, SliverState, Verb
from am_bridge.handlers.operations import Operation, OperationState, Sliver


def conclude(
    record: Operation,
    succeeded: bool,
    cancelled: bool,
    sliver: Sliver | None,
    checked: HandlerResult | None,
    now: float,
) -> tuple[Operation, Sliver | None]:
    """The operation in its final state, and the sliver as it is after it (None: it is no more).

    ``checked`` is what the undo or the check of a failed operation found.
    """
    record, after = _conclude(record, succeeded, cancelled, sliver, checked, now)
    if after is not None and (sliver is None or after.state is not sliver.state):
        after = replace(after, state_time=now)
    return record, after


def _conclude(
    record: Operation,
    succeeded: bool,
    cancelled: bool,
    sliver: Sliver | None,
    checked: HandlerResult | None,
    now: float,
) -> tuple[Operation, Sliver | None]:
    record = replace(record, state=_state(record, succeeded, cancelled))
    if sliver is None:
        return record, None
    if record.verb is Verb.DELETE:
        return record, None if succeeded else _uncertain(record, sliver, now)
    if succeeded:
        return record, _achieved(record, sliver, now)
    if record.verb is Verb.CREATE:
        untouched = record.start_time == 0.0
        undone = checked is not None and checked.state is SliverState.ABSENT
        return record, None if untouched or undone else _uncertain(record, sliver, now)
    if record.start_time == 0.0:
        return record, sliver
    if checked is not None:  # a modify or an action failed; this is what a probe said afterwards
        known = replace(sliver, state=checked.state, result=checked, failure=record.failure, leftovers=())
        return record, replace(known, update_time=now, probe_time=now)
    if record.verb is Verb.PROBE:
        return record, replace(sliver, failure=record.failure, update_time=now)
    return record, _uncertain(record, sliver, now)


def _state(record: Operation, succeeded: bool, cancelled: bool) -> OperationState:
    if succeeded:
        return OperationState.SUCCEEDED
    if record.failure is not None and record.failure.kind is FailureKind.RESTARTED:
        return OperationState.ABORTED
    return OperationState.CANCELLED if cancelled else OperationState.FAILED


def _achieved(record: Operation, sliver: Sliver, now: float) -> Sliver:
    result = record.result
    assert result is not None
    if record.verb is Verb.ACTION:
        # An action's answer is about the action; the cards and addresses are as they were, unless it says so.
        known = sliver.result
        if known is not None and not result.interfaces:
            result = replace(
                result,
                instance=result.instance or known.instance,
                interfaces=known.interfaces,
                management_addresses=known.management_addresses,
                logins=known.logins,
                facts=known.facts,
            )
    changed = record.verb in (Verb.CREATE, Verb.MODIFY)
    return replace(
        sliver,
        spec=record.spec if changed else sliver.spec,
        generation=sliver.generation + 1 if changed else sliver.generation,
        state=result.state,
        result=result,
        failure=None,
        leftovers=result.leftovers,
        update_time=now,
        probe_time=sliver.probe_time if record.verb is Verb.ACTION else now,
    )


def _uncertain(record: Operation, sliver: Sliver, now: float) -> Sliver:
    """Something may be left, and nobody could look."""
    return replace(
        sliver, state=SliverState.FAILED, failure=record.failure, leftovers=record.leftovers, update_time=now
    )
