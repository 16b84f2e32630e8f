"""Transaction ids towards one switch: unique, never forgotten early, never kept for ever.

Every message sent to a switch gets a fresh xid. What must be known when an
answer or an error comes back is *pending* under it until the final answer, an
error, or (for messages without an answer) the reply to a barrier written
later. There is no eviction: bounded are the messages in flight, not the memory
of them.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """xid to whatever waits for it."""

    __slots__ = ("_next", "waiting")

    def __init__(self, start: int = 1) -> None:
        self._next = start
        self.waiting: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def fresh(self) -> int:
        """An xid that is not pending, never 0 nor 0xffffffff (both mean "unsolicited" to some peers)."""
        xid = self._next
        while xid in self.waiting or not 0 < xid < 0xFFFFFFFF:
            xid = xid + 1 if xid < 0xFFFFFFFE else 1
        self._next = xid + 1
        return xid

    def expect(self, item: T) -> int:
        """Remember ``item`` under a fresh xid and return that."""
        xid = self.fresh()
        self.waiting[xid] = item
        return xid

    def pop(self, xid: int) -> T | None:
        """What waited for ``xid``; None if nothing did."""
        return self.waiting.pop(xid, None)

    def get(self, xid: int) -> T | None:
        """The same without forgetting it (more parts may come)."""
        return self.waiting.get(xid)

    def clear(self) -> None:
        """The connection is gone; nothing will be answered."""
        self.waiting.clear()
