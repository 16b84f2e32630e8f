"""The order of operations, without threads or clocks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am_bridge.handlers.handler import FailureKind, Verb
from am_bridge.handlers.queue import Ask, BusyError, Done, Effect, FullError, Limits, Phase, Queue, Start, Ticket, Wait
from am_bridge.handlers.spec import SliverKey

LIMITS = Limits({"default": 10.0, "probe": 2.0, "reboot": 3.0}, {"delete": 3, "probe": 2})


def ticket(name: str, verb: Verb = Verb.CREATE, sliver: str = "", **more: object) -> Ticket:
    values = {"type": "VM", "limits": LIMITS, **more}
    return Ticket(name, SliverKey("alice", sliver or name), verb, **values)  # type: ignore[arg-type]


def queue(workers: int = 10, capacity: int = 100) -> Queue:
    return Queue(workers, capacity, jitter=lambda: 0.0)


def started(effects: list[Effect]) -> list[tuple[str, Phase, Verb]]:
    return [(one.ticket.id, one.phase, one.verb) for one in effects if isinstance(one, Start)]


def ended(effects: list[Effect]) -> list[tuple[str, bool, bool]]:
    return [(one.ticket.id, one.succeeded, one.cancelled) for one in effects if isinstance(one, Done)]


def test_an_operation_runs_and_ends() -> None:
    q = queue()
    _, effects = q.submit(ticket("a"), now=0.0)
    assert effects == [Start(ticket("a"), Phase.MAIN, Verb.CREATE, 1, 10.0)]
    assert q.running == ["a"]
    assert ended(q.finish("a", succeeded=True, now=1.0)) == [("a", True, False)]
    assert q.size == 0 and q.operation_of(SliverKey("alice", "a")) is None


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.MODIFY, Verb.PROBE, Verb.ACTION])
def test_a_sliver_has_one_operation(verb: Verb) -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    with pytest.raises(BusyError, match="operation a is in progress"):
        q.submit(ticket("b", verb, sliver="s"), 0.0)


def test_a_delete_stops_a_create_and_follows_without_an_undo() -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    name, effects = q.submit(ticket("b", Verb.DELETE, sliver="s"), 1.0)
    assert name == "b"
    assert effects == [Ask(ticket("a", sliver="s"), FailureKind.STOPPED)]
    effects = q.finish("a", succeeded=False, now=2.0)
    assert ended(effects) == [("a", False, True)]
    assert started(effects) == [("b", Phase.MAIN, Verb.DELETE)]


def test_a_delete_follows_a_create_that_won_the_race() -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    q.submit(ticket("b", Verb.DELETE, sliver="s"), 1.0)
    effects = q.finish("a", succeeded=True, now=2.0)
    assert ended(effects) == [("a", True, False)] and started(effects) == [("b", Phase.MAIN, Verb.DELETE)]


def test_a_second_delete_joins_the_first() -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    q.submit(ticket("b", Verb.DELETE, sliver="s"), 1.0)
    assert q.submit(ticket("c", Verb.DELETE, sliver="s"), 1.0) == ("b", [])
    q.finish("a", succeeded=False, now=2.0)
    assert q.submit(ticket("d", Verb.DELETE, sliver="s"), 3.0) == ("b", [])


def test_a_delete_drops_what_waits() -> None:
    q = queue(workers=1)
    q.submit(ticket("other"), 0.0)
    q.submit(ticket("a", sliver="s"), 0.0)
    _, effects = q.submit(ticket("b", Verb.DELETE, sliver="s"), 1.0)
    assert ended(effects) == [("a", False, True)]
    assert started(q.finish("other", succeeded=True, now=2.0)) == [("b", Phase.MAIN, Verb.DELETE)]


def test_a_cancelled_follower_leaves_the_create_to_be_undone() -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    q.submit(ticket("b", Verb.DELETE, sliver="s"), 1.0)
    assert ended(q.cancel("b", 1.5)) == [("b", False, True)]
    assert started(q.finish("a", succeeded=False, now=2.0)) == [("a", Phase.UNDO, Verb.DELETE)]


def test_a_failed_create_is_undone_with_attempts_of_its_own() -> None:
    q = queue()
    q.submit(ticket("a"), 0.0)
    assert started(q.finish("a", succeeded=False, now=1.0)) == [("a", Phase.UNDO, Verb.DELETE)]
    effects = q.finish("a", succeeded=False, now=2.0)
    assert effects == [Wait(ticket("a"), 1, 0.5)] and q.next_tick() == 2.5
    assert started(q.tick(2.4)) == []
    assert started(q.tick(2.5)) == [("a", Phase.UNDO, Verb.DELETE)]
    assert ended(q.finish("a", succeeded=True, now=3.0)) == [("a", False, False)]


def test_attempts_are_bounded_and_pauses_grow() -> None:
    q = queue()
    q.submit(ticket("a", Verb.DELETE), 0.0)
    pauses = []
    for attempt in (1, 2):
        (wait,) = q.finish("a", succeeded=False, now=attempt * 10.0)
        assert isinstance(wait, Wait)
        pauses.append(wait.seconds)
        assert started(q.tick(attempt * 10.0 + 5.0))
    assert pauses == [0.5, 1.0]
    assert ended(q.finish("a", succeeded=False, now=40.0)) == [("a", False, False)]


def test_what_cannot_be_helped_is_not_tried_again() -> None:
    q = queue()
    q.submit(ticket("a", Verb.DELETE), 0.0)
    assert ended(q.finish("a", succeeded=False, now=1.0, again=False)) == [("a", False, False)]


def test_a_time_limit_stops_a_run_which_is_then_undone() -> None:
    q = queue()
    q.submit(ticket("a"), 0.0)
    assert q.next_tick() == 10.0
    assert q.tick(9.9) == []
    assert q.tick(10.0) == [Ask(ticket("a"), FailureKind.TIMEOUT)]
    assert q.tick(11.0) == [] and q.next_tick() is None
    effects = q.finish("a", succeeded=False, now=12.0)
    assert started(effects) == [("a", Phase.UNDO, Verb.DELETE)]
    assert q.next_tick() == 22.0, "the undo has a limit of its own"


def test_an_action_has_its_own_limit_and_a_failed_one_is_checked() -> None:
    q = queue()
    q.submit(ticket("a", Verb.ACTION, word="reboot"), 0.0)
    assert q.next_tick() == 3.0
    effects = q.finish("a", succeeded=False, now=1.0)
    assert started(effects) == [("a", Phase.CHECK, Verb.PROBE)]
    assert q.next_tick() == 3.0, "1 s and a probe's two"
    assert ended(q.finish("a", succeeded=True, now=2.0)) == [("a", False, False)]


def test_a_cancelled_modify_is_checked_and_ends_as_cancelled() -> None:
    q = queue()
    q.submit(ticket("a", Verb.MODIFY), 0.0)
    assert q.cancel("a", 1.0) == [Ask(ticket("a", Verb.MODIFY), FailureKind.STOPPED)]
    assert q.cancel("a", 1.0) == []
    assert started(q.finish("a", succeeded=False, now=2.0)) == [("a", Phase.CHECK, Verb.PROBE)]
    assert q.cancel("a", 2.5) == [], "what clears up is not cancelled"
    assert ended(q.finish("a", succeeded=True, now=3.0)) == [("a", False, True)]


def test_a_delete_need_not_wait_for_the_pause_of_an_undo() -> None:
    q = queue()
    q.submit(ticket("a", sliver="s"), 0.0)
    q.finish("a", succeeded=False, now=1.0)
    q.finish("a", succeeded=False, now=2.0)
    _, effects = q.submit(ticket("b", Verb.DELETE, sliver="s"), 2.1)
    assert ended(effects) == [("a", False, False)]
    assert started(effects) == [("b", Phase.MAIN, Verb.DELETE)]


def test_workers_types_and_locks_bound_what_runs() -> None:
    q = queue(workers=3)
    one = Limits({"default": 10.0}, {}, concurrency=1)
    gpu = {"type": "GPU", "limits": one}
    assert started(q.submit(ticket("a", locks=frozenset({"h1"})), 0.0)[1])
    assert not started(q.submit(ticket("b", locks=frozenset({"h1", "h2"})), 0.0)[1])
    assert not started(q.submit(ticket("c", locks=frozenset({"h2"})), 0.0)[1]), "b came first for h2"
    assert started(q.submit(ticket("d", **gpu), 0.0)[1])
    assert not started(q.submit(ticket("e", **gpu), 0.0)[1])
    assert started(q.submit(ticket("f"), 0.0)[1])
    assert not started(q.submit(ticket("g"), 0.0)[1]), "three workers"
    assert [name for name, *_ in started(q.finish("d", succeeded=True, now=1.0))] == ["e"]
    assert [name for name, *_ in started(q.finish("a", succeeded=True, now=2.0))] == ["b"]
    assert [name for name, *_ in started(q.finish("b", succeeded=True, now=3.0))] == ["c"]


def test_the_queue_is_bounded_but_not_for_deletes() -> None:
    q = queue(capacity=2)
    q.submit(ticket("a"), 0.0)
    q.submit(ticket("b"), 0.0)
    with pytest.raises(FullError):
        q.submit(ticket("c"), 0.0)
    assert started(q.submit(ticket("d", Verb.DELETE), 0.0)[1])


def test_a_closed_queue_starts_nothing() -> None:
    q = queue()
    q.close()
    assert q.submit(ticket("a"), 0.0) == ("a", [])
    assert q.tick(100.0) == []


def test_an_operation_of_an_earlier_life_is_undone_as_cancelled() -> None:
    q = queue()
    assert started(q.resume(ticket("a"), Phase.UNDO, 0.0)) == [("a", Phase.UNDO, Verb.DELETE)]
    assert ended(q.finish("a", succeeded=True, now=1.0)) == [("a", False, True)]


@given(st.integers(0, 1 << 32))
def test_everything_ends_and_no_bound_is_ever_broken(seed: int) -> None:
    rng = random.Random(seed)
    q = Queue(3, 1000, rng.random)
    limits = Limits({"default": 5.0}, {"delete": 2}, concurrency=2)
    live: set[str] = set()
    running: dict[str, Ticket] = {}
    now, count = 0.0, 0

    def take(effects: list[Effect]) -> None:
        for one in effects:
            if isinstance(one, Start):
                assert one.ticket.id not in running
                assert one.ticket.sliver not in {t.sliver for t in running.values()}, "one run per sliver"
                assert not one.ticket.locks & {lock for t in running.values() for lock in t.locks}
                running[one.ticket.id] = one.ticket
                assert len(running) <= 3
                assert sum(t.type == one.ticket.type for t in running.values()) <= 2
            elif isinstance(one, Done):
                assert one.ticket.id not in running
                live.remove(one.ticket.id)

    for _ in range(rng.randrange(60)):
        now += rng.random() * 3
        choice = rng.random()
        if choice < 0.5:
            count += 1
            locks = frozenset(rng.sample(["x", "y", "z"], rng.randrange(3)))
            new = ticket(
                f"o{count}",
                rng.choice(list(Verb)),
                f"s{rng.randrange(4)}",
                type=rng.choice("AB"),
                limits=limits,
                locks=locks,
            )
            try:
                name, effects = q.submit(new, now)
            except BusyError:
                continue
            if name == new.id:
                live.add(name)
            take(effects)
        elif choice < 0.6 and live:
            take(q.cancel(rng.choice(sorted(live)), now))
        elif choice < 0.9 and running:
            name = rng.choice(sorted(running))
            del running[name]
            take(q.finish(name, succeeded=rng.random() < 0.5, now=now))
        else:
            take(q.tick(now))
    for _ in range(500):
        now += 40.0
        take(q.tick(now))
        for name in sorted(running):
            del running[name]
            take(q.finish(name, succeeded=False, now=now))
    assert not live and q.size == 0
