"""Slices that clash with the configuration file: shown, without effect, until they do not clash any more."""

from __future__ import annotations

from pathlib import Path

from tests.vmoc.ledger.ledgers import Ledger, at, fails, one
from vmoc.events import Kind
from vmoc.ledger import errors as e
from vmoc.model import Origin

A, B = one("a", at(1, 10)), one("b", at(2, 10))


def test_a_stored_slice_that_clashes_with_the_file_is_held_until_it_does_not(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    ledger.book.register([A, B, one("c", at(3))])
    ledger = ledger.again(one("f", at(1)), one("g", at(3, 77)))
    assert set(ledger.registry.snapshot.slices) == {"b", "f", "g"}
    assert ledger.names() == ["a", "b", "c", "f", "g"]
    assert [c.other_slice for c in ledger.book.get("a").held] == ["f"]
    held = [event for event in ledger.events if event.kind is Kind.SLICE_HELD]
    assert [(event.slice, event.detail["other"]) for event in held] == [("a", "f"), ("c", "g")]
    assert len(ledger.store.slices()) == 3
    fails(e.ConflictError, lambda: ledger.book.register([A]), ledger)
    ledger.book.unregister(["c"])
    assert [row.slice.id for row in ledger.store.slices()] == ["a", "b"]
    ledger.book.reload([])
    assert set(ledger.registry.snapshot.slices) == {"a", "b"} and not ledger.book.get("a").held
    assert ledger.told[-1].added == ("a",)


def test_a_held_slice_may_be_mended(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    (before,) = ledger.book.register([A]).entries
    ledger = ledger.again(one("f", at(1)))
    (entry,) = ledger.book.register([one("a", at(4, 10))]).entries
    assert not entry.held and entry.create_time == before.create_time
    assert "a" in ledger.registry.snapshot.slices and ledger.told[-1].added == ("a",)
    assert not ledger.again(one("f", at(1))).book.get("a").held


def test_a_stored_slice_whose_id_the_file_takes_comes_back_when_the_file_lets_go(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    ledger.book.register([A])
    ledger = ledger.again(one("a", at(7)))
    assert ledger.book.get("a").slice.origin is Origin.FILE and ledger.vlans("a") == [7]
    assert [event.slice for event in ledger.events if event.kind is Kind.SLICE_HELD] == ["a"]
    fails(e.FileSliceError, lambda: ledger.book.unregister(["a"]), ledger)
    ledger.book.reload([])
    assert ledger.book.get("a").slice == A and ledger.registry.snapshot.slices["a"] == A


def test_those_that_clash_with_the_file_only_are_let_go_one_by_one(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    ledger.book.register([A, B, one("c", at(3))])
    ledger = ledger.again(one("f", at(1), at(3)))
    ledger.book.reload([one("f", at(3))])
    assert set(ledger.registry.snapshot.slices) == {"a", "b", "f"}
    assert ledger.book.get("c").held and not ledger.book.get("a").held
