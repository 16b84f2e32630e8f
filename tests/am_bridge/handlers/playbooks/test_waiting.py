"""Asking again: at once, for as long as is meant, and ever less often."""

from __future__ import annotations

import pytest
from ansible.module_utils import waiting


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(waiting, "time", one)
    return one


@pytest.mark.parametrize("limit", [0, 0.01, 0.3, 2, 60, 3600])
def test_it_asks_at_once_and_once_more_when_the_time_is_over(clock: Clock, limit: float) -> None:
    asked = [clock.now - 1000.0 for _ in waiting.until(limit)]
    assert asked[0] == 0.0
    assert limit <= asked[-1] <= limit + waiting.SHORTEST + 1e-6
    assert all(earlier < limit for earlier in asked[:-1])


def test_pauses_grow_with_what_was_waited(clock: Clock) -> None:
    asked = [clock.now - 1000.0 for _ in waiting.until(600)]
    assert clock.pauses[0] == waiting.SHORTEST and max(clock.pauses) == waiting.LONGEST
    for before, pause in zip(asked, clock.pauses, strict=False):
        assert pause <= max(waiting.SHORTEST, before * waiting.SHARE) + 1e-6
    assert len(asked) < 600 / waiting.LONGEST + 60  # instead of 12 000


def test_questions_that_take_long_count(clock: Clock) -> None:
    rounds = 0
    for _ in waiting.until(10):
        rounds += 1
        clock.now += 4.0
    assert rounds == 4  # at 0, 4.05, 8.1 and, as it was not over then, 12.9 s


def test_who_has_the_answer_waits_no_longer(clock: Clock) -> None:
    for _ in waiting.until(10):
        break
    assert clock.pauses == []
