"""Flow entries as people see them."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, DPID, piece
from vmoc.model import Policy
from vmoc.mux import flowlist
from vmoc.mux.flowdump import Dump
from vmoc.status import FlowStatus

BOTH = pytest.mark.parametrize("version", [V10, V13])
KEY = (DPID, 0)
TAG = {V10: "dl_vlan=100", V13: "vlan_vid=0x1064"}


def dump(book: Playbook, vlan: int | None = None) -> Dump:
    taken: list[Dump] = []
    book.mux.view.dump_flows(KEY, vlan, taken.append, book.now)
    book.settle()
    (found,) = taken
    assert not found.problem
    return found


def told(book: Playbook, version: int, *vlans: int, strangers: bool = True) -> list[FlowStatus]:
    sources = book.mux.view.flow_sources(KEY, vlans)
    return [flowlist.write_out(one, version, *KEY) for one in flowlist.merge(sources, dump(book), strangers=strangers)]


def known(book: Playbook, version: int, *vlans: int) -> list[FlowStatus]:
    return [flowlist.write_out(one, version, *KEY) for one in flowlist.known(book.mux.view.flow_sources(KEY, vlans))]


def scene_with_flows(version: int) -> tuple[Playbook, SwitchEnd]:
    book, switch = scene(version)
    book.at("alice").add(2, priority=7, cookie=0xA11CE, idle=30, in_port=1)
    book.at("bob").add(3, priority=9)
    return book, switch


@BOTH
def test_both_forms_of_an_entry(version: int):
    book, _ = scene_with_flows(version)
    (entry,) = [one for one in known(book, version, 100) if one.kind == "slice"]
    assert (entry.slice, entry.vlan, entry.table, entry.priority) == ("alice", 100, 0, 7)
    assert entry.virtual_cookie == 0xA11CE and "cookie=0xa11ce" in entry.virtual and "vlan" not in entry.virtual
    assert f"cookie={entry.cookie:#x}" in entry.physical and TAG[version] in entry.physical
    assert "send_flow_rem" in entry.physical and "send_flow_rem" not in entry.virtual
    for text in (entry.virtual, entry.physical):
        assert "in_port=1" in text and "idle_timeout=30" in text and text.endswith("actions=output:2")
    assert (entry.confirmed, entry.counts) == (False, None)


@BOTH
def test_the_switch_tells_its_counters(version: int):
    book, switch = scene_with_flows(version)
    for entry in switch.flows(100):
        entry.packets, entry.bytes = 5, 320
    shown = {one.slice: one for one in told(book, version, 100, 200) if one.kind == "slice"}
    assert set(shown) == {"alice", "bob"}
    assert shown["alice"].confirmed and shown["alice"].counts is not None
    assert (shown["alice"].counts.packets, shown["alice"].counts.bytes) == (5, 320)
    assert shown["bob"].counts is not None and shown["bob"].counts.packets == 0
    assert TAG[version] in shown["alice"].physical and "idle_timeout=30" in shown["alice"].physical


@BOTH
def test_the_proxys_own_entries_are_named(version: int):
    book, switch = scene_with_flows(version)
    guards = [one for one in told(book, version, 100) if one.kind == "guard" and one.slice == "alice"]
    assert len(guards) == len(switch.guards(100)) > 0
    assert all(one.virtual == "" and one.physical.endswith("actions=drop") for one in guards)
    shadow = [one for one in known(book, version, 100) if one.kind == "guard"]
    assert sorted(one.physical.replace("send_flow_rem,", "") for one in guards) == sorted(o.physical for o in shadow)


@BOTH
def test_what_is_missing_and_what_is_nobodys(version: int):
    book, switch = scene_with_flows(version)
    stray = switch.flows(200)[0]
    stray.cookie = 0x1234_0000_0000_0001
    for entry in list(switch.flows(100)):
        switch.model.table.entries.remove(entry)
    every = told(book, version, 100, 200)
    (missing,) = [one for one in every if one.kind == "missing" and one.slice == "alice"]
    assert not missing.confirmed and missing.counts is None
    (foreign,) = [one for one in every if one.kind == "foreign"]
    assert (foreign.slice, foreign.vlan, foreign.cookie) == (None, 200, stray.cookie)
    assert not [one for one in told(book, version, 100, strangers=False) if one.kind == "foreign"]


@BOTH
def test_only_ones_own_without_strangers(version: int):
    book, _ = scene_with_flows(version)
    shown = told(book, version, 100, strangers=False)
    assert {one.vlan for one in shown} == {100} and {one.slice for one in shown} == {"alice"}


@BOTH
def test_the_order_is_table_then_falling_priority(version: int):
    book, _ = scene_with_flows(version)
    priorities = [one.priority for one in told(book, version, 100, 200)]
    assert priorities == sorted(priorities, reverse=True) and len(set(priorities)) > 2


def test_a_dump_of_one_vlan_has_no_other():
    book, _ = scene_with_flows(V13)
    sources = book.mux.view.flow_sources(KEY, [100])
    assert {one.vlan for one in flowlist.merge(sources, dump(book, 100))} == {100}


def test_a_source_is_a_copy_of_references():
    book, _ = scene(V13, ALICE)
    (source,) = book.mux.view.flow_sources(KEY, [100])
    assert (source.slice, source.vlan, source.entries) == ("alice", 100, ())
    book.at("alice").add(2)
    assert source.entries == ()
    assert book.mux.view.flow_sources((0x77, 0), [100]) == []


def test_only_what_was_there_before_can_be_missing():
    book, switch = scene_with_flows(V13)
    before = {source.tag << 48 | e.serial for source in book.mux.view.flow_sources(KEY, [100]) for e in source.entries}
    answer = dump(book)
    book.at("alice").add(2, priority=8)
    sources = book.mux.view.flow_sources(KEY, [100])
    assert not [one for one in flowlist.merge(sources, answer, expected=before) if one.kind == "missing"]
    assert [one.entry for one in flowlist.merge(sources, answer) if one.kind == "missing"] == [sources[0].entries[-1]]


def test_another_slices_flow_in_a_dump_is_not_told_to_one_slice():
    book, _ = scene_with_flows(V13)
    answer = dump(book)
    bob = book.mux.view.flow_sources(KEY, [200])
    assert {one.source.slice for one in flowlist.merge(bob, answer, strangers=False) if one.source} == {"bob"}
    assert not [one for one in flowlist.merge(bob, answer, strangers=False) if one.source is None]


def test_admissions_are_told_and_known_as_what_they_are():
    book, _ = scene(V13, ALICE, policy=Policy(pipeline="admission"))
    for shown in (known(book, V13, 100), told(book, V13, 100)):
        entries = [one for one in shown if one.kind == "admission"]
        assert len(entries) == 4 and {(one.slice, one.table, one.priority) for one in entries} == {("alice", 0, 100)}
        assert all(one.physical.endswith("actions=goto_table:1") for one in entries)


def test_who_shares_a_vlan_is_told_nothing_of_the_neighbour():
    pair = piece("anna", 100, (1, 2)), piece("bert", 100, (3, 4))
    book, switch = scene(V13, *pair, policy=Policy(pipeline="admission", vlan_port_sharing=True), sharing=True)
    book.at("anna").add(2)
    book.at("bert").add(4)
    stray = of.flow_mod(V13, "add", of.match(V13, vlan_vid=0x1064), table=2)
    switch.model.table.apply(of.parse_flow_mod(Message(stray)))
    sources = book.mux.view.flow_sources(KEY, (100,))
    assert [source.slice for source in sources] == ["anna", "bert"]
    mine = flowlist.merge(sources[:1], dump(book, 100), strangers=False)
    assert sorted(one.kind for one in mine) == ["admission", "admission", "slice"]
    assert {one.source.slice for one in mine if one.source is not None} == {"anna"} and all(one.source for one in mine)
    book.advance(5)
    every = flowlist.merge(sources, dump(book, 100))
    assert sorted(one.kind for one in every) == ["admission"] * 4 + ["foreign", "slice", "slice"]
