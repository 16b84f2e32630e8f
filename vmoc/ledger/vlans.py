"""VLANs: which may be given away, which are free on given switches, and a choice for who names none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vmoc.config import Vlans
from vmoc.ledger.errors import PoolEmptyError
from vmoc.model import VLAN_MAX, VLAN_MIN, Segment, Slice
from vmoc.registry import Snapshot

SUGGESTED: Final = 3
Fits = Callable[[int], bool]
"""Whether a VLAN would do for a segment that names none."""
Choices = Mapping[str, Mapping[int, Fits]]


@dataclass(frozen=True, slots=True)
class VlanUse:
    """One VLAN: ``state`` is ``used``, ``reserved`` or ``free``; ``owners`` are (slice, DPID or None for all)."""

    vlan: int
    state: str
    in_pool: bool
    owners: tuple[tuple[str, int | None], ...] = ()

    @property
    def reason(self) -> str:
        """Why it is not to be had, in words; empty when it is."""
        if self.state == "reserved":
            return "reserved by the configuration"
        if self.state == "used":
            names = list(dict.fromkeys(name for name, _ in self.owners))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"slice{'s' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"
        return ""


def list_vlans(snapshot: Snapshot, rules: Vlans, dpid: int | None = None) -> list[VlanUse]:
    """Every VLAN 1..4094 and who has it: on the switch ``dpid``, else anywhere."""
    return [_use(snapshot, rules, vlan, dpid) for vlan in range(VLAN_MIN, VLAN_MAX + 1)]


def _use(snapshot: Snapshot, rules: Vlans, vlan: int, dpid: int | None) -> VlanUse:
    owners: list[tuple[str, int | None]] = []
    for owner, segment in snapshot.segments_on_vlan(vlan):
        if segment.attachments is None:
            owners.append((owner.id, None))
        else:
            there = (one.dpid for one in segment.attachments if dpid in (None, one.dpid))
            owners += [(owner.id, one) for one in there]
    state = "used" if owners else "reserved" if vlan in rules.reserved else "free"
    return VlanUse(vlan, state, vlan in rules.pool and vlan not in rules.reserved, tuple(owners))


def dpids_of(segment: Segment) -> frozenset[int] | None:
    """The switches a segment is on; None for every one."""
    return None if segment.attachments is None else frozenset(one.dpid for one in segment.attachments)


def is_free(snapshot: Snapshot, vlan: int, dpids: frozenset[int] | None, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether no slice, those of ``but`` aside, has the VLAN on any of the switches (None: every one)."""
    return not any(owner.id not in but and _meet(dpids, segment) for owner, segment in snapshot.segments_on_vlan(vlan))


def _meet(dpids: frozenset[int] | None, segment: Segment) -> bool:
    if dpids is None or segment.attachments is None:
        return True
    return any(one.dpid in dpids for one in segment.attachments)


def suggest(snapshot: Snapshot, rules: Vlans, dpids: frozenset[int] | None, after: int) -> tuple[int, ...]:
    """Up to three VLANs of the pool that are free on the switches, those next above ``after`` first."""
    found: list[int] = []
    for vlan in _around(rules.pool - rules.reserved, after):
        if is_free(snapshot, vlan, dpids):
            found.append(vlan)
            if len(found) == SUGGESTED:
                break
    return tuple(found)


def _around(vlans: Iterable[int], after: int) -> Iterator[int]:
    ordered = sorted(vlans)
    yield from (vlan for vlan in ordered if vlan > after)
    yield from (vlan for vlan in ordered if vlan <= after)


def fill_in(
    slices: Sequence[Slice],
    before: Mapping[str, Slice],
    snapshot: Snapshot,
    rules: Vlans,
    leaving: Iterable[str],
    choices: Choices | None = None,
) -> list[Slice]:
    """The slices with a VLAN for every segment that has 0.

    ``before`` are those they replace, whose VLANs they keep where they can;
    ``leaving`` are removed by the same change; ``choices`` narrow what does,
    by slice and index of the segment. Raises ``PoolEmptyError``.
    """
    filled = list(slices)
    open_ones = [place for place, one in enumerate(slices) if any(not segment.vlan for segment in one.segments)]
    if not open_ones:
        return filled
    named = [segment for one in slices for segment in one.segments if segment.vlan]
    allocation = Allocation(snapshot, rules, leaving=frozenset((*before, *leaving)), named=named)
    open_ones.sort(key=lambda place: slices[place].id not in before)  # what is kept is not free for the others
    for place in open_ones:
        one = slices[place]
        taken = {segment.vlan for segment in one.segments}
        old = before.get(one.id)
        spare = [segment.vlan for segment in (old.segments if old is not None else ()) if segment.vlan not in taken]
        segments = []
        for index, segment in enumerate(one.segments):
            if not segment.vlan:
                dpids = dpids_of(segment)
                fits = (choices or {}).get(one.id, {}).get(index)
                keep = next((vlan for vlan in spare if fits is None or fits(vlan)), None)
                if keep is not None:
                    spare.remove(keep)
                vlan = allocation.take(dpids, taken, keep, fits)
                if vlan is None:
                    raise PoolEmptyError(one.id, f"segments[{index}].vlan", None if dpids is None else sorted(dpids))
                taken.add(vlan)
                segment = replace(segment, vlan=vlan)
            segments.append(segment)
        filled[place] = replace(one, segments=tuple(segments))
    return filled


class Allocation:
    """VLANs chosen during one change: none twice, and none that the change itself names elsewhere."""

    def __init__(self, snapshot: Snapshot, rules: Vlans, *, leaving: frozenset[str], named: Iterable[Segment]) -> None:
        """``leaving`` are slices removed or replaced by the change, ``named`` its segments that name a VLAN."""
        self._snapshot = snapshot
        self._leaving = leaving
        self._pool = sorted(rules.pool - rules.reserved)
        self._taken: dict[int, list[frozenset[int] | None]] = {}
        self._next: dict[frozenset[int] | None, int] = {}
        for segment in named:
            self._taken.setdefault(segment.vlan, []).append(dpids_of(segment))

    def take(
        self, dpids: frozenset[int] | None, unlike: Iterable[int], keep: int | None = None, fits: Fits | None = None
    ) -> int | None:
        """Free on all of ``dpids``, not one of ``unlike``, that ``fits``; ``keep`` if that one is. None: none."""
        refused = set(unlike)
        if keep is not None and keep not in refused and self._free(keep, dpids):
            return self._mark(keep, dpids)
        # Within one change nothing becomes free, so the search for the same switches goes on where it ended.
        passed_over = None
        for position in range(self._next.get(dpids, 0), len(self._pool)):
            vlan = self._pool[position]
            if vlan in refused or (fits is not None and not fits(vlan)):
                passed_over = position if passed_over is None else passed_over
            elif self._free(vlan, dpids):
                self._next[dpids] = position + 1 if passed_over is None else passed_over
                return self._mark(vlan, dpids)
        return None

    def _free(self, vlan: int, dpids: frozenset[int] | None) -> bool:
        for other in self._taken.get(vlan, ()):
            if other is None or dpids is None or other & dpids:
                return False
        return is_free(self._snapshot, vlan, dpids, but=self._leaving)

    def _mark(self, vlan: int, dpids: frozenset[int] | None) -> int:
        self._taken.setdefault(vlan, []).append(dpids)
        return vlan
