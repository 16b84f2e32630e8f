"""When the loop looks again instead of sleeping, how long, and when not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from vmoc.net.polling import LATEST, LOOK, MEMORY, SINGLE, SOONEST, BusyPoll

PACKET_IN = 86
WAIT = 40e-6


class Loop:
    """One that turns when it is told to, and time that passes only by ``turn`` and ``sleep``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ready: list[Callable[[], None]] = []
        self.yields = 0
        self.poll = BusyPoll(cast(Any, self), lambda: self.now, self.let_others)

    def call_soon(self, what: Callable[[], None]) -> None:
        self.ready.append(what)

    def let_others(self) -> None:
        self.yields += 1

    def turn(self, seconds: float = 3e-6) -> None:
        """What is ready runs, once."""
        self.now += seconds
        ready, self.ready = self.ready, []
        for each in ready:
            each()

    def wait(self, seconds: float, size: int = PACKET_IN) -> int:
        """Something comes after so long; how often the loop has turned meanwhile instead of sleeping."""
        until, turns = self.now + seconds, 0
        while self.ready and self.now < until:
            self.turn()
            turns += 1
        self.now = max(self.now, until)
        self.poll.came(size, self.now)
        return turns


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_it_looks_where_what_comes_next_comes_soon_and_yields_each_time(loop: Loop) -> None:
    turns = [loop.wait(WAIT) for _ in range(2 * MEMORY)]
    assert turns[0] == 0 and min(turns[MEMORY:]) > 10
    assert loop.yields >= sum(turns) - len(turns)


def test_it_learns_so_although_being_woken_takes_its_time(loop: Loop) -> None:
    woken = LATEST - 10e-6
    assert woken > LOOK
    turns = [loop.wait(woken) for _ in range(2 * MEMORY)]
    assert turns[-1] > 0


def test_it_sleeps_when_nothing_has_come_for_a_moment(loop: Loop) -> None:
    for _ in range(2 * MEMORY):
        loop.wait(WAIT)
    begun = loop.now
    while loop.ready:
        loop.turn()
    assert LOOK < loop.now - begun < LOOK + 10e-6


@pytest.mark.parametrize(
    ("seconds", "size"),
    [(500e-6, PACKET_IN), (0.01, PACKET_IN), (SOONEST / 2, PACKET_IN), (WAIT, SINGLE + 1), (WAIT, 65536)],
    ids=["rarely", "hardly ever", "where nobody is woken", "several at once", "many at once"],
)
def test_it_does_not_where_that_gains_nothing(loop: Loop, seconds: float, size: int) -> None:
    assert sum(loop.wait(seconds, size) for _ in range(100)) == 0


def test_it_stops_when_times_change(loop: Loop) -> None:
    for _ in range(100):
        loop.wait(WAIT)
    turns = [loop.wait(0.001) for _ in range(2 * MEMORY)]
    assert turns[-1] == 0 and sum(turns) < 10 * LOOK / 3e-6


def test_a_burst_in_one_turn_says_nothing(loop: Loop) -> None:
    for _ in range(50):
        loop.wait(0.002)
        for _ in range(20):
            loop.now += 1e-6
            loop.poll.came(PACKET_IN, loop.now)
    assert not loop.ready and loop.yields == 0


def test_it_looks_once_at_a_time(loop: Loop) -> None:
    for _ in range(100):
        loop.wait(WAIT)
        assert len(loop.ready) <= 1
