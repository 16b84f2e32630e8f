"""After a restart of VMOC: who gets back what, and what becomes of the rest."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.emulation.table import FlowError
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.groupwire import DROP, bucket, group_desc, group_mod, meter_mod, meters, out
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.restarting import (
    BOTH,
    CAROL,
    X,
    Y,
    back,
    fill,
    journal,
    objects,
    physical,
    restarted,
    shown,
    stage,
    unguarded,
)
from tests.vmoc.mux.tenants import ALICE, BOB, piece, with_segment
from vmoc.events import Kind
from vmoc.model import DpidScheme, Policy, Presentation, Slice


@BOTH
def test_what_was_a_slices_is_its_own_again_and_the_switch_is_told_nothing(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    before, seen = physical(switch), [shown(book.at(name)) for name in ("alice", "bob")]
    again = restarted(book, switch)
    assert unguarded(again) == []
    assert not again.take("group_mod") and not again.take("meter_mod")
    kept = {facts for facts in physical(again) if facts[3] >> 48 != 0xFFFE}  # type: ignore[operator]
    assert kept == {facts for facts in before if facts[3] >> 48 != 0xFFFE}  # type: ignore[operator]
    assert [shown(book.at(name)) for name in ("alice", "bob")] == seen
    book.at("alice").flow_mod("delete", None, table=0xFF)
    assert shown(book.at("alice")) == [] and shown(book.at("bob")) == seen[1]


@BOTH
def test_serials_go_on(version: int) -> None:
    """A new entry never has the cookie of one that was there before, however long ago."""
    book, switch = stage(version)
    fill(book, version)
    cookies = {entry.cookie for entry in switch.flows(100)}
    book.at("alice").flow_mod("delete", None, table=0xFF)
    again = restarted(book, switch)
    book.at("alice").add(2, cookie=9, eth_dst=X)
    (entry,) = again.flows(100)
    assert entry.cookie >> 48 == min(cookies) >> 48 and entry.cookie > max(cookies)


@BOTH
def test_a_second_restart_before_the_switch_is_back_costs_nothing(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    seen = shown(book.at("alice"))
    book.restart()
    book.advance(5)
    again = restarted(book, switch)
    assert unguarded(again) == [] and shown(book.at("alice")) == seen
    once_more = restarted(book, again)
    assert unguarded(once_more) == [] and shown(book.at("alice")) == seen


@BOTH
def test_what_was_deleted_is_not_back(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    book.at("alice").flow_mod("delete", of.match(version, eth_dst=X), table=0xFF)
    again = restarted(book, switch)
    assert [cookie for _, _, cookie in shown(book.at("alice"))] == [0x20]
    assert {entry.priority for entry in again.flows(100)} == {6}


@BOTH
def test_a_deletion_the_switch_did_not_get_is_repeated_by_nobody(version: int) -> None:
    """Killed between the journal and the switch: the entry is there, is the slice's, and can be deleted again."""
    book, switch = stage(version)
    fill(book, version)
    switch.model.hold = {"flow_mod"}
    switch.answering = False
    book.at("alice").flow_mod("delete", of.match(version, eth_dst=X), table=0xFF)
    switch.model.hold = set()
    restarted(book, switch)
    assert [cookie for _, _, cookie in shown(book.at("alice"))] == [0x10, 0x20]
    book.at("alice").flow_mod("delete", of.match(version, eth_dst=X), table=0xFF)
    assert [cookie for _, _, cookie in shown(book.at("alice"))] == [0x20]


@BOTH
def test_what_the_switch_lost_is_not_believed_and_not_put_back(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    switch.model.table.entries = [e for e in switch.model.table.entries if e.priority != 5]
    again = restarted(book, switch)
    assert unguarded(again) == []
    assert [cookie for _, _, cookie in shown(book.at("alice"))] == [0x20]
    assert {len(one.flows) for one in journal(book)} == {1}, "nor is it written down any more"


@BOTH
def test_an_entry_with_another_cookie_match_or_priority_is_not_the_slices(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    for entry in switch.flows(100):
        if entry.priority == 5:
            entry.priority = 50
        else:
            entry.cookie += 1 << 20
    again = restarted(book, switch)
    assert again.flows(100) == [] and shown(book.at("alice")) == []
    assert len(again.flows(200)) == 2 and len(shown(book.at("bob"))) == 2


OTHERS = {
    "presentation": with_segment(ALICE, presentation=Presentation.TRANSPARENT),
    "dpid": with_segment(ALICE, dpid=DpidScheme.PHYSICAL),
    "owner": replace(ALICE, id="carol"),
    "vlan": with_segment(ALICE, vlan=101),
}


@BOTH
@pytest.mark.parametrize("what", OTHERS)
def test_who_is_another_than_before_gets_nothing(version: int, what: str) -> None:
    other = OTHERS[what]
    book, switch = stage(version)
    fill(book, version)
    again = restarted(book, switch, other, BOB)
    assert again.flows(100) == again.flows(101) == []
    assert book.at("alice").flow_stats() == []
    assert len(shown(book.at("bob"))) == 2
    assert [one.owner for one in journal(book)] == ["bob", other.id], "the old one is proven gone"
    old = {entry.cookie >> 48 for entry in switch.flows(200)}
    book.at("alice").add(2, cookie=1)
    assert not old & {entry.cookie >> 48 for entry in again.flows(other.segments[0].vlan)}


@pytest.mark.parametrize(("before", "after"), [(V10, V13), (V13, V10)])
def test_in_terms_of_another_version_it_means_nothing(before: int, after: int) -> None:
    book, switch = stage(before)
    fill(book, before)
    book.restart()
    model = book.switch(after).model  # the same switch, by its DPID
    book.advance(3)
    assert model.flows(100) == [e for e in model.flows(100) if e.cookie >> 48 == 0xFFFE]
    assert book.at("alice").flow_stats() == []
    assert {one.version for one in journal(book)} == {after}


@BOTH
def test_a_slice_that_went_and_came_back_before_its_switch_is_another(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    book.restart()
    book.adopt(BOB)
    book.adopt(ALICE, BOB)
    again = back(book, switch)
    assert again.flows(100) == [] and shown(book.at("alice")) == []
    assert len(shown(book.at("bob"))) == 2


@BOTH
def test_a_slice_that_is_disabled_meanwhile_is_flushed(version: int) -> None:
    book, switch = stage(version)
    fill(book, version)
    again = restarted(book, switch, replace(ALICE, enabled=False), BOB)
    assert again.flows(100, guards=True) == [] and len(again.flows(200)) == 2
    assert [one.owner for one in journal(book)] == ["bob"]


@BOTH
@pytest.mark.parametrize("how", ["while the switch was away", "while VMOC was down"])
def test_a_slice_that_is_no_more_is_flushed_where_others_flows_are_kept(version: int, how: str) -> None:
    """``foreign_flows: keep``: what is in its VLAN was a slice's, and is nobody's to keep."""
    book, switch = stage(version, policy=Policy(foreign_flows="keep"))
    fill(book, version)
    if version == V13:
        group_mod(book.at("alice"), 1, bucket(out(2)))
        meter_mod(book.at("alice"), 1)
        group_mod(book.at("bob"), 1, bucket(out(2)))
        meter_mod(book.at("bob"), 1)
        switch.model.groups[77] = (0, b"")  # somebody's who is not ours
        switch.model.meters[77] = (1, DROP)
    if how == "while the switch was away":
        switch.close()
        book.adopt(BOB)
        book.restart()
    else:
        book.restart(BOB)
    assert [(one.owner, one.disowned) for one in journal(book)] == [("alice", True), ("bob", False)]
    again = back(book, switch)
    assert again.flows(100, guards=True) == []
    assert len(again.flows(200)) == 2
    assert [one.owner for one in journal(book)] == ["bob"]
    if version == V13:
        assert len(again.model.groups) == len(again.model.meters) == 2 and 77 in again.model.groups
        assert group_desc(book.at("bob")).keys() == meters(book.at("bob")).keys() == {1}


def stubborn(switch: SwitchEnd, on: bool = True) -> None:
    """The switch deletes no flow, and says nothing of it."""
    if on:
        switch.model._on_flow_mod = lambda message: None  # type: ignore[method-assign]
    else:
        del switch.model._on_flow_mod


@BOTH
def test_a_vlan_that_cannot_be_cleaned_is_remembered_as_such(version: int) -> None:
    """However often VMOC is restarted, and though its slice is long gone."""
    book, switch = stage(version)
    fill(book, version)
    stubborn(switch)
    for _ in range(3):
        switch = restarted(book, switch, BOB)
        assert ("alice", True) in [(one.owner, one.disowned) for one in journal(book)]
    switch = restarted(book, switch, CAROL, BOB)
    assert not [end for end in book.controllers() if end.endpoint.host == "carol"], "not clean, so nobody's"
    assert [event.vlan for event in book.told(Kind.TAINTED)] == [100]
    stubborn(switch, False)
    book.advance(40)
    assert book.at("carol").flow_stats() == [] and switch.flows(100) == []
    again = restarted(book, switch)
    assert [one.owner for one in journal(book)] == ["bob", "carol"] and not again.flows(100)


@BOTH
def test_tags_that_may_be_on_a_switch_are_not_given_to_others(version: int) -> None:
    """A switch that has not been looked at yet may hold entries with any tag of before."""
    book, switch = stage(version)
    fill(book, version)
    used = {one.tag for one in journal(book)}
    for seed in range(40):
        book.seed = seed
        book.restart(CAROL, BOB)
        book.switch(model=switch.model)
        fresh = {one.tag for one in journal(book) if one.owner == "carol"}
        assert len(fresh) == 1 and not fresh & used
        book.batches = [b"".join(b"".join(one.records()) for one in journal(book) if one.owner != "carol")]


@BOTH
def test_of_two_in_one_place_the_later_counts(version: int) -> None:
    book, switch = stage(version, ALICE)
    book.at("alice").add(2, cookie=1)
    (kept,) = journal(book)
    earlier = replace(kept, handle=kept.handle + 1, tag=kept.tag + 1, serial=77, flows={})
    book.batches = [b"".join([*earlier.records(), *kept.records()])]
    restarted(book, switch)
    assert shown(book.at("alice")) == [(0, 100, 1)]
    assert journal(book) == [replace(kept, flows=kept.flows)]


@BOTH
def test_what_is_configured_on_ports_is_kept(version: int) -> None:
    book, switch = stage(version, ALICE)
    alice, hw = book.at("alice"), switch.model.ports[2].hw
    alice.add("flood", cookie=1)
    layout = "!H6sIII4x" if version == V10 else "!I4x6s2xIII4x"
    quiet = 1 << 6 | (1 << 4 if version == V10 else 0)  # NO_PACKET_IN, and NO_FLOOD where there is that
    alice.request("port_mod", struct.pack(layout, 2, hw, quiet, quiet, 0))
    assert not alice.errors()
    (entry,) = switch.flows(100)
    assert entry.outputs(version) == ([1, 3] if version == V10 else [1, 2, 3])
    again = restarted(book, switch)
    assert unguarded(again) == [], "FLOOD means the same ports as before"
    again.packet_in(2, E(100), reason=1)
    assert book.at("alice").packet_ins() == []
    again.packet_in(1, E(100), reason=1)
    assert book.at("alice").packet_ins()


# -- what was written down and is not so on the switch ---------------------------------------------------


@BOTH
def test_other_actions_than_the_slice_gave_are_written_anew(version: int) -> None:
    """A modify on its way when VMOC died, or somebody else's hand."""
    book, switch = stage(version)
    fill(book, version)
    right = {entry.priority: entry.actions for entry in switch.flows(100)}
    for entry in switch.flows(100):
        entry.actions = of.output(version, 6) if version == V10 else of.apply_actions(of.output(version, 6))
    again = restarted(book, switch)
    assert {entry.priority: entry.actions for entry in again.flows(100)} == right
    assert len(unguarded(again)) == 2
    assert unguarded(restarted(book, again)) == []


@BOTH
def test_what_the_switch_does_not_take_as_it_should_be_is_deleted(version: int) -> None:
    """Nobody gets what the slice did not ask for, and the slice sees that it is gone."""
    book, switch = stage(version)
    fill(book, version)
    for entry in switch.flows(100):
        entry.actions = b""
    book.restart()
    again = book.dial_in(model=switch.model)
    takes, refuse = again.model._check_actions, 5

    def check(actions: bytes) -> None:
        if actions:
            raise FlowError(2, refuse)
        takes(actions)

    again.model._check_actions = check  # type: ignore[method-assign]
    again.send(of.hello(version, 1, switch.model.versions))
    book.advance(3)
    assert again.flows(100) == [] and len(again.flows(200)) == 2
    assert shown(book.at("alice")) == [] and len(shown(book.at("bob"))) == 2
    assert not book.at("alice").errors(), "no controller has asked for it"


# -- ports, pipelines and slots ---------------------------------------------------------------------------


@BOTH
def test_ports_that_were_taken_away_meanwhile_are_in_nobodys_actions(version: int) -> None:
    book, switch = stage(version)
    book.at("alice").add(3, cookie=1, eth_dst=X)
    book.at("alice").add("flood", cookie=2, eth_dst=Y)
    again = restarted(book, switch, piece("alice", 100, (1, 2)), BOB)
    assert [cookie for _, _, cookie in shown(book.at("alice"))] == [2]
    (entry,) = again.flows(100)
    assert entry.outputs(version) == [1, 2]
    assert 3 in again.guards(100)


@pytest.mark.parametrize("first", ["direct", "admission"])
def test_where_the_tables_are_used_another_way_everybody_begins_anew(first: str) -> None:
    book, switch = stage(V13, policy=Policy(pipeline=first))
    objects(book)
    book.policy = Policy(pipeline="admission" if first == "direct" else "direct")
    again = restarted(book, switch)
    assert again.flows(100) == again.flows(200) == []
    alice = book.at("alice")
    assert shown(alice) == []
    alice.add(2, cookie=1, eth_dst=X)
    assert {entry.table for entry in again.flows(100)} == {1 if first == "direct" else 0}
    assert shown(alice) == [(0, 100, 1)]


SHARING = Policy(pipeline="admission", vlan_port_sharing=True)
ANNA, BERT = piece("anna", 100, (1, 2)), piece("bert", 100, (3, 4))


def shared(*slices: Slice) -> tuple[Playbook, SwitchEnd]:
    book, switch = stage(V13, *slices, policy=SHARING, sharing=True)
    for number, one in enumerate(slices):
        book.at(one.id).add("flood", cookie=0x10 + number)
        group_mod(book.at(one.id), 1, bucket(out("in_port")))
        assert not book.at(one.id).errors()
    return book, switch


def frame_out(switch: SwitchEnd, port: int) -> list[int]:
    found: list[Any] = []
    switch.does(lambda model: found.append(model.inject(port, E(100))))
    return [number for number, _ in found[0].sent]


def slots(switch: SwitchEnd) -> dict[int, int]:
    """By cookie tag, the slot its entries match."""
    return {entry.cookie >> 48: entry.match["metadata"][0] >> 52 for entry in switch.flows(100)}


def test_neighbours_on_a_vlan_keep_their_flows_and_their_slots() -> None:
    book, switch = shared(BERT, ANNA)
    before, groups = slots(switch), dict(switch.model.groups)
    flows = [entry for entry in switch.model.flows() if entry.table]
    again = restarted(book, switch, ANNA, BERT)  # the other way round: slots do not depend on who comes first
    assert slots(again) == before and len(set(before.values())) == 2
    assert [entry for entry in again.model.flows() if entry.table] == flows, "the very same entries"
    assert again.model.groups == groups
    assert unguarded(again) == []
    assert [shown(book.at(name))[0][2] for name in ("bert", "anna")] == [0x10, 0x11]
    assert [frame_out(again, port) for port in (1, 2, 3, 4)] == [[2], [1], [4], [3]]
    book.at("anna").flow_mod("delete", None, table=0xFF)
    assert frame_out(again, 1) == [] and frame_out(again, 3) == [4]


def test_a_neighbour_that_is_no_more_leaves_nothing_and_its_slot_is_not_given_away_before() -> None:
    book, switch = shared(ANNA, BERT)
    used = set(slots(switch).values())
    book.restart(piece("cleo", 100, (1, 2)), piece("dora", 100, (5, 6)), BERT)
    stubborn(switch)
    again = back(book, switch)
    assert set(slots(again).values()) == used, "it deletes nothing"
    fresh = {one.metadata_slot for one in journal(book) if one.owner in ("cleo", "dora")}
    assert len(fresh) == 2 and not fresh & used
    assert not book.controllers(), "a VLAN with strays in it is nobody's"
    stubborn(again, False)
    book.advance(40)
    assert slots(again) == {}
    for name in ("bert", "cleo"):
        book.at(name).add("flood", cookie=3)
    assert [frame_out(again, port) for port in (1, 3, 5)] == [[2], [4], []]


def test_a_slot_that_was_given_back_is_not_the_next_one_to_be_given() -> None:
    """Slots go round, over restarts too: what was in a slot is long gone when it is somebody else's."""
    book, switch = shared(ANNA, BERT)
    used = set(slots(switch).values())
    restarted(book, switch, BERT)
    book.adopt(BERT, piece("cleo", 100, (1, 2)))
    book.advance(1)
    (fresh,) = [one.metadata_slot for one in journal(book) if one.owner == "cleo"]
    assert fresh > max(used)


@pytest.mark.parametrize("before", [True, False])
def test_where_sharing_is_turned_on_or_off_everybody_begins_anew(before: bool) -> None:
    policies = {True: SHARING, False: Policy(pipeline="admission")}
    book, switch = stage(V13, ANNA, policy=policies[before], sharing=before)
    book.at("anna").add("flood", cookie=1)
    book.policy, book.sharing = policies[not before], not before
    again = restarted(book, switch)
    assert again.flows(100) == [] and shown(book.at("anna")) == []
    book.at("anna").add("flood", cookie=2)
    assert frame_out(again, 1) == [2]
    assert [one.metadata_slot != 0 for one in journal(book)] == [not before]


def test_a_journal_with_all_slots_taken_still_gives_everybody_his_own() -> None:
    book, switch = shared(ANNA, BERT)
    kept = journal(book)
    ghost = replace(kept[0], disowned=True, flows={}, groups={}, meters={}, slot=0)
    in_use = {one.metadata_slot for one in kept}
    others = [number for number in range(1, 0x1000) if number not in in_use]
    for number in others:
        one = replace(ghost, handle=1000 + number, tag=0x8000 + number, metadata_slot=number, owner="ghost")
        book.batches.append(b"".join(one.records()))
    book.restart(ANNA, BERT, piece("cleo", 100, (5, 6)))
    again = back(book, switch)
    assert {shown(book.at(name))[0][2] for name in ("anna", "bert")} == {0x10, 0x11}
    assert unguarded(again) == []
    assert [event.reason for event in book.told(Kind.PIPELINE)] == ["held-out"]
