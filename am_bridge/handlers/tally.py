"""What operations came to, counted for those who watch."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from am_bridge.handlers.operations import Operation, OperationState

BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Seconds."""


class Tally:
    """``note`` is told each operation when it goes on; any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ended: Counter[tuple[str, str, str]] = Counter()
        """By resource type, verb and state."""
        self.failures: Counter[tuple[str, str]] = Counter()
        """By resource type and kind of failure."""
        self._durations: dict[tuple[str, str], tuple[list[int], float]] = {}

    def note(self, operation: Operation) -> None:
        """An operation went on."""
        if not operation.over:
            return
        kind, verb = operation.resource_type, operation.verb.value
        with self._lock:
            self.ended[kind, verb, operation.state.value] += 1
            if operation.failure is not None and operation.state is not OperationState.SUCCEEDED:
                self.failures[kind, operation.failure.kind.value] += 1
            if operation.start_time:
                took = max(0.0, operation.end_time - operation.start_time)
                counts, total = self._durations.get((kind, verb), ([0] * (len(BOUNDS) + 1), 0.0))
                counts[sum(took > bound for bound in BOUNDS)] += 1
                self._durations[kind, verb] = (counts, total + took)

    def durations(self) -> dict[tuple[str, str], tuple[list[tuple[str, int]], float]]:
        """By resource type and verb: cumulative (bound, count) pairs as Prometheus has them, and seconds in all."""
        with self._lock:
            copies = {key: (list(counts), total) for key, (counts, total) in self._durations.items()}
        found = {}
        for key, (counts, total) in copies.items():
            sums, so_far = [], 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
                so_far += count
                sums.append((bound, so_far))
            found[key] = (sums, total)
        return found
