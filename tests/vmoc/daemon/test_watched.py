"""What the metrics see of the core."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.vmoc.net.stage import ScriptedCore, play
from vmoc.daemon import watched
from vmoc.daemon.watched import Watched
from vmoc.events import Event, Kind
from vmoc.mux.core import Mux
from vmoc.mux.counters import Counters
from vmoc.net.edge import Edge
from vmoc.net.threads import in_thread
from vmoc.registry import Registry
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.metrics import Reading


def test_the_real_core_can_be_tallied() -> None:
    registry = Registry()
    assert Mux(registry.snapshot).tally() == ({}, {})


class TalliedCore(ScriptedCore):
    counters = Counters(packet_ins=3)

    def tally(self) -> tuple[dict[int, bool], dict[tuple[str, str], int]]:
        return {1: True}, {("alice", "active"): 2}


class World:
    def __init__(self) -> None:
        class Quiet:
            def log(self, level: int, event: str, **context: Any) -> None: ...

        self.core = TalliedCore()
        self.events = EventLog(Quiet())
        self.edge = Edge(
            self.core, asyncio.get_running_loop(), report=self.events.record, bug=lambda where, trace: None
        )

        def others(reading: Reading) -> None:
            reading.slices = 9

        self.watched = Watched(self.edge, self.core, self.events, LoopLag(), others=others)  # type: ignore[arg-type]


def test_a_reading_has_everything() -> None:
    async def scene() -> None:
        world = World()
        world.events.record(Event(Kind.SWITCH_UP))
        reading = world.watched.read()
        assert (reading.packet_ins, reading.slices, reading.switches) == (3, 9, {1: True})
        assert reading.links == {("alice", "active"): 2}
        assert reading.events == {"switch-up": 1}
        assert reading.connections == {"south": 0, "north": 0}

    play("asyncio", scene)


def test_health_and_readiness_are_asked_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "ANSWER", 0.05)

    async def scene() -> None:
        world = World()
        assert await in_thread(world.watched.why_unhealthy) is None
        assert await in_thread(world.watched.why_not_ready) == "starting or draining"
        world.watched.accepting = True
        assert await in_thread(world.watched.why_not_ready) is None
        # From the loop's own thread nobody can answer: as when the loop is stuck.
        assert world.watched.why_unhealthy() == "the event loop has not answered for 0.05 s"
        assert world.watched.why_not_ready() == "the event loop has not answered for 0.05 s"

    play("asyncio", scene)


def test_scraping_asks_the_loop_from_another_thread() -> None:
    async def scene() -> None:
        world = World()
        registry = world.watched.registry()
        assert await in_thread(registry.get_sample_value, "vmoc_packet_ins_total") == 3
        assert await in_thread(registry.get_sample_value, "vmoc_slices") == 9
        assert await in_thread(registry.get_sample_value, "process_open_fds")

    play("asyncio", scene)
