"""An OpenFlow 1.0 or 1.3 controller that listens, greets whoever connects, and records all it hears."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.peer import TIMEOUT, Peer


class Connection(Peer):
    """One connection of an ``EmulatedController``: a (virtual) datapath as the controller sees it."""

    version: int
    features: of.Features | None = None
    ports: list[of.Port]
    answering_echo = True

    @property
    def dpid(self) -> int:
        """The datapath id announced."""
        assert self.features is not None, f"{self.name}: the handshake is not complete"
        return self.features.dpid

    @property
    def up(self) -> bool:
        """Handshake done and still open."""
        return self.features is not None and self.closed is None

    def flow_mod(self, command: str | int = "add", match: bytes | None = None, actions: bytes = b"",
                 **more: Any) -> int:  # fmt: skip
        """Send a FLOW_MOD (arguments as ``wire.flow_mod``) and return its xid."""
        xid = self.next_xid()
        self.send(of.flow_mod(self.version, command, match, actions, **({"xid": xid} | more)))
        return int(more.get("xid", xid))

    def packet_out(self, data: bytes, actions: bytes, **more: Any) -> int:
        """Send a PACKET_OUT (arguments as ``wire.packet_out``) and return its xid."""
        xid = self.next_xid()
        self.send(of.packet_out(self.version, data, actions, **({"xid": xid} | more)))
        return int(more.get("xid", xid))

    def barrier(self, timeout: float = TIMEOUT) -> None:
        """Wait until the switch has processed all that was sent so far."""
        xid = self.request(self.version, "barrier_request")
        self.expect("barrier_reply", lambda m: m.xid == xid, timeout)

    def echo(self, payload: bytes = b"fence", timeout: float = TIMEOUT) -> Message:
        """ECHO there and back: what the other side sent before is in ``inbox`` now."""
        xid = self.request(self.version, "echo_request", payload)
        return self.expect("echo_reply", lambda m: m.xid == xid, timeout)

    def stats(self, kind: str | int, body: bytes = b"", timeout: float = TIMEOUT) -> bytes:
        """The whole body of a statistics reply, fragments joined."""
        xid = self.next_xid()
        self.send(of.stats_request(self.version, kind, body, xid=xid))
        whole = b""
        while True:
            reply = self.expect("stats_reply", lambda m: m.xid == xid, timeout)
            whole += reply.raw[12 if self.version == of.V10 else 16 :]
            if not struct.unpack_from("!H", reply.raw, 10)[0] & 1:
                return whole

    def flow_stats(self, match: bytes | None = None, **more: Any) -> list[of.FlowStat]:
        """The entries of a FLOW reply (arguments as ``wire.flow_stats_body``)."""
        body = of.flow_stats_body(self.version, match, **more)
        return of.parse_flow_stats(self.version, self.stats("flow", body))

    def expect_error(self, xid: int, kind: int, code: int, sent: bytes | None = None) -> of.Error:
        """Take the ERROR of that xid and check it: type, code, version, and the first 64 bytes of ``sent``."""
        reply = self.expect("error", lambda m: m.xid == xid)
        error = of.parse_error(reply)
        assert (error.type, error.code) == (kind, code), f"{self.name}: error {error.type},{error.code}"
        assert reply.version == self.version
        if sent is not None:
            assert error.data == sent[:64], f"{self.name}: error data {error.data.hex()}"
        return error

    def expect_packet_in(self, where: Callable[[of.PacketIn], object] | None = None) -> of.PacketIn:
        """Take the next PACKET_IN for which ``where`` holds."""
        found = self.expect("packet_in", lambda m: where is None or where(of.parse_packet_in(m)))
        return of.parse_packet_in(found)

    def expect_nothing(self, name: str | None = None) -> None:
        """After an ECHO there and back, nothing (of that name) has come that no ``expect`` took."""
        self.echo()
        assert not (left := self.unseen(name)), f"{self.name}: unexpected {left}"


class EmulatedController:
    """Listens on loopback. ``greet`` False: never says HELLO. ``reading`` False: never reads.

    ``version`` is the highest spoken; ``versions`` (a bitmap) is sent with 1.3
    unless ``()``. ``react`` is called with every message on the connection's
    thread, for a controller that does something.
    """

    def __init__(
        self,
        version: int = of.V10,
        port: int = 0,
        *,
        name: str = "controller",
        versions: tuple[int, ...] | None = None,
        greet: bool = True,
        features: bool = True,
        reading: bool = True,
        chunk: int | None = None,
        react: Callable[[Connection, Message], None] | None = None,
    ) -> None:
        self.version = version
        self.versions = versions if versions is not None else ((version,) if version != of.V10 else ())
        self.name = name
        self.port = port
        self.greet = greet
        self.features = features
        self.reading = reading
        self.chunk = chunk
        self.react = react
        self.changed = threading.Condition(threading.RLock())
        self.connections: list[Connection] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        if port == 0:
            self.listen()

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def there(self) -> tuple[str, int]:
        """As a socket address."""
        return ("127.0.0.1", self.port)

    @property
    def address(self) -> str:
        """As a configuration names it."""
        return f"tcp:127.0.0.1:{self.port}"

    def listen(self) -> EmulatedController:
        """Begin to accept; the port stays the same when it listens again after ``stop``."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not self.reading:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,), name=self.name, daemon=True)
        self._thread.start()
        return self

    def stop(self, how: str = "local") -> None:
        """Listen no more and close every connection (``how="reset"``: as a crash)."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            if self._thread is not None:
                self._thread.join(TIMEOUT)
            self._listener.close()
            self._listener = None
        for connection in list(self.connections):
            if connection.closed is None:
                connection.close(how)

    def kill(self) -> None:
        """As by kill -9: resets, and nobody listens."""
        self.stop("reset")

    def __enter__(self) -> EmulatedController:
        if self._listener is None:
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(
                sock,
                f"{self.name} connection {len(self.connections)}",
                changed=self.changed,
                on_message=self._handle,
                chunk=self.chunk,
                reading=self.reading,
            )
            connection.version = self.version
            connection.ports = []
            with self.changed:
                self.connections.append(connection)
                if self.greet:
                    connection.send(of.hello(self.version, 1, self.versions or None))
                connection.start()
                self.changed.notify_all()

    # --- talking -----------------------------------------------------------------------------------------------------

    def _handle(self, connection: Connection, msg: Message) -> None:
        if msg.name == "hello":
            connection.version = min(self.version, msg.version)
            if self.greet and self.features:
                connection.request(connection.version, "features_request")
                if connection.version == of.V13:
                    connection.send(of.stats_request(of.V13, "port_desc", xid=connection.next_xid()))
        elif msg.name == "features_reply":
            connection.features = of.parse_features(msg)
            connection.ports = connection.ports or connection.features.ports
            connection.inbox.remove(msg)
        elif msg.name == "stats_reply" and msg.version == of.V13 and msg.raw[8:10] == b"\x00\x0d":
            connection.ports = of.parse_ports(of.V13, msg.raw[16:])
        elif msg.name == "echo_request" and connection.answering_echo:
            connection.send(of.message(msg.version, "echo_reply", msg.body, msg.xid))
        if self.react:
            self.react(connection, msg)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Wait until something holds about this controller."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                states = [(c.name, c.closed, c.log[-4:]) for c in self.connections]
                raise AssertionError(f"{self.name}: no {what} within {timeout:g} s; {states}")

    def live(self, dpid: int | None = None) -> list[Connection]:
        """Connections that are up."""
        with self.changed:
            return [c for c in self.connections if c.up and c.features and dpid in (None, c.features.dpid)]

    def wait_up(self, dpid: int | None = None, timeout: float = TIMEOUT) -> Connection:
        """The connection (to that datapath) that is up, waiting for it if need be."""
        wanted = "a datapath" if dpid is None else f"datapath {dpid:#x}"
        self.wait_for(lambda: self.live(dpid), f"connection of {wanted}", timeout)
        connection = self.live(dpid)[-1]
        if connection.version == of.V13 and self.features:
            connection.wait_for(lambda: connection.ports or connection.closed, "port descriptions", timeout)
            with connection.changed:
                connection.inbox[:] = [
                    m for m in connection.inbox if m.name != "stats_reply" or m.raw[8:10] != b"\x00\x0d"
                ]
        return connection

    def wait_connected(self, count: int = 1, timeout: float = TIMEOUT) -> Connection:
        """The ``count``-th connection ever made, however far its handshake is."""
        self.wait_for(lambda: len(self.connections) >= count, f"connection number {count}", timeout)
        return self.connections[count - 1]
