"""What the net tests stand on: a core that records and replies by script, a loop to run on, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vmoc.events import Event
from vmoc.mux.effects import Effect, Output
from vmoc.net.edge import Edge
from vmoc.net.northbound import Dialler
from vmoc.net.southbound import Listener, Listening
from vmoc.net.tls import ClientTls, Identity

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class ScriptedCore:
    """Takes every call the edge may make, and answers what ``on`` says."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.on: dict[str, Callable[..., None]] = {}
        self.deadline: float | None = None
        self._output = Output()

    def say(self, cid: int, data: bytes) -> None:
        self._output.writes.setdefault(cid, []).append(data)

    def ask(self, effect: Effect) -> None:
        self._output.effects.append(effect)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def received(self, cid: int) -> bytes:
        return b"".join(call[2] for call in self.calls if call[0].endswith("_data") and call[1] == cid)

    def _note(self, name: str, *args: Any) -> None:
        self.calls.append((name, *args))
        if name in self.on:
            self.on[name](*args)

    def south_opened(self, cid: int, peer: str, native_vlan: int, now: float) -> None:
        self._note("south_opened", cid, peer, native_vlan)

    def south_data(self, cid: int, data: bytes, now: float) -> None:
        self._note("south_data", cid, data)

    def south_closed(self, cid: int, why: str, now: float) -> None:
        self._note("south_closed", cid, why)

    def dialled(self, link: int, cid: int, now: float) -> None:
        self._note("dialled", link, cid)

    def dial_failed(self, link: int, why: str, now: float) -> None:
        self._note("dial_failed", link, why)

    def north_data(self, cid: int, data: bytes, now: float) -> None:
        self._note("north_data", cid, data)

    def north_closed(self, cid: int, why: str, now: float) -> None:
        self._note("north_closed", cid, why)

    def congested(self, cid: int, now: float) -> None:
        self._note("congested", cid)

    def relieved(self, cid: int, now: float) -> None:
        self._note("relieved", cid)

    def next_deadline(self) -> float | None:
        return self.deadline

    def wake(self, now: float) -> None:
        self._note("wake", now)

    def urgent(self) -> bool:
        return bool(self._output.effects)

    def take(self) -> Output:
        output, self._output = self._output, Output()
        return output


@dataclass
class Stage:
    """An edge on a running loop, with what it reported."""

    core: ScriptedCore
    edge: Edge
    dialler: Dialler
    events: list[Event] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    mirrored: list[Any] = field(default_factory=list)
    unhandled: list[dict[str, Any]] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    peers: list[asyncio.StreamWriter] = field(default_factory=list)

    def listen(self, where: Listening | None = None) -> Listener:
        listener = Listener(self.edge, where or Listening("127.0.0.1", 0))
        listener.bind()
        listener.start()
        self.listeners.append(listener)
        return listener

    async def connect(self, port: int, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A peer's connection; the stage ends it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        self.peers.append(writer)
        return reader, writer

    def do(self, *effects: Effect) -> None:
        for effect in effects:
            self.core.ask(effect)
        self.edge.pump()


@asynccontextmanager
async def stage(client_tls: ClientTls | None = None, **dialler: Any) -> Any:
    """Set the stage, and after the scene demand that nothing was left behind and nothing failed unseen."""
    loop = asyncio.get_running_loop()
    core = ScriptedCore()
    events: list[Event] = []
    bugs: list[str] = []
    mirrored: list[Any] = []
    edge = Edge(
        core, loop, report=events.append, bug=lambda where, trace: bugs.append(where + trace), mirror=mirrored.append
    )
    dials = Dialler(edge, client_tls, **dialler)
    edge.use_dialler(dials)
    set_up = Stage(core, edge, dials, events, bugs, mirrored)
    loop.set_exception_handler(lambda _, context: set_up.unhandled.append(context))
    before = sockets()
    try:
        yield set_up
        assert not set_up.bugs
    finally:
        for peer in set_up.peers:
            peer.transport.abort()
        for listener in set_up.listeners:
            listener.close()
        dials.close()
        edge.close()
        await until(lambda: sockets() <= before, "every socket to be closed")
    assert not [context for context in set_up.unhandled if not isinstance(context.get("exception"), OSError)]


def sockets() -> int:
    """How many sockets this process holds (loops keep other descriptors of their own)."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


async def until(condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
    """Let the loop run until ``condition`` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not (value := condition()):
        assert loop.time() < deadline, f"waited {timeout:g} s in vain for {what}"
        await asyncio.sleep(0.002)
    return value


def play(loop: str, scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one scene on a loop of the named kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(scene())


# ---- certificates ----------------------------------------------------------------------------------------------------


class Authority:
    """A CA that signs whatever a test wants."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} test CA")])
        certificate = (
            self._builder(self._subject, self._key.public_key(), days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}-ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, hosts: tuple[str, ...] = (), days: int = 30, ca: Path | None = None) -> Identity:
        """A certificate with ``hosts`` (names or addresses) as alternative names; negative ``days``: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), days)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        cert_path, key_path = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Identity(str(cert_path), str(key_path), str(ca or self.path))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.UniformResourceIdentifier(host) if ":" in host else x509.DNSName(host)
