"""The index of entries: in order whatever comes and goes, and pages that readers are in the middle of stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmoc.ledger import entries
from vmoc.ledger.entries import Entry, Index
from vmoc.model import Segment, Slice

NAMES = st.integers(0, 60).map(lambda number: f"s{number}")
CHANGES = st.lists(st.lists(st.tuples(st.booleans(), NAMES), max_size=9), max_size=30)


def entry(name: str) -> Entry:
    return Entry(Slice(name, (Segment(1),)))


def listed(index: Index, size: int) -> list[str]:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = index.page(after, size)
        assert len(page) <= size
        found += [one.slice.id for one in page]
    return found


@given(CHANGES, st.integers(1, 7))
def test_pages_show_what_there_is_in_order(changes: list[list[tuple[bool, str]]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "CHUNK", 3)
        index, there = Index(), set[str]()
        for change in changes:
            for comes, name in change:
                if comes:
                    index.enter(entry(name))
                    there.add(name)
                else:
                    index.leave(name)
                    there.discard(name)
            index.settle()
            assert listed(index, size) == sorted(there)
            assert (len(index), index.segments) == (len(there), len(there))


def test_a_change_copies_little_of_the_order() -> None:
    index = Index()
    for number in range(10_000):
        index.enter(entry(f"s{number:05}"))
    index.settle()
    before = index._order
    index.enter(entry("s05000x"))
    index.settle()
    shared = sum(one is other for one in before for other in index._order)
    assert shared == len(before) - 1
    assert max(map(len, index._order)) <= 2 * entries.CHUNK


def test_only_those_wanted_and_the_id_to_go_on_from() -> None:
    index = Index()
    for name in "abcde":
        index.enter(entry(name))
    index.settle()
    page, after = index.page("a", 2, lambda one: one.slice.id != "c")
    assert ([one.slice.id for one in page], after) == (["b", "d"], "d")
    assert index.page("d", 2) == ([entry("e")], None)
