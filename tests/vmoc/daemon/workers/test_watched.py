"""The numbers of all workers: added up, and never less because one has ended."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from tests.vmoc.net.stage import play
from vmoc.daemon.workers import watched as watched_module
from vmoc.daemon.workers.messages import pack
from vmoc.daemon.workers.watched import CrewWatched
from vmoc.events import Event, Kind
from vmoc.mux.reception import Reception
from vmoc.net.edge import Edge
from vmoc.net.threads import in_thread
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import BUCKETS
from vmoc.telemetry.reading import Reading


class Member:
    def __init__(self, number: int) -> None:
        self.number, self.ready, self.restarts = number, True, 0
        self.packet_ins, self.connected = 0, True
        self.silent = False

    def ask(self, method: str, *arguments: Any, timeout: float) -> Future[bytes]:
        assert method == "reading"
        future: Future[bytes] = Future()
        if not self.silent:
            reading = Reading(
                packet_ins=self.packet_ins,
                switches={self.number: self.connected},
                connections={"south": 1, "north": 2},
                refused={("alice", "x"): self.packet_ins},
            )
            future.set_result(pack((reading, [1] * (len(BUCKETS) + 1), 0.5, 2.0, 1000)))
        return future


class World:
    def __init__(self) -> None:
        class Quiet:
            def log(self, level: int, event: str, **context: Any) -> None: ...

        events = EventLog(Quiet())
        events.record(Event(Kind.SWITCH_UP))
        reception = Reception(versions=frozenset({4}))
        edge = Edge(reception, asyncio.get_running_loop(), report=events.record, bug=lambda where, trace: None)
        self.members = [Member(0), Member(1)]

        def others(reading: Reading) -> None:
            reading.slices = 9

        self.watched = CrewWatched(edge, reception, self.members, events, others=others)  # type: ignore[arg-type]
        self.watched.accepting = True

    async def sample(self, name: str, **labels: str) -> float | None:
        registry = self.watched.registry()
        text = {}

        def scrape() -> None:
            for family in registry.collect():
                for one in family.samples:
                    text[one.name, tuple(sorted(one.labels.items()))] = one.value

        await in_thread(scrape)
        return text.get((name, tuple(sorted(labels.items()))))


def test_all_are_added_up() -> None:
    async def scene() -> None:
        world = World()
        world.members[0].packet_ins, world.members[1].packet_ins = 3, 4
        assert await world.sample("vmoc_packet_ins_total") == 7
        assert await world.sample("vmoc_refused_total", slice="alice", reason="x") == 7
        assert await world.sample("vmoc_slices") == 9
        assert await world.sample("vmoc_events_total", kind="switch-up") == 1
        assert await world.sample("vmoc_connections", side="south") == 2
        assert await world.sample("vmoc_switch_connected", dpid="0x0000000000000001") == 1
        assert await world.sample("vmoc_loop_lag_seconds_count") == 2 * (len(BUCKETS) + 1)
        assert await world.sample("vmoc_worker_cpu_seconds_total", worker="1") == 2.0
        assert await world.sample("vmoc_worker_resident_memory_bytes", worker="1") == 1000

    play("asyncio", scene)


def test_counts_do_not_fall_when_one_ends_and_what_was_there_is_gone() -> None:
    async def scene() -> None:
        world = World()
        one = world.members[1]
        for turn in range(3):
            one.packet_ins = 10
            assert await world.sample("vmoc_packet_ins_total") == 10 * (turn + 1)
            one.ready, one.restarts = False, turn + 1
            world.watched.gone(one)  # type: ignore[arg-type]
            assert await world.sample("vmoc_packet_ins_total") == 10 * (turn + 1)
            assert await world.sample("vmoc_switch_connected", dpid="0x0000000000000001") is None
            assert await world.sample("vmoc_connections", side="south") == 1
            assert await world.sample("vmoc_worker_up", worker="1") == 0
            assert await world.sample("vmoc_worker_cpu_seconds_total", worker="1") == 2.0 * (turn + 1)
            one.ready = True
        assert await world.sample("vmoc_worker_restarts_total", worker="1") == 3

    play("asyncio", scene)


def test_what_nobody_scraped_is_not_lost_either() -> None:
    async def scene() -> None:
        world = World()
        one = world.members[0]
        one.packet_ins = 5
        for _ in range(watched_module.KEPT):
            world.watched.tick()
        one.ready = False
        world.watched.gone(one)  # type: ignore[arg-type]
        assert await world.sample("vmoc_packet_ins_total") == 5

    play("asyncio", scene)


def test_health_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_module, "ANSWER", 0.05)

    async def scene() -> None:
        world = World()
        assert await in_thread(world.watched.why_unhealthy) is None
        assert await in_thread(world.watched.why_not_ready) is None
        world.members[1].silent = True
        assert await in_thread(world.watched.why_unhealthy) == "worker 1 has not answered for 0.05 s"
        assert await world.sample("vmoc_up") == 0
        world.members[1].ready = False  # it is being started again
        assert await in_thread(world.watched.why_unhealthy) is None
        assert await in_thread(world.watched.why_not_ready) == "worker 1 is being started"
        assert await world.sample("vmoc_up") == 1

    play("asyncio", scene)
