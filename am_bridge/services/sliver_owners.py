"""Whose an address or a port is, as far as slivers say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from am_bridge.handlers.handler import NicStatus
from am_bridge.handlers.operations import Sliver
from am_bridge.services.sliver_access import dpid_of


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked up; what is empty (``dpid``: None) does not narrow it."""

    vlan: int = 0
    dpid: int | None = None
    port: int = 0
    mac: str = ""
    address: str = ""


def find_cards(slivers: Iterable[Sliver], subject: Subject) -> Iterator[tuple[Sliver, NicStatus]]:
    """The cards it fits, by what handlers last said of them."""
    for sliver in slivers:
        for card in sliver.result.interfaces if sliver.result is not None else ():
            if (
                subject.vlan in (0, card.vlan)
                and subject.dpid in (None, dpid_of(card))
                and subject.port in (0, card.port)
                and subject.mac in ("", card.mac.lower())
                and (not subject.address or subject.address in {one.partition("/")[0] for one in card.addresses})
            ):
                yield sliver, card
