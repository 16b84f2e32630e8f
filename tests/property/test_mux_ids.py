"""Transaction ids and presented DPIDs: nobody's answer reaches somebody else, no two switches look the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, piece
from vmoc.model import Segment
from vmoc.mux.datapath import presented_dpid
from vmoc.mux.xids import Pending

NAMES = ("alice", "bob", "tina")
KINDS = {"flow": "stats_reply", "port": "stats_reply", "barrier": "barrier_reply", "echo": "echo_reply",
         "config": "get_config_reply", "bad": "error"}  # fmt: skip


def message(version: int, kind: str, xid: int) -> bytes:
    if kind == "flow":
        return of.stats_request(version, "flow", of.flow_stats_body(version), xid=xid)
    if kind == "port":
        return of.stats_request(version, "port", of.port_stats_body(version), xid=xid)
    if kind == "bad":
        return of.flow_mod(version, "add", None, of.output(version, 6), xid=xid)
    name = {"barrier": "barrier_request", "echo": "echo_request", "config": "get_config_request"}[kind]
    return of.message(version, name, b"", xid)


XIDS = st.one_of(st.sampled_from([0, 1, 2, 0xFFFFFFFE, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(sorted(KINDS)), XIDS),
        st.tuples(st.just("answer"), st.integers(0, 1 << 30)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("version", [V10, V13])
@settings(max_examples=30)
@given(steps=STEPS, start=st.sampled_from([1, 77, 0xFFFFFFF0, 0xFFFFFFFE]))
def test_every_request_has_one_answer_under_its_own_xid(version: int, steps: list[tuple[object, ...]], start: int):
    book, switch = scene(version, ALICE, BOB, TINA)
    (inside,) = book.mux._switches.values()
    inside.pending._next = start
    switch.hold("stats_reply", "barrier_reply")
    asked: dict[str, list[tuple[str, int]]] = {name: [] for name in NAMES}
    for step in steps:
        if step[0] == "answer":  # the switch gives one of its answers, in any order
            if switch.model.held:
                switch.send(switch.model.held.pop(int(str(step[1])) % len(switch.model.held)))
        else:
            name, kind, xid = str(step[0]), str(step[1]), int(str(step[2]))
            book.at(name).send(message(version, kind, xid))
            asked[name].append((KINDS[kind], xid))
    physical = [m.xid for m in switch.inbox]
    assert len(set(physical)) == len(physical)
    assert not {0, 0xFFFFFFFF} & set(physical)
    random.Random(start).shuffle(switch.model.held)
    switch.release()
    for name in NAMES:
        answers = [(m.name, m.xid) for m in book.at(name).inbox]
        assert sorted(answers) == sorted(asked[name])
        barriers = [xid for kind, xid in asked[name] if kind == "barrier_reply"]
        assert [xid for kind, xid in answers if kind == "barrier_reply"] == barriers
    assert len(inside.pending) == 0


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 0xFFFFFFFF))
def test_pending_xids_are_unique(moves: list[bool], start: int):
    pending: Pending[int] = Pending(start)
    alive: list[int] = []
    for number, new in enumerate(moves):
        if new or not alive:
            xid = pending.expect(number)
            assert 0 < xid < 0xFFFFFFFF and xid not in alive
            alive.append(xid)
        else:
            assert pending.pop(alive.pop(0)) is not None
    assert len(pending) == len(alive)


PLACES = st.tuples(st.integers(1, 4094), st.integers(0, (1 << 48) - 1))


@given(PLACES, PLACES)
def test_the_vlan_scheme_is_injective(one: tuple[int, int], other: tuple[int, int]):
    first, second = (presented_dpid(Segment(vlan), dpid) for vlan, dpid in (one, other))
    assert (first == second) == (one == other)
    assert (first >> 48, first & 0xFFFFFFFFFFFF) == one


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(lambda high, low: high << 48 | low, st.integers(0, 3), st.integers(1, 3)), max_size=6, unique=True
    )
)
def test_no_controller_is_ever_shown_a_dpid_twice(dpids: list[int]):
    shared = [piece(f"s{vlan}", vlan, dpid=None, controllers=("one",)) for vlan in (1, 2)]
    book = Playbook(tuple(shared))
    switches = [book.switch(V10, dpid) for dpid in dpids]
    for end in [None, *switches]:
        if end is not None:
            end.close()
        here = {s.model.dpid & 0xFFFFFFFFFFFF for s in book.switches}
        shown = [c.features.dpid for c in book.controllers() if c.features]
        assert len(shown) == len(set(shown)) == 2 * len(here), "and nobody is held down without need"
