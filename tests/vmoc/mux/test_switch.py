"""One switch: answers to whoever asked, malformed messages, what is in flight (vetting A.9, B.4; vector 222)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, piece
from vmoc.events import Kind
from vmoc.mux.hub import Hub
from vmoc.mux.switch import LONGEST_ANSWER, Switch

BOTH = pytest.mark.parametrize("version", [V10, V13])


def inside(book: Playbook) -> Switch:
    (switch,) = book.mux._switches.values()
    return switch


# -- malformed -------------------------------------------------------------------------------------------


def bad(version: int) -> list[bytes]:
    other = V13 if version == V10 else V10
    return [
        of.message(version, "port_status", b"\0"),
        of.message(version, "flow_removed", bytes(5)),
        of.message(version, "error", b""),
        of.message(version, "stats_reply", b""),
        of.message(version, "packet_in", bytes(4)),
        of.message(version, "flow_mod", bytes(80)),
        of.message(version, "features_request"),
        of.message(version, 99),
        of.message(other, "packet_in", bytes(40)),
        of.message(0, 20),
    ]


@BOTH
def test_a_bad_message_costs_only_itself(version: int):
    for message in bad(version):
        book, switch = scene(version)
        switch.send(message)
        switch.packet_in(1, E(100))
        assert switch.open, message
        assert book.heard() == {"alice": ["packet_in"]}
        assert book.mux.counters.malformed["south"] == 1
        assert len(book.told(Kind.MALFORMED)) == 1


@BOTH
def test_three_in_a_minute_reset_the_switch(version: int):
    book, switch = scene(version)
    message = bad(version)[0]
    switch.send(message)
    book.advance(30)
    switch.send(message)
    book.advance(31)
    switch.send(message)
    assert switch.open, "the first one is more than a minute ago"
    switch.send(message + of.message(version, "packet_in", bytes(4)))
    assert not switch.open
    assert not book.controllers()
    assert "malformed" in book.told(Kind.SWITCH_DOWN)[0].message
    again = book.switch(model=switch.model)
    again.send(message)
    assert again.open and len(book.controllers()) == 4


@BOTH
def test_what_a_switch_may_say_unasked_is_counted_and_dropped(version: int):
    book, switch = scene(version)
    kinds = [4, 6, 8, 17 if version == V10 else 19, 19 if version == V10 else 21, 21 if version == V10 else 23]
    kinds += [25, 27] if version == V13 else []
    body = struct.pack("!HH4x", 1, 0)
    for kind in kinds:
        switch.send(of.message(version, kind, body, 77))
    assert switch.open
    assert sum(book.mux.counters.unrouted.values()) == len(kinds)
    assert book.mux.counters.malformed["south"] == 0
    assert book.heard() == {}


@BOTH
def test_echo_of_the_switch(version: int):
    book, switch = scene(version)
    switch.send(of.message(version, "echo_request", b"abc", 5), of.message(version, "echo_reply", b"", 6))
    assert [m.raw for m in switch.inbox] == [of.message(version, "echo_reply", b"abc", 5)]
    switch.send(of.message(version, "hello"))
    assert switch.open and book.heard() == {}


# -- answers of the wrong kind ---------------------------------------------------------------------------


@BOTH
def test_an_answer_of_another_type_is_not_taken_for_statistics(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"stats_reply", "queue_config_reply", "barrier_reply"}
    stats = a.stats("flow", of.flow_stats_body(version))
    queue = a.request("queue_config_request", struct.pack("!H2x" if version == V10 else "!I4x", 2))
    barrier = a.request("barrier_request")
    asked = {m.name: m for m in switch.inbox}
    switch.send(of.message(version, "queue_config_reply", bytes(8), asked["stats_request"].xid))
    switch.send(of.message(version, "stats_reply", struct.pack("!HH4x", 1, 0), asked["queue_config_request"].xid))
    assert book.mux.counters.malformed["south"] == 2
    switch.send(of.message(version, "stats_reply", struct.pack("!HH4x", 1, 0), asked["barrier_request"].xid))
    switch.send(of.message(version, "barrier_reply", b"", asked["stats_request"].xid))
    assert sum(book.mux.counters.unrouted.values()) == 2
    assert not a.inbox
    head = struct.pack("!HH" if version == V10 else "!HH4x", 1, 0)
    switch.send(of.message(version, "stats_reply", head, asked["stats_request"].xid))
    body = struct.pack("!H6x" if version == V10 else "!I4x", 2)
    switch.send(of.message(version, "queue_config_reply", body, asked["queue_config_request"].xid))
    switch.send(of.message(version, "barrier_reply", b"", asked["barrier_request"].xid))
    assert [m.xid for m in a.inbox] == [stats, queue, barrier]


@BOTH
def test_our_own_refused_messages_are_reported(version: int):
    book, switch = scene(version)
    guard = book.mux._switches[DPID, 0].datapaths[100].guard(4)
    switch.answering = False
    inside(book).send_own(guard, book.now)
    book.carry()
    switch.error(switch.take_one("flow_mod"), 3, 0)
    (event,) = book.told(Kind.SWITCH_ERROR)
    assert "FLOW_MOD" in event.message and "(3,0)" in event.message
    assert book.heard() == {}


# -- tags ------------------------------------------------------------------------------------------------


def test_tags_are_never_reserved_nor_shared():
    book = Playbook(())
    hub: Hub = book.mux._hub
    switch = Switch(hub, 1, 0)
    switch._tag = 0xFFFB
    given = []
    for _ in range(4):
        tag = switch.allocate_tag()
        switch.by_tag[tag] = None  # type: ignore[assignment]
        given.append(tag)
    assert given == [0xFFFC, 0xFFFD, 1, 2]
    switch._tag = 0
    assert switch.allocate_tag() == 3


@BOTH
def test_a_registration_anew_is_a_new_tag(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    first = switch.flows(100)[0].cookie >> 48
    book.adopt(*FOUR[1:])
    book.adopt(*FOUR)
    book.at("alice").add(2)
    assert switch.flows(100)[0].cookie >> 48 != first


# -- ports nobody may forget -----------------------------------------------------------------------------


@BOTH
def test_shared_is_what_another_datapath_has_too(version: int):
    book, _ = scene(version, ALICE, BOB)
    switch = inside(book)
    alice = switch.datapaths[100]
    assert [switch.is_shared(port, alice) for port in (1, 2, 3)] == [False, True, True]


@BOTH
def test_everything_closes_with_the_switch_and_comes_back(version: int):
    book, switch = scene(version)
    before = book.controllers()
    switch.close("connection reset")
    assert not any(end.open for end in before)
    (event,) = book.told(Kind.SWITCH_DOWN)
    assert event.dpid == DPID and event.message == "connection reset"
    book.advance(60)
    assert not book.attempts[4:], "nobody is dialled without a switch"
    book.switch(model=switch.model)
    assert len(book.controllers()) == 4
    assert all(end.log("hello") for end in book.controllers())
    assert book.mux.counters.reconnects["south"] == 1


@BOTH
def test_a_switch_that_leaves_during_every_stage_of_a_controllers_arrival(version: int):
    for stage in ("dialling", "handshaking", "active", "waiting"):
        book = Playbook((ALICE, piece("far", 7, dpid=0xCC)), accept=None)
        switch = book.switch(version)
        (dial,) = book.dials
        if stage != "dialling":
            book.greet = stage == "active"
            book.answer(dial, stage != "waiting")
            book.settle()
        state = book.mux.describe()["switches"][0]["datapaths"][0]["controllers"][0]["state"]  # type: ignore[index]
        assert state == stage
        switch.close()
        assert not book.dials and not book.controllers()
        book.advance(100)
        assert not book.dials
        book.accept, book.greet = True, True
        book.switch(model=switch.model)
        assert book.at("alice")


@BOTH
def test_what_follows_the_end_of_a_connection_is_not_looked_at(version: int):
    """An answer that ends the connection, and a packet-in in the same read."""
    book, switch = scene(version)
    inside_it = inside(book)
    endless = LONGEST_ANSWER // 60_000 + 2
    switch.answering = False
    inside_it.ask(of.stats_request(version, "desc", xid=0), lambda *_: None, book.now)
    book.settle()
    xid = switch.take_one("stats_request").xid
    head = struct.pack("!HH", 0, 1) + bytes(0 if version == V10 else 4)
    part = of.message(version, "stats_reply", head + bytes(60_000), xid)
    for _ in range(endless - 1):
        switch.send(part)
        if not switch.open:
            break
        assert not book.heard()
    assert not switch.open, "its answer does not end"
    assert "does not end" in book.told(Kind.SWITCH_DOWN)[0].message
    assert inside_it.session is None
    inside_it.receive([of.message(version, "port_status", bytes(4))], book.now)
    assert inside_it.session is None and not book.heard()
