"""``SliceBook``: the only writer of slices. Whoever changes one, changes it here.

A change is checked, planned, stored, adopted and told, in this order and under
one lock, so that changes have an order, the same for everybody. What has been
answered is on disk; what could not be stored has not happened.

Methods block (they write to disk): call them from threads, not on the loop.
They raise the ``LedgerError`` that fits, or ``StoreError``, and then nothing
has changed.

Slices that clash with the configuration file are held aside (``roll``).
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vmoc.events import Event, Kind
from vmoc.ledger import vetting
from vmoc.ledger.entries import Entry, Once, Outcome
from vmoc.ledger.errors import RequestReusedError, ReservedVlanError, SliceNotFoundError
from vmoc.ledger.occupants import Occupant, check_unoccupied, find_strays
from vmoc.ledger.roll import Roll, Tell, Wait
from vmoc.ledger.rules import Rules, check
from vmoc.ledger.vlans import Choices, VlanUse, dpids_of, fill_in, list_vlans, suggest
from vmoc.model import Origin, Slice
from vmoc.registry import Plan, Registry, Snapshot
from vmoc.store import Store, StoredAnswer, StoredSlice

KEEP_ANSWERS: Final = 86_400.0
TIDY: Final = 600.0
"""Seconds between two looks at answers that have become too old."""
RETRY: Final = 10.0
"""Seconds until a removal that could not be stored is tried again."""


@dataclass(slots=True)
class _Draft:
    """One change being made."""

    put: list[Slice] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class SliceBook:
    """See the module. ``open`` first; reading is safe from any thread, the loop's too, and never waits for the disk."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        rules: Rules | None = None,
        *,
        tell: Tell | None = None,
        report: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``tell`` gets every plan adopted, in order, under the lock: it must hand over and return.

        What it returns is called, without the lock, before the change is
        answered. ``report`` gets events, from whatever thread. ``clock`` gives
        seconds since the epoch.
        """
        self._registry = registry
        self._store = store
        self._rules = rules or Rules()
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._roll = Roll(registry, tell, clock)
        self._entries, self._expiry = self._roll.entries, self._roll.expiry
        self._generation = 0
        self._tidy_at = 0.0
        self._on_expiry: Callable[[], None] | None = None
        self._occupants: Callable[[], Iterable[Occupant]] = lambda: ()

    # -- starting ------------------------------------------------------------------------------------------------------

    def open(self, file_slices: Sequence[Slice]) -> Plan:
        """Adopt the file's slices and the stored ones, those held aside that clash with the file's.

        Returns the plan of the file's; with conflicts nothing was adopted.
        Raises ``StoreError``.
        """
        # Many objects and no cycles: looking for some over and over would double the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._open(file_slices)
        finally:
            if collecting:
                gc.enable()

    def _open(self, file_slices: Sequence[Slice]) -> Plan:
        with self._lock:
            plan = self._registry.plan(file_slices, origin=Origin.FILE, sharing=self._rules.sharing)
            if plan.conflicts:
                return plan
            rows = self._store.slices()
            self._generation = self._store.generation()
            self._roll.adopt(plan)
            self._roll.load(Entry(row.slice, row.create_time, row.update_time, _etag(row.generation)) for row in rows)
            self._roll.release(sharing=self._rules.sharing)
            self._entries.settle()
            for entry in self._roll.held:
                self._say_held(entry)
        return plan

    def close(self) -> None:
        """Wait for the change in progress and close the store. Changes after that fail with ``StoreError``."""
        with self._lock:
            self._store.close()

    def use_occupants(self, occupants: Callable[[], Iterable[Occupant]]) -> None:
        """``occupants`` tells which cards are on VLANs; a VLAN is not given away while another's are. Never blocks."""
        self._occupants = occupants

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What has effect now."""
        return self._registry.snapshot

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, slice_id: str, *, manager: str | None = None) -> Entry:
        """One slice. Raises ``SliceNotFoundError``; with ``manager`` also for those of others."""
        entry = self._entries.get(slice_id)
        if entry is None or (manager is not None and entry.slice.manager != manager):
            raise SliceNotFoundError([slice_id])
        return entry

    def page(
        self, after: str = "", limit: int = 1000, wanted: Callable[[Entry], bool] | None = None
    ) -> tuple[list[Entry], str | None]:
        """Slices by id, beyond ``after``, only those ``wanted``; and the ``after`` of the next page if there is one."""
        return self._entries.page(after, limit, wanted)

    @property
    def pool(self) -> frozenset[int]:
        """The VLANs given to segments that name none; without those reserved."""
        return self._rules.vlans.pool - self._rules.vlans.reserved

    @property
    def segments(self) -> int:
        """How many segments all slices have together."""
        return self._entries.segments

    def vlans(self, dpid: int | None = None) -> list[VlanUse]:
        """Every VLAN and who has it: on one switch, else anywhere."""
        return list_vlans(self._registry.snapshot, self._rules.vlans, dpid)

    # -- changing ------------------------------------------------------------------------------------------------------

    def register(
        self,
        slices: Sequence[Slice],
        *,
        once: Once | None = None,
        etags: Mapping[str, str] | None = None,
        choices: Choices | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Create or replace slices, all or none. The same again changes nothing.

        A segment of VLAN 0 gets one of the pool that ``choices`` (by slice
        and index of the segment) lets it have; one that replaces keeps the
        VLANs it has. With ``manager`` (None: the operator) slices are that
        manager's. ``etags`` (by id) must be those of the slices replaced.
        """

        def prepare() -> _Draft:
            wanted = vetting.of_manager(slices, manager)
            vetting.may(self._entries, wanted, manager)
            vetting.check_etags(self._entries, etags)
            return _Draft(self._vet(wanted, choices=choices), asked=[one.id for one in wanted])

        return self._change(prepare, once, dry_run)

    def edit(
        self,
        slice_id: str,
        change: Callable[[Slice], Slice],
        *,
        etag: str = "",
        choices: Choices | None = None,
        once: Once | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Replace a slice by what ``change`` makes of it; its id and origin stay, and for a ``manager`` that too.

        ``choices`` as for ``register``; read after ``change`` was called, which may fill it in.
        """

        def prepare() -> _Draft:
            old = vetting.known(self._entries, [slice_id], manager)[0].slice
            vetting.check_etags(self._entries, {slice_id: etag} if etag else None)
            new = replace(change(old), id=slice_id, origin=Origin.API)
            vetting.may(self._entries, [new], manager)
            return _Draft(self._vet([new], choices=choices), asked=[slice_id])

        return self._change(prepare, once, dry_run)

    def renew(
        self,
        slice_id: str,
        expire_time: float | None,
        *,
        etag: str = "",
        once: Once | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Let a slice end at another time (seconds since the epoch), or never."""
        return self.edit(
            slice_id,
            lambda one: replace(one, expire_time=expire_time),
            etag=etag,
            once=once,
            manager=manager,
            dry_run=dry_run,
        )

    def set_enabled(
        self,
        slice_id: str,
        enabled: bool,
        *,
        etag: str = "",
        once: Once | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Switch a slice on or off; off, it keeps its VLANs."""
        return self.edit(
            slice_id, lambda one: replace(one, enabled=enabled), etag=etag, once=once, manager=manager, dry_run=dry_run
        )

    def unregister(
        self,
        ids: Sequence[str],
        *,
        once: Once | None = None,
        etags: Mapping[str, str] | None = None,
        manager: str | None = None,
        missing_ok: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Remove slices, all or none; ``missing_ok``: those not known are none to remove."""

        def prepare() -> _Draft:
            there = [name for name in dict.fromkeys(ids) if not missing_ok or name in self._entries]
            vetting.known(self._entries, there, manager)
            vetting.check_etags(self._entries, {name: etag for name, etag in (etags or {}).items() if name in there})
            return _Draft(drop=there)

        return self._change(prepare, once, dry_run)

    def sync(
        self,
        manager: str,
        slices: Sequence[Slice],
        *,
        choices: Choices | None = None,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Make ``slices`` all that ``manager`` has; slices of others, and the file's, stay."""

        def prepare() -> _Draft:
            wanted = vetting.of_manager(slices, manager)
            vetting.may(self._entries, wanted, manager)
            ids = {one.id for one in wanted}
            drop = [
                name
                for name, entry in self._entries.items()
                if name not in ids and entry.slice.manager == manager and entry.slice.origin is Origin.API
            ]
            return _Draft(self._vet(wanted, leaving=drop, choices=choices), drop, [one.id for one in wanted])

        return self._change(prepare, once, dry_run)

    def reload(self, slices: Sequence[Slice], rules: Rules | None = None) -> Plan:
        """Make ``slices`` all that the file has; API slices stay, and those held are tried again.

        Returns the plan; with conflicts nothing has changed. ``rules`` replace the present ones.
        """
        with self._lock:
            plan = self._registry.plan(slices, origin=Origin.FILE, sharing=self._rules.sharing)
            if plan.conflicts:
                return plan
            self._rules = rules or self._rules
            wait = self._roll.adopt(plan)
            wait = self._roll.release(sharing=self._rules.sharing) or wait
            self._entries.settle()
        if wait is not None:
            wait()
        return plan

    # -- time ----------------------------------------------------------------------------------------------------------

    def on_expiry_changed(self, call: Callable[[], None]) -> None:
        """``call`` is called, from any thread, when ``next_deadline`` may have come nearer."""
        self._on_expiry = call

    def next_deadline(self) -> float | None:
        """When ``wake`` is due (seconds since the epoch); None: not before something changes."""
        with self._lock:
            return self._expiry.next_deadline()

    def wake(self) -> None:
        """Warn of slices that end soon, remove those that have, and tidy up. Raises ``StoreError``; call again then."""
        now = self._clock()
        with self._lock:
            due = self._expiry.wake(now)
            tidy = now >= self._tidy_at
        for one in due:
            if one.left:
                left = f"{one.left / 60:.0f} min" if one.left >= 60 else f"{one.left:.0f} s"
                self._say(Kind.SLICE_EXPIRING, one.slice, f"{left} left", expire_time=one.expire_time)
        over = [one for one in due if not one.left]
        if over:
            outcome = self._change(lambda: self._ending([one.slice for one in over], now), None, False)
            for name in outcome.removed:
                self._say(Kind.SLICE_EXPIRED, name, "")
        if tidy:
            self._tidy_at = now + TIDY
            self._store.forget_answers(now - KEEP_ANSWERS)

    def _ending(self, names: Iterable[str], now: float) -> _Draft:
        """Those that are still over: one may have been renewed since."""
        found = []
        for name in names:
            entry = self._entries.get(name)
            end = None if entry is None else entry.slice.expire_time
            if end is not None and end <= now:
                found.append(name)
        return _Draft(drop=found)

    # -- one change, under the lock ------------------------------------------------------------------------------------

    def _change(self, prepare: Callable[[], _Draft], once: Once | None, dry_run: bool) -> Outcome:
        with self._lock:
            if once is not None and not dry_run:
                before = self._store.answer(once.caller, once.request_id)
                if before is not None and before.time > self._clock() - KEEP_ANSWERS:
                    if before.digest != once.digest:
                        raise RequestReusedError(once.request_id)
                    return Outcome(answer=before.answer, replayed=True)
            outcome, wait = self._commit(prepare(), once, dry_run)
        if wait is not None:
            wait()
        return outcome

    def _commit(self, draft: _Draft, once: Once | None, dry_run: bool) -> tuple[Outcome, Wait | None]:
        plan = self._registry.plan_change(draft.put, draft.drop, origin=Origin.API, sharing=self._rules.sharing)
        if plan.conflicts:
            raise vetting.conflict_of(plan, self._rules.vlans)
        now = self._clock()
        fresh: list[StoredSlice] = []
        generation = self._generation
        after: dict[str, Entry] = {}
        for one in draft.put:
            old = self._entries.get(one.id)
            if old is not None and old.slice == one and not old.held:
                after[one.id] = old
                continue
            generation += 1
            created = now if old is None else old.create_time
            after[one.id] = Entry(one, created, now, _etag(generation))
            fresh.append(StoredSlice(one, created, now, generation))
        added = tuple(row.slice.id for row in fresh if row.slice.id not in self._entries)
        changed = tuple(row.slice.id for row in fresh if row.slice.id in self._entries)
        vetting.not_too_many(self._entries, fresh, draft.drop)
        last = tuple(self._entries[name] for name in draft.drop)
        outcome = Outcome(tuple(after[name] for name in draft.asked), added, changed, tuple(draft.drop), last)
        if dry_run:
            return outcome, None
        answer = None
        if once is not None:
            outcome = replace(outcome, answer=once.encode(outcome))
            assert outcome.answer is not None
            answer = StoredAnswer(once.caller, once.request_id, once.digest, outcome.answer, now)
        if fresh or draft.drop or answer is not None:
            self._store.commit(fresh, draft.drop, generation=generation, answer=answer)
        self._generation = generation
        deadline = self._expiry.next_deadline()
        wait = self._roll.change(plan, [after[row.slice.id] for row in fresh], draft.drop)
        if draft.drop or changed:
            wait = self._roll.release(sharing=self._rules.sharing) or wait
        self._entries.settle()
        nearest = self._expiry.next_deadline()
        if self._on_expiry is not None and nearest is not None and (deadline is None or nearest < deadline):
            self._on_expiry()
        return outcome, wait

    # -- may it be -----------------------------------------------------------------------------------------------------

    def _vet(self, slices: Sequence[Slice], leaving: Sequence[str] = (), choices: Choices | None = None) -> list[Slice]:
        """The slices with their VLANs filled in, if they can be."""
        check(slices, self._rules, self._clock())
        snapshot, rules = self._registry.snapshot, self._rules.vlans
        known = ((one.id, self._entries.get(one.id)) for one in slices)
        before = {name: entry.slice for name, entry in known if entry is not None}
        for one in slices:
            for index, segment in enumerate(one.segments):
                if segment.vlan in rules.reserved and not _has(before.get(one.id), segment.vlan):
                    others = suggest(snapshot, rules, dpids_of(segment), segment.vlan)
                    raise ReservedVlanError(one.id, f"segments[{index}].vlan", segment.vlan, others)
        strays = find_strays(self._occupants(), self._entries.get, slices, leaving)
        if strays:
            check_unoccupied(slices, strays, self._entries.get)
            rules = replace(rules, pool=rules.pool - strays.keys())
        filled = fill_in(slices, before, snapshot, rules, leaving, choices)
        return [one if one.origin is Origin.API else replace(one, origin=Origin.API) for one in filled]

    # -- telling -------------------------------------------------------------------------------------------------------

    def _say(self, kind: Kind, name: str, message: str, **detail: object) -> None:
        if self._report is not None:
            self._report(Event(kind, slice=name, message=message, detail=detail))

    def _say_held(self, entry: Entry) -> None:
        first = entry.held[0]
        text = f"{first.text} (slice {first.other_slice})"
        self._say(Kind.SLICE_HELD, entry.slice.id, text, other=first.other_slice, clashes=len(entry.held))


def _etag(generation: int) -> str:
    return f"{generation:x}"


def _has(one: Slice | None, vlan: int) -> bool:
    return one is not None and any(segment.vlan == vlan for segment in one.segments)
