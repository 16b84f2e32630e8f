"""``python -m bench.registry``: 26 000 VLAN segments through the book, durable, and a start with them stored.

Layouts: ``18x1444`` (a slice for each VLAN on each of 18 switches), ``7x4094``
(a slice for each VLAN on 7 switches, with as many segments as switches'
attachments), ``big`` (18 slices of 1 444 segments). The core is told of every
change, without switches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmoc.ledger import SliceBook
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.mux.core import Mux
from vmoc.registry import Plan, Registry
from vmoc.store import SqliteStore

BATCH = 1000


def _segment(vlan: int, *dpids: int) -> Segment:
    controller = Endpoint("tcp", f"192.0.2.{vlan % 250 + 1}", 6653)
    return Segment(vlan, (controller,), attachments=tuple(Attachment(dpid, frozenset((1, 2))) for dpid in dpids))


def spread(switches: int, vlans: int) -> Iterator[Slice]:
    """A slice for each VLAN on each switch."""
    for dpid in range(1, switches + 1):
        for vlan in range(1, vlans + 1):
            yield Slice(f"s-{dpid}-{vlan}", (_segment(vlan, dpid),), origin=Origin.API)


def wide(switches: int, vlans: int) -> Iterator[Slice]:
    """A slice for each VLAN, on all switches."""
    for vlan in range(1, vlans + 1):
        yield Slice(f"s-{vlan}", (_segment(vlan, *range(1, switches + 1)),), origin=Origin.API)


def big(switches: int, vlans: int) -> Iterator[Slice]:
    """A slice for each switch, with all VLANs there."""
    for dpid in range(1, switches + 1):
        yield Slice(f"s-{dpid}", tuple(_segment(vlan, dpid) for vlan in range(1, vlans + 1)), origin=Origin.API)


LAYOUTS = {
    "18x1444": (spread, 18, 1444, BATCH),
    "7x4094": (wide, 7, 4094, BATCH // 7),
    "big": (big, 18, 1444, 1),
}


class Bench:
    """A book on a file, with a core that is told."""

    def __init__(self, path: str) -> None:
        self.store = SqliteStore(path)
        registry = Registry()
        self.book = SliceBook(registry, self.store, tell=self._tell)
        self.mux: Mux | None = None
        self.book.open([])
        self.mux = Mux(registry.snapshot)

    def _tell(self, plan: Plan) -> None:
        if self.mux is not None:
            self.mux.adopt(plan.snapshot, 0.0, (*plan.added, *plan.changed, *plan.removed))
            self.mux.take()


def measure(layout: str, folder: Path) -> dict[str, float]:
    """Seconds, and calls per second for ``singles``."""
    make, switches, vlans, batch = LAYOUTS[layout]
    slices = list(make(switches, vlans))
    path = str(folder / f"{layout}.db")
    bench = Bench(path)
    times = []
    for start in range(0, len(slices), batch):
        begin = time.perf_counter()
        bench.book.register(slices[start : start + batch])
        times.append(time.perf_counter() - begin)
    result = {"all": sum(times), "first": times[0], "last": times[-1 if len(slices) % batch == 0 else -2]}
    begin, count = time.perf_counter(), 500
    for number in range(count):
        bench.book.register([replace(slices[0], id=f"x{number}", segments=(_segment(4094, 1000 + number),))])
    result["singles"] = count / (time.perf_counter() - begin)
    begin = time.perf_counter()
    bench.book.register(slices)
    result["again"] = time.perf_counter() - begin
    bench.store.close()
    begin = time.perf_counter()
    again = Bench(path)
    result["start"] = time.perf_counter() - begin
    if len(again.book) != len(slices) + count:
        raise RuntimeError("slices are missing after the start")
    again.store.close()
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.registry", description=__doc__.splitlines()[0])
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="repeatable; default: all")
    parser.add_argument("--folder", type=Path, help="where the state file goes (a disk, for honest figures)")
    options = parser.parse_args(arguments)
    table = Table("layout", "all s", "first batch ms", "last batch ms", "one at a time /s", "all again s", "start s")
    with tempfile.TemporaryDirectory(prefix="vmoc-bench-", dir=options.folder) as folder:
        for layout in options.layout or LAYOUTS:
            r = measure(layout, Path(folder))
            figures = (f"{r['all']:.2f}", f"{r['first'] * 1e3:.0f}", f"{r['last'] * 1e3:.0f}", f"{r['singles']:.0f}")
            table.add_row(layout, *figures, f"{r['again']:.2f}", f"{r['start']:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
