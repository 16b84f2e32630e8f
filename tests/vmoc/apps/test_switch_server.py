"""The connections of the stand-alone controller: who is silent, slow or deaf is let go, and nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from tests.vmoc.apps.raw_switch import RawSwitch, message
from vmoc.apps.manager import Manager
from vmoc.apps.switch_server import BACKLOG, ECHO_INTERVAL, HANDSHAKE, Connection, SwitchServer

Scenario = Callable[[SwitchServer, RawSwitch], Awaitable[None]]


def play(scenario: Scenario) -> None:
    """Run ``scenario`` on the server's loop, with the learning switch behind it and one connection made."""

    async def run() -> None:
        server = SwitchServer(asyncio.get_running_loop())
        address = await server.listen("127.0.0.1", 0)
        try:
            with RawSwitch(address, 4, dpid=7) as switch:
                await asyncio.to_thread(switch.receive)  # its HELLO: the connection is there
                await scenario(server, switch)
        finally:
            server.close()

    manager = Manager()
    manager.launch(["vmoc.apps.learning_switch"])
    try:
        asyncio.run(run())
    finally:
        assert manager.shut()


def only(server: SwitchServer) -> Connection:
    (connection,) = server.connections
    return connection


async def closed(switch: RawSwitch) -> None:
    def read() -> None:
        try:
            while True:
                switch.receive()
        except (EOFError, ConnectionError):
            pass

    await asyncio.to_thread(read)


def test_a_handshake_has_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: SwitchServer, switch: RawSwitch) -> None:
        connection = only(server)
        connection.check(monotonic() + HANDSHAKE - 1)
        assert server.connections
        connection.check(monotonic() + HANDSHAKE + 1)
        await closed(switch)
        assert not server.connections

    play(scenario)
    assert "did not finish the handshake within 10 s" in caplog.text


def test_a_silent_switch_is_asked_and_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: SwitchServer, switch: RawSwitch) -> None:
        await asyncio.to_thread(switch.handshake)
        connection = only(server)
        connection.check(connection.heard + ECHO_INTERVAL + 1)
        assert (await asyncio.to_thread(switch.receive))[1] == 2
        switch.send(message(4, 3))
        connection.check(connection.heard + 3 * ECHO_INTERVAL + 1)
        await closed(switch)
        assert connection.datapath.state == "dead"

    caplog.set_level(logging.WARNING)
    play(scenario)
    assert "0x0000000000000007" in caplog.text and "silent for 45 s" in caplog.text


def test_a_switch_that_does_not_read_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: SwitchServer, switch: RawSwitch) -> None:
        connection = only(server)
        big = message(4, 2, 0, bytes(60_000)) * 16
        for _ in range(2 * BACKLOG // len(big)):
            if not connection.transmit(big, False):
                break
            await asyncio.sleep(0)
        await closed(switch)
        assert connection.transmit(big, False) is False

    play(scenario)
    assert "does not read what it is sent" in caplog.text


def test_pausing_follows_the_switch() -> None:
    async def scenario(server: SwitchServer, switch: RawSwitch) -> None:
        connection = only(server)
        connection.pause_writing()
        assert not connection._transport.is_reading()
        connection.resume_writing()
        assert connection._transport.is_reading()

    play(scenario)


def test_what_is_queued_in_one_turn_arrives_in_order() -> None:
    async def scenario(server: SwitchServer, switch: RawSwitch) -> None:
        connection = only(server)
        sent = [message(4, 2, number) for number in range(300)]

        def send() -> None:
            for data in sent:
                assert connection.transmit(data, False)

        await asyncio.to_thread(send)

        def read() -> list[bytes]:
            return [switch.receive() for _ in sent]

        assert await asyncio.to_thread(read) == sent

    play(scenario)
