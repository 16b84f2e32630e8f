"""How late the event loop is: a timer that compares when it meant to fire with when it did."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from time import monotonic
from typing import Final

INTERVAL: Final = 0.25
BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds. Loops round timers to milliseconds, so the first two hold the idle case."""


class LoopLag:
    """Samples the loop it is started on four times a second; reading is safe from any thread."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        self._interval = interval
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sample until ``stop``."""
        self._due = monotonic() + self._interval
        self._handle = loop.call_later(self._interval, self._sample, loop)

    def stop(self) -> None:
        """No more samples."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def observe(self, seconds: float) -> None:
        """Count one sample."""
        late = max(0.0, seconds)
        self.counts[bisect_left(BUCKETS, late)] += 1
        self.total += late

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' form: (upper bound, samples up to it), ending with +Inf."""
        running = 0
        result = []
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], list(self.counts), strict=True):
            running += count
            result.append((bound, float(running)))
        return result

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        self.observe(monotonic() - self._due)
        self.start(loop)
