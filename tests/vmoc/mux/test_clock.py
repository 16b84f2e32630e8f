from __future__ import annotations

from vmoc.mux.clock import Clock


def test_rings_what_is_due_in_order_and_nothing_else():
    clock, rung = Clock(), []
    for when in (3.0, 1.0, 2.0):
        clock.at(when, lambda now, when=when: rung.append((when, now)))
    assert clock.next_deadline() == 1.0
    clock.run(2.5)
    assert rung == [(1.0, 2.5), (2.0, 2.5)]
    assert clock.next_deadline() == 3.0


def test_alarms_of_one_moment_ring_in_the_order_they_were_set():
    clock, rung = Clock(), []
    for name in "abc":
        clock.at(1.0, lambda now, name=name: rung.append(name))
    clock.run(1.0)
    assert rung == ["a", "b", "c"]


def test_a_cancelled_alarm_does_not_ring_and_is_no_deadline():
    clock, rung = Clock(), []
    alarm = clock.at(1.0, rung.append)
    assert not alarm.cancelled
    alarm.cancel()
    assert alarm.cancelled
    assert clock.next_deadline() is None
    clock.run(2.0)
    assert rung == []


def test_an_alarm_rings_once():
    clock, rung = Clock(), []
    alarm = clock.at(1.0, rung.append)
    clock.run(1.0)
    alarm.ring(2.0)
    assert rung == [1.0]
    assert alarm.cancelled


def test_one_alarm_may_cancel_another_that_is_due():
    clock, rung = Clock(), []
    clock.at(1.0, lambda now: second.cancel())
    second = clock.at(1.0, rung.append)
    clock.run(1.0)
    assert rung == []


def test_what_is_set_meanwhile_waits_for_the_next_call():
    clock, rung = Clock(), []
    clock.at(1.0, lambda now: clock.at(now, rung.append))
    clock.run(1.0)
    assert rung == []
    assert clock.next_deadline() == 1.0
    clock.run(1.0)
    assert rung == [1.0]
