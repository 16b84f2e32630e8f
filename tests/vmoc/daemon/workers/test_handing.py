"""Handing a switch's connection over: the far end does not notice, with TLS or without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vmoc.net.stage import Authority, play, sockets, until
from vmoc.daemon.workers.handing import hand_over
from vmoc.events import Event
from vmoc.mux.effects import HandOver
from vmoc.mux.reception import Reception
from vmoc.net.edge import Edge
from vmoc.net.southbound import Listener, Listening, Welcomed, take_over
from vmoc.net.tls import server_context
from vmoc.net.wire import Wire
from vmoc.openflow import header

FEATURES = bytes((4, header.FEATURES_REPLY)) + b"\0\x20\0\0\0\1" + (0xAA).to_bytes(8, "big") + bytes(16)
ECHO = header.message(4, header.ECHO_REQUEST, 9)


class Parent:
    """A reception at a real edge; what it hands over is kept for the test."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: list[Event] = []
        self.bugs: list[str] = []
        self.handed: list[tuple[Wire, HandOver]] = []
        self.sent: list[socket.socket] = []
        self.edge = Edge(
            Reception(versions=frozenset({4})),
            self.loop,
            report=self.events.append,
            bug=lambda where, trace: self.bugs.append(where + trace),
        )
        self.edge.use_receiver(lambda wire, switch: self.handed.append((wire, switch)))
        self.listener = Listener(self.edge, Listening("127.0.0.1", 0, 7, tls))
        self.listener.bind()
        self.listener.start()

    async def welcome(self, context: ssl.SSLContext | None = None, more: bytes = b"") -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port, ssl=context)
        writer.write(of.hello(4))
        assert (await reader.readexactly(16))[1] == header.HELLO
        assert (await reader.readexactly(8))[1] == header.FEATURES_REQUEST
        writer.write(FEATURES + more)
        await until(lambda: self.handed, "the hand-over")
        return reader, writer

    def close(self) -> None:
        self.listener.close()
        self.edge.close()
        assert not self.bugs


class Child:
    """Whoever serves the switch: an edge whose core writes down what it hears."""

    def __init__(self) -> None:
        from tests.vmoc.net.stage import ScriptedCore

        self.core = ScriptedCore()
        self.opened: list[tuple[Any, ...]] = []
        self.core.south_opened = lambda *arguments: self.opened.append(arguments)  # type: ignore[method-assign]
        self.edge = Edge(self.core, asyncio.get_running_loop(), report=lambda _: None, bug=lambda where, trace: None)

    async def serve(self, end: socket.socket, switch: HandOver, *, secured: bool = False) -> int:
        await take_over(self.edge, end, "198.51.100.1:4", switch.key[1], Welcomed(switch.version, switch.data, secured))
        await until(lambda: self.opened, "the connection")
        return int(self.opened[0][0])


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_the_switch_goes_on_with_somebody_else(loop_kind: str, authority: Authority, secure: bool) -> None:
    identity = authority.issue("vmoc")
    client = None
    if secure:
        own = authority.issue("switch")
        client = ssl.create_default_context(cafile=own.ca)
        client.check_hostname = False
        client.load_cert_chain(own.cert, own.key)

    async def scene() -> None:
        before = sockets()
        parent, child = Parent(server_context(identity) if secure else None), Child()
        reader, writer = await parent.welcome(client, ECHO + ECHO[:5])
        ((wire, switch),) = parent.handed
        assert switch.key == (0xAA, 7) and switch.data == FEATURES + ECHO + ECHO[:5]
        assert wire.secured is secure and not parent.edge.wires
        writer.write(ECHO[5:] + b"meanwhile")
        assert await hand_over(parent.loop, wire, parent.sent.append)
        cid = await child.serve(parent.sent[0], switch, secured=secure)
        assert child.opened[0][1:3] == ("198.51.100.1:4", 7) and child.opened[0][4] == 4
        assert child.edge.wires[cid].secured is secure
        await until(lambda: child.core.received(cid).endswith(b"meanwhile"), "what was sent in between")
        assert child.core.received(cid) == FEATURES + ECHO + ECHO + b"meanwhile"
        big = b"x" * 1_000_000
        child.core.say(cid, big)
        child.edge.pump()
        assert await reader.readexactly(len(big)) == big
        writer.close()
        await until(lambda: child.core.named("south_closed"), "the end")
        child.edge.close()
        parent.close()
        await until(lambda: sockets() <= before, "every socket to be closed")

    play(loop_kind, scene)


def test_the_end_of_whoever_serves_it_reaches_the_switch(loop_kind: str, authority: Authority) -> None:
    identity, own = authority.issue("vmoc"), authority.issue("switch")
    client = ssl.create_default_context(cafile=own.ca)
    client.check_hostname = False
    client.load_cert_chain(own.cert, own.key)

    async def scene() -> None:
        parent = Parent(server_context(identity))
        reader, writer = await parent.welcome(client)
        assert await hand_over(parent.loop, parent.handed[0][0], parent.sent.append)
        parent.sent[0].close()  # as when a worker is killed
        assert await reader.read() == b""
        writer.close()
        parent.close()

    play(loop_kind, scene)


def test_a_switch_that_has_gone_is_not_handed_over(loop_kind: str) -> None:
    async def scene() -> None:
        before = len(os.listdir("/proc/self/fd"))
        parent = Parent()
        _, writer = await parent.welcome()
        wire, _ = parent.handed[0]
        wire.abandon()
        assert not await hand_over(parent.loop, wire, parent.sent.append) and not parent.sent
        writer.close()
        parent.close()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, "descriptors to be closed")

    play(loop_kind, scene)
