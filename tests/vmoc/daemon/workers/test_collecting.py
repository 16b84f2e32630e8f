"""When a worker looks for garbage."""

from __future__ import annotations

from vmoc.daemon.workers.collecting import ENOUGH, LATEST, Collecting


def test_nothing_is_looked_for_while_nothing_goes():
    collecting = Collecting(0.0)
    assert not any(collecting.is_due(0, here, 10 * LATEST) for here in range(0, 100_000, 1000))


def test_enough_is_half_of_what_there_is_and_not_too_little():
    collecting = Collecting(0.0)
    assert not collecting.is_due(ENOUGH - 1, 0, 1.0)
    assert collecting.is_due(ENOUGH, 0, 2.0)
    assert not collecting.is_due(ENOUGH, 0, 3.0), "what has been looked for is not counted again"
    assert not collecting.is_due(4 * ENOUGH, 10 * ENOUGH, 4.0)
    assert collecting.is_due(6 * ENOUGH, 10 * ENOUGH, 5.0)


def test_little_is_looked_for_at_last():
    collecting = Collecting(100.0)
    assert not collecting.is_due(1, 0, 100.0 + LATEST - 1)
    assert collecting.is_due(1, 0, 100.0 + LATEST)
    assert not collecting.is_due(2, 0, 101.0 + LATEST)
