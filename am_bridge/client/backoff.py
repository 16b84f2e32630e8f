"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import random


@dataclass(slots=True)
class Backoff:
    """Doubles from ``first`` to ``most`` seconds; each delay is taken at random from its upper half.

    The chance keeps clients that lost the same server from coming back all at once.
    """

    first: float = 0.2
    most: float = 10.0
    chance: Callable[[], float] = random
    """0 <= number < 1."""
    attempts: int = field(default=0, init=False)

    def next(self) -> float:
        """Seconds until the next attempt."""
        # The exponent is bounded: 2.0 ** 1024 overflows after some hours of a dead server.
        delay = min(self.most, self.first * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        return delay * (1 + self.chance()) / 2

    def reset(self) -> None:
        """An attempt succeeded."""
        self.attempts = 0
