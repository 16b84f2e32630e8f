"""A switch made of bytes: what a test needs to talk to an os-ken controller, built with struct alone."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

NO_BUFFER = 0xFFFFFFFF
FLOOD = {1: 0xFFFB, 4: 0xFFFFFFFB}
CONTROLLER = {1: 0xFFFD, 4: 0xFFFFFFFD}
NONE = {1: 0xFFFF, 4: 0xFFFFFFFF}
ADD, DELETE = 0, 3


def message(version: int, kind: int, xid: int = 0, body: bytes = b"") -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body


def mac(number: int) -> bytes:
    return b"\x02\0\0\0\0" + bytes([number])


def frame(source: bytes, target: bytes, vlan: int | None = 101, kind: int = 0x0800) -> bytes:
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return target + source + tag + struct.pack("!H", kind) + bytes(46)


def port(version: int, number: int, *, link_down: bool = False) -> bytes:
    name, address, state = b"p%d" % number, b"\x0e\0\0\0\0" + bytes([number]), int(link_down)
    if version == 1:
        return struct.pack("!H6s16sIIIIII", number, address, name, 0, state, 0, 0, 0, 0)
    return struct.pack("!I4x6s2x16sIIIIIIII", number, address, name, 0, state, 0, 0, 0, 0, 0, 0)


def features(version: int, dpid: int, ports: tuple[int, ...], xid: int = 0) -> bytes:
    if version == 1:
        body = struct.pack("!QIB3xII", dpid, 0, 1, 0xC7, 0xFFF) + b"".join(port(1, number) for number in ports)
    else:
        body = struct.pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0)
    return message(version, 6, xid, body)


def port_desc(ports: tuple[int, ...], xid: int = 0, more: bool = False) -> bytes:
    return message(4, 19, xid, struct.pack("!HH4x", 13, more) + b"".join(port(4, number) for number in ports))


def port_status(version: int, reason: int, number: int, *, link_down: bool = False) -> bytes:
    return message(version, 12, 0, struct.pack("!B7x", reason) + port(version, number, link_down=link_down))


def packet_in(
    version: int, in_port: int, data: bytes, buffer_id: int = NO_BUFFER, total: int | None = None, xid: int = 0
) -> bytes:
    total = len(data) if total is None else total
    if version == 1:
        return message(1, 10, xid, struct.pack("!IHHBx", buffer_id, total, in_port, 0) + data)
    match = struct.pack("!HHII4x", 1, 12, 0x80000004, in_port)
    return message(4, 10, xid, struct.pack("!IHBBQ", buffer_id, total, 0, 0, 0) + match + b"\0\0" + data)


@dataclass
class Flow:
    """A FLOW_MOD as the switch reads it; absent match fields are wildcards."""

    command: int
    match: dict[str, int | bytes]
    idle: int
    hard: int
    priority: int
    buffer_id: int
    out_port: int
    outputs: list[tuple[int, int]]


@dataclass
class PacketOut:
    """A PACKET_OUT as the switch reads it."""

    buffer_id: int
    in_port: int
    outputs: list[tuple[int, int]]
    data: bytes


def _outputs(data: bytes, version: int) -> list[tuple[int, int]]:
    """(port, max_len) of a list that must consist of OUTPUT actions."""
    outputs = []
    while data:
        kind, length = struct.unpack_from("!HH", data)
        assert kind == 0 and length == (8 if version == 1 else 16)
        outputs.append(struct.unpack_from("!HH" if version == 1 else "!IH", data, 4))
        data = data[length:]
    return outputs


def read_flow(data: bytes) -> Flow:
    version = data[0]
    assert data[1] == 14 and len(data) == struct.unpack_from("!H", data, 2)[0]
    if version == 1:
        wildcards, in_port, source, target, vlan, _, kind = struct.unpack_from("!IH6s6sHBxH", data, 8)
        fields = (("in_port", 1, in_port), ("vlan", 2, vlan), ("source", 4, source), ("target", 8, target))
        match = {name: value for name, bit, value in (*fields, ("type", 16, kind)) if not wildcards & bit}
        _, command, idle, hard, priority, buffer_id, out_port, _ = struct.unpack_from("!QHHHHIHH", data, 48)
        return Flow(command, match, idle, hard, priority, buffer_id, out_port, _outputs(data[72:], 1))
    command, idle, hard, priority, buffer_id, out_port = struct.unpack_from("!BHHHII", data, 25)
    length = struct.unpack_from("!H", data, 50)[0]
    names = {0: ("in_port", "!I"), 3: ("target", "6s"), 4: ("source", "6s"), 5: ("type", "!H"), 6: ("vlan", "!H")}
    match, offset = {}, 52
    while offset < 48 + length:
        head = struct.unpack_from("!HBB", data, offset)
        name, layout = names[head[1] >> 1]
        match[name] = struct.unpack_from(layout, data, offset + 4)[0]
        offset += 4 + head[2]
    outputs = []
    instructions = data[48 + (length + 7) // 8 * 8 :]
    while instructions:
        kind, size = struct.unpack_from("!HH", instructions)
        assert kind == 4
        outputs += _outputs(instructions[8:size], 4)
        instructions = instructions[size:]
    return Flow(command, match, idle, hard, priority, buffer_id, out_port, outputs)


def read_packet_out(data: bytes) -> PacketOut:
    version = data[0]
    assert data[1] == 13 and len(data) == struct.unpack_from("!H", data, 2)[0]
    buffer_id, in_port, length = struct.unpack_from("!IHH" if version == 1 else "!IIH", data, 8)
    start = 16 if version == 1 else 24
    return PacketOut(buffer_id, in_port, _outputs(data[start : start + length], version), data[start + length :])


class RawSwitch:
    """One connection to a controller; every read has a deadline."""

    def __init__(self, address: tuple[str, int], version: int, dpid: int = 1, ports: tuple[int, ...] = (1, 2, 3)):
        self.version = version
        self.dpid = dpid
        self.ports = ports
        self.socket = socket.create_connection(address, timeout=10)
        self._rest = b""

    def __enter__(self) -> RawSwitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """The next message; ``EOFError`` when the controller closed."""
        while True:
            if len(self._rest) >= 8:
                length = struct.unpack_from("!H", self._rest, 2)[0]
                if len(self._rest) >= length:
                    found, self._rest = self._rest[:length], self._rest[length:]
                    return found
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._rest += data

    def handshake(self) -> list[bytes]:
        """Answer until the controller's first barrier; returns what it sent after FEATURES and PORT_DESC."""
        self.send(message(self.version, 0, 7))
        said: list[bytes] = []
        barrier = 18 if self.version == 1 else 20
        while True:
            data = self.receive()
            xid = struct.unpack_from("!I", data, 4)[0]
            if data[1] == 5:
                self.send(features(self.version, self.dpid, self.ports, xid))
            elif self.version == 4 and data[1] == 18:
                self.send(port_desc(self.ports, xid))
            elif data[1] == barrier:
                self.send(message(self.version, barrier + 1, xid))
                if self.version == 1:
                    return said
            elif data[1] == 14:
                said.append(data)
                if self.version == 4 and read_flow(data).command == ADD:
                    return said
