"""Deadlines of the core: a heap of calls, told the time by whoever owns the loop."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Alarm:
    """One pending call; ``cancel`` makes it a no-op."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[float], None]) -> None:
        self.when = when
        self._call: Callable[[float], None] | None = call

    def cancel(self) -> None:
        """Never call."""
        self._call = None

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled or has rung."""
        return self._call is None

    def ring(self, now: float) -> None:
        """Call, once."""
        call, self._call = self._call, None
        if call is not None:
            call(now)


class Clock:
    """All alarms of one mux; O(log n) each."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[float], None]) -> Alarm:
        """Call ``call(now)`` at ``when``, or soon after."""
        alarm = Alarm(when, call)
        self._count += 1
        heappush(self._heap, (when, self._count, alarm))
        return alarm

    def next_deadline(self) -> float | None:
        """When the next alarm is due; None when there is none."""
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Ring all that is due. Alarms set meanwhile for the same moment wait for the next call."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            due.append(heappop(heap)[2])
        for alarm in due:
            alarm.ring(now)
