"""A worker without its process: what it is told it does, and what it is asked it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.daemon.workers import messages as m
from vmoc.daemon.workers import worker as worker_module
from vmoc.daemon.workers.worker import Worker
from vmoc.events import Event, Kind
from vmoc.model import Endpoint, Policy, Segment, Slice, Timers
from vmoc.mux.effects import HandOver, OperatorInput, SwitchAppeared
from vmoc.net.channel import Channel
from vmoc.openflow import header
from vmoc.status import SliceStatus

CHARTER = m.Charter(3, frozenset({1, 4}), Policy(), Timers(handshake=0.2), None, None, None, True)
FEATURES = bytes((4, header.FEATURES_REPLY)) + b"\0\x20\0\0\0\1" + (0xAA).to_bytes(8, "big") + bytes(16)
PACKET_IN = bytes((4, 10)) + b"\0\x0c\0\0\0\0" + b"\xff" * 4


@pytest.fixture(autouse=True)
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the tests'."""
    monkeypatch.setattr(worker_module, "tune_process", lambda: None)


class World:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self.heard: list[Any] = []
        self.channel = Channel(loop, ours, lambda payload, _: self.heard.append(m.unpack(payload)), self.heard.append)
        self.worker = Worker(loop, theirs)
        self.running = loop.create_task(self.worker.run())

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.channel.send(m.pack(message))

    async def hears(self, kind: type[Any], count: int = 1) -> Any:
        def found() -> Any:
            hits = [one for one in self.heard if isinstance(one, kind)]
            return hits[count - 1] if len(hits) >= count else None

        return await until(found, f"{kind.__name__} in {self.heard}")

    async def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        before = len([one for one in self.heard if isinstance(one, m.Answered)])
        self.tell(m.Asked(before + 1, method, arguments, options, 5.0))
        answer = await self.hears(m.Answered, before + 1)
        return m.unpack(answer.body)

    async def end(self) -> None:
        self.tell(m.Drain())
        await self.running
        self.worker._channel.close()
        self.channel.close()


def run(scene: Callable[[World], Any]) -> None:
    async def whole() -> None:
        world = World()
        world.tell(CHARTER, *m.changes(0, [Slice("alice", (Segment(1),))], ()))
        await world.hears(m.Ready)
        await world.hears(m.Adopted)
        await scene(world)
        await world.end()

    play("uvloop", whole)


def test_changes_are_adopted_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        many = [Slice(f"s{number}", (Segment(number + 2),)) for number in range(100)]
        monkeypatch.setattr(m, "PART", 60)
        world.tell(*m.changes(1, many, ("alice",)))
        world.tell(*m.changes(2, [Slice("alice", (Segment(7),))], ("s5",)))  # at once; but not before the other
        last = await world.hears(m.Adopted, 3)
        assert [one.number for one in world.heard if isinstance(one, m.Adopted)] == [0, 1, 2] and last.number == 2
        told = await world.ask("slice_statuses", ["alice", "s5", "s99"])
        assert {name: type(status) for name, status in told.items()} == {"alice": SliceStatus, "s99": SliceStatus}
        assert not [one for one in world.heard if isinstance(one, m.Happened)], "slices are the parent's to report"

    run(scene)


def test_it_answers_what_it_may_be_asked_and_nothing_else() -> None:
    async def scene(world: World) -> None:
        assert (await world.ask("connected_controllers")) == 0
        reading, counts, total, cpu, resident = await world.ask("reading")
        assert reading.connections == {"south": 0, "north": 0} and cpu > 0 and resident > 1 << 20
        assert len(counts) and total >= 0
        unknown = await world.ask("switch", 5)
        assert isinstance(unknown, m.Raised) and "there is no switch" in unknown.text
        for method in ("watch", "__init__", "_ask", "nothing"):
            refused = await world.ask(method)
            assert isinstance(refused, m.Raised) and f"cannot be asked for {method}" in refused.text

    run(scene)


def test_a_switch_is_served_refused_and_forgotten() -> None:
    async def scene(world: World) -> None:
        loop = asyncio.get_running_loop()
        switch, theirs = socket.socketpair()
        switch.setblocking(False)
        handed = m.Handed(4, "198.51.100.1:4", False, HandOver(0, (0xAA, 0), 4, FEATURES))
        world.channel.send(m.pack(handed), theirs.detach())
        data = await loop.sock_recv(switch, 65536)  # it is being looked through
        assert data[0] == 4 and data[1] != header.HELLO
        switch.close()
        forgotten = await world.hears(m.Forgotten)
        assert forgotten == m.Forgotten(((0xAA, 0),), 4)
        facts = [fact for one in world.heard if isinstance(one, m.Happened) for fact in one.facts]
        assert Kind.SWITCH_REFUSED in [fact.kind for fact in facts if isinstance(fact, Event)]

    run(scene)


def test_a_switch_is_served_when_the_slices_told_before_it_are_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        known: list[int] = []

        def serve(handed: m.Handed, connection: socket.socket) -> None:
            connection.close()
            known.append(len(world.worker._snapshot.slices))

        monkeypatch.setattr(world.worker, "_serve", serve)
        many = [Slice(f"s{number}", (Segment(number + 2),)) for number in range(200)]
        ours, theirs = socket.socketpair()
        world.tell(*m.changes(0, many, ()))
        world.channel.send(m.pack(m.Handed(1, "peer", False, HandOver(0, (1, 0), 4, FEATURES))), theirs.detach())
        await until(lambda: known, "the switch")
        assert known == [201]
        ours.close()

    run(scene)


def test_what_applications_do_not_want_is_not_sent(monkeypatch: Any) -> None:
    async def scene(world: World) -> None:
        appeared = SwitchAppeared((1, 0), 4, b"", (), "")
        world.tell(m.PacketInsWanted(False))
        await world.ask("connected_controllers")
        for effect in (OperatorInput((1, 0), PACKET_IN), OperatorInput((1, 0), b"\4\x0c\0\x08\0\0\0\0"), appeared):
            world.worker._mirrored(effect)
        happened = await world.hears(m.Happened)
        assert [type(fact) for fact in happened.facts] == [OperatorInput, SwitchAppeared]
        # And when the parent does not keep up, events are counted instead.
        monkeypatch.setattr(worker_module, "MOST_UNSENT", -1)
        for _ in range(3):
            world.worker._happened(Event(Kind.REFUSED))
        world.worker._mirrored(appeared)
        assert await world.hears(m.Happened, 2) == m.Happened((appeared,), 3)

    run(scene)


def test_the_default_controller_may_change_before_it_has_begun() -> None:
    async def scene() -> None:
        world = World()
        there = Endpoint.parse("tcp:127.0.0.1:1")
        world.tell(CHARTER, m.DefaultController(there), m.Changed(0, (), ()))
        await world.hears(m.Ready)
        assert world.worker._forwarder is not None
        assert world.worker._forwarder.core._hub.default_controller == there
        await world.end()

    play("uvloop", scene)


def test_a_worker_that_cannot_go_on_says_why_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(worker_module.os, "_exit", ends.append)
    monkeypatch.setattr(worker_module, "LAST_WORDS", 0.01)

    async def scene(world: World) -> None:
        world.tell(m.Changed(1, (), ("nobody",)))  # what the parent holds is not what this one holds
        await until(lambda: ends == [1], "the end")
        (noted,) = [one for one in world.heard if isinstance(one, m.Noted)]
        assert noted == m.Noted("error", "worker 3 ends: slice nobody is to be removed and is not there")

    run(scene)


def test_its_load_is_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices decide how much it looks, and are not to decide where switches go."""
    monkeypatch.setattr(worker_module, "LOAD", 0.05)

    async def scene(world: World) -> None:
        first = await world.hears(m.Load)
        world.worker._forwarder.edge.polling.spent += 3600.0  # type: ignore[union-attr]
        later = [await world.hears(m.Load, number) for number in (2, 3)]
        assert first.busy > 0.0 and 0.0 in [one.busy for one in later], "it cannot have worked less than not at all"

    run(scene)
