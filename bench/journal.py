"""``python -m bench.journal``: what the flow journal costs on the way of a flow-mod.

The same flow-mods go through three muxes in this process by turns: without a
journal, with records that nobody writes, and with records written to a file
as ``vmoc run`` does, one batch before the bytes of each read leave.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench import report
from bench.micro import CHUNK, FIRST, HOSTS, Rig, flow_mod
from tests.emulation import wire as of
from vmoc.store.journal import JournalFile

VERSIONS = {"1.0": of.V10, "1.3": of.V13}


@dataclass(frozen=True)
class Cost:
    """CPU microseconds per flow-mod, inside the core and for the file."""

    version: str
    without: float
    records: float
    written: float


def _ways(folder: Path) -> list[tuple[bool, Callable[[bytes], object]]]:
    file = JournalFile(folder / "vmoc.db", _fail)
    file.begin(goes_on=False)
    file.rewritten()

    def write(records: bytes) -> None:
        if file.write(records):  # as the edge does, but that nothing is in the new file: it is about the cost of writes
            file.rewrite()
            file.rewritten()

    return [(False, lambda _: None), (True, lambda _: None), (True, write)]


def _fail(why: str) -> None:
    raise RuntimeError(why)


def run(seconds: float, name: str) -> Cost:
    """Medians over all turns of one version."""
    version = VERSIONS[name]
    chunks = [
        b"".join(flow_mod(version, FIRST, begin + each) for each in range(CHUNK)) for begin in range(0, HOSTS, CHUNK)
    ]
    with tempfile.TemporaryDirectory(prefix="vmoc-bench-") as folder:
        ways = [(Rig(version, journal=on), write) for on, write in _ways(Path(folder))]
        spent: list[list[int]] = [[] for _ in ways]
        end, turns = time.perf_counter() + seconds, 0
        while time.perf_counter() < end or turns < 20:
            chunk = chunks[turns % len(chunks)]
            for way, (rig, write) in enumerate(ways):
                begun = time.process_time_ns()
                rig.down(chunk)
                output = rig.mux.take()
                if output.journal:
                    write(output.journal)
                spent[way].append(time.process_time_ns() - begun)
                if bool(output.journal) is (way == 0):
                    raise RuntimeError("a journal where there should be none, or none")
                if rig.carry(output) < CHUNK:
                    raise RuntimeError(f"not all of {CHUNK} flow-mods reached the switch")
                rig.now += 0.01
            turns += 1
    return Cost(name, *(statistics.median(each) / 1000 / CHUNK for each in spent))


def table(costs: Sequence[Cost]) -> Table:
    """For people."""
    shown = Table(title="CPU us per flow-mod inside the core", title_justify="left")
    shown.add_column("OpenFlow")
    for name in ("without a journal", "records made", "and written", "added"):
        shown.add_column(name, justify="right")
    for c in costs:
        shown.add_row(c.version, *(f"{us:.2f}" for us in (c.without, c.records, c.written, c.written - c.without)))
    return shown


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__, seconds=5.0).parse_args()
    return (
        1
        if report.measured(lambda: (run(options.seconds, name) for name in VERSIONS), table, options.json) is None
        else 0
    )


if __name__ == "__main__":
    sys.exit(main())
