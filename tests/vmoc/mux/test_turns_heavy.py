"""Turns of large messages: what is in flight is bounded in bytes, too."""

from __future__ import annotations

import struct

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V13, SwitchEnd
from tests.vmoc.mux.pacing import BOTH, EVERY, FREE, TWO, WINDOW, answer, calm
from tests.vmoc.mux.tenants import ALICE, BOB, with_limits
from vmoc.mux.switch import Switch

SIZE = 9100
HEAVY = Switch.HEAVY_WINDOW // SIZE + 1
"""So many of that size fill the window of bytes."""


def outs(version: int, count: int, first: int = 0, vlan: int = 100, size: int = SIZE) -> list[bytes]:
    return [
        of.packet_out(version, E(vlan, payload=bytes((first + n,)), size=size), of.output(version, 3), xid=first + n)
        for n in range(count)
    ]


def sent(switch: SwitchEnd, vlan: int = 100) -> list[int]:
    frames = [of.parse_packet_out(m).data for m in switch.log("packet_out")]
    return [frame[18] for frame in frames if frame[14] << 8 | frame[15] == vlan]


@BOTH
def test_bytes_in_flight_are_bounded_too(version: int):
    book, switch = calm(version)
    a, b = book.at("alice"), book.at("bob")
    a.send(*outs(version, 200))
    assert HEAVY < EVERY
    assert sent(switch) == list(range(HEAVY))
    assert a.paused
    assert len(switch.model.held) == 1, "asked at once, not when 32 are in flight"
    b.send(*outs(version, 1, vlan=200))
    assert sent(switch, 200) == [0]
    while switch.model.held:
        before = len(sent(switch))
        answer(switch)
        assert len(sent(switch)) - before <= HEAVY
    assert sent(switch) == list(range(200))
    assert not a.paused


@BOTH
def test_heavy_bytes_count_until_they_are_confirmed(version: int):
    """A barrier's answer is about what was written before it; what came after stays in flight."""
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*outs(version, HEAVY - 5), of.message(version, "barrier_request", b"", 1), *outs(version, 4, 100))
    assert not a.paused
    answer(switch)
    a.send(*outs(version, 100, 150))
    # The four are still on their way: so many fewer now.
    assert len(sent(switch)) == HEAVY - 5 + HEAVY
    assert a.paused
    while switch.model.held:
        answer(switch)
    assert sent(switch) == [*range(HEAVY - 5), *range(100, 104), *range(150, 250)]


@BOTH
def test_what_is_confirmed_counts_no_more_although_others_are_not(version: int):
    """With something always in flight, heavy messages from time to time never add up to a window."""
    book, switch = calm(version)
    a = book.at("alice")
    for number in range(3 * HEAVY):
        a.send(*outs(version, 1, number), of.message(version, "barrier_request", b"", 1))
        assert not a.paused
        if number:
            answer(switch)
            assert switch.model.held


@BOTH
def test_light_messages_do_not_count_as_bytes(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    light = Switch.HEAVY - 100
    a.send(*outs(version, 200, size=light))
    assert len(sent(switch)) == WINDOW
    while switch.model.held:
        answer(switch)
    assert len(sent(switch)) == 200


def test_heavy_group_mods_count():
    book, switch = calm(V13, with_limits(ALICE, **FREE))
    a = book.at("alice")
    actions = 4 * (of.output(V13, 1) + of.output(V13, 2) + of.output(V13, 3))
    bucket = struct.pack("!HHII4x", 16 + len(actions), 0, 0xFFFFFFFF, 0xFFFFFFFF) + actions

    def mods(command: int, count: int) -> list[bytes]:
        return [of.message(V13, "group_mod", struct.pack("!HBxI", command, 0, 7) + 32 * bucket)] * count

    (made,) = mods(0, 1)
    fit = Switch.HEAVY_WINDOW // len(made) + 1
    assert len(made) > Switch.HEAVY and fit < WINDOW
    a.send(made, *mods(1, 200))
    assert len(switch.log("group_mod")) == fit
    assert a.paused
    while switch.model.held:
        answer(switch)
    assert len(switch.log("group_mod")) == 201
    assert not a.errors()


@BOTH
def test_of_two_controllers_that_fill_it_one_goes(version: int):
    book, switch = calm(version, with_limits(TWO, **FREE), BOB)
    one, two = book.at("one"), book.at("two")
    one.send(*outs(version, HEAVY))
    assert not one.paused
    two.send(*outs(version, 2, 100))
    book.accept = None
    one.close()
    while switch.model.held:
        answer(switch)
    assert sent(switch) == [*range(HEAVY), 100, 101]
    assert not two.paused
