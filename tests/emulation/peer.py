"""One end of one OpenFlow TCP connection: a thread that reads, records and writes; tests wait on its condition."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.emulation.layout import Message, message

WRITE_AT_MOST = 262144
TIMEOUT = 8.0  # seconds a test waits for what should take milliseconds


def abort(sock: socket.socket) -> None:
    """Close with an RST instead of a FIN."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Peer:
    """Records every message in ``log``; ``expect`` takes them out of ``inbox`` in the order a test wants them.

    ``on_message`` runs on the connection's thread with ``lock`` held. ``chunk``
    limits every write to that many bytes. ``reading`` False leaves all input in
    the kernel, as a hung process would.
    """

    _xids = itertools.count(0x5000)

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        *,
        changed: threading.Condition | None = None,
        on_message: Callable[[Any, Message], None] | None = None,
        on_closed: Callable[[Peer], None] | None = None,
        chunk: int | None = None,
        reading: bool = True,
    ) -> None:
        self.name = name
        self.changed = changed or threading.Condition(threading.RLock())
        self.chunk = chunk
        self.log: list[Message] = []
        self.inbox: list[Message] = []
        self.closed: str | None = None  # why: eof, reset, local, framing
        self.bytes_received = 0
        self._sock = sock
        self._reading = reading
        self._on_message = on_message
        self._on_closed = on_closed
        self._out = bytearray()
        self._in = bytearray()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)  # a full pipe wakes as well as a fresh byte
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stop = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to read and write."""
        self._thread.start()

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Queue bytes; they need not be OpenFlow."""
        with self.changed:
            if self.closed:
                raise ConnectionError(f"{self.name}: already closed ({self.closed})")
            self._out += data
        self._wake()

    def request(self, version: int, name: str | int, body: bytes = b"") -> int:
        """Send one message with a fresh xid and return the xid."""
        xid = self.next_xid()
        self.send(message(version, name, body, xid))
        return xid

    @classmethod
    def next_xid(cls) -> int:
        """An xid no other peer of this process has used."""
        return next(cls._xids)

    def set_reading(self, reading: bool) -> None:
        """Stop or resume taking input from the kernel."""
        self._reading = reading
        self._wake()

    @property
    def backlog(self) -> int:
        """Bytes the other side has not taken yet."""
        with self.changed:
            return len(self._out)

    def close(self, how: str = "local") -> None:
        """Close (``how="reset"`` sends an RST) and wait for the thread to end."""
        self._stop = how
        self._wake()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(TIMEOUT)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Wait until ``condition`` holds; it is tried again at every message and state change."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"{self.name}: no {what} within {timeout:g} s; heard {self.log[-12:]}")

    def expect(self, name: str, where: Callable[[Message], object] | None = None, timeout: float = TIMEOUT) -> Message:
        """Take the first unseen message of that name for which ``where`` holds, waiting for it if need be."""

        def find() -> Message | None:
            for found in self.inbox:
                if found.name == name and (where is None or where(found)):
                    return found
            return None

        def over() -> bool:
            return find() is not None or self.closed is not None

        with self.changed:
            self.changed.wait_for(over, timeout)
            found = find()
            if found is None:
                gone = f"closed ({self.closed})" if self.closed else f"nothing for {timeout:g} s"
                raise AssertionError(f"{self.name}: wanted {name}, {gone}; unseen {self.inbox}, last {self.log[-8:]}")
            self.inbox.remove(found)
            return found

    def expect_closed(self, timeout: float = TIMEOUT) -> str:
        """Wait until the other side closes and return how (``eof`` or ``reset``)."""
        self.wait_for(lambda: self.closed is not None, "close", timeout)
        assert self.closed is not None
        return self.closed

    def unseen(self, name: str | None = None) -> list[Message]:
        """What arrived and no ``expect`` has taken, echo and negotiation aside."""
        quiet = {"echo_request", "echo_reply", "hello"} if name is None else set()
        with self.changed:
            return [m for m in self.inbox if m.name not in quiet and name in (None, m.name)]

    def forget(self) -> None:
        """Drop what arrived so far from ``inbox``."""
        with self.changed:
            self.inbox.clear()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        why = "local"
        selector = selectors.DefaultSelector()
        try:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._sock, selectors.EVENT_READ)
            why = self._loop(selector)
        except ConnectionError:
            why = "reset"
        finally:
            selector.close()
            if why in ("reset-by-us", "framing"):
                abort(self._sock)
            self._sock.close()
            with self.changed:
                self.closed = why
                if self._on_closed:
                    self._on_closed(self)
                self.changed.notify_all()
            self._wake_read.close()
            self._wake_write.close()

    def _loop(self, selector: selectors.BaseSelector) -> str:
        armed: int = selectors.EVENT_READ
        while True:
            if self._stop:
                self._write()  # what was queued before close() still goes out, as far as the kernel takes it
                return "reset-by-us" if self._stop == "reset" else self._stop
            want = (selectors.EVENT_READ if self._reading else 0) | (selectors.EVENT_WRITE if self._out else 0)
            if want != armed:
                if armed and want:
                    selector.modify(self._sock, want)
                elif want:
                    selector.register(self._sock, want)
                else:
                    selector.unregister(self._sock)
                armed = want
            for key, events in selector.select():
                if key.fileobj is self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_read.recv(4096)
                    continue
                if events & selectors.EVENT_READ and (why := self._read()):
                    return why
                if events & selectors.EVENT_WRITE:
                    self._write()

    def _read(self) -> str | None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return None
        if not data:
            return "eof"
        self._in += data
        now = time.monotonic()
        with self.changed:
            self.bytes_received += len(data)
            while len(self._in) >= 8:
                length = int.from_bytes(self._in[2:4], "big")
                if length < 8:
                    return "framing"
                if len(self._in) < length:
                    break
                received = Message(bytes(self._in[:length]), now, len(self.log))
                del self._in[:length]
                self.log.append(received)
                self.inbox.append(received)
                if self._on_message:
                    self._on_message(self, received)
            self.changed.notify_all()
        self._write()
        return None

    def _write(self) -> None:
        while self._out:
            with self.changed:
                part = bytes(self._out[: self.chunk or WRITE_AT_MOST])
            try:
                sent = self._sock.send(part)
            except BlockingIOError:
                return
            with self.changed:
                del self._out[:sent]
