"""What a switch holds when it comes, and a VLAN that changes hands (vetting D.3, D.4; vectors 296, 301, 304, 308)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.answers import flow_entry
from tests.emulation.frames import E
from tests.emulation.switch import EmulatedSwitch
from tests.emulation.table import Entry
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, TINA, UMA, piece
from vmoc.events import Kind
from vmoc.model import Policy
from vmoc.mux.proving import TRIES

BOTH = pytest.mark.parametrize("version", [V10, V13])
ERIN = piece("erin", 600, (1,))


def entry(version: int, priority: int = 0, cookie: int = 0, actions: bytes = b"", **match: of.Value) -> Entry:
    raw = of.match(version, **match)
    return Entry(0, of.parse_match(version, raw)[0], raw, priority, cookie, actions)


def normal(version: int) -> bytes:
    out = of.output(version, "normal")
    return out if version == V10 else of.apply_actions(out)


def model_with(version: int, *entries: Entry) -> EmulatedSwitch:
    model = EmulatedSwitch(("", 0), version=version)
    model.table.entries += entries
    return model


def stubborn(switch: SwitchEnd, *doomed: Entry) -> None:
    """The switch does not delete these."""
    drop = switch.model.table._drop
    switch.model.table._drop = lambda gone: drop([e for e in gone if e not in doomed])  # type: ignore[method-assign]


# -- reconcile -------------------------------------------------------------------------------------------


@BOTH
def test_a_switch_with_nothing_foreign_is_looked_at_once(version: int):
    book = Playbook()
    switch = book.switch(version)
    asked = [struct.unpack_from("!H", m.raw, 8)[0] for m in switch.log("stats_request")]
    assert asked.count(1) == 1
    assert not book.told(Kind.FOREIGN_FLOW)
    assert {end.endpoint.host for end in book.controllers()} == {"alice", "bob", "tina", "uma"}


@BOTH
def test_foreign_flows_are_deleted_and_it_looks_again(version: int):
    model = model_with(
        version,
        entry(version, actions=normal(version)),
        entry(version, 5, vlan=100),
        entry(version, 6, cookie=0x1234, vlan=999),
        entry(version, 7, vlan="none"),
        entry(version, 8, cookie=0xFFFE << 48, vlan=100, in_port=1),
        entry(version, 9, cookie=0xFFFE << 48, vlan=777, in_port=1),
        entry(version, 65535, cookie=0x4242 << 48 | 3, vlan=200, in_port=2),
    )
    book = Playbook()
    switch = book.switch(model=model)
    assert switch.flows() == []
    assert [switch.guards(v) != [] for v in (100, 200, 300, 400)] == [True] * 4
    assert all(e.priority == 65535 for e in switch.flows(guards=True))
    (event,) = book.told(Kind.FOREIGN_FLOW)
    assert "3 flow(s)" in event.message and "deleted" in event.message
    names = [m.name for m in switch.inbox]
    assert names.count("barrier_request") >= 2
    assert len(book.controllers()) == 4


def test_fields_we_do_not_know_are_foreign():
    tlv = struct.pack("!HBBIH", 0xFFFF, 0, 6, 0x4F4E4600, 1)
    raw = struct.pack("!HH", 1, 4 + len(tlv)) + tlv + bytes(-(4 + len(tlv)) % 8)
    odd = Entry(0, of.parse_match(V13, raw)[0], raw, 5, 0, b"")
    masked = entry(V13, 6, vlan_vid=(0x1000, 0x1000))
    model = model_with(V13, odd, masked)
    book = Playbook()
    switch = book.switch(model=model)
    assert switch.flows() == []
    assert len(book.controllers()) == 4


@BOTH
def test_what_is_nobodys_may_be_kept_but_not_what_is_in_a_slice(version: int):
    model = model_with(version, entry(version, 5, vlan=999), entry(version, 6, vlan=100))
    book = Playbook(policy=Policy(foreign_flows="keep"))
    switch = book.switch(model=model)
    assert [e.vlan for e in switch.flows()] == [999]
    assert "kept" in book.told(Kind.FOREIGN_FLOW)[0].message
    assert len(book.controllers()) == 4


@BOTH
def test_known_flows_stay_over_a_reconnect(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=1, cookie=0x11)
    a.add("flood", eth_dst=2, cookie=0x12)
    book.at("bob").add(2)
    held = list(switch.model.table.entries)
    switch.close()
    assert not book.controllers()
    book.advance(100)
    again = book.switch(model=switch.model)
    book.advance(2)
    assert {id(e) for e in held} - {id(e) for e in again.model.table.entries} <= {
        id(e) for e in held if e.cookie >> 48 == 0xFFFE
    }, "guards may be written again, nothing else"
    assert [s.cookie for s in book.at("alice").flow_stats()] == [0x11, 0x12]
    assert len(book.at("bob").flow_stats()) == 1
    again.port_status("delete", 3)
    flooding = next(e for e in again.flows(100) if e.match["eth_dst"][0] == 2)
    assert [p for part in of.action_lists(version, flooding.actions) for p in of.output_ports(version, part)] == [1, 2]


@BOTH
def test_unknown_serials_changed_entries_and_ghosts(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in (1, 2, 3):
        a.add(2, eth_dst=number, cookie=number)
    first, second, third = switch.flows(100)
    tag = first.cookie >> 48 << 48
    switch.close()
    table = switch.model.table
    table.entries.remove(first)  # a ghost in the shadow
    second.priority += 1  # not what the shadow knows
    table.entries.append(entry(version, 9, cookie=tag | 0x777, vlan=100))
    again = book.switch(model=switch.model)
    assert again.flows(100) == [third]
    assert [s.cookie for s in book.at("alice").flow_stats()] == [3]
    for number in range(10, 19):
        book.at("alice").add(2, eth_dst=number)
    assert not book.at("alice").errors(), "ghosts cost no quota"


@BOTH
def test_a_slice_removed_while_the_switch_was_away_leaves_nothing(version: int):
    book, switch = scene(version)
    book.at("alice").add(2)
    book.at("bob").add(2)
    switch.close()
    book.adopt(BOB, TINA, UMA)
    again = book.switch(model=switch.model)
    assert again.flows(100, guards=True) == []
    assert len(again.flows(200)) == 1


@BOTH
def test_a_vlan_that_changed_hands_while_the_switch_was_away(version: int):
    book, switch = scene(version)
    book.at("alice").add(2)
    switch.close()
    book.adopt(piece("carol", 100, (1, 2, 3, 4)), *FOUR[1:])
    again = book.switch(model=switch.model)
    assert again.flows(100) == []
    assert again.guards(100) == sorted(set(again.model.ports) - {1, 2, 3, 4})
    assert book.at("carol").flow_stats() == []


@pytest.mark.parametrize(("before", "after"), [(V10, V13), (V13, V10)])
def test_another_version_after_a_reconnect_begins_anew(before: int, after: int):
    book, switch = scene(before)
    book.at("alice").add(2)
    switch.close()
    model = EmulatedSwitch(("", 0), version=after)
    again = book.switch(model=model)
    book.advance(2)
    for end in book.controllers():
        assert end.version == after
    local = of.port_number(after, "local")
    assert again.guards(100) == [4, 5, 6, local], "the guards are those of the new numbering"
    a = book.at("alice")
    a.add(2)
    assert len(again.flows(100)) == len(a.flow_stats()) == 1


@BOTH
def test_a_switch_that_does_not_tell_what_it_holds_is_emptied(version: int):
    model = model_with(version, entry(version, actions=normal(version)), entry(version, 5, vlan=100))
    book = Playbook()
    switch = book.dial_in(model=model)
    serve = model._on_stats_request

    def refuse_flows(message: object) -> None:
        kind = struct.unpack_from("!H", message.raw, 8)[0]  # type: ignore[attr-defined]
        if kind == 1:
            model.error(message, 1, 2)  # type: ignore[arg-type]
        else:
            serve(message)  # type: ignore[arg-type]

    model._on_stats_request = refuse_flows  # type: ignore[method-assign, assignment]
    switch.send(of.hello(version, 0, model.versions))
    assert switch.flows() == []
    assert len(book.controllers()) == 4


@BOTH
def test_what_cannot_be_deleted_keeps_its_vlan_closed(version: int):
    stuck = entry(version, 5, vlan=100)
    model = model_with(version, stuck)
    book = Playbook()
    switch = book.dial_in(model=model)
    stubborn(switch, stuck)
    switch.send(of.hello(version, 0, model.versions))
    assert {end.endpoint.host for end in book.controllers()} == {"bob", "tina", "uma"}
    (event,) = book.told(Kind.TAINTED)
    assert (event.slice, event.vlan, event.dpid) == ("alice", 100, 0xAA)
    switch.packet_in(1, E(100))
    assert book.mux.counters.dropped_packet_ins["down"] == 1
    book.advance(29)
    assert len(book.controllers()) == 3
    model.table._drop = type(model.table)._drop.__get__(model.table)  # type: ignore[method-assign]
    book.advance(2)
    assert book.at("alice").flow_stats() == []
    assert switch.flows(100) == []
    assert len(switch.guards(100)) == 4
    assert len(book.told(Kind.TAINTED)) == 1


@BOTH
def test_a_wildcard_that_cannot_be_deleted_closes_every_vlan(version: int):
    stuck = entry(version, actions=normal(version))
    model = model_with(version, stuck)
    book = Playbook()
    switch = book.dial_in(model=model)
    stubborn(switch, stuck)
    switch.send(of.hello(version, 0, model.versions))
    assert not book.controllers()
    assert len(book.told(Kind.TAINTED)) == 4


@BOTH
def test_untagged_flows_that_cannot_be_deleted_harm_nobody(version: int):
    stuck = entry(version, vlan="none")
    model = model_with(version, stuck)
    book = Playbook()
    switch = book.dial_in(model=model)
    stubborn(switch, stuck)
    switch.send(of.hello(version, 0, model.versions))
    assert len(book.controllers()) == 4


# -- one VLAN (vector 296) -------------------------------------------------------------------------------


@BOTH
def test_a_new_segment_gets_a_clean_vlan_with_guards_before_its_controller(version: int):
    book, switch = scene(version)
    switch.model.table.entries.append(entry(version, 5, vlan=600))
    switch.hold("barrier_reply")
    book.adopt(*FOUR, ERIN)
    mods = [m for m in switch.inbox if m.name == "flow_mod"]
    first = of.parse_flow_mod(mods[0])
    assert (first.command, first.vlan, first.cookie_mask) == ("delete", 600, 0)
    assert [m.name for m in switch.inbox[:3]] == ["flow_mod", "barrier_request", "stats_request"]
    local = of.port_number(version, "local")
    assert [of.parse_flow_mod(m).match["in_port"][0] for m in mods[1:]] == [2, 3, 4, 5, 6, local]
    assert switch.inbox[-1].name == "barrier_request"
    assert not [end for end in book.controllers() if end.endpoint.host == "erin"]
    switch.release()
    assert book.at("erin").features
    assert switch.guards(600) == [2, 3, 4, 5, 6, local]
    assert book.heard() == {"erin": ["hello"]}


@BOTH
def test_removing_a_segment_closes_deletes_and_looks(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    if version == V13:
        a.add(2, table=2)
    book.clear()
    book.adopt(*FOUR[1:])
    assert not a.open
    mod = switch.flow_mods()[0]
    assert (mod.command, mod.vlan, mod.cookie_mask, mod.table) == ("delete", 100, 0, 255 if version == V13 else 0)
    assert [m.name for m in switch.inbox[:2]] == ["barrier_request", "stats_request"]
    assert switch.flows(100, guards=True) == []
    assert len(book.controllers()) == 3
    switch.packet_in(1, E(100))
    assert book.heard() == {}


@BOTH
def test_three_tries_then_tainted(version: int):
    book, switch = scene(version)
    stuck = entry(version, 5, vlan=600)
    switch.model.table.entries.append(stuck)
    stubborn(switch, stuck)
    book.adopt(*FOUR, ERIN)
    deletes = [m for m in switch.flow_mods() if m.vlan == 600]
    assert [m.command for m in deletes] == ["delete"] * TRIES
    assert not [end for end in book.controllers() if end.endpoint.host == "erin"]
    assert [event.vlan for event in book.told(Kind.TAINTED)] == [600]
    assert [d["state"] for d in book.mux.describe()["switches"][0]["datapaths"]][-1] == "tainted"  # type: ignore[index]
    book.advance(31)
    assert len([m for m in switch.flow_mods() if m.vlan == 600]) == TRIES
    assert len(book.told(Kind.TAINTED)) == 1
    switch.model.table.entries.remove(stuck)
    book.advance(31)
    assert book.at("erin")


@BOTH
def test_a_tainted_segment_may_be_removed(version: int):
    book, switch = scene(version)
    stuck = entry(version, 5, vlan=600)
    switch.model.table.entries.append(stuck)
    stubborn(switch, stuck)
    book.adopt(*FOUR, ERIN)
    book.clear()
    book.adopt(*FOUR)
    assert [event.slice for event in book.told(Kind.TAINTED)] == ["erin"]
    book.clear()
    book.advance(50)  # and then the audit looks again
    assert not switch.log("flow_mod")


@BOTH
def test_a_switch_that_loses_the_flush_answer_is_asked_again(version: int):
    book, switch = scene(version)
    switch.model.mute = {"stats_reply"}
    book.adopt(*FOUR, ERIN)
    book.advance(21)
    assert book.told(Kind.TAINTED)
    switch.model.mute = set()
    book.advance(40)
    assert book.at("erin")


@BOTH
def test_a_flush_in_several_parts(version: int):
    book, switch = scene(version)
    switch.model.stats_size = 100
    entries = [entry(version, n, vlan=600, eth_dst=n) for n in range(5)]
    switch.model.table.entries += entries
    calls = []
    drop = switch.model.table._drop

    def second_time(gone: list[Entry]) -> None:
        calls.append(gone)
        if len(calls) > 1:
            drop(gone)

    switch.model.table._drop = second_time  # type: ignore[method-assign]
    book.adopt(*FOUR, ERIN)
    assert book.at("erin")
    assert [len(gone) for gone in calls if gone] == [5, 5]


@BOTH
def test_one_vlan_from_hand_to_hand(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, flags=1)
    old = switch.flows(100)[0].cookie >> 48
    switch.hold("stats_reply")
    book.adopt(piece("carol", 100, (2, 3, 4)), *FOUR[1:])
    switch.packet_in(2, E(100))
    assert book.heard() == {}
    switch.release()
    carol = book.at("carol")
    carol.add(2)
    assert switch.flows(100)[0].cookie >> 48 != old
    assert 1 in switch.guards(100) and 4 not in switch.guards(100)
    assert [s.cookie for s in carol.flow_stats()] == [0x11]


@BOTH
def test_the_flush_of_a_former_owner_does_not_hit_the_next(version: int):
    book, switch = scene(version)
    late = entry(version, 5, vlan=100)
    switch.hold("stats_reply")
    book.adopt(*FOUR[1:])
    switch.model.table.entries.append(late)
    book.adopt(piece("carol", 100, (2, 3, 4)), *FOUR[1:])
    first, second = switch.model.held
    switch.model.held = []
    start = 12 if version == V10 else 16
    lie = of.message(version, "stats_reply", first[8:start] + flow_entry(version, late), of.Message(first).xid)
    switch.model.hold.clear()
    switch.send(lie)
    switch.send(second)
    book.at("carol").add(2)
    book.advance(3)
    assert len(switch.flows(100)) == 1
    assert len(switch.guards(100)) == 4


@BOTH
def test_a_connection_lost_during_a_flush(version: int):
    book, switch = scene(version)
    book.at("alice").add(2)
    switch.hold("stats_reply")
    book.adopt(*FOUR[1:], ERIN)
    switch.model.hold.clear()
    switch.model.held.clear()
    switch.close()
    mux_switch = next(iter(book.mux._switches.values()))
    assert len(mux_switch.by_tag) == len(mux_switch.datapaths) == 4, "the tag of the removed one is not kept for ever"
    again = book.switch(model=switch.model)
    assert book.at("erin") and again.flows(100, guards=True) == []


# -- slices that come while a switch is coming up --------------------------------------------------------


@BOTH
@pytest.mark.parametrize("hold", ["stats_reply", "barrier_reply"])
def test_slices_that_change_while_the_switch_is_being_looked_at(version: int, hold: str):
    model = model_with(version, entry(version, 5, vlan=600))
    book = Playbook(FOUR, policy=Policy(foreign_flows="keep"))
    switch = book.dial_in(model=model)
    switch.hold(hold)
    switch.send(of.hello(version, 0, model.versions))
    for wanted in ((UMA, TINA), (*FOUR[1:], ERIN), (BOB, TINA), (*FOUR[1:], ERIN)):
        book.adopt(*wanted)  # one answer at a time, slices changing in between
        due, model.held = model.held[:1], model.held[1:]
        switch.send(*due)
    switch.release()
    book.advance(1)
    assert {end.endpoint.host for end in book.controllers()} == {"bob", "tina", "uma", "erin"}
    assert switch.flows(600) == [], "proven empty although it came late"
    assert len(switch.guards(600)) == 6
    assert switch.guards(100) == []


@BOTH
def test_a_segment_that_goes_while_its_vlan_is_flushed(version: int):
    book, switch = scene(version)
    switch.hold("stats_reply")
    book.adopt(*FOUR, ERIN)
    book.adopt(*FOUR)
    switch.release()
    book.advance(2)
    assert len(book.attempts) == 4
    assert switch.flows(600, guards=True) == []
    switch.hold("barrier_reply")
    book.adopt(*FOUR, ERIN)
    book.adopt(*FOUR)
    switch.release()
    assert len(book.attempts) == 4
    assert switch.flows(600, guards=True) == []


@BOTH
def test_the_reconcile_of_alice_alone(version: int):
    book = Playbook((ALICE,))
    switch = book.switch(version, ports=(1, 2, 3))
    assert switch.guards(100) == [of.port_number(version, "local")]
