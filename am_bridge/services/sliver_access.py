"""Whose a sliver is, and where it may be: a caller is held to its manager's slices, a sliver to its slice's VLANs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from am_bridge import reasons
from am_bridge.auth import Caller, Role
from am_bridge.handlers.handler import HandlerResult, NicStatus
from am_bridge.handlers.operations import Operation, Sliver
from am_bridge.handlers.spec import SliverSpec
from am_bridge.handlers.sweeper import Fate
from am_bridge.status import ApiError
from vmoc.errors import VmocError
from vmoc.ledger import Entry, SliceBook
from vmoc.ledger.occupants import Occupant
from vmoc.model import Segment, Slice, format_dpid, parse_dpid
from vmoc.registry import Snapshot


def entry_of(book: SliceBook, slice_id: str) -> Entry | None:
    """A slice, if there is one of that id."""
    try:
        return book.get(slice_id)
    except VmocError:
        return None


def slice_to_change(book: SliceBook, slice_id: str, caller: Caller) -> Entry:
    """The slice a sliver is to be made in. Raises ``ApiError``."""
    entry = entry_of(book, slice_id)
    if entry is None:
        raise ApiError(reasons.SLICE_NOT_FOUND, f"there is no slice {slice_id}", metadata={"slice": slice_id})
    if not caller.may_know(entry.slice.manager):
        text = f"slice {slice_id} belongs to another manager"
        raise ApiError(reasons.NOT_OWNER, text, metadata={"slice": slice_id, "manager": caller.manager})
    if entry.held:
        text = f"slice {slice_id} has no effect: it clashes with the configuration file"
        raise ApiError(reasons.WRONG_STATE, text, metadata={"slice": slice_id})
    return entry


def is_in(entry: Entry | None, sliver: Sliver) -> bool:
    """Whether that is the slice the sliver was made in, not another one of its name."""
    return entry is not None and (not sliver.slice_time or entry.create_time == sliver.slice_time)


def manager_of_sliver(book: SliceBook, sliver: Sliver) -> str:
    """Whose it is; of a slice that is gone, whose that was."""
    entry = entry_of(book, sliver.spec.slice_id)
    return entry.slice.manager if entry is not None and is_in(entry, sliver) else sliver.manager


def may_know_operation(operation: Operation, caller: Caller) -> bool:
    """Whether the caller may see it."""
    return caller.scope is None or operation.manager == caller.scope


def check_admin(caller: Caller) -> None:
    """Raises ``ApiError`` for all but administrators."""
    if caller.role is not Role.ADMIN:
        raise ApiError(reasons.ADMIN_ONLY)


def find_foreign_vlans(spec: SliverSpec, one: Slice) -> Iterator[tuple[str, str]]:
    """Cards on VLANs that are not the slice's: (path, sentence)."""
    vlans = {segment.vlan for segment in one.segments}
    for index, card in enumerate(spec.interfaces):
        if card.vlan and card.vlan not in vlans:
            known = ", ".join(map(str, sorted(vlans)[:8])) or "none"
            yield f"interfaces[{index}].vlan", f"is {card.vlan}, which is not the slice's; it has {known}"


def acceptance(book: SliceBook) -> Callable[[SliverSpec, HandlerResult], str]:
    """Says why a sliver must not be where it was made: a VLAN there is not its slice's, or is another's."""

    def complaint(spec: SliverSpec, result: HandlerResult) -> str:
        entry = entry_of(book, spec.slice_id)
        if entry is None:
            return f"slice {spec.slice_id} is gone"
        for _, text in find_foreign_vlans(spec, entry.slice):
            return f"a card's VLAN {text}"
        for card in result.interfaces:
            dpid = dpid_of(card)
            if dpid is not None and is_anothers(book.snapshot, spec.slice_id, card.vlan, dpid, card.port):
                where = format_dpid(dpid)
                return f"VLAN {card.vlan} belongs to another slice on switch {where}, where this host is attached"
        return ""

    return complaint


def dpid_of(card: NicStatus) -> int | None:
    """The switch a card is at; None if nobody knows."""
    try:
        return parse_dpid(card.dpid) if card.dpid else None
    except ValueError:
        return None


def is_anothers(snapshot: Snapshot, slice_id: str, vlan: int, dpid: int, port: int) -> bool:
    """Whether another slice has the VLAN at that port, and this one does not."""
    placed = [(one.id, segment) for one, segment in snapshot.segments_on_vlan(vlan)]
    if any(name == slice_id and reaches(segment, dpid, port) for name, segment in placed):
        return False
    return any(name != slice_id and reaches(segment, dpid, port) for name, segment in placed)


def reaches(segment: Segment, dpid: int, port: int) -> bool:
    """Whether a segment is at that port."""
    if segment.attachments is None:
        return True
    return any(one.dpid == dpid and (one.ports is None or not port or port in one.ports) for one in segment.attachments)


def fate_of(book: SliceBook) -> Callable[[Sliver], Fate]:
    """Says what is to become of a sliver, for the sweeper."""

    def judge(sliver: Sliver) -> Fate:
        entry = entry_of(book, sliver.spec.slice_id)
        if entry is None or not is_in(entry, sliver):
            return Fate("its slice is gone")
        vlans = {segment.vlan for segment in entry.slice.segments}
        wrong = {nic.name for nic in sliver.spec.interfaces if nic.vlan not in vlans}
        for card in sliver.result.interfaces if sliver.result is not None else ():
            dpid = dpid_of(card)
            if dpid is not None and is_anothers(book.snapshot, sliver.spec.slice_id, card.vlan, dpid, card.port):
                wrong.add(card.name)
        return Fate(cards=frozenset(wrong & {nic.name for nic in sliver.spec.interfaces}))

    return judge


def occupants(slivers: Callable[[], Iterable[Sliver]]) -> Iterator[Occupant]:
    """Every card that may be on a VLAN, for the book."""
    for sliver in slivers():
        places = {card.name: dpid_of(card) for card in sliver.result.interfaces} if sliver.result is not None else {}
        for nic in sliver.spec.interfaces:
            if nic.vlan:
                key, where = sliver.key, places.get(nic.name)
                yield Occupant(key.sliver_id, key.slice_id, sliver.slice_time, nic.vlan, where)
