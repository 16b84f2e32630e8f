"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from vmoc import native


class Ticks(NamedTuple):
    """What the machine's CPUs have had, in the kernel's ticks since it started."""

    stolen: int
    """While they had work, by other guests of the hypervisor."""
    all: int

    @classmethod
    def now(cls) -> Ticks:
        """proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal of all CPUs."""
        ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(ticks[7], sum(ticks))

    def stolen_percent(self, until: Ticks) -> float:
        """Of the CPUs' time from this to then."""
        return round(100 * (until.stolen - self.stolen) / max(until.all - self.all, 1), 1)


_BEGAN: Final = Ticks.now()


def stolen_percent() -> float:
    """Of the CPUs' time, taken by other guests of the hypervisor since this program began."""
    return _BEGAN.stolen_percent(Ticks.now())


Facts = dict[str, str | int | float]


def describe() -> Facts:
    """Plain facts; the load average tells whether somebody else was at work before the measurement."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu[1] if cpu else platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "vmoc": _version(),
        "hot_path": native.form(),
        "revision": _revision(),
        "date": time.strftime("%Y-%m-%d"),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _version() -> str:
    try:
        return metadata.version("vmoc")
    except metadata.PackageNotFoundError:
        return "not installed"


def _revision() -> str:
    """The commit, with ``+`` when files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
