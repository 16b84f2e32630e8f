"""The switch's leg until the switch is known: HELLO, FEATURES, duplicates, keep-alive, nonsense."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, DPID
from vmoc.events import Kind
from vmoc.mux.core import Mux
from vmoc.mux.effects import Close
from vmoc.mux.south import KEPT_WHILE_PROBING
from vmoc.registry import Registry


def said(end: SwitchEnd) -> list[str]:
    return [message.name for message in end.inbox]


# -- HELLO (vetting A.1, vectors 4 and 26) -------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "hello"),
    [
        ({1}, of.hello(1)),
        ({4}, of.hello(4, 0, (4,))),
        ({1, 4}, of.hello(4, 0, (1, 4))),
    ],
)
def test_our_hello_offers_what_we_speak(versions: set[int], hello: bytes):
    book = Playbook(versions=frozenset(versions))
    switch = book.dial_in()
    book.settle()
    assert switch.inbox[0].raw == hello


@pytest.mark.parametrize(
    ("versions", "theirs", "chosen"),
    [
        ({1, 4}, of.hello(1), 1),
        ({1, 4}, of.hello(3), 1),
        ({1, 4}, of.hello(4), 4),
        ({1, 4}, of.hello(6), 4),
        ({1, 4}, of.hello(4, 0, (1,)), 1),
        ({1, 4}, of.hello(1, 0) + b"", 1),
        ({1}, of.hello(4), 1),
        ({4}, of.hello(6, 0, (4, 5, 6)), 4),
    ],
)
def test_the_highest_common_version_is_taken(versions: set[int], theirs: bytes, chosen: int):
    book = Playbook(versions=frozenset(versions))
    switch = book.dial_in()
    switch.answering = False
    switch.send(theirs)
    assert switch.inbox[1].name == "features_request"
    assert switch.inbox[1].version == chosen


@pytest.mark.parametrize(
    ("theirs", "version"),
    [(of.hello(1), 1), (of.hello(4, 0, (1, 2)), 4), (of.hello(6, 0, (6,)), 4), (struct.pack("!BBHI", 0, 0, 8, 0), 1)],
)
def test_no_common_version_is_said_and_the_connection_closed(theirs: bytes, version: int):
    book = Playbook(versions=frozenset({4}))
    switch = book.dial_in()
    switch.send(theirs)
    error = of.parse_error(switch.inbox[-1])
    assert (error.type, error.code) == (0, 0)
    assert switch.inbox[-1].version == version
    assert b"1.3" in error.data
    assert not switch.open
    assert [event.kind for event in book.events] == [Kind.SWITCH_CONNECTED, Kind.SWITCH_REFUSED]


def test_a_malformed_hello_element_ends_it():
    book = Playbook()
    switch = book.dial_in()
    switch.send(bytes.fromhex("04000010000000010001000000000000"))
    assert of.parse_error(switch.inbox[-1]).type == 0
    assert not switch.open


def test_anything_but_hello_first_ends_it():
    book = Playbook()
    switch = book.dial_in()
    switch.send(of.message(1, "echo_request"))
    assert not switch.open
    assert "instead of HELLO" in book.told(Kind.SWITCH_REFUSED)[0].message


# -- FEATURES ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
@pytest.mark.parametrize("version", [V10, V13])
def test_comes_up_whatever_the_chunks(version: int, chunk: int):
    book = Playbook(chunk=chunk)
    switch = book.switch(version)
    assert len(book.controllers()) == 4
    assert "set_config" in said(switch)


@pytest.mark.parametrize("version", [V10, V13])
def test_a_silent_switch_is_closed_after_the_handshake_timeout(version: int):
    book = Playbook()
    mute = book.dial_in()
    half = book.dial_in(version=version, mute={"features_reply"})
    half.send(of.hello(version, 0, half.model.versions))
    book.advance(9.9)
    assert mute.open and half.open
    book.advance(0.2)
    assert not mute.open and not half.open
    assert book.mux.next_deadline() is None


@pytest.mark.parametrize("mute", ["stats_reply", "barrier_reply"])
@pytest.mark.parametrize("version", [V10, V13])
def test_chatter_is_no_answer_to_what_we_ask(version: int, mute: str):
    book = Playbook()
    switch = book.switch(version, mute={mute})
    for _ in range(10):
        book.advance(1.0)
        if switch.open:
            switch.send(of.message(version, "echo_request"))
    book.advance(0.5)
    assert not switch.open
    assert "stopped answering" in book.told(Kind.SWITCH_REFUSED)[0].message


@pytest.mark.parametrize("version", [V10, V13])
def test_a_slow_dump_is_progress(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    switch.hold("stats_reply")
    switch.send(of.hello(version, 0, switch.model.versions))
    for _ in range(8):
        book.advance(4.0)
        held, switch.model.held = switch.model.held[:1], switch.model.held[1:]
        switch.send(*held)
    assert switch.open
    assert book.told(Kind.SWITCH_UP)


@pytest.mark.parametrize(
    "reply",
    [
        of.message(1, "features_reply", bytes(10)),
        of.message(1, "features_reply", bytes(24) + bytes(47)),
        of.message(1, "error", struct.pack("!HH", 1, 1)),
    ],
)
def test_a_bad_features_reply_ends_the_connection_and_nothing_else(reply: bytes):
    book, good = scene(V10)
    bad = book.dial_in(dpid=0xBB, mute={"features_reply"})
    bad.send(of.hello(1))
    bad.send(reply)
    assert not bad.open
    assert good.open
    assert len(book.controllers()) == 4


def test_early_messages_are_not_routed_and_echo_is_answered():
    book = Playbook()
    switch = book.dial_in(mute={"features_reply"})
    switch.send(of.hello(1))
    switch.packet_in(1, E(100))
    switch.send(of.message(1, "echo_request", b"abc", 9))
    assert switch.inbox[-1].raw == of.message(1, "echo_reply", b"abc", 9)
    switch.send(of.message(4, "features_reply", bytes(24)))
    assert switch.open and not book.told(Kind.SWITCH_UP)


@pytest.mark.parametrize("version", [V10, V13])
def test_a_whole_handshake_in_one_chunk(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    (features,) = switch.model.answer(of.message(version, "features_request", b"", 1))
    switch.send(of.hello(version, 0, switch.model.versions), features, of.message(version, "echo_request", b"x", 5))
    assert len(book.controllers()) == 4
    assert switch.log("echo_reply")[0].xid == 5


def test_nothing_is_handled_after_the_connection_was_given_up():
    book = Playbook(versions=frozenset({4}))
    switch = book.dial_in()
    switch.send(of.hello(1), of.message(1, "echo_request"), of.message(1, "features_reply", bytes(24)))
    assert not switch.open
    assert not switch.log("echo_reply")


def test_an_auxiliary_connection_is_refused():
    book = Playbook()
    switch = book.dial_in(version=V13, mute={"features_reply"})
    switch.send(of.hello(4, 0, (4,)))
    switch.send(of.message(4, "features_reply", struct.pack("!QIBB2xII", DPID, 0, 4, 1, 0, 0)))
    assert not switch.open
    assert book.mux.describe()["switches"] == []


@pytest.mark.parametrize("version", [V10, V13])
def test_length_below_eight_closes_the_connection(version: int):
    book, switch = scene(version)
    switch.send(bytes([version, 10, 0, 4, 0, 0, 0, 1]))
    assert not switch.open
    assert book.mux.counters.malformed["south"] == 1


# -- keep-alive ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V10, V13])
def test_a_quiet_switch_is_asked_and_a_dead_one_dropped(version: int):
    book, switch = scene(version)
    book.advance(60)
    asked = [m.at for m in switch.log("echo_request")]
    assert len(asked) >= 3
    assert switch.open
    switch.model.mute = {"*"}
    book.advance(57)
    assert switch.open
    book.advance(3)
    assert not switch.open and switch.aborted
    assert "ECHO" in book.told(Kind.SWITCH_DOWN)[0].message
    assert not book.controllers()


def test_a_talking_switch_is_not_asked():
    book, switch = scene(V10)
    for _ in range(30):
        switch.packet_in(1, E(999))
        book.advance(5)
    assert not switch.log("echo_request")


def test_data_for_a_connection_that_is_gone_is_ignored():
    book, switch = scene(V10)
    switch.close()
    book.mux.south_data(switch.cid, of.message(1, "echo_request"), book.now)
    book.mux.south_closed(switch.cid, "again", book.now)
    book.carry()


# -- duplicate DPID (vetting D.4) ------------------------------------------------------------------------


def duplicate(book: Playbook, **knobs: object) -> SwitchEnd:
    return book.switch(V10, DPID, **knobs)


def test_a_second_connection_is_refused_when_the_first_one_lives():
    book, old = scene(V10, ALICE)
    new = duplicate(book)
    assert new.open and said(new) == ["hello", "features_request"]
    assert old.log("echo_request")
    book.advance(0.001)
    old.send(of.message(1, "echo_reply"))
    book.advance(1.1)
    assert old.open and not new.open
    (event,) = book.told(Kind.SWITCH_REFUSED)
    assert event.reason == "duplicate-dpid"
    assert len(book.controllers()) == 1


def test_a_second_connection_replaces_a_dead_one():
    book, old = scene(V10, ALICE)
    old.model.mute = {"*"}
    controller = book.at("alice")
    new = book.switch(V10, DPID)
    book.advance(0.9)
    assert old.open
    book.advance(0.2)
    assert not old.open and old.aborted and not controller.open
    assert new.open and book.at("alice") is not controller


def test_the_held_one_joins_at_once_when_the_first_one_closes():
    book, old = scene(V10, ALICE)
    old.model.mute = {"*"}
    new = book.switch(V10, DPID)
    new.packet_in(1, E(100))
    old.close()
    assert book.mux.describe()["switches"][0]["peer"].startswith("198.51.100.")  # type: ignore[index]
    assert new.log("set_config")
    book.advance(2)
    assert new.open


def test_the_held_one_may_leave():
    book, old = scene(V10, ALICE)
    old.model.mute = {"*"}
    duplicate(book).close()
    book.advance(2)
    assert old.open
    third = duplicate(book)
    assert third.open


def test_a_third_connection_is_refused_while_the_second_is_held():
    book, old = scene(V10, ALICE)
    old.model.mute = {"*"}
    second, third = duplicate(book), duplicate(book)
    assert second.open and not third.open
    assert book.told(Kind.SWITCH_REFUSED)[0].reason == "duplicate-dpid"


def test_a_held_one_cannot_fill_memory():
    book, old = scene(V10, ALICE)
    old.model.mute = {"*"}
    new = duplicate(book)
    new.send(of.message(1, "echo_request", b"", 3))
    assert new.inbox[-1].name == "echo_reply"
    new.send(of.message(1, "packet_in", bytes(30)) * (KEPT_WHILE_PROBING + 1))
    assert not new.open and old.open


def test_the_same_dpid_on_a_per_vlan_listener_is_another_switch():
    book, _ = scene(V10, ALICE)
    native = book.switch(V10, DPID, native=300)
    book.advance(2)
    assert native.open
    assert len(book.mux.describe()["switches"]) == 2  # type: ignore[arg-type]


# -- the end ---------------------------------------------------------------------------------------------


def test_switches_that_come_while_shutting_down_are_sent_away():
    book, _ = scene(V10, ALICE)
    book.mux.begin_drain(book.now)
    book.settle()
    late = book.dial_in()
    book.settle()
    assert not late.open
    assert isinstance(late.inbox[0], Message)


def test_whoever_does_not_begin_with_hello_is_not_waited_for():
    mux = Mux(Registry().snapshot)
    mux.south_opened(1, "browser", 0, 10.0)
    mux.take()
    mux.south_data(1, b"GET / HTTP/1.1\r\n\r\n", 10.0)
    assert Close(1) in mux.take().effects
    assert mux.counters.malformed["south"] == 1
