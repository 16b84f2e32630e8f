"""Looking for trouble for a while, and keeping what was found as a file that shows it again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

from fuzz import plot, text

TEXT_LINES: Final = 20
"""Lines of text tried between two episodes."""


@dataclass
class Tally:
    """What a hunt came to."""

    episodes: int = 0
    operations: int = 0
    calls: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    heaviest: int = 0
    kept: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.calls / self.seconds if self.seconds else 0.0
        kept = f", {self.kept} kept for new lines" if self.kept else ""
        return (
            f"{self.episodes} episodes ({self.operations} operations, {self.calls} calls, {rate:.0f}/s){kept}; "
            f"slowest call {self.slowest * 1000:.0f} ms, heaviest mux {self.heaviest / 1e6:.1f} MB; "
            f"{len(self.findings)} finding(s)"
        )


def hunt(first: int, seconds: float, folder: Path, *, guided: bool = False, stop_at: int = 1) -> Tally:
    """Play the episodes of seeds ``first``, ``first`` + 1, ... for so long, or until so many findings."""
    tally = Tally()
    begin = time.monotonic()
    for seed, episode in _guided(first, tally) if guided else _plain(first):
        result = plot.play(episode)
        tally.episodes += 1
        tally.operations += result.step + 1
        tally.calls += result.calls
        tally.slowest = max(tally.slowest, result.slowest)
        tally.heaviest = max(tally.heaviest, result.weight)
        if result.failure:
            path = folder / f"seed-{seed}.json"
            folder.mkdir(parents=True, exist_ok=True)
            smaller = plot.shrink(episode, result)
            smaller.save(path, result.failure)
            tally.findings.append(
                f"seed {seed}, operation {result.step}: {result.failure}\n"
                f"  shown again by: python -m fuzz replay {path}  ({len(smaller.operations)} operations)"
            )
        for number in range(seed * TEXT_LINES, (seed + 1) * TEXT_LINES):
            wrong = text.attempt(number)
            if wrong:
                tally.findings.append(f"text {number}: {wrong}\n  shown again by: python -m fuzz text {number}")
        tally.seconds = time.monotonic() - begin
        if tally.seconds >= seconds or len(tally.findings) >= stop_at:
            break
    return tally


def _plain(first: int) -> Iterator[tuple[int, plot.Episode]]:
    seed = first
    while True:
        yield seed, plot.write(seed)
        seed += 1


# -- guided by what is executed --------------------------------------------------------------------


class _Lines:
    """Which lines of the package have been executed, as a trace function that leaves a line alone once it is known."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.fresh = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return self._line if "/vmoc/" in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        place = frame.f_code.co_filename, frame.f_lineno
        if place not in self.seen:
            self.seen.add(place)
            self.fresh += 1
        return self._line


def _guided(first: int, tally: Tally) -> Iterator[tuple[int, plot.Episode]]:
    """Fresh episodes, and variations of those that reached lines no earlier one had reached."""
    random = Random(first)
    lines = _Lines()
    corpus: list[plot.Episode] = []
    seed = first
    before = sys.gettrace()
    try:
        while True:
            fresh = plot.write(seed)
            episode = _vary(random.choice(corpus), fresh, random) if corpus and random.random() < 0.5 else fresh
            lines.fresh = 0
            sys.settrace(lines.trace)
            yield seed, episode
            sys.settrace(before)
            if lines.fresh:
                corpus.append(episode)
                tally.kept += 1
            seed += 1
    finally:
        sys.settrace(before)


def _vary(known: plot.Episode, fresh: plot.Episode, random: Random) -> plot.Episode:
    """A good episode with some operations left out, doubled, moved, or put in from another."""
    operations = list(known.operations)
    for _ in range(random.choice((1, 3, 10))):
        at = random.randrange(len(operations) + 1)
        what = random.randrange(4)
        if what == 0:
            del operations[at : at + random.choice((1, 1, 5))]
        elif what == 1:
            operations[at:at] = operations[at : at + 1] * random.choice((1, 2, 8))
        elif what == 2:
            start = random.randrange(len(fresh.operations))
            operations[at:at] = fresh.operations[start : start + random.choice((1, 4, 16))]
        elif operations:
            operations.insert(at, operations.pop(random.randrange(len(operations))))
    hostile = known.setting["hostile"] or any(name in ("south", "garble", "mute") for name, *_ in operations)
    return plot.Episode(known.setting | {"hostile": hostile}, operations)
