"""A program and all that it starts, as one thing: run under ``warden``, read with bounds, ended as a whole."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from am_bridge.handlers.handler import Stop

MARK: Final = "VMOC_OPERATION"
"""In the environment of every process of a run: how a later life finds what is left of one."""
MAX_OUTPUT: Final = 64 << 20
"""Bytes a program may print before it is stopped; only the last lines are kept."""
MAX_LINE: Final = 1 << 20
"""Bytes of one event; a longer one is dropped."""
TAIL_LINES: Final = 40
TAIL_LINE: Final = 2000
"""Characters kept of a printed line."""
_WARDEN: Final = str(Path(__file__).with_name("warden.py"))
_POLL: Final = 0.05
_PATIENCE: Final = 5.0
"""Seconds beyond the grace that the warden may take to end everything."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended."""

    status: int
    """Its exit status, 128 and the signal's number when one ended it."""
    output: tuple[str, ...]
    """The last lines it printed, standard output and error together."""
    flooded: bool
    """It was stopped because it printed too much."""


def run_subtree(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    *,
    operation: str,
    stop: Stop,
    grace: float,
    weight: int,
    line: Callable[[bytes], None],
) -> Ending:
    """Run ``command`` to its end or until ``stop``; ``line`` gets each line it writes to the events pipe.

    The pipe's number is in ``VMOC_EVENTS_FD``. ``directory`` is removed with
    the run. ``weight``: see ``warden``. When this returns, nothing of the run is
    alive, except what a successful one meant to leave. Raises ``OSError`` when it cannot be started.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as events:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", _WARDEN, str(grace), str(weight), str(directory), *command],
                env={**environment, MARK: operation, "VMOC_EVENTS_FD": str(writer)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        assert process.stdin is not None and process.stdout is not None
        tail, lines = _Tail(), _Lines(line)
        with process, process.stdin as leash, selectors.DefaultSelector() as selector:
            for pipe, sink in ((process.stdout, tail.feed), (events, lines.feed)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, sink)
            ask_by = None
            while process.poll() is None:
                _read(selector, _POLL)
                if ask_by is None and (stop.asked or tail.total > MAX_OUTPUT):
                    leash.close()
                    ask_by = time.monotonic() + grace + _PATIENCE
                elif ask_by is not None and time.monotonic() > ask_by:
                    process.kill()
            # What was written before the end is in the pipes; somebody may hold them open for ever.
            _read(selector, 0.0, rounds=1000)
        if process.returncode < 0:
            end_marked(operation)
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Ending(status, tail.lines(), tail.total > MAX_OUTPUT)


def end_marked(operation: str) -> list[int]:
    """Kill every process that carries the operation's mark, and say which those were."""
    killed: list[int] = []
    while found := find_marked(operation):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in found if pid not in killed]
        time.sleep(0.01)
    return killed


def find_marked(operation: str) -> list[int]:
    """Living processes that carry the operation's mark."""
    wanted = f"{MARK}={operation}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


def _read(selector: selectors.BaseSelector, timeout: float, rounds: int = 1) -> None:
    for _ in range(rounds):
        ready = selector.select(timeout)
        if not ready:
            if not selector.get_map():
                time.sleep(timeout)
            return
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            if data:
                key.data(data)
            else:
                selector.unregister(key.fileobj)


class _Tail:
    """The last lines of what was printed."""

    def __init__(self) -> None:
        self.total = 0
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(line[-TAIL_LINE:] for line in lines[-TAIL_LINES:])
        self._rest = self._rest[-TAIL_LINE:]

    def lines(self) -> tuple[str, ...]:
        texts = (line.decode(errors="replace") for line in [*self._lines, self._rest])
        return tuple(plain(text) for text in texts if text.strip())


class _Lines:
    """Whole lines out of chunks; one that is too long is dropped."""

    def __init__(self, line: Callable[[bytes], None]) -> None:
        self._line = line
        self._rest = b""
        self._dropping = False

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for one in lines:
            if not self._dropping:
                self._line(one)
            self._dropping = False
        self._rest = rest
        if len(rest) > MAX_LINE:
            self._rest, self._dropping = b"", True


def plain(text: str) -> str:
    """One line without control characters: a terminal must not obey what a playbook prints."""
    return "".join(one if one.isprintable() else " " if one == "\t" else ascii(one)[1:-1] for one in text)
