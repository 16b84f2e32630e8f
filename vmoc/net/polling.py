"""Looking again for a moment before the loop sleeps, where what comes next has lately come soon.

A thread that sleeps has to be woken, which takes some 45 us where an idle
processor has to wake first: more than a packet-in needs in here. So after a
turn that brought something the loop goes on looking for ``LOOK`` seconds, as
hypervisors do with guests that halt. Between two looks whoever else wants
the processor has it, and where the last waits were long nobody looks.
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections.abc import Callable
from time import monotonic
from typing import Final

LOOK: Final = 100e-6
"""Seconds after what came last when it is better to sleep: time to handle that, and to wake whoever answers."""
SOONEST: Final = LOOK / 4
LATEST: Final = 2 * LOOK
"""Waits that looking is good for: nobody is woken within less than that, and the most is with having been woken."""
SINGLE: Final = 512
"""Bytes of what came by itself. More at once come from whoever has more to do than time, and wait for no waking."""
SAME_TURN: Final = 5e-6
"""Seconds between two things that one turn of the loop has brought; they say nothing about waits."""
MEMORY: Final = 8
"""How many waits an opinion is made of, about."""


class BusyPoll:
    """For one loop, on its thread; ``came`` is told of everything that connections bring."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Callable[[], float] = monotonic,
        let_others: Callable[[], object] = os.sched_yield,
    ) -> None:
        self._call_soon = loop.call_soon
        self._clock = clock
        self._let_others = let_others
        self._last = 0.0
        self._soon = 0.0
        """The share of those among the last waits."""
        self._looking = False

    def came(self, size: int, now: float) -> None:
        """So many bytes came at that time."""
        wait = now - self._last
        self._last = now
        if wait <= SAME_TURN:
            return
        if size > SINGLE or not SOONEST < wait < LATEST:
            self._soon -= self._soon / MEMORY
            return
        self._soon += (1 - self._soon) / MEMORY
        if not self._looking and self._soon > 0.5:
            self._looking = True
            self._call_soon(self._look)

    def _look(self) -> None:
        if self._clock() - self._last > LOOK:
            self._looking = False
            return
        self._let_others()
        self._call_soon(self._look)  # the loop asks the kernel without waiting, as it has something to do
