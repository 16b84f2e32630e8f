"""Groups and meters of slices that lose ports, go, or are flushed."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.groupwire import (
    DELETE,
    FAST_FAILOVER,
    SEND_FLOW_REM,
    TO2,
    bucket,
    change,
    changes,
    group_desc,
    group_mod,
    meter,
    meter_mod,
    meters,
    out,
)
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, with_segment
from vmoc.model import Attachment, FailMode


def test_losing_a_port_takes_the_groups_that_name_it() -> None:
    book, switch = scene(V13, ALICE, BOB)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    group_mod(alice, 2, bucket(out(3)))
    group_mod(alice, 3, bucket(of.group(2)))
    group_mod(alice, 4, bucket(out(1), watch_port=3), kind=FAST_FAILOVER)
    ids = [physical for _, physical in changes(switch)]
    for number in range(1, 5):
        alice.flow_mod(actions=of.group(number), cookie=number, priority=number, flags=SEND_FLOW_REM)
    alice.add(1, cookie=9, priority=9)
    attachment = Attachment(0xAA, frozenset((1, 2)), {2: frozenset((7,))})
    book.adopt(with_segment(ALICE, attachments=(attachment,)), BOB)
    got = changes(switch)
    assert set(got) == {(DELETE, ids[1]), (DELETE, ids[2]), (DELETE, ids[3])}
    assert got.index((DELETE, ids[2])) < got.index((DELETE, ids[1]))
    assert set(switch.model.groups) == {ids[0]}
    assert set(group_desc(alice)) == {1}
    removed = [of.parse_flow_removed(message).cookie for message in alice.take("flow_removed")]
    assert sorted(removed) == [2, 3, 4]
    assert sorted(stat.cookie for stat in alice.flow_stats()) == [1, 9]


def test_a_port_that_is_only_away_takes_nothing() -> None:
    book, switch = scene(V13, ALICE, BOB)
    alice = book.at("alice")
    group_mod(alice, 1, bucket(out(3), watch_port=3))
    switch.port_status("delete", 3)
    book.adopt(with_segment(ALICE, attachments=(Attachment(0xAA, frozenset((1, 3, 4))),)), BOB)
    assert set(group_desc(alice)) == {1}
    book.adopt(with_segment(ALICE, attachments=(Attachment(0xAA, frozenset((1, 4))),)), BOB)
    assert set(group_desc(alice)) == set()


def test_a_slice_that_lost_a_port_while_its_switch_was_away() -> None:
    book, switch = scene(V13, ALICE)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    group_mod(alice, 2, bucket(out(3)))
    for number in (1, 2):
        alice.flow_mod(actions=of.group(number), cookie=number, priority=number)
    model = switch.model
    switch.close()
    book.adopt(with_segment(ALICE, attachments=(Attachment(0xAA, frozenset((1, 2))),)))
    book.switch(model=model)
    book.advance(2)
    alice = book.at("alice")
    assert set(group_desc(alice)) == {1}
    assert [stat.cookie for stat in alice.flow_stats()] == [1]
    assert len(model.groups) == 1


def flushed(refuse: str | None = None) -> tuple[Playbook, SwitchEnd, list[Message]]:
    """Alice with chained groups, a meter and a flow on both, whose last controller has left; what the switch got."""
    book, switch = scene(V13, with_segment(ALICE, fail_mode=FailMode.FLUSH), BOB)
    alice, bob = book.at("alice"), book.at("bob")
    group_mod(alice, 1, TO2)
    group_mod(alice, 2, bucket(of.group(1)))
    meter_mod(alice, 7)
    alice.flow_mod(instructions=meter(7) + of.apply_actions(of.group(2)))
    group_mod(bob, 1, TO2)
    meter_mod(bob, 7)
    book.advance(2)
    book.clear()
    book.accept = False
    if refuse:
        switch.answering = False
    alice.close()
    written = [m for m in switch.inbox if m.name in ("flow_mod", "group_mod", "meter_mod")]
    if refuse:
        switch.error(next(m for m in written if m.name == refuse), 1, 5)
    return book, switch, written


def test_the_flush_takes_groups_and_meters_along_after_the_flows() -> None:
    book, switch, written = flushed()
    assert [m.name for m in written] == ["flow_mod", "group_mod", "group_mod", "meter_mod"]
    second, first = (change(m)[1] & 0xFFFFF for m in written[1:3])
    assert (second, first) == (2, 1), "the one that leads to the other goes first"
    assert not switch.flows(100) and len(switch.model.groups) == 1 and len(switch.model.meters) == 1, "bob's stay"
    (inside,) = book.mux._switches.values()
    assert len(inside.meter_pool.taken) == 1, "after the barrier the id is free"
    book.accept = True
    book.advance(10)
    alice = book.at("alice")
    assert group_desc(alice) == {} and meters(alice) == {}
    group_mod(alice, 1, TO2)
    meter_mod(alice, 7)
    assert not alice.errors(), "the numbers are free, and so is the quota"
    assert group_desc(book.at("bob")).keys() == {1}


def test_a_flush_in_1_0_knows_no_groups() -> None:
    book, switch = scene(V10, with_segment(ALICE, fail_mode=FailMode.FLUSH), BOB)
    book.at("alice").add(2)
    book.clear()
    book.accept = False
    book.at("alice").close()
    assert {m.name for m in switch.inbox} == {"flow_mod", "barrier_request"}


@pytest.mark.parametrize("what", ["group_mod", "meter_mod"])
def test_what_the_switch_keeps_stays_known(what: str) -> None:
    book, switch, written = flushed(what)
    switch.answering = True
    (inside,) = book.mux._switches.values()
    datapath = inside.datapaths[100]
    if what == "group_mod":
        assert set(datapath.groups.ids) == {2} and not datapath.meters.ids
    else:
        assert set(datapath.meters.ids) == {7} and not datapath.groups.ids
    for message in switch.take("barrier_request"):
        switch.send(of.message(V13, "barrier_reply", b"", message.xid))
    assert len(inside.meter_pool.taken) == (1 if what == "group_mod" else 2), "its id is given to nobody"
