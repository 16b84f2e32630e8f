"""What is still plugged in: cards of slivers on VLANs, which a VLAN's next owner must not find there.

A VLAN that a slice gives up may have cards on it until its slivers are gone.
Nobody else gets it before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmoc.ledger.entries import Entry
from vmoc.ledger.errors import OccupiedVlanError
from vmoc.model import Segment, Slice


@dataclass(frozen=True, slots=True)
class Occupant:
    """A card. ``slice_time`` is when its slice was made (0: not known), ``dpid`` None is: nobody knows where."""

    sliver: str
    slice: str
    slice_time: float
    vlan: int
    dpid: int | None = None


def find_strays(
    occupants: Iterable[Occupant], present: Callable[[str], Entry | None], put: Sequence[Slice], leaving: Iterable[str]
) -> dict[int, list[Occupant]]:
    """By VLAN: the cards that would have no slice of theirs there once ``put`` is stored and ``leaving`` are gone."""
    after, gone = {one.id: one for one in put}, frozenset(leaving)
    strays: dict[int, list[Occupant]] = {}
    for one in occupants:
        entry = None if one.slice in gone else present(one.slice)
        if entry is not None and (not one.slice_time or entry.create_time == one.slice_time):
            new = after.get(one.slice, entry.slice)
            segments = [*new.segments]
            if any(not segment.vlan for segment in new.segments):  # it keeps what it has where it can
                segments += entry.slice.segments
            if any(_is_at(segment, one) for segment in segments):
                continue
        strays.setdefault(one.vlan, []).append(one)
    return strays


def check_unoccupied(
    put: Sequence[Slice], strays: Mapping[int, Sequence[Occupant]], present: Callable[[str], Entry | None]
) -> None:
    """Raises ``OccupiedVlanError`` for a segment on which cards of others would be."""
    for one in put:
        entry = present(one.id)
        for index, segment in enumerate(one.segments):
            for card in strays.get(segment.vlan, ()):
                own = entry is not None and card.slice == one.id and card.slice_time in (0.0, entry.create_time)
                if not own and _is_at(segment, card):
                    raise OccupiedVlanError(one.id, f"segments[{index}].vlan", segment.vlan)


def _is_at(segment: Segment, card: Occupant) -> bool:
    if segment.vlan != card.vlan:
        return False
    return card.dpid is None or segment.attachment(card.dpid) is not None
