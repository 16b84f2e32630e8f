"""``pipeline: admission``: what table 0 holds and when, and that a slice sees none of it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.actions import apply_actions, goto_table, split_actions
from tests.emulation.frames import E
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, UMA, piece, snapshot_of, with_segment
from vmoc.events import Kind
from vmoc.model import Attachment, FailMode, Limits, Policy, Timers

ADMISSION = Policy(pipeline="admission")
CONTROLLER = of.PORTS[V13]["controller"]
LOCAL = of.PORTS[V13]["local"]
FULL = (1 << 64) - 1


def stage(*slices: Any, policy: Policy = ADMISSION, **more: Any) -> tuple[Playbook, SwitchEnd]:
    return scene(V13, *slices, policy=policy, **more)


def gates(switch: SwitchEnd, vlan: int | None = None) -> dict[tuple[Any, int], int | None]:
    """Table 0: (VLAN, port) of every entry, which must be an admission, and the slot it gives."""
    found: dict[tuple[Any, int], int | None] = {}
    for entry in switch.model.table.entries:
        if entry.table:
            continue
        assert entry.cookie >> 48 == 0xFFFE and entry.priority == 100
        assert entry.match.keys() <= {"in_port", "vlan_vid"}
        written = entry.metadata_writes()
        assert [kind for kind, _ in split_actions(entry.actions)] == ([2, 1] if written else [1])
        assert entry.actions[-8:] == goto_table(1)
        slot = None
        if written:
            ((value, mask),) = written
            assert mask == 0xFFF << 52 and not value & ~mask
            slot = value >> 52
        if vlan in (None, entry.vlan):
            found[entry.vlan, entry.match["in_port"][0]] = slot
    return found


def ports(switch: SwitchEnd, vlan: int) -> list[int]:
    return sorted(port for _, port in gates(switch, vlan))


def describe(book: Playbook) -> dict[str, Any]:
    (told,) = book.mux.describe()["switches"]  # type: ignore[misc]
    return told  # type: ignore[no-any-return]


# -- what there is -----------------------------------------------------------------------------------


def test_table_0_lets_in_ports_and_packet_outs_and_nothing_else() -> None:
    book, switch = stage()
    assert ports(switch, 100) == [1, 2, 3, CONTROLLER]
    assert ports(switch, 200) == [2, 3, 4, CONTROLLER]
    assert ports(switch, 300) == [1, 2, 5, CONTROLLER]
    assert ports(switch, 400) == [1, 2, 3, 4, 5, 6, CONTROLLER], "all physical ports, without LOCAL"
    assert len(switch.model.table.entries) == 19, "no guards, no miss entry"
    assert book.at("alice").features is not None and book.at("alice").features.n_tables == 3
    told = describe(book)
    assert (told["pipeline"], told["vlan_port_sharing"], told["pipeline_note"]) == ("admission", False, None)


@pytest.mark.parametrize(
    ("knobs", "version", "why"),
    [({"n_tables": 1}, V13, "one table only"), ({}, V10, "OpenFlow 1.0")],
)
def test_a_switch_that_cannot_stays_direct_and_says_why(knobs: dict[str, int], version: int, why: str) -> None:
    book = Playbook(policy=ADMISSION)
    switch = book.switch(version, **knobs)
    (event,) = book.told(Kind.PIPELINE)
    assert why in event.message and event.reason == "direct" and event.dpid == 0xAA
    assert describe(book)["pipeline"] == "direct" and why in describe(book)["pipeline_note"]
    assert switch.guards(100) == [4, 5, 6, of.PORTS[version]["local"]]
    book.at("alice").add(2)
    assert [entry.table for entry in switch.flows(100)] == [0]


def test_a_switch_that_does_not_tell_stays_direct() -> None:
    model = EmulatedSwitch(("", 0), version=V13)
    answer = EmulatedSwitch._on_stats_request

    def refuse(message: Any) -> None:
        if message.raw[8:10] == struct.pack("!H", 12):
            model.error(message, 1, 2)
        else:
            answer(model, message)

    model._on_stats_request = refuse  # type: ignore[method-assign]
    book = Playbook(policy=ADMISSION)
    switch = book.switch(model=model)
    assert "does not tell" in book.told(Kind.PIPELINE)[0].message
    assert switch.guards(100) and describe(book)["up"]


def test_direct_is_asked_for_nothing_and_says_nothing() -> None:
    book, switch = scene(V13)
    assert not book.told(Kind.PIPELINE) and describe(book)["pipeline"] == "direct"
    assert switch.guards(100)


# -- tables ------------------------------------------------------------------------------------------


def test_every_table_id_is_the_slices_own() -> None:
    book, switch = stage()
    alice = book.at("alice")
    first = apply_actions(of.output(V13, "controller")) + goto_table(2)
    alice.flow_mod("add", of.match(V13, in_port=1), table=0, priority=65535, instructions=first, flags=1, cookie=7)
    alice.flow_mod("add", None, of.output(V13, 2), table=2, priority=65535, flags=1)
    assert [(entry.table, entry.priority) for entry in switch.flows(100)] == [(1, 65535), (3, 65535)]
    assert goto_table(3) in switch.flows(100)[0].actions
    assert sorted(stat.table for stat in alice.flow_stats()) == [0, 2]
    assert [stat.actions for stat in alice.flow_stats() if stat.table == 0] == [first]
    assert [stat.table for stat in alice.flow_stats(table=2)] == [2]
    assert alice.flow_stats(table=1) == []
    assert alice.aggregate()[2] == 2 and alice.aggregate(table=2)[2] == 1
    active = alice.stats_replies(alice.stats("table"))[0][1]
    assert [struct.unpack_from("!B3xI", active, at) for at in range(0, len(active), 24)] == [(0, 1), (1, 0), (2, 1)]

    outcome = []
    switch.does(lambda model: outcome.append(model.inject(1, E(100))))
    (told,) = alice.packet_ins()
    assert (told.table, told.cookie, told.match["in_port"][0]) == (0, 7, 1)
    assert outcome[0].sent == [(2, E(100))]

    for entry in switch.flows(100):
        switch.does(lambda model, entry=entry: model.expire(entry))
    assert sorted(of.parse_flow_removed(m).table for m in alice.take("flow_removed")) == [0, 2]


@pytest.mark.parametrize("table", [3, 4, 254])
def test_beyond_its_tables_there_is_nothing(table: int) -> None:
    book, switch = stage()
    alice = book.at("alice")
    xid = alice.add(2, table=table)
    alice.error(xid, (5, 2))
    xid = alice.stats("flow", of.flow_stats_body(V13, None, table=table))
    alice.error(xid, (1, 9))
    xid = alice.request("table_mod", struct.pack("!B3xI", table, 0))
    alice.error(xid, (8, 0))
    assert not switch.flows(100)


def test_a_goto_beyond_its_tables_is_refused_as_a_private_switch_would() -> None:
    book, switch = stage()
    xid = book.at("alice").flow_mod("add", None, table=2, instructions=goto_table(3))
    book.at("alice").error(xid, (3, 2))


def test_deletes_of_every_table_spare_the_admission() -> None:
    book, switch = stage()
    alice, bob = book.at("alice"), book.at("bob")
    for table in (0, 1, 2):
        alice.add(2, table=table)
    bob.add(3)
    before = gates(switch)
    alice.flow_mod("delete", None, table=255)
    assert not switch.flows(100) and len(switch.flows(200)) == 1
    assert gates(switch) == before
    alice.add(2, table=0)
    alice.flow_mod("delete", None, table=0)
    assert not switch.flows(100) and gates(switch) == before


def test_table_features_are_of_the_slices_tables() -> None:
    book, switch = stage()
    alice = book.at("alice")
    ((flags, body),) = alice.stats_replies(alice.stats("table_features"))
    tables, following = [], []
    while body:
        record, body = body[: int.from_bytes(body[:2], "big")], body[int.from_bytes(body[:2], "big") :]
        tables.append(record[2])
        at = 64
        while at < len(record):
            kind, length = struct.unpack_from("!HH", record, at)
            if kind == 2:
                following.append(list(record[at + 4 : at + length]))
            at += (length + 7) // 8 * 8
        assert record[40:56] == b"\xff" * 16, "without sharing all metadata is the slice's"
    assert tables == [0, 1, 2] and following == [[1, 2], [2], []]


def test_errors_of_the_switch_carry_the_controllers_own_tables() -> None:
    book, switch = stage()
    switch.model.table.capacity = len(switch.model.table.entries)
    alice = book.at("alice")
    xid = alice.add(2, table=1)
    sent = of.flow_mod(V13, "add", of.match(V13), of.output(V13, 2), table=1, xid=xid)
    alice.error(xid, (5, 1), sent)
    assert alice.flow_stats() == []


def test_a_packet_out_to_table_meets_the_slices_flows() -> None:
    book, switch = stage()
    alice = book.at("alice")
    alice.add(3)
    switch.model.transmitted.clear()
    alice.packet_out(E(100), "table")
    alice.packet_out(E(100), "table", in_port=1)
    assert switch.model.transmitted == [(3, E(100)), (3, E(100))]


# -- frames ------------------------------------------------------------------------------------------


def test_only_what_is_admitted_meets_flows() -> None:
    book, switch = stage()
    book.at("alice").add(1, priority=0)

    def out(port: int, frame: bytes) -> list[tuple[int, bytes]]:
        found = []
        switch.does(lambda model: found.append(model.inject(port, frame)))
        return list(found[0].sent)

    assert out(2, E(100)) == [(1, E(100))]
    assert out(4, E(100)) == [] and out(2, E(200)) == []


# -- ports -------------------------------------------------------------------------------------------


def admission_log(switch: SwitchEnd) -> list[tuple[str, int, int]]:
    """FLOW_MODs since last asked: command, table, and the in_port (0: any)."""
    return [(mod.command, mod.table, mod.match.get("in_port", (0, 0))[0]) for mod in switch.flow_mods()]


def test_a_port_that_appears_is_let_in_after_all_else() -> None:
    book, switch = stage(UMA)
    book.at("uma").add("flood")
    switch.take()
    switch.port_status("add", 9)
    assert admission_log(switch) == [("modify_strict", 1, 0), ("add", 0, 9)]
    assert 9 in ports(switch, 400)
    switch.port_status("delete", 9)
    assert admission_log(switch) == [("delete_strict", 0, 9), ("modify_strict", 1, 0)]
    assert 9 not in ports(switch, 400)


def test_a_port_that_a_slice_waits_for_is_let_in_when_it_comes() -> None:
    book, switch = stage(piece("alice", 100, (1, 9)))
    assert ports(switch, 100) == [1, CONTROLLER]
    switch.port_status("add", 9)
    assert ports(switch, 100) == [1, 9, CONTROLLER]


def test_ports_are_revoked_first_and_granted_last() -> None:
    book, switch = stage(ALICE)
    alice = book.at("alice")
    alice.add(2, in_port=3)
    alice.add("flood", priority=5)
    switch.take()
    changed = with_segment(ALICE, attachments=(Attachment(0xAA, frozenset((1, 2, 4))),))
    book.adopt(changed)
    log = admission_log(switch)
    assert log[0] == ("delete_strict", 0, 3) and log[-1] == ("add", 0, 4)
    assert ("delete_strict", 1, 3) in log[1:-1] and ("modify_strict", 1, 0) in log[1:-1]
    assert ports(switch, 100) == [1, 2, 4, CONTROLLER]


def test_local_is_let_in_where_it_is_granted() -> None:
    book, switch = stage(piece("alice", 100, (1, LOCAL)))
    assert ports(switch, 100) == [1, CONTROLLER, LOCAL]


# -- coming and going --------------------------------------------------------------------------------


def test_removal_switches_off_with_one_delete_and_then_empties() -> None:
    book, switch = stage()
    alice = book.at("alice")
    alice.add(2, table=2)
    switch.take()
    others = {key: slot for key, slot in gates(switch).items() if key[0] != 100}
    book.adopt(BOB, TINA, UMA)
    log = [message for message in switch.log() if message.name in ("flow_mod", "barrier_request")]
    first, second, third = log[:3]
    mod = of.parse_flow_mod(first)
    assert (mod.command, mod.table, mod.vlan) == ("delete", 0, 100)
    assert mod.cookie >> 48 == 0xFFFE and mod.cookie_mask == FULL
    assert second.name == "barrier_request"
    mod = of.parse_flow_mod(third)
    assert (mod.command, mod.table, mod.vlan, mod.cookie_mask) == ("delete", 255, 100, 0)
    assert gates(switch) == others and not switch.model.flows(100)


def test_nothing_is_let_in_before_the_vlan_is_proven_empty() -> None:
    book, switch = stage(BOB)
    switch.hold("stats_reply")
    book.adopt(BOB, ALICE)
    assert ports(switch, 100) == []
    switch.release()
    assert ports(switch, 100) == [1, 2, 3, CONTROLLER]
    book.at("alice")


def test_a_reconnect_keeps_flows_and_admission() -> None:
    book, switch = stage()
    book.at("alice").add(2, table=1)
    before = gates(switch)
    switch.close()
    book.advance(3)
    switch = book.switch(model=switch.model)
    deletes = [mod for mod in switch.flow_mods() if mod.command.startswith("delete")]
    assert not deletes, "what is known stays in place"
    assert gates(switch) == before and len(switch.flows(100)) == 1
    assert len(book.at("alice").flow_stats()) == 1


def test_what_another_process_left_is_not_taken_for_admission() -> None:
    book, switch = stage()
    switch.close()
    again = Playbook(policy=ADMISSION, seed=7)
    end = again.switch(model=switch.model)
    assert ports(end, 100) == [1, 2, 3, CONTROLLER]
    own = {entry.cookie >> 16 & 0xFFFF for entry in end.model.table.entries}
    assert own == {datapath.tag for datapath in next(iter(again.mux._switches.values())).datapaths.values()}


def test_a_switch_that_changes_its_version_changes_its_pipeline() -> None:
    book, switch = stage()
    book.at("alice").add(2)
    switch.close()
    other = EmulatedSwitch(("", 0), version=V10)
    end = book.switch(model=other)
    book.advance(3)
    assert end.guards(100) and describe(book)["pipeline"] == "direct"
    book.at("alice").add(2)
    assert [entry.table for entry in end.flows(100)] == [0]
    end.close()
    end = book.switch(model=switch.model)
    book.advance(3)
    assert ports(end, 100) == [1, 2, 3, CONTROLLER] and not end.flows(100)
    book.at("alice").add(2)
    assert [entry.table for entry in end.flows(100)] == [1]


def test_an_admission_that_goes_is_put_back() -> None:
    book, switch = stage()
    (entry,) = [e for e in switch.model.table.entries if e.vlan == 100 and e.match["in_port"][0] == 2]
    switch.does(lambda model: model.expire(entry, 2))
    assert ports(switch, 100) == [1, 2, 3, CONTROLLER]


def test_nothing_is_put_back_of_a_slice_that_is_leaving() -> None:
    book, switch = stage(ALICE, BOB)
    book.mux.adopt(snapshot_of((BOB,)), book.now)
    book.settle()  # its controllers are closed, its entries are still there
    (entry,) = [e for e in switch.model.table.entries if e.vlan == 100 and e.match["in_port"][0] == 2]
    switch.take()
    switch.does(lambda model: model.expire(entry, 2))
    assert not switch.flow_mods()
    book.advance(1)
    assert not switch.model.flows(100)


@pytest.mark.parametrize("mode", [FailMode.FLUSH, FailMode.STANDALONE, FailMode.SECURE])
def test_without_a_controller(mode: FailMode) -> None:
    slices = with_segment(ALICE, fail_mode=mode)
    book, switch = stage(slices, accept=True)
    book.at("alice").add(2)
    before = gates(switch)
    book.accept = False
    book.at("alice").close()
    book.advance(6)
    assert gates(switch) == before
    assert len(switch.flows(100)) == (0 if mode is FailMode.FLUSH else 1)
    standing = [e for e in switch.model.flows(100) if e.cookie >> 48 == 0xFFFE and e.table]
    if mode is FailMode.STANDALONE:
        (entry,) = standing
        assert (entry.table, entry.priority, entry.outputs(V13)) == (1, 0, [1, 2, 3])
        book.accept = True
        book.advance(60)
        assert not [e for e in switch.model.flows(100) if e.cookie >> 48 == 0xFFFE and e.table]
    else:
        assert not standing


def test_a_native_switch_is_let_in_by_port_alone() -> None:
    book = Playbook((ALICE,), policy=ADMISSION)
    switch = book.switch(V13, native=100)
    assert sorted(e.match["in_port"][0] for e in switch.model.table.entries) == [1, 2, 3, CONTROLLER]
    assert all(e.match.keys() == {"in_port"} for e in switch.model.table.entries)
    book.at("alice").add(2)
    assert [e.table for e in switch.model.table.entries][-1] == 1


def test_excess_is_stopped_in_the_slices_own_tables() -> None:
    slices = piece("alice", 100, (1, 2, 3), limits=Limits(10, 4, 2, 0, 0, 1, 0, 0))
    book, switch = stage(slices)
    for _ in range(80):
        switch.packet_in(1, E(100), reason=1)
        book.advance(0.1)
    drops = [e for e in switch.model.flows(100) if e.cookie & 0xFFFF == 3]
    assert drops and all((e.table, e.priority, e.match["in_port"][0]) == (1, 0, 1) for e in drops)


# -- the audit ---------------------------------------------------------------------------------------


def audited(*slices: Any, policy: Policy = ADMISSION) -> tuple[Playbook, SwitchEnd]:
    book = Playbook(slices or (ALICE, BOB), policy=policy, timers=Timers(audit=60.0))
    switch = book.switch(V13)
    book.advance(2)
    return book, switch


def test_an_audit_that_finds_all_as_it_shall_be_does_nothing() -> None:
    book, switch = audited()
    book.at("alice").add(2)
    book.clear()
    book.advance(70)
    assert not switch.flow_mods() and not book.told(Kind.FOREIGN_FLOW)


def test_an_audit_puts_back_what_went_silently_and_removes_what_is_not_ours() -> None:
    book, switch = audited()
    table = switch.model.table
    gone = next(e for e in table.entries if e.vlan == 100 and e.match["in_port"][0] == 1)
    table.entries.remove(gone)
    changed = next(e for e in table.entries if e.vlan == 100 and e.match["in_port"][0] == 2)
    changed.actions = goto_table(3)
    stray = of.flow_mod(V13, "add", of.match(V13, in_port=5, vlan_vid=0x1064), table=0, cookie=gone.cookie,
                        instructions=goto_table(1))  # fmt: skip
    table.apply(of.parse_flow_mod(Message(stray)))
    book.advance(70)
    assert ports(switch, 100) == [1, 2, 3, CONTROLLER]
    assert all(e.actions == goto_table(1) for e in table.entries if e.vlan == 100)
    assert "admission(s) put back" in book.told(Kind.FOREIGN_FLOW)[-1].message
