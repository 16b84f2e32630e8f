"""Asking again until something is so: soon at first, then ever less often, as each question costs a process."""

from __future__ import annotations

import time
from collections.abc import Iterator

SHORTEST = 0.05
LONGEST = 1.0
SHARE = 0.1
"""Of the time waited so far: nobody learns of it more than a tenth later than it was so."""


def until(limit: float) -> Iterator[None]:
    """Go round at once, and again with pauses between, for ``limit`` seconds and once more after them."""
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        yield
        if waited >= limit:
            return
        time.sleep(min(max(SHORTEST, waited * SHARE), LONGEST, max(SHORTEST, limit - waited)))
