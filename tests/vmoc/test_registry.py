"""Who owns what: against an oracle that compares everything with everything, and over long random histories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmoc.model import Attachment, DpidScheme, Endpoint, Origin, Segment, Slice
from vmoc.registry import (
    LOCAL_PORT,
    Conflict,
    ConflictKind,
    PlanRejectedError,
    Registry,
    Snapshot,
    follow,
    presented_dpid,
)

C, D = Endpoint("tcp", "c", 1), Endpoint("tcp", "d", 1)


def one(name: str, *segments: Segment, enabled: bool = True, origin: Origin = Origin.FILE) -> Slice:
    return Slice(name, segments, enabled=enabled, origin=origin)


def at(vlan: int, *dpids: int, ports: Iterable[int] | None = None, controllers: tuple[Endpoint, ...] = (C,)) -> Segment:
    """A segment on named switches; none named means on every switch."""
    granted = None if ports is None else frozenset(ports)
    attachments = tuple(Attachment(dpid, granted) for dpid in dpids) or None
    return Segment(vlan, controllers, attachments=attachments)


def physical(segment: Segment) -> Segment:
    return replace(segment, dpid=DpidScheme.PHYSICAL)


def told(conflicts: Iterable[Conflict]) -> list[tuple[ConflictKind, str, int | None, str, int | None]]:
    return [(c.kind, c.slice, c.vlan, c.other_slice, c.dpid) for c in conflicts]


VLAN, DPID, ID = ConflictKind.VLAN, ConflictKind.DPID, ConflictKind.ID


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([one("a", at(1)), one("b", at(2))], []),
        ([one("a", at(1, 10)), one("b", at(1, 11))], []),
        ([one("a", at(1)), one("b", at(1))], [(VLAN, "b", 1, "a", None)]),
        ([one("a", at(1)), one("b", at(1, 10))], [(VLAN, "b", 1, "a", 10)]),
        ([one("a", at(1, 10)), one("b", at(1))], [(VLAN, "b", 1, "a", 10)]),
        (
            [one("a", at(1, 10, 11)), one("b", at(1, 11, 10))],
            [(VLAN, "b", 1, "a", 11), (VLAN, "b", 1, "a", 10)],
        ),
        ([one("a", at(1, 10, ports=[1])), one("b", at(1, 10, ports=[2]))], [(VLAN, "b", 1, "a", 10)]),
        ([one("a", at(1, 10), at(1, 11))], [(VLAN, "a", 1, "a", None)]),
        ([one("a", at(1, 10, 10))], [(VLAN, "a", 1, "a", 10)]),
        ([one("a", at(1, 10), at(2, 10)), one("b", at(3, 10))], []),
        ([one("a"), one("a")], [(ID, "a", None, "a", None)]),
        ([one("a", at(1), enabled=False), one("b", at(1))], [(VLAN, "b", 1, "a", None)]),  # reserved all the same
        ([one("a", physical(at(1, 10))), one("b", physical(at(2, 10)))], [(DPID, "b", 2, "a", 10)]),
        ([one("a", physical(at(1))), one("b", physical(at(2, 10)))], [(DPID, "b", 2, "a", 10)]),
        ([one("a", physical(at(1, 10))), one("b", physical(at(2)))], [(DPID, "b", 2, "a", None)]),
        ([one("a", physical(at(1, 10))), one("b", physical(at(2, 11)))], []),
        ([one("a", physical(at(1))), one("b", physical(at(2, controllers=(D,))))], []),
        (
            [one("a", physical(at(1, controllers=()))), one("b", physical(at(2, controllers=())))],
            [(DPID, "b", 2, "a", None)],
        ),
        ([one("a", physical(at(1))), one("b", at(2))], []),
        # the VLAN scheme keeps 48 bits of the DPID; so a switch may look like another one
        ([one("a", at(1, 1 << 48 | 5, 2 << 48 | 5))], [(DPID, "a", 1, "a", 2 << 48 | 5)]),
        ([one("a", at(1, 5)), one("b", physical(at(2, 1 << 48 | 5)))], [(DPID, "b", 2, "a", 1 << 48 | 5)]),
    ],
)
def test_conflicts(slices: list[Slice], expected: list[object]) -> None:
    registry = Registry()
    plan = registry.plan(slices, origin=Origin.FILE)
    assert told(plan.conflicts) == expected
    if expected:
        assert plan.snapshot is registry.snapshot
        with pytest.raises(PlanRejectedError):
            registry.adopt(plan)
    else:
        assert registry.adopt(plan) is plan.snapshot is registry.snapshot


def test_a_conflict_says_what_and_where_but_not_who() -> None:
    taken = one("secret-project", at(7, 0xA))
    (conflict,) = Registry().plan([taken, one("b", at(7, 0xA))], origin=Origin.FILE).conflicts
    assert conflict.text == "VLAN 7 on switch 0x000000000000000a has an owner already"
    (conflict,) = Registry().plan([one("a", at(7)), one("b", at(7))], origin=Origin.FILE).conflicts
    assert conflict.text == "VLAN 7 on every switch has an owner already"


@pytest.mark.parametrize(
    ("first", "second", "contested"),
    [
        (at(1, 10, ports=[1, 2]), at(1, 10, ports=[2, 3]), {2}),
        (at(1, 10, ports=[1]), at(1, 10, ports=[2]), None),
        (at(1, 10), at(1, 10, ports=[2, LOCAL_PORT]), {2}),
        (at(1, 10), at(1, 10, ports=[LOCAL_PORT]), None),  # all physical ports: LOCAL is not one
        (at(1), at(1, 10, ports=[LOCAL_PORT]), None),
        (at(1, 10, ports=[3]), at(1), {3}),
        (at(1, 10, ports=[]), at(1), None),
    ],
)
def test_with_sharing_only_the_same_ports_clash(first: Segment, second: Segment, contested: set[int] | None) -> None:
    slices = [one("a", first), one("b", replace(second, controllers=(D,)))]
    conflicts = Registry().plan(slices, origin=Origin.FILE, sharing=True).conflicts
    assert [set(c.ports or ()) for c in conflicts] == ([] if contested is None else [contested])


def test_shared_vlans_still_show_each_controller_a_dpid_once() -> None:
    slices = [one("a", at(1, 10, ports=[1])), one("b", at(1, 10, ports=[2]))]
    assert told(Registry().plan(slices, origin=Origin.FILE, sharing=True).conflicts) == [(DPID, "b", 1, "a", 10)]


def test_the_difference() -> None:
    registry = Registry()
    a, b, c = one("a", at(1)), one("b", at(2)), one("c", at(3))
    plan = registry.plan([a, b, c], origin=Origin.FILE)
    assert (plan.added, plan.removed, plan.changed) == (("a", "b", "c"), (), ())
    registry.adopt(plan)
    same = registry.plan([a, b, c], origin=Origin.FILE)
    assert same.is_empty and same.snapshot is registry.snapshot
    # a and b swap VLANs, c goes, d comes
    plan = registry.plan([one("a", at(2)), one("d", at(3)), one("b", at(1))], origin=Origin.FILE)
    assert (plan.conflicts, plan.added, plan.removed, plan.changed) == ((), ("d",), ("c",), ("a", "b"))
    registry.adopt(plan)
    assert set(registry.snapshot.slices) == {"a", "b", "d"}
    assert [placed[0].id for placed in registry.snapshot.segments_on_vlan(2)] == ["a"]


def test_a_plan_does_nothing_until_adopted_and_only_once() -> None:
    registry = Registry()
    first, second = (registry.plan([one(name, at(1))], origin=Origin.FILE) for name in "ab")
    assert not registry.snapshot.slices
    registry.adopt(first)
    with pytest.raises(PlanRejectedError, match="plan again"):
        registry.adopt(second)


def test_origins_live_side_by_side() -> None:
    registry = Registry()
    registry.adopt(registry.plan([one("f", at(1))], origin=Origin.FILE))
    registry.adopt(registry.plan([one("x", at(2))], origin=Origin.API))
    assert registry.snapshot.slices["x"].origin is Origin.API
    # a reload of the file neither removes nor takes over what the API made
    plan = registry.plan([], origin=Origin.FILE)
    assert plan.removed == ("f",) and set(plan.snapshot.slices) == {"x"}
    assert told(registry.plan([one("x", at(9))], origin=Origin.FILE).conflicts) == [(ID, "x", None, "x", None)]
    assert told(registry.plan([one("y", at(2))], origin=Origin.FILE).conflicts) == [(VLAN, "y", 2, "x", None)]
    assert told(registry.plan_change([], ["f"], origin=Origin.API).conflicts) == [(ID, "f", None, "f", None)]


def test_single_changes() -> None:
    registry = Registry()
    registry.adopt(registry.plan_change([one("a", at(1)), one("b", at(2))], [], origin=Origin.API))
    plan = registry.plan_change([one("c", at(1))], ["a", "nobody"], origin=Origin.API)
    assert (plan.conflicts, plan.added, plan.removed) == ((), ("c",), ("a",))
    assert set(registry.adopt(plan).slices) == {"b", "c"}


def test_a_snapshot_does_not_change() -> None:
    registry = Registry()
    before = registry.adopt(registry.plan([one("a", at(1, 10), at(2))], origin=Origin.FILE))
    seen = ([*before.segments_on(10)], before.segments_on_vlan(1), dict(before.slices))
    registry.adopt(registry.plan([one("b", at(1, 10)), one("c", at(2))], origin=Origin.FILE))
    assert ([*before.segments_on(10)], before.segments_on_vlan(1), dict(before.slices)) == seen
    with pytest.raises(TypeError):
        before.slices["x"] = one("x")  # type: ignore[index]


def test_segments_on_a_switch() -> None:
    registry = Registry()
    slices = [one("a", at(1, 10), at(2)), one("b", at(3, 11)), one("c", at(4), enabled=False), one("d", at(5, 10, 11))]
    snapshot = registry.adopt(registry.plan(slices, origin=Origin.FILE))

    def on(dpid: int, native_vlan: int = 0) -> set[tuple[str, int]]:
        return {(placed[0].id, placed[1].vlan) for placed in snapshot.segments_on(dpid, native_vlan)}

    assert on(10) == {("a", 1), ("a", 2), ("d", 5)}
    assert on(11) == {("b", 3), ("a", 2), ("d", 5)}
    assert on(99) == {("a", 2)}
    assert on(10, 1) == {("a", 1)} and on(11, 1) == set() and on(99, 2) == {("a", 2)} and on(10, 4) == set()


def test_a_change_copies_only_what_it_touches() -> None:
    """The cost of a change must not grow with the number of slices: everything else is the same object after it."""
    registry = Registry()
    many = [one(f"s{n}", at(n % 4000 + 1, n // 4000, controllers=(Endpoint("tcp", f"h{n}", 1),))) for n in range(8000)]
    old = registry.adopt(registry.plan(many, origin=Origin.FILE))
    new = registry.adopt(registry.plan_change([one("x", at(7, 3))], ["s0"], origin=Origin.FILE))
    fresh = {
        name: {key for key, value in getattr(new, name).items() if getattr(old, name).get(key) is not value}
        for name in ("_vlans", "_dpids", "_shown")
    }
    assert fresh == {"_vlans": {7, 1}, "_dpids": {3, 0}, "_shown": {C}}


@given(st.integers(1, 4094), st.integers(0, 2**64 - 1), st.integers(1, 4094), st.integers(0, 2**64 - 1))
def test_presented_dpids(vlan: int, dpid: int, other_vlan: int, other_dpid: int) -> None:
    low = (1 << 48) - 1
    shown, other = (presented_dpid(DpidScheme.VLAN, v, d) for v, d in ((vlan, dpid), (other_vlan, other_dpid)))
    assert shown >> 48 == vlan and shown & low == dpid & low
    assert (shown == other) == ((vlan, dpid & low) == (other_vlan, other_dpid & low))
    assert presented_dpid(DpidScheme.PHYSICAL, vlan, dpid) == dpid


# -- the oracle --------------------------------------------------------------------------------------------------------

PORTS = st.none() | st.frozensets(st.sampled_from([1, 2, LOCAL_PORT]), max_size=2)
DPIDS = st.sampled_from([1, 2, 3, 1 << 48 | 2])
SEGMENTS = st.builds(
    Segment,
    st.integers(1, 3),
    st.lists(st.sampled_from([C, D]), unique=True, max_size=2).map(tuple),
    dpid=st.sampled_from(DpidScheme),
    attachments=st.none() | st.lists(st.builds(Attachment, DPIDS, PORTS), max_size=3).map(tuple),
)
SLICES = st.builds(
    Slice,
    st.sampled_from("abcdefgh"),
    st.lists(SEGMENTS, max_size=3).map(tuple),
    enabled=st.booleans(),
)


def meet(ours: frozenset[int] | None, theirs: frozenset[int] | None) -> bool:
    every = {1, 2}
    return bool(set(every if ours is None else ours) & set(every if theirs is None else theirs))


def oracle(slices: list[Slice], sharing: bool) -> set[tuple[ConflictKind, str, int | None, int | None]]:
    """Every claim against every accepted one before it."""
    found: set[tuple[ConflictKind, str, int | None, int | None]] = set()
    claims: list[tuple[str, int, int | None, frozenset[int] | None]] = []
    shown: list[tuple[Endpoint | None, int | None, bool, int | None]] = []  # controller, presented, physical, DPID
    names: set[str] = set()
    for current in slices:
        if current.id in names:
            found.add((ID, current.id, None, None))
            continue
        names.add(current.id)
        vlans: set[int] = set()
        for segment in current.segments:
            if segment.vlan in vlans:
                found.add((VLAN, current.id, segment.vlan, None))
                continue
            vlans.add(segment.vlan)
            is_physical = segment.dpid is DpidScheme.PHYSICAL
            wanted: list[Attachment | None] = [None] if segment.attachments is None else [*segment.attachments]
            accepted: list[int | None] = []
            for want in wanted:
                dpid, ports = (None, None) if want is None else (want.dpid, want.ports)
                clashes = [
                    there
                    for name, vlan, there, theirs in claims
                    if vlan == segment.vlan
                    and (dpid is None or there is None or dpid == there)
                    and (not sharing or meet(ports, theirs) or name == current.id)
                ]
                if clashes:
                    found.add((VLAN, current.id, segment.vlan, clashes[0] if dpid is None else dpid))
                else:
                    claims.append((current.id, segment.vlan, dpid, ports))
                    accepted.append(dpid)
            for controller in segment.controllers or (None,):
                for dpid in accepted:
                    show = None if dpid is None else presented_dpid(segment.dpid, segment.vlan, dpid)
                    if dpid is None and not is_physical:
                        continue
                    if any(
                        controller == other
                        and ((show is not None and show == seen) or (is_physical and phys and None in (dpid, where)))
                        for other, seen, phys, where in shown
                    ):
                        found.add((DPID, current.id, segment.vlan, dpid))
                    else:
                        shown.append((controller, show, is_physical, dpid))
    return found


@settings(max_examples=500)
@given(st.lists(SLICES, max_size=6), st.booleans())
def test_conflicts_are_those_of_the_oracle(slices: list[Slice], sharing: bool) -> None:
    conflicts = Registry().plan(slices, origin=Origin.FILE, sharing=sharing).conflicts
    found = {(c.kind, c.slice, c.vlan, c.dpid) for c in conflicts}
    wanted = oracle(slices, sharing)
    # Which switch stands for "somewhere" is free when a segment on every switch meets several others.
    everywhere = {(s.id, g.vlan) for s in slices for g in s.segments if g.attachments is None}

    def loose(one: tuple[ConflictKind, str, int | None, int | None]) -> tuple[object, ...]:
        return one[:3] if (one[1], one[2]) in everywhere else one

    assert set(map(loose, found)) == set(map(loose, wanted))


def contents(snapshot: Snapshot) -> object:
    """Everything a snapshot holds, in a form where order does not matter."""
    shown = {key: (one.dpids, one.physical, one.physical_everywhere) for key, one in snapshot._shown.items()}
    dpids = {
        dpid: {vlan: sorted(placed[0].id for placed in group) for vlan, group in vlans.items()}
        for dpid, vlans in snapshot._dpids.items()
    }
    return dict(snapshot.slices), snapshot._vlans, snapshot._everywhere, dpids, shown


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.lists(SLICES, max_size=3), st.lists(st.sampled_from("abcdefgh"), max_size=2)), max_size=12),
    st.booleans(),
)
def test_after_any_history_it_is_as_if_made_at_once(
    history: list[tuple[list[Slice], list[str]]], sharing: bool
) -> None:
    registry = Registry()
    for put, drop in history:
        plan = registry.plan_change(put, drop, origin=Origin.FILE, sharing=sharing)
        if not plan.conflicts:
            registry.adopt(plan)
        snapshot = registry.snapshot
        slices = list(snapshot.slices.values())
        assert not oracle(slices, sharing)
        again = Registry()
        again.adopt(again.plan(slices, origin=Origin.FILE, sharing=sharing))
        assert contents(snapshot) == contents(again.snapshot)
        for dpid in (1, 2, 3, 1 << 48 | 2, 77):
            for native in (0, 1, 2, 3):
                assert {(s.id, g.vlan) for s, g in snapshot.segments_on(dpid, native)} == {
                    (s.id, g.vlan)
                    for s in slices
                    for g in s.segments
                    if s.enabled and g.attachment(dpid) is not None and native in (0, g.vlan)
                }


# -- following another registry ------------------------------------------------------------------------


def followed(base: Snapshot, put: list[Slice], drop: list[str]) -> Snapshot:
    steps = follow(base, put, drop)
    before = dict(base.slices)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Snapshot = end.value
            return found
        assert dict(base.slices) == before, "what others hold meanwhile does not change"


def test_a_follower_comes_to_the_same_snapshot():
    registry, snapshot = Registry(), Snapshot()
    steps: list[tuple[list[Slice], list[str]]] = [
        ([Slice("a", (Segment(1),)), Slice("b", (Segment(2, attachments=(Attachment(7),)),))], []),
        ([Slice("b", (Segment(3),)), Slice("c", (Segment(2),))], []),  # b gives up what c gets
        ([Slice("d", (Segment(1),))], ["a"]),
        ([], ["b", "c", "d"]),
    ]
    for put, drop in steps:
        plan = registry.plan_change(put, drop, origin=Origin.FILE)
        assert not plan.conflicts
        registry.adopt(plan)
        after = plan.snapshot.slices
        snapshot = followed(snapshot, [after[name] for name in (*plan.added, *plan.changed)], plan.removed)
        assert dict(snapshot.slices) == dict(after)
        for dpid in (7, 8):
            assert list(snapshot.segments_on(dpid)) == list(plan.snapshot.segments_on(dpid))
        for vlan in (1, 2, 3):
            assert snapshot.segments_on_vlan(vlan) == plan.snapshot.segments_on_vlan(vlan)


def test_a_follower_that_is_elsewhere_says_so():
    with pytest.raises(PlanRejectedError, match="is not there"):
        followed(Snapshot(), [], ["a"])
    here = followed(Snapshot(), [Slice("a", (Segment(1),))], [])
    with pytest.raises(PlanRejectedError):
        followed(here, [Slice("b", (Segment(1),))], [])
