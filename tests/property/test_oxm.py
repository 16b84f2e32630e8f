"""The OXM match: reading gives back what was written, in one form; covering is containment."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.wire import matches, unsigned
from vmoc.errors import Refused
from vmoc.openflow.v13 import oxm

Packet = dict[int, int]


def holds(match: oxm.Match, packet: Packet) -> bool:
    """Whether a packet, given as all its fields, matches."""
    return all(packet[number] & (f if mask is None else mask) == value for number, value, mask, f in _full(match))


def _full(match: oxm.Match) -> list[tuple[int, int, int | None, int]]:
    return [(number, value, mask, oxm.FIELDS[number].full) for number, value, mask in match]


@given(matches(), st.randoms(use_true_random=False), st.binary(max_size=9), st.binary(max_size=9))
def test_any_order_is_read_as_one(match: oxm.Match, order: random.Random, before: bytes, after: bytes) -> None:
    shuffled = list(match)
    order.shuffle(shuffled)
    packed = oxm.pack(shuffled)
    data = before + packed + after
    found, end = oxm.parse(data, len(before), len(data))
    assert found == match
    assert end == len(before) + len(packed)
    assert oxm.pack(found) == oxm.pack(match)
    assert len(packed) % 8 == 0


@given(matches(), st.data())
def test_a_duplicate_is_found_wherever_it_is(match: oxm.Match, data: st.DataObject) -> None:
    if not match:
        return
    at = data.draw(st.integers(0, len(match)))
    twice = [*match[:at], data.draw(st.sampled_from(match)), *match[at:]]
    packed = oxm.pack(twice)
    with pytest.raises(Refused, match="match-duplicate"):
        oxm.parse(packed, 0, len(packed))


@given(matches(), st.data())
def test_nothing_is_read_beyond_the_limit(match: oxm.Match, data: st.DataObject) -> None:
    packed = oxm.pack(match)
    limit = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Refused):
        oxm.parse(packed, 0, limit)


def packet_of(match: oxm.Match, filler: Packet) -> Packet:
    """A packet that matches; everything left open comes from ``filler``."""
    packet = dict(filler)
    for number, value, mask, full in _full(match):
        kept = full if mask is None else mask
        packet[number] = value | packet[number] & ~kept
    return packet


fillers = st.fixed_dictionaries({number: unsigned(field.bits) for number, field in oxm.FIELDS.items()})


@settings(max_examples=150)
@given(matches(), st.data())
def test_covers_is_exactly_containment(special: oxm.Match, data: st.DataObject) -> None:
    # Derived from ``special``, so that covering is as likely as not.
    general = []
    for number, value, mask in special:
        field = oxm.FIELDS[number]
        if data.draw(st.booleans()):
            continue
        kept = field.full if mask is None else mask
        if field.maskable:
            kept &= data.draw(st.sampled_from((field.full, field.full >> 1, 1, 0)))
        wanted = value & kept ^ (data.draw(st.sampled_from((0, 0, 0, 1))) & kept)
        general.append((number, wanted, None if kept == field.full else kept))
    extra = data.draw(st.sampled_from(((), (), ((oxm.METADATA, 1, 1),))))
    if extra and oxm.METADATA not in {number for number, _, _ in general}:
        general += extra
    filler = data.draw(fillers)
    if oxm.covers(tuple(general), special):
        assert holds(tuple(general), packet_of(special, filler))
    else:
        contrary = {number: full & ~value for number, value, _, full in _full(tuple(general))}
        packet = packet_of(special, {**filler, **contrary})
        assert holds(special, packet)
        assert not holds(tuple(general), packet)


@given(matches())
def test_a_match_covers_itself_and_everything_covers_it(match: oxm.Match) -> None:
    assert oxm.covers(match, match)
    assert oxm.covers((), match)
