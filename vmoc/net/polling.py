"""Looking again for a moment before the loop sleeps, where what comes next has lately come soon.

A thread that sleeps has to be woken, which takes some 45 us where an idle
processor has to wake first: more than a packet-in needs in here. So after a
turn that brought something the loop goes on looking for ``LOOK`` seconds, as
hypervisors do with guests that halt. It does not where the last waits were
long, nor for a while after somebody else has had the processor meanwhile:
how often something comes is up to slices, which are not to keep it from
others. To yield between two looks is not enough for that, as a worker's
priority has it run again at once.
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
TAKEN: Final = 25e-6
"""A turn of the loop that brings nothing takes a tenth of that, unless somebody else has the processor meanwhile."""
SHORTEST_REST: Final = 0.001
LONGEST_REST: Final = 0.064
AGAIN: Final = 0.005
"""Seconds after a rest within which that makes the next one twice as long."""
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
        self._looked = 0.0
        """When it did so last."""
        self._rest = SHORTEST_REST
        self._rest_until = 0.0
        self.spent = 0.0
        """Seconds, of CPU too, that went into looking for what had not come."""

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
        if not self._looking and self._soon > 0.5 and now > self._rest_until:
            self._looking = True
            self._call_soon(self._look)

    def _look(self) -> None:
        now = self._clock()
        if self._looked > self._last:  # nothing has come since
            turn = now - self._looked
            if turn > TAKEN:
                again = now - self._rest_until < AGAIN
                self._rest = min(2 * self._rest, LONGEST_REST) if again else SHORTEST_REST
                self._rest_until = now + self._rest
                self._looking = False
                return
            self.spent += turn
        if now - self._last > LOOK:
            self._looking = False
            return
        self._looked = now
        self._let_others()
        self._call_soon(self._look)  # the loop asks the kernel without waiting, as it has something to do
