"""``python -m bench.spread``: the same load over ever more switches, VLANs and slices, and how soon all are back.

Throughput of packet-in to flow-mod, and to packet-out, with 1, 16 and 64
switches; over 2 to 250 VLANs on 16 switches, which makes up to 4000 virtual
datapaths; over 1 to 100 slices with a controller each; tagged and transparent.
A storm is 64 switches that connect at once, with 60 slices on each of them:
how long until every slice of every switch answers. What is flat should be.

*tools alone* is without VMOC, one message at a time on each of so many
connections: what the tools and the kernel can do where nothing comes in chunks.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from bench import report, tools
from bench.scene import a_slice, running
from tests.emulation.process import family

FIRST_VLAN: Final = 101
ALONE: Final = "tools alone"


@dataclass(frozen=True)
class Case:
    """What one line is about. ``slices``: with a controller each; the VLANs are shared out among them."""

    title: str
    switches: int
    vlans: int
    slices: int = 1
    answer: str = "fm"
    presentation: str = "tagged"
    storm: bool = False
    alone: bool = False


CASES: Final = (
    *(Case("switches, flow-mods", count, 2, 2) for count in (1, 16, 64)),
    *(Case("switches, packet-outs", count, 2, 2, "po") for count in (1, 16, 64)),
    Case("transparent, flow-mods", 16, 2, 2, presentation="transparent"),
    *(Case("VLANs, flow-mods", 16, vlans, 1) for vlans in (2, 7, 62, 250)),
    *(Case("slices, flow-mods", 16, slices, slices) for slices in (1, 10, 100)),
    Case("storm", 64, 60, 60, storm=True),
    *(Case(ALONE, count, 1, alone=True) for count in (16, 160, 1600, 4000)),
)


@dataclass(frozen=True)
class Line:
    """One line of the table. CPU and memory are VMOC's; ``ready``: seconds until everybody had an answer through it."""

    version: str
    title: str
    presentation: str
    switches: int
    vlans: int
    slices: int
    datapaths: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None
    resident_mb: float | None
    ready: float | None
    lost: int
    cross: int
    other_cpu: float | None
    """CPUs that other programs used meanwhile, at the most; None: not known."""


def share(vlans: int, slices: int) -> list[list[int]]:
    """The VLANs of each slice."""
    every = range(FIRST_VLAN, FIRST_VLAN + vlans)
    return [list(every[number::slices]) for number in range(slices)]


def slices(case: Case, ports: Sequence[int]) -> list[dict[str, Any]]:
    """Its slices, for the configuration."""
    return [
        a_slice(f"bench-{number}", vlans, port, presentation=case.presentation)
        for number, (vlans, port) in enumerate(zip(share(case.vlans, case.slices), ports, strict=True))
    ]


def measure(case: Case, version: str, seconds: float, runs: int) -> Line:
    """One line. Raises ``ToolError``."""
    return alone(case, version, seconds, runs) if case.alone else through(case, version, seconds, runs)


def alone(case: Case, version: str, seconds: float, runs: int) -> Line:
    """Each connection of a switch leads to the controller, and one packet-in is outstanding on each."""
    report, foreign = tools.alone(
        [str(FIRST_VLAN)], version=version, count=case.switches, window=1, seconds=seconds, runs=runs, warm_up=0.5
    )
    return _line(case, version, report, foreign)


def through(case: Case, version: str, seconds: float, runs: int) -> Line:
    """Through VMOC."""
    shares = [",".join(map(str, vlans)) for vlans in share(case.vlans, case.slices)]
    expected = shares if case.presentation == "tagged" else [""] * len(shares)  # a transparent slice sees no VLAN
    with (
        tools.Controllers(expected, answer=case.answer) as controllers,
        running(slices(case, controllers.ports), version) as vmoc,
    ):
        warm_up = 0.5
        options: dict[str, Any] = {"window": 64, "hosts": max(1024, case.vlans)}
        if case.storm:
            seconds, runs, warm_up, options = 1.0, 1, 0.0, {"rate": 2000.0, "hosts": case.vlans}
        begun = time.monotonic()
        report = tools.switches(
            vmoc.port,
            version=version,
            count=case.switches,
            vlans=f"{FIRST_VLAN}-{FIRST_VLAN + case.vlans - 1}",
            seconds=seconds,
            runs=runs,
            warm_up=warm_up,
            measured=family(vmoc.pid),
            load=[controllers.pid],
            answer=case.answer,
            **options,
        )
        ready = time.monotonic() - begun - warm_up - runs * seconds
    return _line(case, version, report, controllers.counters["foreign"], round(ready, 1))


def _line(case: Case, version: str, report: dict[str, Any], foreign: int, ready: float | None = None) -> Line:
    if report["silent"]:
        raise tools.ToolError(f"{report['silent']} VLANs never answered ({case.title}).")
    found = report["runs"]

    def median(key: str) -> float:
        return float(statistics.median(run[key] for run in found))

    return Line(
        version,
        case.title,
        case.presentation,
        case.switches,
        case.vlans,
        case.slices,
        case.switches * case.vlans,
        median("per_second"),
        median("p50_us"),
        median("p99_us"),
        None if case.alone else median("cpu_us_per_answer"),
        None if case.alone else max(run["resident_mb"] for run in found),
        ready,
        sum(run["lost"] for run in found),
        sum(run["cross"] for run in found) + report["early_cross"] + foreign,
        max(run["other_cpu"] for run in found),
    )


def table(lines: Sequence[Line]) -> Table:
    """For people."""
    shown = Table(title="the same load, spread; CPU and memory are VMOC's", title_justify="left")
    for name in ("OpenFlow", "what"):
        shown.add_column(name)
    numbers = ("switches", "VLANs", "slices", "datapaths", "trips/s", "p50 us", "p99 us", "CPU us/trip", "memory MB",
               "ready s", "lost", "cross")  # fmt: skip
    for name in numbers:
        shown.add_column(name, justify="right")
    for line in lines:
        figures = (line.switches, line.vlans, line.slices, line.datapaths, line.per_second, line.p50_us, line.p99_us)
        shown.add_row(
            line.version,
            line.title,
            *map(report.number, figures),
            report.number(line.cpu_us, 1),
            report.number(line.resident_mb),
            report.number(line.ready, 1),
            str(line.lost),
            str(line.cross),
        )
    return shown


def main() -> int:
    """Measure; 1 if something crossed or could not be measured."""
    parser = report.parser(__doc__, seconds=3.0, runs=3, versions=True)
    parser.add_argument("--only", metavar="WORD", help="lines whose title has this word")
    options = parser.parse_args()
    lines = report.measured(
        lambda: (
            measure(case, version, options.seconds, options.runs)
            for version in report.versions(options)
            for case in CASES
            if options.only is None or options.only in case.title
        ),
        table,
        options.json,
    )
    return 1 if lines is None or any(line.cross for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
