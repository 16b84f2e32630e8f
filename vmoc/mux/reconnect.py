"""When to try a controller again. Pure arithmetic: no sockets, no clock, no randomness of its own.

The first attempt is immediate. After a failure the wait doubles from
``first`` to ``longest``, and each wait is spread by the jitter given, so that
a thousand datapaths do not knock at one moment: the first over ``first`` and
half of that again, the others over their upper half. A completed handshake
starts over.
"""

from __future__ import annotations


class Backoff:
    """The waits of one link, in seconds."""

    __slots__ = ("_first", "_longest", "_next", "attempts")

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = max(first, longest)
        self._next = 0.0
        self.attempts = 0

    def failed(self, jitter: float) -> float:
        """An attempt failed or a connection broke: how long to wait. ``jitter`` is in [0, 1)."""
        self.attempts += 1
        wait = self._next or self._first
        self._next = min(wait * 2, self._longest)
        # Never below the first wait: a peer that refuses us is not to be hammered.
        least = max(self._first, wait / 2)
        most = min(max(wait, self._first * 1.5), self._longest)
        return least + jitter * (most - least)

    def succeeded(self) -> None:
        """The OpenFlow handshake is done."""
        self._next = 0.0
        self.attempts = 0
