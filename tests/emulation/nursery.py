"""Starts of ``vmoc`` that spare a test the half second of CPU for its imports: forks of a process that has made them.

What the forks of one nursery have in common is what the imports left. Of that
the form of the hot modules matters, so there is a nursery for each.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.emulation.forking import MOST
from vmoc.native import SWITCH

PROGRAM: Final = "from tests.emulation.forking import main; main({}, {})"
ROOT: Final = Path(__file__).parents[2]
HOME_NETWORK: Final = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
"""A nursery lives there, wherever the test that is the first to want it does."""
MARK: Final = "VMOC_TEST"
"""In the environment of what belongs to one test; a nursery belongs to none."""


class Child:
    """A process that was forked for us, with what ``subprocess.Popen`` offers of that kind.

    It stays a zombie until its end has been asked for, so its id stays its own.
    """

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises ``subprocess.TimeoutExpired``."""
        status = self._look(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("vmoc", timeout)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._descriptor >= 0:
            watch = select.poll()
            watch.register(self._descriptor, select.POLLIN)
            if watch.poll(None if timeout is None else timeout * 1000):
                self.returncode = self._nursery.ask(reap=self.pid)
                os.close(self._descriptor)
                self._descriptor = -1
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks, begun at the first start; it ends with us, and what it has forked with it."""

    def __init__(self, form: str | None) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in (SWITCH, MARK)}
        if form is not None:
            environment[SWITCH] = form
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST)
        self._asking = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(theirs.fileno(), HOME_NETWORK)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), HOME_NETWORK],
                env={**environment, "PYTHONUNBUFFERED": "1"},
            )
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def start(self, arguments: Sequence[str], *, output: int, cwd: Path | None, env: Mapping[str, str]) -> Child:
        """``vmoc ARGUMENTS`` in the calling thread's network."""
        with contextlib.ExitStack() as stack:
            network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, network)
            words = {"argv": ["vmoc", *arguments], "cwd": str(cwd or Path.cwd()), "env": dict(env)}
            pid = self.ask([output, network], **words)
        return Child(self, pid)

    def ask(self, descriptors: Sequence[int] = (), **words: object) -> int:
        """One request and its answer."""
        request = json.dumps(words).encode()
        if len(request) > MOST:
            raise ValueError(f"a request of {len(request)} bytes; the environment is too large")
        with self._asking:
            with contextlib.suppress(BrokenPipeError):
                socket.send_fds(self._end, [request], descriptors)
            answer = self._end.recv(64)
        assert answer, f"the nursery has ended ({self._process.wait()})"
        return int(answer)

    def close(self) -> None:
        """End it."""
        self._end.close()
        self._process.wait()


_nurseries: dict[str | None, Nursery] = {}


def fork_vmoc(arguments: Sequence[str], *, output: int, cwd: Path | None = None, env: Mapping[str, str]) -> Child:
    """``vmoc ARGUMENTS`` in the calling thread's network, from the nursery of the form that ``env`` asks for."""
    form = env.get(SWITCH)
    if form not in _nurseries:
        _nurseries[form] = Nursery(form)
    return _nurseries[form].start(arguments, output=output, cwd=cwd, env=env)
