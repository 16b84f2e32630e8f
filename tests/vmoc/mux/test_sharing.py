"""``vlan_port_sharing``: slices with one VLAN on one switch never meet, whatever comes and goes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.actions import apply_actions, goto_table, group, instruction
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import piece, with_segment
from tests.vmoc.mux.test_admission import CONTROLLER, FULL, describe, gates, ports
from vmoc.events import Kind
from vmoc.model import Attachment, FailMode, Policy, Presentation, Timers
from vmoc.mux.admission import Slots

SHARING = Policy(pipeline="admission", vlan_port_sharing=True)
ANNA = piece("anna", 100, (1, 2))
BERT = piece("bert", 100, (3, 4))
SLOT = 0xFFF << 52


def stage(*slices: Any, **more: Any) -> tuple[Playbook, SwitchEnd]:
    return scene(V13, *(slices or (ANNA, BERT)), policy=SHARING, sharing=True, **more)


def slots(switch: SwitchEnd) -> dict[int, int]:
    """Slot by port of VLAN 100."""
    return {port: slot or 0 for (_, port), slot in gates(switch, 100).items()}


def entries(switch: SwitchEnd, slot: int) -> list[Any]:
    """A slice's own entries, all of which must name its slot."""
    found = switch.flows(100)
    assert all(entry.match["metadata"][1] & SLOT == SLOT for entry in found)
    return [entry for entry in found if entry.match["metadata"][0] >> 52 == slot]


def frame_out(switch: SwitchEnd, port: int, frame: bytes | None = None) -> list[int]:
    found: list[Any] = []
    switch.does(lambda model: found.append(model.inject(port, frame or E(100))))
    return [out for out, _ in found[0].sent]


def metadata(value: int, mask: int) -> bytes:
    return instruction(2, bytes(4) + struct.pack("!QQ", value, mask))


def test_each_has_a_slot_and_its_own_ports() -> None:
    book, switch = stage()
    found = slots(switch)
    assert sorted(found) == [1, 2, 3, 4], "packets without a port are nobody's"
    assert found[1] == found[2] != found[3] == found[4] and 0 not in found.values()
    assert describe(book)["vlan_port_sharing"] is True
    assert {d["slice"]: d["ports"] for d in describe(book)["datapaths"]} == {"anna": [1, 2], "bert": [3, 4]}


def test_flows_of_the_same_form_are_two_and_each_meets_its_own_packets() -> None:
    book, switch = stage()
    anna, bert = book.at("anna"), book.at("bert")
    anna.add("flood", cookie=1)
    bert.add("flood", cookie=2)
    assert len(switch.flows(100)) == 2 and not anna.errors() and not bert.errors()
    assert frame_out(switch, 1) == [2] and frame_out(switch, 2) == [1]
    assert frame_out(switch, 3) == [4] and frame_out(switch, 4) == [3]
    assert frame_out(switch, 5) == []
    assert [stat.cookie for stat in anna.flow_stats()] == [1] and [stat.cookie for stat in bert.flow_stats()] == [2]
    assert anna.aggregate()[2] == bert.aggregate()[2] == 1
    assert [stat.match for stat in anna.flow_stats()] == [{}], "nobody sees a slot"
    anna.flow_mod("delete", None, table=255)
    assert frame_out(switch, 1) == [] and frame_out(switch, 3) == [4]


def test_packets_go_to_the_controller_of_their_port() -> None:
    book, switch = stage()
    for name in ("anna", "bert"):
        write = metadata(7, FULL >> 12)
        book.at(name).flow_mod("add", None, table=0, cookie=9, instructions=write + goto_table(1))
        book.at(name).flow_mod("add", of.match(V13, metadata=7), of.output(V13, "controller"), table=1, cookie=8)
    frame_out(switch, 2)
    (told,) = book.at("anna").packet_ins()
    assert (told.table, told.cookie) == (1, 8)
    assert {name: value[0] for name, value in told.match.items()} == {"in_port": 2, "metadata": 7}
    assert not book.at("bert").packet_ins()
    frame_out(switch, 3)
    assert book.at("bert").packet_ins() and not book.at("anna").packet_ins()


def test_metadata_of_the_slice_that_is_0_is_not_told() -> None:
    book, switch = stage(with_segment(ANNA, presentation=Presentation.TRANSPARENT), BERT)
    book.at("anna").add("controller")
    frame_out(switch, 1)
    (told,) = book.at("anna").packet_ins()
    assert told.match.keys() == {"in_port"} and len(told.data) == len(E(100)) - 4


@pytest.mark.parametrize("port", [5, CONTROLLER])
def test_a_packet_at_nobodys_port_is_dropped(port: int) -> None:
    book, switch = stage()
    switch.packet_in(port, E(100), reason=1)
    assert not book.heard() and book.mux.counters.dropped_packet_ins["foreign-port"] == 1


def test_an_entry_of_the_neighbours_does_not_speak_for_ones_port() -> None:
    book, switch = stage()
    book.at("bert").add("controller")
    (entry,) = switch.flows(100)
    switch.packet_in(1, E(100), reason=1, cookie=entry.cookie)
    assert not book.at("anna").packet_ins() and not book.at("bert").packet_ins()
    assert book.mux.counters.dropped_packet_ins["foreign-cookie"] == 1


def test_packet_outs() -> None:
    book, switch = stage()
    anna = book.at("anna")
    anna.add(2)
    switch.model.transmitted.clear()
    anna.packet_out(E(100), "table", in_port=1)
    assert switch.model.transmitted == [(2, E(100))]
    for port, in_port in (("table", "controller"), ("controller", 1), ("controller", "controller"), (3, 1)):
        anna.packet_out(E(100), port, in_port=in_port)
        assert anna.errors() == [(2, 4)]
    xid = anna.packet_out(E(100), 1, in_port=3)
    anna.error(xid, (1, 11))
    anna.packet_out(E(100), "flood")
    assert sorted(port for port, _ in switch.model.transmitted[1:]) == [1, 2]


def test_removal_leaves_the_neighbour_as_it_is() -> None:
    book, switch = stage()
    book.at("anna").add("flood", table=2)
    book.at("bert").add("flood", table=0)
    mine = slots(switch)[3]
    bert = book.at("bert")
    kept = entries(switch, mine) + [e for e in switch.model.flows(100) if e.match.get("in_port", (0, 0))[0] in (3, 4)]
    switch.take()
    book.adopt(BERT)
    assert len(kept) == 3
    assert {id(entry) for entry in switch.model.flows(100)} == {id(entry) for entry in kept}, "untouched, not made anew"
    assert bert.open and frame_out(switch, 3) == [4]
    deletes = [mod for mod in switch.flow_mods() if mod.command == "delete"]
    assert [(mod.table, mod.cookie_mask) for mod in deletes] == [(0, FULL), (255, 0xFFFF << 48)]
    assert not book.told(Kind.TAINTED)


def test_a_slot_is_not_given_again_before_it_is_proven_empty() -> None:
    book, switch = stage()
    inside = next(iter(book.mux._switches.values()))
    first, second = slots(switch)[1], slots(switch)[3]
    switch.hold("stats_reply")
    book.adopt(BERT)
    assert inside.metadata_slots.taken == {first, second}
    switch.release()
    assert inside.metadata_slots.taken == {second}
    book.adopt(BERT, ANNA)
    assert slots(switch)[1] not in (first, second), "nor soon after"


def test_a_slot_of_a_switch_that_is_away_waits_for_its_return() -> None:
    book, switch = stage()
    inside = next(iter(book.mux._switches.values()))
    book.at("anna").add(2)
    first, second = slots(switch)[1], slots(switch)[3]
    switch.close()
    book.adopt(BERT)
    assert first in inside.metadata_slots.taken
    switch = book.switch(model=switch.model)
    book.advance(3)
    assert inside.metadata_slots.taken == {second} and ports(switch, 100) == [3, 4] and not switch.flows(100)


def test_slots_come_again_after_all_others() -> None:
    found = Slots()
    assert [found.allocate() for _ in range(3)] == [1, 2, 3]
    found.taken.discard(2)
    assert found.allocate() == 4
    found.taken = set(range(1, Slots.MOST + 1)) - {2}
    assert not found.full and found.allocate() == 2
    assert found.full and found.allocate() == 0


def test_ports_change_hands_in_an_order_that_leaves_no_gap() -> None:
    book, switch = stage()
    anna, bert = book.at("anna"), book.at("bert")
    anna.add(2, in_port=1)
    anna.add("flood", priority=1)
    bert.add("flood")
    switch.take()
    swapped = (
        with_segment(ANNA, attachments=(Attachment(0xAA, frozenset((1, 3))),)),
        with_segment(BERT, attachments=(Attachment(0xAA, frozenset((2, 4))),)),
    )
    before = slots(switch)
    book.adopt(*swapped)
    log = [(mod.command, mod.table, mod.match.get("in_port", (0, 0))[0]) for mod in switch.flow_mods()]
    grants = [at for at, each in enumerate(log) if each[0] == "add"]
    revokes = [at for at, each in enumerate(log) if each[:2] == ("delete_strict", 0)]
    assert {log[at] for at in grants} == {("add", 0, 3), ("add", 0, 2)} and max(revokes) < min(grants)
    assert {log[at][2] for at in revokes} == {2, 3}
    assert slots(switch) == {1: before[1], 3: before[1], 2: before[3], 4: before[3]}
    assert frame_out(switch, 1) == [3] and frame_out(switch, 2) == [4] and frame_out(switch, 4) == [2]
    assert len(anna.flow_stats()) == 1, "the one that led to the port is gone"
    switch.packet_in(3, E(100), reason=1)
    assert anna.packet_ins() and not bert.packet_ins()


def test_a_port_of_one_who_leaves_is_the_neighbours_after_it_is_off() -> None:
    book, switch = stage()
    book.at("anna").add("flood")
    switch.take()
    book.adopt(with_segment(BERT, attachments=(Attachment(0xAA, frozenset((1, 3, 4))),)))
    log = [(mod.command, mod.table, mod.match.get("in_port", (0, 0))[0]) for mod in switch.flow_mods()]
    assert log.index(("delete", 0, 0)) < log.index(("add", 0, 1))
    assert ports(switch, 100) == [1, 3, 4]
    book.at("bert").add("flood")
    assert frame_out(switch, 1) == [3, 4]


def test_groups_and_meters_stay_apart() -> None:
    book, switch = stage()
    bucket = struct.pack("!HHII4x", 32, 0, 0xFFFFFFFF, 0xFFFFFFFF)
    for name, port in (("anna", 2), ("bert", 4)):
        end = book.at(name)
        end.request("group_mod", struct.pack("!HBxI", 0, 0, 1) + bucket + of.output(V13, port))
        end.flow_mod("add", None, instructions=apply_actions(group(1)))
        assert not end.errors()
    assert frame_out(switch, 1) == [2] and frame_out(switch, 3) == [4]
    book.adopt(BERT)
    assert frame_out(switch, 3) == [4] and len(switch.model.groups) == 1


@pytest.mark.parametrize("mode", [FailMode.FLUSH, FailMode.STANDALONE])
def test_without_a_controller_the_neighbour_goes_on(mode: FailMode) -> None:
    book, switch = stage(with_segment(ANNA, fail_mode=mode), BERT)
    book.at("anna").add(2, priority=5)
    book.at("bert").add("flood")
    book.accept = False
    book.at("anna").close()
    book.advance(6)
    assert frame_out(switch, 3) == [4]
    assert frame_out(switch, 1) == ([] if mode is FailMode.FLUSH else [2])


def test_an_audit_knows_both() -> None:
    book = Playbook((ANNA, BERT), policy=SHARING, sharing=True, timers=Timers(audit=60.0))
    switch = book.switch(V13)
    book.at("anna").add(2)
    book.at("bert").add(4)
    book.clear()
    book.advance(70)
    assert not switch.flow_mods() and not book.told(Kind.FOREIGN_FLOW)
    gone = next(e for e in switch.model.table.entries if e.match.get("in_port", (0, 0))[0] == 3)
    switch.model.table.entries.remove(gone)
    book.advance(70)
    assert ports(switch, 100) == [1, 2, 3, 4]


def test_a_reconnect_keeps_both() -> None:
    book, switch = stage()
    book.at("anna").add("flood")
    book.at("bert").add("flood")
    before = slots(switch)
    switch.close()
    book.advance(3)
    switch = book.switch(model=switch.model)
    book.advance(3)
    assert slots(switch) == before and len(switch.flows(100)) == 2
    assert frame_out(switch, 1) == [2] and frame_out(switch, 3) == [4]


@pytest.mark.parametrize(("version", "knobs"), [(V10, {}), (V13, {"n_tables": 1})])
def test_where_it_cannot_be_shared_one_has_it(version: int, knobs: dict[str, int]) -> None:
    book = Playbook((BERT, ANNA), policy=SHARING, sharing=True)
    book.switch(version, **knobs)
    (held,) = [event for event in book.told(Kind.PIPELINE) if event.reason == "held-out"]
    assert (held.slice, held.vlan, held.dpid) == ("bert", 100, 0xAA)
    book.at("anna")
    assert [end.endpoint.host for end in book.controllers()] == ["anna"]
    assert describe(book)["held_out"] == [{"slice": "bert", "vlan": 100}]
    book.adopt(BERT)
    book.at("bert")
    assert describe(book)["held_out"] == []
    book.clear()
    book.adopt(BERT, ANNA)
    assert [end.endpoint.host for end in book.controllers()] == ["bert"], "who has it keeps it"
    assert [event.slice for event in book.told(Kind.PIPELINE)] == ["anna"]


def test_when_slots_run_out_the_slice_is_held_out() -> None:
    book, switch = stage(ANNA)
    next(iter(book.mux._switches.values())).metadata_slots.taken = set(range(1, Slots.MOST + 1))
    book.adopt(ANNA, BERT)
    assert [event.slice for event in book.told(Kind.PIPELINE)] == ["bert"]
    assert ports(switch, 100) == [1, 2]


def test_table_features_leave_the_slot_out() -> None:
    book, switch = stage()
    anna = book.at("anna")
    ((_, body),) = anna.stats_replies(anna.stats("table_features"))
    assert body[40:56] == struct.pack("!QQ", FULL >> 12, FULL >> 12)
