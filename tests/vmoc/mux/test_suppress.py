"""Packet-ins nobody can use are stopped at the switch (vetting A.10, and the end of B.1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, TINA, UMA, piece, with_limits
from vmoc.events import Kind
from vmoc.mux.suppress import (
    GAP,
    NOBODY_RATE,
    NOBODY_SECONDS,
    SLICE_SECONDS,
    SUSTAINED,
    TRACKED,
    Excess,
    Nobody,
    is_drop,
)
from vmoc.openflow.v10.flow import Entry

BOTH = pytest.mark.parametrize("version", [V10, V13])
RATE = 10


def drops(switch: SwitchEnd) -> list[tuple[Any, ...]]:
    """(VLAN, in_port, hard timeout) of the drop entries written since the last look."""
    found = []
    for mod in switch.flow_mods():
        if mod.cookie == 0xFFFE << 48 | 3:
            assert (mod.command, mod.priority, mod.actions, mod.flags, mod.idle) == ("add", 0, b"", 0, 0)
            assert set(mod.match) <= {"in_port", "vlan_vid"}
            found.append((mod.vlan, mod.match["in_port"][0], mod.hard))
    return found


# -- a slice above its rate ------------------------------------------------------------------------------


def noisy(version: int, *others: Any, **more: Any) -> tuple[Playbook, SwitchEnd]:
    return scene(version, with_limits(ALICE, packet_in_rate=RATE), *(others or (BOB, TINA, UMA)), **more)


def flood(book: Playbook, switch: SwitchEnd, seconds: float, *ports: int, vlan: int | None = 100, step: float = 0.02):
    """Packet-ins of a VLAN on some ports, every ``step`` seconds; five times the rate if not told otherwise."""
    until = book.now + seconds
    while book.now < until:
        for port in ports or (1,):
            switch.packet_in(port, E(vlan))
        book.advance(step)


@BOTH
def test_a_burst_is_dropped_here(version: int):
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED)
    assert book.mux.counters.dropped_packet_ins["rate"] > 100
    assert not drops(switch)


@BOTH
def test_sustained_excess_is_stopped_at_the_switch_for_a_second(version: int):
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED + 0.9)
    assert drops(switch) == [(100, 1, SLICE_SECONDS)]
    # The switch is quiet for a second, and the hosts are not: it is put back at once.
    book.advance(SLICE_SECONDS)
    flood(book, switch, 1.0)
    assert drops(switch) == [(100, 1, SLICE_SECONDS)]
    assert len(book.told(Kind.DROPPED)) == 1


@BOTH
def test_when_it_has_been_calm_it_counts_anew(version: int):
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED + 1.0)
    assert drops(switch)
    book.advance(SLICE_SECONDS + GAP + 0.5)
    flood(book, switch, SUSTAINED)
    assert not drops(switch)
    flood(book, switch, 1.0)
    assert drops(switch) == [(100, 1, SLICE_SECONDS)]


@BOTH
def test_each_port_on_its_own(version: int):
    """The port of one host that speaks once is not quietened for what others do."""
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED, 1, 2)
    switch.packet_in(3, E(100))
    flood(book, switch, 0.5, 1, 2)
    assert sorted(drops(switch)) == [(100, 1, SLICE_SECONDS), (100, 2, SLICE_SECONDS)]


@BOTH
def test_others_are_not_touched(version: int):
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED + 0.5, 2)
    switch.take("flow_mod")
    b = book.at("bob")
    before = len(b.log("packet_in"))
    flood(book, switch, SUSTAINED + 2, 2, vlan=200)
    assert len(b.log("packet_in")) > before
    assert not drops(switch)


@BOTH
def test_never_in_the_place_of_a_flow_of_the_slice(version: int):
    book, switch = noisy(version)
    a = book.at("alice")
    a.add(2, priority=0, in_port=1)
    a.add(2, priority=0, in_port=2, eth_dst=5)
    flood(book, switch, SUSTAINED + 1, 1, 2)
    assert drops(switch) == [(100, 2, SLICE_SECONDS)]
    assert len(a.flow_stats()) == 2


@BOTH
def test_a_flow_of_the_slice_takes_its_place(version: int):
    book, switch = noisy(version)
    flood(book, switch, SUSTAINED + 0.5)
    a = book.at("alice")
    a.add(2, priority=0, in_port=1)
    (mine,) = switch.flows()
    assert mine.outputs(version) == [2]
    assert mine.hard == 0
    assert [e for e in switch.flows(100, guards=True) if e.priority == 0] == [mine]


@BOTH
def test_it_is_no_flow_of_the_slice(version: int):
    book, switch = noisy(version, with_limits(BOB, max_flows=1))
    flood(book, switch, SUSTAINED + 0.5)
    a = book.at("alice")
    assert a.flow_stats() == []
    assert a.aggregate() == (0, 0, 0)
    (entry,) = [e for e in switch.flows(100, guards=True) if e.priority == 0]
    switch.does(lambda model: model.expire(entry, reason=1))
    assert not a.log("flow_removed")


@BOTH
def test_what_a_controller_sends_itself_has_no_port(version: int):
    """Its packet-outs to itself count against the rate, and there is nothing to stop at the switch."""
    book, switch = noisy(version)
    port = "none" if version == V10 else "controller"
    until = book.now + SUSTAINED + 2
    while book.now < until:
        switch.packet_in(port, E(100), reason=1)
        book.advance(0.02)
    assert book.mux.counters.dropped_packet_ins["rate"] > 100
    assert not drops(switch)


@BOTH
def test_on_a_native_switch_by_port_alone(version: int):
    book, switch = noisy(version, native=100)
    flood(book, switch, SUSTAINED + 0.5, vlan=None)
    assert drops(switch) == [(None, 1, SLICE_SECONDS)]


@BOTH
def test_not_while_the_slice_is_down(version: int):
    book, switch = noisy(version)
    slices = (*FOUR, with_limits(piece("erin", 600, (1,)), packet_in_rate=RATE))
    switch.hold("stats_reply")
    book.adopt(*slices)
    switch.take("flow_mod")
    flood(book, switch, SUSTAINED + 1, vlan=600)
    assert not drops(switch)


def test_excess_knows_when_it_began():
    excess = Excess()
    now = 100.0
    assert not excess.seen(1, now)
    while now < 100 + SUSTAINED:
        now += GAP
        assert not excess.seen(1, now) or now > 100 + SUSTAINED
    assert excess.seen(1, now + 0.5)
    assert not excess.seen(1, now + 0.6)
    assert not excess.seen(2, now + 0.6)
    assert excess.seen(1, now + 0.5 + SLICE_SECONDS)
    assert not excess.seen(1, now + 100)


# -- a VLAN without an owner -----------------------------------------------------------------------------


@BOTH
def test_a_vlan_of_nobodys_is_stopped_above_ten_a_second(version: int):
    book, switch = scene(version)
    for _ in range(NOBODY_RATE):
        switch.packet_in(1, E(999))
    assert not drops(switch)
    for _ in range(5):
        switch.packet_in(1, E(999))
    assert drops(switch) == [(999, 1, NOBODY_SECONDS)]
    assert book.mux.counters.dropped_packet_ins["no-slice"] == NOBODY_RATE + 5


@BOTH
def test_ten_a_second_go_on(version: int):
    book, switch = scene(version)
    flood(book, switch, 5.0, vlan=999, step=0.1)
    assert not drops(switch)


@BOTH
def test_it_is_put_back_while_the_cause_lasts(version: int):
    book, switch = scene(version)
    flood(book, switch, 3 * NOBODY_SECONDS, vlan=999)
    assert drops(switch) == [(999, 1, NOBODY_SECONDS)] * 3


@BOTH
def test_each_port_and_each_vlan(version: int):
    book, switch = scene(version)
    flood(book, switch, 0.5, 1, 2, vlan=998)
    flood(book, switch, 0.5, 2, vlan=999)
    flood(book, switch, 0.5, 2, vlan=4095)
    seconds = NOBODY_SECONDS
    assert drops(switch) == [(998, 1, seconds), (998, 2, seconds), (999, 2, seconds), (4095, 2, seconds)]


@BOTH
@pytest.mark.parametrize("vlan", [None, 0])
def test_untagged_frames_are_the_operators(version: int, vlan: int | None):
    book, switch = scene(version, tap=True)
    for _ in range(5 * NOBODY_RATE):
        switch.packet_in(1, E(vlan))
    assert not drops(switch)
    assert len(book.operator) == 5 * NOBODY_RATE


@BOTH
def test_not_on_a_port_that_is_none(version: int):
    book, switch = scene(version)
    flood(book, switch, 1.0, 77, vlan=999)
    assert not drops(switch)


@BOTH
def test_not_on_a_native_switch(version: int):
    """It has one owner or none."""
    book, switch = scene(version, BOB, native=100)
    flood(book, switch, 1.0, vlan=None)
    flood(book, switch, 1.0, vlan=999)
    assert not drops(switch)


@BOTH
def test_not_before_the_switch_is_up(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    switch.hold("stats_reply")
    switch.send(of.hello(version, 1, switch.model.versions))
    flood(book, switch, 1.0, vlan=999)
    assert not drops(switch)


@BOTH
def test_a_vlan_that_gets_an_owner_is_heard_at_once(version: int):
    book, switch = scene(version)
    flood(book, switch, 0.5, vlan=600)
    assert len(switch.flows(600, guards=True)) == 1
    book.adopt(*FOUR, piece("erin", 600, (1,)))
    assert 1 not in [e.match["in_port"][0] for e in switch.flows(600, guards=True)]
    switch.packet_in(1, E(600))
    assert book.at("erin").packet_ins()


@BOTH
def test_when_the_owner_goes_the_vlan_is_nobodys(version: int):
    book, switch = scene(version)
    book.adopt(BOB, TINA, UMA)
    book.clear()
    flood(book, switch, 0.5, vlan=100)
    assert drops(switch) == [(100, 1, NOBODY_SECONDS)]


def test_what_is_counted_is_bounded():
    nobody = Nobody()
    for number in range(3 * TRACKED):
        nobody.seen(number % 7, number, 5.0)
        assert len(nobody._seen) <= TRACKED


# -- knowing one's own -----------------------------------------------------------------------------------


def test_they_are_known_by_cookie_and_priority():
    cookie = 0xFFFE << 48 | 3
    assert is_drop(Entry(0, b"", 0, cookie, b""))
    assert not is_drop(Entry(0, b"", 1, cookie, b""))
    assert not is_drop(Entry(0, b"", 0, cookie - 1, b""))
