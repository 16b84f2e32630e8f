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
from dataclasses import dataclass, field, replace
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
from vmoc.model import Endpoint, Slice
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
MOST_UNSENT: Final = 8 << 20
"""Bytes of applications' messages that may wait for a worker."""
HELD: Final = 1024
"""Switches that wait for their worker to come back."""


@dataclass(slots=True)
class _Knowledge:
    """What a worker has been told. What it knows of slices is kept as it is now, whether it concerns it or not."""

    dpids: set[int]
    """Its switches: all slices that name one of them it knows."""
    slices: set[str] = field(default_factory=set)

    def concerns(self, one: Slice, dpids: frozenset[int] | None) -> bool:
        """Whether it is to know of a slice that is on these switches (None: on every one)."""
        return dpids is None or one.id in self.slices or not self.dpids.isdisjoint(dpids)


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
        self._knowledge: dict[Member, _Knowledge] = {}
        """Those that have begun to be told of slices."""
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
        put = [(after[name], _dpids_of(after[name])) for name in (*plan.added, *plan.changed)]
        kinds = (
            *((Kind.SLICE_REMOVED, before[name]) for name in plan.removed),
            *((Kind.SLICE_ADDED, after[name]) for name in plan.added),
            *((Kind.SLICE_CHANGED, after[name]) for name in plan.changed),
        )
        self._report_slowly(Event(kind, slice=one.id, detail={"origin": str(one.origin)}) for kind, one in kinds)
        number = next(self._changes)
        told: set[Member] = set()
        for member, known in self._knowledge.items():
            new = [one for one, dpids in put if known.concerns(one, dpids)]
            gone = [name for name in plan.removed if name in known.slices]
            if new or gone:
                told.add(member)
                known.slices.difference_update(gone)
                self._tell(member, number, new, gone)
        if told:
            self._pending[number] = told, done
        else:
            done()

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
        """Tell a new worker who it is."""
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
                    if member in self._knowledge and self._placing.worker_of(key[0]) != member.number:
                        self._knowledge[member].dpids.discard(key[0])
            case m.Known():
                self._placing.begin(member.number, message.keys)
                self._knowledge[member] = known = _Knowledge({dpid for dpid, _ in message.keys})
                every = self._snapshot.slices.values()
                self._tell(member, 0, [one for one in every if known.concerns(one, _dpids_of(one))])
            case m.Ready():
                self._is_ready(member)
            case m.Noted():
                if message.trace:
                    self._bug(f"worker {member.number}: {message.text}", message.trace)
                else:
                    getattr(self._log, message.level)(message.text)

    def gone(self, member: Member, why: str) -> None:
        """A worker has ended."""
        self._knowledge.pop(member, None)
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

    def _tell(self, member: Member, number: int, put: Sequence[Slice], drop: Sequence[str] = ()) -> None:
        self._knowledge[member].slices.update(one.id for one in put)
        for message in m.changes(number, put, drop):
            member.send(message)

    def _introduce(self, member: Member, dpid: int) -> None:
        """Before it gets a switch it is told of the slices there that it does not know; nobody waits for that."""
        known = self._knowledge[member]
        if dpid not in known.dpids:
            known.dpids.add(dpid)
            names = dict.fromkeys(self._snapshot.names_on(dpid))
            missing = [self._snapshot.slices[name] for name in names if name not in known.slices]
            if missing:
                self._tell(member, 0, missing)

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
        self._introduce(member, switch.key[0])

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


def _dpids_of(one: Slice) -> frozenset[int] | None:
    """The switches a slice names; None: it is on every one."""
    if any(segment.attachments is None for segment in one.segments):
        return None
    return frozenset(place.dpid for segment in one.segments for place in segment.attachments or ())
