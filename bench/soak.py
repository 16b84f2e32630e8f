"""``python -m bench.soak``: half an hour of everything at once, and whether VMOC is as it was at the beginning.

Two slices pass paced packet-ins all the time, and must lose none and see none
of another's. Beside them slices are registered, changed and removed over gRPC;
switches and controllers of theirs come, are killed and come back; other
controllers flood, hang up or send nonsense; the configuration is reloaded.
Memory, file descriptors and threads are sampled every second. At the end all
that came has to be gone: flat memory, no descriptor more than at the beginning, hardly
a thread more than in the first half, every slice on the server that should be there and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from am_bridge.client import Attachment, Endpoint, Segment, Slice, VmocClientSync
from bench import machine, noise, tools
from bench.scene import VLANS, Background, running, two_slices
from tests.emulation.process import VmocProcess, family

CORE_DPID: Final = 1
GUEST_DPIDS: Final = (0x51, 0x52, 0x53)
GUEST_VLANS: Final = range(200, 260)
CORE_SWITCHES: Final = 4
PAUSE: Final = 0.25
"""Seconds from one change to the next."""
SETTLING: Final = 6.0
GROWTH_MB: Final = 12.0
GROWTH: Final = 1.10


@dataclass(frozen=True)
class Sample:
    """VMOC at one moment; memory is that of all its processes."""

    seconds: float
    resident_mb: float
    descriptors: int
    threads: int


@dataclass
class Outcome:
    """What there is to say at the end."""

    seconds: float
    version: str
    answers: int = 0
    lost: int = 0
    cross: int = 0
    disconnects: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list, repr=False)
    unexpected: list[str] = field(default_factory=list)

    def memory(self) -> tuple[float, float]:
        """MB in the second and in the last fifth of the time."""
        fifth = max(len(self.samples) // 5, 1)
        parts = self.samples[fifth : 2 * fifth] or self.samples, self.samples[-fifth - 1 : -1] or self.samples
        early, late = (statistics.median(sample.resident_mb for sample in part) for part in parts)
        return early, late

    def failures(self) -> list[str]:
        """Why it did not hold, in sentences."""
        early, late = self.memory()
        first, last = self.samples[0], self.samples[-1]
        found = list(self.unexpected)
        if not self.answers:
            found.append("No packet-in was answered.")
        if self.lost:
            found.append(f"{self.lost} packet-ins had no answer.")
        if self.cross:
            found.append(f"{self.cross} answers were another slice's.")
        if self.disconnects:
            found.append(f"Switches of slices that nobody touched were disconnected {self.disconnects} times.")
        if late > max(GROWTH * early, early + GROWTH_MB):
            found.append(f"Memory grew from {early:.0f} to {late:.0f} MB.")
        if last.descriptors > first.descriptors:
            found.append(f"{last.descriptors} descriptors at the end, {first.descriptors} at the beginning.")
        # Pools are filled as they are needed.
        pools = max(sample.threads for sample in self.samples[: len(self.samples) // 2 + 1])
        if last.threads > pools:
            found.append(f"{last.threads} threads at the end, at most {pools} in the first half.")
        return found


class Guests:
    """The slices that come and go, and the switches and controllers that are theirs. Seeded."""

    def __init__(self, vmoc: VmocProcess, client: VmocClientSync, version: str, seed: int) -> None:
        self._vmoc = vmoc
        self._client = client
        self._version = version
        self._chance = random.Random(seed)
        self._slices: dict[int, Slice] = {}
        self._switches: dict[int, subprocess.Popen[bytes]] = {}
        self.changes: dict[str, int] = {}
        self._moves: dict[str, tuple[int, Callable[[], None]]] = {
            "slice registered": (6, self._register),
            "slice changed": (3, self._change),
            "slice removed": (5, self._remove),
            "switch connected": (3, self._connect_switch),
            "switch killed": (2, self._kill_switch),
            "controller killed and restarted": (2, self._restart_controller),
            "configuration reloaded": (1, self._reload),
        }
        self._controllers = {kind: noise.Controller(kind) for kind in (*noise.KINDS, "reconnects")}

    def move(self) -> None:
        """One change of something."""
        names = list(self._moves)
        (name,) = self._chance.choices(names, [self._moves[each][0] for each in names])
        self._moves[name][1]()
        self.changes[name] = self.changes.get(name, 0) + 1

    def end(self) -> list[str]:
        """Remove everything; what is on the server that should not be, or the other way round."""
        with contextlib.suppress(TimeoutError):
            self._client.settled(20)
        wanted = {one.id for one in self._slices.values()}
        there = {record.slice.id for record in self._client.slices() if record.slice.manager == "soak"}
        found = [f"Slice {name} is missing on the server." for name in wanted - there]
        found += [f"Slice {name} is on the server, and should not be." for name in there - wanted]
        for vlan in list(self._slices):
            self._client.remove(self._slices.pop(vlan).id)
        with contextlib.suppress(TimeoutError):
            self._client.settled(20)
        for switch in self._switches.values():
            switch.kill()
            switch.wait()
        for controller in self._controllers.values():
            controller.kill()
        return found

    def _register(self) -> None:
        free = [vlan for vlan in GUEST_VLANS if vlan not in self._slices]
        if free:
            self._put(self._chance.choice(free))

    def _change(self) -> None:
        if self._slices:
            self._put(self._chance.choice(list(self._slices)))

    def _put(self, vlan: int) -> None:
        dpids = self._chance.sample(GUEST_DPIDS, self._chance.randint(1, len(GUEST_DPIDS)))
        kind = self._chance.choice(list(self._controllers))
        controllers = (Endpoint("tcp", "127.0.0.1", self._controllers[kind].port),)
        attachments = tuple(Attachment(dpid, frozenset(self._chance.sample((1, 2, 3, 4), 2))) for dpid in sorted(dpids))
        self._slices[vlan] = Slice(f"guest-{vlan}", (Segment(vlan, controllers, attachments=attachments),))
        self._client.put(self._slices[vlan])

    def _remove(self) -> None:
        if self._slices:
            vlan = self._chance.choice(list(self._slices))
            self._client.remove(self._slices.pop(vlan).id)

    def _connect_switch(self) -> None:
        away = [dpid for dpid in GUEST_DPIDS if dpid not in self._switches]
        if away:
            dpid = self._chance.choice(away)
            vlans = f"{GUEST_VLANS.start}-{GUEST_VLANS.stop - 1}"
            self._switches[dpid] = subprocess.Popen(
                [
                    *(str(tools.build() / "switches"), "-p", str(self._vmoc.port), "-o", str(dpid), "-l", vlans),
                    *("-v", "1" if self._version == "1.0" else "4", "-q", "500", "-t", "86400", "-H", "0"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def _kill_switch(self) -> None:
        if self._switches:
            process = self._switches.pop(self._chance.choice(list(self._switches)))
            process.kill()
            process.wait()

    def _restart_controller(self) -> None:
        kind = self._chance.choice(list(self._controllers))
        self._controllers[kind].kill()
        self._controllers[kind] = noise.Controller(kind)

    def _reload(self) -> None:
        self._vmoc.signal(signal.SIGHUP)


def sample(vmoc: VmocProcess, begun: float) -> Sample:
    """How VMOC is now."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = descriptors = threads = 0
    for pid in family(vmoc.pid):
        with contextlib.suppress(OSError):
            resident += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            threads += len(os.listdir(f"/proc/{pid}/task"))
    return Sample(round(time.monotonic() - begun, 1), resident / 1e6, descriptors, threads)


def soak(seconds: float, *, version: str, seed: int, rate: float, tick: Callable[[], None] = lambda: None) -> Outcome:
    """All of it. Raises ``ToolError`` if it cannot begin."""
    outcome = Outcome(seconds, version)
    with tempfile.TemporaryDirectory(prefix="vmoc-soak-") as name, tools.Controllers(VLANS) as controllers:
        folder = Path(name)
        slices = two_slices(controllers.ports, range(CORE_DPID, CORE_DPID + CORE_SWITCHES))
        with running(slices, version, folder=folder) as vmoc:
            core = Background(
                vmoc,
                controllers,
                version=version,
                seconds=seconds + 2 * SETTLING,
                rate=rate,
                switches=CORE_SWITCHES,
            )
            try:
                with VmocClientSync(vmoc.config["grpc"]["listen"], manager="soak", desired=()) as client:
                    client.settled(30)
                    _churn(outcome, vmoc, client, core, seconds, seed, tick)
            except TimeoutError as error:
                raise tools.ToolError(str(error)) from None
            run = core.wait()
        outcome.answers, outcome.lost, outcome.cross = run["answers"], run["lost"], run["cross"]
        outcome.disconnects = run["disconnects"]
        log = vmoc.log()
        if "Traceback" in log or "level=error" in log:
            outcome.unexpected.append("VMOC logged an error of its own.")
    if controllers.counters["foreign"]:
        outcome.cross += controllers.counters["foreign"]
    return outcome


def _churn(
    outcome: Outcome,
    vmoc: VmocProcess,
    client: VmocClientSync,
    core: Background,
    seconds: float,
    seed: int,
    tick: Callable[[], None],
) -> None:
    begun = time.monotonic()
    guests = Guests(vmoc, client, outcome.version, seed)
    time.sleep(SETTLING / 2)
    outcome.samples.append(sample(vmoc, begun))  # nothing but the core is there
    try:
        while time.monotonic() - begun < seconds and core.running and vmoc.running:
            guests.move()
            tick()
            time.sleep(PAUSE)
            if time.monotonic() - begun > outcome.samples[-1].seconds + 1:
                outcome.samples.append(sample(vmoc, begun))
    finally:
        outcome.unexpected += guests.end()
    outcome.changes = guests.changes
    if not vmoc.running:
        outcome.unexpected.append("VMOC ended.")
        return
    time.sleep(SETTLING)
    outcome.samples.append(sample(vmoc, begun))


def table(outcome: Outcome) -> Table:
    """What was done and what was seen."""
    early, late = outcome.memory()
    first, last = outcome.samples[0], outcome.samples[-1]
    shown = Table(title=f"{outcome.seconds:.0f} s of mixed load, OpenFlow {outcome.version}", title_justify="left")
    shown.add_column("what")
    shown.add_column("seen", justify="right")
    for name, count in sorted(outcome.changes.items()):
        shown.add_row(f"{name}, times", str(count))
    shown.add_row("packet-ins of the two slices answered", f"{outcome.answers:,}".replace(",", " "))
    shown.add_row("lost / another's", f"{outcome.lost} / {outcome.cross}")
    shown.add_row("memory early and late, MB", f"{early:.0f} / {late:.0f}")
    shown.add_row("descriptors at the beginning and the end", f"{first.descriptors} / {last.descriptors}")
    shown.add_row("threads at the beginning and the end", f"{first.threads} / {last.threads}")
    return shown


def main() -> int:
    """Run it; 0 if it held."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long (1800)")
    parser.add_argument("--version", choices=["1.0", "1.3"], default="1.3", help="OpenFlow version (1.3)")
    parser.add_argument("--seed", type=int, default=1, help="which changes are made (1)")
    parser.add_argument("--rate", type=float, default=2000.0, help="packet-ins per second of the two slices (2000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, every sample included, to FILE")
    options = parser.parse_args()
    console = Console()
    begun = time.monotonic()
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("soaking", total=options.seconds)
        try:
            outcome = soak(
                options.seconds,
                version=options.version,
                seed=options.seed,
                rate=options.rate,
                tick=lambda: progress.update(task, completed=time.monotonic() - begun),
            )
        except tools.ToolError as error:
            console.print(str(error), markup=False, highlight=False)
            return 1
    console.print(table(outcome))
    failures = outcome.failures()
    for failure in failures:
        console.print(failure, markup=False, highlight=False)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe()} | asdict(outcome), indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
