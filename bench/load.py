"""The measurements: the tools against each other, then the same load through a running VMOC."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from rich.table import Table

from bench import tools
from bench.patience import Patience
from bench.report import DISTURBED, number
from bench.scene import VLANS, place, running, two_slices
from tests.emulation.process import family
from vmoc.cli.run import one_per_core


@dataclass(frozen=True)
class Plan:
    """How long everything takes."""

    seconds: float = 4.0
    runs: int = 3
    warm_up: float = 1.0
    direct_seconds: float = 1.5
    versions: tuple[str, ...] = ("1.0", "1.3")
    window: int = 64
    hosts: int = 1024
    journal: bool = True
    """As ``vmoc run`` does unless told otherwise: what the slices have is written down."""
    workers: tuple[int, ...] = field(default_factory=lambda: (one_per_core(),))
    patience: float = 0.0
    """Seconds in all to spend on repeating lines during which others were busy."""


QUICK = Plan(seconds=1.5, runs=2, warm_up=0.5, direct_seconds=0.7)


@dataclass
class Result:
    """One line of the table: medians over the runs; CPU and memory are those of VMOC, all its processes together."""

    title: str
    version: str
    switches: int
    mode: str
    workers: int | None
    placement: str
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None
    resident_mb: float | None
    cross: int
    wild: int
    lost: int
    silent: int
    disconnects: int
    other_cpu: float
    runs: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def table(results: Sequence[Result]) -> Table:
    """For people."""
    shown = Table(title="round trips from packet-in to flow-mod; CPU and memory are VMOC's", title_justify="left")
    for name in ("OpenFlow", "what", "placement"):
        shown.add_column(name)
    for name in ("workers", "switches", "trips/s", "p50 us", "p99 us", "CPU us/trip", "memory MB", "lost", "cross"):
        shown.add_column(name, justify="right")
    for r in results:
        shown.add_row(
            *(r.version, r.title, r.placement, "" if r.workers is None else str(r.workers), str(r.switches)),
            *map(number, (r.per_second, r.p50_us, r.p99_us)),
            *(number(r.cpu_us, 1), number(r.resident_mb), str(r.lost), str(r.cross)),
        )
    return shown


def _result(title: str, placement: str, report: dict[str, Any], foreign: int, *, workers: int | None = None) -> Result:
    through = workers is not None
    runs = report["runs"]

    def median(key: str) -> float:
        return float(statistics.median(run[key] for run in runs))

    def total(key: str) -> int:
        return sum(run[key] for run in runs)

    return Result(
        title=title,
        version=report["version"],
        switches=report["switches"],
        mode=report["mode"],
        workers=workers,
        placement=placement,
        per_second=median("per_second"),
        p50_us=median("p50_us"),
        p99_us=median("p99_us"),
        cpu_us=median("cpu_us_per_answer") if through else None,
        resident_mb=max(run["resident_mb"] for run in runs) if through else None,
        cross=total("cross") + report["early_cross"] + foreign,
        wild=total("wild") + report["early_wild"],
        lost=total("lost"),
        silent=report["silent"],
        disconnects=total("disconnects") + report["switches"] - report["ready"],
        other_cpu=max(run["other_cpu"] for run in runs),
        runs=runs,
    )


def least_disturbed(patience: Patience, measure: Callable[[], Result]) -> Result:
    """Repeats what others disturbed, as long as the plan allows; what crossed in any attempt counts."""
    attempts = list(patience.attempts(measure, attrgetter("other_cpu"), DISTURBED))
    best = min(attempts, key=attrgetter("other_cpu"))
    best.cross = max(one.cross for one in attempts)
    return best


def direct(plan: Plan, version: str, count: int, mode: str, cpu: int | None = None) -> Result:
    """The tools against each other, without VMOC: what they could do."""
    report, foreign = tools.alone(
        VLANS, **_load(plan, version, count, mode), seconds=plan.direct_seconds, runs=1, warm_up=0.2, cpu=cpu
    )
    return _result(f"tools alone, {_outstanding(plan, mode)}", _placement(cpu), report, foreign)


def _load(plan: Plan, version: str, count: int, mode: str) -> dict[str, Any]:
    """The same with VMOC and without."""
    return {"version": version, "count": count, "mode": mode, "window": plan.window, "hosts": plan.hosts}


def _outstanding(plan: Plan, mode: str) -> str:
    return f"{1 if mode == 'latency' else plan.window} outstanding"


def _placement(cpu: int | None) -> str:
    return "any CPU" if cpu is None else "all on one CPU"


def through(
    plan: Plan,
    version: str,
    cpu: int | None,
    workers: int,
    cases: list[tuple[int, str]],
    patience: Patience,
    done: Callable[[Result], None],
) -> None:
    """The cases (switches, mode) one after the other through one VMOC; ``cpu`` puts every process on that CPU."""
    state: dict[str, Any] = {} if plan.journal else {"state": {"path": ":memory:"}}
    with (
        tools.Controllers(VLANS, cpu=cpu) as controllers,
        running(two_slices(controllers.ports), version, options=("--workers", str(workers)), **state) as vmoc,
    ):
        if cpu is not None:
            place(family(vmoc.pid), cpu)

        def measure(count: int, mode: str) -> Result:
            report = tools.switches(
                vmoc.port,
                **_load(plan, version, count, mode),
                seconds=plan.seconds,
                runs=plan.runs,
                warm_up=plan.warm_up,
                measured=family(vmoc.pid),
                load=[controllers.pid],
                cpu=cpu,
            )
            return _result(_outstanding(plan, mode), _placement(cpu), report, 0, workers=workers)

        for count, mode in cases:
            done(least_disturbed(patience, partial(measure, count, mode)))
    if foreign := controllers.counters["foreign"]:
        raise tools.ToolError(f"{foreign} packet-ins reached a controller of another VLAN: isolation is broken.")
