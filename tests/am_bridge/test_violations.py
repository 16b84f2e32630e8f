"""Violations are collected, counted and told."""

from __future__ import annotations

import pytest

from am_bridge.reasons import PAGE_TOKEN_INVALID
from am_bridge.status import ApiError
from am_bridge.violations import Violations, violation


def test_none_is_no_error() -> None:
    Violations().check()


def test_all_are_told_in_order() -> None:
    problems = Violations()
    problems.add("b", "no")
    problems.add("a", "neither")
    with pytest.raises(ApiError) as caught:
        problems.check()
    assert caught.value.violations == (("b", "no"), ("a", "neither"))
    assert str(caught.value) == "b: no (and 1 more)"


def test_beyond_the_most_they_are_counted() -> None:
    problems = Violations(most=2)
    for _ in range(5):
        problems.add("a", "no")
    error = problems.error()
    assert (len(error.violations), error.violation_count) == (2, 5)


def test_one_may_have_a_reason_of_its_own() -> None:
    error = violation("page_token", "no", PAGE_TOKEN_INVALID)
    assert (error.reason, error.violations) == (PAGE_TOKEN_INVALID, (("page_token", "no"),))
