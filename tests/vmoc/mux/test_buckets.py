from __future__ import annotations

import pytest

from vmoc.mux.buckets import Bucket


def test_rate_zero_never_refuses_and_never_owes():
    bucket = Bucket(0, 0.0)
    bucket.charge(1e9)
    assert all(bucket.take(0.0) for _ in range(1000))
    assert bucket.ready_at() == 0.0


def test_saves_at_most_one_second():
    bucket = Bucket(5, 0.0)
    assert [bucket.take(1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_refills_at_its_rate():
    bucket = Bucket(10, 0.0)
    for _ in range(10):
        assert bucket.take(0.0)
    assert not bucket.take(0.05)
    assert bucket.ready_at() == pytest.approx(0.1)
    assert bucket.take(0.1)
    assert not bucket.take(0.1)


@pytest.mark.parametrize("rate", [1, 3, 7, 50, 333, 1000])
@pytest.mark.parametrize("start", [0.0, 0.1, 86_400.123, 1e6 + 1 / 3])
def test_there_is_a_token_when_ready_at_says_so(rate: int, start: float):
    bucket = Bucket(rate, start)
    now = start
    for _ in range(200):
        while bucket.take(now):
            pass
        assert bucket.ready_at() > now
        now = bucket.ready_at()
        assert bucket.take(now), "floating point must not make the edge spin"


def test_a_debt_delays_but_is_bounded():
    bucket = Bucket(10, 0.0)
    bucket.charge(1e6)
    assert not bucket.take(1.0)
    assert bucket.ready_at() == pytest.approx(1.1)
    assert bucket.take(1.1)


def test_one_dear_message_passes_and_leaves_a_debt():
    bucket = Bucket(2, 0.0)
    assert bucket.take(0.0, cost=6)
    assert bucket.ready_at() == pytest.approx(2.5)


def test_time_going_backwards_gives_nothing():
    bucket = Bucket(1, 10.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert bucket.take(11.0)
