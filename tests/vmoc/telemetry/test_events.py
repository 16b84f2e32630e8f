"""The event record: numbers, ring, levels, throttling."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from vmoc.events import Event, Kind
from vmoc.telemetry import events
from vmoc.telemetry.events import BURST, RETRY_WINDOW, WINDOW, EventLog


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str, dict[str, Any]]] = []

    def log(self, level: int, event: str, **context: Any) -> None:
        self.lines.append((level, event, context))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _set_up(**options: Any) -> tuple[EventLog, Lines, Clock]:
    lines, clock = Lines(), Clock()
    return EventLog(lines, clock=clock, wall=lambda: 1e9, **options), lines, clock


def test_every_kind_has_words() -> None:
    assert set(events.TITLES) == set(Kind)


def test_an_event_becomes_a_line_with_its_context() -> None:
    log, lines, _ = _set_up()
    log.record(
        Event(
            Kind.CONTROLLER_LOST,
            slice="alice",
            vlan=101,
            dpid=1,
            controller="tcp:127.0.0.1:6640",
            message="connection reset by the peer",
            detail={"retry": 1.5, "event": "not to clash"},
        )
    )
    assert lines.lines == [
        (
            logging.WARNING,
            "controller is gone: connection reset by the peer",
            {
                "kind": "controller-lost",
                "slice": "alice",
                "dpid": "0x0000000000000001",
                "vlan": 101,
                "controller": "tcp:127.0.0.1:6640",
                "retry": 1.5,
                "event_": "not to clash",
            },
        )
    ]


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (Kind.CONFIG_REJECTED, logging.ERROR),
        (Kind.SWITCH_DOWN, logging.WARNING),
        (Kind.SWITCH_UP, logging.INFO),
        (Kind.REFUSED, logging.INFO),
        (Kind.SWITCH_CONNECTED, logging.DEBUG),
    ],
)
def test_levels_tell_who_has_to_act(kind: Kind, level: int) -> None:
    log, lines, _ = _set_up()
    log.record(Event(kind))
    assert [line[0] for line in lines.lines] == [level]


def test_the_ring_is_bounded_and_numbers_have_no_gaps() -> None:
    log, _, _ = _set_up(capacity=3)
    assert (log.first_sequence, log.last_sequence) == (1, 0)
    for dpid in range(5):
        log.record(Event(Kind.SWITCH_UP, dpid=dpid))
    assert [(one.sequence, one.event.dpid, one.time) for one in log.since(0)] == [(3, 2, 1e9), (4, 3, 1e9), (5, 4, 1e9)]
    assert [one.sequence for one in log.since(4)] == [5]
    assert (log.first_sequence, log.last_sequence) == (3, 5)
    assert log.counts[Kind.SWITCH_UP] == 5


def test_watchers_hear_everything_until_they_stop() -> None:
    log, _, _ = _set_up()
    heard: list[int] = []
    stop = log.watch(lambda recorded: heard.append(recorded.sequence))
    for _ in range(BURST + 3):
        log.record(Event(Kind.REFUSED, slice="alice", reason="foreign-vlan"))
    stop()
    log.record(Event(Kind.SWITCH_UP))
    assert heard == list(range(1, BURST + 4))


def test_refusals_are_shown_a_few_times_and_then_counted() -> None:
    log, lines, clock = _set_up()
    for _ in range(1000):
        log.record(Event(Kind.REFUSED, slice="alice", dpid=1, reason="foreign-vlan"))
    log.record(Event(Kind.REFUSED, slice="bob", dpid=1, reason="foreign-vlan"))
    log.record(Event(Kind.REFUSED, slice="alice", dpid=1, reason="buffer-id"))
    assert len(lines.lines) == BURST + 2
    log.tick()
    assert len(lines.lines) == BURST + 2
    clock.now += WINDOW
    log.tick()
    assert lines.lines[BURST + 2 :] == [
        (
            logging.INFO,
            f"a controller's message was refused: and {1000 - BURST} more like this",
            {"kind": "refused", "slice": "alice", "reason": "foreign-vlan"},
        )
    ]
    log.record(Event(Kind.REFUSED, slice="alice", dpid=1, reason="foreign-vlan"))
    assert len(lines.lines) == BURST + 4
    assert log.counts[Kind.REFUSED] == 1003


def test_a_window_that_is_over_ends_with_the_next_event_too() -> None:
    log, lines, clock = _set_up()
    for _ in range(BURST + 2):
        log.record(Event(Kind.MALFORMED, dpid=1))
    clock.now += WINDOW
    log.record(Event(Kind.MALFORMED, dpid=1))
    assert [line[1].endswith("and 2 more like this") for line in lines.lines] == [False] * BURST + [True, False]


def test_one_controller_away_from_many_switches_is_one_cause() -> None:
    log, lines, clock = _set_up()
    for dpid in range(500):
        log.record(Event(Kind.CONTROLLER_FAILED, slice="alice", dpid=dpid, controller="tcp:192.0.2.1:6640"))
    assert len(lines.lines) == BURST
    clock.now += WINDOW
    log.tick()
    assert len(lines.lines) == BURST
    clock.now += RETRY_WINDOW
    log.tick()
    assert lines.lines[-1][1].endswith(f"and {500 - BURST} more like this")


def test_many_slices_at_once_are_one_cause() -> None:
    log, lines, _ = _set_up()
    for number in range(100):
        log.record(Event(Kind.SLICE_ADDED, slice=f"s{number}"))
    log.flush()
    assert len(lines.lines) == BURST + 1
    log.flush()
    assert len(lines.lines) == BURST + 1


def test_switches_coming_and_going_are_always_shown() -> None:
    log, lines, _ = _set_up()
    for _ in range(50):
        log.record(Event(Kind.SWITCH_UP, dpid=1))
        log.record(Event(Kind.SWITCH_DOWN, dpid=1))
    assert len(lines.lines) == 100


def test_made_up_causes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CAUSES", 10)
    log, lines, _ = _set_up()
    for number in range(1000):
        log.record(Event(Kind.REFUSED, slice="alice", dpid=number, reason="x"))
    assert len(log._windows) <= 11
    assert len(lines.lines) <= 10 + BURST
