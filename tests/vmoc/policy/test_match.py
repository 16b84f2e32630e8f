"""Match translation: the table of the policy, a row per form a match may have."""

from __future__ import annotations

import pytest

from tests.vmoc.policy.grants import LOCAL, PRESENTATIONS, V10, V13, admitted, sharing, tagged, transparent
from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.openflow import v13
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm
from vmoc.policy.match import check_prerequisites13, everything13, is_exact10, narrow10, narrow13

VLAN, INPORT, PREREQ = errors.FOREIGN_VLAN, errors.FOREIGN_IN_PORT, errors.MATCH_PREREQ
Fields = dict[str, int]

# the virtual match: tagged, transparent, native; a reason, or the fields of the physical match
MATCH10: list[tuple[Fields, Reason | Fields, Reason | Fields, Reason | Fields]] = [
    ({}, {"dl_vlan": 100}, {"dl_vlan": 100}, {}),
    ({"dl_vlan": 100}, {"dl_vlan": 100}, VLAN, VLAN),
    ({"dl_vlan": 0xFFFF}, VLAN, {"dl_vlan": 100}, {"dl_vlan": 0xFFFF}),
    ({"dl_vlan": 0}, VLAN, VLAN, VLAN),
    ({"dl_vlan": 200}, VLAN, VLAN, VLAN),
    ({"dl_vlan": 0x1064}, VLAN, VLAN, VLAN),
    ({"dl_vlan": 0xF064}, VLAN, VLAN, VLAN),
    ({"dl_vlan_pcp": 3}, {"dl_vlan": 100, "dl_vlan_pcp": 3}, {"dl_vlan": 100}, {}),
    ({"dl_vlan": 100, "dl_vlan_pcp": 3}, {"dl_vlan": 100, "dl_vlan_pcp": 3}, VLAN, VLAN),
    ({"dl_vlan": 0xFFFF, "dl_vlan_pcp": 0}, VLAN, {"dl_vlan": 100}, {"dl_vlan": 0xFFFF}),
    ({"in_port": 1}, {"in_port": 1, "dl_vlan": 100}, {"in_port": 1, "dl_vlan": 100}, {"in_port": 1}),
    ({"in_port": 4}, INPORT, INPORT, INPORT),
    ({"in_port": 0}, INPORT, INPORT, INPORT),
    ({"in_port": LOCAL[V10]}, INPORT, INPORT, INPORT),
    ({"in_port": 0xFFFD}, INPORT, INPORT, INPORT),
    ({"in_port": 4, "dl_vlan": 200}, VLAN, VLAN, VLAN),
    (
        {"dl_type": 0x800, "nw_dst": 0x0A000001},
        {"dl_vlan": 100, "dl_type": 0x800, "nw_dst": 0x0A000001},
        {"dl_vlan": 100, "dl_type": 0x800, "nw_dst": 0x0A000001},
        {"dl_type": 0x800, "nw_dst": 0x0A000001},
    ),
]
PLACES = tuple(PRESENTATIONS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", MATCH10, ids=[str(row[0]) for row in MATCH10])
def test_match_1_0(row: tuple[Fields, ...], place: str) -> None:
    grant = PRESENTATIONS[place](V10)
    virtual, expected = int.from_bytes(m10.pack(**row[0]), "big"), row[1 + PLACES.index(place)]
    if isinstance(expected, Reason):
        with pytest.raises(Refused) as caught:
            narrow10(grant, virtual)
        assert caught.value.reason is expected
    else:
        assert narrow10(grant, virtual).to_bytes(m10.LENGTH, "big") == m10.pack(**expected)


def test_what_a_wildcard_hides_does_not_matter_and_does_not_pass() -> None:
    junk = (1 << 8 * m10.LENGTH) - 1
    physical = narrow10(tagged(V10), junk)
    assert physical.to_bytes(m10.LENGTH, "big") == m10.pack(dl_vlan=100)


def test_exact_10_looks_at_every_wildcard_and_at_nothing_else() -> None:
    assert is_exact10(0)
    assert is_exact10(0xFFC00000 << 8 * 36 | 0x64)
    assert not is_exact10(1 << 8 * 36)
    assert not is_exact10(1 << 8 * 36 + 21)


OWN = (oxm.VLAN_VID, 0x1064, None)
Oxms = tuple[oxm.Oxm, ...]
ANY_TAG, UNTAGGED, WILDCARD = (6, 0x1000, 0x1000), (6, 0, None), (6, 0, 0)
PORT1 = (0, 1, None)
ETH = (3, 0x020000000001, None)
MATCH13: list[tuple[Oxms, Reason | Oxms, Reason | Oxms, Reason | Oxms]] = [
    ((), (OWN,), (OWN,), ()),
    ((OWN,), (OWN,), VLAN, VLAN),
    ((ANY_TAG,), (OWN,), VLAN, VLAN),
    (((6, 0x1004, 0x1004),), (OWN,), VLAN, VLAN),
    (((6, 0x1064, 0x1FFF),), (OWN,), VLAN, VLAN),
    (((6, 0x0064, 0x0FFF),), (OWN,), VLAN, VLAN),
    (((6, 0x1008, 0x1008),), VLAN, VLAN, VLAN),
    (((6, 0x10C8, None),), VLAN, VLAN, VLAN),
    (((6, 0x0064, None),), VLAN, VLAN, VLAN),
    ((UNTAGGED,), VLAN, (OWN,), (UNTAGGED,)),
    ((WILDCARD,), (OWN,), (OWN,), ()),
    (((6, 0, 0xE000),), (OWN,), (OWN,), ()),
    (((6, 0, 0x1000),), VLAN, (OWN,), (UNTAGGED,)),
    (((6, 0, 0x0003),), (OWN,), (OWN,), ((6, 0, 3),)),
    ((OWN, (7, 3, None)), (OWN, (7, 3, None)), PREREQ, PREREQ),
    ((ANY_TAG, (7, 3, None)), (OWN, (7, 3, None)), PREREQ, PREREQ),
    (((7, 3, None),), PREREQ, PREREQ, PREREQ),
    ((UNTAGGED, (7, 0, None)), PREREQ, PREREQ, PREREQ),
    (((6, 0x10C8, None), (10, 6, None)), PREREQ, PREREQ, PREREQ),
    ((PORT1,), (PORT1, OWN), (PORT1, OWN), (PORT1,)),
    (((0, 4, None),), INPORT, INPORT, INPORT),
    (((0, v13.CONTROLLER, None),), ((0, v13.CONTROLLER, None), OWN), ((0, v13.CONTROLLER, None), OWN),
     ((0, v13.CONTROLLER, None),)),
    (((0, v13.LOCAL, None),), INPORT, INPORT, INPORT),
    ((PORT1, (1, 2, None)), (PORT1, (1, 2, None), OWN), (PORT1, (1, 2, None), OWN), (PORT1, (1, 2, None))),
    ((PORT1, (1, 4, None)), INPORT, INPORT, INPORT),
    ((PORT1, (1, v13.CONTROLLER, None)), INPORT, INPORT, INPORT),
    (((1, 2, None),), PREREQ, PREREQ, PREREQ),
    (((2, 5, 0xFF), ETH), ((2, 5, 0xFF), ETH, OWN), ((2, 5, 0xFF), ETH, OWN), ((2, 5, 0xFF), ETH)),
    (((38, 9, None),), (OWN, (38, 9, None)), (OWN, (38, 9, None)), ((38, 9, None),)),
    (((3, 5, (1 << 48) - 1),), ((3, 5, None), OWN), ((3, 5, None), OWN), ((3, 5, None),)),
    (((3, 0, 0), (4, 1, None)), ((4, 1, None), OWN), ((4, 1, None), OWN), ((4, 1, None),)),
    (((5, 0x86DD, None), (28, 7, 0xFFFFFFFF)), ((5, 0x86DD, None), OWN, (28, 7, None)),
     ((5, 0x86DD, None), OWN, (28, 7, None)), ((5, 0x86DD, None), (28, 7, None))),
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", MATCH13, ids=[str(row[0]) for row in MATCH13])
def test_match_1_3(row: tuple[Oxms, ...], place: str) -> None:
    grant, expected = PRESENTATIONS[place](V13), row[1 + PLACES.index(place)]
    if isinstance(expected, Reason):
        with pytest.raises(Refused) as caught:
            narrow13(grant, row[0])
        assert caught.value.reason is expected
    else:
        assert narrow13(grant, row[0]) == expected


def test_local_is_a_port_when_granted() -> None:
    with_local = {version: tagged(version, ports=frozenset((1, LOCAL[version]))) for version in (V10, V13)}
    physical = narrow10(with_local[V10], int.from_bytes(m10.pack(in_port=LOCAL[V10]), "big"))
    assert m10.in_port_of(physical) == LOCAL[V10]
    assert narrow13(with_local[V13], ((0, LOCAL[V13], None),)) == ((0, LOCAL[V13], None), OWN)


def test_prerequisites_are_those_of_what_the_slice_sees() -> None:
    check_prerequisites13(tagged(V13), (OWN, (7, 3, None)))
    with pytest.raises(Refused):
        check_prerequisites13(transparent(V13), (OWN, (7, 3, None)))


def test_the_text_of_a_refusal_names_both_sides() -> None:
    with pytest.raises(Refused, match=r"0x10c8/0x1fff, not VLAN 100"):
        narrow13(tagged(V13), ((6, 0x10C8, 0x1FFF),))
    with pytest.raises(Refused, match=r"0x10c8, not untagged frames"):
        narrow13(transparent(V13), ((6, 0x10C8, None),))


# -- where a VLAN may be shared ------------------------------------------------------------------------

FULL = (1 << 64) - 1
SLOT = 0xFFF << 52
METADATA: list[tuple[tuple[int, int | None] | None, tuple[int, int | None] | None]] = [
    # what the controller asks of the metadata, and what the switch is asked; None: refused
    (None, (5 << 52, SLOT)),
    ((0, 0), (5 << 52, SLOT)),
    ((7, 0xFF), (5 << 52 | 7, SLOT | 0xFF)),
    ((7, FULL >> 12), (5 << 52 | 7, None)),
    ((7, None), (5 << 52 | 7, None)),
    ((7, FULL), (5 << 52 | 7, None)),
    ((0, 1 << 52), None),
    ((1 << 63, 1 << 63), None),
    ((5 << 52, SLOT), None),
    ((5 << 52, None), None),
    ((0, SLOT), None),
]


@pytest.mark.parametrize(("asked", "expected"), METADATA)
def test_a_slot_is_matched_and_nothing_else_of_its_bits_is(
    asked: tuple[int, int | None] | None, expected: tuple[int, int | None] | None
) -> None:
    virtual = ((oxm.IN_PORT, 1, None), *(((oxm.METADATA, *asked),) if asked else ()))
    if expected is None:
        with pytest.raises(Refused) as caught:
            narrow13(sharing(), virtual)
        assert caught.value.reason is errors.METADATA_MATCH
    else:
        vlan = (oxm.VLAN_VID, 0x1064, None)
        assert narrow13(sharing(), virtual) == ((oxm.IN_PORT, 1, None), (oxm.METADATA, *expected), vlan)


def test_without_sharing_all_metadata_is_the_slices() -> None:
    field = (oxm.METADATA, 5 << 52, SLOT)
    assert narrow13(admitted(), (field,)) == (field, (oxm.VLAN_VID, 0x1064, None))


def test_everything_is_what_a_match_of_nothing_becomes() -> None:
    assert everything13(sharing()) == oxm.pack(narrow13(sharing(), ()))
    assert everything13(tagged(V13)) == oxm.pack(((oxm.VLAN_VID, 0x1064, None),))
