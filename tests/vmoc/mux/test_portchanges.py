"""Ports that change faster than everybody can bear: they wait, by turns, and what counts is how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.answers import describe_port
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, piece
from vmoc.events import Kind
from vmoc.model import Policy
from vmoc.mux.portchanges import BURST, MOST_PORTS, RATE

BOTH = pytest.mark.parametrize("version", [V10, V13])
ADD, DELETE, MODIFY = range(3)
OTHER = 0xBB
MANY = tuple(piece(f"s{vlan}", vlan, controllers=("many",), dpid=DPID) for vlan in range(1000, 1024))
"""24 slices with all ports of the first switch: 25 pairs a change, with alice."""
CAROL = piece("carol", 600, dpid=OTHER)
AT_ONCE = int(RATE * BURST) // 25
"""Changes of the first switch that are made as they come, and not many more."""


def said(version: int, reason: int, number: int, config: int = 0) -> bytes:
    raw = describe_port(version, DPID, number, config=config).raw
    return of.message(version, "port_status", bytes((reason,)) + bytes(7) + raw)


def stage(version: int, **more: Any) -> tuple[Playbook, SwitchEnd, SwitchEnd]:
    """One switch with many slices, and one that is well."""
    book, switch = scene(version, piece("alice", 100), *MANY, CAROL, **more)
    other = book.switch(version, dpid=OTHER)
    book.advance(2)
    book.clear()
    return book, switch, other


def told(book: Playbook, name: str, dpid: int = DPID) -> list[tuple[int, int]]:
    """(reason, port) of every PORT_STATUS a controller got."""
    statuses = [of.parse_port_status(message) for message in book.at(name, dpid).take("port_status")]
    return [(status.reason, status.port.number) for status in statuses]


def ports(book: Playbook, dpid: int = DPID) -> set[int]:
    (switch,) = [switch for (key, _), switch in book.mux._switches.items() if key == dpid]
    return set(switch.ports)


@BOTH
def test_a_few_are_told_as_they_come_in_order(version: int) -> None:
    book, switch = scene(version, ALICE, BOB)
    flap = [(DELETE, 2), (ADD, 2), (MODIFY, 2), (MODIFY, 1), (DELETE, 2), (ADD, 2)]
    switch.send(*(said(version, reason, number) for reason, number in flap))
    assert told(book, "alice") == flap
    assert told(book, "bob") == [change for change in flap if change[1] == 2]


@BOTH
def test_a_flapping_port_costs_no_more_than_its_share(version: int) -> None:
    """10 000 times a second, for a second: so many are made as there is time for, and the last is right."""
    book, switch, other = stage(version)
    for step in range(100):
        switch.send(*(said(version, ADD if each % 2 else DELETE, 2) for each in range(100)))
        book.advance(0.01)
        if step % 25 == 10:
            other.send(said(version, MODIFY, 1))
            book.advance(0.05)
            assert told(book, "carol", OTHER) == [(MODIFY, 1)], "another switch has its turn all the same"
        other.packet_in(1, E(600), reason=1)
        assert len(book.at("carol", OTHER).packet_ins()) == 1
    changes = told(book, "alice")
    assert AT_ONCE / 2 < len(changes) <= 1.3 * (RATE * (1.2 + BURST)) / 25
    # In order, no change said twice: DELETE and ADD take turns.
    assert [reason for reason, _ in changes] == [DELETE, ADD] * (len(changes) // 2) + [DELETE] * (len(changes) % 2)
    book.advance(1)
    assert (changes + told(book, "alice"))[-1] == (ADD, 2) and 2 in ports(book)
    assert len(book.told(Kind.PORT_CHANGED)) < 2000


@BOTH
def test_only_the_last_of_a_port_counts(version: int) -> None:
    book, switch, _ = stage(version)
    noise = [said(version, MODIFY, 1) for _ in range(2 * AT_ONCE)]
    down = 1
    switch.send(
        *noise,
        *(said(version, DELETE, 2), said(version, ADD, 2), said(version, MODIFY, 2, down)),  # went, and is back
        *(said(version, ADD, 20), said(version, DELETE, 20)),  # came, and went
        *(said(version, ADD, 21), said(version, MODIFY, 21, down)),  # is new
        *(said(version, MODIFY, 3, down), said(version, DELETE, 3)),  # is gone
        *(said(version, DELETE, 77), said(version, DELETE, 77)),  # was never there
    )
    book.advance(1)
    changes = [change for change in told(book, "alice") if change[1] != 1]
    assert changes == [(DELETE, 2), (ADD, 2), (ADD, 21), (DELETE, 3)]
    assert ports(book) & {2, 3, 20, 21, 77} == {2, 21}
    assert [config for number, config in shown(book) if number == 2] == [down]


def shown(book: Playbook) -> list[tuple[int, int]]:
    (switch,) = [switch for (key, _), switch in book.mux._switches.items() if key == DPID]
    return [(number, port.config & 1) for number, port in switch.ports.items()]


@BOTH
def test_what_waits_of_a_switch_that_went_is_forgotten(version: int) -> None:
    book, switch, _ = stage(version)
    switch.send(*(said(version, MODIFY, 1) for _ in range(2 * AT_ONCE)), said(version, ADD, 20))
    switch.close()
    again = book.switch(model=switch.model)
    book.advance(3)
    assert 20 not in ports(book) and again.open
    assert told(book, "alice") == []


@BOTH
def test_guards_of_ports_that_waited_are_there_in_the_end(version: int) -> None:
    slices = tuple(piece(f"s{vlan}", vlan, (1, 2), controllers=("many",)) for vlan in range(1000, 1024))
    book, switch = scene(version, ALICE, *slices)
    new = range(10, 10 + AT_ONCE + 20)
    recipes = book.mux._switches[DPID, 0].datapaths[100].flow_policy
    for number in new:
        switch.model.ports[number] = describe_port(version, DPID, number)
    switch.send(*(said(version, ADD, number) for number in new))
    assert len(set(switch.guards(100)) & set(new)) < len(new)
    book.advance(3 * len(new) * 25 / RATE)
    assert set(new) <= set(switch.guards(100)) and set(new) <= set(switch.guards(1010))
    assert book.mux._switches[DPID, 0].datapaths[100].flow_policy is recipes, "what alice may do is what it was"


@BOTH
def test_the_first_port_that_is_not_the_slices_makes_a_difference(version: int) -> None:
    """Until then its flows of the highest priority needed no place below a guard."""
    book, switch = scene(version, piece("alice", 100, (1, 2, 0xFFFFFFFE)), ports=(1, 2))
    alice = book.at("alice")
    alice.add(2, priority=65535, eth_dst=1)
    switch.model.ports[3] = describe_port(version, DPID, 3)
    switch.send(said(version, ADD, 3))
    assert switch.guards(100) == [3]
    alice.add(2, priority=65535, eth_dst=2)
    assert sorted(entry.priority for entry in switch.flows(100)) == [65534, 65535]


def test_behind_an_admission_table_a_foreign_port_is_nobodys_business() -> None:
    book, switch = scene(V13, ALICE, policy=Policy(pipeline="admission"))
    before = book.mux._switches[DPID, 0].datapaths[100].grant
    switch.send(said(V13, ADD, 20))
    assert book.mux._switches[DPID, 0].datapaths[100].grant is before
    assert not switch.take("flow_mod")
    switch.send(said(V13, DELETE, 1), said(V13, ADD, 1))
    assert told(book, "alice") == [(DELETE, 1), (ADD, 1)]


# -- how many there may be -------------------------------------------------------------------------------


@BOTH
def test_a_switch_does_not_get_more_and_more_ports(version: int) -> None:
    most = MOST_PORTS[version]
    book, switch = scene(version, piece("alice", 100, dpid=OTHER))
    for begin in range(10, most + 100, 500):
        if switch.open:
            switch.send(*(said(version, ADD, number) for number in range(begin, begin + 500)))
            book.advance(0.5)
    assert not switch.open
    assert [event.message for event in book.told(Kind.SWITCH_DOWN)] == [f"has more than {most} ports"]
    assert not ports(book), "nothing of it is kept"


@BOTH
def test_ports_that_wait_count_too(version: int) -> None:
    book, switch, _ = stage(version)
    switch.send(*(said(version, MODIFY, 1) for _ in range(2 * AT_ONCE)))
    switch.send(*(said(version, DELETE, number) for number in range(10, MOST_PORTS[version] + 10)))
    assert switch.open, "of ports that nobody knows nothing waits"
    switch.send(*(said(version, ADD, number) for number in range(10, MOST_PORTS[version] + 10)))
    assert not switch.open and not book.mux._hub.port_changes._late


def test_a_switch_that_begins_with_too_many_is_not_served() -> None:
    book = Playbook((ALICE,))
    switch = book.switch(V13, ports=range(1, MOST_PORTS[V13] + 1))  # and LOCAL
    assert not switch.open
    assert [event.message for event in book.told(Kind.SWITCH_REFUSED)] == [f"has more than {MOST_PORTS[V13]} ports"]
    assert not book.controllers()
