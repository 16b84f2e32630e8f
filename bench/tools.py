"""The load tools: C programs built on demand, so that the load is never what limits a measurement."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "tools"
BUILD = Path(__file__).parent / "build"
PROGRAMS = ("switches", "controllers")


class ToolError(Exception):
    """One sentence for the user."""


def build() -> Path:
    """Compile what is older than its sources; the folder with the programs. Raises ``ToolError``."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ToolError("The load tools need a C compiler; install gcc (Debian: apt-get install gcc libc6-dev).")
    BUILD.mkdir(exist_ok=True)
    header = SOURCES / "of.h"
    for name in PROGRAMS:
        source, program = SOURCES / f"{name}.c", BUILD / name
        newest = max(source.stat().st_mtime, header.stat().st_mtime)
        if program.exists() and program.stat().st_mtime >= newest:
            continue
        fresh = BUILD / f"{name}.{os.getpid()}"
        done = subprocess.run(
            [compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ToolError(f"{compiler} could not build {source.name}: {done.stderr.strip().splitlines()[-1]}")
        fresh.replace(program)
    return BUILD


def _pin(cpu: int | None) -> list[str]:
    return [] if cpu is None else ["-C", str(cpu)]


class Controllers:
    """One process that plays a controller on each of the given VLAN lists; ``ports`` in the same order.

    An empty list stands for a controller that takes any VLAN, or none.
    """

    def __init__(self, vlans: Sequence[str], *, answer: str = "fm", cpu: int | None = None) -> None:
        arguments = [argument for each in vlans for argument in ("-p", f"0:{each}" if each else "0")]
        self._process = subprocess.Popen(
            [str(build() / "controllers"), *arguments, "-a", answer, *_pin(cpu)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # where processors are shared out by session: not with the one that measures
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline().split()
        if len(first) != len(vlans):
            self._process.wait()
            raise ToolError("The load controllers could not listen; see the message above.")
        self.ports = [int(port) for port in first]
        self.counters: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Controllers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stdout is not None
        rest = self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait()
        if rest.strip():
            self.counters = json.loads(rest.splitlines()[-1])


def switches(
    port: int,
    *,
    version: str,
    count: int = 1,
    vlans: str = "101,102",
    mode: str = "throughput",
    window: int = 64,
    hosts: int = 1024,
    seconds: float = 4,
    runs: int = 3,
    warm_up: float = 1,
    measured: Sequence[int] = (),
    load: Sequence[int] = (),
    answer: str = "any",
    cpu: int | None = None,
    rate: float | None = None,
    noise: tuple[int, float] | None = None,
) -> dict[str, Any]:
    """Run ``count`` switches against whoever listens on ``port`` and return what they report. Raises ``ToolError``.

    ``rate`` paces them, packet-ins per second in all; otherwise they send as fast as answers come. ``measured`` are
    processes whose CPU and memory are reported, ``load`` those that belong to the load. ``noise`` is one more VLAN and
    how many packet-ins per second of it are sent that nobody counts.
    """
    arguments = [
        *("-p", str(port), "-v", "1" if version == "1.0" else "4", "-n", str(count), "-l", vlans),
        *("-m", mode[0], "-w", str(window), "-M", str(hosts), "-t", str(seconds), "-r", str(runs)),
        *("-W", str(warm_up), "-R", answer, *_pin(cpu)),
        *(() if rate is None else ("-q", str(rate))),
        *(() if noise is None else ("-F", f"{noise[0]}:{noise[1]}")),
        *(argument for pid in measured for argument in ("-k", str(pid))),
        *(argument for pid in load for argument in ("-K", str(pid))),
    ]
    done = subprocess.run(
        [str(build() / "switches"), *arguments],
        capture_output=True,
        text=True,
        timeout=60 + runs * seconds + warm_up,
        check=False,
        start_new_session=True,
    )
    if done.returncode or not done.stdout.strip():
        raise ToolError(f"The load switches failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def alone(vlans: Sequence[str], *, version: str, cpu: int | None = None, **options: Any) -> tuple[dict[str, Any], int]:
    """Switches right at a controller of these VLANs, without VMOC: what the tools and the kernel can do.

    ``options`` are those of ``switches``. Returns its report, and how many packet-ins were of another VLAN. Raises
    ``ToolError``.
    """
    with Controllers([",".join(vlans)], cpu=cpu) as controllers:
        report = switches(
            controllers.ports[0], version=version, vlans=",".join(vlans), load=[controllers.pid], cpu=cpu, **options
        )
    return report, int(controllers.counters["foreign"])
