"""The parent's engine, with workers that do as the test says."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vmoc.net.stage import play, until
from vmoc.config import DefaultController, Settings
from vmoc.daemon.workers import crew as crew_module
from vmoc.daemon.workers import messages as m
from vmoc.daemon.workers.crew import Crew
from vmoc.events import Event, Kind
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished
from vmoc.net.southbound import Listener, Listening
from vmoc.openflow import header
from vmoc.registry import Registry
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag


class Member:
    """A worker: there or not, and all it was told."""

    def __init__(self, number: int, loop: Any, host: Any) -> None:
        self.number, self.host = number, host
        self.ready, self.restarts, self.unsent = False, 0, 0
        self.pid: int | None = None
        self.told: list[Any] = []
        self.descriptors: list[int] = []

    def start(self) -> None:
        self.pid = 1000 + self.number
        self.host.begun(self)

    def send(self, message: Any, descriptor: int | None = None) -> None:
        assert m.unpack(m.pack(message)) == message
        if self.pid is not None:
            self.told.append(message)
        if descriptor is not None:
            self.descriptors.append(descriptor)

    def is_ready(self) -> None:
        self.ready = True

    def stop(self) -> None: ...

    def kill(self) -> None:
        self.pid = None

    def hears(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]

    def dies(self, why: str = "it was killed by SIGKILL") -> None:
        self.pid, self.ready = None, False
        self.host.gone(self, why)
        self.told.clear()
        self.restarts += 1


class World:
    def __init__(self, *slices: Slice, workers: int = 2) -> None:
        class Quiet:
            def log(self, level: int, event: str, **context: Any) -> None: ...

        class Log:
            def __getattr__(_, level: str) -> Any:
                return lambda text, **fields: self.lines.append((level, text))

        self.registry = Registry()
        self.registry.adopt(self.registry.plan(slices, origin=Origin.FILE))
        self.lines: list[tuple[str, str]] = []
        self.bugs: list[str] = []
        self.events: list[Event] = []
        self.mirrored: list[Any] = []
        log = EventLog(Quiet())
        log.watch(lambda recorded: self.events.append(recorded.event))
        self.wanted = True
        self.loop = asyncio.get_running_loop()
        self.crew = Crew(
            workers,
            self.loop,
            replace(Settings(), state_path=":memory:", default_controller=DefaultController("none")),
            self.registry.snapshot,
            events=log,
            lag=LoopLag(),
            log=Log(),
            bug=lambda where, trace: self.bugs.append(where),
            mirror=self.mirrored.append,
            fill_in=lambda reading: None,
            wants_packet_ins=lambda: self.wanted,
        )
        self.members: list[Member] = self.crew.members  # type: ignore[assignment]
        self.crew.start(None, None)
        self.listener = Listener(self.crew.edge, Listening("127.0.0.1", 0))
        self.listener.bind()
        self.listener.start()
        self.writers: list[asyncio.StreamWriter] = []

    def ready(self, *numbers: int) -> None:
        for number in numbers:
            self.knows(number)
            self.crew.heard(self.members[number], m.Ready())  # type: ignore[arg-type]

    def knows(self, number: int, *keys: tuple[int, int]) -> None:
        self.crew.heard(self.members[number], m.Known(keys))  # type: ignore[arg-type]

    def change(self, put: list[Slice], drop: list[str]) -> list[bool]:
        plan = self.registry.plan_change(put, drop, origin=Origin.FILE)
        self.registry.adopt(plan)
        done: list[bool] = []
        self.crew.adopt(plan, lambda: done.append(True))
        return done

    def adopted(self, number: int, change: int) -> None:
        self.crew.heard(self.members[number], m.Adopted(change))  # type: ignore[arg-type]

    def happened(self, number: int, *facts: Any) -> None:
        self.crew.heard(self.members[number], m.Happened(facts))  # type: ignore[arg-type]

    async def switch(self, dpid: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        self.writers.append(writer)
        writer.write(of.hello(4))
        await reader.readexactly(24)
        body = dpid.to_bytes(8, "big") + bytes(16)
        writer.write(bytes((4, header.FEATURES_REPLY)) + b"\0\x20\0\0\0\1" + body)

    def served(self) -> dict[int, int]:
        return {one.switch.key[0]: member.number for member in self.members for one in member.hears(m.Handed)}

    def close(self) -> None:
        self.listener.close()
        self.crew.close()
        for writer in self.writers:
            writer.transport.abort()
        for member in self.members:
            for descriptor in member.descriptors:
                os.close(descriptor)
        assert not self.bugs


@pytest.fixture(autouse=True)
def members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "Member", Member)


def put(*changes: m.Changed) -> list[str]:
    return [one.id for change in changes for piece in change.put for one in m.unpack(piece)]


ALICE, BOB = Slice("alice", (Segment(1),)), Slice("bob", (Segment(2),))


def test_a_worker_is_told_everything_and_a_change_waits_for_all() -> None:
    async def scene() -> None:
        world = World(ALICE)
        for member in world.members:
            (charter,) = member.told
            world.knows(member.number)
            charter, slices = member.told
            assert (charter.number, charter.journal, charter.packet_ins) == (member.number, None, True)
            assert put(slices) == ["alice"] and not slices.more
        starting = world.loop.create_task(world.crew.started())
        world.ready(0)
        await asyncio.sleep(0)
        assert not starting.done()
        world.ready(1)
        await starting
        done = world.change([BOB], ["alice"])
        for member in world.members:
            change = member.hears(m.Changed)[-1]
            assert (put(change), change.drop) == (["bob"], ("alice",))
        world.adopted(0, change.number)
        assert not done
        world.adopted(1, change.number)
        assert done == [True]
        await asyncio.sleep(0)
        kinds = [(event.kind, event.slice) for event in world.events]
        assert kinds == [(Kind.SLICE_REMOVED, "alice"), (Kind.SLICE_ADDED, "bob")]
        world.close()

    play("asyncio", scene)


def on(name: str, vlan: int, *dpids: int) -> Slice:
    return Slice(name, (Segment(vlan, attachments=tuple(map(Attachment, dpids))),))


def test_a_worker_is_told_of_the_slices_of_its_switches() -> None:
    async def scene() -> None:
        world = World()
        one, two = world.members

        def told(member: Member) -> list[str]:
            found = [name for change in member.hears(m.Changed) for name in (*put(change), *change.drop)]
            member.told.clear()
            return found

        assert world.change([on("early", 1, 9), on("late", 20, 5, 11)], []) == [True], "nobody is there to be told"
        world.knows(0, (5, 0), (9, 0))
        world.knows(1, (9, 101))
        assert told(one) == ["early", "late"] and told(two) == ["early"], "what their journals are about"
        done = world.change([on("five", 2, 5), on("both", 3, 5, 6), on("six", 4, 6), Slice("all", (Segment(5),))], [])
        assert told(one) == ["five", "both", "all"] and told(two) == ["all"]
        world.adopted(0, 2)
        assert not done
        world.adopted(1, 2)
        assert done == [True]
        assert world.change([on("seven", 6, 7)], []) == [True], "nobody has that switch"
        world.change([on("five", 2, 7), on("early", 1, 9, 10), on("six", 8, 6)], [])
        assert told(one) == ["five", "early"] and told(two) == ["early"], "what one knows it knows as it is"
        world.change([], ["both", "six"])
        assert told(one) == ["both"] and told(two) == []
        world.close()

    play("asyncio", scene)


def test_a_switch_comes_after_its_slices() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0, 1)
        world.change([on("seven", 6, 7), on("off", 7, 7), on("eight", 6, 8)], [])
        world.change([replace(on("off", 7, 7), enabled=False), Slice("all", (Segment(5),))], [])
        await world.switch(7)
        await until(lambda: world.served() == {7: 0}, "the hand-over")
        told = world.members[0].told[-3:]
        assert [type(one) for one in told] == [m.Changed, m.Changed, m.Handed]
        assert put(told[0]) == ["all"] and put(told[1]) == ["seven", "off"] and told[1].number == 0
        assert put(*world.members[1].hears(m.Changed)[1:]) == ["all"]
        await world.switch(7)  # it comes again, and has been told of
        await until(lambda: len(world.members[0].hears(m.Handed)) == 2, "the second hand-over")
        assert len(world.members[0].hears(m.Changed)) == 3
        world.change([on("new", 9, 7)], [])
        assert put(world.members[0].hears(m.Changed)[-1]) == ["new"]
        # Once it is forgotten the next worker is told, and this one only of what it knows.
        world.crew.heard(world.members[0], m.Forgotten(((7, 0),), 2))  # type: ignore[arg-type]
        world.change([on("newer", 10, 7)], [])
        assert put(world.members[0].hears(m.Changed)[-1]) == ["new"]
        world.crew.heard(world.members[0], m.Load(0.9, 5))  # type: ignore[arg-type]
        await world.switch(7)
        await until(lambda: world.members[1].hears(m.Handed), "the other worker")
        assert put(world.members[1].told[-2]) == ["seven", "off", "new", "newer"]
        world.close()

    play("asyncio", scene)


def test_many_slices_go_in_parts_and_are_reported_in_parts() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0, 1)
        many = [Slice(f"s{number}", (Segment(number + 1),)) for number in range(1201)]
        world.change(many, [])
        parts = world.members[0].hears(m.Changed)[1:]
        assert [len(put(part)) for part in parts] == [500, 500, 201]
        assert [part.more for part in parts] == [True, True, False]
        assert put(*parts) == [one.id for one in many]
        assert len(world.events) < 1201, "packets of os-ken applications come in between"
        await until(lambda: len(world.events) == 1201, "all reports")
        assert [event.slice for event in world.events] == [one.id for one in many]
        world.close()

    play("asyncio", scene)


def test_a_worker_that_dies_is_not_waited_for_and_begins_with_what_is_now() -> None:
    async def scene() -> None:
        world = World(ALICE)
        world.ready(0, 1)
        done = world.change([BOB], [])
        world.adopted(1, world.members[1].hears(m.Changed)[-1].number)
        world.members[0].dies()
        assert done == [True]
        world.crew.set_default_controller(Endpoint.parse("tcp:127.0.0.1:1"))
        world.members[0].start()
        assert world.change([Slice("carol", (Segment(3),))], []) == [], "the other one is"
        world.knows(0)
        charter, slices = world.members[0].told
        assert charter.default_controller == Endpoint.parse("tcp:127.0.0.1:1")
        assert put(slices) == ["alice", "bob", "carol"]
        assert {event.kind for event in world.events} == {Kind.WORKER_LOST, Kind.SLICE_ADDED}
        # While nobody runs nobody needs waiting for.
        world.members[0].dies()
        world.members[1].dies()
        assert world.change([], ["bob"]) == [True]
        world.close()

    play("asyncio", scene)


def test_switches_are_spread_kept_and_reported_when_their_worker_dies() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0, 1)
        for dpid in (1, 2, 3, 4):
            await world.switch(dpid)
            await until(lambda dpid=dpid: dpid in world.served(), "the hand-over")  # type: ignore[misc]
        served = world.served()
        assert sorted(served.values()) == [0, 0, 1, 1]
        for dpid, number in served.items():
            world.happened(number, SwitchAppeared((dpid, 0), 4, b"", (), "peer"))
        world.crew.operator_send([((dpid, 0), bytes((dpid,))) for dpid in (1, 2, 3, 4, 9)])
        for member in world.members:
            (output,) = member.hears(m.OperatorOutput)
            assert {key[0] for key, _ in output.batch} == {dpid for dpid, at in served.items() if at == member.number}
        await world.switch(1)  # it comes again: also while others are less busy
        world.crew.heard(world.members[served[1]], m.Load(0.9, 2))  # type: ignore[arg-type]
        await until(lambda: len(world.members[served[1]].hears(m.Handed)) == 3, "the second hand-over")
        world.members[0].dies()
        lost = {dpid for dpid, number in served.items() if number == 0}
        assert {event.dpid for event in world.events if event.kind is Kind.SWITCH_DOWN} == lost
        assert {one.key[0] for one in world.mirrored if isinstance(one, SwitchVanished)} == lost
        world.close()

    play("asyncio", scene)


def test_a_switch_waits_for_its_worker_and_the_last_connection_counts() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0)
        await world.switch(7)
        await until(lambda: world.served() == {7: 0}, "the hand-over")
        world.ready(1)
        world.members[0].dies()
        await world.switch(7)
        await world.switch(7)
        await until(lambda: len(world.crew._held) == 1 and len(world.crew.edge.wires) == 0, "one to be held")
        assert not world.members[1].hears(m.Handed), "it is another's"
        world.members[0].start()
        world.knows(0, (7, 0))
        world.crew.heard(world.members[0], m.Ready())  # type: ignore[arg-type]
        await until(lambda: world.served() == {7: 0}, "the hand-over")
        connection = socket.socket(fileno=os.dup(world.members[0].descriptors[-1]))
        assert connection.getpeername() == world.writers[-1].get_extra_info("sockname")
        connection.close()
        world.close()

    play("asyncio", scene)


def test_facts_go_where_they_belong_in_order() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0, 1)
        facts = (
            SwitchAppeared((1, 0), 4, b"", (), "peer"),
            Event(Kind.SWITCH_UP, dpid=1),
            OperatorInput((1, 0), b"message"),
            SwitchVanished((1, 0)),
        )
        world.happened(1, *facts)
        assert world.events == [facts[1]] and world.mirrored == [facts[0], facts[2], facts[3]]
        world.crew.heard(world.members[1], m.Happened((), 5))  # type: ignore[arg-type]
        assert ("warning", "worker 1 could not tell 5 event(s): there were too many") in world.lines
        world.wanted = False
        world.crew.tick()
        world.crew.tick()
        assert [one.wanted for one in world.members[0].hears(m.PacketInsWanted)] == [False]
        world.close()

    play("asyncio", scene)


def test_draining_tells_all_and_takes_nobody_new() -> None:
    async def scene() -> None:
        world = World()
        world.ready(0, 1)
        world.crew.begin_drain()
        assert all(member.hears(m.Drain) for member in world.members) and not world.crew.flushed
        for member in world.members:
            member.dies("it ended with status 0")
        assert world.crew.flushed and not world.events
        world.close()

    play("asyncio", scene)
