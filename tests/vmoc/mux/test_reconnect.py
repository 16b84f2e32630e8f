from __future__ import annotations

import pytest

from vmoc.mux.reconnect import Backoff


@pytest.mark.parametrize(
    ("jitter", "waits"),
    [(0.0, [1, 1, 2, 4, 8, 15, 15]), (1.0, [1.5, 2, 4, 8, 16, 30, 30]), (0.5, [1.25, 1.5, 3, 6, 12, 22.5, 22.5])],
)
def test_doubles_from_first_to_longest_spread_by_jitter(jitter: float, waits: list[float]):
    backoff = Backoff(1, 30)
    assert [backoff.failed(jitter) for _ in waits] == waits
    assert backoff.attempts == len(waits)


def test_success_starts_over():
    backoff = Backoff(1, 30)
    for _ in range(6):
        backoff.failed(1.0)
    backoff.succeeded()
    assert backoff.attempts == 0
    assert backoff.failed(0.0) == 1


def test_bounds_hold_for_any_configuration():
    for first, longest in ((1, 1), (5, 2), (0.1, 30)):
        backoff = Backoff(first, longest)
        for number in range(20):
            wait = backoff.failed(number / 20)
            assert first <= wait <= max(first, longest)


def test_many_links_do_not_knock_at_one_moment():
    assert len({Backoff(1, 30).failed(number / 100) for number in range(100)}) == 100
