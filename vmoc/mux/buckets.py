"""Token buckets: how often a slice may do something, per second."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

_WHOLE: Final = 1.0 - 1e-6
"""A token, allowing for what floating point loses: at ``ready_at`` there must be one."""


class Bucket:
    """``rate`` tokens per second, at most one second's worth saved up. Rate 0 means unlimited.

    A message that takes more than one token is let through when one is there
    and leaves a debt, so that no cost is too big ever to pass.
    """

    __slots__ = ("_at", "_tokens", "rate", "served", "waiting")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.waiting: deque[Any] = deque()
        self.served = False
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
