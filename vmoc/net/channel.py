"""A channel between two processes of one service: whole frames both ways, a descriptor with some of them.

    frame   length of the payload 4, whether a descriptor comes with it 1, payload

``Frames`` is the framing alone. ``Channel`` runs it over one end of a Unix
stream socket pair. A descriptor travels with the first byte of its frame, so
that it is always here before its frame is complete.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final

from vmoc.errors import VmocError

LONGEST: Final = 1 << 30
READ: Final = 256 * 1024
DESCRIPTORS: Final = 64
"""Descriptors that one read can bring."""
_HEAD: Final = Struct("!IB")
_ROOM: Final = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)


class FrameError(VmocError):
    """What came is not a frame: the other end is not what it should be."""


def frame(payload: bytes, *, descriptor: bool = False) -> bytes:
    """A frame; ``descriptor``: one comes with it."""
    if len(payload) > LONGEST:
        raise FrameError(f"a message of {len(payload)} bytes is too long for a channel")
    return _HEAD.pack(len(payload), descriptor) + payload


class Frames:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Add ``data``; the payloads completed, each with whether a descriptor belongs to it.

        Raises ``FrameError``.
        """
        self._data += data
        found: list[tuple[bytes, bool]] = []
        at = 0
        while len(self._data) - at >= _HEAD.size:
            length, flag = _HEAD.unpack_from(self._data, at)
            if length > LONGEST or flag > 1:
                raise FrameError("the channel carries what is not a frame")
            end = at + _HEAD.size + length
            if end > len(self._data):
                break
            found.append((bytes(self._data[at + _HEAD.size : end]), bool(flag)))
            at = end
        del self._data[:at]
        return found


class Channel:
    """One end. Everything on the loop's thread.

    ``received(payload, descriptor or None)`` gets each frame; the descriptor is
    its to close. ``lost(why)`` is called once, when the other end is gone or
    sends nonsense; not after ``close``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        received: Callable[[bytes, int | None], None],
        lost: Callable[[str], None],
    ) -> None:
        end.setblocking(False)
        self._loop = loop
        self._socket = end
        self._received = received
        self._lost = lost
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, int | None]] = deque()
        self._writing = False
        self.closed = False
        self.unsent = 0
        """Bytes that wait for the other end to read."""
        loop.add_reader(end.fileno(), self._readable)

    def send(self, payload: bytes, descriptor: int | None = None) -> None:
        """Send a frame; ``descriptor`` is the channel's to close. Raises ``FrameError``."""
        if self.closed:
            if descriptor is not None:
                os.close(descriptor)
            return
        data = frame(payload, descriptor=descriptor is not None)
        self._unsent.append((memoryview(data), descriptor))
        self.unsent += len(data)
        if not self._writing:
            self._write()

    def close(self) -> None:
        """End it; what is unsent is lost."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        if self._writing:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        waiting = [descriptor for _, descriptor in self._unsent if descriptor is not None]
        for descriptor in (*waiting, *self._descriptors):
            os.close(descriptor)
        self._unsent.clear()
        self._descriptors.clear()
        self.unsent = 0

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(READ, _ROOM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._end(exc.strerror or str(exc))
            return
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(body[: len(body) - len(body) % numbers.itemsize])
                for number in numbers:
                    os.set_inheritable(number, False)
                    self._descriptors.append(number)
        if not data:
            self._end("it closed its end")
            return
        try:
            frames = self._frames.feed(data)
            for payload, flag in frames:
                if flag and not self._descriptors:
                    raise FrameError("a descriptor is missing")
                self._received(payload, self._descriptors.popleft() if flag else None)
                if self.closed:
                    return
        except FrameError as exc:
            self._end(str(exc))

    def _write(self) -> None:
        while self._unsent:
            data, descriptor = self._unsent[0]
            try:
                if descriptor is None:
                    sent = self._socket.send(data)
                else:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
                    sent = self._socket.sendmsg([data], rights)
                    os.close(descriptor)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._loop.add_writer(self._socket.fileno(), self._write)
                    self._writing = True
                return
            except OSError as exc:
                # The reader tells; here the caller is in the middle of something.
                self._loop.call_soon(self._end, exc.strerror or str(exc))
                return
            self.unsent -= sent
            if sent == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = (data[sent:], None)
        if self._writing:
            self._loop.remove_writer(self._socket.fileno())
            self._writing = False

    def _end(self, why: str) -> None:
        if not self.closed:
            self.close()
            self._lost(why)
