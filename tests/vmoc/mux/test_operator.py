"""The operator's own share of a switch: untagged frames, and nothing of any slice's."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, DPID
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished

BOTH = pytest.mark.parametrize("version", [V10, V13])
KEY = (DPID, 0)


def send(book: Playbook, message: bytes, key: tuple[int, int] = KEY) -> list[Message]:
    """What the application hears because of a message of its own."""
    book.operator.clear()
    book.mux.operator_send(key, message, book.now)
    book.settle()
    return heard(book)


def heard(book: Playbook) -> list[Message]:
    return [Message(effect.message) for effect in book.operator if isinstance(effect, OperatorInput)]


def code(messages: list[Message]) -> tuple[int, int]:
    (message,) = messages
    error = of.parse_error(message)
    return error.type, error.code


def lone(version: int, **more: object) -> tuple[Playbook, SwitchEnd]:
    return scene(version, tap=True, **more)


# -- what it sees ----------------------------------------------------------------------------------------


@BOTH
def test_a_switch_appears_and_vanishes(version: int):
    book = Playbook(tap=True)
    switch = book.switch(version)
    (appeared,) = book.operator
    assert isinstance(appeared, SwitchAppeared)
    assert (appeared.key, appeared.version, appeared.peer) == (KEY, version, "198.51.100.1:4")
    assert of.parse_features(Message(appeared.features)).dpid == DPID
    assert len(appeared.ports) == (0 if version == V10 else 1)
    switch.close()
    assert book.operator[1:] == [SwitchVanished(KEY)]


@BOTH
def test_nothing_without_the_tap(version: int):
    book, switch = scene(version)
    switch.packet_in(1, E())
    switch.port_status("modify", 1)
    switch.close()
    assert book.operator == []


@BOTH
def test_only_packet_ins_nobody_owns(version: int):
    book, switch = lone(version)
    for frame in (E(100), E(200)):
        switch.packet_in(2, frame)
    assert not heard(book)
    switch.packet_in(2, E(), buffer_id=5)
    switch.packet_in(2, E(999))
    first, second = map(of.parse_packet_in, heard(book))
    assert (first.data, first.buffer_id) == (E(), 0xFFFFFFFF)
    assert second.data == E(999)


@BOTH
def test_port_status(version: int):
    book, switch = lone(version)
    switch.port_status("modify", 6)
    assert [m.name for m in heard(book)] == ["port_status"]


# -- what it may ask -------------------------------------------------------------------------------------


@BOTH
def test_echo_is_answered_here_and_greetings_are_swallowed(version: int):
    book, switch = lone(version)
    assert [m.raw for m in send(book, of.message(version, "echo_request", b"x", 4))] == [
        of.message(version, "echo_reply", b"x", 4)
    ]
    for name in ("hello", "echo_reply", "set_config"):
        assert send(book, of.message(version, name, b"\0\0\0\0")) == []
    assert not switch.inbox


@BOTH
def test_questions_are_passed_on_under_their_own_xid(version: int):
    book, switch = lone(version)
    questions = [
        (of.message(version, "features_request", b"", 0), "features_reply"),
        (of.message(version, "get_config_request", b"", 2), "get_config_reply"),
        (of.message(version, "barrier_request", b"", 3), "barrier_reply"),
        (of.stats_request(version, "desc", xid=4), "stats_reply"),
        (of.stats_request(version, "flow", of.flow_stats_body(version), xid=0xFFFFFFFF), "stats_reply"),
        (of.stats_request(version, "port", of.port_stats_body(version), xid=6), "stats_reply"),
    ]
    if version == V13:
        questions.append((of.stats_request(version, "port_desc", xid=7), "stats_reply"))
    for question, reply in questions:
        (answer,) = send(book, question)
        assert (answer.name, answer.xid) == (reply, Message(question).xid)
    assert all(m.xid not in (0, 0xFFFFFFFF) for m in switch.inbox)


@BOTH
def test_an_answer_in_parts(version: int):
    book, switch = lone(version)
    switch.model.stats_size = 300
    parts = send(book, of.stats_request(version, "flow", of.flow_stats_body(version), xid=9))
    assert len(parts) > 3 and {part.xid for part in parts} == {9}


@BOTH
def test_the_switchs_errors_come_back(version: int):
    book, switch = lone(version)
    switch.answering = False
    frame = of.packet_out(version, E(), of.output(version, 1), xid=5)
    flow = of.flow_mod(version, "add", of.match(version, vlan="none"), of.output(version, 1), xid=6)
    for message in (frame, flow, of.stats_request(version, "desc", xid=7)):
        book.mux.operator_send(KEY, message, book.now)
    book.carry()
    for asked in switch.take():
        switch.error(asked, 1, 5)
    assert [(m.name, m.xid) for m in heard(book)] == [("error", 5), ("error", 6), ("error", 7)]


@BOTH
def test_what_it_may_not_send(version: int):
    book, switch = lone(version)
    for message, expected in [
        (of.message(version, 99, b"", 1), (1, 1)),
        (of.message(version, "port_mod", bytes(32), 1), (1, 1)),
        (of.message(version, "experimenter", bytes(8), 1), (1, 1)),
        (of.message(version, "barrier_request", b"junk"), (1, 6)),
        (of.stats_request(version, 0xFFFF, bytes(8)), (1, 2)),
        (of.message(version, "stats_request", b""), (1, 6)),
    ]:
        assert code(send(book, message)) == expected
    assert not switch.inbox


def test_what_it_may_not_ask_in_1_3():
    book, switch = lone(V13)
    for message, expected in [
        (of.stats_request(V13, "table_features", bytes(64)), (13, 5)),
        (of.stats_request(V13, "flow", of.flow_stats_body(V13), flags=1), (1, 13)),
        (of.message(V13, "role_request", bytes(16)), (1, 1)),
        (of.message(V13, "group_mod", bytes(16)), (1, 1)),
    ]:
        assert code(send(book, message)) == expected
    assert not switch.inbox


@BOTH
def test_for_a_switch_that_is_not_there(version: int):
    book, switch = lone(version)
    assert send(book, of.message(version, "echo_request"), (1, 2)) == []
    assert send(book, b"\x01\x02\x03") == []
    assert send(book, of.message(V13 if version == V10 else V10, "echo_request")) == []
    switch.close()
    assert send(book, of.message(version, "echo_request")) == []


@BOTH
def test_unanswered_questions_are_forgotten(version: int):
    book, switch = lone(version)
    switch.model.mute = {"stats_reply"}
    send(book, of.stats_request(version, "desc"))
    send(book, of.packet_out(version, E(), of.output(version, 1)))
    book.advance(25)
    (inside,) = book.mux._switches.values()
    assert len(inside.pending) == 0
    assert book.mux.counters.unrouted["expired"] == 1


# -- PACKET_OUT ------------------------------------------------------------------------------------------


@BOTH
def test_untagged_frames_may_be_sent(version: int):
    book, switch = lone(version)
    sent = of.packet_out(version, E(ethertype=0x88CC), of.output(version, 6), xid=7)
    assert send(book, sent) == []
    (arrived,) = switch.take("packet_out")
    assert arrived.raw[8:] == sent[8:] and arrived.xid != 7
    assert switch.model.transmitted == [(6, E(ethertype=0x88CC))]


@BOTH
@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (E(100), {1: (1, 5), 4: (1, 5)}),
        (E(999), {1: (1, 5), 4: (1, 5)}),
        (E(0), {1: (1, 5), 4: (1, 5)}),
        (E(5, tpid=0x88A8), {1: (1, 5), 4: (1, 5)}),
        (E(5, tpid=0x9100), {1: (1, 5), 4: (1, 5)}),
        (E()[:13], {1: (1, 6), 4: (1, 12)}),
    ],
)
def test_frames_it_may_not_send(version: int, frame: bytes, expected: dict[int, tuple[int, int]]):
    book, switch = lone(version)
    assert code(send(book, of.packet_out(version, frame, of.output(version, 1)))) == expected[version]
    assert not switch.inbox


@BOTH
def test_actions_may_not_put_it_into_a_vlan(version: int):
    book, switch = lone(version)
    actions = [of.set_vlan(version, 100), of.set_pcp(version, 1), of.strip_vlan(version)]
    if version == V13:
        actions += [of.push_vlan(), of.set_field("eth_type", 0x8100)]
    for action in actions:
        message = of.packet_out(version, E(), action + of.output(version, 1))
        assert code(send(book, message)) == (2, 6)
    assert code(send(book, of.packet_out(version, E(), b"", buffer_id=4))) == (1, 8)
    if version == V13:
        assert code(send(book, of.packet_out(version, E(), of.group(1)))) == (2, 9)
    assert not switch.inbox


@BOTH
def test_packet_outs_that_are_none(version: int):
    book, switch = lone(version)
    assert code(send(book, of.message(version, "packet_out", b"\xff" * 4))) == (1, 6)
    overrun = b"\xff" * 4 + (struct.pack("!HH", 1, 800) if version == V10 else struct.pack("!IH6x", 1, 800))
    assert code(send(book, of.message(version, "packet_out", overrun))) == (1, 6)
    assert not switch.inbox


@BOTH
def test_every_frame_of_a_native_switch_is_the_slices(version: int):
    book, switch = lone(version, native=100)
    key = (DPID, 100)
    frame = of.packet_out(version, E(), of.output(version, 1))
    flow = of.flow_mod(version, "add", of.match(version, vlan="none"), of.output(version, 1))
    assert code(send(book, frame, key)) == (1, 5)
    assert code(send(book, flow, key)) == ((3, 2) if version == V10 else (5, 4))
    assert not switch.inbox
    book.operator.clear()
    switch.packet_in(6, E())
    assert not heard(book)


# -- FLOW_MOD --------------------------------------------------------------------------------------------


@BOTH
def test_flows_of_exactly_untagged_frames(version: int):
    book, switch = lone(version)
    book.at("alice").add(2)
    before = len(switch.model.table.entries)
    match = of.match(version, vlan="none", eth_type=0x88CC)
    assert send(book, of.flow_mod(version, "add", match, of.output(version, "controller"), flags=1)) == []
    (entry,) = [e for e in switch.model.table.entries if e.vlan == "none"]
    assert entry.cookie >> 48 == 0xFFFE and entry.flags == 0
    switch.model.inject(6, E(ethertype=0x88CC))
    switch.flush()
    book.settle()
    assert [m.name for m in heard(book)] == ["packet_in"]
    assert send(book, of.flow_mod(version, "delete", of.match(version, vlan="none"))) == []
    assert len(switch.model.table.entries) == before


@BOTH
def test_flows_it_may_not_have(version: int):
    book, switch = lone(version)
    foreign = (3, 2) if version == V10 else (5, 4)
    for fields in ({}, {"vlan": 100}, {"vlan": 999}, {"eth_type": 0x88CC}):
        for command in ("add", "modify", "delete", "delete_strict"):
            assert code(send(book, of.flow_mod(version, command, of.match(version, **fields)))) == foreign
    untagged = of.match(version, vlan="none")
    bad = (3, 4) if version == V10 else (5, 6)
    assert code(send(book, of.flow_mod(version, 5, untagged))) == bad
    tagging = of.set_vlan(version, 100) + of.output(version, 1)
    assert code(send(book, of.flow_mod(version, "add", untagged, tagging))) == (2, 6)
    assert not switch.inbox


def test_flows_it_may_not_have_in_1_3():
    book, switch = lone(V13)
    for vlan_vid in ((0, 0), (0, 0x1000), (0x1000, 0x1000)):
        assert code(send(book, of.flow_mod(V13, "add", of.match(V13, vlan_vid=vlan_vid)))) == (5, 4)
    untagged = of.match(V13, vlan="none")
    meter = of.instruction(6, struct.pack("!I", 1))
    assert code(send(book, of.flow_mod(V13, "add", untagged, instructions=meter))) == (12, 2)
    written = of.write_actions(of.push_vlan())
    assert code(send(book, of.flow_mod(V13, "add", untagged, instructions=written))) == (2, 6)
    assert not switch.inbox
    exact = of.match(V13, vlan_vid=(0, 0x1FFF))
    assert send(book, of.flow_mod(V13, "add", exact, instructions=of.goto_table(1))) == []


@BOTH
def test_slices_notice_nothing(version: int):
    book, _ = scene(version, ALICE, tap=True)
    send(book, of.flow_mod(version, "add", of.match(version, vlan="none"), of.output(version, 1)))
    send(book, of.packet_out(version, E(), of.output(version, 1)))
    assert book.heard() == {}
    assert book.at("alice").flow_stats() == []
