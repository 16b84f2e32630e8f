"""Dialling controllers: success, every way to fail in one sentence, abandoning, and queueing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator

import pytest

from tests.vmoc.net.stage import Authority, Stage, play, stage, until
from vmoc.model import Endpoint
from vmoc.mux.effects import AbandonDial, Close, Dial
from vmoc.net.tls import ClientTls, Identity


@contextlib.asynccontextmanager
async def controller(tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> AsyncIterator[int]:
    """A controller that says ``greeting`` and then echoes; gives its port."""
    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if greeting:
            writer.write(greeting)
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def _server(identity: Identity, *, demand: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    if demand:
        context.load_verify_locations(identity.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _failure(s: Stage, endpoint: Endpoint, timeout: float = 10) -> str:
    """Dial and return the one sentence of the one failure."""
    s.do(Dial(3, endpoint))
    await until(lambda: s.core.named("dial_failed"), "the failure", timeout)
    ((link, why),) = s.core.named("dial_failed")
    assert link == 3
    assert not s.core.named("dialled")
    return str(why)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_dial_brings_a_connection_that_talks(loop_kind: str, host: str) -> None:
    async def scene() -> None:
        async with stage() as s, controller() as port:
            s.do(Dial(9, Endpoint("tcp", host, port)))
            await until(lambda: s.core.named("dialled"), "the dial")
            ((link, cid),) = s.core.named("dialled")
            assert link == 9
            s.core.say(cid, b"ping")
            s.edge.pump()
            await until(lambda: s.core.received(cid) == b"ping", "the echo")
            s.do(Close(cid))
            await until(lambda: not s.edge.lingering, "the end")
            assert not s.core.named("north_closed")

    play(loop_kind, scene)


def test_both_sides_draw_cids_from_one_counter(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s, controller() as port:
            await s.connect(s.listen().port)
            await until(lambda: s.core.named("south_opened"), "the switch")
            s.do(Dial(1, Endpoint("tcp", "127.0.0.1", port)))
            await until(lambda: s.core.named("dialled"), "the controller")
            assert s.core.named("south_opened")[0][0] != s.core.named("dialled")[0][1]

    play(loop_kind, scene)


def test_a_controller_that_goes_away_is_told(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            async with controller() as port:
                s.do(Dial(1, Endpoint("tcp", "127.0.0.1", port)))
                await until(lambda: s.core.named("dialled"), "the dial")
                # The abort of an accepted connection with nothing unread is an orderly end.
                await until(lambda: s.edge.wires, "the wire")
                cid = s.core.named("dialled")[0][1]
                s.core.say(cid, b"x")
                s.edge.pump()
                await until(lambda: s.core.received(cid), "the echo")
            await until(lambda: s.core.named("north_closed"), "the loss")
            assert s.core.named("north_closed")[0][0] == cid

    play(loop_kind, scene)


def test_nobody_listening(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            with socket.create_server(("127.0.0.1", 0)) as closed:
                port = closed.getsockname()[1]
            assert await _failure(s, Endpoint("tcp", "127.0.0.1", port)) == "connection refused"

    play(loop_kind, scene)


def test_no_such_name(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            assert await _failure(s, Endpoint("tcp", "no-such-host.invalid", 6640)) == "host name not found"

    play(loop_kind, scene)


def test_no_answer_in_time(loop_kind: str) -> None:
    async def scene() -> None:
        # A backlog of nought that is already full leaves further connection attempts unanswered.
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        callers = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
            callers.append(caller)
        async with stage(connect=0.2) as s:
            assert await _failure(s, Endpoint("tcp", *full.getsockname())) == "no answer within 0.2 s"
        for open_socket in [full, *callers]:
            open_socket.close()

    play(loop_kind, scene)


def test_an_abandoned_dial_says_nothing(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s, controller() as port:
            s.do(Dial(1, Endpoint("tcp", "127.0.0.1", port)), AbandonDial(1))
            s.do(Dial(2, Endpoint("tcp", "127.0.0.1", port)))
            await until(lambda: s.core.named("dialled"), "the other dial")
            await until(lambda: not s.dialler._tasks, "the tasks")
            assert [link for link, _ in s.core.named("dialled")] == [2]
            assert not s.core.named("dial_failed")

    play(loop_kind, scene)


def test_a_dial_that_ends_at_the_moment_of_success_closes_no_connection_behind_our_back(loop_kind: str) -> None:
    """As when its time is up just then: uvloop would close the transport and never say so."""

    async def scene() -> None:
        async with stage() as s, controller() as port:
            dialled = s.core.dialled

            def at_that_moment(link: int, cid: int, now: float) -> None:
                dialled(link, cid, now)
                for task in s.dialler._tasks:
                    task.cancel()

            s.core.dialled = at_that_moment  # type: ignore[method-assign]
            s.do(Dial(4, Endpoint("tcp", "127.0.0.1", port)))
            await until(lambda: s.core.named("dialled"), "the dial")
            ((_, cid),) = s.core.named("dialled")
            await until(lambda: not s.dialler._tasks, "the dial to be over")
            await asyncio.sleep(0.05)
            s.core.say(cid, b"ping")
            s.edge.pump()
            await until(lambda: s.core.received(cid) == b"ping", "the echo")
            assert not s.bugs

    play(loop_kind, scene)


def test_a_second_dial_of_a_link_replaces_the_first(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s, controller() as port:
            with socket.create_server(("127.0.0.1", 0)) as closed:
                nobody = closed.getsockname()[1]
            s.do(Dial(1, Endpoint("tcp", "127.0.0.1", nobody)), Dial(1, Endpoint("tcp", "127.0.0.1", port)))
            await until(lambda: s.core.named("dialled"), "the dial")
            await until(lambda: not s.dialler._tasks, "the tasks")
            assert not s.core.named("dial_failed")

    play(loop_kind, scene)


def test_more_dials_than_allowed_wait_their_turn_and_all_happen(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage(most=3) as s, controller() as port:
            s.do(*[Dial(link, Endpoint("tcp", "127.0.0.1", port)) for link in range(40)], AbandonDial(39))
            assert len(s.dialler._tasks) == 3
            await until(lambda: len(s.core.named("dialled")) == 39, "all but the abandoned one")
            assert {link for link, _ in s.core.named("dialled")} == set(range(39))

    play(loop_kind, scene)


# ---- TLS -------------------------------------------------------------------------------------------------------------


def test_tls_both_ways(loop_kind: str, authority: Authority) -> None:
    async def scene() -> None:
        vmoc, theirs = authority.issue("vmoc"), authority.issue("controller", hosts=("localhost",))
        async with stage(ClientTls(vmoc)) as s, controller(_server(theirs)) as port:
            for link, host in enumerate(("localhost", "127.0.0.1")):  # by address: no address in it, so the CA suffices
                s.do(Dial(link, Endpoint("ssl", host, port)))
                await until(lambda wanted=link: len(s.core.named("dialled")) == wanted + 1, host)
                cid = s.core.named("dialled")[-1][1]
                s.core.say(cid, b"secret")
                s.edge.pump()
                await until(lambda c=cid: s.core.received(c) == b"secret", "the echo")

    play(loop_kind, scene)


@pytest.mark.parametrize(
    ("hosts", "dialled", "ok"),
    [
        (("127.0.0.1",), "127.0.0.1", True),
        (("192.0.2.7",), "127.0.0.1", False),
        (("controller.example",), "localhost", False),
        ((), "localhost", False),
    ],
)
def test_a_certificate_for_another_place(
    loop_kind: str, authority: Authority, hosts: tuple[str, ...], dialled: str, ok: bool
) -> None:
    async def scene() -> None:
        vmoc, theirs = authority.issue("vmoc"), authority.issue("controller", hosts=hosts)
        async with stage(ClientTls(vmoc)) as s, controller(_server(theirs)) as port:
            if ok:
                s.do(Dial(1, Endpoint("ssl", dialled, port)))
                await until(lambda: s.core.named("dialled"), "the dial")
            else:
                why = await _failure(s, Endpoint("ssl", dialled, port))
                assert why.startswith("TLS: certificate verify failed")
                assert dialled in why
            assert not s.unhandled

    play(loop_kind, scene)


@pytest.mark.parametrize("case", ["foreign", "expired", "plain"])
def test_a_controller_with_a_bad_certificate_is_one_failure(
    loop_kind: str, authority: Authority, stranger: Authority, case: str
) -> None:
    words = {"foreign": "certificate verify failed", "expired": "has expired", "plain": "does not speak TLS"}

    async def scene() -> None:
        vmoc = authority.issue("vmoc")
        theirs = {
            "foreign": lambda: _server(stranger.issue("controller", hosts=("localhost",)), demand=False),
            "expired": lambda: _server(authority.issue("late", hosts=("localhost",), days=-1)),
            "plain": lambda: None,
        }[case]()
        async with stage(ClientTls(vmoc)) as s, controller(theirs, bytes.fromhex("0400000800000001")) as port:
            why = await _failure(s, Endpoint("ssl", "localhost", port))
            assert why.startswith("TLS: ")
            assert words[case] in why

    play(loop_kind, scene)


def test_a_controller_that_rejects_our_certificate_is_told_in_words(
    loop_kind: str, authority: Authority, stranger: Authority
) -> None:
    # TLS 1.3: our handshake is over before the controller has looked at our certificate. (An asyncio controller
    # would close without sending the alert, hence the thread.)
    theirs = _server(authority.issue("controller", hosts=("localhost",)))
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        with contextlib.suppress(OSError):
            theirs.wrap_socket(listening.accept()[0], server_side=True).close()

    thread = threading.Thread(target=refuse)
    thread.start()

    async def scene() -> None:
        async with stage(ClientTls(stranger.issue("vmoc", ca=authority.path))) as s:
            s.do(Dial(1, Endpoint("ssl", "localhost", listening.getsockname()[1])))
            await until(lambda: s.core.named("north_closed") or s.core.named("dial_failed"), "the rejection")
            (told,) = s.core.named("north_closed") + s.core.named("dial_failed")
            assert told[1] == "TLS: the peer does not trust the CA that signed our certificate"
            thread.join()
            listening.close()

    play(loop_kind, scene)


def test_ssl_without_certificates_of_our_own_says_what_to_configure(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            assert "openflow.tls" in await _failure(s, Endpoint("ssl", "127.0.0.1", 6640))

    play(loop_kind, scene)
