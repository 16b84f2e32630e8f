"""A child process that must run: started, watched, restarted with backoff, and never left behind.

The child says ``listening HOST:PORT`` on its standard output once it is ready.
Its standard error goes line by line to ``log``. It must end when its standard
input does: that pipe closes with us, however we die (a death signal from the
kernel would follow our *thread*, and on Linux only). It runs in a process
group of its own, so that a Ctrl-C in the terminal lets us drain first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from vmoc.model import Endpoint

READY: Final = 30.0
"""Seconds the child may take to listen."""
STOP: Final = 2.0
"""Seconds the child has between SIGTERM and SIGKILL."""
BACKOFF_FIRST: Final = 1.0
BACKOFF_MAX: Final = 30.0
STEADY: Final = 60.0
"""A child that lived this long starts the backoff afresh."""
_LINE: Final = 64 * 1024
_LISTENING: Final = re.compile(r"listening (\S+:\d+)")


class Supervisor:
    """Keeps one child running between ``start`` and ``stop``.

    ``ready(endpoint)`` and ``gone(why)`` are called on the loop, ``gone`` after
    every end, also of a child that never got ready; ``log(line)`` for each line
    of its standard error.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: Callable[[Endpoint], None],
        gone: Callable[[str], None],
        log: Callable[[str], None],
        backoff_first: float = BACKOFF_FIRST,
    ) -> None:
        self._command = list(command)
        self._ready = ready
        self._gone = gone
        self._log = log
        self._backoff_first = backoff_first
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        return self._process.pid if self._process is not None else None

    @property
    def started(self) -> bool:
        """Whether a child is wanted."""
        return self._task is not None

    def start(self) -> None:
        """Want the child; does nothing when it is wanted already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep(frozenset(self._ending)))

    async def stop(self) -> None:
        """End the child: SIGTERM to its group, SIGKILL after ``STOP`` seconds.

        If whoever waits is cancelled the child is ended all the same, and can be waited for by a further call.
        """
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None
        if self._ending:
            await asyncio.wait(self._ending)

    async def _keep(self, before: frozenset[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)  # there is one place for the process
        backoff = self._backoff_first
        while True:
            began = monotonic()
            why = await self._once()
            self.restarts += 1
            if monotonic() - began >= STEADY:
                backoff = self._backoff_first
            self._gone(f"{why}; restarting in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_MAX)

    async def _once(self) -> str:
        """One life of the child; returns how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_LINE,
            )
        except OSError as exc:
            return f"it cannot be started: {exc.strerror or exc}"
        self._process = process
        assert process.stdout is not None and process.stderr is not None
        chores = [asyncio.create_task(self._forward(process.stderr))]
        try:
            if not await self._await_ready(process.stdout):
                return f"it did not listen within {READY:g} s" if process.returncode is None else _ending(process)
            chores.append(asyncio.create_task(_drain(process.stdout)))
            await process.wait()
            return _ending(process)
        finally:
            await self._end(process)
            self._process = None
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    async def _await_ready(self, stdout: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(READY):
                while line := await _line(stdout):
                    if found := _LISTENING.fullmatch(line.strip()):
                        self._ready(Endpoint.parse(f"tcp:{found[1]}"))
                        return True
        except TimeoutError:
            pass
        else:
            # Its output ended: give the exit status a moment to arrive.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP):
                    assert self._process is not None
                    await self._process.wait()
        return False

    async def _forward(self, stderr: asyncio.StreamReader) -> None:
        while line := await _line(stderr):
            if line.strip():
                self._log(line.rstrip())

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            # Not asyncio.timeout: in a task that is cancelled already, that of Python 3.11.2 raises no TimeoutError.
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait({ended}, timeout=STOP)
            if not ended.done():
                _signal_group(process.pid, signal.SIGKILL)
            await ended
        if process.stdin is not None:
            process.stdin.close()


async def _line(stream: asyncio.StreamReader) -> str:
    """The next line, or "" at the end; one longer than the limit comes in pieces without failing."""
    try:
        return (await stream.readline()).decode(errors="replace")
    except ValueError:
        return "(a line too long to show)\n"


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(_LINE):
        pass


def _ending(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    if code is None:
        return "it closed its output"
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with status {code}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
