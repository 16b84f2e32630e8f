"""The slices of the book as they are: which have effect, which are held aside, when each ends.

Stored slices that clash with the configuration file are *held*: they stay in
the store and are shown, but have no effect, until what they clash with is gone
(the operator's file wins, and one clash does not keep the service from starting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from vmoc.ledger.entries import Entry, Index
from vmoc.ledger.expiry import Expiry
from vmoc.model import Origin
from vmoc.registry import Plan, Registry

Wait = Callable[[], None]
Tell = Callable[[Plan], Wait | None]


class Roll:
    """One thread changes it at a time. What changes return is to be called when no lock is held."""

    def __init__(self, registry: Registry, tell: Tell | None, clock: Callable[[], float]) -> None:
        """``tell`` gets every plan that is adopted, in order."""
        self.entries = Index()
        self.expiry = Expiry()
        self._registry = registry
        self._tell = tell
        self._clock = clock
        self._held: dict[str, Entry] = {}  # also those whose id a slice of the file has: nobody sees them then

    @property
    def held(self) -> Iterable[Entry]:
        """Those without effect."""
        return self._held.values()

    def load(self, stored: Iterable[Entry]) -> None:
        """They are held until ``release``."""
        self._held.update((entry.slice.id, entry) for entry in stored)

    def change(self, plan: Plan, put: Iterable[Entry], drop: Iterable[str]) -> Wait | None:
        """Adopt a plan of slices of the API; ``put`` are their entries."""
        now = self._clock()
        for name in drop:
            self._leave(name, now)
        for entry in put:
            self._held.pop(entry.slice.id, None)
            self._enter(entry, now)
        return self.adopt(plan)

    def adopt(self, plan: Plan) -> Wait | None:
        """Adopt a plan and tell it; the file's slices are entered as they come."""
        snapshot, now = self._registry.adopt(plan), self._clock()
        for name in plan.removed:
            if name in self.entries and self.entries[name].slice.origin is Origin.FILE:
                self._leave(name, now)
        for name in (*plan.added, *plan.changed):
            one = snapshot.slices[name]
            if one.origin is Origin.FILE:
                self._enter(Entry(one), now)
        if self._tell is None or plan.is_empty:
            return None
        return self._tell(plan)

    def release(self, *, sharing: bool) -> Wait | None:
        """Adopt the held slices that clash with nothing any more."""
        wait: Wait | None = None
        good, clashing = sorted(self._held), []
        while good:
            plan = self._plan(good, sharing)
            if not plan.conflicts:
                wait = self._let_go(good, plan) or wait
                break
            bad = {conflict.slice for conflict in plan.conflicts}
            clashing += [name for name in good if name in bad]
            good = [name for name in good if name not in bad]
        for name in clashing:  # perhaps with one another only
            plan = self._plan([name], sharing)
            if not plan.conflicts:
                wait = self._let_go([name], plan) or wait
                continue
            entry = self._held[name] = replace(self._held[name], held=plan.conflicts)
            shown = self.entries.get(name)
            if shown is None or shown.slice.origin is Origin.API:
                self._enter(entry, self._clock())
        return wait

    def _plan(self, names: Sequence[str], sharing: bool) -> Plan:
        slices = [self._held[name].slice for name in names]
        return self._registry.plan_change(slices, [], origin=Origin.API, sharing=sharing)

    def _let_go(self, names: Sequence[str], plan: Plan) -> Wait | None:
        now = self._clock()
        for name in names:
            self._enter(replace(self._held.pop(name), held=()), now)
        return self.adopt(plan)

    def _enter(self, entry: Entry, now: float) -> None:
        self.entries.enter(entry)
        self.expiry.set(entry.slice.id, entry.slice.expire_time, now)

    def _leave(self, name: str, now: float) -> None:
        entry = self.entries.get(name)
        if entry is None:
            return
        self.entries.leave(name)
        self.expiry.set(name, None, now)
        if entry.slice.origin is Origin.API:
            self._held.pop(name, None)
