"""Listening sockets for switches, and the connections they bring."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass
from time import monotonic
from typing import Final

from vmoc.errors import VmocError
from vmoc.events import Event, Kind
from vmoc.net import portowner, reasons
from vmoc.net.edge import Edge
from vmoc.net.wire import SOUTH_HIGH, SOUTH_MOST, Wire, format_peer, tune

BACKLOG: Final = 1024
HANDSHAKE: Final = 10.0
"""Seconds a switch has for the TLS handshake."""
ACCEPTS_PER_TURN: Final = 64
RETRY_ACCEPT: Final = 1.0
"""Seconds to wait after the process ran out of file descriptors."""
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ListenError(VmocError):
    """An address cannot be listened on; the text names it, the port and, if known, who holds it."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen. ``native_vlan`` other than 0: what comes in untagged there belongs to that VLAN."""

    address: str
    port: int
    native_vlan: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Welcomed:
    """What another process has learnt of a switch that it hands over: see ``effects.HandOver``."""

    version: int
    data: bytes
    secured: bool = False


class SouthWire(Wire):
    """A switch's connection."""

    side = "south"
    high = SOUTH_HIGH
    most_unsent = SOUTH_MOST

    def __init__(self, edge: Edge, peer: str, native_vlan: int, welcomed: Welcomed | None = None) -> None:
        super().__init__(edge)
        self.peer = peer
        self.native_vlan = native_vlan
        self._welcomed = welcomed
        self._secured = welcomed is not None and welcomed.secured

    @property
    def secured(self) -> bool:
        """Whether the switch speaks TLS, here or with whoever welcomed it."""
        return self._secured or super().secured

    def opened(self, transport: asyncio.Transport) -> None:
        self.cid = self.edge.register(self)
        self._feed = self.edge.core.south_data
        welcomed, self._welcomed = self._welcomed, None
        if welcomed is None:
            self.edge.core.south_opened(self.cid, self.peer, self.native_vlan, monotonic())
        else:
            self.edge.core.south_opened(self.cid, self.peer, self.native_vlan, monotonic(), welcomed.version)
            self._feed(self.cid, welcomed.data, monotonic())

    def lost(self, why: str) -> None:
        self.edge.core.south_closed(self.cid, why, monotonic())


class Listener:
    """One listening socket. ``bind`` first (it may fail), ``start`` accepting later."""

    def __init__(self, edge: Edge, where: Listening) -> None:
        self.where = where
        self._edge = edge
        self._loop = edge.loop
        self._socket: socket.socket | None = None
        self._accepting = False
        self._retry: asyncio.TimerHandle | None = None
        self._welcomes: dict[asyncio.Task[None], SouthWire] = {}

    @property
    def port(self) -> int:
        """The bound port (``Listening.port`` may be 0: any)."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else self.where.port

    def __str__(self) -> str:
        return format_peer((self.where.address, self.port))

    def bind(self) -> None:
        """Raises ``ListenError``."""
        self._socket = bind(self.where.address, self.where.port, "openflow.listen")

    def start(self) -> None:
        """Accept from now on."""
        assert self._socket is not None, "bind first"
        self._accepting = True
        self._loop.add_reader(self._socket.fileno(), self._acceptable)

    def close(self) -> None:
        """Stop listening; connections that are up stay, TLS handshakes under way do not."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._socket is not None:
            if self._accepting:
                self._loop.remove_reader(self._socket.fileno())
                self._accepting = False
            self._socket.close()
            self._socket = None
        for task, wire in self._welcomes.items():
            if wire.transport is None:
                task.cancel()

    def _acceptable(self) -> None:
        assert self._socket is not None
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = self._socket.accept()
                connection.setblocking(False)
                tune(connection)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._rest_a_while(exc)
                return
            peer = format_peer(address)
            wire = SouthWire(self._edge, peer, self.where.native_vlan)
            task = self._loop.create_task(self._welcome(connection, wire, peer))
            self._welcomes[task] = wire
            task.add_done_callback(self._welcomes.pop)

    def _rest_a_while(self, exc: OSError) -> None:
        """Accepting failed: the connection is still in the queue, so trying again at once would spin."""
        assert self._socket is not None
        self._loop.remove_reader(self._socket.fileno())
        self._accepting = False
        self._retry = self._loop.call_later(RETRY_ACCEPT, self.start)
        cause = reasons.why_failed(exc) if exc.errno in _OUT_OF_FILES else f"accepting failed: {exc.strerror}"
        self._refuse("accept", f"switches cannot connect to {self}: {cause}", "")

    async def _welcome(self, connection: socket.socket, wire: SouthWire, peer: str) -> None:
        tls = self.where.tls
        try:
            await self._loop.connect_accepted_socket(
                lambda: wire, connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE if tls else None
            )
        except (OSError, ValueError) as exc:
            why = reasons.why_failed(exc)
            if tls is not None and not why.startswith("TLS"):
                why = f"TLS: the handshake failed: {why}"
            self._refuse("tls" if tls else "connection", f"switch {peer} refused: {why}", peer)

    def _refuse(self, reason: str, message: str, peer: str) -> None:
        self._edge.report(
            Event(Kind.SWITCH_REFUSED, reason=reason, message=message, detail={"peer": peer, "listener": str(self)})
        )


async def take_over(edge: Edge, connection: socket.socket, peer: str, native_vlan: int, welcomed: Welcomed) -> None:
    """Serve a switch whose connection another process has accepted."""
    connection.setblocking(False)
    wire = SouthWire(edge, peer, native_vlan, welcomed)
    try:
        await edge.loop.connect_accepted_socket(lambda: wire, connection)
    except (OSError, ValueError) as exc:
        connection.close()
        why = reasons.why_failed(exc)
        edge.report(
            Event(Kind.SWITCH_REFUSED, reason="connection", message=f"switch {peer}: {why}", detail={"peer": peer})
        )


def bind(address: str, port: int, key: str) -> socket.socket:
    """A listening, non-blocking socket; ``key`` is the configuration key to change. Raises ``ListenError``."""
    return _bind(address, port, key, listen=True)


def check_free(address: str, port: int, key: str) -> None:
    """Raises ``ListenError`` if ``bind`` would. Takes no connection meanwhile, which it would have to break."""
    _bind(address, port, key, listen=False).close()


def _bind(address: str, port: int, key: str, listen: bool) -> socket.socket:
    where = format_peer((address, port))
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except OSError as exc:
        raise ListenError(f"cannot listen on {where}: {address} is not an address; change {key}") from exc
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(name)
        if listen:
            listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as exc:
        listening.close()
        raise ListenError(f"cannot listen on {where}: {_why_not(exc, port)}; change {key}") from exc
    return listening


def _why_not(exc: OSError, port: int) -> str:
    if exc.errno == errno.EADDRINUSE:
        holder = portowner.holder(port)
        return f"the port is in use by {holder}; stop that" if holder else "the port is in use by another process"
    if exc.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if exc.errno == errno.EACCES:
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return (exc.strerror or str(exc)).lower()
