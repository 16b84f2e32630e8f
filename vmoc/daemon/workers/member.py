"""One worker as its parent sees it: a process that is started, watched, talked to, and started again.

Everything runs on the loop's thread, ``ask`` excepted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from time import monotonic
from typing import Any, Final, Protocol

from vmoc.daemon.workers import messages
from vmoc.daemon.workers.messages import Answered, Asked, MessageError, pack, unpack
from vmoc.net.channel import Channel

COMMAND: Final = (sys.executable, "-m", "vmoc.daemon.workers.worker")
BACKOFF_FIRST: Final = 0.1
BACKOFF_MAX: Final = 30.0
STEADY: Final = 60.0
"""A worker that lived this long starts the back-off afresh."""
MOST_QUESTIONS: Final = 1024
"""Questions that wait for an answer, or for the worker."""


class Host(Protocol):
    """Whoever a member belongs to."""

    def begun(self, member: Member) -> None:
        """The process runs: tell it all it needs."""

    def heard(self, member: Member, message: Any) -> None:
        """It said something that is no answer."""

    def gone(self, member: Member, why: str) -> None:
        """It has ended; unless ``stop`` was called it comes again."""


class Member:
    """``ready`` is the host's to set, once the worker says so."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, host: Host) -> None:
        self.number = number
        self.ready = False
        self.restarts = 0
        self._loop = loop
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._watch = -1
        self._why = ""
        self._began = 0.0
        self._backoff = BACKOFF_FIRST
        self._again: asyncio.TimerHandle | None = None
        self._stopping = False
        self._numbers = itertools.count(1)
        self._questions: dict[int, tuple[Asked, concurrent.futures.Future[bytes]]] = {}
        """Those sent, and those that wait until it is ready."""

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def unsent(self) -> int:
        """Bytes it has not read yet."""
        return 0 if self._channel is None else self._channel.unsent

    def start(self) -> None:
        """Start the process, now and whenever it ends."""
        self._again = None
        self._began = monotonic()
        ours, theirs = socket.socketpair()
        command = [*COMMAND, str(theirs.fileno()), str(os.getpid())]
        try:
            # A session of its own: a Ctrl-C in the terminal is the parent's to act upon, and where the kernel
            # shares out the processors by session (sched_autogroup) the API's work is not set against packets.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except OSError as exc:
            ours.close()
            self._over(f"it cannot be started: {exc.strerror or exc}")
            return
        finally:
            theirs.close()
        self._why = ""
        self._channel = Channel(self._loop, ours, self._received, self._lost)
        self._watch = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._watch, self._ended)
        self._host.begun(self)

    def send(self, message: object, descriptor: int | None = None) -> None:
        """Tell it something, if it is there; ``descriptor`` is closed here in any case."""
        if self._channel is not None:
            self._channel.send(pack(message), descriptor)
        elif descriptor is not None:
            os.close(descriptor)

    def is_ready(self) -> None:
        """It can be asked, and given switches."""
        self.ready = True
        self._drop_old()
        for asked, _ in self._questions.values():
            self.send(asked)

    def stop(self) -> None:
        """When it ends it does not come again."""
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def kill(self) -> None:
        """End it at once."""
        self.stop()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._let_go()

    # -- questions ---------------------------------------------------------------------------------

    def ask(self, method: str, *arguments: Any, timeout: float, **options: Any) -> concurrent.futures.Future[bytes]:
        """Ask something; from any thread. The answer is in bytes, as ``unpack`` reads it.

        While there is no worker the question waits for the next one.
        """
        future: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        until = monotonic() + timeout

        def put() -> None:
            self._drop_old()
            if len(self._questions) >= MOST_QUESTIONS:
                future.cancel()
                return
            asked = Asked(next(self._numbers), method, arguments, options, max(0.0, until - monotonic()))
            self._questions[asked.number] = asked, future
            if self.ready:
                self.send(asked)

        with contextlib.suppress(RuntimeError):  # the loop is closed: whoever waits has a time limit
            self._loop.call_soon_threadsafe(put)
        return future

    def _drop_old(self) -> None:
        """Nobody waits for those that were cancelled."""
        for number, (_, future) in list(self._questions.items()):
            if future.cancelled():
                del self._questions[number]

    def _answered(self, answer: Answered) -> None:
        _, future = self._questions.pop(answer.number, (None, None))
        if future is not None:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_result(answer.body)

    # -- its life ----------------------------------------------------------------------------------

    def _received(self, payload: bytes, descriptor: int | None) -> None:
        if descriptor is not None:
            os.close(descriptor)  # a worker has none to give
        try:
            message = unpack(payload)
        except MessageError as exc:
            self._host.heard(self, messages.Noted("error", f"worker {self.number}: {exc}"))
            return
        if isinstance(message, Answered):
            self._answered(message)
        else:
            self._host.heard(self, message)

    def _lost(self, why: str) -> None:
        """The channel is gone, and without it the worker is of no use."""
        self._channel = None
        self._why = why
        if self._process is not None and self._watch < 0:
            self._over(self._why)
        elif self._process is not None:
            self._process.kill()

    def _ended(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self._watch = -1
        self._why = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
        if self._channel is None:
            self._over(self._why)
        else:
            self._loop.call_soon(self._read_out)

    def _read_out(self) -> None:
        """What it said before its end is read first; then the channel ends by itself."""
        channel = self._channel
        if channel is None:
            return
        self._loop.call_later(1.0, self._cut_off, channel)

    def _cut_off(self, channel: Channel) -> None:
        if self._channel is channel:  # somebody else holds the other end
            channel.close()
            self._channel = None
            self._over(self._why)

    def _over(self, why: str) -> None:
        self._process = None
        self.ready = False
        if monotonic() - self._began >= STEADY:
            self._backoff = BACKOFF_FIRST
        wait, self._backoff = self._backoff, min(self._backoff * 3, BACKOFF_MAX)
        if not self._stopping:
            self.restarts += 1
            self._again = self._loop.call_later(wait, self.start)
        self._host.gone(self, why)

    def _let_go(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._watch >= 0:
            self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1
        self._process = None
        self.ready = False
