"""``python -m bench.registration``: what an aggregate manager gets of a running VMOC, through gRPC from outside.

26 000 VLAN segments registered in batches while a two-slice packet-in load runs, and what that does to the load; one
registration at a time; a start with all of it stored; listing it; 4 000 controller connections at once; and one
registration at a time while switches send all they can, and while one sends little but often. The switches of the
26 000 are either not there yet, or all there and carry the load themselves (``present``).
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench import report, tools
from bench.calls import Caller, Figure, table
from bench.scene import VLANS, Background, place, running, two_slices
from tests.emulation.process import family, vmoc_command
from vmoc.model import Attachment, Endpoint, Segment, Slice

SWITCHES, PER_SWITCH, BATCH = 18, 1444, 1000
RATE = 2000
CONNECTIONS = 4000
FLOODING = 16
TRICKLE = 7000
PARTS = ("loaded", "present", "stored", "connected", "flooded", "trickled")
LOAD_DPID = 1
FIRST_VLAN = 200
FIRST_DPID = 0x1000
LOADED = f"{report.number(SWITCHES * PER_SWITCH)} segments in batches of {BATCH} under load"
PRESENT = f"{LOADED}, on {SWITCHES} switches that are there"


def segments(*, present: bool = False) -> Iterator[Slice]:
    """A slice for each VLAN on each switch; ``present``: on those that carry the load, and without controllers."""
    first = LOAD_DPID if present else FIRST_DPID
    for number in range(SWITCHES):
        for vlan in range(FIRST_VLAN, FIRST_VLAN + PER_SWITCH):
            controllers = () if present else (Endpoint("tcp", f"192.0.2.{vlan % 250 + 1}", 6653),)
            attachment = Attachment(first + number, frozenset((1, 2)))
            yield Slice(f"s-{number}-{vlan}", (Segment(vlan, controllers, attachments=(attachment,)),), manager="bench")


def _single(number: int) -> Slice:
    segment = Segment(4000, (Endpoint("tcp", "192.0.2.1", 6653),), attachments=(Attachment(0x9000 + number),))
    return Slice(f"one-{number}", (segment,), manager="bench")


def register(caller: Caller, slices: Sequence[Slice]) -> list[float]:
    """Seconds of each batch."""
    return [caller.batch(slices[start : start + BATCH]) for start in range(0, len(slices), BATCH)]


def loaded(folder: Path, seconds: float, rate: float, *, present: bool = False) -> Iterator[Figure]:
    """Registering everything while packet-ins flow, against the same load on its own."""
    slices, switches = list(segments(present=present)), SWITCHES if present else 1
    dpids = range(LOAD_DPID, LOAD_DPID + switches)
    with (
        tools.Controllers(VLANS) as controllers,
        running(two_slices(controllers.ports, dpids), "1.3", folder=folder) as vmoc,
    ):
        caller = Caller(vmoc)
        caller.wait_ready()
        quiet = Background(vmoc, controllers, seconds=seconds, rate=rate, switches=switches).wait()
        load = Background(vmoc, controllers, seconds=seconds, rate=rate, switches=switches)
        time.sleep(1.0 if present else 0.5)
        begun = time.perf_counter()
        times = register(caller, slices)
        arrived = 0.0
        again = 0
        while load.running:  # so that the whole of the run is measured under registrations
            if present:
                there = caller.datapaths() - SWITCHES * len(VLANS)
                if 0 < there < len(slices) or not arrived:
                    arrived = there / (time.perf_counter() - begun)
                time.sleep(0.2)
                continue
            again += 1
            chunk = slices[(again % SWITCHES) * BATCH : (again % SWITCHES + 1) * BATCH]
            caller.batch([_changed(one, again) for one in chunk])
        busy = load.wait()
        memory = vmoc.resident()
        if caller.count() != len(slices):
            raise tools.ToolError("slices are missing after the registration")
        caller.close()
    if busy["cross"] or quiet["cross"]:
        raise tools.ToolError("packet-ins or answers crossed VLANs: isolation is broken.")
    yield Figure(PRESENT if present else LOADED, sum(times), "s", most=10)
    full = times[: len(slices) // BATCH]
    yield Figure("last batch over first batch", full[-1] / full[0], "x", most=1.5)
    yield Figure("slowest batch", max(times), "s")
    if present:
        yield Figure("segments that became virtual datapaths meanwhile", arrived, "/s")
    yield Figure(f"packet-in to flow-mod, {rate:g}/s, quiet: p50", quiet["p50_us"], "us")
    yield Figure("the same: p99", quiet["p99_us"], "us")
    yield Figure("the same during registrations: p50", busy["p50_us"], "us")
    yield Figure("the same: p99", busy["p99_us"], "us")
    yield Figure("p99 over quiet p99", busy["p99_us"] / quiet["p99_us"], "x", most=2)
    yield Figure("packet-ins without an answer", busy["lost"], "")
    yield Figure("memory with all of them", memory / 1e6, "MB")


def _changed(one: Slice, number: int) -> Slice:
    limits = type(one.limits)(max_flows=1000 + number)
    return Slice(one.id, one.segments, limits, manager=one.manager)


def stored(folder: Path, singles: int) -> Iterator[Figure]:
    """One at a time among all of them; kill -9; a start with everything stored; listing."""
    slices = list(segments())
    with running([], "1.3", folder=folder) as vmoc:
        caller = Caller(vmoc)
        caller.wait_ready()
        times = register(caller, slices)
        yield Figure("the same segments without load", sum(times), "s")
        begun = time.perf_counter()
        for number in range(singles):
            caller.one(_single(number))
        yield Figure("one at a time, among them", singles / (time.perf_counter() - begun), "/s", least=300)
        yield Figure("what the disk alone can do: writes of 16 KiB, each synced", _syncs(folder), "/s")
        vmoc.kill()
        begun = time.perf_counter()
        vmoc.launch()
        vmoc.wait_listening(60)
        listening = time.perf_counter() - begun
        caller.wait_ready()
        ready = time.perf_counter() - begun
        yield Figure("start after kill -9, until switches can connect", listening, "s", most=5)
        yield Figure("start after kill -9, until the API answers", ready, "s", most=5)
        if caller.count() != len(slices) + singles:
            raise tools.ToolError("slices are missing after kill -9")
        begun = time.perf_counter()
        caller.count()
        yield Figure("ListSlices, every page, one client", time.perf_counter() - begun, "s")
        caller.close()
        for form in ("json", "table"):
            command = [*vmoc_command(), "slice", "list", "--server", caller.address, "-o", form]
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            took = time.perf_counter() - begun
            if done.returncode or done.stdout.count("one-") < singles:
                raise tools.ToolError(f"vmoc slice list failed: {done.stderr.strip()}")
            yield Figure(f"vmoc slice list -o {form}, the program's start included", took, "s", most=3)


def _syncs(folder: Path, count: int = 300) -> float:
    """Writes per second into a file that has its size already, which is what a commit of the state file is."""
    file, block = folder / "syncs", bytes(16 << 10)
    with file.open("wb") as writer:
        writer.write(block * count)
        os.fsync(writer.fileno())
    with file.open("r+b", buffering=0) as writer:
        begun = time.perf_counter()
        for _ in range(count):
            writer.write(block)
            os.fdatasync(writer.fileno())
        took = time.perf_counter() - begun
    file.unlink()
    return count / took


def connected(folder: Path) -> Iterator[Figure]:
    """A controller connection for each of 4 000 segments on one switch."""
    with tools.Controllers([f"1-{CONNECTIONS}"]) as controllers, running([], "1.3", folder=folder) as vmoc:
        caller = Caller(vmoc)
        caller.wait_ready()
        before = vmoc.resident()
        controller = Endpoint("tcp", "127.0.0.1", controllers.ports[0])
        slices = [
            Slice(f"c-{vlan}", (Segment(vlan, (controller,), attachments=(Attachment(LOAD_DPID),)),), manager="bench")
            for vlan in range(1, CONNECTIONS + 1)
        ]
        register(caller, slices)
        switch = threading.Thread(
            target=tools.switches,
            args=(vmoc.port,),
            kwargs={"version": "1.3", "vlans": f"1-{CONNECTIONS}", "hosts": CONNECTIONS, "seconds": 5, "runs": 1}
            | {"rate": 2000, "warm_up": 1},
        )
        begun = time.perf_counter()
        switch.start()
        most, peak = 0, 0
        took = float("nan")
        while switch.is_alive():
            now = _established(controllers.ports[0])
            if now >= CONNECTIONS and most < CONNECTIONS:
                took = time.perf_counter() - begun
            most = max(most, now)
            peak = max(peak, vmoc.resident())
            time.sleep(0.1)
        switch.join()
        caller.close()
    yield Figure("controller connections open at once", most, "", least=CONNECTIONS)
    yield Figure("until all of them were", took, "s")
    yield Figure("memory before", before / 1e6, "MB")
    yield Figure("memory with all of them, packet-ins flowing", peak / 1e6, "MB", most=400)


def flooded(folder: Path, seconds: float) -> Iterator[Figure]:
    """One at a time while packets take all the CPU there is: whoever floods must be possible to switch off."""
    dpids = range(LOAD_DPID, LOAD_DPID + FLOODING)
    with (
        tools.Controllers(VLANS) as controllers,
        running(two_slices(controllers.ports, dpids), "1.3", folder=folder) as vmoc,
    ):
        flood = partial(
            tools.switches, vmoc.port, version="1.3", count=FLOODING, seconds=seconds, runs=1, load=[controllers.pid]
        )
        yield from _beside(Caller(vmoc), flood, f"while {FLOODING} switches send all they can")


def trickled(folder: Path, seconds: float) -> Iterator[Figure]:
    """One at a time while a worker has hardly anything to do, but so often that it looks out for it; on one CPU."""
    cpu = min(os.sched_getaffinity(0))
    with (
        tools.Controllers(VLANS, cpu=cpu) as controllers,
        running(two_slices(controllers.ports, [LOAD_DPID]), "1.3", folder=folder, options=("--workers", "1")) as vmoc,
    ):
        place(family(vmoc.pid), cpu)
        load = {"seconds": seconds, "runs": 1, "rate": TRICKLE, "load": [controllers.pid], "cpu": cpu}
        trickle = partial(tools.switches, vmoc.port, version="1.3", **load)
        yield from _beside(Caller(vmoc), trickle, f"beside {TRICKLE} single packet-ins/s, all on one CPU")


def _beside(caller: Caller, load: Callable[[], dict[str, Any]], title: str) -> Iterator[Figure]:
    caller.wait_ready()
    asked = itertools.count()

    def register_one() -> float:
        one = _single(next(asked))
        begun = time.perf_counter()
        caller.one(one)
        return time.perf_counter() - begun

    quiet = sorted(register_one() for _ in range(100))
    busy = []
    with ThreadPoolExecutor(1) as pool:
        running_load = pool.submit(load)
        time.sleep(1.5)  # they connect, and warm up
        while not running_load.done():
            busy.append(register_one())
        trips = running_load.result()["runs"][0]
    caller.close()
    if trips["cross"]:
        raise tools.ToolError("packet-ins or answers crossed VLANs: isolation is broken.")
    if not (during := busy[:-1]):  # the last may have been answered after the load
        raise tools.ToolError("no registration was answered while the switches sent")
    yield Figure("RegisterSlice, nothing else going on: median", 1e3 * statistics.median(quiet), "ms")
    yield Figure("the same: slowest", 1e3 * quiet[-1], "ms")
    yield Figure(f"RegisterSlice {title}: median", 1e3 * statistics.median(during), "ms")
    yield Figure("the same: slowest", 1e3 * max(during), "ms", most=500)
    yield Figure("round trips meanwhile", trips["per_second"], "/s")


def _established(port: int) -> int:
    """TCP connections of this machine to that port; the kernel's table names both ends."""
    wanted = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if (fields := line.split())[3] == "01" and fields[2].endswith(wanted))


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 measured; 1 could not measure, or something is missing. Figures that aren't held say so."""
    parser = report.parser(__doc__, seconds=8.0)
    parser.add_argument("--rate", type=float, default=RATE, help=f"packet-ins per second ({RATE})")
    parser.add_argument("--singles", type=int, default=1000, help="registrations one at a time (1000)")
    parser.add_argument("--only", choices=PARTS, action="append", help="repeatable")
    parser.add_argument("--workers", metavar="N", help="as of vmoc run (auto)")
    parser.add_argument("--folder", type=Path, help="where the state file goes (a disk, for honest figures)")
    options = parser.parse_args(arguments)
    if options.workers:
        os.environ["VMOC_WORKERS"] = options.workers
    parts: dict[str, Callable[[Path], Iterator[Figure]]] = {
        "loaded": lambda folder: loaded(folder, options.seconds, options.rate),
        "present": lambda folder: loaded(folder, 2 * options.seconds, options.rate, present=True),
        "stored": lambda folder: stored(folder, options.singles),
        "connected": connected,
        "flooded": lambda folder: flooded(folder, options.seconds),
        "trickled": lambda folder: trickled(folder, options.seconds),
    }

    def measure() -> Iterator[Figure]:
        tools.build()
        for name, part in parts.items():
            if options.only and name not in options.only:
                continue
            with tempfile.TemporaryDirectory(prefix="vmoc-bench-", dir=options.folder) as folder:
                yield from part(Path(folder))

    return 1 if report.measured(measure, table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
