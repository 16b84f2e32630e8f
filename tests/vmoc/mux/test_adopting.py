"""Changes of slices in pieces: nothing is forgotten, removal first, and a name that comes back is another's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, piece, snapshot_of
from vmoc.events import Kind
from vmoc.model import Slice
from vmoc.mux import adopting
from vmoc.mux.adopting import LEAVING, LONGEST, PACE, PIECE, SHARE, SLICES

BOTH = pytest.mark.parametrize("version", [V10, V13])
MANY = tuple(piece(f"s{vlan}", vlan, (1,), controllers=("many",), dpid=None) for vlan in range(1000, 1100))


def give(book: Playbook, *slices: Slice) -> None:
    """New slices, without letting any time pass."""
    names = {one.id for one in set(book.slices) ^ set(slices)}
    book.slices = slices
    book.mux.adopt(snapshot_of(slices, book.sharing), book.now, names)
    book.settle()


def here(book: Playbook, dpid: int = DPID) -> set[str]:
    """The slices with a virtual datapath on a switch."""
    switches = book.mux.describe()["switches"]
    return {
        datapath["slice"]
        for switch in switches  # type: ignore[attr-defined]
        if int(switch["dpid"], 16) == dpid
        for datapath in switch["datapaths"]
    }


@BOTH
def test_a_small_change_is_made_at_once(version: int) -> None:
    book, _ = scene(version)
    give(book, *FOUR, piece("zoe", 600))
    assert book.at("zoe")
    assert book.mux.behind == 0


@BOTH
def test_a_large_one_in_pieces_and_the_rest_is_served_meanwhile(version: int) -> None:
    book, switch = scene(version)
    give(book, *FOUR, *MANY)
    there = len(here(book)) - len(FOUR)
    assert 0 < there <= PIECE
    assert book.mux.behind
    switch.does(lambda model: model.packet_in(1, bytes(12) + b"\x81\x00\x00\x64\x08\x00" + bytes(46)))
    assert book.at("alice").packet_ins(), "the data path does not wait"
    begin = book.now
    while book.mux.behind:
        before = len(here(book))
        book.advance(PACE)
        assert len(here(book)) - before <= PIECE
    assert here(book) == {one.id for one in (*FOUR, *MANY)}
    assert book.now - begin < 3 * len(MANY) / SHARE * PACE
    assert [event.slice for event in book.told(Kind.SLICE_ADDED)] == [one.id for one in MANY]


def test_turns_that_come_late_are_followed_by_longer_pauses() -> None:
    book, _ = scene(V13)
    give(book, *FOUR, *MANY)

    def pause(late: float) -> float:
        due = book.mux.next_deadline()
        assert due is not None
        book.now = due + late
        book.mux.wake(book.now)
        book.settle()
        again = book.mux.next_deadline()
        assert again is not None
        return again - book.now

    assert pause(0.0) == pytest.approx(PACE)
    assert pause(0.004) == pytest.approx(PACE / 2 + 0.008)
    assert pause(5.0) == pytest.approx(LONGEST), "and yet it goes on"
    pauses = [pause(0.0) for _ in range(6)]
    assert pauses == sorted(pauses, reverse=True) and pauses[-1] == pytest.approx(PACE)
    book.advance(2)
    assert not book.mux.behind


@BOTH
def test_switches_take_turns(version: int) -> None:
    book, _ = scene(version)
    book.switch(version, dpid=0xBB)
    book.advance(2)
    give(book, *FOUR, *MANY)
    book.advance(4 * PACE)
    counts = [len(here(book, dpid) & {one.id for one in MANY}) for dpid in (DPID, 0xBB)]
    assert min(counts) > 0 and max(counts) - min(counts) <= SHARE


@BOTH
def test_who_leaves_goes_before_those_who_come(version: int) -> None:
    book, switch = scene(version)
    book.at("alice").add(vlan=100)
    give(book, *FOUR, *MANY)
    give(book, *FOUR[1:], *MANY)
    while any(names for _, _, names in book.mux._adopting._changes):
        book.advance(PACE)
    book.advance(PACE)
    assert book.mux.behind > PIECE and "alice" not in here(book)
    assert [e for e in book.ends.values() if getattr(e, "endpoint", None) and e.endpoint.host == "alice"] == []
    book.advance(1)
    assert switch.flows(100) == []


@BOTH
def test_whoever_makes_every_turn_late_keeps_rights_for_few_turns(version: int) -> None:
    book, _ = scene(version)
    give(book, *FOUR, *MANY)
    book.advance(2)
    give(book, *FOUR)
    turns = 1
    while book.mux.behind:
        due = book.mux.next_deadline()
        assert due is not None
        book.now = due + 5.0
        book.mux.wake(book.now)
        book.settle()
        turns += 1
    assert here(book) == {one.id for one in FOUR}
    assert turns <= len(MANY) / SLICES + len(MANY) / LEAVING + 2


@BOTH
def test_a_slice_that_comes_back_by_its_name_before_its_turn_inherits_nothing(version: int) -> None:
    book, switch = scene(version)
    book.at("alice").add(vlan=100)
    before = book.at("alice")
    assert switch.flows(100)
    give(book, *FOUR, *MANY)
    give(book, *FOUR[1:], *MANY)
    give(book, replace(ALICE, manager="somebody else"), *FOUR[1:], *MANY)
    assert switch.flows(100), "its turn has not come"
    book.advance(2)
    assert switch.flows(100) == []
    assert not before.open and book.at("alice") is not before
    assert [e.kind for e in book.events if e.slice == "alice" and e.kind.startswith("slice-")] == [
        Kind.SLICE_REMOVED,
        Kind.SLICE_ADDED,
    ]


@BOTH
def test_so_does_one_that_was_disabled_and_it_comes_back_with_the_switch(version: int) -> None:
    book, switch = scene(version)
    book.at("alice").add(vlan=100)
    switch.close()
    give(book, *FOUR, *MANY)
    give(book, replace(ALICE, enabled=False), *FOUR[1:], *MANY)
    give(book, *FOUR, *MANY)
    again = book.switch(version, model=switch.model)
    assert again.flows(100) == []
    book.advance(2)
    assert again.flows(100) == [] and book.at("alice")
    assert here(book) == {one.id for one in (*FOUR, *MANY)}


@BOTH
def test_a_vlan_that_changes_hands_late_is_proven_empty(version: int) -> None:
    book, switch = scene(version)
    book.at("alice").add(vlan=100)
    give(book, *FOUR, *MANY)
    heir = piece("heir", 100, (1, 2))
    give(book, BOB, heir, *MANY)
    switch.hold("stats_reply")
    book.advance(0.1)
    assert not [e for e in book.controllers() if e.endpoint.host == "heir"], "not before the proof"
    switch.model.hold.clear()
    switch.release()
    book.advance(2)
    assert book.at("heir") and switch.flows(100) == []


@BOTH
def test_nothing_happens_any_more_once_it_shuts_down(version: int) -> None:
    book, _ = scene(version)
    give(book, *FOUR, *MANY)
    book.mux.begin_drain(book.now)
    book.carry()
    book.clear()
    give(book, *FOUR)
    book.advance(5)
    assert book.mux.drained and not book.dials
    assert book.effects == []


@BOTH
def test_a_switch_that_goes_and_another_default_controller_in_between(version: int) -> None:
    book, switch = scene(version)
    lone = tuple(replace(one, segments=(replace(one.segments[0], controllers=()),)) for one in MANY[:50])
    give(book, *FOUR, *lone)
    book.mux.set_default_controller(ALICE.segments[0].controllers[0], book.now)
    book.settle()
    switch.close()
    book.advance(0.01)
    book.switch(version, model=switch.model)
    book.advance(2)
    states = {
        (link["controller"] if "controller" in link else link["endpoint"], link["state"])
        for one in book.mux.describe()["switches"]  # type: ignore[attr-defined]
        for datapath in one["datapaths"]
        if datapath["slice"] in {each.id for each in lone}
        for link in datapath["controllers"]
    }
    assert {state for _, state in states} <= {"active", "held"}
    assert here(book) == {one.id for one in (*FOUR, *lone)}


def test_many_changes_waiting_are_caught_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "SLICES", 1)
    book, _ = scene(V13)
    give(book, *FOUR, *MANY)
    for number in range(200):
        give(book, *FOUR, *MANY, piece("zoe", 600 + number % 2))
    begin, steps = book.now, 0
    while book.mux._adopting._changes:
        book.advance(PACE)
        steps += 1
    assert steps < 400, "more at a time the more there are"
    book.advance(2)
    assert book.now > begin and "zoe" in here(book)
