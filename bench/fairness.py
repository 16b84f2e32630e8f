"""``python -m bench.fairness``: what a quiet slice notices of one on the same switch that does its worst.

Slice *quiet* (VLAN 101) has a controller that answers packet-ins with
flow-mods and is measured alone and beside slice *loud* (VLAN 102), which has
the limits VMOC gives by default, or none (``--unlimited``). Loud floods, one
kind after the other: packet-ins from its hosts; from its controller flow-mods,
statistics requests, barriers, nonsense; a controller that hangs up at once.
Held means: the p99 within three times, and the answers per second at least
0.8 times, what they are alone.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench import noise, report, tools
from bench.scene import UNLIMITED, a_slice, running
from tests.emulation.process import family

QUIET, LOUD = 101, noise.VLAN
PACKET_INS = 20_000.0
PACED = 2_000.0
ALONE = "alone"
KINDS = ("packet-ins", *noise.KINDS, "reconnects")
SLOWER, LESS = 3.0, 0.8
MOST = 2
"""Times as many turns as are meant, if others disturb some of them; then the least disturbed count."""


@dataclass(frozen=True)
class Line:
    """What the quiet slice got beside one kind of noise; latencies at a paced load, answers at full load."""

    version: str
    noise: str
    p50_us: float
    p99_us: float
    per_second: float
    lost: int
    cross: int
    other_cpu: float | None
    """CPUs that others used meanwhile, at the most; None: not known."""
    alone_p99_us: float
    alone_per_second: float
    """What it got beside a silent one, in turns with these."""

    @property
    def held(self) -> bool:
        """Whether it is as fair as it is meant to be."""
        return (
            self.p99_us <= SLOWER * self.alone_p99_us
            and self.per_second >= LESS * self.alone_per_second
            and self.lost == self.cross == 0
        )


@dataclass(frozen=True)
class Turn:
    """One turn of the quiet slice, as in ``Line``."""

    p50_us: float
    p99_us: float
    per_second: float
    lost: int
    cross: int
    other_cpu: float


@contextmanager
def _beside(kind: str) -> Iterator[tuple[int, int]]:
    """The port and the process of the loud slice's controller."""
    if kind in (ALONE, "packet-ins"):
        with tools.Controllers([str(LOUD)]) as controllers:
            yield controllers.ports[0], controllers.pid
    else:
        noisy = noise.Controller(kind)
        try:
            yield noisy.port, noisy.pid
        finally:
            noisy.kill()


def turn(version: str, kind: str, seconds: float, *, unlimited: bool = False) -> Turn:
    """A VMOC, one switch, both slices. Raises ``ToolError``."""
    with tools.Controllers([str(QUIET)]) as own, _beside(kind) as (loud, noisy):
        slices = [
            a_slice("quiet", [QUIET], own.ports[0]),
            a_slice("loud", [LOUD], loud, limits=UNLIMITED if unlimited else {}),
        ]
        with running(slices, version) as vmoc:
            common: dict[str, Any] = {
                "version": version,
                "vlans": str(QUIET),
                "seconds": seconds,
                "runs": 1,
                "measured": family(vmoc.pid),
                "load": [own.pid, noisy],
                "noise": (LOUD, PACKET_INS) if kind == "packet-ins" else None,
            }
            reports = [tools.switches(vmoc.port, rate=PACED, **common), tools.switches(vmoc.port, **common)]
    paced, full = (report["runs"][0] for report in reports)
    return Turn(
        paced["p50_us"],
        paced["p99_us"],
        full["per_second"],
        paced["lost"] + full["lost"],
        sum(report["runs"][0]["cross"] + report["early_cross"] for report in reports),
        max(paced["other_cpu"], full["other_cpu"]),
    )


def measure(version: str, kind: str, seconds: float, runs: int, *, unlimited: bool = False) -> Line:
    """One line: medians of turns, by turns alone and beside the noise. Raises ``ToolError``."""
    pairs: list[tuple[Turn, Turn]] = []
    while sum(_disturbance(pair) <= report.DISTURBED for pair in pairs) < runs and len(pairs) < MOST * runs:
        pairs.append((turn(version, ALONE, seconds), turn(version, kind, seconds, unlimited=unlimited)))
    counted = sorted(pairs, key=_disturbance)[:runs]
    alone, beside = zip(*counted, strict=True)

    def median(turns: Sequence[Turn], of: str) -> float:
        return float(statistics.median(getattr(one, of) for one in turns))

    return Line(
        version,
        kind,
        median(beside, "p50_us"),
        median(beside, "p99_us"),
        median(beside, "per_second"),
        sum(loud.lost for _, loud in pairs),
        sum(one.cross for pair in pairs for one in pair),
        max(map(_disturbance, counted)),
        median(alone, "p99_us"),
        median(alone, "per_second"),
    )


def _disturbance(pair: tuple[Turn, Turn]) -> float:
    return max(one.other_cpu for one in pair)


def table(lines: Sequence[Line]) -> Table:
    """Every line beside what it is alone."""
    shown = Table(title="a quiet slice beside a loud one on the same switch", title_justify="left")
    for name in ("OpenFlow", "noise"):
        shown.add_column(name)
    for name in ("p50 us", "p99 us", "alone", "times", "trips/s", "alone", "times", "lost", "cross", "held"):
        shown.add_column(name, justify="right")
    for line in lines:
        shown.add_row(
            line.version,
            line.noise,
            f"{line.p50_us:.0f}",
            f"{line.p99_us:.0f}",
            f"{line.alone_p99_us:.0f}",
            f"{line.p99_us / line.alone_p99_us:.1f}",
            report.number(line.per_second),
            report.number(line.alone_per_second),
            f"{line.per_second / line.alone_per_second:.2f}",
            str(line.lost),
            str(line.cross),
            "yes" if line.held else "NO",
        )
    return shown


def main() -> int:
    """Measure; 1 if something crossed or could not be measured."""
    parser = report.parser(__doc__, seconds=1.5, runs=5, versions=True)
    parser.add_argument("--unlimited", action="store_true", help="no limits for the loud slice either")
    parser.add_argument("--noise", choices=KINDS, action="append", help="this kind only (repeatable)")
    options = parser.parse_args()
    lines = report.measured(
        lambda: (
            measure(version, kind, options.seconds, options.runs, unlimited=options.unlimited)
            for version in report.versions(options)
            for kind in options.noise or KINDS
        ),
        table,
        options.json,
    )
    return 1 if lines is None or any(line.cross for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
