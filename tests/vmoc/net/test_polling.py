"""When the loop looks again instead of sleeping, how long, and when not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.net.polling import (
    AGAIN,
    LATEST,
    LONGEST_REST,
    LOOK,
    MEMORY,
    SHORTEST_REST,
    SINGLE,
    SOONEST,
    TAKEN,
    BusyPoll,
)

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

    def learn(self) -> None:
        """Enough has come to look for more."""
        for _ in range(2 * MEMORY):
            self.wait(WAIT)
        assert self.ready

    def taken(self) -> float:
        """While it looks somebody else has the processor; how long it then does not look, though much comes."""
        self.turn()
        self.turn(2 * TAKEN)
        begun = self.now
        while not self.ready:
            self.wait(WAIT)
        return self.now - begun


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


def test_it_leaves_the_processor_to_whoever_takes_it_meanwhile(loop: Loop) -> None:
    loop.learn()
    assert loop.taken() == pytest.approx(SHORTEST_REST, abs=2 * WAIT)


def test_the_longer_the_more_often_that_happens(loop: Loop) -> None:
    loop.learn()
    rests = [loop.taken() for _ in range(8)]
    meant = [min(SHORTEST_REST * 2**number, LONGEST_REST) for number in range(8)]
    assert meant[-1] == meant[-2] == LONGEST_REST
    assert rests == pytest.approx(meant, abs=2 * WAIT)
    until = loop.now + 2 * AGAIN
    while loop.now < until:
        loop.wait(WAIT)
    assert loop.taken() == pytest.approx(SHORTEST_REST, abs=2 * WAIT), "that is forgotten"


def test_a_long_turn_that_brings_something_takes_nothing_away(loop: Loop) -> None:
    loop.learn()
    for _ in range(10):
        loop.turn()
        loop.now += 2 * TAKEN
        loop.poll.came(PACKET_IN, loop.now)
        assert loop.ready


def test_what_looking_takes_is_known(loop: Loop) -> None:
    loop.learn()
    before, begun = loop.poll.spent, loop.now
    for _ in range(100):
        loop.wait(WAIT)
    assert 0.7 * (loop.now - begun) < loop.poll.spent - before < loop.now - begun


def test_what_others_take_is_not_counted(loop: Loop) -> None:
    loop.learn()
    loop.turn()
    before = loop.poll.spent
    loop.turn(0.1)
    assert loop.poll.spent == before


def test_a_loop_that_looked_sleeps_in_the_end(loop_kind: str) -> None:
    async def scene() -> None:
        poll = BusyPoll(asyncio.get_running_loop())

        def has_looked() -> float:
            now = monotonic()
            for number in range(2 * MEMORY):
                poll.came(PACKET_IN, now + (number - 2 * MEMORY) * WAIT)
            return poll.spent

        await until(has_looked, "it to look")
        await asyncio.sleep(0.05)
        spent = poll.spent
        await asyncio.sleep(0.05)
        assert poll.spent == spent

    play(loop_kind, scene)
