"""Waiting for a quiet machine, and measuring again what others disturbed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from bench.machine import Ticks

Found = TypeVar("Found")
QUIET: Final = 3.0
"""Percent of the CPUs' time that other guests of the hypervisor may take."""
LISTENED: Final = 5.0
"""Seconds in which to hear them."""
PAUSE: Final = 30.0


def listen() -> float:
    """Percent of the CPUs' time stolen just now, with all of them busy: nothing is stolen from one that is idle."""
    began = Ticks.now()
    with contextlib.ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        time.sleep(LISTENED)
    return began.stolen_percent(Ticks.now())


class Patience:
    """Seconds, in all, for both."""

    def __init__(self, seconds: float, stolen: Callable[[], float] = listen) -> None:
        self._until = time.monotonic() + seconds
        self._stolen = stolen

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._until - time.monotonic())

    def wait(self) -> None:
        """Until other guests take no more than ``QUIET`` percent; not at all where there is no patience."""
        while self.left and (stolen := self._stolen()) > QUIET:
            print(f"   other guests take {stolen} % of the CPUs' time: waiting", flush=True)
            time.sleep(min(PAUSE, self.left))

    def attempts(
        self, measure: Callable[[], Found], disturbance: Callable[[Found], float], most: float
    ) -> Iterator[Found]:
        """Measure once, and again as long as it was disturbed by more than that."""
        yield (found := measure())
        while disturbance(found) > most and self.left:
            yield (found := measure())
