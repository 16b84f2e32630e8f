"""LookupOwner: whose a VLAN, a port or an address is, as far as slices and slivers say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from am_bridge import fields as read
from am_bridge import reasons
from am_bridge.call import Call
from am_bridge.fields import to_timestamp
from am_bridge.handlers.handler import NicStatus
from am_bridge.handlers.operations import Sliver
from am_bridge.services.sight import Sight
from am_bridge.services.sliver_access import dpid_of, is_in
from am_bridge.status import ApiError
from am_bridge.violations import Violations
from vmoc.ledger import SliceBook
from vmoc.model import format_dpid
from vmoc.status import Owner
from vmoc.v1 import slices_pb2 as m


class OwnerRack(Protocol):
    """What of the running service this needs."""

    def lookup_owner(
        self, vlan: int | None = None, dpid: int | None = None, port: int | None = None, *, timeout: float
    ) -> list[Owner]: ...


@dataclass(slots=True)
class _Subject:
    """What is looked up; what is None or empty does not narrow it."""

    vlan: int | None = None
    dpid: int | None = None
    port: int | None = None
    mac: str = ""
    address: str = ""

    def fits(self, card: NicStatus) -> bool:
        """Whether a card is meant, by what its handler last said of it."""
        return (
            self.dpid in (None, dpid_of(card))
            and self.port in (None, card.port)
            and self.mac in ("", card.mac.lower())
            and (not self.address or self.address in {one.partition("/")[0] for one in card.addresses})
        )


def lookup_owner(
    book: SliceBook, rack: OwnerRack, slivers: Iterable[Sliver], request: m.LookupOwnerRequest, call: Call
) -> m.LookupOwnerResponse:
    """Everyone it fits, of those the caller may know. Raises ``ApiError``."""
    subject, sight = _read(request), Sight(book, call.caller)
    response = m.LookupOwnerResponse()
    if subject.vlan is None:
        response.owners.extend(_of_slivers(slivers, subject, sight))
    if subject.mac or subject.address:
        if not response.owners:
            raise ApiError(reasons.NOT_LEARNT)
        return response
    owners = rack.lookup_owner(subject.vlan, subject.dpid, subject.port, timeout=call.left)
    response.owners.extend(_of_slices(owners, subject.port or 0, sight))
    return response


def _read(request: m.LookupOwnerRequest) -> _Subject:
    problems = Violations()
    subject = _Subject(dpid=read.read_dpid(request.dpid, "dpid", problems) if request.dpid else None)
    match request.WhichOneof("subject"):
        case "vlan_id":
            subject.vlan = read.read_vlan(request.vlan_id, "vlan_id", problems)
        case "port":
            on = read.read_dpid(request.port.dpid, "port.dpid", problems)
            subject.port = read.read_port(request.port.port, "port.port", problems)
            if subject.dpid not in (None, on):
                problems.add("dpid", "must be that of the port, or absent")
            subject.dpid = on
        case "mac_address":
            subject.mac = read.read_mac(request.mac_address, "mac_address", problems)
        case "ip_address":
            subject.address = read.read_ip(request.ip_address, "ip_address", problems)
        case _:
            problems.add("vlan_id", "must be given, or port, mac_address or ip_address")
    problems.check()
    return subject


def _of_slivers(slivers: Iterable[Sliver], subject: _Subject, sight: Sight) -> Iterator[m.ResourceOwner]:
    for sliver in slivers:
        for card in filter(subject.fits, sliver.result.interfaces if sliver.result is not None else ()):
            entry = sight.look(sliver.spec.slice_id)
            if entry is None or not is_in(entry, sliver):
                continue
            yield m.ResourceOwner(
                slice_id=sliver.spec.slice_id,
                manager=entry.slice.manager,
                owner=entry.slice.owner,
                vlan_id=card.vlan,
                dpid=card.dpid,
                port=max(0, card.port),
                sliver_id=sliver.spec.sliver_id,
                evidence=m.OWNER_EVIDENCE_SLIVER,
                last_seen_time=to_timestamp(sliver.probe_time) if sliver.probe_time else None,
            )


def _of_slices(owners: Iterable[Owner], port: int, sight: Sight) -> Iterator[m.ResourceOwner]:
    for owner in owners:
        entry = sight.look(owner.slice)
        if entry is None:  # it has gone meanwhile, or is nobody's to know
            continue
        yield m.ResourceOwner(
            slice_id=owner.slice,
            manager=entry.slice.manager,
            owner=entry.slice.owner,
            vlan_id=owner.vlan,
            dpid="" if owner.dpid is None else format_dpid(owner.dpid),
            port=port,
            evidence=m.OWNER_EVIDENCE_REGISTERED,
        )
