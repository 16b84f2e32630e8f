"""A controller's connection: greeting, order of answers, back-pressure, keep-alive, nonsense."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, ControllerEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, with_limits
from vmoc.events import Kind
from vmoc.model import Policy
from vmoc.mux.north import HELD_LIMIT

BOTH = pytest.mark.parametrize("version", [V10, V13])


def ungreeted(version: int, **more: object) -> tuple[Playbook, ControllerEnd]:
    """Alice's controller has accepted and waits; bob's is active."""
    book = Playbook((ALICE, BOB), **more)  # type: ignore[arg-type]
    book.greet = False
    book.accept = None
    book.switch(version)
    waiting = None
    for dial in list(book.dials):
        book.greet = dial.endpoint.host == "bob"
        end = book.answer(dial)
        waiting = end if dial.endpoint.host == "alice" else waiting
    book.settle()
    assert waiting is not None
    return book, waiting


# -- HELLO (A.1, vectors 1..11) --------------------------------------------------------------------------


def test_hello_of_1_0_is_bare():
    _, end = ungreeted(V10)
    assert [m.raw[:4] + m.raw[8:] for m in end.inbox] == [bytes.fromhex("01000008")]


def test_hello_of_1_3_offers_1_3_only():
    _, end = ungreeted(V13)
    assert [m.raw[:4] + m.raw[8:] for m in end.inbox] == [bytes.fromhex("040000100001000800000010")]


@pytest.mark.parametrize(
    ("version", "hello"),
    [
        (V10, of.hello(1)),
        (V10, of.hello(4)),
        (V10, of.hello(4, 0, (1, 4))),
        (V13, of.hello(4)),
        (V13, of.hello(6)),
        (V13, of.hello(6, 0, (4, 6))),
    ],
)
def test_a_controller_that_can_is_accepted(version: int, hello: bytes):
    book, end = ungreeted(version)
    end.send(hello + of.message(version, "features_request", b"", 7))
    assert end.inbox[-1].name == "features_reply"
    assert end.inbox[-1].version == version
    assert [event.controller for event in book.told(Kind.CONTROLLER_CONNECTED)] == ["tcp:bob:6653", "tcp:alice:6653"]


@pytest.mark.parametrize(
    ("version", "hello", "header"),
    [
        (V13, of.hello(1, 9), 1),
        (V13, of.hello(6, 9, (1, 6)), 4),
        (V10, of.hello(4, 9, (4,)), 1),
        (V13, bytes.fromhex("04000010000000090001000000000000"), 4),
        (V13, struct.pack("!BBHI", 0, 0, 8, 9), 1),
    ],
)
def test_one_that_cannot_is_told_and_tried_again_later(version: int, hello: bytes, header: int):
    book, end = ungreeted(version)
    end.send(hello)
    (message,) = end.log("error")
    error = of.parse_error(message)
    assert (error.type, error.code, message.version, message.xid) == (0, 0, header, 9)
    assert error.data and error.data.isascii()
    assert not end.open
    assert [event.controller for event in book.told(Kind.VERSION_MISMATCH)] == ["tcp:alice:6653"]
    assert not book.dials
    book.advance(0.99)
    assert not book.dials
    book.advance(0.6)
    assert [dial.endpoint.host for dial in book.dials] == ["alice"]
    assert book.at("bob").open


@BOTH
def test_nothing_is_handled_after_the_connection_was_given_up(version: int):
    book, end = ungreeted(version)
    end.send(of.hello(6, 9, (6,)), of.message(version, "echo_request"), of.message(version, "features_request"))
    assert [m.name for m in end.inbox] == ["hello", "error"]
    assert not end.open and book.at("bob").open


@BOTH
def test_nothing_is_handled_before_hello(version: int):
    book, end = ungreeted(version)
    end.send(of.message(version, "echo_request"))
    assert not end.open
    assert [m.name for m in end.inbox] == ["hello"]
    assert book.told(Kind.MALFORMED)


@BOTH
def test_no_hello_in_time_ends_it(version: int):
    book, end = ungreeted(version)
    book.advance(9.9)
    assert end.open
    book.advance(0.2)
    assert not end.open
    assert "handshake" in book.told(Kind.CONTROLLER_FAILED)[0].message


@BOTH
def test_a_second_hello_and_other_types_are_refused_without_harm(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    for kind in (0, 6, 8, 10, 11, 12, 99):
        sent = of.message(version, kind, b"", 77)
        a.send(sent)
        a.error(77, (1, 1), sent)
    assert a.open
    assert book.mux.counters.refused["alice", "bad-type"] == 7


def test_the_negotiated_version_holds_but_for_echo():
    book, _ = scene(V13)
    a = book.at("alice")
    sent = of.message(1, "features_request", b"", 5)
    a.send(sent)
    a.error(5, (1, 0), sent)
    a.send(of.message(1, "echo_request", b"abc", 6))
    assert a.take_one("echo_reply").raw == of.message(1, "echo_reply", b"abc", 6)
    a.send(of.message(1, "error", struct.pack("!HH", 1, 1), 7), of.message(1, "echo_reply", b"", 8))
    assert not a.inbox


@BOTH
def test_errors_and_echo_replies_are_never_answered(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.send(of.message(version, "error", b"", 5), of.message(version, "echo_reply", b"", 6))
    assert not a.inbox and not switch.inbox


@BOTH
def test_length_below_eight_closes_that_connection_only(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.send(of.message(version, "echo_request", b"", 1) + bytes([version, 2, 0, 4, 0, 0, 0, 1]))
    assert [m.name for m in a.inbox] == ["echo_reply"]
    assert not a.open
    assert len(book.controllers()) == 3
    assert book.mux.counters.malformed["north"] == 1
    assert book.told(Kind.MALFORMED)[0].controller == "tcp:alice:6653"


@BOTH
def test_one_byte_at_a_time(version: int):
    book, switch = scene(version, chunk=1)
    a = book.at("alice")
    a.add(2)
    assert len(switch.flows(100)) == 1
    assert len(a.flow_stats()) == 1


# -- order (A.6, vectors 277..282) -----------------------------------------------------------------------


@BOTH
def test_a_barrier_is_answered_when_the_switch_has_answered(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("barrier_reply")
    a.add(2)
    a.request("barrier_request", xid=5)
    assert [m.name for m in switch.inbox] == ["flow_mod", "barrier_request"]
    assert not a.inbox
    switch.release()
    assert [(m.name, m.xid) for m in a.inbox] == [("barrier_reply", 5)]


@BOTH
def test_local_answers_wait_behind_a_barrier_but_not_echo(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("barrier_reply")
    a.request("get_config_request", xid=1)
    a.request("barrier_request", xid=2)
    a.request("get_config_request", xid=3)
    a.add(4, xid=4)
    a.request("barrier_request", xid=5)
    a.request("features_request", xid=6)
    a.request("echo_request", xid=7)
    assert [m.xid for m in a.inbox] == [1, 7]
    switch.release()
    assert [m.xid for m in a.inbox] == [1, 7, 2, 3, 4, 5, 6]


@BOTH
def test_a_local_error_precedes_the_reply_to_a_later_barrier(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(4)
    a.add(2)
    a.request("barrier_request", xid=9)
    assert [m.name for m in a.inbox] == ["error", "barrier_reply"]
    assert [m.name for m in switch.inbox] == ["flow_mod", "barrier_request"]


@BOTH
def test_a_switch_that_answers_barriers_in_another_order(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("barrier_reply")
    a.request("barrier_request", xid=1)
    a.request("barrier_request", xid=2)
    a.request("get_config_request", xid=3)
    switch.model.held.reverse()
    switch.release()
    assert [m.xid for m in a.inbox] == [1, 2, 3]


@BOTH
def test_a_refused_barrier_lets_the_others_go_on(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"barrier_reply"}
    a.request("barrier_request", xid=1)
    a.request("get_config_request", xid=2)
    switch.error(switch.log("barrier_request")[-1], 1, 6)
    assert [(m.name, m.xid) for m in a.inbox] == [("error", 1), ("get_config_reply", 2)]
    assert of.parse_error(a.inbox[0]).data == of.message(version, "barrier_request", b"", 1)


@BOTH
def test_a_refused_barrier_over_the_error_rate_still_lets_the_others_go_on(version: int):
    book, switch = scene(version, policy=Policy(error_rate=1))
    a = book.at("alice")
    switch.model.mute = {"barrier_reply"}
    a.add(4)
    assert a.errors()
    a.request("barrier_request", xid=1)
    a.request("get_config_request", xid=2)
    switch.error(switch.log("barrier_request")[-1], 1, 6)
    assert [m.xid for m in a.inbox] == [2]


@BOTH
def test_the_answer_to_a_barrier_of_a_controller_that_left(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("barrier_reply")
    a.request("barrier_request", xid=1)
    a.close()
    switch.release()
    assert [m.name for m in a.inbox] == []


@BOTH
def test_a_controller_cannot_pile_up_held_answers(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("barrier_reply")
    a.request("barrier_request", xid=1)
    a.send(of.message(version, "get_config_request", b"", 2) * (HELD_LIMIT + 100))
    assert a.paused
    assert not a.inbox
    switch.release()
    assert not a.paused
    assert len(a.log("get_config_reply")) == HELD_LIMIT + 100


# -- congestion ------------------------------------------------------------------------------------------


@BOTH
def test_a_slow_switch_pauses_its_controllers(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    book.mux.congested(switch.cid, book.now)
    a.add(2)
    a.add(3, eth_dst=1)
    assert a.paused and not b.paused
    assert not switch.log("flow_mod")
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    assert not a.paused
    assert len(switch.log("flow_mod")) == 2


@BOTH
def test_a_controller_that_does_not_read_loses_its_own_packet_ins_only(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    book.mux.congested(a.cid, book.now)
    book.settle()
    assert a.paused
    for _ in range(3):
        switch.packet_in(2, E(100))
        switch.packet_in(2, E(200))
    assert not a.packet_ins()
    assert len(b.packet_ins()) == 3
    assert book.mux.counters.dropped_packet_ins["backlog"] == 3
    assert len(book.told(Kind.DROPPED)) == 1
    assert {link.slice: link.dropped for link in book.mux.view.connections(0, 99, 0.0)[0]}["alice"] == 3
    a.request("barrier_request")
    assert not a.inbox
    book.mux.relieved(a.cid, book.now)
    book.settle()
    assert not a.paused
    assert a.take_one("barrier_reply")
    switch.packet_in(2, E(100))
    assert len(a.packet_ins()) == 1


@BOTH
def test_one_that_never_reads_is_dropped_in_the_end(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    book.mux.congested(a.cid, book.now)
    book.settle()
    book.accept = None
    book.advance(90)
    assert not a.open and a.aborted


@BOTH
def test_messages_that_arrive_although_paused_are_kept_in_order(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    book.mux.congested(a.cid, book.now)
    book.settle()
    for number in range(3):
        book.mux.north_data(a.cid, of.message(version, "barrier_request", b"", number), book.now)
        book.settle()
    assert not switch.log("barrier_request")
    book.mux.relieved(a.cid, book.now)
    book.settle()
    assert [m.xid for m in a.log("barrier_reply")] == [0, 1, 2]


@BOTH
def test_congestion_of_unknown_connections_is_ignored(version: int):
    book, _ = scene(version)
    early = book.dial_in()
    book.settle()
    for cid in (early.cid, 12345):
        book.mux.congested(cid, book.now)
        book.mux.relieved(cid, book.now)
    book.settle()


# -- keep-alive ------------------------------------------------------------------------------------------


@BOTH
def test_a_dead_controller_is_noticed_and_tried_again(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.pongs = False
    book.advance(57)
    assert a.open and len(a.log("echo_request")) >= 3
    book.advance(3)
    assert not a.open and a.aborted
    assert "ECHO" in book.told(Kind.CONTROLLER_LOST)[0].message
    book.advance(2)
    assert book.at("alice") is not a
    assert book.at("bob").open


@BOTH
def test_a_live_controller_stays(version: int):
    book, _ = scene(version)
    before = book.controllers()
    book.advance(1000)
    assert book.controllers() == before


# -- errors ----------------------------------------------------------------------------------------------


@BOTH
def test_errors_over_the_rate_are_counted_and_not_sent(version: int):
    book, _ = scene(version, policy=Policy(error_rate=5))
    a = book.at("alice")
    for _ in range(20):
        a.add(4)
    assert len(a.errors()) == 5
    assert len(book.told(Kind.REFUSED)) == 5
    assert book.mux.counters.refused["alice", "foreign-out-port"] == 20
    book.advance(1)
    a.add(4)
    assert len(a.errors()) == 1


@BOTH
def test_a_refusal_is_reported_with_its_rule(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.add(4, xid=7)
    (event,) = book.told(Kind.REFUSED)
    assert (event.slice, event.vlan, event.dpid, event.reason) == ("alice", 100, 0xAA, "foreign-out-port")
    assert event.controller == "tcp:alice:6653"
    assert event.detail["message"] == "FLOW_MOD" and event.detail["xid"] == 7
    assert "BAD_OUT_PORT" in str(event.detail["error"])


@BOTH
@pytest.mark.interpreted
def test_a_mistake_of_ours_costs_one_message(version: int, monkeypatch: pytest.MonkeyPatch):
    book, switch = scene(version)
    a = book.at("alice")

    def broken(*_: object) -> bytes:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr("vmoc.policy.packetout.PacketOutPolicy.vet", broken)
    sent = of.packet_out(version, E(100), of.output(version, 2), xid=3)
    a.send(sent)
    a.error(3, (1, 6), sent)
    assert not switch.log("packet_out")
    a.add(2)
    assert switch.log("flow_mod")


@BOTH
def test_bytes_after_the_end_are_discarded(version: int):
    """The edge may have read them before it learnt of the end."""
    book, switch = scene(version)
    session = book.mux._north[book.at("alice").cid]
    book.at("alice").close()
    switch.inbox.clear()
    session.receive(of.flow_mod(version, "add", None, of.output(version, 2)), book.now)
    session.go_on(book.now)
    session.drop("again", book.now)
    session.detach(book.now)
    book.settle()
    assert not switch.log("flow_mod")
    assert len(book.told(Kind.CONTROLLER_LOST)) == 1


@BOTH
@pytest.mark.parametrize("kind", [3, 20, 0xFF])
def test_who_begins_with_something_else_is_not_waited_for(version: int, kind: int):
    """Eight bytes of a message of 60000: no need to read the rest."""
    book, end = ungreeted(version)
    end.send(struct.pack("!BBHI", version, kind, 60000, 1))
    assert not end.open
    assert book.mux.counters.malformed["north"] == 1
    assert "HELLO" in book.told(Kind.MALFORMED)[0].message


@BOTH
def test_one_that_leaves_while_it_is_slowed_down_is_not_woken(version: int):
    book, switch = scene(version, with_limits(ALICE, flow_mod_rate=1))
    a = book.at("alice")
    a.send(*[of.flow_mod(version, "add", of.match(version, eth_dst=n), of.output(version, 2)) for n in range(5)])
    assert a.paused
    a.close()
    switch.inbox.clear()
    book.advance(1.5)
    assert not [mod for mod in switch.flow_mods() if mod.command == "add" and mod.vlan == 100]
