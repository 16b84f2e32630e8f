"""What a change of slices touches, and that the core touches nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, piece, snapshot_of, with_limits
from vmoc.events import Kind
from vmoc.model import Attachment, Segment, Slice
from vmoc.mux.changes import Touched

BOTH = pytest.mark.parametrize("version", [V10, V13])


def at(vlan: int, *dpids: int) -> Segment:
    return Segment(vlan, attachments=tuple(Attachment(dpid) for dpid in dpids) or None)


def touched(old: Slice | None, new: Slice | None) -> dict[int | None, set[int]]:
    found = Touched()
    found.add(old, new)
    return found.by_dpid


def test_a_slice_that_comes_or_goes_touches_where_it_is() -> None:
    one = Slice("a", (at(1, 10, 11), at(2, 10), at(3)))
    expected = {10: {1, 2}, 11: {1}, None: {3}}
    assert touched(None, one) == touched(one, None) == expected
    assert touched(one, replace(one, enabled=False)) == expected
    assert touched(one, with_limits(one, max_flows=1)) == expected


def test_of_a_slice_that_changes_only_the_segments_that_differ() -> None:
    one = Slice("a", (at(1, 10), at(2, 10), at(3)))
    assert touched(one, replace(one, labels={"x": "y"}, expire_time=1.0, owner="o")) == {}
    assert touched(one, replace(one, segments=one.segments[1:])) == {10: {1}}
    assert touched(one, replace(one, segments=(at(1, 11), *one.segments[1:]))) == {10: {1}, 11: {1}}
    assert touched(one, replace(one, segments=one.segments[::-1])) == {}
    assert touched(one, replace(one, segments=(*one.segments[:2], at(3, 12)))) == {None: {3}, 12: {3}}


def test_a_switch_is_asked_about_its_own_and_about_everywhere() -> None:
    found = Touched()
    found.add(None, Slice("a", (at(1, 10), at(2, 11), at(3))))
    assert found.on(10) == {1, 3} and found.on(11) == {2, 3} and found.on(12) == {3}


@BOTH
def test_names_say_what_may_differ_and_the_rest_is_not_looked_at(version: int) -> None:
    book, switch = scene(version)
    zoe = piece("zoe", 600, (1,))
    changed = snapshot_of((with_limits(ALICE, max_flows=5), *FOUR[1:], zoe))
    book.mux.adopt(changed, book.now, ["zoe", "nobody"])
    book.settle()
    assert [(e.kind, e.slice, dict(e.detail)) for e in book.events if e.kind.startswith("slice-")] == [
        (Kind.SLICE_ADDED, "zoe", {"origin": "file"})
    ]
    assert book.at("zoe")
    book.mux.adopt(snapshot_of((with_limits(ALICE, max_flows=5), *FOUR[1:])), book.now, ["zoe"])
    book.settle()
    assert [e.slice for e in book.told(Kind.SLICE_REMOVED)] == ["zoe"]


@BOTH
def test_an_unchanged_segment_of_a_changed_slice_is_left_alone(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    book, _ = scene(version)
    looked: list[tuple[int, list[int]]] = []
    sync = book.mux._tenancy.sync

    def note(switch: Any, now: float, vlans: Any = None) -> None:
        looked.append((switch.dpid, sorted(vlans)))
        sync(switch, now, vlans)

    monkeypatch.setattr(book.mux._tenancy, "sync", note)
    more = replace(ALICE, segments=(*ALICE.segments, replace(ALICE.segments[0], vlan=777)))
    book.adopt(more, *FOUR[1:])
    assert [vlans for _, vlans in looked] == [[777]]
    book.adopt(replace(more, labels={"a": "b"}, expire_time=5.0), *FOUR[1:])
    assert len(looked) == 1


# -- the tally -----------------------------------------------------------------------------------------------------


def counted(book: Playbook) -> tuple[dict[int, bool], Counter[tuple[str, str]]]:
    """What ``tally`` keeps, counted anew from the description."""
    switches: dict[int, bool] = {}
    links: Counter[tuple[str, str]] = Counter()
    for switch in book.mux.describe()["switches"]:  # type: ignore[attr-defined]
        dpid = int(switch["dpid"], 16)
        switches[dpid] = switches.get(dpid, False) or switch["connected"]
        for datapath in switch["datapaths"]:
            for link in datapath["controllers"]:
                links[datapath["slice"], link["state"]] += 1
    return switches, links


@BOTH
def test_the_tally_is_what_counting_gives_whatever_happens(version: int) -> None:
    book, switch = scene(version)
    twin = piece("twin", 9, dpid=None, controllers=("shared",))
    assert book.mux.tally() == counted(book)
    assert book.mux.tally()[1]["alice", "active"] == 1
    for slices in ((*FOUR, twin), FOUR[1:], (BOB,), (), FOUR):
        book.adopt(*slices)
        assert book.mux.tally() == counted(book)
    end = book.at("alice")
    end.close()
    assert book.mux.tally() == counted(book)
    book.advance(5)
    assert book.mux.tally() == counted(book)
    switch.close()
    assert book.mux.tally() == counted(book)
    assert not any(book.mux.tally()[0].values())
    book.adopt()
    assert book.mux.tally()[1] == {}
