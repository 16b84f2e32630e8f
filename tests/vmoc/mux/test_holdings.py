"""What a switch holds of groups and meters: proven gone, found again, or somebody else's."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.groupwire import (
    ALL,
    DELETE,
    DROP,
    TO2,
    bucket,
    change,
    changes,
    group_desc,
    group_mod,
    group_references,
    meter_mod,
    meters,
)
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, piece
from vmoc.events import Kind
from vmoc.model import Policy
from vmoc.mux import holdings
from vmoc.mux.groups import SLOT_SHIFT


def test_a_switch_without_groups_and_meters() -> None:
    book = Playbook((ALICE,))
    switch = book.dial_in(version=V13)
    switch.model._on_stats_request = _without("group_features", "meter_features", "group_desc", "meter_config")(switch)  # type: ignore[method-assign]
    switch.send(of.hello(V13, 1, (4,)))
    alice = book.at("alice")
    for kind, size in (("group_features", 40), ("meter_features", 16)):
        ((_, body),) = alice.stats_replies(alice.stats(kind))
        assert body == bytes(size)
    xid = meter_mod(alice, 1)
    alice.error(xid, (12, 10))
    xid = group_mod(alice, 1, TO2)
    switch.error(switch.take_one("group_mod"), 1, 1)
    alice.error(xid, (1, 1))
    assert group_references(alice) == {}
    book.adopt()
    book.advance(5)
    assert not book.told(Kind.TAINTED)
    assert not book.mux.describe()["switches"][0]["datapaths"]  # type: ignore[index]


def _without(*kinds: str):  # type: ignore[no-untyped-def]
    def made(switch):  # type: ignore[no-untyped-def]
        proper = type(switch.model)._on_stats_request

        def answer(message):  # type: ignore[no-untyped-def]
            if struct.unpack_from("!H", message.raw, 8)[0] in {of.STATS[V13][kind] for kind in kinds}:
                switch.model.error(message, 1, 2)
            else:
                proper(switch.model, message)

        return answer

    return made


def test_a_removed_slice_leaves_nothing_and_its_slot_is_free_then() -> None:
    book, switch = scene(V13, ALICE, BOB)
    for name in ("alice", "bob"):
        group_mod(book.at(name), 1, TO2)
        meter_mod(book.at(name), 1)
    group_mod(book.at("alice"), 2, bucket(of.group(1)))
    (_, first), _, (_, second) = changes(switch)
    inside = book.mux._switches[0xAA, 0]
    switch.take()
    book.adopt(BOB)
    order = [message.name for message in switch.log() if message.name in ("flow_mod", "group_mod", "meter_mod")]
    assert order == ["flow_mod", "group_mod", "group_mod", "meter_mod"]
    assert changes(switch) == [(DELETE, second), (DELETE, first)]
    assert len(switch.model.groups) == len(switch.model.meters) == 1
    assert list(inside.slots.values()) == [inside.datapaths[200]]
    assert inside.meter_pool.taken == set(switch.model.meters)


@pytest.mark.parametrize("stubborn", ["group", "meter"])
def test_what_a_switch_does_not_delete_keeps_its_id(stubborn: str) -> None:
    book, switch = scene(V13, ALICE, BOB)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    inside = book.mux._switches[0xAA, 0]
    slot = inside.datapaths[100].groups.slot
    setattr(switch.model, f"_on_{stubborn}_mod", lambda message: None)
    switch.take()
    book.adopt(BOB)
    book.advance(5)
    assert [event.vlan for event in book.told(Kind.TAINTED)] == [100]
    deletes = changes(switch, f"{stubborn}_mod")
    assert len(deletes) >= 3
    if stubborn == "group":
        assert slot in inside.slots
        assert inside.meter_pool.taken == set()
    else:
        assert slot not in inside.slots
        assert inside.meter_pool.taken == {1}


def test_the_next_owner_of_a_vlan_starts_with_none() -> None:
    book, switch = scene(V13, ALICE, BOB)
    group_mod(book.at("alice"), 1, TO2)
    meter_mod(book.at("alice"), 1)
    carol = piece("carol", 100, (1, 2, 3))
    book.adopt(carol, BOB)
    book.advance(3)
    end = book.at("carol")
    assert group_desc(end) == {}
    assert meters(end) == {}
    assert switch.model.groups == switch.model.meters == {}
    inside = book.mux._switches[0xAA, 0]
    assert (inside.slots, inside.meter_pool.taken) == ({}, set())
    group_mod(end, 1, TO2)
    assert not end.errors()


# -- the switch comes back ---------------------------------------------------------------------------


def test_what_nobody_knows_is_deleted_when_a_switch_connects() -> None:
    book, switch = scene(V13, ALICE, BOB)
    alice = book.at("alice")
    for number in (1, 2):
        group_mod(alice, number, TO2)
        meter_mod(alice, number)
    (_, lost), (_, kept) = changes(switch)
    model = switch.model
    switch.close()
    model.stats_size = 30
    del model.groups[lost], model.meters[1]
    model.groups[0x00000007] = (ALL, b"")
    model.meters[50] = (1, DROP)
    model.meters[0xFFFFFFFE] = (1, DROP)  # the controller's own: not a slice's, and not ours to delete
    switch = book.switch(model=model)
    book.advance(2)
    assert set(model.groups) == {kept}
    assert set(model.meters) == {2, 0xFFFFFFFE}
    alice = book.at("alice")
    assert set(group_desc(alice)) == set(meters(alice)) == {2}
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    assert not alice.errors()


def test_foreign_groups_and_meters_are_kept_if_the_operator_wants_that() -> None:
    book = Playbook((ALICE,), policy=Policy(foreign_flows="keep"))
    switch = book.dial_in(version=V13)
    switch.model.groups = {1 << SLOT_SHIFT | 1: (ALL, b""), 9: (ALL, b"")}
    switch.model.meters = {1: (1, DROP), 200: (1, DROP)}
    switch.send(of.hello(V13, 1, (4,)))
    alice = book.at("alice")
    book.mux._switches[0xAA, 0]._slot = 0
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    assert change(switch.take_one("group_mod"))[1] >> SLOT_SHIFT == 2
    assert change(switch.take_one("meter_mod"))[1] == 2
    assert len(switch.model.groups) == len(switch.model.meters) == 3
    assert not alice.errors()
    # But what was a slice's is no foreigner's.
    model = switch.model
    switch.close()
    book.adopt()
    switch = book.switch(model=model)
    assert set(model.groups) == {1 << SLOT_SHIFT | 1, 9}


def test_groups_that_do_not_go_away_at_a_connect_block_their_slot() -> None:
    book = Playbook((ALICE,))
    switch = book.dial_in(version=V13)
    switch.model.groups = {1 << SLOT_SHIFT | 1: (ALL, b"")}
    switch.model.meters = {1: (1, DROP)}
    switch.model._on_group_mod = switch.model._on_meter_mod = lambda message: None  # type: ignore[method-assign]
    switch.send(of.hello(V13, 1, (4,)))
    deletes = changes(switch)
    assert deletes == [(DELETE, 1 << SLOT_SHIFT | 1)] * (holdings._Reconcile.TRIES - 1)
    inside = book.mux._switches[0xAA, 0]
    inside._slot = 0
    assert inside.allocate_slot(inside.datapaths[100]) == 2
    assert inside.meter_pool.take() == 2


def test_a_connection_lost_between_delete_and_barrier_loses_no_meter() -> None:
    book, switch = scene(V13, ALICE)
    alice = book.at("alice")
    meter_mod(alice, 1)
    switch.hold("barrier_reply")
    meter_mod(alice, 1, b"", DELETE)
    model = switch.model
    switch.close()
    model.hold, model.held = set(), []
    book.switch(model=model)
    book.advance(2)
    assert book.mux._switches[0xAA, 0].meter_pool.taken == set()


def test_a_group_that_stays_does_not_go_to_the_next_owner_of_the_vlan() -> None:
    book, switch = scene(V13, ALICE, BOB)
    group_mod(book.at("alice"), 1, TO2)
    ((_, left),) = changes(switch)
    proper = type(switch.model)._on_group_mod

    def no_deletes(message):  # type: ignore[no-untyped-def]
        if change(message)[0] != DELETE:
            proper(switch.model, message)

    switch.model._on_group_mod = no_deletes  # type: ignore[method-assign]
    book.adopt(piece("carol", 100, (1, 2, 3)), BOB)
    book.advance(5)
    carol = book.at("carol")
    assert group_desc(carol) == {}
    group_mod(carol, 1, TO2)
    assert not carol.errors()
    assert left in switch.model.groups
    assert {physical >> SLOT_SHIFT for physical in switch.model.groups} == set(book.mux._switches[0xAA, 0].slots)
    assert len(switch.model.groups) == 2


@pytest.mark.parametrize("what", ["group", "meter"])
def test_a_switch_that_tells_of_more_than_anybody_has_is_not_served(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bytes each, for which we would keep and write a hundred."""
    monkeypatch.setattr(holdings, "MOST", 100)
    kind, layout = (7, "!HBxI") if what == "group" else (10, "!HHI")
    book = Playbook((ALICE,))
    switch = book.dial_in(version=V13)
    proper = switch.model._on_stats_request

    def answer(message: Any) -> None:
        if struct.unpack_from("!H", message.raw, 8)[0] != kind:
            proper(message)
            return
        for start in (1, 61):
            records = b"".join(struct.pack(layout, 8, 0, start + number) for number in range(60))
            head = struct.pack("!HH4x", kind, int(start == 1))
            switch._outbox.append(of.message(V13, "stats_reply", head + records, message.xid))

    switch.model._on_stats_request = answer  # type: ignore[method-assign]
    switch.send(of.hello(V13, 1, (4,)))
    assert not switch.open and not book.controllers()
    assert "more than 100 groups or meters" in book.told(Kind.SWITCH_REFUSED)[0].message
    assert not changes(switch, f"{what}_mod")
