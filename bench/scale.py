"""``python -m bench.scale``: does a flow-mod cost more when there are more flows, or more slices?

One controller of a slice adds flows, modifies flows it has and deletes those it
added, as raw bytes through a ``Mux`` in this process. The slice's shadow holds
a given number of entries all the while, and a given number of slices share the
switch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from bench import report
from bench.micro import CHUNK, FIRST, Rig
from tests.emulation import wire as of

VERSIONS = {"1.0": of.V10, "1.3": of.V13}
ENTRIES = (10, 1_000, 10_000)
SLICES = (1, 10, 100, 1_000)
POINTS = tuple((entries, 1) for entries in ENTRIES) + tuple((1_000, slices) for slices in SLICES[1:])
"""(entries in the slice's shadow, slices on the switch)."""
OPERATIONS = ("add", "modify_strict", "delete_strict")


@dataclass(frozen=True)
class Cost:
    """CPU microseconds per flow-mod inside the core."""

    version: str
    entries: int
    slices: int
    add: float
    modify_strict: float
    delete_strict: float


def flow_mod(version: int, command: str, number: int) -> bytes:
    """Flow ``number`` of a learning controller: one pair of addresses, one output."""
    match = of.match(version, in_port=1, eth_src=0x020000000000 | number, eth_dst=0x0E0000000001)
    port = 3 if command == "modify_strict" else 2
    return of.flow_mod(version, command, match, of.output(version, port), xid=number + 1, idle=60)


def stock(rig: Rig, entries: int) -> None:
    """Fill the first slice's shadow with flows 0..``entries``."""
    for begin in range(0, entries, CHUNK):
        chunk = range(begin, min(begin + CHUNK, entries))
        rig.down(b"".join(flow_mod(rig.version, "add", number) for number in chunk))
        rig.drain()
        rig.now += 0.001
    confirm(rig)
    if held(rig) != entries:
        raise RuntimeError(f"the shadow holds {held(rig)} of {entries} entries")


def confirm(rig: Rig) -> None:
    """A barrier: nothing is in flight any more (a chunk fills the window exactly), and the shadow is certain."""
    rig.down(of.message(rig.version, "barrier_request", b"", 1))
    rig.drain()
    rig.drain()


def held(rig: Rig) -> int:
    """Entries in the first slice's shadow."""
    switches = rig.mux.describe()["switches"]
    assert isinstance(switches, list)
    return next(int(each["flows"]) for each in switches[0]["datapaths"] if each["vlan"] == FIRST)


class Line:
    """One line of the table while it is measured."""

    def __init__(self, name: str, entries: int, slices: int) -> None:
        self.name, self.entries, self.slices = name, entries, slices
        self._rig = Rig(VERSIONS[name], slices)
        self._spent: dict[str, list[int]] = {operation: [] for operation in OPERATIONS}
        self._turn = 0
        stock(self._rig, entries)

    def turn(self) -> None:
        """Add a chunk of flows never seen before, modify some of those there are, delete the new ones."""
        rig, turn = self._rig, self._turn
        fresh = [self.entries + turn * CHUNK + each for each in range(CHUNK)]
        known = [(turn * CHUNK + each) * 7919 % self.entries for each in range(CHUNK)]
        for operation, numbers in (("add", fresh), ("modify_strict", known), ("delete_strict", fresh)):
            # What the switch has not confirmed yet waits for it: no flow twice, and a barrier, in each part.
            step = min(self.entries, CHUNK)
            spent = passed = 0
            for part in (numbers[start : start + step] for start in range(0, CHUNK, step)):
                data = b"".join([flow_mod(rig.version, operation, number) for number in part])
                begun = time.process_time_ns()
                rig.down(data)
                spent += time.process_time_ns() - begun
                passed += rig.drain()
                confirm(rig)
            self._spent[operation].append(spent)
            if passed < CHUNK:
                raise RuntimeError(f"only {passed} of {CHUNK} flow-mods ({operation}) reached the switch")
        rig.now += 0.01
        self._turn += 1

    def cost(self) -> Cost:
        """Medians over all turns so far."""
        if held(self._rig) != self.entries:
            raise RuntimeError(f"the shadow holds {held(self._rig)} of {self.entries} entries in the end")
        costs = {operation: statistics.median(each) / 1000 / CHUNK for operation, each in self._spent.items()}
        return Cost(self.name, self.entries, self.slices, **costs)


def run(
    seconds: float, versions: Iterable[str] = tuple(VERSIONS), points: Sequence[tuple[int, int]] = POINTS
) -> list[Cost]:
    """Every line, ``seconds`` each; those of a version by turns."""
    return [
        cost
        for name in versions
        for cost in report.by_turns([Line(name, entries, slices) for entries, slices in points], seconds, 20)
    ]


def table(costs: Sequence[Cost]) -> Table:
    """For people."""
    shown = Table(title="CPU us per flow-mod inside the core", title_justify="left")
    shown.add_column("OpenFlow")
    for name in ("flows of the slice", "slices on the switch", "add", "modify strict", "delete strict"):
        shown.add_column(name, justify="right")
    for c in costs:
        counts = map(report.number, (c.entries, c.slices))
        shown.add_row(c.version, *counts, *(f"{us:.2f}" for us in (c.add, c.modify_strict, c.delete_strict)))
    return shown


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__, seconds=2.0).parse_args()
    return 1 if report.measured(lambda: run(options.seconds), table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
