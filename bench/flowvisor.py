"""What FlowVisor 1.4 does under the same load, and how VMOC compares.

FlowVisor's figures are measured: 1.4 on Java 17, OpenFlow 1.0, the same kind of
load, on a machine of this class (2 virtual CPUs). Ranges are separate runs and
its two log levels. Its registration time is its users' own estimate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from bench import registration
from bench.figures import All
from bench.report import number

VERSION: Final = "1.0"
"""The only OpenFlow version that FlowVisor speaks."""
DAY: Final = 86400.0
SWITCHES: Final = {1: (51_000.0, 71_000.0), 16: (63_000.0, 85_000.0)}
"""Round trips a second with so many switches, its worst and its best run."""
DATAPATHS: Final = {100: (55_000.0, 55_000.0), 1000: (31_000.0, 31_000.0), 4000: (8_000.0, 11_000.0)}
"""Over so many VLANs of 16 switches; at 4000 only after some 50 s in which everything was lost."""
SLICES: Final = {10: (55_000.0, 55_000.0), 100: (24_000.0, 24_000.0)}
"""Over so many slices with a controller each, 16 switches."""


Range = tuple[float, float]
Pick = Callable[[All], float | None]


@dataclass(frozen=True)
class Row:
    """One comparison. ``theirs``: FlowVisor's worst and best; ``goal``: at least or, unless ``more``, at most."""

    what: str
    unit: str
    theirs: Range
    ours: Pick
    goal: Pick
    more: bool = False
    """More is better."""


def _find(kind: str, figure: str, /, **wanted: Any) -> Pick:
    """A figure of the first line that is as wanted."""

    def pick(known: All) -> float | None:
        for line in known[kind].lines if kind in known else ():
            if all(getattr(line, name) == value for name, value in wanted.items()):
                return float(getattr(line, figure))
        return None

    return pick


def _trip(figure: str, switches: int, mode: str = "throughput", **more: Any) -> Pick:
    wanted = {"version": VERSION, "switches": switches, "mode": mode, "placement": "any CPU", "workers": 0}
    return _find("trips", figure, **(wanted | more))


def _spread(title: str, **wanted: int) -> Pick:
    return _find("spread", "per_second", version=VERSION, title=title, **wanted)


def _fixed(value: float) -> Pick:
    return lambda _: value


def _share(share: float, base: Pick) -> Pick:
    return lambda known: None if (value := base(known)) is None else share * value


def _throughput(what: str, switches: int, factor: float, workers: int) -> Row:
    ours = _trip("per_second", switches, workers=workers)
    return Row(what, "/s", SWITCHES[switches], ours, _fixed(factor * SWITCHES[switches][1]), more=True)


def _packet_outs(what: str, switches: int, theirs: float) -> Row:
    ours = _spread("switches, packet-outs", switches=switches)
    return Row(what, "/s", (theirs, theirs), ours, _fixed(theirs), more=True)


def _below(what: str, theirs: Range, ours: Pick, unit: str = "us") -> Row:
    return Row(what, unit, theirs, ours, _fixed(theirs[1]))


def _over_datapaths(count: int, theirs: Range) -> Row:
    what, title = f"over {number(count)} virtual datapaths, 16 switches", "VLANs, flow-mods"
    goal = _share(0.9, _spread(title, vlans=2))
    return Row(what, "/s", theirs, _spread(title, datapaths=count), goal, more=True)


def _over_slices(count: int, theirs: Range) -> Row:
    title = "slices, flow-mods"
    goal = _share(0.85, _spread(title, slices=1))
    return Row(f"over {count} slices, 16 switches", "/s", theirs, _spread(title, slices=count), goal, more=True)


ON_ONE = "all on one CPU"
ROWS: Final = (
    _throughput("packet-in to flow-mod, 1 switch, 64 outstanding", 1, 2, 0),
    _throughput("the same, 16 switches, 2 workers", 16, 3, 2),
    _packet_outs("packet-in to packet-out, 1 switch", 1, 117_000),
    _packet_outs("the same, 16 switches", 16, 127_000),
    *map(_over_datapaths, (112, 992, 4000), DATAPATHS.values()),
    *itertools.starmap(_over_slices, SLICES.items()),
    Row("CPU per packet-in to flow-mod, 16 switches", "us", (13.8, 13.7), _trip("cpu_us", 16), _fixed(7)),
    _below("p99 with 64 outstanding, 1 switch", (1_900, 1_600), _trip("p99_us", 1)),
    _below("p99 with 64 outstanding, 16 switches", (107_000, 86_000), _trip("p99_us", 16)),
    _below("latency, 1 outstanding: p50", (145, 92), _trip("p50_us", 1, "latency")),
    _below("the same: p99", (373, 241), _trip("p99_us", 1, "latency")),
    _below("latency, everything on one CPU: p50", (37, 37), _trip("p50_us", 1, "latency", placement=ON_ONE)),
    _below("the same: p99", (91, 91), _trip("p99_us", 1, "latency", placement=ON_ONE)),
    _below("latency, 16 switches, 1 outstanding each: p50", (568, 507), _trip("p50_us", 16, "latency")),
    _below("the same: p99", (1_222, 1_028), _trip("p99_us", 16, "latency")),
    Row("memory under that load", "MB", (2_100, 2_100), _trip("resident_mb", 16), _fixed(150)),
    Row(
        "26 000 VLAN segments registered",
        "s",
        (34 * DAY, 34 * DAY),
        _find("registration", "value", what=registration.LOADED),
        _fixed(10),
    ),
)


def held(row: Row, known: All) -> bool | None:
    """Whether VMOC is where it is meant to be; None if that has not been measured."""
    ours, goal = row.ours(known), row.goal(known)
    if ours is None or goal is None:
        return None
    return ours >= goal if row.more else ours <= goal


def table(known: All) -> Table:
    """Side by side."""
    shown = Table(title="VMOC and FlowVisor 1.4, OpenFlow 1.0", title_justify="left")
    shown.add_column("what")
    for name in ("FlowVisor", "VMOC", "VMOC over FlowVisor", "goal"):
        shown.add_column(name, justify="right")
    shown.add_column("held")
    for row in ROWS:
        ours, goal = row.ours(known), row.goal(known)
        ratios = () if ours is None else (_ratio(ours / each) for each in reversed(row.theirs))
        shown.add_row(
            row.what,
            _range(_value(each, row.unit) for each in row.theirs),
            "" if ours is None else _value(ours, row.unit),
            _range(ratios),
            "" if goal is None else f"{'>=' if row.more else '<='} {_value(goal, row.unit)}",
            {None: "", True: "yes", False: "no"}[held(row, known)],
        )
    return shown


def _range(texts: Iterable[str]) -> str:
    return " to ".join(dict.fromkeys(texts))


def _value(value: float, unit: str) -> str:
    if unit == "s" and value >= DAY:
        return f"{value / DAY:.0f} days"
    return f"{number(value, 0 if value >= 20 else 1)} {unit}"


def _ratio(value: float) -> str:
    return f"{value:.2g} x" if value < 0.1 else f"{value:.2f} x"
