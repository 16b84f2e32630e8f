"""A VLAN with cards on it is not given to another slice; its own slice may do with it what it likes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vmoc.ledger.ledgers import NOON, Ledger, at, one
from vmoc.config import Vlans
from vmoc.ledger import Rules
from vmoc.ledger.errors import OccupiedVlanError
from vmoc.ledger.occupants import Occupant
from vmoc.model import Segment, Slice

CARD = Occupant("vm1", "a", NOON, 10, 1)


def plugged(*cards: Occupant) -> Ledger:
    ledger = Ledger(rules=Rules(vlans=Vlans(pool=frozenset({10, 11}))))
    ledger.book.use_occupants(lambda: cards)
    return ledger


@pytest.mark.parametrize(
    ("card", "wanted", "free"),
    [
        (CARD, one("b", at(10, 1)), False),
        (CARD, Slice("b", (Segment(10),)), False),
        (CARD, one("b", at(10, 2)), True),
        (replace(CARD, dpid=None), one("b", at(10, 2)), False),
        (CARD, one("b", at(11, 1)), True),
        (CARD, one("a", at(10, 1)), False),
    ],
)
def test_a_card_without_its_slice_keeps_others_out(card: Occupant, wanted: Slice, free: bool) -> None:
    ledger = plugged(card)
    if free:
        ledger.book.register([wanted])
        return
    with pytest.raises(OccupiedVlanError, match="still on VLAN 10"):
        ledger.book.register([wanted])
    assert not ledger.store.slices()


def test_a_slice_goes_on_with_its_own_cards() -> None:
    ledger = plugged(CARD)
    ledger.book.use_occupants(lambda: ())
    ledger.book.register([one("a", at(10, 1))])
    ledger.book.use_occupants(lambda: (CARD,))
    ledger.book.register([one("a", at(10, 1), at(11, 1))])
    ledger.book.register([one("a", at(11, 1))])
    ledger.book.register([one("a", at(10, 1))])
    with pytest.raises(OccupiedVlanError):
        ledger.book.sync("", [one("b", at(10, 1))])


def test_who_takes_any_vlan_gets_one_without_cards() -> None:
    ledger = plugged(CARD)
    (entry,) = ledger.book.register([Slice("b", (Segment(0),))]).entries
    assert entry.slice.segments[0].vlan == 11
