"""One TCP connection, either side: bytes in, bytes out, back-pressure, and a tidy end.

Rules of this file:

* ``data_received`` does nothing but hand the bytes over and pump.
* One read is handed over in turns of at most ``TURN`` bytes, so that a
  connection with a full receive buffer does not hold up the others.
* After ``finish`` nothing that arrives reaches the core any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from vmoc.net import reasons

if TYPE_CHECKING:
    from vmoc.net.edge import Edge

TURN: Final = 32 * 1024
"""Bytes handed to the core before other connections get their turn (some 2 ms of work)."""
LINGER: Final = 2.0
"""Seconds a closing connection may take to flush and to see the peer's end."""
KEEPALIVE_IDLE: Final = 60

SOUTH_HIGH: Final = 1024 * 1024
SOUTH_MOST: Final = 64 * 1024 * 1024
NORTH_HIGH: Final = 256 * 1024
NORTH_MOST: Final = 4 * 1024 * 1024
"""Unsent bytes: at HIGH the core is told (``congested``), beyond MOST the connection is closed."""


def tune(sock: socket.socket) -> None:
    """No Nagle delay, and let the kernel find out about peers that vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)


def format_peer(address: object) -> str:
    """``HOST:PORT`` of a socket address, IPv6 hosts in brackets."""
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
        return f"{host}:{address[1]}"
    return "unknown"


def _discard(cid: int, data: bytes, now: float) -> None:
    """Stand in for the core once a connection is being closed."""


class Wire(asyncio.Protocol):
    """A connection; ``SouthWire`` and ``NorthWire`` say what its bytes mean."""

    side = ""
    high = SOUTH_HIGH
    most_unsent = SOUTH_MOST

    write: Callable[[bytes], None]
    unsent: Callable[[], int]

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.cid = 0
        self.congested = False
        self.transport: asyncio.Transport | None = None
        self._feed: Callable[[int, bytes, float], None] = _discard
        self._pump = edge.pump
        self._gather = edge.gather
        self._paused = False
        self._ending = False
        self._rest = b""
        self._turning = False
        self._linger: asyncio.TimerHandle | None = None

    # ---- what the sides differ in ------------------------------------------------------------------------------------

    def opened(self, transport: asyncio.Transport) -> None:
        """The connection is up: register it and tell the core."""
        raise NotImplementedError

    def lost(self, why: str) -> None:
        """The connection is gone without the core having asked for it."""
        raise NotImplementedError

    @property
    def secured(self) -> bool:
        """Whether the peer speaks TLS."""
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    # ---- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        self.transport = stream
        self.write = stream.write
        self.unsent = stream.get_write_buffer_size
        stream.set_write_buffer_limits(high=self.high)
        try:
            self.opened(stream)
            self._pump()
        except Exception as exc:
            self.crashed(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) > TURN or self._rest:
            self._take_turns(data)
            return
        try:
            now = monotonic()
            self._feed(self.cid, data, now)
            self._gather(len(data), now)
        except Exception as exc:
            self.crashed(exc)

    def eof_received(self) -> bool | None:
        return None  # the transport flushes and closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.edge.lingering.discard(self)
        if self.cid == 0 or self._ending:
            return
        self._end()
        self._tell_lost(reasons.why_lost(exc))

    def pause_writing(self) -> None:
        self.congested = True
        if not self._ending:
            self.edge.run(lambda: self.edge.core.congested(self.cid, monotonic()))

    def resume_writing(self) -> None:
        self.congested = False
        if not self._ending:
            self.edge.run(lambda: self.edge.core.relieved(self.cid, monotonic()))

    # ---- taking turns ------------------------------------------------------------------------------------------------

    def _take_turns(self, data: bytes) -> None:
        if self._ending:
            return
        self._rest += data
        assert self.transport is not None
        self.transport.pause_reading()
        if not self._turning:
            self._turn()

    def _turn(self) -> None:
        self._turning = False
        if self._ending or self._paused:
            return
        piece, self._rest = self._rest[:TURN], self._rest[TURN:]
        try:
            self._feed(self.cid, piece, monotonic())
            self._pump()
        except Exception as exc:
            self.crashed(exc)
            return
        self._carry_on()

    def _carry_on(self) -> None:
        """Schedule the next turn, or read on when nothing is left."""
        if self._ending or self._paused or self._turning:
            return
        if self._rest:
            self._turning = True
            self.edge.loop.call_soon(self._turn)
        elif self.transport is not None:
            self.transport.resume_reading()

    # ---- what the edge asks for --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading: the peer's TCP window fills up."""
        self._paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._carry_on()

    def finish(self, abort: bool) -> None:
        """Flush, say we are done, and wait ``LINGER`` at most for the peer's end; ``abort`` skips all that.

        Closing a socket with unread input resets the connection, and a reset
        destroys what the peer has not read yet (the error that says why it is
        refused, for one). So input is read on and thrown away.
        """
        self._end()
        transport = self.transport
        if transport is None:
            return
        if abort:
            transport.abort()
            return
        self.edge.lingering.add(self)
        self._linger = self.edge.loop.call_later(LINGER, transport.abort)
        if transport.can_write_eof():
            transport.resume_reading()
            transport.write_eof()
        else:
            transport.close()

    def let_go(self) -> bytes:
        """Somebody else is going to read on: stop, and return what has been read and not been handed to the core.

        The transport is the caller's from now on; the core hears no more of it.
        """
        rest = self._rest
        self._end()
        if self.transport is not None:
            self.transport.pause_reading()
        return rest

    def overflow(self) -> None:
        """The peer does not read what it is sent: give it up before it eats the memory."""
        size = self.unsent()
        self._end()
        if self.transport is not None:
            self.transport.abort()
        self._tell_lost(f"it does not read: {size} bytes were waiting to be sent")

    def abandon(self) -> None:
        """Drop the connection without a word to anybody."""
        self._end()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.transport is not None:
            self.transport.abort()

    def crashed(self, exc: Exception) -> None:
        """Our own failure while handling this connection: report it, drop the connection, keep the rest."""
        self.edge.bug(f"connection {self.cid}", exc)
        if self._ending:
            return
        self._end()
        if self.transport is not None:
            self.transport.abort()
        if self.cid:
            self._tell_lost("closed after an internal error")

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._ending = True
        self._feed = _discard
        self._rest = b""
        self.edge.wires.pop(self.cid, None)

    def _tell_lost(self, why: str) -> None:
        def tell() -> None:
            self.lost(why)

        self.edge.run(tell)
