"""Counting pings: some at a time, or one that goes on until it is stopped."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mininet_scenarios.processes import Process

LATE = 2.0


@dataclass(frozen=True)
class Pinged:
    """The outcome of one ``ping``."""

    source: str
    target: str
    sent: int
    received: int

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.sent - self.received


@dataclass(frozen=True)
class Attempt:
    """From where to where, and the whole command but ``count`` and the like."""

    source: str
    target: str
    argv: tuple[str, ...]


def ping_all(attempts: Iterable[Attempt], *, count: int = 2, wait: float = 2.0) -> list[Pinged]:
    """All of them at the same time; ``wait`` seconds for the last answer."""
    running = [
        (
            each,
            subprocess.Popen(
                [*each.argv, "-c", str(count), "-W", f"{wait:g}", "-i", "0.2"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ),
        )
        for each in attempts
    ]
    outcomes = []
    for each, process in running:
        output, _ = process.communicate(timeout=count + wait + 20)
        outcomes.append(Pinged(each.source, each.target, count, replies(output)))
    return outcomes


class KeptPing:
    """A ping ten times a second until ``stop``."""

    def __init__(self, attempt: Attempt, directory: Path) -> None:
        self.source, self.target = attempt.source, attempt.target
        log = directory / f"ping-{attempt.source}-{attempt.target}.log"
        log.unlink(missing_ok=True)
        self._process = Process(f"ping {attempt.source}", [*attempt.argv, "-i", "0.1", "-O"], log=log)

    @property
    def answered(self) -> int:
        """Answers so far."""
        return replies(self._process.output())

    def stop(self) -> Pinged:
        """Stop and count: every request until now, each with ``LATE`` seconds to be answered on a busy machine."""
        end, (sent, seen) = time.monotonic() + LATE, self._look()
        while len(seen) < sent and time.monotonic() < end and self._process.alive:
            time.sleep(0.05)
            seen = {number for number in self._look()[1] if number <= sent}
        self._process.stop()
        return Pinged(self.source, self.target, sent, len(seen))

    def _look(self) -> tuple[int, set[int]]:
        """The last request that has been answered or waited for, and those that were answered."""
        output = self._process.output()
        seen = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+)", output)}
        missed = [int(number) for number in re.findall(r"no answer yet for icmp_seq=(\d+)", output)]
        return max([*seen, *missed], default=0), seen


def counted(outcomes: Sequence[Pinged]) -> tuple[int, int]:
    """How many pings were answered, of how many."""
    return sum(outcome.received for outcome in outcomes), sum(outcome.sent for outcome in outcomes)


def replies(output: str) -> int:
    """How many echo replies ``ping`` has printed."""
    return len(re.findall(r"bytes from .* icmp_seq=\d+", output))
