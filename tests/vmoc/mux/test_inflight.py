"""What is on its way to a switch, and what settles it (vetting A.6, A.9)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, with_limits
from vmoc.events import Kind
from vmoc.mux import inflight
from vmoc.mux.switch import Switch

BOTH = pytest.mark.parametrize("version", [V10, V13])


def inside(book: Playbook) -> Switch:
    (switch,) = book.mux._switches.values()
    return switch


@BOTH
def test_what_is_in_flight_is_settled_within_a_second(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in range(10):
        a.add(2, eth_dst=number)
        a.packet_out(E(100))
    assert len(inside(book).pending) == 20
    book.advance(1.1)
    assert len(inside(book).pending) == 0
    assert len(switch.log("barrier_request")) == 1


@BOTH
def test_much_in_flight_is_settled_at_once(version: int):
    book, switch = scene(version, with_limits(ALICE, max_flows=0), BOB)
    a = book.at("alice")
    for number in range(200):
        a.add(2, eth_dst=number)
    assert len(switch.log("barrier_request")) == 6
    assert len(inside(book).pending) < 64
    for _ in range(200):
        a.packet_out(E(100))
    assert len(inside(book).pending) < 64
    for number in range(100):
        a.add(None, command="delete", eth_dst=number)
    assert len(inside(book).pending) < 64


@BOTH
def test_a_controllers_barrier_settles_too(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    a.request("barrier_request")
    assert len(inside(book).pending) == 0
    book.advance(5)
    assert len(switch.log("barrier_request")) == 1


@BOTH
def test_a_barrier_settles_only_its_own_datapath(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    switch.hold("barrier_reply")
    a.add(2)
    b.add(2)
    b.request("barrier_request")
    switch.release()
    assert len(inside(book).pending) == 1
    switch.error(switch.log("flow_mod")[0], 3, 0)
    assert len(a.errors()) == 1


@BOTH
def test_nothing_in_flight_outlives_the_connection(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.answering = False
    a.add(2)
    a.request("barrier_request")
    a.stats("flow", of.flow_stats_body(version))
    switch.close()
    assert len(inside(book).pending) == 0
    book.advance(30)
    assert book.mux.next_deadline() is None


def lose_a_guard(switch: SwitchEnd) -> None:
    guard = next(e for e in switch.flows(100, guards=True) if e.priority == 65535)
    switch.does(lambda model: model.expire(guard))


@pytest.mark.interpreted
@BOTH
def test_a_switch_that_makes_us_write_and_confirms_nothing_is_given_up(version: int, monkeypatch: pytest.MonkeyPatch):
    """It says again and again that a guard is gone; each time we put it back, and remember that until a barrier."""
    monkeypatch.setattr(inflight, "MOST_OWN", 200)
    book, switch = scene(version)
    switch.model.mute = {"barrier_reply"}
    for _ in range(300):
        if switch.open:
            lose_a_guard(switch)
            book.advance(0)
    assert not switch.open and "unconfirmed" in book.told(Kind.SWITCH_DOWN)[0].message
    assert len(inside(book).pending) == 0
    switch.model.mute = set()
    again = book.switch(model=switch.model)
    assert again.open and len(book.controllers()) == 4


@pytest.mark.interpreted
@BOTH
def test_a_switch_that_confirms_what_we_write_is_not(version: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inflight, "MOST_OWN", 200)
    book, switch = scene(version)
    for _ in range(300):
        lose_a_guard(switch)
    refused = inside(book).datapaths[100].guard(4)
    for _ in range(300):
        inside(book).send_own(refused, book.now)
        book.carry()
        switch.error(switch.log("flow_mod")[-1], 3, 0)
    assert switch.open and inside(book)._own < 40
