"""Carrying bytes between two connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.vmoc.net.stage import play, sockets, until
from vmoc.net.relay import Relay


class Pair:
    """``near`` and ``far`` are plain sockets; what is between them is the relay."""

    def __init__(self) -> None:
        self.near, self.one = socket.socketpair()
        self.far, self.two = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.halves: list[Relay] = []

    async def join(self) -> None:
        loop = asyncio.get_running_loop()
        for end in (self.one, self.two):
            end.setblocking(False)
            half = Relay()
            await loop.connect_accepted_socket(lambda half=half: half, end)  # type: ignore[misc]
            self.halves.append(half)
        Relay.join(*self.halves)


async def read(end: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        piece: Any = await loop.sock_recv(end, 65536)
        if not piece:
            break
        data += piece
    return data


def test_bytes_go_both_ways_and_an_end_goes_through(loop_kind: str) -> None:
    async def scene() -> None:
        before, loop = sockets(), asyncio.get_running_loop()
        pair = Pair()
        await pair.join()
        await loop.sock_sendall(pair.near, b"to far")
        await loop.sock_sendall(pair.far, b"to near")
        assert await read(pair.far, 6) == b"to far" and await read(pair.near, 7) == b"to near"
        await loop.sock_sendall(pair.near, b"last words")
        pair.near.close()
        assert await read(pair.far, 100) == b"last words"  # and then the end
        pair.far.close()
        await until(lambda: sockets() == before, "the relay to be gone")

    play(loop_kind, scene)


def test_a_slow_reader_slows_the_writer_down(loop_kind: str) -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.join()
        sent, piece = 0, b"x" * 65536
        stuck = 0
        while stuck < 20:  # the far end does not read
            try:
                sent += pair.near.send(piece)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                await asyncio.sleep(0.01)
        assert sent < 4_000_000
        assert sum(half.transport.get_write_buffer_size() for half in pair.halves if half.transport) < 1_000_000
        assert len(await read(pair.far, sent)) == sent
        pair.near.close()
        pair.far.close()

    play(loop_kind, scene)


def test_joining_what_has_ended_meanwhile_ends_the_other(loop_kind: str) -> None:
    async def scene() -> None:
        before, loop = sockets(), asyncio.get_running_loop()
        pair = Pair()
        for end in (pair.one, pair.two):
            end.setblocking(False)
            half = Relay()
            await loop.connect_accepted_socket(lambda half=half: half, end)  # type: ignore[misc]
            pair.halves.append(half)
        assert pair.halves[0].transport is not None
        pair.halves[0].transport.close()
        Relay.join(*pair.halves)
        assert await read(pair.far, 1) == b""
        pair.near.close()
        pair.far.close()
        await until(lambda: sockets() == before, "the relay to be gone")

    play(loop_kind, scene)
