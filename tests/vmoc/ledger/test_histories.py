"""Long random histories against a dictionary, with a crash and a new start at any point."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.vmoc.ledger.ledgers import Ledger, at, one
from vmoc.ledger.errors import LedgerError
from vmoc.model import Origin, Slice
from vmoc.store import SqliteStore, StoreError

NAMES = st.sampled_from("abcdef")
SEGMENTS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), max_size=2, unique_by=lambda pair: pair[0])
WANTED = st.lists(st.tuples(NAMES, SEGMENTS), max_size=3, unique_by=lambda pair: pair[0])
MANAGERS = st.sampled_from(["m", "n"])


class Crash(Exception):
    """The process ends here."""


class Crashing(SqliteStore):
    """Ends before or after a commit, when it is told to; or fails, as a full disk does."""

    ends: str | None = None

    def commit(self, *args: Any, **more: Any) -> None:
        ends, self.ends = self.ends, None
        if ends == "full":
            raise StoreError("the disk is full")
        if ends == "before":
            raise Crash
        super().commit(*args, **more)
        if ends == "after":
            raise Crash


def made(wanted: list[tuple[str, list[tuple[int, int]]]], manager: str) -> list[Slice]:
    return [one(name, *(at(vlan, dpid) for vlan, dpid in segments), manager=manager) for name, segments in wanted]


def clashes(slices: dict[str, Slice]) -> bool:
    owners: set[tuple[int, int]] = set()
    for each in slices.values():
        for segment in each.segments:
            for attachment in segment.attachments or ():
                place = segment.vlan, attachment.dpid
                if place in owners:
                    return True
                owners.add(place)
    return False


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "vmoc.db")
        self.model: dict[str, Slice] = {}
        self.start()

    def start(self) -> None:
        self.store = Crashing(self.path)
        self.ledger = Ledger(self.path, store=self.store)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def change(self, ends: str | None, wanted: dict[str, Slice] | None, call: Any) -> None:
        """``wanted`` is what the slices are after it; None if it must be refused."""
        self.store.ends = ends
        try:
            call()
        except LedgerError:
            assert wanted is None or clashes(wanted), "refused without a reason"
        except StoreError:
            assert ends == "full"
        except Crash:
            self.store.close()
            self.start()
            if ends == "after":
                assert wanted is not None
                self.model = wanted
        else:
            assert wanted is not None and not clashes(wanted), "should have been refused"
            self.model = wanted
        self.store.ends = None

    ENDS = st.sampled_from([None, None, None, None, "full", "before", "after"])

    @rule(wanted=WANTED, manager=MANAGERS, ends=ENDS)
    def register(self, wanted: Any, manager: str, ends: str | None) -> None:
        slices = made(wanted, manager)
        others = any(s.id in self.model and self.model[s.id].manager != manager for s in slices)
        after = None if others else self.model | {s.id: s for s in slices}
        self.change(ends, after, lambda: self.ledger.book.register(slices, manager=manager))

    @rule(names=st.lists(NAMES, max_size=3, unique=True), ends=ENDS)
    def unregister(self, names: list[str], ends: str | None) -> None:
        missing = any(name not in self.model for name in names)
        after = None if missing else {name: s for name, s in self.model.items() if name not in names}
        self.change(ends, after, lambda: self.ledger.book.unregister(names))

    @rule(wanted=WANTED, manager=MANAGERS, ends=ENDS)
    def sync(self, wanted: Any, manager: str, ends: str | None) -> None:
        slices = made(wanted, manager)
        others = any(s.id in self.model and self.model[s.id].manager != manager for s in slices)
        kept = {name: s for name, s in self.model.items() if s.manager != manager}
        after = None if others else kept | {s.id: s for s in slices}
        self.change(ends, after, lambda: self.ledger.book.sync(manager, slices))

    @rule(name=NAMES, enabled=st.booleans(), ends=ENDS)
    def enable(self, name: str, enabled: bool, ends: str | None) -> None:
        after = self.model | {name: replace(self.model[name], enabled=enabled)} if name in self.model else None
        self.change(ends, after, lambda: self.ledger.book.set_enabled(name, enabled))

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.start()

    @invariant()
    def all_three_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert dict(self.ledger.registry.snapshot.slices) == self.model
        assert {row.slice.id: row.slice for row in self.store.slices()} == self.model
        entries, more = self.ledger.book.page()
        assert [entry.slice for entry in entries] == [self.model[name] for name in sorted(self.model)] and more is None
        assert all(entry.slice.origin is Origin.API and not entry.held for entry in entries)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
