"""Changes of slices in pieces of one lead where the last of them alone leads, whatever happens in between."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import endpoint, snapshot_of
from vmoc.model import Attachment, Segment, Slice
from vmoc.mux import adopting
from vmoc.registry import PlanRejectedError

DPIDS = (0xA1, 0xA2)
VLANS = (11, 12, 13)
NAMES = ("ann", "ben", "cyd")
PORTS = st.sampled_from([None, frozenset((1, 2)), frozenset((2, 3))])


@st.composite
def sliced(draw: st.DrawFn, name: str) -> Slice:
    segments = []
    for vlan in draw(st.sets(st.sampled_from(VLANS), min_size=1)):
        dpids = draw(st.one_of(st.none(), st.sets(st.sampled_from(DPIDS), min_size=1)))
        places = None if dpids is None else tuple(Attachment(dpid, draw(PORTS)) for dpid in sorted(dpids))
        segments.append(Segment(vlan, (endpoint(draw(st.sampled_from((name, "all")))),), attachments=places))
    return Slice(name, tuple(segments), enabled=draw(st.integers(0, 4)) > 0)


@st.composite
def tenants(draw: st.DrawFn) -> tuple[Slice, ...]:
    """Slices that do not clash; the first one to claim something has it."""
    found: tuple[Slice, ...] = ()
    for name in draw(st.permutations(NAMES)):
        if draw(st.booleans()):
            more = (*found, draw(sliced(name)))
            try:
                snapshot_of(more)
            except PlanRejectedError:
                continue
            found = more
    return found


STEPS = st.lists(
    st.one_of(
        tenants(),
        st.tuples(st.just("time"), st.sampled_from([0.002, 0.004, 0.03, 0.5])),
        st.tuples(st.just("switch"), st.sampled_from(DPIDS)),
    ),
    min_size=2,
    max_size=14,
)


def shown(book: Playbook) -> set[tuple[Any, ...]]:
    """Who is on which switch, in what state, with whom."""
    return {
        (switch["dpid"], datapath["slice"], datapath["vlan"], datapath["state"], link["endpoint"])
        for switch in book.mux.describe()["switches"]  # type: ignore[attr-defined]
        for datapath in switch["datapaths"]
        for link in datapath["controllers"]
    }


def guarded(book: Playbook) -> set[tuple[Any, ...]]:
    """The ports kept out of every VLAN."""
    return {(end.model.dpid, vlan, tuple(end.guards(vlan))) for end in book.switches for vlan in VLANS}


def ready(version: int, slices: tuple[Slice, ...]) -> Playbook:
    book = Playbook(slices)
    for dpid in DPIDS:
        book.switch(version, dpid=dpid)
    book.advance(2)
    return book


@settings(max_examples=60, deadline=None)
@given(st.sampled_from((V10, V13)), tenants(), STEPS)
def test_pieces_come_to_the_same(version: int, first: tuple[Slice, ...], steps: list[Any]) -> None:
    with mock.patch.multiple(adopting, PIECE=1, SHARE=1, SLICES=1):
        book = ready(version, first)
        latest = first
        for step in steps:
            if step and step[0] == "time":
                book.advance(step[1])
            elif step and step[0] == "switch":
                gone = [end for end in book.switches if end.model.dpid == step[1]]
                for end in gone:
                    end.close()
                    book.switch(version, model=end.model)
            else:
                latest = step
                book.mux.adopt(snapshot_of(latest), book.now)
                book.settle()
                for end in book.controllers():  # whoever is there has something to lose
                    if end.features is not None:
                        end.add()
        book.advance(60)
        assert book.mux.behind == 0
        taken = {each.vlan for one in latest if one.enabled for each in one.segments}
        for end in book.switches:
            assert all(end.flows(vlan) == [] for vlan in VLANS if vlan not in taken), "nobody's VLAN is empty"
    at_once = ready(version, latest)
    at_once.advance(60)
    assert shown(book) == shown(at_once)
    assert guarded(book) == guarded(at_once)
