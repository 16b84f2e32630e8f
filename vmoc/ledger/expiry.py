"""When slices end by themselves, and when to warn of it. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

WARN_BEFORE: Final = (3600.0, 600.0)
"""Seconds ahead of the end that are worth an event."""


@dataclass(frozen=True, slots=True)
class Due:
    """A slice whose moment has come: ``left`` seconds are left, 0 when it is over."""

    slice: str
    expire_time: float
    left: float


class Expiry:
    """A heap of moments; what a slice's new time has made void is skipped."""

    def __init__(self, warn_before: tuple[float, ...] = WARN_BEFORE) -> None:
        self._warn_before = warn_before
        self._ends: dict[str, float] = {}
        self._heap: list[tuple[float, str, float]] = []  # moment, slice, its end

    def __len__(self) -> int:
        return len(self._ends)

    def set(self, slice_id: str, expire_time: float | None, now: float) -> None:
        """The slice ends then; None: never, or it is gone. Warnings that would be past already are left out."""
        if self._ends.get(slice_id) == expire_time:
            return
        if expire_time is None:
            del self._ends[slice_id]
        else:
            self._ends[slice_id] = expire_time
            heappush(self._heap, (expire_time, slice_id, expire_time))
            for lead in self._warn_before:
                if expire_time - lead > now:
                    heappush(self._heap, (expire_time - lead, slice_id, expire_time))
        most = (1 + len(self._warn_before)) * len(self._ends)
        if len(self._heap) > 2 * most + 64:  # leases renewed over and over
            self._heap = [entry for entry in self._heap if self._ends.get(entry[1]) == entry[2]]
            heapify(self._heap)

    def next_deadline(self) -> float | None:
        """When ``wake`` has something to say; None: never."""
        heap = self._heap
        while heap and self._ends.get(heap[0][1]) != heap[0][2]:
            heappop(heap)
        return heap[0][0] if heap else None

    def wake(self, now: float) -> list[Due]:
        """What is due by ``now``: of each slice the latest only. One that is over stays due until it is set to None."""
        found: dict[str, Due] = {}
        again: list[tuple[float, str, float]] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            entry = heappop(self._heap)
            _, slice_id, end = entry
            if entry[0] == end:
                again.append(entry)
            found[slice_id] = Due(slice_id, end, max(0.0, end - now))
        for entry in again:
            heappush(self._heap, entry)
        return list(found.values())
