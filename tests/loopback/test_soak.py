"""A minute of everything at once; ``make soak`` is the half hour of it."""

from __future__ import annotations

import os

import pytest

from bench import soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "45"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize("version", ["1.3"])
def test_after_a_minute_of_everything_it_is_as_it_was(version: str) -> None:
    outcome = soak.soak(SECONDS, version=version, seed=7, rate=500)
    assert outcome.failures() == []
    assert outcome.answers > 100 * SECONDS
    assert len(outcome.changes) >= 5 and sum(outcome.changes.values()) > SECONDS


def test_it_would_say_what_is_wrong() -> None:
    good = soak.Outcome(30, "1.3", answers=9)
    good.samples = [soak.Sample(second, 100.0, 40, 10) for second in range(30)]
    assert good.failures() == []
    bad = soak.Outcome(30, "1.3", lost=2, cross=3, disconnects=1)
    bad.samples = [soak.Sample(second, 100.0 + 2 * second, 40 + second, 10 + second) for second in range(30)]
    said = " ".join(bad.failures())
    for words in (
        "was answered",
        "2 packet-ins",
        "3 answers",
        "disconnected 1",
        "Memory grew",
        "descriptors",
        "threads",
    ):
        assert words in said
