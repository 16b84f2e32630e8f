"""The operator's record of what happened: a bounded ring of numbered events, and the log lines made of them.

Kinds that a misbehaving peer can produce at will are throttled in the log
(never in the ring or the counts): of those that share a cause the first
``BURST`` in a window are shown, and the window ends with a line that counts
the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vmoc.events import Event, Kind
from vmoc.model import format_dpid

CAPACITY: Final = 10_000
BURST: Final = 5
WINDOW: Final = 10.0
RETRY_WINDOW: Final = 300.0
"""Seconds. Controllers that stay away are retried for ever; the longer window keeps that quiet."""
CAUSES: Final = 4096
"""Causes watched at a time; beyond that, events of a kind share one."""

LEVELS: Final[dict[Kind, int]] = {
    # error: somebody has to do something.
    Kind.CONFIG_REJECTED: logging.ERROR,
    Kind.DPID_COLLISION: logging.ERROR,
    Kind.TAINTED: logging.ERROR,
    Kind.SLICE_HELD: logging.ERROR,
    # warning: part of the service is not there, or a peer is broken.
    Kind.SWITCH_DOWN: logging.WARNING,
    Kind.SWITCH_REFUSED: logging.WARNING,
    Kind.PIPELINE: logging.WARNING,
    Kind.SWITCH_ERROR: logging.WARNING,
    Kind.CONTROLLER_LOST: logging.WARNING,
    Kind.CONTROLLER_FAILED: logging.WARNING,
    Kind.VERSION_MISMATCH: logging.WARNING,
    Kind.MALFORMED: logging.WARNING,
    Kind.FOREIGN_FLOW: logging.WARNING,
    Kind.SLICE_EXPIRING: logging.WARNING,
    Kind.WORKER_LOST: logging.WARNING,
    # debug: steps on the way to something that is reported when it is reached.
    Kind.SWITCH_CONNECTED: logging.DEBUG,
    Kind.DATAPATH_STATE: logging.DEBUG,
    Kind.OPERATION_GOES_ON: logging.DEBUG,
}
"""Everything else is info: it happened, it is meant to, and it is good to know."""

TITLES: Final[dict[Kind, str]] = {
    Kind.SWITCH_CONNECTED: "a switch connected",
    Kind.SWITCH_UP: "switch is up",
    Kind.SWITCH_DOWN: "switch is gone",
    Kind.SWITCH_REFUSED: "switch refused",
    Kind.PIPELINE: "pipeline not as configured",
    Kind.PORT_CHANGED: "port changed",
    Kind.DATAPATH_STATE: "virtual datapath changed state",
    Kind.CONTROLLER_CONNECTED: "controller is connected",
    Kind.CONTROLLER_LOST: "controller is gone",
    Kind.CONTROLLER_FAILED: "controller cannot be reached",
    Kind.VERSION_MISMATCH: "no common OpenFlow version",
    Kind.DPID_COLLISION: "two virtual datapaths would present one DPID",
    Kind.REFUSED: "a controller's message was refused",
    Kind.MALFORMED: "a peer sent what is not OpenFlow",
    Kind.SWITCH_ERROR: "switch refused one of VMOC's own messages",
    Kind.QUOTA: "a slice's quota is used up",
    Kind.RATE_LIMITED: "a slice is over its rate",
    Kind.DROPPED: "packet-ins dropped",
    Kind.TAINTED: "a VLAN is closed because it could not be proven clean",
    Kind.FOREIGN_FLOW: "a flow that is not VMOC's was found",
    Kind.SLICE_ADDED: "slice added",
    Kind.SLICE_CHANGED: "slice changed",
    Kind.SLICE_REMOVED: "slice removed",
    Kind.SLICE_EXPIRING: "slice expires soon",
    Kind.SLICE_EXPIRED: "slice has expired and was removed",
    Kind.SLICE_HELD: "a stored slice clashes with the configuration and has no effect",
    Kind.OPERATION_GOES_ON: "an operation on a sliver goes on",
    Kind.OPERATION_ENDED: "an operation on a sliver ended",
    Kind.CONFIG_RELOADED: "configuration reloaded",
    Kind.CONFIG_REJECTED: "configuration rejected; the running one stays",
    Kind.CALL: "call",
    Kind.SERVER_STARTED: "VMOC has started",
    Kind.SERVER_STOPPING: "VMOC is stopping",
    Kind.WORKER_LOST: "a worker is gone",
}

_UNTHROTTLED: Final = frozenset(
    {
        Kind.CALL,
        Kind.OPERATION_ENDED,
        Kind.SERVER_STARTED,
        Kind.SERVER_STOPPING,
        Kind.WORKER_LOST,
        Kind.CONFIG_RELOADED,
        Kind.CONFIG_REJECTED,
        Kind.SWITCH_UP,
        Kind.SWITCH_DOWN,
    }
)
_RETRIED: Final = frozenset({Kind.CONTROLLER_FAILED, Kind.VERSION_MISMATCH})
_BY_KIND_ALONE: Final = frozenset({Kind.SLICE_ADDED, Kind.SLICE_CHANGED, Kind.SLICE_REMOVED, Kind.DATAPATH_STATE})


class Log(Protocol):
    """The one method of a structlog logger used here."""

    def log(self, level: int, event: str, **context: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, its number (from 1, without gaps) and when it was recorded (seconds since the epoch)."""

    sequence: int
    time: float
    event: Event


@dataclass(slots=True)
class _Window:
    until: float
    shown: int
    last: Event
    withheld: int = 0


class EventLog:
    """Records events; belongs to the loop's thread. ``counts`` is by kind, for the metrics."""

    def __init__(
        self,
        log: Log,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[Kind] = Counter()
        self._log = log
        self._clock = clock
        self._wall = wall
        # Slots by number, not a deque: other threads read it while it is written to.
        self._ring: list[Recorded | None] = [None] * capacity
        self._sequence = 0
        self._windows: dict[tuple[object, ...], _Window] = {}
        self._watchers: tuple[Callable[[Recorded], None], ...] = ()
        self._changing = threading.Lock()
        """Held by those who come and go, never by ``record``."""

    def record(self, event: Event) -> None:
        """Number it, keep it, count it, log it, tell the watchers."""
        recorded = Recorded(self._sequence + 1, self._wall(), event)
        self._ring[recorded.sequence % len(self._ring)] = recorded
        self._sequence = recorded.sequence  # only now: readers on other threads rely on what has a number being there
        self.counts[event.kind] += 1
        if self._admit(event):
            self._log.log(LEVELS.get(event.kind, logging.INFO), headline(event), **context(event))
        for watcher in self._watchers:
            watcher(recorded)

    def since(self, sequence: int) -> Iterator[Recorded]:
        """What was recorded after ``sequence``, as far as the ring still has it."""
        numbers = range(max(sequence + 1, self.first_sequence), self._sequence + 1)
        return iter([recorded for number in numbers if (recorded := self.get(number)) is not None])

    def get(self, sequence: int) -> Recorded | None:
        """The event of that number; None when it is not kept any more, or not there yet. On any thread."""
        recorded = self._ring[sequence % len(self._ring)]
        return recorded if recorded is not None and recorded.sequence == sequence else None

    @property
    def capacity(self) -> int:
        """How many events are kept."""
        return len(self._ring)

    @property
    def last_sequence(self) -> int:
        """The newest event's number; 0 before the first."""
        return self._sequence

    @property
    def first_sequence(self) -> int:
        """The oldest number still kept; a reader further behind has missed events."""
        return max(1, self._sequence - len(self._ring) + 1)

    def watch(self, watcher: Callable[[Recorded], None]) -> Callable[[], None]:
        """Call ``watcher`` on the loop for each event from now on; returns what ends that. On any thread."""
        with self._changing:
            self._watchers = (*self._watchers, watcher)

        def end() -> None:
            with self._changing:
                self._watchers = tuple(one for one in self._watchers if one is not watcher)

        return end

    def tick(self) -> None:
        """End windows that are over and log what they withheld; call about once a second."""
        now = self._clock()
        for key in [key for key, window in self._windows.items() if window.until <= now]:
            self._summarise(self._windows.pop(key))

    def flush(self) -> None:
        """Log what is still withheld: the service is ending."""
        for window in self._windows.values():
            self._summarise(window)
        self._windows.clear()

    def _admit(self, event: Event) -> bool:
        if event.kind in _UNTHROTTLED:
            return True
        key = _cause(event)
        if key not in self._windows and len(self._windows) >= CAUSES:
            key = (event.kind,)
        now = self._clock()
        window = self._windows.get(key)
        if window is not None and window.until <= now:
            self._summarise(window)
            window = None
        if window is None:
            length = RETRY_WINDOW if event.kind in _RETRIED else WINDOW
            self._windows[key] = _Window(now + length, 1, event)
            return True
        window.last = event
        if window.shown < BURST:
            window.shown += 1
            return True
        window.withheld += 1
        return False

    def _summarise(self, window: _Window) -> None:
        if window.withheld:
            event = window.last
            self._log.log(
                LEVELS.get(event.kind, logging.INFO),
                f"{TITLES[event.kind]}: and {window.withheld} more like this",
                **{key: value for key, value in context(event).items() if key in ("kind", "slice", "reason")},
            )


def _cause(event: Event) -> tuple[object, ...]:
    if event.kind in _BY_KIND_ALONE:
        return (event.kind,)
    if event.controller is not None and event.kind in _RETRIED:
        # One controller that is away concerns as many links as its slice has switches.
        return (event.kind, event.controller, event.reason)
    return (event.kind, event.slice, event.dpid, event.reason)


def headline(event: Event) -> str:
    """One sentence: the kind in words, and what the core has to add."""
    title = TITLES[event.kind]
    return f"{title}: {event.message}" if event.message else title


def context(event: Event) -> dict[str, object]:
    """The log line's key=value pairs."""
    pairs: dict[str, object] = {"kind": event.kind.value}
    if event.slice is not None:
        pairs["slice"] = event.slice
    if event.dpid is not None:
        pairs["dpid"] = format_dpid(event.dpid)
    if event.vlan is not None:
        pairs["vlan"] = event.vlan
    if event.controller is not None:
        pairs["controller"] = event.controller
    if event.reason is not None:
        pairs["reason"] = event.reason
    for key, value in event.detail.items():
        pairs.setdefault(key if key not in ("event", "level", "timestamp", "logger") else f"{key}_", value)
    return pairs
