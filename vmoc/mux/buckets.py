"""Token buckets: how often a slice may do something, per second."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final, Protocol

from vmoc.mux.clock import Clock

_WHOLE: Final = 1.0 - 1e-6
"""A token, allowing for what floating point loses: at ``ready_at`` there must be one."""


class Waiter(Protocol):
    """Who may wait for a token."""

    @property
    def paused(self) -> bool:
        """Whether it is there, and still waits."""

    def go_on(self, now: float) -> None:
        """There is one."""


class Bucket:
    """``rate`` tokens per second, at most one second's worth saved up. Rate 0 means unlimited.

    A message that takes more than one token is let through when one is there
    and leaves a debt, so that no cost is too big ever to pass.
    """

    __slots__ = ("_at", "_served", "_tokens", "_waiting", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._waiting: deque[Waiter] = deque()
        self._served = False
        self._tokens = max(rate, 1.0)
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` tokens; False, and nothing taken, when there is less than one."""
        rate = self.rate
        if not rate:
            return True
        tokens = self._tokens
        if now > self._at:
            tokens = min(tokens + (now - self._at) * rate, max(rate, 1.0))
            self._at = now
        if tokens < _WHOLE:
            self._tokens = tokens
            return False
        self._tokens = tokens - cost
        return True

    def charge(self, cost: float) -> None:
        """Take ``cost`` more for something that turned out dearer, leaving a debt of at most a second."""
        if self.rate:
            self._tokens = max(self._tokens - cost, -self.rate)

    def ready_at(self) -> float:
        """When ``take`` will succeed again."""
        if not self.rate or self._tokens >= _WHOLE:
            return self._at
        return self._at + (1.0 - self._tokens) / self.rate

    def queue(self, waiter: Waiter, clock: Clock) -> None:
        """Let ``waiter`` go on when there is a token, and everybody who waits has had one."""
        if waiter not in self._waiting:
            self._waiting.append(waiter)
        self._serve_later(clock)

    def _serve_later(self, clock: Clock) -> None:
        if self._waiting and not self._served:
            self._served = True
            clock.at(self.ready_at(), partial(self._serve, clock))

    def _serve(self, clock: Clock, now: float) -> None:
        self._served = False
        for _ in range(len(self._waiting)):
            if self.ready_at() > now:
                break
            waiter = self._waiting.popleft()
            if waiter.paused:
                waiter.go_on(now)
        self._serve_later(clock)
