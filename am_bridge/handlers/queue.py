"""When which operation runs: pure, told the time, answering with what to do.

An operation passes these phases::

    QUEUED -> MAIN -> done
                |  failed, attempts left:     BACKOFF -> MAIN
                |  create failed or stopped:  UNDO  (a delete, with its own attempts) -> done
                |  modify or action failed:   CHECK (a probe: what is true now?)      -> done

Rules:

* A sliver has at most one operation; another one is refused (``BusyError``). A
  delete is not: it stops what runs, drops what waits, and follows. A stopped
  create is not undone when a delete follows, for that does the same.
* A phase runs while a worker is free, its resource type is below its
  concurrency, and nobody holds one of its locks.
* First come, first served. One that waits for a lock or a type keeps those that
  came later from it, but not from other locks and types: nobody starves, and a
  busy host does not hold up the rest.
* A phase that outlives its time limit is stopped and counts as failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from am_bridge.handlers.handler import FailureKind, Verb
from am_bridge.handlers.spec import SliverKey

BACKOFF_FIRST: Final = 1.0
BACKOFF_MAX: Final = 30.0


class Phase(StrEnum):
    """Where an operation is."""

    QUEUED = "queued"
    MAIN = "main"
    BACKOFF = "backoff"
    UNDO = "undo"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one resource type: seconds and attempts per verb (an action's name counts as one)."""

    timeouts: dict[str, float]
    attempts: dict[str, int]
    concurrency: int = 0
    """0: as many as there are workers."""

    def timeout(self, word: str) -> float:
        """Seconds a run of that verb or action may take."""
        return self.timeouts.get(word, self.timeouts["default"])

    def tries(self, word: str) -> int:
        """How often that verb or action may be tried."""
        return self.attempts.get(word, 1)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the queue needs to know of an operation."""

    id: str
    sliver: SliverKey
    verb: Verb
    type: str
    limits: Limits
    locks: frozenset[str] = frozenset()
    word: str = ""
    """The action's name."""


@dataclass(frozen=True, slots=True)
class Start:
    """Call the handler: ``verb`` is the phase's. ``attempt`` counts from 1 within the phase."""

    ticket: Ticket
    phase: Phase
    verb: Verb
    attempt: int
    time_limit: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the run of this operation to stop."""

    ticket: Ticket
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class Done:
    """The operation is over. ``cancelled``: by request, before it could succeed."""

    ticket: Ticket
    succeeded: bool
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """The operation failed and will be tried again in ``seconds``."""

    ticket: Ticket
    attempt: int
    seconds: float


Effect = Start | Ask | Done | Wait


class BusyError(Exception):
    """The sliver has an operation already."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"operation {operation} is in progress on this sliver; wait for it or cancel it")
        self.operation = operation


class FullError(Exception):
    """Too many operations wait."""


@dataclass
class _Entry:
    ticket: Ticket
    order: int
    phase: Phase = Phase.QUEUED
    after: Phase = Phase.MAIN
    """The phase to start next, while not running."""
    attempt: int = 0
    running: bool = False
    not_before: float = 0.0
    deadline: float = 0.0
    stopping: FailureKind | None = None
    cancelled: bool = False
    follower: _Entry | None = field(default=None, repr=False)
    """The delete that waits for this one's end."""

    @property
    def verb(self) -> Verb:
        if self.after is Phase.UNDO:
            return Verb.DELETE
        return Verb.PROBE if self.after is Phase.CHECK else self.ticket.verb

    @property
    def word(self) -> str:
        return self.ticket.word if self.verb is Verb.ACTION else self.verb.value


class Queue:
    """See the module. ``jitter()`` is a random number in [0, 1)."""

    def __init__(self, workers: int, capacity: int, jitter: Callable[[], float]) -> None:
        self._workers = workers
        self._capacity = capacity
        self._jitter = jitter
        self._order = 0
        self._entries: dict[str, _Entry] = {}
        self._slivers: dict[SliverKey, _Entry] = {}
        self._closed = False

    # -- what is asked -------------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now: float) -> tuple[str, list[Effect]]:
        """Queue an operation; returns the id of the one in charge (a delete joins a delete that is there already).

        Raises ``BusyError`` and ``FullError``.
        """
        joined = self.check_room(ticket)
        if joined is not None:
            return joined, []
        holder = self._slivers.get(ticket.sliver)
        entry = self._enter(ticket)
        if holder is None:
            self._slivers[ticket.sliver] = entry
            return ticket.id, self._start(now)
        effects: list[Effect] = []
        if holder.follower is not None:  # a delete that was cancelled before it began
            effects += self._drop(holder.follower)
        holder.follower = entry
        return ticket.id, effects + self.cancel(holder.ticket.id, now)

    def check_room(self, ticket: Ticket) -> str | None:
        """The id ``submit`` would answer with if it joined a delete. Raises what ``submit`` would."""
        holder = self._slivers.get(ticket.sliver)
        if holder is not None:
            last = holder.follower or holder
            if ticket.verb is not Verb.DELETE:
                raise BusyError(last.ticket.id)
            if last.ticket.verb is Verb.DELETE and not last.cancelled:
                return last.ticket.id
        if len(self._entries) >= self._capacity and ticket.verb is not Verb.DELETE:
            raise FullError(f"{self._capacity} operations wait already; try again later")
        return None

    def resume(self, ticket: Ticket, phase: Phase, now: float) -> list[Effect]:
        """Take up an operation of an earlier life at ``phase``: MAIN from its beginning, UNDO or CHECK as cancelled."""
        entry = self._enter(ticket)
        self._slivers[ticket.sliver] = entry
        entry.after = phase
        entry.cancelled = phase is not Phase.MAIN
        return self._start(now)

    def cancel(self, operation: str, now: float) -> list[Effect]:
        """End an operation early; what is over, unknown or being undone already is left alone."""
        entry = self._entries.get(operation)
        if entry is None or entry.cancelled:
            return []
        if entry.phase in (Phase.UNDO, Phase.CHECK) or entry.after in (Phase.UNDO, Phase.CHECK):
            # It failed and is being cleared up. A delete that follows need not wait for a pause between attempts.
            return self._overtaken(entry, now)
        entry.cancelled = True
        if entry.running:
            return self._ask(entry, FailureKind.STOPPED, now)
        if entry.phase is Phase.QUEUED:
            return self._end(entry, succeeded=False, now=now)
        return self._aftermath(entry, now)

    def finish(self, operation: str, *, succeeded: bool, now: float, again: bool = True) -> list[Effect]:
        """The handler's call is over. ``again``: whether trying again may help."""
        entry = self._entries.get(operation)
        if entry is None or not entry.running:
            return []
        entry.running = False
        stopped, entry.stopping = entry.stopping, None
        if entry.phase is Phase.MAIN:
            if succeeded:  # also when it was asked to stop: it won the race
                return self._end(entry, succeeded=True, now=now)
            if entry.cancelled:
                return self._aftermath(entry, now)
        elif succeeded or entry.follower is not None:
            return self._end(entry, succeeded=False, now=now)
        if again and stopped is not FailureKind.STOPPED and entry.attempt < entry.ticket.limits.tries(entry.word):
            return self._back_off(entry, now)
        if entry.phase is Phase.MAIN:
            return self._aftermath(entry, now)
        return self._end(entry, succeeded=False, now=now)

    def tick(self, now: float) -> list[Effect]:
        """What time has brought: limits reached, pauses over."""
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            if entry.running and entry.stopping is None and entry.deadline <= now:
                effects += self._ask(entry, FailureKind.TIMEOUT, now)
        return effects + self._start(now)

    def next_tick(self) -> float | None:
        """When ``tick`` has something to do, None for never."""
        times = [entry.deadline for entry in self._entries.values() if entry.running and entry.stopping is None]
        times += [entry.not_before for entry in self._entries.values() if entry.phase is Phase.BACKOFF]
        return min(times, default=None)

    def resize(self, workers: int, capacity: int, now: float) -> list[Effect]:
        """Other limits from now on; what runs and what waits stays, also when that is more than they allow."""
        self._workers, self._capacity = workers, capacity
        return self._start(now)

    def close(self) -> None:
        """Start nothing any more."""
        self._closed = True

    @property
    def running(self) -> list[str]:
        """Operations a handler works for now."""
        return [entry.ticket.id for entry in self._entries.values() if entry.running]

    @property
    def size(self) -> int:
        """Operations that are not over."""
        return len(self._entries)

    def operation_of(self, sliver: SliverKey) -> str | None:
        """The operation in charge of a sliver."""
        holder = self._slivers.get(sliver)
        return None if holder is None else (holder.follower or holder).ticket.id

    # -- how it goes on ------------------------------------------------------------------------------------------------

    def _enter(self, ticket: Ticket) -> _Entry:
        self._order += 1
        entry = self._entries[ticket.id] = _Entry(ticket, self._order)
        return entry

    def _ask(self, entry: _Entry, kind: FailureKind, now: float) -> list[Effect]:
        if entry.stopping is not None:
            return []
        entry.stopping = kind
        return [Ask(entry.ticket, kind)]

    def _back_off(self, entry: _Entry, now: float) -> list[Effect]:
        pause = min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** (entry.attempt - 1)) * (0.5 + 0.5 * self._jitter())
        entry.phase = Phase.BACKOFF
        entry.not_before = now + pause
        return [Wait(entry.ticket, entry.attempt, pause), *self._start(now)]

    def _aftermath(self, entry: _Entry, now: float) -> list[Effect]:
        """The main phase failed for good."""
        if entry.follower is not None or entry.ticket.verb in (Verb.DELETE, Verb.PROBE):
            return self._end(entry, succeeded=False, now=now)
        entry.after = Phase.UNDO if entry.ticket.verb is Verb.CREATE else Phase.CHECK
        entry.phase = Phase.QUEUED
        entry.attempt = 0
        entry.not_before = 0.0
        return self._start(now)

    def _overtaken(self, entry: _Entry, now: float) -> list[Effect]:
        if entry.follower is None:
            return []
        if entry.running:
            return self._ask(entry, FailureKind.STOPPED, now) if entry.phase is Phase.CHECK else []
        return self._end(entry, succeeded=False, now=now)

    def _drop(self, entry: _Entry) -> list[Effect]:
        del self._entries[entry.ticket.id]
        return [Done(entry.ticket, False, True)]

    def _end(self, entry: _Entry, *, succeeded: bool, now: float) -> list[Effect]:
        del self._entries[entry.ticket.id]
        done = Done(entry.ticket, succeeded, entry.cancelled and not succeeded)
        holder = self._slivers.get(entry.ticket.sliver)
        if holder is entry:
            if entry.follower is None:
                del self._slivers[entry.ticket.sliver]
            else:
                self._slivers[entry.ticket.sliver] = entry.follower
        elif holder is not None and holder.follower is entry:
            holder.follower = None
        return [done, *self._start(now)]

    def _start(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self._closed:
            return effects
        running = [entry for entry in self._entries.values() if entry.running]
        free = self._workers - len(running)
        held = {lock for entry in running for lock in entry.ticket.locks}
        busy: dict[str, int] = {}
        for entry in running:
            busy[entry.ticket.type] = busy.get(entry.ticket.type, 0) + 1
        for entry in sorted(self._waiting(now), key=lambda one: one.order):
            if free <= 0:
                break
            ticket = entry.ticket
            limit = ticket.limits.concurrency
            if limit and busy.get(ticket.type, 0) >= limit:
                continue
            if held & ticket.locks:
                held |= ticket.locks  # those behind do not overtake
                continue
            free -= 1
            held |= ticket.locks
            busy[ticket.type] = busy.get(ticket.type, 0) + 1
            effects.append(self._launch(entry, now))
        return effects

    def _waiting(self, now: float) -> Iterable[_Entry]:
        """Those that could start now if there were room: heads of their slivers, pauses over."""
        for entry in self._entries.values():
            if not entry.running and entry.not_before <= now and self._slivers.get(entry.ticket.sliver) is entry:
                yield entry

    def _launch(self, entry: _Entry, now: float) -> Start:
        entry.phase = entry.after
        entry.attempt += 1
        entry.running = True
        entry.not_before = 0.0
        limit = entry.ticket.limits.timeout(entry.word)
        entry.deadline = now + limit
        return Start(entry.ticket, entry.phase, entry.verb, entry.attempt, limit)
