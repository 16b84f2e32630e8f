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
KINDS = ("alone", "packet-ins", *noise.KINDS, "reconnects")
SLOWER, LESS = 3.0, 0.8


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
    """CPUs that other programs used meanwhile, at the most; None: not known."""

    def held(self, alone: Line) -> bool:
        """Whether it is as fair as it is meant to be."""
        return (
            self.p99_us <= SLOWER * alone.p99_us
            and self.per_second >= LESS * alone.per_second
            and self.lost == self.cross == 0
        )


@contextmanager
def _beside(kind: str) -> Iterator[tuple[int, int]]:
    """The port and the process of the loud slice's controller."""
    if kind in ("alone", "packet-ins"):
        with tools.Controllers([str(LOUD)]) as controllers:
            yield controllers.ports[0], controllers.pid
    else:
        noisy = noise.Controller(kind)
        try:
            yield noisy.port, noisy.pid
        finally:
            noisy.kill()


def measure(version: str, kind: str, seconds: float, runs: int, *, unlimited: bool = False) -> Line:
    """One line: a VMOC, one switch, both slices. Raises ``ToolError``."""
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
                "runs": runs,
                "measured": family(vmoc.pid),
                "load": [own.pid, noisy],
                "noise": (LOUD, PACKET_INS) if kind == "packet-ins" else None,
            }
            paced = tools.switches(vmoc.port, rate=PACED, **common)
            full = tools.switches(vmoc.port, **common)

    def median(report: dict[str, Any], key: str) -> float:
        return float(statistics.median(run[key] for run in report["runs"]))

    both = [*paced["runs"], *full["runs"]]
    return Line(
        version,
        kind,
        median(paced, "p50_us"),
        median(paced, "p99_us"),
        median(full, "per_second"),
        sum(run["lost"] for run in both),
        sum(run["cross"] for run in both) + paced["early_cross"] + full["early_cross"],
        max(run["other_cpu"] for run in both),
    )


def table(lines: Sequence[Line]) -> Table:
    """Every line beside what it is alone."""
    shown = Table(title="a quiet slice beside a loud one on the same switch", title_justify="left")
    for name in ("OpenFlow", "noise"):
        shown.add_column(name)
    for name in ("p50 us", "p99 us", "times alone", "trips/s", "of alone", "lost", "cross", "held"):
        shown.add_column(name, justify="right")
    alone = {line.version: line for line in lines if line.noise == "alone"}
    for line in lines:
        base = alone[line.version]
        shown.add_row(
            line.version,
            line.noise,
            f"{line.p50_us:.0f}",
            f"{line.p99_us:.0f}",
            f"{line.p99_us / base.p99_us:.1f}",
            report.number(line.per_second),
            f"{line.per_second / base.per_second:.2f}",
            str(line.lost),
            str(line.cross),
            "" if line is base else "yes" if line.held(base) else "NO",
        )
    return shown


def main() -> int:
    """Measure; 1 if something crossed or could not be measured."""
    parser = report.parser(__doc__, seconds=3.0, runs=3, versions=True)
    parser.add_argument("--unlimited", action="store_true", help="no limits for the loud slice either")
    parser.add_argument("--noise", choices=KINDS[1:], action="append", help="this kind only (repeatable)")
    options = parser.parse_args()
    lines = report.measured(
        lambda: (
            measure(version, kind, options.seconds, options.runs, unlimited=options.unlimited)
            for version in report.versions(options)
            for kind in (KINDS if not options.noise else ("alone", *options.noise))
        ),
        table,
        options.json,
    )
    return 1 if lines is None or any(line.cross for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
