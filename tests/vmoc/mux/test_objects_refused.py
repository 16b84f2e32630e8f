"""Groups and meters that a switch refuses to add, to change or to delete."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V13, SwitchEnd
from tests.vmoc.mux.groupwire import (
    ALL,
    DELETE,
    DROP,
    EVERY_GROUP,
    MODIFY,
    TO2,
    bucket,
    group_desc,
    group_mod,
    meter,
    meter_mod,
    meters,
    out,
)
from tests.vmoc.mux.playbook import scene


@pytest.mark.parametrize(("make", "exists"), [(lambda end: group_mod(end, 1, TO2), (6, 0)), (meter_mod, (12, 1))])
def test_what_is_there_already_is_known_when_the_switch_has_taken_it(make, exists) -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    args = (1,) if make is meter_mod else ()
    switch.answering = False
    first, second = make(alice, *args), make(alice, *args)
    (sent,) = switch.take("group_mod") + switch.take("meter_mod")
    switch.error(sent, 6 if sent.name == "group_mod" else 12, 3)
    switch.answering = True
    for barrier in switch.take("barrier_request"):
        switch.does(lambda model, barrier=barrier: model._handle(model.peers[-1], barrier))
    assert [message.xid for message in alice.take("error")] == [first], "the second is as good as the first was not"
    third = make(alice, *args)
    alice.error(third, exists)
    assert second not in (first, third)


def refuse(switch: SwitchEnd, name: str, *code: int) -> None:
    """The switch, which was silent, refuses its only message of a kind and answers the barriers."""
    switch.error(switch.take_one(name), *code)
    switch.answering = True
    for barrier in switch.take("barrier_request"):
        switch.does(lambda model, barrier=barrier: model._handle(model.peers[-1], barrier))


def test_a_group_behind_one_that_is_refused_leads_nowhere() -> None:
    """Open vSwitch takes buckets that lead to groups it does not have."""
    book, switch = scene(V13)
    alice = book.at("alice")
    switch.answering = False
    first, second = group_mod(alice, 1, TO2), group_mod(alice, 2, bucket(of.group(1)))
    refuse(switch, "group_mod", 6, 6)
    assert [(message.xid, of.parse_error(message).code) for message in alice.take("error")] == [(first, 6), (second, 9)]
    assert not switch.take("group_mod") and not switch.model.groups
    assert group_desc(alice) == {}


@pytest.mark.parametrize("what", ["group_mod", "meter_mod"])
def test_a_modify_behind_a_refused_group_or_meter_knows_of_it(what: str) -> None:
    """A switch judges the actions of a modify only if there is a flow to get them."""
    book, switch = scene(V13)
    alice = book.at("alice")
    switch.answering = False
    if what == "group_mod":
        group_mod(alice, 1, TO2)
        alice.flow_mod("modify", of.match(V13), of.group(1))
    else:
        meter_mod(alice, 1)
        alice.flow_mod("modify", of.match(V13), instructions=meter(1) + of.apply_actions(out(2)))
    refuse(switch, what, 6 if what == "group_mod" else 12, 3)
    assert alice.errors() == ([(6, 3), (2, 9)] if what == "group_mod" else [(12, 3), (12, 2)])
    assert not switch.take("flow_mod")


def test_what_is_wrong_behind_a_refused_group_is_judged_without_it() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    switch.answering = False
    group_mod(alice, 1, TO2)
    group_mod(alice, 1, bucket(out(4)), MODIFY)
    alice.flow_mod(actions=of.group(1) + out(4))
    refuse(switch, "group_mod", 6, 3)
    assert alice.errors() == [(6, 3), (6, 8), (2, 9)]


def test_groups_and_meters_that_are_there_hold_nothing_up() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    book.advance(1.1)
    book.clear()
    switch.hold("barrier_reply")
    alice.add(2, eth_dst=1)
    group_mod(alice, 2, bucket(of.group(1)))
    alice.flow_mod("modify", of.match(V13, eth_dst=2), of.group(1))
    assert len(switch.take("group_mod")) == 1
    assert len(switch.take("flow_mod")) == 1, "a group is on its way"


def test_a_refused_add_gives_all_back() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    switch.answering = False
    xid = group_mod(alice, 1, TO2)
    switch.error(switch.take_one("group_mod"), 6, 3)
    alice.error(xid, (6, 3))
    xid = meter_mod(alice, 1)
    switch.error(switch.take_one("meter_mod"), 12, 11)
    alice.error(xid, (12, 11))
    inside = book.mux._switches[0xAA, 0]
    assert inside.datapaths[100].groups.ids == inside.datapaths[100].meters.ids == {}
    assert inside.meter_pool.taken == {1}
    switch.answering = True
    for message in switch.take("barrier_request"):
        switch.model.peers = [switch._wire]  # type: ignore[list-item]
        switch.does(lambda model, message=message: model._on_barrier_request(message))  # type: ignore[misc]
    assert inside.meter_pool.taken == set()


def test_a_refused_delete_leaves_group_flows_and_meter() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    alice.flow_mod(actions=of.group(1), cookie=7)
    switch.answering = False
    switch.take()
    group_mod(alice, 1, command=DELETE)
    switch.error(switch.take_one("group_mod"), 1, 10)
    meter_mod(alice, 1, b"", DELETE)
    switch.error(switch.take_one("meter_mod"), 1, 10)
    assert alice.errors() == [(1, 10), (1, 10)]
    switch.answering = True
    assert [stat.cookie for stat in alice.flow_stats()] == [7]
    assert set(group_desc(alice)) == set(meters(alice)) == {1}
    alice.error(group_mod(alice, 1, TO2), (6, 0))
    alice.error(meter_mod(alice, 1), (12, 1))


def test_of_several_deletes_one_error_is_enough() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    for number in (1, 2):
        group_mod(alice, number, TO2)
    switch.answering = False
    switch.take()
    xid = group_mod(alice, EVERY_GROUP, command=DELETE)
    for message in switch.take("group_mod"):
        switch.error(message, 1, 10)
    alice.error(xid, (1, 10))
    switch.answering = True
    assert set(group_desc(alice)) == {1, 2}


def test_a_refused_modify_leaves_the_group() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    switch.answering = False
    switch.take()
    xid = group_mod(alice, 1, bucket(out(3)), MODIFY)
    switch.error(switch.take_one("group_mod"), 6, 4)
    alice.error(xid, (6, 4))
    xid = meter_mod(alice, 1)
    switch.take()
    meter_mod(alice, 1, DROP, MODIFY)
    switch.error(switch.take_one("meter_mod"), 12, 5)
    assert alice.errors() == [(12, 5)]
    switch.answering = True
    assert group_desc(alice)[1] == (ALL, [TO2])
