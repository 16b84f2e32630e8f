"""VMOC itself as a child process, configured from a dictionary."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mininet_scenarios import nodes, openvswitch
from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import Process, wait_until


class VmocUnavailableError(RuntimeError):
    """There is no ``vmoc`` command; the message says what to do."""


def command() -> str:
    """The ``vmoc`` command of this Python environment.

    Raises ``VmocUnavailableError``.
    """
    beside = Path(sys.executable).with_name("vmoc")
    found = str(beside) if beside.exists() else shutil.which("vmoc")
    if found is None:
        raise VmocUnavailableError("There is no vmoc command in this Python environment; run: make setup")
    return found


def unavailable(what: str) -> str | None:
    """Why a story cannot be told on this machine, in one sentence; ``what`` wants to make switches."""
    if os.geteuid() != 0:
        return f"{what} network namespaces and switches, which needs root; run it with sudo."
    problem = openvswitch.missing()
    if problem:
        return problem
    try:
        nodes.mininet()
        command()
    except (nodes.MininetUnavailableError, VmocUnavailableError) as error:
        return str(error)
    return None


class Vmoc:
    """``vmoc run -c FILE`` in the calling thread's namespace; ``program`` is what to run for ``vmoc``."""

    def __init__(self, directory: Path, configuration: Mapping[str, Any], program: Sequence[str] = ()) -> None:
        self.program = list(program) or [command()]
        self.file = directory / "vmoc.yaml"
        self.log = directory / "vmoc.log"
        self._process: Process | None = None
        self.write(configuration)

    def write(self, configuration: Mapping[str, Any]) -> None:
        """Write the configuration (JSON is YAML); ``reload`` makes it count."""
        whole = {"state": {"path": ":memory:"}} | dict(configuration)  # nothing of a story outlives it
        self.file.write_text(json.dumps(whole, indent=2) + "\n")

    def start(self) -> Vmoc:
        """Start it and wait until every listener is open. Raises ``RuntimeError`` with its last words if it ends."""
        self._process = self._launch()
        ports = [listener["port"] for listener in json.loads(self.file.read_text())["openflow"]["listen"]]
        wait_until(lambda: not self.alive or all(listening(port) for port in ports), "vmoc to listen", timeout=30)
        if not self.alive:
            raise RuntimeError(f"vmoc ended at once: {self.output().strip()[-2000:]}")
        return self

    def _launch(self) -> Process:
        return Process("vmoc", [*self.program, "run", "-c", str(self.file)], log=self.log)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None
        return self._process

    def output(self) -> str:
        """Everything logged so far, over restarts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def reload(self, configuration: Mapping[str, Any]) -> None:
        """Write a new configuration and tell it with SIGHUP."""
        self.write(configuration)
        self.process.signal(signal.SIGHUP)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.stop(grace=10.0)

    def __enter__(self) -> Vmoc:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
