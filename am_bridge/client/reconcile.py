"""Desired and actual slices: what to call next, what an answer means. No I/O, no clock, no threads.

``next`` gives the step to make, or the time to ask again; whoever makes the step gives back ``answered`` or
``failed``. A step that failed on the way is made again as it is, with its ``request_id``, so that an answer that was
lost costs nothing. What was refused is never tried again by itself, except once for each restart of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Final

from am_bridge.client.backoff import Backoff
from am_bridge.client.errors import ClientError, SupersededError
from am_bridge.client.sameness import same_slice
from am_bridge.client.steps import (
    Check,
    Connected,
    Done,
    Drifted,
    DriftKind,
    Expired,
    Failed,
    Greet,
    Greeting,
    ListAll,
    Register,
    Report,
    Step,
    Sync,
    Trouble,
    Unregister,
    Wanted,
)
from am_bridge.convert import Choice
from vmoc.model import Slice

MOST_SUSPECTS: Final = 50
"""So many slices are looked at one by one; if more are in doubt, all are listed."""
_NO_CHOICES: Final[Mapping[int, Choice]] = {}
_SLACK: Final = 1.0
"""Seconds that clocks and messages may be apart when a slice expires."""


class OnDrift(StrEnum):
    """What to do about a slice that somebody else changed or removed."""

    RESTORE = "restore"
    ACCEPT = "accept"


class _State(Enum):
    PENDING = 1
    APPLIED = 2
    REFUSED = 3


@dataclass(slots=True)
class _Entry:
    want: Slice | None
    """None: it shall be gone."""
    version: int
    ticket: int | None
    before: Slice | None = None
    """What the server has by all we know; None: nothing."""
    choices: Mapping[int, Choice] = field(default_factory=lambda: _NO_CHOICES)
    state: _State = _State.PENDING


class Reconciler:
    """The slices of one manager, desired and actual.

    With ``initial`` these are all that is desired, and what else the manager has on the server is removed. Without,
    what the server has when the client first sees it is desired, and ``put`` and ``remove`` change that.
    """

    def __init__(
        self,
        manager: str,
        initial: Iterable[Slice] | None,
        *,
        new_id: Callable[[], str],
        on_drift: OnDrift = OnDrift.RESTORE,
        backoff: Backoff | None = None,
    ) -> None:
        self.manager = manager
        self.whole = initial is not None
        self._on_drift = on_drift
        self._new_id = new_id
        self._backoff = backoff or Backoff()
        self._entries: dict[str, _Entry] = {}
        self._pending: dict[str, None] = {}
        self._parts: deque[tuple[Wanted, ...]] = deque()  # of a batch that was refused as a whole
        self._suspects: dict[str, None] = {}
        self._reports: list[Report] = []
        self._numbers = 0
        self._retried: Step | None = None
        self._tries = 0
        self._retry_at = float("-inf")
        self._greeted = self._listed = self._restarted = False
        self._sync_refused = False
        self._boot = ""
        self._batch, self._most_sync = 1000, 50_000
        self._changes = 0
        for one in initial or ():
            self._set(self._owned(one), {}, None)

    # -- what is desired -----------------------------------------------------------------------------------------------

    @property
    def desired(self) -> dict[str, Slice]:
        """What shall be, by id."""
        return {key: entry.want for key, entry in self._entries.items() if entry.want is not None}

    @property
    def refused(self) -> set[str]:
        """Ids of desired slices that the server refuses."""
        return {key for key, entry in self._entries.items() if entry.state is _State.REFUSED}

    @property
    def settled(self) -> bool:
        """Whether the server has what is desired, refused slices excepted."""
        return self._greeted and self._listed and not (self._pending or self._parts or self._suspects or self._retried)

    def put(self, one: Slice, choices: Mapping[int, Choice] | None = None) -> int:
        """Desire a slice, new or changed. Returns the ticket its outcome will have.

        Raises ``ValueError`` if it is another manager's.
        """
        return self._change(self._owned(one), choices or {})

    def remove(self, slice_id: str) -> int:
        """Desire that there is no such slice. Returns the ticket its outcome will have."""
        return self._change(slice_id, {})

    def _owned(self, one: Slice) -> Slice:
        if one.manager not in ("", self.manager) and self.manager:
            raise ValueError(f"slice {one.id} is manager {one.manager}'s, and this client is manager {self.manager}")
        return one if one.manager == self.manager else replace(one, manager=self.manager or one.manager)

    def _change(self, wanted: Slice | str, choices: Mapping[int, Choice]) -> int:
        self._numbers += 1
        self._set(wanted, choices, self._numbers)
        return self._numbers

    def _set(self, wanted: Slice | str, choices: Mapping[int, Choice], ticket: int | None) -> None:
        slice_id = wanted if isinstance(wanted, str) else wanted.id
        want = None if isinstance(wanted, str) else wanted
        entry = self._entries.get(slice_id)
        self._changes += 1
        if entry is None:
            entry = self._entries[slice_id] = _Entry(want, self._changes, ticket, choices=choices)
        else:
            if entry.state is _State.PENDING and entry.ticket is not None:
                text = f"a later change of slice {slice_id} took this one's place"
                self._reports.append(Failed(slice_id, SupersededError(text), entry.ticket))
            entry.want, entry.version, entry.ticket, entry.choices = want, self._changes, ticket, choices
            entry.state = _State.PENDING
        # At the end: a VLAN that a slice leaves is free before the slice that comes after wants it.
        self._pending.pop(slice_id, None)
        self._pending[slice_id] = None

    # -- what is seen --------------------------------------------------------------------------------------------------

    def doubt(self) -> None:
        """Events may have been missed: greet the server and list everything again."""
        self._greeted = self._listed = False

    def noticed(self, slice_id: str, actual: Slice | None) -> None:
        """An event showed a slice of this manager's, None if it went; looked at again unless that is as desired."""
        entry = self._entries.get(slice_id)
        want = entry.want if entry is not None else None
        if (actual is None) != (want is None) or (actual and want and not same_slice(actual, want)):
            self._suspects[slice_id] = None

    def suspect(self, slice_id: str) -> None:
        """Something became of a slice, perhaps one of this manager's; it is looked at."""
        self._suspects[slice_id] = None

    # -- steps ---------------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Step | float | None:
        """The step to make now, the time to ask again, or None if there is nothing to do."""
        if now < self._retry_at:
            return self._retry_at
        if not self._greeted:
            return Greet()
        if not self._listed or len(self._suspects) > MOST_SUSPECTS:
            self._listed = False
            return ListAll()
        if self._retried is not None and self._current(self._retried):
            return self._retried
        self._retried = self._next_change()
        self._tries = 0
        return self._retried

    def _next_change(self) -> Step | None:
        while self._parts:
            part = tuple(one for one in self._parts.popleft() if self._is_wanted(one))
            if part:
                return Register(part, self._new_id())
        if self.whole and len(self._pending) > 1 and not self._sync_refused:
            sync = self._sync()
            if len(sync.wanted) <= self._most_sync:
                return sync
        batch: list[Wanted] = []
        for slice_id in self._pending:
            entry = self._entries[slice_id]
            if entry.want is None:
                if batch:
                    break
                return Unregister(slice_id, entry.version, self._new_id())
            batch.append(Wanted(entry.want, entry.choices, entry.version))
            if len(batch) >= self._batch:
                break
        if batch:
            return Register(tuple(batch), self._new_id())
        return Check(next(iter(self._suspects))) if self._suspects else None

    def _sync(self) -> Sync:
        wanted, removed = [], []
        for slice_id, entry in self._entries.items():
            # What is refused stays as the server has it; Sync would remove what it does not name.
            one = entry.before if entry.state is _State.REFUSED else entry.want
            if one is not None:
                wanted.append(Wanted(one, entry.choices, entry.version))
            elif entry.state is _State.PENDING:
                removed.append((slice_id, entry.version))
        return Sync(tuple(wanted), tuple(removed), self._new_id())

    def _current(self, step: Step) -> bool:
        """Whether all of a step is still wanted."""
        if isinstance(step, Register):
            return all(map(self._is_wanted, step.wanted))
        if isinstance(step, Unregister):
            return self._is_version(step.slice_id, step.version)
        # A Sync speaks of everything, and the server was listed in between: another one is made.
        return not isinstance(step, Sync)

    def _is_wanted(self, one: Wanted) -> bool:
        return self._is_version(one.slice.id, one.version)

    def _is_version(self, slice_id: str, version: int) -> bool:
        entry = self._entries.get(slice_id)
        return entry is not None and entry.version == version and entry.state is _State.PENDING

    # -- answers -------------------------------------------------------------------------------------------------------

    def answered(self, step: Step, answer: object, clock: float) -> None:
        """A step's answer, as its class says. ``clock`` is the server's, in seconds since the epoch."""
        self._retry_at = float("-inf")
        if not isinstance(step, Greet | ListAll):
            self._retried = None
        if self._retried is None:  # a server that greets, and fails to make the change, is not well yet
            self._backoff.reset()
            self._tries = 0
        if isinstance(step, Greet):
            assert isinstance(answer, Greeting)
            self._met(answer)
        elif isinstance(step, ListAll):
            assert isinstance(answer, list)
            self._compare_all({one.id: one for one in answer}, clock)
        elif isinstance(step, Check):
            assert answer is None or isinstance(answer, Slice)
            self._suspects.pop(step.slice_id, None)
            self._compare(step.slice_id, answer, clock, restarted=False)
        elif isinstance(step, Register):
            assert isinstance(answer, list)
            for wanted, one in zip(step.wanted, answer, strict=True):
                self._applied(wanted, one)
        elif isinstance(step, Unregister):
            self._gone(step.slice_id, step.version)
        else:
            assert isinstance(answer, list)
            changed = {one.id: one for one in answer}
            for wanted in step.wanted:
                self._applied(wanted, changed.get(wanted.slice.id, wanted.slice))
            for slice_id, version in step.removed:
                self._gone(slice_id, version)

    def _met(self, greeting: Greeting) -> None:
        self._greeted = True
        self._batch, self._most_sync = max(1, greeting.most_batch), greeting.most_sync
        restarted = bool(self._boot) and self._boot != greeting.boot_id
        if restarted:
            self._listed, self._restarted = False, True
        if restarted or not self._boot or not self._listed:
            self._reports.append(Connected(greeting.boot_id, restarted))
        self._boot = greeting.boot_id
        if not self.manager and greeting.manager:
            self.manager = greeting.manager
            for entry in self._entries.values():
                if entry.want is not None:
                    entry.want = replace(entry.want, manager=self.manager)

    def _compare_all(self, actual: Mapping[str, Slice], clock: float) -> None:
        self._listed, restarted, self._restarted = True, self._restarted, False
        self._sync_refused = False
        self._suspects.clear()
        for slice_id in [*self._entries, *(key for key in actual if key not in self._entries)]:
            self._compare(slice_id, actual.get(slice_id), clock, restarted=restarted)

    def _compare(self, slice_id: str, actual: Slice | None, clock: float, *, restarted: bool) -> None:
        """Bring one slice that the server has, or has not, in line with what is desired."""
        entry = self._entries.get(slice_id)
        if entry is None:
            if actual is not None:
                self._found(actual)
            return
        entry.before = actual
        want = entry.want
        if want is not None and want.expire_time is not None and want.expire_time <= clock + _SLACK and actual is None:
            self._expire(slice_id, entry)
        elif entry.state is _State.REFUSED and restarted:
            self._again(slice_id, entry)
        elif entry.state is _State.APPLIED and want is not None and not (actual and same_slice(actual, want)):
            self._differs(slice_id, entry, want, actual, restarted=restarted)

    def _found(self, actual: Slice) -> None:
        """A slice of this manager that nobody here knows."""
        self._changes += 1
        entry = _Entry(actual, self._changes, None, before=actual, state=_State.APPLIED)
        self._entries[actual.id] = entry
        if self.whole:
            self._reports.append(Drifted(actual.id, DriftKind.ADDED, actual, restored=True))
            self._set(actual.id, {}, None)
        else:
            self._reports.append(Drifted(actual.id, DriftKind.ADDED, actual, restored=False))

    def _differs(self, slice_id: str, entry: _Entry, want: Slice, actual: Slice | None, *, restarted: bool) -> None:
        kind = DriftKind.REMOVED if actual is None else DriftKind.CHANGED
        restore = self._on_drift is OnDrift.RESTORE or restarted
        # An operator who disables or renews a slice means it; whoever wants it back says so with put.
        if actual and same_slice(replace(actual, enabled=want.enabled, expire_time=want.expire_time), want):
            restore = False
        self._reports.append(Drifted(slice_id, kind, actual, restored=restore))
        if restore:
            self._again(slice_id, entry)
        elif actual is None:
            del self._entries[slice_id]
        else:
            entry.want = actual

    def _again(self, slice_id: str, entry: _Entry) -> None:
        entry.state = _State.PENDING
        self._pending[slice_id] = None

    def _expire(self, slice_id: str, entry: _Entry) -> None:
        del self._entries[slice_id]
        self._pending.pop(slice_id, None)
        self._reports.append(Expired(slice_id))
        if entry.state is _State.PENDING and entry.ticket is not None:
            text = f"slice {slice_id} expired before it could be registered; put it again with a later expire_time"
            self._reports.append(Failed(slice_id, ClientError(text), entry.ticket))

    def _applied(self, wanted: Wanted, actual: Slice) -> None:
        entry = self._entries.get(wanted.slice.id)
        if entry is None:
            return
        entry.before = actual
        if not self._is_wanted(wanted):
            return
        # The VLANs that the server chose are the ones to ask for from now on.
        entry.want, entry.choices, entry.state = actual, _NO_CHOICES, _State.APPLIED
        self._pending.pop(actual.id, None)
        self._reports.append(Done(actual.id, actual, entry.ticket))
        entry.ticket = None

    def _gone(self, slice_id: str, version: int) -> None:
        entry = self._entries.get(slice_id)
        if entry is None:
            return
        entry.before = None
        if self._is_version(slice_id, version):
            del self._entries[slice_id]
            self._pending.pop(slice_id, None)
            self._reports.append(Done(slice_id, None, entry.ticket))

    # -- failures ------------------------------------------------------------------------------------------------------

    def failed(self, step: Step, error: ClientError, now: float) -> None:
        """A step failed; ``now`` is of any clock that doesn't jump, the one that ``next`` is given."""
        link = isinstance(step, Greet | ListAll)
        self._tries += not link
        if error.retryable and (link or error.tries is None or self._tries < error.tries):
            self._wait(error, now)
            return
        if link:
            # Without a server that talks to us nothing can be changed; its owner may know a way. We ask on, slowly.
            for slice_id in [key for key in self._pending if self._entries[key].ticket is not None]:
                self._refuse(slice_id, error)
            self._wait(error, now)
            return
        self._retried = None
        self._tries = 0
        if isinstance(step, Sync):
            self._sync_refused = True  # one by one, to learn which
        elif isinstance(step, Register):
            if len(step.wanted) > 1:
                half = len(step.wanted) // 2
                self._parts.extendleft((step.wanted[half:], step.wanted[:half]))
            elif self._is_wanted(step.wanted[0]):
                self._refuse(step.wanted[0].slice.id, error)
        elif isinstance(step, Unregister):
            if self._is_version(step.slice_id, step.version):
                self._refuse(step.slice_id, error)
        elif isinstance(step, Check):
            self._suspects.pop(step.slice_id, None)

    def _wait(self, error: ClientError, now: float) -> None:
        delay = max(self._backoff.next(), error.retry_after or 0.0)
        self._retry_at = now + delay
        self._greeted = False
        self._reports.append(Trouble(error, delay))

    def _refuse(self, slice_id: str, error: ClientError) -> None:
        entry = self._entries[slice_id]
        self._pending.pop(slice_id, None)
        self._reports.append(Failed(slice_id, error, entry.ticket))
        if entry.ticket is None and entry.want is not None:
            entry.state = _State.REFUSED
        elif entry.before is not None:
            entry.want, entry.choices, entry.state = entry.before, _NO_CHOICES, _State.APPLIED
        else:
            del self._entries[slice_id]
        entry.ticket = None

    def take_reports(self) -> list[Report]:
        """What happened since the last time, in order."""
        taken, self._reports = self._reports, []
        return taken
