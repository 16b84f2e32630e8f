"""How much of the server calls take at a time: all of them, and those of one caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from am_bridge import reasons
from am_bridge.auth import Caller, Role
from am_bridge.status import ApiError, RetryAfter

MOST_CALLS: Final = 256
KEPT: Final = 64
"""Of the calls, for changes: reads may all be waiting for switches."""
MOST_STREAMS: Final = 320
MOST_BYTES: Final = 128 << 20
"""Of the requests that are being answered, or wait for it."""
MOST_OF_ONE: Final = 64
"""Calls, and streams, of one caller who is not an administrator."""
MOST_WAITING_OF_ONE: Final = 8
"""Of its calls, those that take a thread for as long as they like."""
MOST_BYTES_OF_ONE: Final = 48 << 20
LONGEST_KEPT: Final = 256 << 10
"""Bytes of a request that is kept as long as its caller likes: that of a stream, or of a call that waits."""
COME_BACK: Final = 0.5
"""Seconds."""


class Kind(Enum):
    """What a call takes."""

    READ = 1
    CHANGE = 2
    WAIT = 3
    STREAM = 4


@dataclass(slots=True)
class _Held:
    """By calls in progress."""

    calls: int = 0
    waiting: int = 0
    streams: int = 0
    bytes: int = 0

    def count(self, kind: Kind, size: int, step: int) -> None:
        if kind is Kind.STREAM:
            self.streams += step
        else:
            self.calls += step
            self.waiting += step * (kind is Kind.WAIT)
            self.bytes += step * size

    def holds(self, size: int, most: int) -> bool:
        """Whether so many bytes go in too; the only request does, whatever its size."""
        return not self.bytes or self.bytes + size <= most


class Room:
    """For one thread. Callers without a role are taken for one."""

    def __init__(self) -> None:
        self._all = _Held()
        self._of: dict[str, _Held] = {}

    @property
    def bytes(self) -> int:
        """Of the requests of all calls in progress."""
        return self._all.bytes

    def enter(self, caller: Caller | None, kind: Kind, size: int) -> Callable[[], None]:
        """Take room; what it returns gives it back, and is to be called once. Raises ``ApiError``."""
        if size > LONGEST_KEPT and kind in (Kind.STREAM, Kind.WAIT):
            raise ApiError(reasons.FIELD_INVALID, f"a request of this method has at most {LONGEST_KEPT} bytes")
        name = caller.name if caller is not None else ""
        own = self._of.get(name) or _Held()
        fits = self._fits(kind, size) and (
            (caller is not None and caller.role is Role.ADMIN) or self._fits_one(own, kind, size)
        )
        if not fits:
            raise ApiError(reasons.TOO_MANY_CALLS, retry=RetryAfter(COME_BACK))
        self._of[name] = own
        for held in (self._all, own):
            held.count(kind, size, 1)

        def leave() -> None:
            for held in (self._all, own):
                held.count(kind, size, -1)
            if not (own.calls or own.streams):
                self._of.pop(name, None)

        return leave

    def _fits(self, kind: Kind, size: int) -> bool:
        if kind is Kind.STREAM:
            return self._all.streams < MOST_STREAMS
        most = MOST_CALLS if kind is Kind.CHANGE else MOST_CALLS - KEPT
        return self._all.calls < most and self._all.holds(size, MOST_BYTES)

    @staticmethod
    def _fits_one(own: _Held, kind: Kind, size: int) -> bool:
        if kind is Kind.STREAM:
            return own.streams < MOST_OF_ONE
        if kind is Kind.WAIT and own.waiting >= MOST_WAITING_OF_ONE:
            return False
        return own.calls < MOST_OF_ONE and own.holds(size, MOST_BYTES_OF_ONE)
