"""The truth about slices: who owns which VLAN on which switch.

A change is planned first (conflicts, and what it would add, remove and
change), then adopted; the result is an immutable snapshot. Snapshots share
what did not change, and every question about a segment is a dictionary
look-up, so a change costs nearly the same however many slices there are.

The rules (vetting D.1): a VLAN on a switch has one owner, a slice has a VLAN
once, and no controller is shown the same DPID twice. A segment without
attachments (None) is on every switch, also on those not seen yet.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from vmoc.errors import VmocError
from vmoc.layered import Layered
from vmoc.model import Attachment, DpidScheme, Endpoint, Origin, Segment, Slice, format_dpid

LOCAL_PORT: Final = 0xFFFFFFFE
"""The switch's own port; "all ports" (None) does not include it."""

Placed = tuple[Slice, Segment]
K = TypeVar("K")
V = TypeVar("V")
_NO_PORTS: Final[frozenset[int]] = frozenset()
_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


class ConflictKind(StrEnum):
    """Which rule a conflict breaks."""

    ID = "id"  # the slice id is taken by another origin, or given twice
    VLAN = "vlan"  # the VLAN has an owner there
    DPID = "dpid"  # a controller would see the same DPID twice


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a change can't be made. ``text`` does not name the other slice; who may know it reads ``other_slice``."""

    kind: ConflictKind
    slice: str
    vlan: int | None
    other_slice: str
    other_vlan: int | None
    dpid: int | None  # None: every switch
    ports: frozenset[int] | None  # what both want; None: every port
    text: str


class PlanRejectedError(VmocError):
    """The plan has conflicts, or the registry has changed since it was made."""


@dataclass(slots=True)
class _Shown:
    """What one controller is shown: presented DPIDs, and the segments that present physical ones."""

    dpids: Layered[int, Placed]
    physical: Layered[tuple[str, int], Placed]  # on named switches
    physical_everywhere: Layered[tuple[str, int], Placed]

    def copy(self) -> _Shown:
        return _Shown(self.dpids.copy(), self.physical.copy(), self.physical_everywhere.copy())


class Snapshot:
    """All slices at one moment. Immutable."""

    __slots__ = ("_dpids", "_everywhere", "_shown", "_slices", "_vlans")

    def __init__(self) -> None:
        self._slices: Layered[str, Slice] = Layered()
        self._vlans: Layered[int, Layered[str, Placed]] = Layered()  # VLAN, slice
        self._everywhere: Layered[int, Layered[str, Placed]] = Layered()  # the part of it that is on every switch
        self._dpids: Layered[int, Layered[int, tuple[Placed, ...]]] = Layered()  # DPID, VLAN
        self._shown: Layered[Endpoint | None, _Shown] = Layered()  # None is the default controller

    @property
    def slices(self) -> Mapping[str, Slice]:
        """Every slice by its id."""
        return MappingProxyType(self._slices)

    def segments_on_vlan(self, vlan: int) -> tuple[Placed, ...]:
        """Every segment of that VLAN, disabled slices included."""
        return tuple(self._vlans.get(vlan, _NONE).values())

    def names_on(self, dpid: int) -> Iterator[str]:
        """Slices with a segment that names the switch, disabled ones included; of several segments several times."""
        for placed in self._dpids.get(dpid, _NONE).values():
            for owner, _ in placed:
                yield owner.id

    def segments_on(self, dpid: int, native_vlan: int = 0) -> Iterator[Placed]:
        """Segments of enabled slices on a switch; ``native_vlan`` limits them to that VLAN."""
        named = self._dpids.get(dpid, _NONE)
        if native_vlan:
            groups: list[Iterable[Placed]] = [
                self._everywhere.get(native_vlan, _NONE).values(),
                named.get(native_vlan, ()),
            ]
        else:
            groups = [*(placed.values() for placed in self._everywhere.values()), *named.values()]
        for group in groups:
            for placed in group:
                if placed[0].enabled:
                    yield placed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do: slice ids in order, and the snapshot it leads to (the old one if it has conflicts)."""

    base: Snapshot
    conflicts: tuple[Conflict, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    snapshot: Snapshot

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not (self.conflicts or self.added or self.removed or self.changed)


def presented_dpid(scheme: DpidScheme, vlan: int, dpid: int) -> int:
    """The DPID a virtual datapath shows: the switch's own, or ``vlan << 48 | low 48 bits``."""
    return dpid if scheme is DpidScheme.PHYSICAL else vlan << 48 | dpid & 0xFFFF_FFFF_FFFF


class Registry:
    """Holds the current snapshot."""

    __slots__ = ("snapshot",)

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def plan(self, slices: Iterable[Slice], *, origin: Origin, sharing: bool = False) -> Plan:
        """Make ``slices`` everything that ``origin`` has; slices of other origins stay.

        ``sharing`` lets slices have the same VLAN on a switch with different ports.
        """
        wanted = list(slices)
        ids = {one.id for one in wanted}
        gone = [one.id for one in self.snapshot.slices.values() if one.origin is origin and one.id not in ids]
        return self.plan_change(wanted, gone, origin=origin, sharing=sharing)

    def plan_change(self, put: Iterable[Slice], drop: Iterable[str], *, origin: Origin, sharing: bool = False) -> Plan:
        """Add or replace ``put`` and remove ``drop``, all of ``origin``; everything else stays."""
        base, draft = self.snapshot, _Draft(self.snapshot, sharing)
        added: list[str] = []
        changed: list[str] = []
        todo: dict[str, Slice] = {}
        for one in put:
            new = one if one.origin is origin else replace(one, origin=origin)
            old = base.slices.get(new.id)
            if new.id in todo or (old is not None and old.origin is not origin):
                draft.conflict(ConflictKind.ID, new, None, (todo.get(new.id) or new, None), text="the id is taken")
            elif old is None:
                added.append(new.id)
                todo[new.id] = new
            elif old != new:
                changed.append(new.id)
                todo[new.id] = new
            else:
                todo[new.id] = old
        removed = [name for name in dict.fromkeys(drop) if name in base.slices and name not in todo]
        for name in removed:
            if base.slices[name].origin is not origin:
                other = (base.slices[name], None)
                draft.conflict(ConflictKind.ID, base.slices[name], None, other, text="the slice is of another origin")
        for name in [*removed, *changed]:
            draft.remove(base.slices[name])
        for name in [*added, *changed]:
            draft.add(todo[name])
        if draft.conflicts:
            snapshot = base
        else:
            snapshot = draft.finish() if added or removed or changed else base
        return Plan(base, tuple(draft.conflicts), tuple(added), tuple(removed), tuple(changed), snapshot)

    def adopt(self, plan: Plan) -> Snapshot:
        """Make the plan's snapshot the current one.

        Raises ``PlanRejectedError`` when it has conflicts or is not based on the current one.
        """
        if plan.conflicts:
            raise PlanRejectedError(plan.conflicts[0].text)
        if plan.base is not self.snapshot:
            raise PlanRejectedError("the slices have changed since this plan was made; plan again")
        self.snapshot = plan.snapshot
        return self.snapshot


def follow(base: Snapshot, put: Iterable[Slice], drop: Iterable[str]) -> Generator[None, None, Snapshot]:
    """Makes the snapshot after a change that another registry has planned and adopted; yields after every slice.

    Raises ``PlanRejectedError`` when it cannot be made from ``base``: the two have come apart.
    """
    draft, todo = _Draft(base, sharing=True), list(put)
    for name in (*drop, *(one.id for one in todo if one.id in base.slices)):
        if name not in base.slices:
            raise PlanRejectedError(f"slice {name} is to be removed and is not there")
        draft.remove(base.slices[name])
        yield
    for one in todo:
        draft.add(one)
        yield
    if draft.conflicts:
        raise PlanRejectedError(draft.conflicts[0].text)
    return draft.finish()


class _Draft:
    """A snapshot being made: copies what it touches, once, and shares the rest."""

    def __init__(self, base: Snapshot, sharing: bool) -> None:
        self.conflicts: list[Conflict] = []
        self._base = base  # kept alive: _ours tells containers apart by identity
        self._sharing = sharing
        self._slices = base._slices.copy()
        self._vlans = base._vlans.copy()
        self._everywhere = base._everywhere.copy()
        self._dpids = base._dpids.copy()
        self._shown = base._shown.copy()
        self._ours: set[int] = set()  # identities of the inner containers this draft may change

    def finish(self) -> Snapshot:
        snapshot = Snapshot()
        snapshot._slices = self._slices
        snapshot._vlans, snapshot._everywhere = self._vlans, self._everywhere
        snapshot._dpids, snapshot._shown = self._dpids, self._shown
        return snapshot

    def conflict(
        self,
        kind: ConflictKind,
        one: Slice,
        segment: Segment | None,
        other: tuple[Slice, Segment | None],
        *,
        text: str,
        dpid: int | None = None,
        ports: frozenset[int] | None = None,
    ) -> None:
        vlan = None if segment is None else segment.vlan
        other_vlan = None if other[1] is None else other[1].vlan
        self.conflicts.append(Conflict(kind, one.id, vlan, other[0].id, other_vlan, dpid, ports, text))

    # -- removing ------------------------------------------------------------------------------------------------------

    def remove(self, one: Slice) -> None:
        del self._slices[one.id]
        for segment in one.segments:
            key = (one.id, segment.vlan)
            self._vlan(self._vlans, segment.vlan).pop(one.id, None)
            if segment.attachments is None:
                self._vlan(self._everywhere, segment.vlan).pop(one.id, None)
            for attachment in segment.attachments or ():
                on_switch = self._switch(attachment.dpid)
                left = tuple(placed for placed in on_switch.pop(segment.vlan, ()) if placed[0].id != one.id)
                if left:
                    on_switch[segment.vlan] = left
            for controller in segment.controllers or (None,):
                if controller not in self._shown:
                    continue
                shown = self._controller(controller)
                shown.physical.pop(key, None)
                shown.physical_everywhere.pop(key, None)
                for attachment in segment.attachments or ():
                    shown.dpids.pop(presented_dpid(segment.dpid, segment.vlan, attachment.dpid), None)
        self._prune(one)

    def _prune(self, one: Slice) -> None:
        """Drop what has become empty, so that a registry whose slices come and go does not grow."""
        for segment in one.segments:
            for index in (self._vlans, self._everywhere):
                if segment.vlan in index and not index[segment.vlan]:
                    del index[segment.vlan]
            for attachment in segment.attachments or ():
                if not self._dpids.get(attachment.dpid, True):
                    del self._dpids[attachment.dpid]
            for controller in segment.controllers or (None,):
                shown = self._shown.get(controller)
                if shown is not None and not (shown.dpids or shown.physical or shown.physical_everywhere):
                    del self._shown[controller]

    # -- adding --------------------------------------------------------------------------------------------------------

    def add(self, one: Slice) -> None:
        self._slices[one.id] = one
        for segment in one.segments:
            placed = (one, segment)
            on_vlan = self._vlan(self._vlans, segment.vlan)
            if one.id in on_vlan:
                text = f"the slice has VLAN {segment.vlan} twice"
                self.conflict(ConflictKind.VLAN, one, segment, on_vlan[one.id], text=text)
                continue
            if segment.attachments is None:
                ours = self._claim_everywhere(placed, on_vlan)
                switches: tuple[int, ...] = ()
            else:
                switches = tuple(one.dpid for one in segment.attachments if self._claim(placed, one))
                ours = bool(switches)
            on_vlan[one.id] = placed
            if ours:  # what has clashed already is not told a second time for its DPID
                for controller in segment.controllers or (None,):
                    self._show(placed, controller, switches)

    def _claim_everywhere(self, placed: Placed, on_vlan: Mapping[str, Placed]) -> bool:
        vlan = placed[1].vlan
        for other in on_vlan.values():
            for dpid, ports in self._granted(other):
                contested = self._contested(None, ports)
                if contested is None or contested:
                    self.conflict(
                        ConflictKind.VLAN, *placed, other, text=_taken(vlan, dpid), dpid=dpid, ports=contested
                    )
                    return False
        self._vlan(self._everywhere, vlan)[placed[0].id] = placed
        return True

    def _claim(self, placed: Placed, attachment: Attachment) -> bool:
        vlan, dpid = placed[1].vlan, attachment.dpid
        on_switch = self._switch(dpid)
        owners = on_switch.get(vlan, ())
        for other in (*self._everywhere.get(vlan, _NONE).values(), *owners):
            theirs = other[1].attachment(dpid)
            ports = self._contested(attachment.ports, theirs.ports if theirs is not None else _NO_PORTS)
            if ports is None or ports or other[0] is placed[0]:
                self.conflict(ConflictKind.VLAN, *placed, other, text=_taken(vlan, dpid), dpid=dpid, ports=ports)
                return False
        on_switch[vlan] = (*owners, placed)
        return True

    def _granted(self, placed: Placed) -> Iterator[tuple[int | None, frozenset[int] | None]]:
        """The switches (None: every one) and ports that a segment holds; what has clashed it does not hold."""
        one, segment = placed
        if segment.attachments is None:
            if one.id in self._everywhere.get(segment.vlan, _NONE):
                yield None, None
            return
        for attachment in segment.attachments:
            if any(owner is placed for owner in self._dpids.get(attachment.dpid, _NONE).get(segment.vlan, ())):
                held = segment.attachment(attachment.dpid)
                yield attachment.dpid, held.ports if held is not None else _NO_PORTS

    def _contested(self, ours: frozenset[int] | None, theirs: frozenset[int] | None) -> frozenset[int] | None:
        """What both sides want; the empty set when they can share the VLAN on that switch."""
        if not self._sharing:
            return None
        if ours is None:
            return None if theirs is None else theirs - {LOCAL_PORT}
        return ours - {LOCAL_PORT} if theirs is None else ours & theirs

    def _show(self, placed: Placed, controller: Endpoint | None, switches: Iterable[int]) -> None:
        one, segment = placed
        if segment.attachments is None and segment.dpid is not DpidScheme.PHYSICAL:
            return  # no two VLANs look alike, and this one is ours
        shown = self._controller(controller)
        key = (one.id, segment.vlan)
        if segment.attachments is None:
            other = next(iter((shown.physical_everywhere or shown.physical).values()), None)
            if other is not None:
                self._shown_twice(placed, other, controller, None)
            else:
                shown.physical_everywhere[key] = placed
            return
        for dpid in switches:
            presented = presented_dpid(segment.dpid, segment.vlan, dpid)
            clash = shown.dpids.get(presented)
            if clash is None and segment.dpid is DpidScheme.PHYSICAL:
                clash = next(iter(shown.physical_everywhere.values()), None)
            if clash is not None:
                self._shown_twice(placed, clash, controller, dpid)
                continue
            shown.dpids[presented] = placed
            if segment.dpid is DpidScheme.PHYSICAL:
                shown.physical[key] = placed

    def _shown_twice(self, placed: Placed, other: Placed, controller: Endpoint | None, dpid: int | None) -> None:
        name = "the default controller" if controller is None else str(controller)
        where = "every switch" if dpid is None else f"switch {format_dpid(dpid)}"
        text = f"{name} would see the same DPID twice for {where}"
        self.conflict(ConflictKind.DPID, *placed, other, text=text, dpid=dpid)

    # -- copy on write -------------------------------------------------------------------------------------------------

    def _vlan(self, index: Layered[int, Layered[str, Placed]], vlan: int) -> Layered[str, Placed]:
        return self._own(index, vlan)

    def _switch(self, dpid: int) -> Layered[int, tuple[Placed, ...]]:
        return self._own(self._dpids, dpid)

    def _own(self, index: Layered[int, Layered[K, V]], key: int) -> Layered[K, V]:
        found = index.get(key)
        if found is None or id(found) not in self._ours:
            found = index[key] = Layered() if found is None else found.copy()
            self._ours.add(id(found))
        return found

    def _controller(self, controller: Endpoint | None) -> _Shown:
        found = self._shown.get(controller)
        if found is None or id(found) not in self._ours:
            found = self._shown[controller] = (
                found.copy() if found is not None else _Shown(Layered(), Layered(), Layered())
            )
            self._ours.add(id(found))
        return found


def _taken(vlan: int, dpid: int | None) -> str:
    return f"VLAN {vlan} on {'every switch' if dpid is None else 'switch ' + format_dpid(dpid)} has an owner already"
