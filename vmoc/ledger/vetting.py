"""Whether a change may be: whose the slices are, whether they are still those that were seen, and if there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vmoc.config import Vlans
from vmoc.ledger.entries import Entry, Index, places_of
from vmoc.ledger.errors import (
    ConflictError,
    EtagMismatchError,
    FileSliceError,
    NotYoursError,
    SliceNotFoundError,
    TooManyError,
)
from vmoc.ledger.rules import MAX_PLACES, MAX_SEGMENTS, MAX_SLICES
from vmoc.ledger.vlans import suggest
from vmoc.model import Origin, Slice
from vmoc.registry import ConflictKind, Plan
from vmoc.store import StoredSlice


def known(entries: Index, ids: Sequence[str], manager: str | None) -> list[Entry]:
    """Their entries, if the caller may change them. Raises as ``may``, and ``SliceNotFoundError``."""
    missing = [name for name in ids if name not in entries]
    if missing:
        raise SliceNotFoundError(missing)
    found = [entries[name] for name in ids]
    may(entries, [entry.slice for entry in found], manager)
    return found


def may(entries: Index, slices: Sequence[Slice], manager: str | None) -> None:
    """They, and the slices they would replace, are of the API and the caller's.

    Raises ``NotYoursError`` and ``FileSliceError``.
    """
    present = [entries[one.id].slice for one in slices if one.id in entries]
    if manager is not None:
        others = [one.id for one in (*slices, *present) if one.manager != manager]
        if others:
            raise NotYoursError(list(dict.fromkeys(others)), manager)
    of_file = [one.id for one in present if one.origin is Origin.FILE]
    if of_file:
        raise FileSliceError(of_file)


def check_etags(entries: Index, etags: Mapping[str, str] | None) -> None:
    """Those given are still the ones. Raises ``EtagMismatchError``."""
    for name, etag in (etags or {}).items():
        entry = entries.get(name)
        if etag and (entry is None or entry.etag != etag):
            raise EtagMismatchError(name, etag, None if entry is None else entry.etag)


def not_too_many(entries: Index, fresh: Sequence[StoredSlice], drop: Sequence[str]) -> None:
    """There is room for what comes, beside what stays. Raises ``TooManyError``."""
    gone = [entries[name].slice for name in drop]
    gone += [entries[row.slice.id].slice for row in fresh if row.slice.id in entries]
    if not fresh:
        return
    slices = len(entries) - len(gone) + len(fresh)
    if slices > MAX_SLICES:
        raise TooManyError("slices", slices, MAX_SLICES)
    added, left = sum(len(row.slice.segments) for row in fresh), sum(len(one.segments) for one in gone)
    count = entries.segments + added - left
    if count > MAX_SEGMENTS and added > left:
        raise TooManyError("segments", count, MAX_SEGMENTS)
    added, left = sum(places_of(row.slice) for row in fresh), sum(map(places_of, gone))
    count = entries.places + added - left
    if count > MAX_PLACES and added > left:
        raise TooManyError("attachments, ports and queues", count, MAX_PLACES)


def conflict_of(plan: Plan, vlans: Vlans) -> ConflictError:
    """What to raise for a plan with conflicts, with VLANs that are free instead."""
    first = plan.conflicts[0]
    free: tuple[int, ...] = ()
    if first.kind is ConflictKind.VLAN and first.vlan is not None:
        dpids = None if first.dpid is None else frozenset((first.dpid,))
        free = suggest(plan.base, vlans, dpids, first.vlan)
    return ConflictError(plan.conflicts, free)


def of_manager(slices: Sequence[Slice], manager: str | None) -> list[Slice]:
    """With no manager of their own they get the caller's."""
    return [replace(one, manager=manager) if manager and not one.manager else one for one in slices]
