"""Advice: every refusal has some, and it is what docs/reasons.md shows (tests/test_docs.py compares the page)."""

from __future__ import annotations

import pytest

from vmoc.errors import REASONS, Reason
from vmoc.policy.advice import CHAPTERS, ENTRIES, PAGE, advice_of


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_every_reason_has_an_entry_of_its_own(reason: Reason) -> None:
    entry = ENTRIES[reason.code]
    assert entry.reason is reason and advice_of(reason) == entry.advice
    assert entry.meaning != entry.advice and entry.meaning.rstrip(".").lower() != reason.summary


def test_no_reason_stands_in_two_chapters() -> None:
    codes = [entry.reason.code for _, entries in CHAPTERS for entry in entries]
    assert len(codes) == len(set(codes)) and PAGE == "docs/reasons.md"


def test_the_versions_named_are_those_that_can_meet_it() -> None:
    for entry in ENTRIES.values():
        if entry.reason.of10 is None:
            assert "(1.3)" in entry.messages, entry.reason.code
        if entry.reason.of13 is None:
            assert "(1.0)" in entry.messages, entry.reason.code


def test_a_reason_nobody_wrote_about_gives_no_advice() -> None:
    assert advice_of(Reason("new", (1, 5), (1, 5), "brand new")) == ""
