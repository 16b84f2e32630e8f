"""``python -m bench``: round trips from packet-in to flow-mod through a running VMOC."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from bench import load, machine, report, tools
from bench.patience import Patience

CASES = [(1, "throughput"), (16, "throughput"), (1, "latency"), (16, "latency")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 45 s instead of 3 minutes, less exact")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything, every run included, to FILE")
    parser.add_argument("--version", choices=["1.0", "1.3"], help="one OpenFlow version only")
    parser.add_argument(
        "--workers", type=int, nargs="+", metavar="N", help="as of vmoc run; several: one after another (auto)"
    )
    parser.add_argument("--runs", type=int, help="runs per line (median is shown)")
    parser.add_argument("--seconds", type=float, help="seconds per run")
    parser.add_argument("--hosts", type=int, help="source addresses per switch (1024): bounds its flow table")
    parser.add_argument("--window", type=int, help="packet-ins outstanding per switch in throughput lines (64)")
    parser.add_argument("--no-journal", action="store_true", help="without the flow journal: state.path :memory:")
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", help="in all, to repeat lines that others disturbed (0)"
    )
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> load.Plan:
    plan = load.QUICK if arguments.quick else load.Plan()
    changes = {name: getattr(arguments, name) for name in ("runs", "seconds", "hosts", "window", "patience")}
    changes["journal"] = False if arguments.no_journal else None
    changes["workers"] = tuple(arguments.workers) if arguments.workers else None
    changes["versions"] = (arguments.version,) if arguments.version else None
    return load.Plan(**(vars(plan) | {name: value for name, value in changes.items() if value is not None}))


def _remarks(results: list[load.Result]) -> list[str]:
    remarks = []
    for r in results:
        where = f"OpenFlow {r.version}, {r.title}, {r.switches} switch(es), {r.placement}"
        for name, value in (("wild (answers without a VLAN)", r.wild), ("lost", r.lost), ("silent VLANs", r.silent),
                            ("disconnects", r.disconnects)):  # fmt: skip
            if value:
                remarks.append(f"{where}: {value} {name}")
    return [*remarks, *filter(None, [report.disturbance(results)])]


def main() -> int:
    """Exit status: 0 measured; 1 could not measure, or an answer crossed VLANs."""
    arguments = _arguments()
    plan = _plan(arguments)
    console = report.console()
    facts = machine.describe()
    console.print("  ".join(f"{name}: {value}" for name, value in facts.items()))
    results: list[load.Result] = []
    begun = time.monotonic()

    def done(result: load.Result) -> None:
        results.append(result)
        seconds = time.monotonic() - begun
        console.print(
            f"[{seconds:5.1f} s] OpenFlow {result.version}, {result.title}, {result.switches} switch(es),"
            f" {result.workers if result.workers is not None else 'no'} worker(s), {result.placement}:"
            f" {report.number(result.per_second)} round trips/s, p50 {result.p50_us:.0f} us,"
            f" p99 {result.p99_us:.0f} us",
            markup=False,
        )

    one_cpu = min(os.sched_getaffinity(0))
    try:
        tools.build()
        patience = Patience(plan.patience)
        for version in plan.versions:
            for count, mode in CASES:
                done(load.least_disturbed(patience, partial(load.direct, plan, version, count, mode)))
            done(load.least_disturbed(patience, partial(load.direct, plan, version, 1, "latency", one_cpu)))
            for workers in plan.workers:
                load.through(plan, version, None, workers, CASES, patience, done)
                load.through(plan, version, one_cpu, workers, [(1, "latency")], patience, done)
    except tools.ToolError as error:
        console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 1
    console.print(load.table(results))
    for remark in _remarks(results):
        console.print(f"note: {remark}", markup=False)
    if arguments.json:
        report.write(arguments.json, facts, plan=vars(plan), lines=[r.as_dict() for r in results])
    if crossed := sum(r.cross for r in results):
        console.print(f"FAILED: {crossed} answers or packet-ins crossed VLANs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
