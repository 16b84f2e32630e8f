"""Listening for switches: several listeners, native VLANs, TLS, ports in use, too many files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

import pytest

from tests.vmoc.net.stage import Authority, Stage, play, stage, until
from vmoc.events import Kind
from vmoc.net import southbound
from vmoc.net.southbound import ListenError, Listening, bind, check_free
from vmoc.net.tls import Identity, server_context


def _client(identity: Identity | None, ca: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca.ca)
    context.check_hostname = False
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context


def test_each_listener_says_whose_untagged_frames_it_brings(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            tagged = s.listen()
            native = s.listen(Listening("127.0.0.1", 0, native_vlan=1001))
            await s.connect(tagged.port)
            await until(lambda: len(s.core.named("south_opened")) == 1, "the first")
            _, writer = await s.connect(native.port)
            await until(lambda: len(s.core.named("south_opened")) == 2, "the second")
            (first, _, none), (second, peer, vlan) = s.core.named("south_opened")
            assert (none, vlan) == (0, 1001)
            assert first != second
            assert peer == "127.0.0.1:{}".format(writer.get_extra_info("sockname")[1])

    play(loop_kind, scene)


def test_many_switches_at_once_are_all_accepted(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()
            await asyncio.gather(*[s.connect(listener.port) for _ in range(200)])
            await until(lambda: len(s.core.named("south_opened")) == 200, "all of them")
            assert len({call[0] for call in s.core.named("south_opened")}) == 200

    play(loop_kind, scene)


def test_a_closed_listener_refuses_but_keeps_its_connections(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()
            _, writer = await s.connect(listener.port)
            await until(lambda: s.core.named("south_opened"), "the connection")
            port = listener.port
            listener.close()
            with pytest.raises(ConnectionRefusedError):
                await s.connect(port)
            writer.write(b"alive")
            await until(lambda: s.core.named("south_data"), "its data")

    play(loop_kind, scene)


def test_tls_listener_takes_a_switch_with_a_certificate_of_the_ca(loop_kind: str, authority: Authority) -> None:
    async def scene() -> None:
        async with stage() as s:
            vmoc, switch = authority.issue("vmoc"), authority.issue("switch")
            listener = s.listen(Listening("127.0.0.1", 0, tls=server_context(vmoc)))
            s.core.on["south_data"] = lambda cid, data: s.core.say(cid, data.upper())
            reader, writer = await s.connect(listener.port, ssl=_client(switch, vmoc))
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            assert not s.events

    play(loop_kind, scene)


async def _one_refusal(s: Stage) -> str:
    await until(lambda: s.events, "the refusal")
    (event,) = s.events
    assert event.kind is Kind.SWITCH_REFUSED
    assert event.reason == "tls"
    assert not s.core.calls
    assert not s.unhandled
    return event.message


@pytest.mark.parametrize("case", ["none", "foreign", "expired"])
def test_a_switch_with_a_bad_certificate_is_one_clear_event(
    loop_kind: str, authority: Authority, stranger: Authority, case: str
) -> None:
    identity = {
        "none": None,
        "foreign": stranger.issue("switch"),
        "expired": authority.issue("late", days=-1),
    }[case]
    words = {"none": "presented no certificate", "foreign": "certificate verify failed", "expired": "has expired"}

    async def scene() -> None:
        async with stage() as s:
            vmoc = authority.issue("vmoc")
            listener = s.listen(Listening("127.0.0.1", 0, tls=server_context(vmoc)))
            # The switch sees a failed handshake, or (TLS 1.3) one that seems to succeed and then the end.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                reader, _ = await s.connect(listener.port, ssl=_client(identity, vmoc))
                assert await reader.read(1) == b""
            assert words[case] in await _one_refusal(s)

    play(loop_kind, scene)


def test_a_plain_switch_on_a_tls_listener_is_one_clear_event(loop_kind: str, authority: Authority) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen(Listening("127.0.0.1", 0, tls=server_context(authority.issue("vmoc"))))
            _, writer = await s.connect(listener.port)
            writer.write(bytes.fromhex("0400000800000001"))
            assert "does not speak TLS" in await _one_refusal(s)

    play(loop_kind, scene)


def test_a_silent_peer_on_a_tls_listener_is_given_up(
    loop_kind: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(southbound, "HANDSHAKE", 0.1)

    async def scene() -> None:
        async with stage() as s:
            listener = s.listen(Listening("127.0.0.1", 0, tls=server_context(authority.issue("vmoc"))))
            await s.connect(listener.port)
            assert "took too long" in await _one_refusal(s)

    play(loop_kind, scene)


def test_a_peer_that_hangs_up_during_the_handshake_is_one_clear_event(loop_kind: str, authority: Authority) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen(Listening("127.0.0.1", 0, tls=server_context(authority.issue("vmoc"))))
            _, writer = await s.connect(listener.port)
            writer.close()
            assert "TLS" in await _one_refusal(s)

    play(loop_kind, scene)


def test_running_out_of_files_is_reported_and_survived(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(southbound, "RETRY_ACCEPT", 0.02)

    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()
            real = listener._socket
            assert real is not None

            class Exhausted:
                def accept(self) -> None:
                    raise OSError(24, "Too many open files")

                def __getattr__(self, name: str) -> object:
                    return getattr(real, name)

            listener._socket = Exhausted()  # type: ignore[assignment]
            await s.connect(listener.port)
            await until(lambda: s.events, "the report")
            assert "too many open files" in s.events[0].message
            listener._socket = real
            await until(lambda: s.core.named("south_opened"), "the connection after all")

    play(loop_kind, scene)


def test_a_port_in_use_names_the_address_the_port_and_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            bind("127.0.0.1", port, "openflow.listen")
    message = str(caught.value)
    assert f"127.0.0.1:{port}" in message
    assert f"process {os.getpid()} (" in message
    assert message.endswith("change openflow.listen")


def test_a_port_in_use_by_nobody_we_can_see_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(southbound.portowner, "holder", lambda port: None)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match="in use by another process"),
    ):
        bind("127.0.0.1", taken.getsockname()[1], "openflow.listen")


def test_asking_whether_a_port_is_free_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(socket.socket, "listen", lambda *_: pytest.fail("whoever connects now is cut off"))
        check_free("127.0.0.1", 0, "grpc.listen")
        with pytest.raises(ListenError, match=r"change grpc\.listen"):
            check_free("127.0.0.1", taken.getsockname()[1], "grpc.listen")


def test_an_address_that_is_not_ours_or_none_at_all() -> None:
    with pytest.raises(ListenError, match="has no such address"):
        bind("192.0.2.1", 0, "openflow.listen")
    with pytest.raises(ListenError, match="is not an address"):
        bind("no such.host", 0, "openflow.listen")


def test_ipv6_works_and_is_written_with_brackets() -> None:
    with bind("::1", 0, "openflow.listen") as first, pytest.raises(ListenError, match=r"\[::1\]:"):
        bind("::1", first.getsockname()[1], "openflow.listen")
