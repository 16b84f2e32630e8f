"""The script through ``vmoc run`` on Open vSwitch: controllers on sockets, frames on taps; tables from the bridge."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mininet_scenarios.frames import Wire, vlan_of
from mininet_scenarios.processes import wait_until
from tests.emulation import E
from tests.emulation import wire as of
from tests.emulation.controller import Connection, EmulatedController
from tests.emulation.layout import Message
from tests.ovs.lab import NORTH, Lab, a_slice
from tests.ovs.replay.alike import State
from tests.ovs.replay.heard import Heard, digest
from tests.ovs.replay.model import FENCE_XID, MAX_FLOWS, MAX_GROUPS, MAX_METERS, MAX_TABLES
from tests.ovs.replay.script import PORTS, SLICES, VERA

DPIDS = [number << 8 | 0xAA for number in range(1000)]
"""One for each bridge: VMOC remembers what it knew of the one before. They end as the model's, as MAC addresses do."""
LIMITS = {
    "max_flows": MAX_FLOWS,
    "max_groups": MAX_GROUPS,
    "max_meters": MAX_METERS,
} | dict.fromkeys(("flow_mod_rate", "packet_out_rate", "packet_in_rate", "stats_rate", "barrier_rate"), 0)
NAMES = (*SLICES, "vera")
_FENCE = b"<fence>"


class Rack:
    """One VMOC and its four controllers, for one bridge after the other."""

    def __init__(self, lab: Lab, version: int, bridges: int) -> None:
        self.lab = lab
        self.version = version
        self.controllers: dict[str, EmulatedController] = {}
        slices = []
        for number, name in enumerate(NAMES):
            self.controllers[name] = lab.controller(version, NORTH + number, name=name)
            vlan, ports = SLICES.get(name, (VERA, None))
            more: dict[str, Any] = {}
            if ports:
                more["attachments"] = [{"dpid": f"{dpid:#018x}", "ports": list(ports)} for dpid in DPIDS[:bridges]]
            if name == "tina":
                more["presentation"] = "transparent"
            slices.append(a_slice(name, vlan, f"tcp:127.0.0.1:{NORTH + number}", **more) | {"limits": LIMITS})
        lab.run_vmoc(*slices, policy={"max_tables": MAX_TABLES, "error_rate": 0})
        self._bridges = itertools.count()

    def bridge(self) -> Real:
        """A fresh switch; the one before must be gone."""
        number = next(self._bridges)
        return Real(self, f"b{number}", DPIDS[number])


class Real:
    """One bridge under VMOC with all controllers connected to it."""

    def __init__(self, rack: Rack, bridge: str, dpid: int) -> None:
        self.rack = rack
        self.ovs = rack.lab.ovs
        self.version = rack.version
        self.name = bridge
        self.wires: dict[int, Wire] = {}
        self._read: dict[str, int] = {}
        self._past: dict[str, list[Message]] = {name: [] for name in NAMES}
        self._fences = itertools.count(1)
        protocol = "OpenFlow10" if self.version == of.V10 else "OpenFlow13"
        rack.lab.bridge(bridge, dpid, ports=0, protocols=[protocol], controllers=[])
        for number in PORTS:
            self._add(number)
        self.ovs.set_controller(bridge, "tcp:127.0.0.1:6653")
        self._at = {name: self._connect(name) for name in NAMES}
        self._at["vera"].flow_mod("add", of.match(self.version), of.output(self.version, "flood"))
        self.barrier()
        self.hear()

    def close(self) -> None:
        """Take the bridge away, and wait until everybody knows."""
        for wire in self.wires.values():
            wire.close()
        self.ovs.vsctl("del-br", self.name)
        for controller in self.rack.controllers.values():
            controller.wait_for(lambda c=controller: not c.live(), "end of the connection")  # type: ignore[misc]

    def _connect(self, name: str) -> Connection:
        connection = self.rack.controllers[name].wait_up(timeout=15.0)
        self._read[name] = len(connection.log)
        return connection

    def _add(self, number: int) -> None:
        port = f"{self.name}p{number}"
        self.ovs.add_port(self.name, port, number)
        # What the model's ports have, so that a PORT_MOD about either is one.
        self.ovs.vsctl("set", "interface", port, f'mac="06:00:00:aa:00:{number:02x}"')
        self.wires[number] = Wire(port)

    # controllers

    def barrier(self) -> None:
        """Every controller, at the same time."""
        waiting = []
        for name, connection in self._at.items():
            waiting.append((name, connection, self._fence(connection)))
        for name, connection, xid in waiting:
            self._await(name, connection, xid)

    def _fence(self, connection: Connection) -> int:
        xid = FENCE_XID + next(self._fences)
        connection.send(of.message(self.version, "barrier_request", b"", xid))
        return xid

    def _await(self, name: str, connection: Connection, xid: int) -> None:
        connection.expect("barrier_reply", lambda message: message.xid == xid)

    def say(self, batches: dict[str, list[bytes]]) -> None:
        """Everybody's messages at once; returns when every one has been carried out or refused."""
        waiting = []
        for name, messages in batches.items():
            connection = self._at[name]
            connection.send(b"".join(messages))
            waiting.append((name, connection, self._fence(connection)))
        for name, connection, xid in waiting:
            self._await(name, connection, xid)

    def hang_up(self, name: str, last: bytes = b"") -> None:
        """As ``Model.hang_up``."""
        connection = self._at[name]
        if last:
            connection.send(last)
            connection.expect_closed()
        else:
            connection.close()
        self._past[name] += self._news(name)
        self._at[name] = self._connect(name)

    def _news(self, name: str) -> list[Message]:
        connection = self._at[name]
        with connection.changed:
            found = connection.log[self._read[name] :]
            self._read[name] = len(connection.log)
            connection.inbox.clear()
        return found

    def hear(self) -> dict[str, Heard]:
        """What the controllers were told since the last time."""
        found = {}
        for name, past in self._past.items():
            told = past + self._news(name)
            past.clear()
            found[name] = digest(message for message in told if message.xid <= FENCE_XID)
        return found

    # ports and frames

    def port(self, reason: str, number: int) -> None:
        """A port comes or goes, and VMOC has done all it does about it."""
        vera = self._at["vera"]
        vera.forget()
        if reason == "add":
            self._add(number)
        else:
            self.wires.pop(number).close()
            self.ovs.vsctl("del-port", self.name, f"{self.name}p{number}")
        code = {"add": 0, "delete": 1}[reason]

        def wanted(message: Message) -> bool:
            status = of.parse_port_status(message)
            return (status.reason, status.port.number) == (code, number)

        vera.expect("port_status", wanted)
        self.barrier()

    def inject(self, frames: list[tuple[int, bytes]]) -> None:
        """Frames arrive; all that the switch does with them by itself is done when this returns.

        Before, Open vSwitch forgets what it decided for earlier frames: its cache follows the flows after the barrier.
        """
        self.ovs.appctl("revalidator/purge")
        for port, data in frames:
            self.wires[port].send(data)
        for _ in range(2):
            for port in self.wires:
                self.pass_through(port)

    def pass_through(self, source: int) -> None:
        """The bystander's frame goes in at one port and out at all others."""
        mark = _FENCE + b"%d." % next(self._fences)
        self.wires[source].send(E(VERA, src="02:00:00:00:00:99", payload=mark, ethertype=0x88B5))

        def heard() -> bool:
            return all(any(mark in one for one in wire.listen()) for port, wire in self.wires.items() if port != source)

        wait_until(heard, f"the bystander's frame from port {source}", every=0.002)

    def sent(self) -> Iterator[tuple[int, bytes]]:
        """What has left the switch since the last time, the bystander's frames aside."""
        for port, wire in self.wires.items():
            for data in wire.listen():
                if vlan_of(data) != VERA or _FENCE not in data:
                    yield port, data
            wire.heard.clear()

    # tables

    def state(self) -> State:
        """What the switch holds, asked at its management socket."""
        with _Bridge(self.ovs.directory / f"{self.name}.mgmt", self.version) as bridge:
            entries = of.parse_flow_stats(self.version, bridge.ask("flow", of.flow_stats_body(self.version)))
            if self.version == of.V10:
                return State(self.version, entries)
            groups = dict(_numbered(bridge.ask("group_desc"), 2))
            meters = dict(_numbered(bridge.ask("meter_config", struct.pack("!I4x", 0xFFFFFFFF)), 0))
        return State(self.version, entries, groups, meters)


def _numbered(data: bytes, kind_at: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """Group descriptions (length, type, id, buckets) or meter configurations (length, flags, id, bands)."""
    while data:
        (length,) = struct.unpack_from("!H", data)
        kind = data[2] if kind_at else int.from_bytes(data[2:4], "big")
        yield int.from_bytes(data[4:8], "big"), (kind, data[8:length])
        data = data[length:]


class _Bridge:
    """A second OpenFlow connection to a bridge."""

    def __init__(self, path: Path, version: int) -> None:
        self.version = version
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._socket.sendall(of.hello(version, 1, None if version == of.V10 else (version,)))

    def __enter__(self) -> _Bridge:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: str, body: bytes = b"") -> bytes:
        """The whole body of a statistics reply."""
        self._socket.sendall(of.stats_request(self.version, kind, body, xid=7))
        whole = b""
        while True:
            message = self._next()
            assert message.name != "error", message
            if message.name == "stats_reply":
                whole += message.raw[12 if self.version == of.V10 else 16 :]
                if not struct.unpack_from("!H", message.raw, 10)[0] & 1:
                    return whole

    def _next(self) -> Message:
        head = self._exactly(8)
        return Message(head + self._exactly(int.from_bytes(head[2:4], "big") - 8))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            assert part, "Open vSwitch closed its management connection"
            data += part
        return data
