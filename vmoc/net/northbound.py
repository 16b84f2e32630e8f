"""Connections to experimenters' controllers, made when the core asks for them.

A dial ends in exactly one of three ways: ``Core.dialled``, ``Core.dial_failed``
with one plain sentence, or silence because the core abandoned it. No more
than ``most`` dials are under way at a time; the others wait their turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from time import monotonic
from typing import Any, Final

from vmoc.model import Endpoint
from vmoc.mux.effects import Dial
from vmoc.net import reasons, tls
from vmoc.net.edge import Edge
from vmoc.net.threads import in_thread
from vmoc.net.wire import NORTH_HIGH, NORTH_MOST, Wire, tune

CONNECT: Final = 5.0
"""Seconds one dial may take: name look-up, TCP and TLS together."""
MOST: Final = 256
LOOKUPS: Final = 16
"""Name look-ups under way at a time."""

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class NorthWire(Wire):
    """A controller's connection."""

    side = "north"
    high = NORTH_HIGH
    most_unsent = NORTH_MOST

    def __init__(self, edge: Edge, link: int, host: str) -> None:
        super().__init__(edge)
        self._link = link
        self._host = host
        self.unfit: str | None = None
        self.wanted = True

    def opened(self, transport: asyncio.Transport) -> None:
        if not self.wanted:
            transport.abort()
            return
        self.unfit = tls.wrong_address(self._host, transport.get_extra_info("peercert"))
        if self.unfit is not None:
            transport.abort()
            return
        self.cid = self.edge.register(self)
        self._feed = self.edge.core.north_data
        self.edge.core.dialled(self._link, self.cid, monotonic())

    def lost(self, why: str) -> None:
        self.edge.core.north_closed(self.cid, why, monotonic())


class Dialler:
    """Performs ``Dial`` and ``AbandonDial``."""

    def __init__(
        self, edge: Edge, client_tls: tls.ClientTls | None = None, *, connect: float = CONNECT, most: int = MOST
    ) -> None:
        self._edge = edge
        self._tls = client_tls
        self._connect = connect
        self._most = most
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._waiting: dict[int, Endpoint] = {}
        self._running: dict[int, tuple[asyncio.Task[None], NorthWire]] = {}
        # Abandoned dials count too until their tasks are over.
        self._tasks: set[asyncio.Task[None]] = set()
        self._making: set[asyncio.Task[object]] = set()
        """Connections on the way from a socket to a transport, whose dial may be over already."""

    def dial(self, effect: Dial) -> None:
        """Start, or queue, a dial; one of the same link that is under way is abandoned."""
        self.abandon(effect.link)
        self._waiting[effect.link] = effect.endpoint
        self._start_some()

    def abandon(self, link: int) -> None:
        """Forget a dial; nothing is reported about it any more."""
        self._waiting.pop(link, None)
        running = self._running.pop(link, None)
        if running is not None:
            task, wire = running
            wire.wanted = False
            task.cancel()

    def close(self) -> None:
        """Abandon everything."""
        self._waiting.clear()
        for link in list(self._running):
            self.abandon(link)

    def _start_some(self) -> None:
        while self._waiting and len(self._tasks) < self._most:
            link = next(iter(self._waiting))
            endpoint = self._waiting.pop(link)
            wire = NorthWire(self._edge, link, endpoint.host)
            task = self._edge.loop.create_task(self._dial(link, endpoint, wire))
            self._running[link] = (task, wire)
            self._tasks.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._edge.bug("a dial", exc)
        self._start_some()

    async def _dial(self, link: int, endpoint: Endpoint, wire: NorthWire) -> None:
        try:
            why = await self._attempt(endpoint, wire)
        except TimeoutError:
            why = f"no answer within {self._connect:g} s"
        except (OSError, ValueError, UnicodeError) as exc:
            why = reasons.why_failed(exc)
        if not wire.wanted:
            return
        self._running.pop(link, None)
        why = wire.unfit or why
        if why is not None and wire.cid == 0:
            failure = why
            self._edge.run(lambda: self._edge.core.dial_failed(link, failure, monotonic()))

    async def _attempt(self, endpoint: Endpoint, wire: NorthWire) -> str | None:
        context: ssl.SSLContext | None = None
        if endpoint.scheme == "ssl":
            if self._tls is None:
                return "ssl: controllers need openflow.tls (cert, key, ca) in the configuration"
            context = self._tls.context(endpoint.host)
        begun = monotonic()
        async with asyncio.timeout(self._connect):
            connection = await self._connected(endpoint)
        # From here on the socket is the transport's to close, whatever happens.
        left = max(0.1, self._connect - (monotonic() - begun))
        making: asyncio.Task[object] = self._edge.loop.create_task(
            self._edge.loop.create_connection(
                lambda: wire,
                sock=connection,
                ssl=context,
                server_hostname=endpoint.host if context is not None else None,
                ssl_handshake_timeout=left if context is not None else None,
            )
        )
        self._making.add(making)
        making.add_done_callback(self._made)
        # To cancel it could close a connection that the core has been told of, without a word.
        await asyncio.shield(making)
        return None

    def _made(self, making: asyncio.Task[object]) -> None:
        self._making.discard(making)
        if not making.cancelled():
            making.exception()  # whoever dialled heard of it, or wants nothing of it any more

    async def _connected(self, endpoint: Endpoint) -> socket.socket:
        """The first of the host's addresses that answers; raises the last one's ``OSError``."""
        failure = OSError(0, "host name not found")
        for family, address in await self._addresses(endpoint):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.setblocking(False)
                tune(connection)
                await self._edge.loop.sock_connect(connection, address)
            except OSError as exc:
                connection.close()
                failure = exc
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure

    async def _addresses(self, endpoint: Endpoint) -> list[Address]:
        try:
            literal = ipaddress.ip_address(endpoint.host)
        except ValueError:
            async with self._lookups:
                found = await in_thread(socket.getaddrinfo, endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            return [(family, address) for family, _, _, _, address in found]
        # No thread for the usual case.
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        return [(family, (endpoint.host, endpoint.port))]
