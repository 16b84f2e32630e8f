"""How much of one slice is in flight to a switch, and whose turn it is (vetting A.10)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13, ControllerEnd, SwitchEnd
from tests.vmoc.mux.pacing import BOTH, EVERY, FREE, TWO, WINDOW, adds, answer, calm, in_flight, seen
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.tenants import ALICE, BOB, with_limits
from vmoc.mux.effects import PauseReading, ResumeReading

# -- one slice -------------------------------------------------------------------------------------------


@BOTH
def test_no_more_than_a_window_is_in_flight(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 1000))
    assert seen(switch) == list(range(WINDOW))
    assert a.paused
    assert len(switch.model.held) == WINDOW // EVERY
    for done in range(1, 20):
        answer(switch)
        assert seen(switch) == list(range(WINDOW + done * EVERY))
        assert a.paused


@BOTH
def test_nothing_is_lost_and_the_order_is_kept(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 1000))
    while switch.model.held:
        answer(switch)
        assert in_flight(switch) <= WINDOW
    assert seen(switch) == list(range(1000))
    assert not a.paused
    assert not a.errors()
    switch.release()
    assert len(a.flow_stats()) == 1000


@BOTH
def test_it_is_paused_once_and_resumed_once(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 300))
    while switch.model.held:
        answer(switch)
    told = [type(e) for e in book.effects if isinstance(e, PauseReading | ResumeReading) and e.cid == a.cid]
    assert told == [PauseReading, ResumeReading]


@BOTH
def test_a_full_window_and_nothing_more_is_no_pause(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, WINDOW))
    assert not a.paused
    a.send(*adds(version, 1, WINDOW))
    assert a.paused
    answer(switch)
    assert not a.paused
    assert seen(switch) == list(range(WINDOW + 1))


@BOTH
def test_everything_else_of_it_waits_its_turn_too(version: int):
    """Requests answered here stay behind what was asked before them."""
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, WINDOW + 1), of.message(version, "echo_request", b"late", 7))
    a.send(of.message(version, "barrier_request", b"", 8))
    assert not a.inbox
    answer(switch, 2)
    assert a.take_one("echo_reply").xid == 7
    assert not a.log("barrier_reply")
    while switch.model.held:
        answer(switch)
    assert a.take_one("barrier_reply").xid == 8


@BOTH
def test_a_refused_barrier_makes_room_as_well(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 100))
    assert a.paused
    barriers = switch.log("barrier_request")
    switch.error(barriers[-2], 1, 1)
    assert len(seen(switch)) == WINDOW + EVERY
    switch.error(switch.log("barrier_request")[-2], 1, 1)
    assert not a.paused
    assert seen(switch) == list(range(100))


@BOTH
def test_a_barrier_of_the_controllers_own_covers_what_is_before_it(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 10), of.message(version, "barrier_request", b"", 5), *adds(version, 100, 10))
    assert len(seen(switch)) == WINDOW
    assert a.paused
    answer(switch)
    assert a.take_one("barrier_reply").xid == 5
    assert len(seen(switch)) == WINDOW + 10


@BOTH
def test_what_one_message_comes_to_is_written_whole(version: int):
    """A modify of a hundred flows in 1.0 is a hundred messages; the next message waits for them."""
    book, switch = calm(version)
    a = book.at("alice")
    switch.release()
    a.send(*adds(version, 100))
    book.advance(2)
    switch.hold("barrier_reply")
    switch.inbox.clear()
    a.flow_mod("modify", of.match(version), of.output(version, 3))
    a.send(*adds(version, 80, 500))
    written = len(switch.log("flow_mod"))
    assert (written, a.paused) == ((100, True) if version == V10 else (WINDOW, True))
    while switch.model.held:
        answer(switch)
    assert not a.paused
    assert [e.outputs(version) for e in switch.flows(100)][:100] == [[3]] * 100
    assert len(switch.flows(100)) == 180


@BOTH
def test_a_rate_and_a_window_together(version: int):
    """It was its rate that held it up, and now it is another's messages: it goes on all the same."""
    alice = with_limits(TWO, **FREE, flow_mod_rate=100)
    book, switch = calm(version, alice, BOB)
    one, two = book.at("one"), book.at("two")
    one.send(*adds(version, 40))
    two.send(*adds(version, 40, 100))
    book.advance(0.5)
    one.send(*adds(version, 200, 200))
    two.send(*adds(version, 200, 500))
    assert one.paused and two.paused
    book.advance(5)
    assert len(seen(switch)) == WINDOW
    for _ in range(1000):
        if switch.model.held:
            answer(switch)
        elif one.paused or two.paused:
            book.advance(0.5)
        else:
            break
    assert not one.paused and not two.paused
    assert sorted(seen(switch)) == [*range(40), *range(100, 140), *range(200, 400), *range(500, 700)]


# -- several ---------------------------------------------------------------------------------------------


@BOTH
def test_another_slice_is_not_in_the_way(version: int):
    book, switch = calm(version)
    a, b = book.at("alice"), book.at("bob")
    a.send(*adds(version, 1000))
    b.send(*adds(version, 10, port=3))
    assert seen(switch, 200) == list(range(10))
    assert not b.paused
    b.request("barrier_request", xid=9)
    switch.does(lambda model: model.peer.send(model.held.pop()))
    assert b.take_one("barrier_reply").xid == 9


@BOTH
def test_slices_that_both_flood_take_turns(version: int):
    book, switch = calm(version)
    a, b = book.at("alice"), book.at("bob")
    a.send(*adds(version, 500))
    b.send(*adds(version, 500, port=3))
    while switch.model.held:
        answer(switch)
        ahead = len(seen(switch)) - len(seen(switch, 200))
        assert abs(ahead) <= WINDOW or not (a.paused and b.paused)
        assert in_flight(switch) <= WINDOW and in_flight(switch, 200) <= WINDOW
    assert seen(switch) == seen(switch, 200) == list(range(500))


@BOTH
def test_two_controllers_of_one_slice_share_its_window_by_turns(version: int):
    """The one with more to say does not go twice before the other has gone once."""
    book, switch = calm(version, with_limits(TWO, **FREE), BOB)
    one, two = book.at("one"), book.at("two")
    one.send(*adds(version, 500))
    two.send(*adds(version, 500, 1000))
    assert one.paused and two.paused
    assert seen(switch) == list(range(WINDOW))
    answer(switch)
    turns = []
    for _ in range(10):
        before = len(seen(switch))
        answer(switch)
        turns.append({n // 1000 for n in seen(switch)[before:]})
    assert len(seen(switch)) == WINDOW + 11 * EVERY
    assert turns == [{1}, {0}] * 5 or turns == [{0}, {1}] * 5
    while switch.model.held:
        answer(switch)
    assert [n for n in seen(switch) if n < 1000] == list(range(500))
    assert [n for n in seen(switch) if n >= 1000] == list(range(1000, 1500))


@BOTH
def test_one_that_goes_while_it_waits(version: int):
    book, switch = calm(version, with_limits(TWO, **FREE), BOB)
    one, two = book.at("one"), book.at("two")
    one.send(*adds(version, 500))
    two.send(*adds(version, 100, 1000))
    book.accept = None
    one.close()
    while switch.model.held:
        answer(switch)
    assert [n for n in seen(switch) if n < 1000] == list(range(WINDOW))
    assert [n for n in seen(switch) if n >= 1000] == list(range(1000, 1100))
    assert not two.paused


@BOTH
def test_a_slice_removed_while_it_waits(version: int):
    book, switch = calm(version)
    book.at("alice").send(*adds(version, 500))
    b = book.at("bob")
    b.send(*adds(version, 500, port=3))
    book.adopt(with_limits(BOB, **FREE))
    switch.release()
    book.advance(2)
    assert switch.flows(100, guards=True) == []
    assert seen(switch, 200) == list(range(500))
    assert not b.paused


@BOTH
def test_a_switch_that_goes_while_they_wait(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 500))
    switch.close()
    assert not a.open
    switch.model.hold, switch.model.held = set(), []
    again = book.switch(model=switch.model)
    book.advance(3)
    a = book.at("alice")
    assert len(a.flow_stats()) == WINDOW
    again.inbox.clear()
    a.send(*adds(version, 500, 500))
    assert seen(again) == list(range(500, 1000))
    assert not a.paused


# -- a switch that does not read -------------------------------------------------------------------------


@BOTH
def test_congestion_stops_everybody_and_ends_for_everybody(version: int):
    book, switch = scene(version, with_limits(ALICE, **FREE), with_limits(BOB, **FREE))
    a, b = book.at("alice"), book.at("bob")
    book.mux.congested(switch.cid, book.now)
    a.send(*adds(version, 200))
    b.send(*adds(version, 200, port=3))
    assert not seen(switch) and not seen(switch, 200)
    assert a.paused and b.paused
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    assert seen(switch) == seen(switch, 200) == list(range(200))
    assert not a.paused and not b.paused


@BOTH
def test_a_barrier_reply_is_no_turn_while_the_switch_is_congested(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, 100))
    book.mux.congested(switch.cid, book.now)
    answer(switch, 2)
    assert len(seen(switch)) == WINDOW
    assert a.paused
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    assert seen(switch) == list(range(100))
    assert not a.paused


@BOTH
def test_relief_is_no_excuse_for_a_full_window(version: int):
    book, switch = calm(version)
    a = book.at("alice")
    book.mux.congested(switch.cid, book.now)
    a.send(*adds(version, 100))
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    assert len(seen(switch)) == WINDOW
    book.mux.congested(switch.cid, book.now)
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    assert len(seen(switch)) == WINDOW
    answer(switch, 2)
    assert not a.paused


@BOTH
def test_one_held_up_by_its_rate_when_the_switch_gets_slow(version: int):
    book, switch = scene(version, with_limits(ALICE, **FREE, flow_mod_rate=10), BOB)
    a = book.at("alice")
    a.send(*adds(version, 15))
    assert len(seen(switch)) == 10
    book.mux.congested(switch.cid, book.now)
    book.advance(2)
    assert len(seen(switch)) == 10
    book.mux.relieved(switch.cid, book.now)
    book.settle()
    book.advance(1)
    assert seen(switch) == list(range(15))
    assert not a.paused


@BOTH
def test_one_that_reads_again_while_its_window_is_full(version: int):
    """What held it up first is over, what holds it up now is not; nothing forgets it."""
    book, switch = calm(version)
    a = book.at("alice")
    a.send(*adds(version, WINDOW))
    book.mux.congested(a.cid, book.now)
    book.settle()
    assert a.paused
    book.mux.relieved(a.cid, book.now)
    book.settle()
    assert a.paused
    answer(switch)
    assert not a.paused
    a.send(*adds(version, 10, WINDOW))
    assert seen(switch) == list(range(WINDOW + 10))


@BOTH
def test_one_that_does_not_read_waits_beside_the_queue(version: int):
    """Barrier replies go on coming, and it is not its turn until it reads."""
    book, switch = calm(version)
    a, b = book.at("alice"), book.at("bob")
    a.send(*adds(version, 100))
    book.mux.congested(a.cid, book.now)
    book.settle()
    b.send(*adds(version, 200, port=3))
    while switch.model.held:
        answer(switch)
    assert len(seen(switch)) == WINDOW
    assert len(seen(switch, 200)) == 200
    book.mux.relieved(a.cid, book.now)
    book.settle()
    assert seen(switch) == list(range(100))
    while switch.model.held:
        answer(switch)
    assert not a.paused


# -- all of it -------------------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(("one", "two", "bob")), st.integers(1, 90)),
    st.tuples(st.just("answer"), st.integers(1, 3)),
    st.tuples(st.just("congest")),
    st.tuples(st.just("relieve")),
    st.tuples(st.just("deaf"), st.sampled_from(("one", "two", "bob")), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((0.01, 0.5, 1.5))),
)


def numbers(switch: SwitchEnd, first: int, vlan: int) -> list[int]:
    return [n - first for n in seen(switch, vlan) if first <= n < first + 100_000]


class Said:
    """What a controller has said."""

    def __init__(self, end: ControllerEnd, first: int, vlan: int) -> None:
        self.end, self.first, self.vlan, self.count = end, first, vlan, 0
        self.deaf = False

    def more(self, count: int) -> Iterable[bytes]:
        self.count += count
        port = 3 if self.vlan == 200 else 2
        return adds(self.end.version, count, self.first + self.count - count, port)


@pytest.mark.parametrize("version", [V10, V13])
@settings(max_examples=25, deadline=None)
@given(script=st.lists(steps, max_size=20), rate=st.sampled_from((0, 100)))
def test_whatever_happens_nothing_is_lost_nor_overtaken_nor_too_much(
    version: int, script: list[tuple[object, ...]], rate: int
) -> None:
    book, switch = calm(version, with_limits(TWO, **FREE, flow_mod_rate=rate), with_limits(BOB, **FREE))
    said = {
        "one": Said(book.at("one"), 0, 100),
        "two": Said(book.at("two"), 100_000, 100),
        "bob": Said(book.at("bob"), 0, 200),
    }

    def check() -> None:
        for each in said.values():
            arrived = numbers(switch, each.first, each.vlan)
            assert arrived == list(range(len(arrived)))
        assert in_flight(switch) <= WINDOW and in_flight(switch, 200) <= WINDOW

    for what, *more in script:
        if what == "say":
            speaker = said[str(more[0])]
            speaker.end.send(*speaker.more(int(str(more[1]))))
        elif what == "answer":
            answer(switch, min(int(str(more[0])), len(switch.model.held)))
        elif what == "congest":
            book.mux.congested(switch.cid, book.now)
        elif what == "relieve":
            book.mux.relieved(switch.cid, book.now)
        elif what == "deaf":
            listener = said[str(more[0])]
            listener.deaf = bool(more[1])
            change = book.mux.congested if listener.deaf else book.mux.relieved
            change(listener.end.cid, book.now)
        else:
            book.advance(float(str(more[0])))
        book.settle()
        check()
    book.mux.relieved(switch.cid, book.now)
    for each in said.values():
        book.mux.relieved(each.end.cid, book.now)
    book.settle()
    for _ in range(200):
        if switch.model.held:
            answer(switch)
            check()
        elif any(each.end.paused for each in said.values()):
            book.advance(0.5)
    for each in said.values():
        assert len(numbers(switch, each.first, each.vlan)) == each.count
        assert not each.end.paused
        assert not each.end.errors()
