"""The engine of several processes: welcomes switches, gives each to a worker, keeps the workers at one.

Rules of this file: everything runs on the loop's thread; what a worker says is
true of its own switches only; a worker that is not there owes no answer,
because the next one begins with everything.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Final

from vmoc.config import Settings
from vmoc.daemon import journaling
from vmoc.daemon.engine import discovered
from vmoc.daemon.errors import StartError
from vmoc.daemon.rack import Rack
from vmoc.daemon.watched import Watched
from vmoc.daemon.workers import messages as m
from vmoc.daemon.workers.handing import hand_over
from vmoc.daemon.workers.member import Member
from vmoc.daemon.workers.placing import Key, Placing
from vmoc.daemon.workers.rack import CrewRack
from vmoc.daemon.workers.watched import CrewWatched
from vmoc.events import Event, Kind
from vmoc.model import Endpoint
from vmoc.mux.effects import HandOver, OperatorInput, SwitchAppeared, SwitchVanished
from vmoc.mux.reception import Reception
from vmoc.net import tls
from vmoc.net.edge import Edge, Mirrored
from vmoc.net.wire import Wire
from vmoc.registry import Plan, Snapshot
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.reading import Reading

START: Final = 60.0
"""Seconds the workers may take to be ready at first."""
PART: Final = 500
"""Slices in one message."""
MOST_UNSENT: Final = 8 << 20
"""Bytes of applications' messages that may wait for a worker."""
HELD: Final = 1024
"""Switches that wait for their worker to come back."""


class Crew:
    """An ``Engine`` (``vmoc.daemon.engine``)."""

    told = 10.0

    def __init__(
        self,
        workers: int,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        snapshot: Snapshot,
        *,
        events: EventLog,
        lag: LoopLag,
        log: journaling.Log,
        bug: Callable[[str, str], None],
        mirror: Callable[[Mirrored], None],
        fill_in: Callable[[Reading], None],
        wants_packet_ins: Callable[[], bool],
    ) -> None:
        """Raises ``StartError``."""
        self._loop = loop
        self._settings = settings
        self._snapshot = snapshot
        self._events = events
        self._log = log
        self._bug = bug
        self._mirror = mirror
        self._wants_packet_ins = wants_packet_ins
        self._packet_ins = wants_packet_ins()
        self._journal, _ = journaling.start(settings, log, workers=workers)
        self._default = settings.default_controller.url
        self._identity: tls.Identity | None = None
        self._placing = Placing(workers)
        self._hand_overs = itertools.count(1)
        self._changes = itertools.count(1)
        self._pending: dict[int, tuple[set[Member], Callable[[], None]]] = {}
        """Changes of slices, who has not adopted them yet, and what to call then."""
        self._held: dict[Key, tuple[Wire, HandOver]] = {}
        self._present: dict[Key, Member] = {}
        self._reports: list[Iterator[Event]] = []
        self._draining = False
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._reception = Reception(versions=settings.versions, timers=settings.timers)
        self.members = [Member(number, loop, self) for number in range(workers)]
        self.edge = Edge(self._reception, loop, report=events.record, bug=bug)
        self.edge.use_receiver(self._receive)
        self.rack: Rack = CrewRack(
            self.edge, lambda: self._snapshot, self._placing.worker_of, self.members, events, discovered
        )
        self._watched = CrewWatched(self.edge, self._reception, self.members, events, others=fill_in)
        self.watched: Watched = self._watched

    # -- the engine --------------------------------------------------------------------------------

    def start(self, client_tls: tls.ClientTls | None, identity: tls.Identity | None) -> None:
        """Start the workers."""
        self._identity = identity
        for member in self.members:
            member.start()

    async def started(self) -> None:
        """Wait until all are ready. Raises ``StartError``."""
        try:
            async with asyncio.timeout(START):
                await self._ready.wait()
        except TimeoutError:
            raise StartError([f"the workers were not ready within {START:g} s; see the log for why"], 1) from None
        pids = " ".join(str(member.pid) for member in self.members)
        self._log.info(f"switches are served by {len(self.members)} workers", pids=pids)

    def adopt(self, plan: Plan, done: Callable[[], None]) -> None:
        """The slices have changed; ``done`` once every worker that runs says so."""
        before, self._snapshot = self._snapshot.slices, plan.snapshot
        after = plan.snapshot.slices
        put = [after[name] for name in (*plan.added, *plan.changed)]
        kinds = (
            *((Kind.SLICE_REMOVED, before[name]) for name in plan.removed),
            *((Kind.SLICE_ADDED, after[name]) for name in plan.added),
            *((Kind.SLICE_CHANGED, after[name]) for name in plan.changed),
        )
        self._report_slowly(Event(kind, slice=one.id, detail={"origin": str(one.origin)}) for kind, one in kinds)
        number = next(self._changes)
        told = {member for member in self.members if member.pid is not None}
        if not told:
            done()
            return
        self._pending[number] = told, done
        for message in _parts(number, put, plan.removed):
            data = m.pack(message)
            for member in told:
                member.send_packed(data)

    def set_default_controller(self, endpoint: Endpoint | None) -> None:
        """Where slices without a controller of their own go."""
        self._default = endpoint
        for member in self.members:
            member.send(m.DefaultController(endpoint))

    def operator_send(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        """Messages of os-ken applications to switches."""
        by_member: dict[Member, list[tuple[Key, bytes]]] = {}
        for key, message in batch:
            member = self._present.get(key)
            if member is not None:
                by_member.setdefault(member, []).append((key, message))
        for member, part in by_member.items():
            if member.unsent < MOST_UNSENT:  # else it does not read, and its switches are lost in any case
                member.send(m.OperatorOutput(tuple(part)))

    def tick(self) -> None:
        """See what has changed its mind."""
        wanted = self._wants_packet_ins()
        if wanted is not self._packet_ins:
            self._packet_ins = wanted
            for member in self.members:
                member.send(m.PacketInsWanted(wanted))
        self._watched.tick()

    def begin_drain(self) -> None:
        """Let everybody go."""
        self._draining = True
        self.edge.run(lambda: self._reception.begin_drain(monotonic()))
        for wire, _ in self._held.values():
            wire.abandon()
        self._held.clear()
        for member in self.members:
            member.stop()
            member.send(m.Drain())

    @property
    def flushed(self) -> bool:
        """Whether every worker has ended."""
        return not any(member.pid is not None for member in self.members) and not self.edge.lingering

    def close(self) -> None:
        """Kill whoever is left."""
        self._draining = True
        for member in self.members:
            member.kill()
        for wire, _ in self._held.values():
            wire.abandon()
        self._held.clear()
        self.edge.close()
        if self._journal is not None:
            self._journal.close()

    # -- workers -----------------------------------------------------------------------------------

    def begun(self, member: Member) -> None:
        """Tell a new worker everything."""
        settings = self._settings
        member.send(
            m.Charter(
                number=member.number,
                versions=settings.versions,
                policy=settings.policy,
                timers=settings.timers,
                default_controller=self._default,
                identity=self._identity,
                journal=settings.state_path if self._journal is not None else None,
                packet_ins=self._packet_ins,
            )
        )
        for message in _parts(0, list(self._snapshot.slices.values()), ()):
            member.send(message)

    def heard(self, member: Member, message: Any) -> None:
        """Act upon what a worker says."""
        match message:
            case m.Happened():
                self._happened(member, message)
            case m.Load():
                self._placing.report(member.number, message.busy, message.switches)
            case m.Adopted():
                self._adopted(member, message.number)
            case m.Forgotten():
                for key in message.keys:
                    self._placing.forget(key, member.number, message.seen)
            case m.Ready():
                self._placing.begin(member.number, message.known)
                self._is_ready(member)
            case m.Noted():
                if message.trace:
                    self._bug(f"worker {member.number}: {message.text}", message.trace)
                else:
                    getattr(self._log, message.level)(message.text)

    def gone(self, member: Member, why: str) -> None:
        """A worker has ended."""
        for key in [key for key, whose in self._present.items() if whose is member]:
            del self._present[key]
            self._mirror(SwitchVanished(key))
            if not self._draining:
                text = "the worker that served it has ended"
                self._events.record(Event(Kind.SWITCH_DOWN, dpid=key[0], reason="worker", message=text))
        for number in [number for number, (members, _) in self._pending.items() if member in members]:
            self._adopted(member, number)
        self._watched.gone(member)
        if not self._draining:
            self._placing.report(member.number, 0.0, 0)
            text = f"worker {member.number} has ended: {why}; its switches have to connect again"
            self._events.record(Event(Kind.WORKER_LOST, reason="worker", message=text))

    def _is_ready(self, member: Member) -> None:
        member.is_ready()
        if member.restarts:
            self._log.info(f"worker {member.number} is back", pid=member.pid)
        if all(each.ready for each in self.members):
            self._ready.set()
        for wire, switch in list(self._held.values()):
            self._held.pop(switch.key, None)
            self._receive(wire, switch)

    def _adopted(self, member: Member, number: int) -> None:
        members, done = self._pending.get(number, (None, None))
        if members is None or done is None:
            return
        members.discard(member)
        if not members:
            del self._pending[number]
            done()

    def _happened(self, member: Member, message: m.Happened) -> None:
        if message.lost:
            self._log.warning(f"worker {member.number} could not tell {message.lost} event(s): there were too many")
        for fact in message.facts:
            match fact:
                case Event():
                    self._events.record(fact)
                case SwitchAppeared():
                    self._present[fact.key] = member
                    self._mirror(fact)
                case SwitchVanished():
                    self._present.pop(fact.key, None)
                    self._mirror(fact)
                case OperatorInput():
                    self._mirror(fact)

    def _report_slowly(self, events: Iterator[Event]) -> None:
        """Many slices may change at once: some events at a time."""
        self._reports.append(events)
        if len(self._reports) == 1:
            self._report_some()

    def _report_some(self) -> None:
        while self._reports:
            some = list(itertools.islice(self._reports[0], 100))
            for event in some:
                self._events.record(event)
            if some:
                self._loop.call_soon(self._report_some)
                return
            self._reports.pop(0)

    # -- switches ----------------------------------------------------------------------------------

    def _receive(self, wire: Wire, switch: HandOver) -> None:
        """A switch has said who it is: give it to its worker, or have it wait for that."""
        ready = [member.number for member in self.members if member.ready]
        worker = self._placing.choose(switch.key[0], ready)
        if worker is None or not self.members[worker].ready:
            self._hold(wire, switch)
            return
        member, number = self.members[worker], next(self._hand_overs)
        secured = wire.secured
        known = self._placing.worker_of(switch.key[0]) is not None
        self._placing.put(switch.key, worker, number)

        def send(connection: socket.socket) -> None:
            descriptor = os.dup(connection.fileno())
            connection.close()
            member.send(m.Handed(number, getattr(wire, "peer", ""), secured, replace(switch, cid=0)), descriptor)

        task = self._loop.create_task(hand_over(self._loop, wire, send))
        self._tasks.add(task)
        task.add_done_callback(partial(self._handed, None if known else (switch.key, worker, number)))

    def _handed(self, new: tuple[Key, int, int] | None, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (exc := task.exception()) is not None:
            self.edge.bug("handing a switch over", exc)
        elif not task.result() and new is not None:
            self._placing.forget(*new)  # it never arrived

    def _hold(self, wire: Wire, switch: HandOver) -> None:
        before = self._held.pop(switch.key, None)
        if before is not None:
            before[0].abandon()
        if self._draining or len(self._held) >= HELD:
            wire.abandon()
            return
        self._held[switch.key] = wire, switch


def _parts(number: int, put: Sequence[Any], drop: Sequence[str]) -> Iterator[m.Changed]:
    """A change in messages of a bounded size."""
    steps = max(len(put), len(drop), 1)
    for start in range(0, steps, PART):
        end = start + PART
        yield m.Changed(number, tuple(put[start:end]), tuple(drop[start:end]), more=end < steps)
