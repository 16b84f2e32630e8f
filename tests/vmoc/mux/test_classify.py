"""Whose packet is it: every row of the classification table (vetting B.1), on bytes."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from vmoc.mux.classify import UNTAGGED, classify13, delivered_match, frame_vid
from vmoc.openflow.v13 import oxm


def packet_in(frame: bytes, match: bytes | None = None, **fields: of.Value) -> bytes:
    match = of.match(4, **fields) if match is None else match
    return of.message(4, "packet_in", struct.pack("!IHBBQ", 7, len(frame), 0, 0, 9) + match + b"\0\0" + frame)


@pytest.mark.parametrize(
    ("frame", "vid"),
    [
        (E(), UNTAGGED),
        (E(100), 100),
        (E(100, pcp=7), 100),
        (E(0xFFF), 0xFFF),
        (E(0), UNTAGGED),
        (E(100, tpid=0x88A8), 100),
        (E(100, tpid=0x9100), UNTAGGED),
        (E(100, inner=200), 100),
        (E(200, inner=100), 200),
        (E(100)[:17], UNTAGGED),
        (E(100)[:18], 100),
        (E()[:14], UNTAGGED),
        (b"", UNTAGGED),
    ],
)
def test_the_outermost_tag_decides(frame: bytes, vid: int):
    assert frame_vid(b"before" + frame, 6) == vid


def test_the_drop_eligible_bit_is_not_part_of_the_vid():
    frame = bytearray(E(100))
    frame[14] |= 0x10
    assert frame_vid(bytes(frame), 0) == 100


@pytest.mark.parametrize(
    ("frame", "stated", "vid", "stripped"),
    [
        (E(100), None, 100, False),
        (E(100), 0x1064, 100, False),
        (E(100), 0, 100, False),
        (E(), 0x1064, 100, True),
        (E(), 0x1000, UNTAGGED, True),
        (E(), None, UNTAGGED, False),
        (E(100, tpid=0x88A8), 0x1064, 100, False),
    ],
)
def test_frame_and_match_together(frame: bytes, stated: int | None, vid: int, stripped: bool):
    fields = {"in_port": 3} if stated is None else {"in_port": 3, "vlan_vid": stated}
    message = packet_in(frame, **fields)
    found = classify13(message)
    assert found is not None
    assert (found.in_port, found.vid, found.stripped) == (3, vid, stripped)
    assert message[found.frame_at :] == frame


@pytest.mark.parametrize(
    "message",
    [
        packet_in(E(100), in_port=1, vlan_vid=0x10C8),
        packet_in(E(0), in_port=1, vlan_vid=0x1064),
        packet_in(E(100)[:16], in_port=1, vlan_vid=0x1064),
        packet_in(E(100), vlan_vid=0x1064),
        packet_in(E(100), metadata=5),
        packet_in(E(100)[:13], in_port=1),
        packet_in(b"", in_port=1),
        packet_in(E(100), struct.pack("!HHI", 0, 4, 0)),
        packet_in(E(100), struct.pack("!HHI", 1, 3, 0)),
        packet_in(E(100), struct.pack("!HHI", 1, 0xFFF0, 0)),
        packet_in(E(100), struct.pack("!HHHBBII", 1, 12, 0x8000, 0, 200, 1, 0)),
        packet_in(E(100), struct.pack("!HHBBBxQ", 1, 7, 0x80, 0, 0, 0)),
        packet_in(E(100), in_port=1)[:30],
        packet_in(E(100), in_port=1)[:8],
    ],
    ids=[
        "tag and match disagree",
        "priority tag against a vid",
        "tag cut short",
        "no in_port",
        "only metadata",
        "short frame",
        "no frame",
        "match of another type",
        "match length 3",
        "match overruns",
        "OXM overruns",
        "OXM header overruns",
        "cut",
        "header only",
    ],
)
def test_what_cannot_be_told_is_nobodys(message: bytes):
    assert classify13(message) is None


def test_unknown_fields_are_passed_over():
    experimenter = struct.pack("!HBBI", 0xFFFF, 0, 4, 0x4F4E4600)
    masked = of.oxm("metadata", (1, 1))
    wrong_length = struct.pack("!HBBH", 0x8000, 5 << 1, 2, 0)[:-2] + b"\x08\x00"
    tlvs = experimenter + masked + of.oxm("in_port", 2) + wrong_length
    match = struct.pack("!HH", 1, 4 + len(tlvs)) + tlvs
    found = classify13(packet_in(E(100), match + bytes(-len(match) % 8)))
    assert found is not None and found.in_port == 2
    assert {number for number, _, _ in found.match} == {oxm.IN_PORT, oxm.ETH_TYPE}


def test_a_controller_gets_only_fields_that_are_its_business():
    match = ((0, 1, None), (1, 2, None), (2, 3, None), (3, 9, None), (6, 0x1064, None), (7, 5, None), (38, 4, None))
    shown = oxm.parse(delivered_match(match, frozenset((1, 2)), hide_tag=False), 0, 100)[0]
    assert [number for number, _, _ in shown] == [0, 1, 2, 6, 7, 38]
    hidden = oxm.parse(delivered_match(match, frozenset((1,)), hide_tag=True), 0, 100)[0]
    assert [number for number, _, _ in hidden] == [0, 2, 38]
