"""Controllers that misbehave as fast as they can: ``python -m bench.noise KIND``; prints its port, ends with its input.

They speak OpenFlow 1.0 or 1.3, whichever they are greeted in, for the slice of ``VLAN``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

VLAN: Final = 102
CHUNK: Final = 64
_FEATURES_REQUEST: Final = 5
_FEATURES_REPLY: Final = 6


def message(version: int, kind: int, xid: int, body: bytes = b"") -> bytes:
    """One OpenFlow message."""
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body


def flow_mod(version: int, number: int) -> bytes:
    """An add for a station that no other has (1.0 5.3.3, 1.3 7.3.4.1)."""
    mac = b"\x0a" + (number % 1_000_000).to_bytes(5, "big")
    if version == 1:
        # Wildcards: all but dl_vlan and dl_src.
        match = struct.pack("!IH6s6sHBxHBBxxIIHH", 0x3FFFFF & ~0x6, 0, mac, bytes(6), VLAN, 0, 0, 0, 0, 0, 0, 0, 0)
        tail = struct.pack("!QHHHHIHH", 0, 0, VLAN, 0, 1, 0xFFFFFFFF, 0xFFFF, 0)
        return message(1, 14, number, match + tail + struct.pack("!HHHH", 0, 8, 1, 0))
    fields = struct.pack("!IH", 0x80000C02, 0x1000 | VLAN) + struct.pack("!I", 0x80000806) + mac
    match = struct.pack("!HH", 1, 4 + len(fields)) + fields
    match += bytes(-len(match) % 8)
    head = struct.pack("!QQBBHHHIIIHxx", 0, 0, 0, 0, VLAN, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    output = struct.pack("!HHIH6x", 0, 16, 1, 0)
    return message(4, 14, number, head + match + struct.pack("!HHxxxx", 4, 8 + len(output)) + output)


def flow_statistics(version: int, number: int) -> bytes:
    """All flows of all tables (1.0 5.3.5, 1.3 7.3.5.2)."""
    if version == 1:
        return message(1, 16, number, struct.pack("!HH", 1, 0) + struct.pack("!I36xBxH", 0x3FFFFF, 0xFF, 0xFFFF))
    body = struct.pack("!B3xII4xQQ", 0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0) + struct.pack("!HHxxxx", 1, 4)
    return message(4, 18, number, struct.pack("!HHxxxx", 1, 0) + body)


def barrier(version: int, number: int) -> bytes:
    """A barrier request."""
    return message(version, 18 if version == 1 else 20, number)


def nonsense(version: int, number: int) -> bytes:
    """A flow-mod that is refused: its match is cut off."""
    return flow_mod(version, number)[:2] + struct.pack("!H", 16) + struct.pack("!I", number) + bytes(8)


KINDS: Final[dict[str, Callable[[int, int], bytes]]] = {
    "flow-mods": flow_mod,
    "statistics": flow_statistics,
    "barriers": barrier,
    "nonsense": nonsense,
}


def chunks(kind: str, version: int) -> Iterator[bytes]:
    """What to send, without end."""
    make = KINDS[kind]
    for start in itertools.count(0, CHUNK):
        yield b"".join(make(version, number & 0xFFFFFFFF) for number in range(start, start + CHUNK))


def torment(connection: socket.socket, kind: str) -> None:
    """One connection: greet, then send until it breaks. ``reconnects`` closes as soon as it is greeted."""
    connection.sendall(message(4, 0, 1))
    version, answered = 0, False
    rest = b""
    while not answered:
        data = connection.recv(65536)
        if not data:
            return
        rest += data
        while len(rest) >= 8 and len(rest) >= (length := struct.unpack_from("!H", rest, 2)[0]) >= 8:
            if rest[1] == 0:
                version = min(rest[0], 4)
                if kind == "reconnects":
                    return
                connection.sendall(message(version, _FEATURES_REQUEST, 2))
            answered |= rest[1] == _FEATURES_REPLY
            rest = rest[length:]
    threading.Thread(target=_swallow, args=(connection,), daemon=True).start()
    for chunk in chunks(kind, version):
        connection.sendall(chunk)


def _swallow(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 20):
            pass


class Controller:
    """One of a kind, as a process of its own until ``kill``."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.noise", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Listen until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.noise", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=[*KINDS, "reconnects"])
    kind = parser.parse_args().kind

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=endure, args=(connection,), daemon=True).start()

    def endure(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            torment(connection, kind)

    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=serve, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()
        os._exit(0)  # its threads may be in the middle of anything


if __name__ == "__main__":
    sys.exit(main())
