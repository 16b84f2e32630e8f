"""Books on fresh stores, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from vmoc.events import Event
from vmoc.ledger import Rules, SliceBook
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.registry import Plan, Registry
from vmoc.store import SqliteStore, Store

NOON = 1_000_000.0


def at(vlan: int, *dpids: int, controller: str = "tcp:192.0.2.1:6640", ports: Iterable[int] | None = None) -> Segment:
    """A segment on those switches; on every one if none is named."""
    granted = None if ports is None else frozenset(ports)
    places = tuple(Attachment(dpid, granted) for dpid in dpids) or None
    return Segment(vlan, (Endpoint.parse(controller),), attachments=places)


def one(name: str, *segments: Segment, **fields: Any) -> Slice:
    return Slice(name, segments, **{"origin": Origin.API} | fields)


class Ledger:
    """A book, its store and what it told and reported; the time stands still until it is moved."""

    def __init__(
        self, path: str = ":memory:", *file_slices: Slice, rules: Rules | None = None, store: Store | None = None
    ) -> None:
        self.path = path
        self.now = NOON
        self.told: list[Plan] = []
        self.waited = 0
        self.events: list[Event] = []
        self.registry = Registry()
        self.rules = rules or Rules()
        self.begin(file_slices, store)

    def begin(self, file_slices: Sequence[Slice], store: Store | None = None) -> None:
        self.store = store or SqliteStore(self.path)
        self.book = SliceBook(
            self.registry,
            self.store,
            self.rules,
            tell=self._tell,
            report=self.events.append,
            clock=lambda: self.now,
        )
        self.opened = self.book.open([replace(s, origin=Origin.FILE) for s in file_slices])

    def again(self, *file_slices: Slice, rules: Rules | None = None) -> Ledger:
        """The same store after a restart."""
        self.store.close()
        twin = Ledger.__new__(Ledger)
        twin.__init__(self.path, *file_slices, rules=rules or self.rules)  # type: ignore[misc]
        return twin

    def _tell(self, plan: Plan) -> Any:
        self.told.append(plan)

        def wait() -> None:
            self.waited += 1

        return wait

    def names(self) -> list[str]:
        return [entry.slice.id for entry in self.book.page()[0]]

    def vlans(self, name: str) -> list[int]:
        return [segment.vlan for segment in self.book.get(name).slice.segments]


def fails(kind: type[Exception], call: Callable[[], object], ledger: Ledger) -> Any:
    """The error of that kind; and nothing has changed, in memory or on disk."""
    before, told = ledger.registry.snapshot, len(ledger.told)
    stored, entries = ledger.store.slices(), ledger.book.page()[0]
    with pytest.raises(kind) as caught:
        call()
    assert ledger.registry.snapshot is before and len(ledger.told) == told
    assert ledger.store.slices() == stored and ledger.book.page()[0] == entries
    assert "\n" not in str(caught.value) and str(caught.value)
    return caught.value
