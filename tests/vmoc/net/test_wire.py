"""One connection: turns, back-pressure, bounded memory, tidy ends, and our own failures."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.vmoc.net.stage import Stage, play, stage, until
from vmoc.model import Endpoint
from vmoc.mux.effects import Close, Dial, PauseReading, ResumeReading
from vmoc.net import wire as wire_module
from vmoc.net.wire import TURN, format_peer


async def _south(s: Stage) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """A connected switch and its cid."""
    listener = s.listen()
    seen = len(s.core.named("south_opened"))
    reader, writer = await s.connect(listener.port)
    await until(lambda: len(s.core.named("south_opened")) > seen, "the connection")
    return s.core.named("south_opened")[-1][0], reader, writer


def test_a_large_read_is_taken_in_turns_and_stays_whole(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, _, writer = await _south(s)
            data = bytes(range(256)) * 8192
            writer.write(data)
            await until(lambda: len(s.core.received(cid)) == len(data), "all of it")
            assert s.core.received(cid) == data
            assert max(len(call[1]) for call in s.core.named("south_data")) <= TURN

    play(loop_kind, scene)


def test_turns_let_other_connections_in_between(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            greedy, _, loud = await _south(s)
            modest, _, quiet = await _south(s)
            s.do(PauseReading(greedy))
            loud.write(b"g" * 20 * TURN)
            await loud.drain()
            quiet.write(b"m")
            s.do(ResumeReading(greedy))
            await until(lambda: len(s.core.received(greedy)) == 20 * TURN and s.core.received(modest), "both")
            order = [call[0] for call in s.core.named("south_data")]
            assert order.index(modest) < len(order) - 1 - order[::-1].index(greedy)

    play(loop_kind, scene)


def test_a_paused_connection_delivers_nothing_until_resumed(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, _, writer = await _south(s)
            other, _, other_writer = await _south(s)
            s.do(PauseReading(cid))
            writer.write(b"held back")
            other_writer.write(b"through")
            await until(lambda: s.core.received(other) == b"through", "the other connection")
            assert s.core.received(cid) == b""
            s.do(ResumeReading(cid))
            await until(lambda: s.core.received(cid) == b"held back", "what was held back")

    play(loop_kind, scene)


def test_pausing_between_turns_holds_back_the_rest(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, _, writer = await _south(s)
            s.do(PauseReading(cid))
            data = bytes(range(256)) * 2048
            writer.write(data)
            await writer.drain()
            # The first turn pauses the connection again: nothing more may come of what is already read.
            s.core.on["south_data"] = lambda c, d: s.core.ask(PauseReading(c))
            s.do(ResumeReading(cid))
            await until(lambda: s.core.named("south_data"), "the first turn")
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(s.core.named("south_data")) == 1
            del s.core.on["south_data"]
            s.do(ResumeReading(cid))
            await until(lambda: len(s.core.received(cid)) == len(data), "the rest")
            assert s.core.received(cid) == data

    play(loop_kind, scene)


def test_the_core_hears_of_a_full_and_of_an_emptied_buffer(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, reader, writer = await _south(s)
            writer.transport.pause_reading()
            size = 16 * 1024 * 1024
            s.core.say(cid, b"z" * size)
            s.edge.pump()
            await until(lambda: s.core.named("congested") == [(cid,)], "congestion")
            assert not s.core.named("relieved")
            writer.transport.resume_reading()
            assert len(await reader.readexactly(size)) == size
            await until(lambda: s.core.named("relieved") == [(cid,)], "relief")

    play(loop_kind, scene)


def test_a_controller_that_never_reads_is_given_up_at_the_limit(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            deaf = socket.create_server(("127.0.0.1", 0))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.do(Dial(5, Endpoint("tcp", "127.0.0.1", deaf.getsockname()[1])))
            await until(lambda: s.core.named("dialled"), "the dial")
            cid = s.core.named("dialled")[0][1]
            wire = s.edge.wires[cid]
            most = 0
            for _ in range(10_000):
                s.core.say(cid, b"x" * 65536)
                s.edge.pump()
                if cid not in s.edge.wires:
                    break
                most = max(most, wire.unsent())
                await asyncio.sleep(0)
            assert most <= wire_module.NORTH_MOST
            assert s.core.named("congested") == [(cid,)]
            (closed,) = s.core.named("north_closed")
            assert closed[0] == cid
            assert "does not read" in closed[1]
            deaf.close()

    play(loop_kind, scene)


def test_close_delivers_what_was_written_even_with_unread_input(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, reader, writer = await _south(s)
            s.do(PauseReading(cid))
            writer.write(b"never looked at" * 1000)
            await writer.drain()
            last_words = b"you are refused" * 100_000
            s.core.say(cid, last_words)
            s.do(Close(cid))
            assert await reader.read(-1) == last_words
            writer.close()
            await until(lambda: not s.edge.lingering, "the end")
            assert not s.core.named("south_closed")
            assert s.core.received(cid) == b""

    play(loop_kind, scene)


def test_abort_does_not_wait_for_a_peer_that_does_not_read(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, reader, writer = await _south(s)
            writer.transport.pause_reading()
            s.core.say(cid, b"z" * 16 * 1024 * 1024)
            s.do(Close(cid, abort=True))
            assert cid not in s.edge.wires
            writer.transport.resume_reading()
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(65536):
                    received += len(piece)
            assert received < 16 * 1024 * 1024

    play(loop_kind, scene)


def test_a_peer_that_stays_is_cut_off_after_the_linger(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "LINGER", 0.05)

    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()
            stubborn = socket.create_connection(("127.0.0.1", listener.port))
            await until(lambda: s.core.named("south_opened"), "the connection")
            s.do(Close(s.core.named("south_opened")[0][0]))
            assert s.edge.lingering
            await until(lambda: not s.edge.lingering, "the linger to end")
            stubborn.close()

    play(loop_kind, scene)


def test_a_reset_is_told_in_words(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            _, _, writer = await _south(s)
            writer.transport.abort()
            await until(lambda: s.core.named("south_closed"), "the loss")
            assert s.core.named("south_closed")[0][1] in ("connection reset by the peer", "closed by the peer")

    play(loop_kind, scene)


@pytest.mark.parametrize("where", ["south_opened", "south_data"])
def test_our_own_failure_costs_one_connection(loop_kind: str, where: str) -> None:
    async def scene() -> None:
        async with stage() as s:

            def fail(*_: object) -> None:
                raise IndexError("core is broken")

            innocent, _, other_writer = await _south(s)
            s.core.on[where] = fail
            listener = s.listen()
            reader, writer = await s.connect(listener.port)
            writer.write(b"boom")
            await until(lambda: s.bugs, "the bug report")
            assert "IndexError: core is broken" in s.bugs.pop()
            await until(lambda: s.core.named("south_closed"), "the closing")
            assert s.core.named("south_closed")[0][1] == "closed after an internal error"
            assert innocent in s.edge.wires
            del s.core.on[where]
            other_writer.write(b"still here")
            await until(lambda: s.core.received(innocent) == b"still here", "the other connection")

    play(loop_kind, scene)


def test_a_large_read_that_breaks_the_core_stops_there(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            cid, _, writer = await _south(s)

            def fail(*_: object) -> None:
                raise IndexError("core is broken")

            s.do(PauseReading(cid))
            writer.write(b"x" * 4 * TURN)
            await writer.drain()
            s.core.on["south_data"] = fail
            s.do(ResumeReading(cid))
            await until(lambda: s.core.named("south_closed"), "the closing")
            assert len(s.core.named("south_data")) == 1
            assert len(s.bugs) == 1
            s.bugs.clear()

    play(loop_kind, scene)


def test_peers_are_written_as_people_write_them() -> None:
    assert format_peer(("10.0.0.1", 6653)) == "10.0.0.1:6653"
    assert format_peer(("::1", 6653, 0, 0)) == "[::1]:6653"
    assert format_peer("") == "unknown"
