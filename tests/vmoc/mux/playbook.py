"""A switch and controllers against the mux, in memory: no socket, no clock but ``Playbook.now``.

The switch is the emulated one of the loopback tests (a second reading of the
OpenFlow texts), with a list where its socket would be. Every call into the
mux is followed by carrying its output to where it belongs, and the answers
back, until nothing moves any more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from vmoc.events import Event, Kind
from vmoc.model import Attachment, Endpoint, Limits, Origin, Policy, Presentation, Segment, Slice, Timers
from vmoc.mux.core import Mux
from vmoc.mux.effects import (
    AbandonDial,
    Close,
    Dial,
    Effect,
    OperatorInput,
    PauseReading,
    Report,
    ResumeReading,
    SwitchAppeared,
    SwitchForgotten,
    SwitchVanished,
)
from vmoc.mux.journal import Kept, replay
from vmoc.mux.tenancy import CLOSING
from vmoc.registry import Registry, Snapshot

DPID = 0xAA
LIMITS = Limits(10, 4, 2, 0, 0, 0, 0, 0)
V10, V13 = of.V10, of.V13
FEATURES_XID = 0xFEA70001


def endpoint(host: str) -> Endpoint:
    return Endpoint("tcp", host, 6653)


def piece(
    name: str,
    vlan: int,
    ports: Iterable[int] | None = None,
    *,
    dpid: int | None = DPID,
    limits: Limits = LIMITS,
    presentation: Presentation = Presentation.TAGGED,
    queues: dict[int, frozenset[int]] | None = None,
    controllers: tuple[str, ...] | None = None,
    **segment: Any,
) -> Slice:
    """A slice of one segment; its controller is named after it, its attachment on every switch if ``dpid`` is None."""
    attachment = Attachment(dpid or 0, None if ports is None else frozenset(ports), queues or {})
    made = Segment(
        vlan,
        tuple(endpoint(host) for host in ((name,) if controllers is None else controllers)),
        presentation,
        attachments=None if dpid is None else (attachment,),
        **segment,
    )
    return Slice(name, (made,), limits)


def with_limits(one: Slice, **limits: int) -> Slice:
    return replace(one, limits=replace(one.limits, **limits))


def with_segment(one: Slice, **changes: Any) -> Slice:
    return replace(one, segments=(replace(one.segments[0], **changes), *one.segments[1:]))


# The fixture of the vetting specification's test vectors (F.0).
ALICE = piece("alice", 100, (1, 2, 3), queues={2: frozenset((7,))})
BOB = piece("bob", 200, (2, 3, 4))
TINA = piece("tina", 300, (1, 2, 5), presentation=Presentation.TRANSPARENT)
UMA = piece("uma", 400, presentation=Presentation.TRANSPARENT)
FOUR = (ALICE, BOB, TINA, UMA)


def snapshot_of(slices: Iterable[Slice], sharing: bool = False) -> Snapshot:
    registry = Registry()
    return registry.adopt(registry.plan(slices, origin=Origin.FILE, sharing=sharing))


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


@dataclass
class Dialling:
    """A dial nobody has answered yet."""

    link: int
    endpoint: Endpoint
    at: float


@dataclass(repr=False)
class Playbook:
    """One mux and all it talks to. ``accept``: how dials end (None: not at all, until ``answer``)."""

    slices: tuple[Slice, ...] = FOUR
    versions: frozenset[int] = frozenset({1, 4})
    policy: Policy | None = None
    timers: Timers | None = None
    default: Endpoint | None = None
    tap: bool = False
    sharing: bool = False
    seed: int = 1
    now: float = 1000.0
    chunk: int | None = None
    accept: bool | None = True
    greet: bool = True
    journal: bool = False
    dies: str | None = None
    """Killed with the next records: ``before`` they are written, or ``after``; their bytes leave in neither case."""
    batches: list[bytes] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    operator: list[Any] = field(default_factory=list)
    forgotten: list[SwitchForgotten] = field(default_factory=list)
    dials: list[Dialling] = field(default_factory=list)
    attempts: list[Dialling] = field(default_factory=list)
    ends: dict[int, End] = field(default_factory=dict)
    switches: list[SwitchEnd] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()
        self._cid = 0

    def start(self, kept: Iterable[Kept] = ()) -> None:
        self.mux = Mux(
            snapshot_of(self.slices, self.sharing),
            versions=self.versions,
            policy=self.policy,
            timers=self.timers,
            default_controller=self.default,
            tap=self.tap,
            seed=self.seed,
            journal=self.journal,
            kept=kept,
        )

    def restart(self, *slices: Slice) -> None:
        """Killed as it is, and started again (with other slices); all connections are gone, the journal is not."""
        self.slices = slices or self.slices
        for end in self.ends.values():
            end.open = False
        self.ends.clear()
        self.switches.clear()
        self.dials.clear()
        self.dies = None
        self.seed += 1
        self.start(replay(self.batches))
        self.batches = []
        self.mux.rewrite_journal()
        while self.mux.rewrite_some():
            self.carry()
        self.carry()

    # -- carrying ----------------------------------------------------------------------------------

    def deliver(self, end: End, data: bytes) -> None:
        if isinstance(end, SwitchEnd):
            self.mux.south_data(end.cid, data, self.now)
        else:
            self.mux.north_data(end.cid, data, self.now)
        self.carry()

    def carry(self) -> None:
        """Take the mux's output and bring it where it belongs."""
        output = self.mux.take()
        if output.journal:
            if self.dies != "before":
                self.batches.append(output.journal)
            if self.dies:
                raise Killed
        for cid, chunks in output.writes.items():
            assert cid in self.ends, f"written to connection {cid}, which is not open: {chunks}"
            self.ends[cid].hear(b"".join(chunks))  # type: ignore[attr-defined]
        self.effects += output.effects
        for effect in output.effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Report):
            self.events.append(effect.event)
        elif isinstance(effect, Dial):
            dialling = Dialling(effect.link, effect.endpoint, self.now)
            self.dials.append(dialling)
            self.attempts.append(dialling)
        elif isinstance(effect, AbandonDial):
            assert [d for d in self.dials if d.link == effect.link], "abandons a dial that is not on its way"
            self.dials = [d for d in self.dials if d.link != effect.link]
        elif isinstance(effect, Close):
            end = self.ends.pop(effect.cid)
            end.open, end.aborted = False, effect.abort
            if isinstance(end, SwitchEnd):
                self.switches.remove(end)
        elif isinstance(effect, PauseReading | ResumeReading):
            end = self.ends[effect.cid]
            assert end.paused is isinstance(effect, ResumeReading)
            end.paused = not end.paused
        else:
            assert isinstance(effect, OperatorInput | SwitchAppeared | SwitchVanished | SwitchForgotten)
            (self.forgotten if isinstance(effect, SwitchForgotten) else self.operator).append(effect)

    def settle(self) -> None:
        """Until nothing moves any more, at this moment."""
        self.carry()
        for _ in range(10_000):
            if self.accept is not None and self.dials:
                self.answer(self.dials[0], self.accept)
            elif not any(end.flush() for end in list(self.ends.values())):
                return
        raise AssertionError("never comes to rest")

    def answer(self, dialling: Dialling, how: bool = True) -> ControllerEnd | None:
        self.dials.remove(dialling)
        end = None
        if how:
            self._cid += 1
            end = ControllerEnd(self, self._cid, dialling.link, dialling.endpoint)
            self.ends[end.cid] = end
            self.mux.dialled(dialling.link, end.cid, self.now)
        else:
            self.mux.dial_failed(dialling.link, "connection refused", self.now)
        self.carry()
        return end

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the mux exactly when it asked to be."""
        until = self.now + seconds
        for _ in range(100_000):
            due = self.mux.next_deadline()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.mux.wake(self.now)
            self.settle()
        else:
            raise AssertionError("time stands still")
        self.now = until

    # -- the players -------------------------------------------------------------------------------

    def dial_in(self, native: int = 0, model: EmulatedSwitch | None = None, **knobs: Any) -> SwitchEnd:
        """TCP of a switch is up; it has not said anything."""
        model = model or EmulatedSwitch(("", 0), **knobs)
        self._cid += 1
        end = SwitchEnd(self, self._cid, model, native)
        self.ends[end.cid] = end
        self.switches.append(end)
        self.mux.south_opened(end.cid, f"198.51.100.{end.cid}:4", native, self.now)
        return end

    def switch(self, version: int = V10, dpid: int = DPID, *, native: int = 0, **knobs: Any) -> SwitchEnd:
        """A switch that has connected; ``model=`` is one that was here before."""
        if "model" not in knobs:
            knobs |= {"version": version, "dpid": dpid}
        end = self.dial_in(native, **knobs)
        end.send(of.hello(end.version, 1, end.model.versions))
        return end

    def at(self, name: str, dpid: int = DPID, index: int = 0) -> ControllerEnd:
        """The open connection of the controller named ``name`` for the switch ``dpid``."""
        found = [
            end
            for end in self.ends.values()
            if isinstance(end, ControllerEnd)
            and end.endpoint.host == name
            and end.features is not None
            and end.dpid & 0xFFFFFFFFFFFF == dpid
        ]
        assert len(found) > index, f"{name} is not connected: {self.mux.describe()}"
        return found[index]

    def controllers(self) -> list[ControllerEnd]:
        return [end for end in self.ends.values() if isinstance(end, ControllerEnd)]

    def adopt(self, *slices: Slice) -> None:
        """From now on the slices are these."""
        self.slices = slices
        self.mux.adopt(snapshot_of(slices, self.sharing), self.now)
        self.settle()
        self.advance(CLOSING)  # what was removed is deleted once its controllers have had time to notice

    def clear(self) -> None:
        """Forget everything heard so far."""
        for end in self.ends.values():
            end.inbox.clear()
        self.events.clear()
        self.effects.clear()
        self.operator.clear()

    def told(self, kind: Kind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def heard(self) -> dict[str, list[str]]:
        """Who (controllers) has heard what since ``clear``, the quiet ones left out."""
        return {end.endpoint.host: [message.name for message in end.inbox] for end in self.controllers() if end.inbox}


def scene(version: int, *slices: Slice, **more: Any) -> tuple[Playbook, SwitchEnd]:
    """The four slices (or those given) on one switch, everybody connected, nothing heard yet."""
    knobs = {name: more.pop(name) for name in ("ports", "n_tables", "stats_size", "native") if name in more}
    size = knobs.pop("stats_size", None)
    book = Playbook(slices or FOUR, **more)
    switch = book.switch(version, **knobs)
    if size:
        switch.model.stats_size = size
    book.advance(1.5)  # past the barriers that settle what was sent while coming up
    book.clear()
    return book, switch
