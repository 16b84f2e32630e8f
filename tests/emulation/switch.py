"""An OpenFlow 1.0 or 1.3 switch that dials a controller: real flow table, real answers, and knobs to misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable

from tests.emulation import answers
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.peer import TIMEOUT, Peer
from tests.emulation.pipeline import Outcome, Pipeline
from tests.emulation.table import SEND_FLOW_REM, Entry, FlowError, FlowTable

CAPABILITIES = {of.V10: 0xC7, of.V13: 0x4F}


class _NoConnection:
    """Stands in for a ``Peer`` where there is none."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class EmulatedSwitch:
    """Ports 1..n and LOCAL, queues 7 and 8 on every port, 256 buffers announced; keeps its flows when it reconnects.

    Knobs, changeable at any time: ``mute`` (names of messages never sent,
    ``"*"`` for all), ``hold`` (names kept back until ``release``), ``chunk``
    (bytes per write), ``stats_size`` (bytes per fragment of a reply).
    """

    def __init__(
        self,
        address: tuple[str, int],
        dpid: int = 0xAA,
        version: int = of.V10,
        *,
        ports: Iterable[int] = range(1, 7),
        queues: Iterable[int] = (7, 8),
        n_buffers: int = 256,
        n_tables: int | None = None,
        capabilities: int | None = None,
        actions: int = 0xFFF,
        versions: tuple[int, ...] | None = None,
        reconnect: float | None = 0.1,
        chunk: int | None = None,
        mute: Iterable[str] = (),
        source: str = "127.0.0.1",
    ) -> None:
        self.address = address
        self.dpid = dpid
        self.version = version
        self.versions = versions if versions is not None else ((version,) if version == of.V13 else None)
        self.n_buffers = n_buffers
        self.n_tables = n_tables if n_tables is not None else (1 if version == of.V10 else 4)
        self.capabilities = CAPABILITIES[version] if capabilities is None else capabilities
        self.actions = actions
        self.changed = threading.Condition(threading.RLock())
        self.ports: dict[int, of.Port] = {}
        for number in (*ports, of.PORTS[version]["local"]):
            self.ports[number] = answers.describe_port(version, dpid, number)
        self.queues = {number: list(queues) for number in ports}
        self.table = FlowTable(version)
        self.groups: dict[int, tuple[int, bytes]] = {}  # id: (type, raw buckets)
        self.meters: dict[int, tuple[int, bytes]] = {}  # id: (flags, raw bands)
        self.pipeline = Pipeline(version, self.table, self.physical_ports, self.buckets)
        self.mute = set(mute)
        self.hold: set[str] = set()
        self.held: list[bytes] = []
        self.chunk = chunk
        self.stats_size = 60000
        self.miss_send_len = 128
        self.async_masks = struct.pack("!IIIIII", 3, 0, 7, 7, 15, 0)
        self.role = (1, 0)
        self.transmitted: list[tuple[int, bytes]] = []
        self.peers: list[Peer] = []
        self.negotiated = False
        self.reconnect = reconnect
        self._source = source
        self._stopping = threading.Event()
        self._again = threading.Event()
        self._dialler: threading.Thread | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> EmulatedSwitch:
        """Dial until it works, and again after every loss unless ``reconnect`` is None."""
        self._stopping.clear()
        self._dialler = threading.Thread(target=self._dial, name=f"switch {self.dpid:#x}", daemon=True)
        self._dialler.start()
        return self

    def stop(self, how: str = "local") -> None:
        """Close the connection (``how="reset"``: as a crash) and dial no more. The flow table stays."""
        self._stopping.set()
        self._again.set()
        if self._dialler is not None:
            self._dialler.join(TIMEOUT)
            self._dialler = None
        if self.peers:
            self.peers[-1].close(how)

    def kill(self) -> None:
        """Reset the connection, as a switch that loses power does; ``start`` brings it back with its table."""
        self.stop("reset")

    def drop(self, how: str = "reset") -> None:
        """Lose the present connection only; the switch dials again."""
        self.peer.close(how)

    def __enter__(self) -> EmulatedSwitch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _dial(self) -> None:
        while not self._stopping.is_set():
            self._again.clear()
            with contextlib.suppress(OSError):
                sock = socket.create_connection(self.address, timeout=TIMEOUT, source_address=(self._source, 0))
                peer = Peer(
                    sock,
                    f"switch {self.dpid:#x} connection {len(self.peers)}",
                    changed=self.changed,
                    on_message=self._handle,
                    on_closed=self._lost,
                    chunk=self.chunk,
                )
                with self.changed:
                    self.negotiated = False
                    self.peers.append(peer)
                    if not self.mute & {"*", "hello"}:
                        peer.send(of.hello(self.version, peer.next_xid(), self.versions))
                    peer.start()
                    self.changed.notify_all()
                self._again.wait()
            if self.reconnect is None:
                return
            self._stopping.wait(self.reconnect)

    def _lost(self, peer: Peer) -> None:
        self._again.set()

    # --- what tests ask ----------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The newest connection."""
        if not self.peers:
            raise AssertionError(f"switch {self.dpid:#x} never connected to {self.address}")
        return self.peers[-1]

    def wait_connected(self, count: int = 1, timeout: float = TIMEOUT) -> Peer:
        """Wait for the ``count``-th connection in which the other side asked for the features."""

        def asked() -> bool:
            return len(self.peers) >= count and any(m.name == "features_request" for m in self.peers[-1].log)

        with self.changed:
            if not self.changed.wait_for(asked, timeout):
                heard = self.peers[-1].log if self.peers else "no connection"
                raise AssertionError(f"switch {self.dpid:#x}: handshake {count} not reached, {heard}")
            return self.peers[-1]

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Wait until something holds about the switch; tried again at every message."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"switch {self.dpid:#x}: no {what} within {timeout:g} s; flows {self.flows()}")

    def expect(self, name: str, where: Callable[[Message], object] | None = None, timeout: float = TIMEOUT) -> Message:
        """``Peer.expect`` on the newest connection."""
        return self.peer.expect(name, where, timeout)

    def echo(self) -> None:
        """Wait until the other side has handled all this switch sent so far."""
        xid = self.peer.request(self.version, "echo_request", b"fence")
        self.peer.expect("echo_reply", lambda m: m.xid == xid)

    def flows(self, vlan: int | str | None = None) -> list[Entry]:
        """The entries, or those of one exact VLAN."""
        with self.changed:
            return [e for e in self.table.entries if vlan is None or e.vlan == vlan]

    def log(self, name: str | None = None) -> list[Message]:
        """Everything received on every connection, in order."""
        with self.changed:
            return [m for peer in self.peers for m in peer.log if name in (None, m.name)]

    def flow_mods(self) -> list[of.FlowMod]:
        """Every FLOW_MOD received."""
        return [of.parse_flow_mod(m) for m in self.log("flow_mod")]

    def physical_ports(self) -> list[int]:
        """Port numbers without LOCAL."""
        return [number for number in self.ports if number < of.PORTS[self.version]["max"]]

    def buckets(self, group: int) -> list[bytes]:
        """The action lists of a group's buckets (only the first one of a select or fast-failover group)."""
        kind, raw = self.groups.get(group, (0, b""))
        lists = [body[16:] for body in answers.split_buckets(raw)]
        return lists if kind == 0 else lists[:1]

    def answer(self, raw: bytes) -> list[bytes]:
        """What it answers to one message, for use without any connection (``start`` must not have been called)."""
        silent = _NoConnection()
        self.peers = [silent]  # type: ignore[list-item]
        self._handle(silent, Message(raw))  # type: ignore[arg-type]
        return silent.sent

    # --- what tests make it do ---------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.peer.send(data)

    def packet_in(
        self, port: int | str, frame: bytes, *, reason: int = 0, table: int = 0, cookie: int = 0xFFFFFFFFFFFFFFFF,
        buffer_id: int = of.NO_BUFFER, total_len: int | None = None, **match: of.Value,
    ) -> None:  # fmt: skip
        """Emit a PACKET_IN without asking the flow table; ``match`` adds OXMs after in_port (1.3)."""
        number = of.port_number(self.version, port)
        total = len(frame) if total_len is None else total_len
        if self.version == of.V10:
            body = struct.pack("!IHHBx", buffer_id, total, number, reason) + frame
        else:
            head = struct.pack("!IHBBQ", buffer_id, total, reason, table, cookie)
            body = head + of.match(of.V13, in_port=number, **match) + b"\0\0" + frame
        self._send("packet_in", body)

    def inject(self, port: int, frame: bytes) -> Outcome:
        """A frame arrives on a port: the flow table decides. Returns what left and what went to the controllers."""
        with self.changed:
            outcome = self.pipeline.receive(port, frame)
            self._carry_out(outcome)
            return outcome

    def port_status(self, reason: str, number: int, *, config: int = 0, state: int = 0) -> None:
        """Change a port (``add``, ``delete``, ``modify``) and say so."""
        with self.changed:
            port = answers.describe_port(self.version, self.dpid, number, config, state)
            if reason == "delete":
                self.ports.pop(number, None)
            else:
                self.ports[number] = port
            code = {"add": 0, "delete": 1, "modify": 2}[reason]
            self._send("port_status", struct.pack("!B7x", code) + port.raw)

    def expire(self, entry: Entry, reason: int = 0) -> None:
        """Remove an entry as by its idle (0) or hard (1) timeout."""
        with self.changed:
            self.table.entries.remove(entry)
            self._removed([entry], reason)

    def error(self, to: Message, kind: int, code: int, limit: int | None = None) -> None:
        """Answer ``to`` with an ERROR carrying its first ``limit`` bytes."""
        with contextlib.suppress(ConnectionError):
            self._send("error", struct.pack("!HH", kind, code) + to.raw[:limit][: 0xFFFF - 12], to.xid)

    def release(self, name: str | None = None) -> None:
        """Send what ``hold`` kept back (of one name, or all) and hold it no more."""
        with self.changed:
            self.hold = set() if name is None else self.hold - {name}
            due = [raw for raw in self.held if name in (None, Message(raw).name)]
            self.held = [raw for raw in self.held if raw not in due]
            for raw in due:
                self.peer.send(raw)

    def wait_held(self, name: str, count: int = 1) -> None:
        """Wait until ``count`` messages of that name are being held back."""
        self.wait_for(lambda: sum(Message(raw).name == name for raw in self.held) >= count, f"{count} held {name}")

    # --- answering ---------------------------------------------------------------------------------------------------

    def _send(self, name: str, body: bytes, xid: int = 0) -> None:
        with self.changed:
            if self.mute & {"*", name}:
                return
            raw = of.message(self.version, name, body, xid)
            if name in self.hold:
                self.held.append(raw)
                self.changed.notify_all()
            else:
                self.peer.send(raw)

    def _handle(self, peer: Peer, msg: Message) -> None:
        if peer is not self.peers[-1]:
            return
        if msg.name == "hello":
            self.negotiated = True
            return
        if msg.version != self.version:
            if msg.name != "error":
                self.error(msg, 1, 0)
            return
        handler = getattr(self, f"_on_{msg.name}", None)
        if msg.name in ("error", "echo_reply"):
            return
        if handler is None:
            self.error(msg, 1, 3 if msg.name == "experimenter" else 1)
            return
        try:
            handler(msg)
        except FlowError as refused:
            self.error(msg, *refused.args)
        except (ValueError, struct.error, IndexError):
            self.error(msg, 1, 6)

    def _on_echo_request(self, msg: Message) -> None:
        self._send("echo_reply", msg.body, msg.xid)

    def _on_features_request(self, msg: Message) -> None:
        last, ports = (self.actions, b"".join(p.raw for p in self.ports.values())) if self.version == 1 else (0, b"")
        head = struct.pack("!QIBB2xII", self.dpid, self.n_buffers, self.n_tables, 0, self.capabilities, last)
        self._send("features_reply", head + ports, msg.xid)

    def _on_get_config_request(self, msg: Message) -> None:
        self._send("get_config_reply", struct.pack("!HH", 0, self.miss_send_len), msg.xid)

    def _on_set_config(self, msg: Message) -> None:
        _, self.miss_send_len = struct.unpack("!HH", msg.body)

    def _on_barrier_request(self, msg: Message) -> None:
        self._send("barrier_reply", b"", msg.xid)

    def _on_stats_request(self, msg: Message) -> None:
        kind = struct.unpack_from("!H", msg.raw, 8)[0]
        body = msg.raw[12 if self.version == of.V10 else 16 :]
        for more, part in answers.stats(self, kind, body):
            head = struct.pack("!HH" if self.version == of.V10 else "!HH4x", kind, int(more))
            self._send("stats_reply", head + part, msg.xid)

    def _on_queue_config_request(self, msg: Message) -> None:
        self._send("queue_config_reply", answers.queue_config(self, msg.body), msg.xid)

    def _on_role_request(self, msg: Message) -> None:
        role, generation = struct.unpack("!I4xQ", msg.body)
        self.role = (role or self.role[0], generation)
        self._send("role_reply", struct.pack("!I4xQ", *self.role), msg.xid)

    def _on_get_async_request(self, msg: Message) -> None:
        self._send("get_async_reply", self.async_masks, msg.xid)

    def _on_set_async(self, msg: Message) -> None:
        self.async_masks = struct.pack("!IIIIII", *struct.unpack("!IIIIII", msg.body))

    def _on_port_mod(self, msg: Message) -> None:
        """Recorded in the log; tests look there."""

    def _on_table_mod(self, msg: Message) -> None:
        """Recorded in the log; tests look there."""

    def _on_packet_out(self, msg: Message) -> None:
        out = of.parse_packet_out(msg)
        if out.buffer_id != of.NO_BUFFER:
            raise FlowError(1, 8)
        self._check_actions(out.actions)
        self._carry_out(self.pipeline.packet_out(out.in_port, out.data, out.actions))

    def _on_flow_mod(self, msg: Message) -> None:
        mod = of.parse_flow_mod(msg)
        adding = mod.command in ("add", "modify", "modify_strict")
        if self.version != of.V10 and mod.table >= self.n_tables and (adding or mod.table != 0xFF):
            raise FlowError(5, 2)
        if adding:
            if mod.buffer_id != of.NO_BUFFER:
                raise FlowError(1, 8)
            if self.version != of.V10:
                for kind, body in of.split_actions(mod.actions):
                    if kind not in (1, 2, 3, 4, 5, 6):
                        raise FlowError(3, 0)
                    if kind == 1 and not mod.table < body[4] < self.n_tables:
                        raise FlowError(3, 2)
                    if kind == 6 and int.from_bytes(body[4:8], "big") not in self.meters:
                        raise FlowError(12, 2)
            for actions in of.action_lists(self.version, mod.actions):
                self._check_actions(actions)
        self._removed(self.table.apply(mod), 2)

    def _check_actions(self, actions: bytes) -> None:
        known = {*range(12)} if self.version == of.V10 else {0, 11, 12, *range(15, 26)}
        for kind, body in of.split_actions(actions):
            if kind not in known:
                raise FlowError(2, 0)
            if kind == 22 and self.version != of.V10 and int.from_bytes(body[4:8], "big") not in self.groups:
                raise FlowError(2, 9)
        for port in of.output_ports(self.version, actions):
            if port not in self.ports and not port > of.PORTS[self.version]["max"]:
                raise FlowError(2, 4)

    def _on_group_mod(self, msg: Message) -> None:
        command, kind, number = struct.unpack_from("!HBxI", msg.raw, 8)
        buckets = answers.split_buckets(msg.raw[16:])
        if command == 2:
            doomed = list(self.groups) if number == 0xFFFFFFFC else [number]
            for each in doomed:
                if self.groups.pop(each, None) is not None:
                    gone = [e for e in self.table.entries if e.uses_group(each)]
                    self.table.entries = [e for e in self.table.entries if e not in gone]
                    self._removed(gone, 3)
            return
        for bucket in buckets:
            self._check_actions(bucket[16:])
        if (command == 0) == (number in self.groups):
            raise FlowError(6, 0 if command == 0 else 8)
        self.groups[number] = (kind, msg.raw[16:])

    def _on_meter_mod(self, msg: Message) -> None:
        command, flags, number = struct.unpack_from("!HHI", msg.raw, 8)
        if command == 2:
            for each in list(self.meters) if number == 0xFFFFFFFF else [number]:
                if self.meters.pop(each, None) is not None:
                    # As Open vSwitch does in 1.3: its flows go along, and nothing is said.
                    self.table.entries = [e for e in self.table.entries if not e.uses_meter(each)]
        elif (command == 0) == (number in self.meters):
            raise FlowError(12, 1 if command == 0 else 3)
        elif not 1 <= number <= 100:
            raise FlowError(12, 2)
        else:
            self.meters[number] = (flags, msg.raw[16:])

    def _removed(self, gone: list[Entry], reason: int) -> None:
        for entry in gone:
            if entry.flags & SEND_FLOW_REM:
                self._send("flow_removed", self.table.removed_message(entry, reason))

    def _carry_out(self, outcome: Outcome) -> None:
        self.transmitted += outcome.sent
        for (in_port, frame, reason, table, cookie), metadata in zip(outcome.punts, outcome.metadata, strict=True):
            told: dict[str, of.Value] = {"metadata": metadata} if metadata else {}
            self.packet_in(in_port, frame, reason=reason, table=table, cookie=cookie, **told)
        self.changed.notify_all()
