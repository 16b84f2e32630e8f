"""When a worker looks for cyclic garbage: when there may be some, not whenever much has come.

Looking through everything takes about a second for a million objects, and packets wait. Python does so whenever there
are a quarter more of them, hence again and again while slices come. But what lives long becomes garbage only when a
connection ends or a slice goes. So what survives the first look is not looked at again until enough of those have
gone for the pause to be worth it.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (1_000, 1_000_000, 1_000_000)
"""After so many new containers those are looked through, in a fraction of a millisecond; the rest never by itself."""
ENOUGH: Final = 2_000
LATEST: Final = 600.0
"""Seconds after which also little is looked for."""


class Collecting:
    """Counts what has gone. Times are seconds of any clock."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._seen = 0

    def is_due(self, gone: int, here: int, now: float) -> bool:
        """Whether to look: ``gone`` connections and slices since the start, ``here`` those that there are."""
        lost = gone - self._seen
        if lost >= max(ENOUGH, here // 2) or (lost and now - self._last >= LATEST):
            self._seen, self._last = gone, now
            return True
        return False


def begin() -> None:
    """From now on only the newest objects are looked through."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
