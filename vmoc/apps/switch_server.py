"""Serves switches to os-ken applications in a process of their own: one event loop instead of two threads each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from struct import pack
from time import monotonic
from typing import Any, Final

from os_ken.controller.handler import HANDSHAKE_DISPATCHER, MAIN_DISPATCHER

from vmoc.apps.datapath import TransportDatapath
from vmoc.apps.manager import AppError, Manager
from vmoc.errors import Refused
from vmoc.model import format_dpid
from vmoc.openflow import header
from vmoc.openflow.framing import FrameBuffer

LOG = logging.getLogger(__name__)

VERSIONS: Final = frozenset({header.OF10, header.OF13})
HANDSHAKE: Final = 10.0
"""Seconds a switch has from its connection to its last handshake message."""
ECHO_INTERVAL: Final = 15.0
"""Seconds of silence after which a switch is asked whether it is there; after three times that it is not."""
BACKLOG: Final = 8 << 20
"""Bytes a switch may leave unread; reading from it stops long before."""


class Connection(asyncio.Protocol):
    """One switch: frames on this side, an os-ken Datapath on the other."""

    def __init__(self, server: SwitchServer) -> None:
        self._server = server
        self._frames = FrameBuffer()
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._flush_due = False
        self._closing = False
        self._transport: asyncio.Transport
        self.datapath: TransportDatapath
        self.opened = self.heard = monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A switch connected: say HELLO and appear to os-ken."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername") or ("unknown", 0)
        self._server.connections.add(self)
        self.datapath = TransportDatapath((peer[0], peer[1]), self.transmit)
        self._transport.write(header.hello(header.OF13, VERSIONS))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, for whatever reason."""
        self._server.connections.discard(self)
        self.datapath.close()

    def pause_writing(self) -> None:
        """The switch does not read what we send: do not read what it sends."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The switch has read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Hand every whole message to os-ken, which may block while its applications are behind."""
        self.heard = monotonic()
        try:
            for message in self._frames.feed(data):
                if self._closing:
                    return
                self._message(message)
        except Exception as error:  # a handler of os-ken's own, in this thread
            self.end(f"it upset os-ken: {error!r}")
        if self._frames.broken:
            self.end("it sent a message length below 8")

    def _message(self, message: bytes) -> None:
        if self.datapath.state == HANDSHAKE_DISPATCHER:
            self._hello(message)
        elif message[1] == header.ECHO_REQUEST:
            self.transmit(header.echo_reply(message), False)
        elif message[1] != header.HELLO and not self.datapath.receive(message):
            LOG.debug("a message of type %d from %s was not given to os-ken", message[1], self.datapath.address)

    def _hello(self, message: bytes) -> None:
        if message[1] != header.HELLO:
            self.end("it did not begin with HELLO")
            return
        try:
            common = header.hello_versions(message) & VERSIONS
        except Refused as refused:
            self.end(str(refused))
            return
        if not common:
            text = "this controller speaks OpenFlow 1.0 and 1.3"
            self.transmit(header.hello_error(message[0], header.xid_of(message), text), True)
            LOG.warning("%s: no common OpenFlow version", self.datapath.address)
            return
        # os-ken loops on an odd element and knows no padding between elements: it gets the outcome only.
        self.datapath.dispatch(pack("!BBHI", max(common), header.HELLO, 8, header.xid_of(message)))

    # ---- any thread ---------------------------------------------------------------------------------------------

    def transmit(self, message: bytes, close: bool) -> bool:
        """Queue ``message``; all that is queued until the loop turns goes out in one write."""
        with self._lock:
            if self._closing:
                return False
            self._pending.append(message)
            self._closing = close
            if self._flush_due:
                return True
            self._flush_due = True
        try:
            self._server.loop.call_soon_threadsafe(self._flush)
        except RuntimeError:  # the loop is closed
            return False
        return True

    # ---- the loop -----------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
            self._flush_due = False
            closing = self._closing
        if self._transport.is_closing():
            return
        self._transport.write(b"".join(pending))
        if closing:
            self._transport.close()
        elif self._transport.get_write_buffer_size() > BACKLOG:
            self.end("it does not read what it is sent")

    def end(self, why: str) -> None:
        """Close at once, saying why in one line."""
        if self._transport.is_closing():
            return
        name = format_dpid(self.datapath.id) if self.datapath.id is not None else "a switch"
        LOG.warning("closing the connection of %s at %s: %s", name, self.datapath.address, why)
        with self._lock:
            self._closing = True
        self._transport.abort()

    def check(self, now: float) -> None:
        """Once per second or so: is the switch still there?"""
        if self.datapath.state != MAIN_DISPATCHER:
            if now - self.opened > HANDSHAKE:
                self.end(f"it did not finish the handshake within {HANDSHAKE:g} s")
        elif now - self.heard > 3 * ECHO_INTERVAL:
            self.end(f"it was silent for {3 * ECHO_INTERVAL:g} s")
        elif now - self.heard > ECHO_INTERVAL:
            self.transmit(header.message(self.datapath.ofproto.OFP_VERSION, header.ECHO_REQUEST, 0), False)


class SwitchServer:
    """Listens for switches and keeps their connections alive."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept switches on ``host:port``; the address in use. Raises ``OSError``."""
        self._server = await self.loop.create_server(
            lambda: Connection(self), host, port, backlog=1024, family=socket.AF_UNSPEC
        )
        self._tick()
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    def _tick(self) -> None:
        now = monotonic()
        for connection in list(self.connections):
            connection.check(now)
        self._timer = self.loop.call_later(1.0, self._tick)

    def close(self) -> None:
        """Close everything; flows stay, they are the switches' now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.transmit(b"", True)


def run(apps: Sequence[str], host: str, port: int, *, follow_stdin: bool = False, **arguments: Any) -> int:
    """Serve switches to ``apps`` on ``host:port`` until SIGTERM or SIGINT; the exit code.

    ``arguments`` reach the applications' constructors. Prints ``listening
    HOST:PORT`` once switches are welcome. To be called in the main thread.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("os_ken").setLevel(logging.WARNING)
    manager = Manager()
    try:
        manager.launch(apps, **arguments)
    except AppError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    try:
        return asyncio.run(_serve(host, port, follow_stdin))
    finally:
        manager.shut()


async def _serve(host: str, port: int, follow_stdin: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: LOG.error("%s: %r", context["message"], context.get("exception")))
    _raise_file_limit()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    server = SwitchServer(loop)
    try:
        address, bound = await server.listen(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        print(f"cannot listen on {_show(host, port)}: {reason}; choose another address", file=sys.stderr)
        return 1
    print(f"listening {_show(address, bound)}", flush=True)
    if follow_stdin:
        threading.Thread(target=_follow, args=(loop, done), name="stdin", daemon=True).start()
    await done.wait()
    server.close()
    return 0


def _raise_file_limit() -> None:
    """Every datapath is a connection, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _follow(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    try:
        while os.read(0, 4096):  # not sys.stdin: its lock would be held while the interpreter ends
            pass
    except OSError:
        pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(done.set)


def _show(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
