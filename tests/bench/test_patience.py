"""Waiting for a quiet machine, measuring again, and what is kept of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import patience, suite
from bench.machine import Ticks
from bench.patience import QUIET, Patience

PART = """
import json, pathlib, sys
left = pathlib.Path({left!r})
stolen, status, *rest = json.loads(left.read_text())
left.write_text(json.dumps(rest))
if stolen is not None:
    pathlib.Path(sys.argv[2]).write_text(json.dumps({{"machine": {{"stolen_percent": stolen}}, "lines": len(rest)}}))
sys.exit(status)
"""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE", 0.001)


def hearing(*stolen: float) -> Callable[[], float]:
    return iter(stolen).__next__


def test_what_is_stolen_is_a_share_of_the_time_of_all_cpus() -> None:
    assert Ticks(10, 1000).stolen_percent(Ticks(30, 1400)) == 5.0
    assert Ticks(10, 1000).stolen_percent(Ticks(10, 1000)) == 0.0, "no time at all"
    earlier, later = Ticks.now(), Ticks.now()
    assert 0 <= earlier.stolen <= later.stolen and earlier.all <= later.all


def test_it_hears_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LISTENED", 0.2)
    assert 0 <= patience.listen() <= 100


def test_it_waits_until_others_take_little(capsys: pytest.CaptureFixture[str]) -> None:
    Patience(60, hearing(30.0, QUIET + 1, QUIET)).wait()
    assert capsys.readouterr().out.count("waiting") == 2


def test_who_has_no_patience_does_not_even_listen() -> None:
    Patience(0, hearing()).wait()


def test_it_waits_no_longer_than_it_may() -> None:
    one = Patience(0.05, lambda: 99.0)
    one.wait()
    assert one.left == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [([1.0], [1.0]), ([9.0, 5.0, 3.0, 1.0], [9.0, 5.0, 3.0]), ([9.0, math.nan, 1.0], [9.0, math.nan])],
    ids=["undisturbed", "disturbed twice", "failed"],
)
def test_what_was_disturbed_is_measured_again(found: list[float], expected: list[float]) -> None:
    attempts = list(Patience(60).attempts(iter(found).__next__, lambda stolen: stolen, 3.0))
    assert str(attempts) == str(expected)


def test_without_patience_once_is_all() -> None:
    assert list(Patience(0).attempts(hearing(50.0, 1.0), lambda stolen: stolen, 3.0)) == [50.0]


def part(folder: Path, *attempts: float | None) -> list[str]:
    """A program that measures so; each two are what was stolen, None if there are no figures, and its status."""
    left = folder / "left.json"
    left.write_text(json.dumps(attempts))
    return [sys.executable, "-c", PART.format(left=str(left))]


@pytest.mark.parametrize(
    ("attempts", "kept", "good"),
    [
        ([9.0, 0, 5.0, 0, 7.0, 0, 2.0, 0], 0, True),
        ([9.0, 0, 5.0, 0, 7.0, 1], 0, False),
        ([9.0, 0, None, 1], 2, False),
        ([None, 1, 1.0, 0], None, False),
    ],
    ids=["the least disturbed", "what crossed is kept", "not measured the second time", "not measured"],
)
def test_of_a_part_the_least_disturbed_figures_are_kept(
    tmp_path: Path, attempts: list[float | None], kept: int | None, good: bool
) -> None:
    file = tmp_path / "part.json"
    assert suite.measure(part(tmp_path, *attempts), file, Patience(60, lambda: 0.0)) is good
    assert (json.loads(file.read_text())["lines"] if file.exists() else None) == kept
    assert not list(tmp_path.glob("*.new"))
