"""``python -m bench.reads``: how long what the API reads holds up the loop, with many segments.

18 switches with 1 444 VLANs each (26 000 segments, a connection each), made in
memory. The CPU time of every visit to the loop is taken: what counts is the longest.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from concurrent.futures import Future
from time import perf_counter, thread_time
from typing import Any

from rich.console import Console
from rich.table import Table

from vmoc.daemon.rack import Rack
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.mux.core import Mux
from vmoc.mux.datapath import VirtualDatapath
from vmoc.mux.switch import Switch
from vmoc.registry import Registry
from vmoc.telemetry.events import EventLog

SWITCHES, VLANS = 18, 1444


class Timed:
    """Stands in for the edge: runs what is asked at once, and keeps how long each visit took."""

    def __init__(self) -> None:
        self.visits: list[float] = []

    def ask(self, what: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        started = thread_time()
        result = what()
        self.visits.append(thread_time() - started)
        future.set_result(result)
        return future

    def call(self, what: Callable[[], object]) -> None:
        self.ask(what)


class Quiet:
    def log(self, level: int, event: str, **context: Any) -> None: ...


def build() -> Mux:
    """Slices of one VLAN on one switch, and one that has a VLAN on all of them."""
    at = Endpoint("tcp", "127.0.0.1", 6653)
    slices = [
        Slice(f"s{dpid}-{vlan}", (Segment(vlan, (at,), attachments=(Attachment(dpid),)),))
        for dpid in range(1, SWITCHES + 1)
        for vlan in range(1, VLANS + 1)
    ]
    wide = tuple(Segment(4000 + n, (at,), attachments=tuple(Attachment(d) for d in range(1, 19))) for n in range(94))
    slices.append(Slice("wide", wide))
    registry = Registry()
    registry.adopt(registry.plan(slices, origin=Origin.FILE))
    mux = Mux(registry.snapshot)
    for dpid in range(1, SWITCHES + 1):
        switch = mux._switches[dpid, 0] = Switch(mux._hub, dpid, 0)
        for owner, segment in registry.snapshot.segments_on(dpid):
            datapath = VirtualDatapath(mux._hub, switch, owner, segment, Attachment(dpid), 1.0)
            switch.enlist(datapath)
            mux._links.sync(datapath, 1.0)
    return mux


def pages(read: Callable[[str], Any]) -> None:
    token = ""
    while token := read(token).next:
        pass


def main() -> int:
    """Print one line per call."""
    mux, edge = build(), Timed()
    rack = Rack(edge, mux, EventLog(Quiet()))  # type: ignore[arg-type]
    gc.collect()
    gc.freeze()
    names = list(mux.view.slices())
    cases: dict[str, Callable[[], object]] = {
        "switches": rack.switches,
        "switch": lambda: rack.switch(1),
        "datapaths of a switch": lambda: rack.datapaths(1),
        "slice_status, 1 datapath": lambda: rack.slice_statuses(["s1-1"]),
        "slice_status, 1 692 datapaths": lambda: rack.slice_statuses(["wide"]),
        "slice_statuses of 1 000": lambda: rack.slice_statuses(names[:1000], timeout=60),
        "connections, all pages of 500": lambda: pages(lambda token: rack.connections(token, timeout=60)),
        "flows of a switch, as known": lambda: pages(
            lambda token: rack.flows(1, counts=False, token=token, timeout=60)
        ),
        "lookup_owner(vlan)": lambda: rack.lookup_owner(vlan=7),
        "lookup_owner(dpid, port)": lambda: rack.lookup_owner(dpid=1, port=1),
        "topology": lambda: rack.topology(timeout=60),
    }
    table = Table(title=f"{len(names)} slices, {mux._links.last} connections", title_justify="left")
    for column in ("call", "ms", "visits", "median ms", "longest ms"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for name, call in cases.items():
        edge.visits.clear()
        started = perf_counter()
        call()
        whole = perf_counter() - started
        visits = sorted(edge.visits)
        table.add_row(
            name,
            f"{whole * 1e3:.1f}",
            str(len(visits)),
            f"{visits[len(visits) // 2] * 1e3:.3f}",
            f"{visits[-1] * 1e3:.3f}",
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
