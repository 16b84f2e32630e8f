"""What happened to recent operations, for those who watch: bounded, whoever is slow."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from am_bridge.handlers.operations import Event

EVENTS: Final = 1000
"""Kept per operation; a watcher that is further behind misses the older ones (the sequence tells)."""
OPERATIONS: Final = 200
"""Operations whose events are kept."""
TEXT: Final = 4096
"""Characters of one event's text."""


class EventLog:
    """Appends and reads from any thread. ``listener`` is told each event, from the thread that caused it."""

    def __init__(self, listener: Callable[[Event], None] | None = None) -> None:
        self._changed = threading.Condition()
        self._logs: OrderedDict[str, deque[Event]] = OrderedDict()
        self._closed: set[str] = set()
        self._first: dict[str, int] = {}
        self._wakes: dict[str, tuple[Callable[[], None], ...]] = {}
        self._listener = listener

    def begin(self, operation: str, sequence: int) -> None:
        """Number the events of an operation of an earlier life from there."""
        with self._changed:
            self._first[operation] = sequence

    def watch(self, operation: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake``, which must return at once, for each event and at the end; returns what ends that."""
        with self._changed:
            self._wakes[operation] = (*self._wakes.get(operation, ()), wake)

        def end() -> None:
            with self._changed:
                left = tuple(one for one in self._wakes.pop(operation, ()) if one is not wake)
                if left:
                    self._wakes[operation] = left

        return end

    def append(self, operation: str, time: float, kind: str, text: str = "", task: str = "", host: str = "") -> None:
        """Note an event."""
        with self._changed:
            log = self._logs.setdefault(operation, deque(maxlen=EVENTS))
            sequence = log[-1].sequence + 1 if log else self._first.pop(operation, 1)
            event = Event(operation, sequence, time, kind, text[:TEXT], task[:TEXT], host[:TEXT])
            log.append(event)
            while len(self._logs) > OPERATIONS:
                oldest = next((name for name in self._logs if name in self._closed), next(iter(self._logs)))
                del self._logs[oldest]
                self._closed.discard(oldest)
            self._wake(operation)
        if self._listener is not None:
            self._listener(event)

    def close(self, operation: str) -> None:
        """There will be no more events of this operation."""
        with self._changed:
            if operation in self._logs:
                self._closed.add(operation)
            self._wake(operation)

    def after(self, operation: str, sequence: int, timeout: float) -> tuple[list[Event], bool]:
        """Events after that number, waiting for one if need be; and whether there will be more."""
        with self._changed:
            self._changed.wait_for(lambda: self._new(operation, sequence) or not self._open(operation), timeout)
            return self._new(operation, sequence), self._open(operation)

    def _wake(self, operation: str) -> None:
        self._changed.notify_all()
        for wake in self._wakes.get(operation, ()):
            wake()

    def _new(self, operation: str, sequence: int) -> list[Event]:
        return [event for event in self._logs.get(operation, ()) if event.sequence > sequence]

    def _open(self, operation: str) -> bool:
        return operation in self._logs and operation not in self._closed
