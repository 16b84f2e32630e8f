"""Flow dumps asked for by people."""

from __future__ import annotations

import pytest

from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import DPID
from vmoc.mux import flowdump
from vmoc.mux.flowdump import RATE, Dump

KEY = (DPID, 0)


def ask(book: Playbook, vlan: int | None = None) -> list[Dump]:
    taken: list[Dump] = []
    book.mux.view.dump_flows(KEY, vlan, taken.append, book.now)
    book.settle()
    return taken


@pytest.mark.parametrize("version", [V10, V13])
def test_everybody_who_wants_the_same_shares_one(version: int):
    book, switch = scene(version)
    switch.hold("stats_reply")
    first, second, other = ask(book), ask(book), ask(book, 100)
    assert len(switch.take("stats_request")) == 2
    assert first == second == other == []
    switch.release()
    assert len(first) == len(second) == len(other) == 1
    assert first[0] is second[0] and first[0].parts and first[0].version == version
    assert not first[0].problem


def test_the_switch_is_not_asked_more_often_than_it_can_bear():
    book, switch = scene(V10)
    for _ in range(RATE):
        assert not ask(book)[0].problem
    (refused,) = ask(book)
    assert refused.problem == "the switch has just been asked for its flows"
    assert refused.retry_after is not None and 0 < refused.retry_after <= 1
    book.advance(refused.retry_after)
    assert not ask(book)[0].problem


def test_several_parts_are_one_answer():
    book, switch = scene(V13, stats_size=2)
    for priority in range(1, 6):
        book.at("alice").add(2, priority=priority)
    (dump,) = ask(book, 100)
    assert len(dump.parts) > 1


def test_an_error_and_a_switch_that_is_away():
    book, switch = scene(V10)
    switch.hold("stats_reply")
    taken = ask(book)
    (request,) = switch.take("stats_request")
    switch.error(request, 1, 2)
    assert [dump.problem for dump in taken] == ["the switch did not tell its flows"]
    switch.close()
    assert ask(book)[0].problem == "the switch is not connected"
    never: list[Dump] = []
    book.mux.view.dump_flows((0x77, 0), None, never.append, book.now)
    assert never[0].problem == "the switch has never been connected"


def test_a_dump_that_was_under_way_does_not_bind_the_next_connection():
    book, switch = scene(V10)
    switch.hold("stats_reply")
    assert ask(book) == []
    switch.close()
    model = switch.model
    model.hold = set()
    book.switch(model=model)
    book.advance(1.5)
    assert not ask(book)[0].problem


def test_a_switch_with_too_much(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flowdump, "LONGEST", 10)
    book, _ = scene(V10)
    assert ask(book)[0].problem.startswith("the switch has more than")


def test_a_vlan_without_a_datapath_has_no_flows():
    book, switch = scene(V10)
    assert ask(book, 999) == [Dump(V10)]
    assert not switch.take("stats_request")
