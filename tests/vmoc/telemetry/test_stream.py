"""Events for readers on other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from vmoc.events import Event, Kind
from vmoc.telemetry import stream
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import (
    EventFilter,
    Gap,
    Group,
    Happened,
    Severity,
    StateEnd,
    StateItem,
    Stream,
    TokenError,
    TooManyReadersError,
)


class Quiet:
    def log(self, level: int, event: str, **context: Any) -> None: ...


def made(capacity: int = 20, boot: str = "boot") -> tuple[EventLog, Stream]:
    log = EventLog(Quiet(), capacity=capacity, wall=lambda: 1e9)
    return log, Stream(log, boot)


def record(log: EventLog, *names: str, kind: Kind = Kind.SLICE_ADDED) -> None:
    for name in names:
        log.record(Event(kind, slice=name))


def names(reader: stream.Subscription) -> list[object]:
    """Everything there is now: slices of events, other items as they are."""
    found: list[object] = []
    while (item := reader.next(0)) is not None:
        found.append(item.event.slice if isinstance(item, Happened) else item)
    return found


def test_every_kind_has_one_group() -> None:
    kinds = [kind for group in stream.GROUPS.values() for kind in group]
    assert len(kinds) == len(set(kinds))
    # A kind somebody adds without a group belongs to the server, or to an operation by its name.
    left = set(Kind) - set(kinds)
    assert all(kind.value.startswith(("operation", "sliver")) for kind in left), left


def test_from_now_on_and_from_a_token() -> None:
    log, events = made()
    record(log, "a", "b")
    reader = events.subscribe()
    assert reader.next(0) is None
    record(log, "c", "d")
    item = reader.next(0)
    assert isinstance(item, Happened)
    assert (item.event.slice, item.time, item.group, item.severity) == ("c", 1e9, Group.SLICE, Severity.INFO)
    assert names(events.subscribe(token=item.token)) == ["d"]
    assert names(events.subscribe(token="boot.0")) == ["a", "b", "c", "d"]


def test_a_token_of_an_earlier_boot_is_answered_with_a_gap() -> None:
    log, events = made()
    record(log, "a", "b")
    gap, *rest = names(events.subscribe(token="another.7"))
    assert gap == Gap("boot.0", "restart", None) and rest == ["a", "b"]


def test_a_token_that_fell_out_of_the_ring_is_answered_with_a_gap() -> None:
    log, events = made(20)
    record(log, *(str(number) for number in range(1, 51)))
    gap, *rest = names(events.subscribe(token="boot.5"))
    assert isinstance(gap, Gap) and gap.reason == "overrun"
    assert gap.lost is not None and [5 + gap.lost + 1] == [int(str(rest[0]))]
    assert rest[-1] == "50" and len(rest) == 50 - 5 - gap.lost


def test_the_earliest_token_is_that_of_the_oldest_event_kept() -> None:
    log, events = made(20)
    assert names(events.subscribe(token="earliest")) == []
    record(log, "a", "b")
    assert names(events.subscribe(token="earliest")) == ["a", "b"]
    record(log, *(str(number) for number in range(100)))
    assert names(events.subscribe(token="earliest")) == [str(number) for number in range(80, 100)]


def ready(reader: stream.Subscription, most: int = 100) -> tuple[list[object], bool]:
    items, more = reader.ready(most)
    return [item.event.slice if isinstance(item, Happened) else item for item in items], more


def test_what_is_ready_is_given_without_waiting_a_few_at_a_time() -> None:
    log, events = made()
    reader = events.subscribe(EventFilter(kinds=frozenset({Kind.SLICE_ADDED})))
    assert ready(reader) == ([], False)
    record(log, "a", "b", "c")
    record(log, "x", kind=Kind.SLICE_CHANGED)
    assert ready(reader, 2) == (["a", "b"], True)
    assert ready(reader, 2) == (["c"], False) and reader.token == "boot.4", "past what it did not want"
    gap, _ = events.subscribe(token="another.7").ready(1)
    assert gap == [Gap("boot.0", "restart", None)]


def test_a_reader_that_wants_little_is_not_kept_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOKS", 5)
    log, events = made()
    reader = events.subscribe(EventFilter(slices=frozenset({"last"})))
    record(log, *("x" for _ in range(12)), "last")
    assert [ready(reader) for _ in range(3)] == [([], True), ([], True), (["last"], False)]


def test_news_are_told_once_until_they_are_looked_at() -> None:
    log, events = made()
    told: list[None] = []
    reader = events.subscribe(on_news=lambda: told.append(None))
    record(log, "a", "b")
    assert len(told) == 1
    ready(reader)
    record(log, "c")
    assert len(told) == 2
    reader.close()
    assert len(told) == 3, "also of the end"
    record(log, "d")
    assert len(told) == 3


def test_the_prelude_comes_in_pieces_and_ends() -> None:
    _, events = made()
    items = [StateItem(number) for number in range(3)]
    reader = events.subscribe(prelude=iter([*items, StateEnd("boot.0")]))
    assert [reader.prelude(2), reader.prelude(2), reader.prelude(2)] == [items[:2], [items[2], StateEnd("boot.0")], []]


def test_a_slow_reader_misses_events_and_is_told_how_many() -> None:
    log, events = made(20)
    reader = events.subscribe()
    record(log, "first")
    assert names(reader) == ["first"]
    record(log, *(str(number) for number in range(2, 102)))
    gap, *rest = names(reader)
    assert isinstance(gap, Gap) and gap.lost == 100 - len(rest) and rest[-1] == "101"
    assert gap.token == f"boot.{1 + gap.lost}"


@pytest.mark.parametrize("token", ["x", "boot.", ".3", "boot.-1", "boot.9", "boot.1e3", "boot.٣", "boot." + "9" * 30])
def test_tokens_that_are_none(token: str) -> None:
    log, events = made()
    record(log, "a")
    with pytest.raises(TokenError):
        events.subscribe(token=token)


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        (EventFilter(), "slice-added refused switch-up switch-down"),
        (EventFilter(slices=frozenset({"alice"})), "slice-added"),
        (EventFilter(slices=frozenset({"alice"}), unowned=True), "slice-added switch-up switch-down"),
        (EventFilter(kinds=frozenset({Kind.REFUSED})), "refused"),
        (EventFilter(groups=frozenset({Group.SWITCH, Group.REFUSAL})), "refused switch-up switch-down"),
        (EventFilter(dpids=frozenset({1})), "refused switch-up"),
        (EventFilter(severity=Severity.WARNING), "switch-down"),
        (EventFilter(dpids=frozenset({1}), slices=frozenset({"bob"})), "refused"),
    ],
)
def test_filters(wanted: EventFilter, kinds: str) -> None:
    log, events = made()
    reader = events.subscribe(wanted)
    log.record(Event(Kind.SLICE_ADDED, slice="alice"))
    log.record(Event(Kind.REFUSED, slice="bob", dpid=1))
    log.record(Event(Kind.SWITCH_UP, dpid=1))
    log.record(Event(Kind.SWITCH_DOWN, dpid=2))
    found = []
    while (item := reader.next(0)) is not None:
        assert isinstance(item, Happened)
        found.append(item.event.kind.value)
    assert found == kinds.split()
    assert reader.token == "boot.4", "what was not wanted is dealt with too"


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


def test_a_reader_that_waits_is_woken() -> None:
    log, events = made()
    reader = events.subscribe()
    thread, found = in_thread(lambda: reader.next(30))
    record(log, "a")
    thread.join(30)
    (item,) = found
    assert isinstance(item, Happened) and item.event.slice == "a"


def test_closing_ends_a_wait_and_gives_the_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "READERS", 2)
    _, events = made()
    first, second = events.subscribe(), events.subscribe()
    with pytest.raises(TooManyReadersError):
        events.subscribe()
    thread, found = in_thread(lambda: first.next(30))
    first.close()
    thread.join(30)
    assert found == [None]
    third = events.subscribe()
    events.close()
    assert second.closed and third.closed and third.next(30) is None


def test_the_prelude_comes_first() -> None:
    log, events = made()
    reader = events.subscribe(prelude=iter([StateEnd("boot.0")]))
    record(log, "a")
    assert names(reader) == [StateEnd("boot.0"), "a"]


def test_readers_and_the_writer_at_once() -> None:
    log, events = made(64)
    readers = [events.subscribe() for _ in range(3)]

    def read(reader: stream.Subscription) -> int:
        seen = 0
        while True:
            item = reader.next(30)
            if isinstance(item, Gap):
                assert item.lost is not None and item.lost > 0
                seen += item.lost
            elif isinstance(item, Happened):
                seen += 1
                assert item.token == f"boot.{seen}", "in order, and every one, or said to be lost"
                if item.event.slice == "end":
                    return seen

    threads = [in_thread(lambda reader=reader: read(reader)) for reader in readers]  # type: ignore[misc]
    record(log, *("x" for _ in range(20_000)), "end")
    for thread, _ in threads:
        thread.join(30)
    assert [found for _, found in threads] == [[20_001]] * 3
