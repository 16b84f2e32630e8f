"""Welcoming switches for others: the handshake is the mux's own, and nothing of what is read gets lost."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation import EmulatedSwitch
from tests.emulation import wire as of
from tests.vmoc.mux.ends import SwitchEnd, split
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import ALICE
from vmoc.events import Kind
from vmoc.model import Timers
from vmoc.mux.effects import Close, HandOver, Report
from vmoc.mux.reception import Reception
from vmoc.openflow import header

V10, V13 = of.V10, of.V13
DPID = 0xAA
ECHO = header.message(4, header.ECHO_REQUEST, 7)


def features(version: int, dpid: int = DPID, size: int = 32) -> bytes:
    body = struct.pack("!QIB", dpid, 256, 4).ljust(size - 8, b"\0")
    return bytes((version, header.FEATURES_REPLY)) + size.to_bytes(2, "big") + b"\0\0\0\1" + body


class Hall:
    """A reception with what it said, asked for and reported."""

    def __init__(self, versions: frozenset[int] = frozenset({1, 4})) -> None:
        self.reception = Reception(versions=versions, timers=Timers(handshake=5.0))
        self.said: dict[int, bytes] = {}
        self.handed: list[HandOver] = []
        self.closed: list[int] = []
        self.events: list[Any] = []

    def after(self, _: object = None) -> None:
        output = self.reception.take()
        for cid, chunks in output.writes.items():
            self.said[cid] = self.said.get(cid, b"") + b"".join(chunks)
        for effect in output.effects:
            match effect:
                case HandOver():
                    self.handed.append(effect)
                case Close():
                    self.closed.append(effect.cid)
                case Report():
                    self.events.append(effect.event)

    def open(self, cid: int = 1, native: int = 0) -> None:
        self.after(self.reception.south_opened(cid, "198.51.100.1:4", native, 0.0))

    def hear(self, data: bytes, cid: int = 1, now: float = 1.0) -> None:
        self.after(self.reception.south_data(cid, data, now))


@pytest.mark.parametrize("version", [V10, V13])
def test_a_switch_is_handed_over_once_it_says_who_it_is(version: int):
    hall = Hall()
    hall.open(native=101)
    hall.hear(of.hello(version))
    assert [message[1] for message in split(hall.said[1])] == [header.HELLO, header.FEATURES_REQUEST]
    hall.hear(features(version))
    assert hall.handed == [HandOver(1, (DPID, 101), version, features(version))]
    assert [event.kind for event in hall.events] == [Kind.SWITCH_CONNECTED]
    assert not hall.closed


def test_all_that_came_with_the_features_goes_along_unanswered():
    hall = Hall()
    hall.open()
    hall.hear(of.hello(V13))
    said = hall.said[1]
    many = ECHO * 400 + ECHO[:5]  # more than a mux keeps of a switch in doubt, and half a message
    hall.hear(features(V13) + many)
    assert hall.handed[0].data == features(V13) + many
    assert hall.said[1] == said


def test_before_the_features_an_echo_is_answered_and_chatter_is_dropped():
    hall = Hall()
    hall.open()
    hall.hear(of.hello(V13) + ECHO)
    hall.hear(header.message(4, 20, 3) + features(V13))
    assert split(hall.said[1])[-1][1] == header.ECHO_REPLY
    assert hall.handed[0].data == features(V13)


def test_a_reception_has_no_part_in_what_it_has_handed_over():
    hall = Hall()
    hall.open()
    hall.hear(of.hello(V13))
    hall.hear(features(V13))
    hall.hear(ECHO)
    hall.after(hall.reception.south_closed(1, "gone", 2.0))
    hall.after(hall.reception.wake(100.0))
    assert len(hall.events) == 1 and len(hall.handed) == 1 and not hall.closed
    assert hall.reception.next_deadline() is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HELLO"),
        (of.hello(V13) + features(V13, size=31), "31 bytes"),
        (of.hello(V13) + features(V13) + b"\4\0\0\7", "length below 8"),
        (of.hello(V13) + header.error(4, 1, (1, 1), b""), "error"),
    ],
)
def test_nonsense_is_refused_here(data: bytes, why: str):
    hall = Hall()
    hall.open()
    hall.hear(data)
    assert hall.closed == [1] and not hall.handed
    refused = hall.events[-1]
    assert refused.kind is Kind.SWITCH_REFUSED and refused.detail["peer"] == "198.51.100.1:4"
    assert why in refused.message or why == "31 bytes"
    assert sum(hall.reception.counters.malformed.values()) == (0 if why == "error" else 1)


def test_no_common_version_is_refused_in_the_switchs_words():
    hall = Hall(frozenset({1}))
    hall.open()
    hall.hear(of.hello(V13, 0, (4,)))
    assert split(hall.said[1])[-1][1] == header.ERROR and hall.closed == [1]


def test_a_silent_switch_is_refused_in_time():
    hall = Hall()
    hall.open()
    assert hall.reception.next_deadline() == 5.0
    hall.after(hall.reception.wake(5.0))
    assert hall.closed == [1] and "in time" in hall.events[-1].message


def test_while_draining_nobody_is_welcome():
    hall = Hall()
    hall.open(1)
    hall.after(hall.reception.begin_drain(1.0))
    hall.open(2)
    assert hall.closed == [1, 2]


# -- and the mux at the other end --------------------------------------------------------------------


@pytest.mark.parametrize("version", [V10, V13])
def test_a_mux_goes_on_where_a_reception_has_stopped(version: int):
    book = Playbook((ALICE,))
    end = SwitchEnd(book, 50, EmulatedSwitch(("", 0), version=version, dpid=DPID), 0)
    book.ends[end.cid] = end
    book.switches.append(end)
    book.mux.south_opened(end.cid, "198.51.100.9:1", 0, book.now, version)
    book.settle()
    assert end.inbox == [], "HELLO and the question were the reception's"
    assert not book.events, "so was the report"
    end.hear(header.message(version, header.FEATURES_REQUEST, 1))
    end.flush()
    book.settle()
    assert book.at("alice").dpid & 0xFFFF_FFFF_FFFF == DPID
    assert [event.kind for event in book.events].count(Kind.SWITCH_UP) == 1


def test_a_mux_tells_whom_it_has_forgotten():
    book = Playbook((ALICE,))
    known, invented = book.switch(dpid=DPID), book.dial_in()
    invented.answering = False
    invented.send(of.hello(V13, 0, (4,)))
    invented.send(features(V13, dpid=0xBB))
    for end in (known, invented):
        end.close()
    assert [one.key for one in book.forgotten] == [(0xBB, 0)]
