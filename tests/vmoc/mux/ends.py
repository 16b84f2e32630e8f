"""The far ends of the mux's connections, in memory: an emulated switch, and a controller that is a list of messages."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from vmoc.model import Endpoint

if TYPE_CHECKING:
    from tests.vmoc.mux.playbook import Playbook

V10, V13 = of.V10, of.V13
FEATURES_XID = 0xFEA70001


def split(data: bytes) -> list[bytes]:
    found = []
    while data:
        (length,) = struct.unpack_from("!H", data, 2)
        assert 8 <= length <= len(data), "the mux wrote half a message"
        found.append(data[:length])
        data = data[length:]
    return found


class Killed(Exception):
    """The mux is no more."""


class End:
    """The far end of one connection."""

    def __init__(self, book: Playbook, cid: int) -> None:
        self.book = book
        self.cid = cid
        self.inbox: list[Message] = []
        self.open = True
        self.aborted = False
        self.paused = False
        self._outbox: list[bytes] = []

    def send(self, *messages: bytes) -> None:
        """Send now, or when reading is resumed; returns after all consequences."""
        self._outbox += messages
        self.flush()
        self.book.settle()

    def flush(self) -> bool:
        if self.paused or not self._outbox or not self.open:
            return False
        data, self._outbox = b"".join(self._outbox), []
        size = self.book.chunk or len(data)
        for start in range(0, len(data), size):
            self.book.deliver(self, data[start : start + size])
        return True

    def log(self, name: str | None = None) -> list[Message]:
        return [message for message in self.inbox if name in (None, message.name)]

    def take(self, name: str | None = None) -> list[Message]:
        """Messages so far (of one name), which are then forgotten."""
        found = self.log(name)
        self.inbox = [message for message in self.inbox if message not in found]
        return found

    def take_one(self, name: str) -> Message:
        found = self.take(name)
        assert len(found) == 1, f"{len(found)} {name}: {found}; also {self.inbox}"
        return found[0]


class _Wire:
    """What the emulated switch takes for its connection."""

    def __init__(self, end: SwitchEnd) -> None:
        self._end = end

    def send(self, data: bytes) -> None:
        self._end._outbox.append(data)


class SwitchEnd(End):
    """A connected emulated switch; ``table`` and the knobs are those of ``EmulatedSwitch``."""

    def __init__(self, book: Playbook, cid: int, model: EmulatedSwitch, native: int) -> None:
        super().__init__(book, cid)
        self.model = model
        self.native = native
        self.answering = True
        self._wire = _Wire(self)

    @property
    def version(self) -> int:
        return self.model.version

    def hear(self, data: bytes) -> None:
        for raw in split(data):
            message = Message(raw, self.book.now, len(self.inbox))
            self.inbox.append(message)
            if self.answering:
                self.model.peers = [self._wire]  # type: ignore[list-item]
                with self.model.changed:
                    self.model._handle(self._wire, message)  # type: ignore[arg-type]

    def does(self, act: Callable[[EmulatedSwitch], object]) -> None:
        """Let the switch do something of its own accord, and carry what it says."""
        self.model.peers = [self._wire]  # type: ignore[list-item]
        with self.model.changed:
            act(self.model)
        self.flush()
        self.book.settle()

    def packet_in(self, port: int | str, frame: bytes, **more: Any) -> None:
        self.does(lambda model: model.packet_in(port, frame, **more))

    def port_status(self, reason: str, number: int, **more: Any) -> None:
        self.does(lambda model: model.port_status(reason, number, **more))

    def error(self, to: Message, kind: int, code: int, limit: int | None = 64) -> None:
        self.does(lambda model: model.error(to, kind, code, limit))

    def hold(self, *names: str) -> None:
        self.model.hold |= set(names)

    def release(self, name: str | None = None) -> None:
        self.does(lambda model: model.release(name))

    def flow_mods(self) -> list[of.FlowMod]:
        """FLOW_MODs since the last ``take``, which are then forgotten."""
        return [of.parse_flow_mod(message) for message in self.take("flow_mod")]

    def flows(self, vlan: int | str | None = None, guards: bool = False) -> list[Any]:
        """The switch's entries of a VLAN, without the proxy's own."""
        return [e for e in self.model.flows(vlan) if guards or e.cookie >> 48 != 0xFFFE]

    def guards(self, vlan: int) -> list[int]:
        """Ports the proxy's drop entries keep out of a VLAN."""
        return sorted(
            e.match["in_port"][0]
            for e in self.model.flows(vlan)
            if e.cookie >> 48 == 0xFFFE and e.priority == 65535 and not e.actions
        )

    def close(self, why: str = "closed by the switch") -> None:
        self.open = False
        self.book.switches.remove(self)
        self.book.ends.pop(self.cid, None)
        self.book.mux.south_closed(self.cid, why, self.book.now)
        self.book.settle()


class ControllerEnd(End):
    """A controller's side of one connection; greets and asks for the features by itself."""

    def __init__(self, book: Playbook, cid: int, link: int, where: Endpoint) -> None:
        super().__init__(book, cid)
        self.link = link
        self.endpoint = where
        self.version = 0
        self.features: of.Features | None = None
        self.pongs = True
        self._xid = 100

    @property
    def dpid(self) -> int:
        assert self.features is not None
        return self.features.dpid

    def hear(self, data: bytes) -> None:
        for raw in split(data):
            message = Message(raw, self.book.now)
            if message.name == "hello" and self.book.greet and not self.version:
                self.version = message.version
                self._outbox.append(of.hello(self.version, 1, (4,) if self.version == V13 else None))
                self._outbox.append(of.message(self.version, "features_request", b"", FEATURES_XID))
            elif message.name == "features_reply" and message.xid == FEATURES_XID:
                self.features = of.parse_features(message)
                continue
            elif message.name == "echo_request" and self.pongs:
                self._outbox.append(of.message(message.version, "echo_reply", message.body, message.xid))
            self.inbox.append(message)

    def next_xid(self) -> int:
        self._xid += 1
        return self._xid

    def request(self, name: str | int, body: bytes = b"", xid: int | None = None) -> int:
        xid = self.next_xid() if xid is None else xid
        self.send(of.message(self.version, name, body, xid))
        return xid

    def flow_mod(
        self, command: str | int = "add", match: bytes | None = None, actions: bytes = b"", **more: Any
    ) -> int:
        xid = int(more.pop("xid", self.next_xid()))
        self.send(of.flow_mod(self.version, command, match, actions, xid=xid, **more))
        return xid

    def add(self, port: int | str | None = 2, command: str = "add", **fields: Any) -> int:
        """A flow with one output; keyword arguments of the match, and of ``wire.flow_mod``."""
        named = ("xid", "cookie", "cookie_mask", "table", "priority", "idle", "hard", "flags", "out_port", "out_group")
        more = {name: fields.pop(name) for name in named if name in fields}
        actions = b"" if port is None else of.output(self.version, port)
        return self.flow_mod(command, of.match(self.version, **fields), actions, **more)

    def packet_out(self, frame: bytes, port: int | str = 2, **more: Any) -> int:
        xid = int(more.pop("xid", self.next_xid()))
        self.send(of.packet_out(self.version, frame, of.output(self.version, port), xid=xid, **more))
        return xid

    def stats(self, kind: str | int, body: bytes = b"", *, flags: int = 0) -> int:
        xid = self.next_xid()
        self.send(of.stats_request(self.version, kind, body, flags=flags, xid=xid))
        return xid

    def stats_replies(self, xid: int) -> list[tuple[int, bytes]]:
        """(flags, body) of every part of an answer."""
        start = 12 if self.version == V10 else 16
        parts = [message for message in self.take("stats_reply") if message.xid == xid]
        return [(struct.unpack_from("!H", part.raw, 10)[0], part.raw[start:]) for part in parts]

    def flow_stats(self, match: bytes | None = None, **more: Any) -> list[of.FlowStat]:
        xid = self.stats("flow", of.flow_stats_body(self.version, match, **more))
        parts = self.stats_replies(xid)
        assert parts and not parts[-1][0] & 1, f"no complete answer: {self.inbox}"
        return [stat for _, body in parts for stat in of.parse_flow_stats(self.version, body)]

    def aggregate(self, match: bytes | None = None, **more: Any) -> tuple[int, int, int]:
        ((flags, body),) = self.stats_replies(self.stats("aggregate", of.flow_stats_body(self.version, match, **more)))
        assert not flags
        packets, octets, flows = struct.unpack("!QQI4x", body)
        return packets, octets, flows

    def error(self, xid: int, code: tuple[int, int], sent: bytes | None = None) -> of.Error:
        """Take the one ERROR so far and check it."""
        message = self.take_one("error")
        found = of.parse_error(message)
        assert message.version == self.version
        assert (message.xid, (found.type, found.code)) == (xid, code)
        if sent is not None:
            assert found.data == sent[:64]
        return found

    def errors(self) -> list[tuple[int, int]]:
        return [(e.type, e.code) for e in map(of.parse_error, self.take("error"))]

    def packet_ins(self) -> list[of.PacketIn]:
        return [of.parse_packet_in(message) for message in self.take("packet_in")]

    def close(self, why: str = "closed by the controller") -> None:
        self.open = False
        self.book.ends.pop(self.cid, None)
        self.book.mux.north_closed(self.cid, why, self.book.now)
        self.book.settle()
