"""Child processes that never outlive us, and waiting for conditions instead of for time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

T = TypeVar("T")


class WaitedTooLongError(AssertionError):
    """A condition did not become true in time."""


def wait_until(condition: Callable[[], T], what: str, *, timeout: float = 15.0, every: float = 0.05) -> T:
    """Poll ``condition`` every ``every`` seconds until it is true and return its value.

    Raises ``WaitedTooLongError`` naming ``what`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise WaitedTooLongError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        time.sleep(every)


class Started(Protocol):
    """A process that runs already, as ``subprocess.Popen`` has it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Process:
    """A child in its own session, killed by the kernel if we die first, its output in a file.

    The kernel's part (PR_SET_PDEATHSIG) is tied to the starting *thread*:
    start processes from the main one.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._popen: Started
        with log.open("ab") as sink:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )

    @classmethod
    def around(cls, name: str, started: Started, log: Path) -> Self:
        """One that was started in another way."""
        process = cls.__new__(cls)
        process.name, process.log, process._popen = name, log, started
        return process

    @property
    def pid(self) -> int:
        """The process's id (``setpriv`` has replaced itself by it)."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def output(self) -> str:
        """All it has printed so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Its exit code; ``subprocess.TimeoutExpired`` when it does not end in time."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the process alone, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, grace: float = 5.0) -> None:
        """SIGTERM, after ``grace`` seconds SIGKILL; then whatever is left of its process group."""
        if self.alive:
            self._popen.terminate()
            try:
                self._popen.wait(grace)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


def descendants(token: str) -> list[int]:
    """Living processes whose environment holds ``token``: all that was started under it, ourselves excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return sorted(found)


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 20.0) -> str:
    """Run a command to its end and return its output.

    Raises ``RuntimeError`` with what it printed when it fails.
    """
    done = subprocess.run(
        argv,
        env=None if env is None else {**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    return done.stdout
