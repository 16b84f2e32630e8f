"""What operations came to, counted as Prometheus has it."""

from __future__ import annotations

from dataclasses import replace

from am_bridge.handlers.handler import FailureKind, HandlerFailure, Verb
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.spec import SliverKey, SliverSpec
from am_bridge.handlers.tally import BOUNDS, Tally

RUNNING = Operation("1", SliverKey("s", "v"), Verb.CREATE, "VM", SliverSpec("s", "v", "VM"), start_time=100.0)


def test_ends_are_counted_and_timed() -> None:
    tally = Tally()
    tally.note(RUNNING)
    assert not tally.ended and not tally.durations()
    tally.note(replace(RUNNING, state=OperationState.SUCCEEDED, end_time=100.2))
    failure = HandlerFailure(FailureKind.TIMEOUT, "slow")
    tally.note(replace(RUNNING, state=OperationState.FAILED, end_time=2000.0, failure=failure))
    tally.note(replace(RUNNING, state=OperationState.CANCELLED, start_time=0.0, end_time=2000.0))
    assert tally.ended == {
        ("VM", "create", "succeeded"): 1,
        ("VM", "create", "failed"): 1,
        ("VM", "create", "cancelled"): 1,
    }
    assert tally.failures == {("VM", "timeout"): 1}
    ((buckets, total),) = tally.durations().values()
    assert [bound for bound, _ in buckets] == [*map(str, BOUNDS), "+Inf"]
    assert [count for _, count in buckets] == [0] + [1] * (len(BOUNDS) - 1) + [2], "what never began took no time"
    assert abs(total - 1900.2) < 0.001
