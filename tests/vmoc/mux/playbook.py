"""A switch and controllers against the mux, in memory: no socket, no clock but ``Playbook.now``.

The switch is the emulated one of the loopback tests (a second reading of the
OpenFlow texts), with a list where its socket would be. Every call into the
mux is followed by carrying its output to where it belongs, and the answers
back, until nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.emulation import wire as of
from tests.emulation.switch import EmulatedSwitch
from tests.vmoc.mux.ends import V10, ControllerEnd, End, Killed, SwitchEnd
from tests.vmoc.mux.tenants import DPID, FOUR, snapshot_of
from vmoc.events import Event, Kind
from vmoc.model import Endpoint, Policy, Slice, Timers
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
