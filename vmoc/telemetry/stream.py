"""Events for readers on other threads: groups, filters, places to go on from, and gaps that are told.

A reader has no queue of its own: it reads the ring at its own speed. One that
is too slow, and one that comes back after a restart, is told what it has
missed, and goes on; nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import islice
from time import monotonic
from typing import Final

from vmoc.errors import VmocError
from vmoc.events import Event, Kind
from vmoc.telemetry.events import LEVELS, EventLog, Recorded

READERS: Final = 256
EARLIEST: Final = "earliest"
"""The token that stands for the oldest event that is kept."""
LOOKS: Final = 512
"""Events that ``Subscription.ready`` passes over at a time."""


class Group(StrEnum):
    """What an event is about."""

    SLICE = "slice"
    SEGMENT = "segment"
    SWITCH = "switch"
    CONTROLLER = "controller"
    REFUSAL = "refusal"
    QUOTA = "quota"
    OPERATION = "operation"
    SERVER = "server"


class Severity(IntEnum):
    """As in the log."""

    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARNING = logging.WARNING
    ERROR = logging.ERROR


GROUPS: Final[dict[Group, tuple[Kind, ...]]] = {
    Group.SLICE: (
        Kind.SLICE_ADDED,
        Kind.SLICE_CHANGED,
        Kind.SLICE_REMOVED,
        Kind.SLICE_EXPIRING,
        Kind.SLICE_EXPIRED,
        Kind.SLICE_HELD,
    ),
    Group.SEGMENT: (Kind.DATAPATH_STATE, Kind.DPID_COLLISION, Kind.TAINTED),
    Group.SWITCH: (
        Kind.SWITCH_CONNECTED,
        Kind.SWITCH_UP,
        Kind.SWITCH_DOWN,
        Kind.SWITCH_REFUSED,
        Kind.SWITCH_ERROR,
        Kind.PORT_CHANGED,
        Kind.PIPELINE,
        Kind.FOREIGN_FLOW,
    ),
    Group.CONTROLLER: (
        Kind.CONTROLLER_CONNECTED,
        Kind.CONTROLLER_LOST,
        Kind.CONTROLLER_FAILED,
        Kind.VERSION_MISMATCH,
    ),
    Group.REFUSAL: (Kind.REFUSED, Kind.MALFORMED),
    Group.QUOTA: (Kind.QUOTA, Kind.RATE_LIMITED, Kind.DROPPED),
    Group.SERVER: (
        Kind.CONFIG_RELOADED,
        Kind.CONFIG_REJECTED,
        Kind.CALL,
        Kind.SERVER_STARTED,
        Kind.SERVER_STOPPING,
        Kind.WORKER_LOST,
    ),
}
_GROUP_OF: Final = {kind: group for group, kinds in GROUPS.items() for kind in kinds}


def group_of(kind: Kind) -> Group:
    """The group of a kind; ``operation`` by its name."""
    found = _GROUP_OF.get(kind)
    if found is not None:
        return found
    return Group.OPERATION if kind.value.startswith(("operation", "sliver")) else Group.SERVER


def severity_of(kind: Kind) -> Severity:
    """How much it matters."""
    return Severity(LEVELS.get(kind, logging.INFO))


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted: all conditions that are given hold.

    ``slices``: events of these slices, and with ``unowned`` also those that
    name no slice (switches, the server).
    """

    slices: frozenset[str] | None = None
    unowned: bool = False
    kinds: frozenset[Kind] | None = None
    groups: frozenset[Group] | None = None
    dpids: frozenset[int] | None = None
    severity: Severity = Severity.DEBUG

    def admits(self, event: Event) -> bool:
        """Whether the event is one of them."""
        if self.slices is not None and event.slice not in self.slices and not (self.unowned and event.slice is None):
            return False
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.groups is None or group_of(event.kind) in self.groups)
            and (self.dpids is None or event.dpid in self.dpids)
            and severity_of(event.kind) >= self.severity
        )


# -- what a reader gets ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Happened:
    """One event. ``time`` is seconds since the epoch; ``token``: go on after it."""

    token: str
    time: float
    event: Event

    @property
    def group(self) -> Group:
        """What it is about."""
        return group_of(self.event.kind)

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return severity_of(self.event.kind)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events are missing: ``restart`` (an earlier process's are not kept) or ``overrun`` (``lost`` left the ring)."""

    token: str
    reason: str
    lost: int | None


@dataclass(frozen=True, slots=True)
class StateItem:
    """Something as it is at the beginning, a value of ``vmoc.status``."""

    value: object


@dataclass(frozen=True, slots=True)
class StateEnd:
    """That was the initial state; what follows is news, some of which it may show already."""

    token: str


Item = Happened | Gap | StateItem | StateEnd


class TokenError(VmocError, ValueError):
    """A resume token is not one of ours."""


class TooManyReadersError(VmocError):
    """All places are taken; try later."""


class Stream:
    """The events of one process, by its ``boot_id``. All methods may be called on any thread."""

    def __init__(self, log: EventLog, boot_id: str) -> None:
        self.boot_id = boot_id
        self._log = log
        self._readers: set[Subscription] = set()
        self._lock = threading.Lock()

    def token(self, sequence: int) -> str:
        """Where a reader goes on that has dealt with everything up to ``sequence``."""
        return f"{self.boot_id}.{sequence}"

    def now(self) -> str:
        """The token of everything so far."""
        return self.token(self._log.last_sequence)

    def subscribe(
        self,
        wanted: EventFilter | None = None,
        token: str = "",
        prelude: Iterator[Item] | None = None,
        on_news: Callable[[], None] | None = None,
    ) -> Subscription:
        """Read on after ``token``, or from now; ``prelude`` comes first. ``on_news``: see ``Subscription.ready``.

        Raises ``TokenError``, and ``TooManyReadersError`` above ``READERS``.
        """
        gap, after = self._place(token)
        reader = Subscription(self, self._log, wanted or EventFilter(), after, gap, prelude, on_news)
        with self._lock:
            if len(self._readers) >= READERS:
                raise TooManyReadersError("too many readers of events; close one, or try again later")
            self._readers.add(reader)
        reader.start(self._log.watch(reader.wake))
        return reader

    def _place(self, token: str) -> tuple[Gap | None, int]:
        if not token:
            return None, self._log.last_sequence
        if token == EARLIEST:
            return None, self._log.first_sequence - 1
        boot, dot, number = token.rpartition(".")
        if not (dot and boot and number.isascii() and number.isdecimal() and len(number) < 20):
            raise TokenError("the resume token is not one of VMOC's; leave it out to begin now")
        sequence = int(number)
        if boot != self.boot_id:
            start = self._log.first_sequence - 1
            return Gap(self.token(start), "restart", None), start
        if sequence > self._log.last_sequence:
            raise TokenError("the resume token is of an event that has not happened; leave it out to begin now")
        return None, sequence

    def drop(self, reader: Subscription) -> None:
        """The reader is done."""
        with self._lock:
            self._readers.discard(reader)

    def close(self) -> None:
        """End every reader: the service is stopping."""
        with self._lock:
            readers = list(self._readers)
        for reader in readers:
            reader.close()


class Subscription:
    """One reader's place. ``next`` and ``ready`` are for one thread at a time; ``close`` for any."""

    def __init__(
        self,
        stream: Stream,
        log: EventLog,
        wanted: EventFilter,
        after: int,
        gap: Gap | None,
        prelude: Iterator[Item] | None,
        on_news: Callable[[], None] | None = None,
    ) -> None:
        self.closed = False
        self._on_news = on_news
        self._stream = stream
        self._log = log
        self._wanted = wanted
        self._after = after
        self._gap = gap
        self._prelude = prelude
        self._news = threading.Event()
        self._end: Callable[[], None] = lambda: None

    def start(self, end: Callable[[], None]) -> None:
        """``end`` ends the wakes."""
        self._end = end

    def wake(self, _: Recorded) -> None:
        """On the loop, for every event: costs nothing while the reader is busy."""
        if not self._news.is_set():
            self._news.set()
            if self._on_news is not None:
                self._on_news()

    @property
    def token(self) -> str:
        """Where the reader is, also past events it did not want: for heartbeats."""
        return self._stream.token(self._after)

    def next(self, timeout: float) -> Item | None:
        """The next item; None when there is none within ``timeout`` seconds, or the subscription is closed."""
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return gap
        if self._prelude is not None:
            item = next(self._prelude, None)
            if item is not None:
                return item
            self._prelude = None
        deadline = monotonic() + timeout
        while not self.closed:
            self._news.clear()
            item = self._scan()
            if item is not None:
                return item
            left = deadline - monotonic()
            if left <= 0 or not self._news.wait(left):
                return None
        return None

    def prelude(self, most: int) -> list[Item]:
        """Up to ``most`` items of what comes before the news, which may have to be asked for; empty: that was all."""
        found = list(islice(self._prelude, most)) if self._prelude is not None else []
        if not found:
            self._prelude = None
        return found

    def ready(self, most: int) -> tuple[list[Item], bool]:
        """Up to ``most`` items that are there now, and whether there may be more; does not wait, whatever happens.

        After (.., False) the next event calls ``on_news``, on the loop that records it. The prelude is not in it.
        """
        found: list[Item] = []
        if self._gap is not None:
            found.append(self._gap)
            self._gap = None
        self._news.clear()
        while len(found) < most:
            item, more = self._look(LOOKS)
            if item is None:
                return found, more
            found.append(item)
        return found, True

    def _scan(self) -> Item | None:
        more = True
        while more:
            item, more = self._look(LOOKS)
            if item is not None:
                return item
        return None

    def _look(self, most: int) -> tuple[Item | None, bool]:
        """The next item among ``most`` events, and whether there are events after those."""
        log = self._log
        for _ in range(most):
            if self._after >= log.last_sequence:
                return None, False
            recorded = log.get(self._after + 1)
            if recorded is None:
                # Somewhat ahead of the oldest, which is about to go as well.
                first = min(log.first_sequence + log.capacity // 10, log.last_sequence)
                lost, self._after = first - 1 - self._after, first - 1
                return Gap(self.token, "overrun", lost), True
            self._after = recorded.sequence
            if self._wanted.admits(recorded.event):
                return Happened(self.token, recorded.time, recorded.event), True
        return None, True

    def close(self) -> None:
        """Stop; a ``next`` that waits returns."""
        if not self.closed:
            self.closed = True
            self._end()
            self._stream.drop(self)
            self._news.set()
            if self._on_news is not None:
                self._on_news()
