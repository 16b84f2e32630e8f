"""The 1.0 match against a plain reading of the specification: canonical form and covering change no meaning."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.wire import unsigned
from vmoc.openflow.v10 import match as m10

IP, ARP = 0x0800, 0x0806


class Packet(NamedTuple):
    """The header fields of 1.0 (3.4); ``tag`` is (vid, pcp) or None. Fields a packet does not have are still given:
    nothing may look at them.
    """

    in_port: int
    dl_src: int
    dl_dst: int
    tag: tuple[int, int] | None
    dl_type: int
    tos: int
    proto: int
    nw_src: int
    nw_dst: int
    tp_src: int
    tp_dst: int


class Fields(NamedTuple):
    """A match, field by field."""

    wildcards: int
    in_port: int
    dl_src: int
    dl_dst: int
    dl_vlan: int
    pcp: int
    pad1: int
    dl_type: int
    tos: int
    proto: int
    pad2: int
    nw_src: int
    nw_dst: int
    tp_src: int
    tp_dst: int

    @property
    def whole(self) -> int:
        """The 320-bit integer the code under test handles."""
        first = struct.pack("!IH", self.wildcards, self.in_port)
        macs = self.dl_src.to_bytes(6, "big") + self.dl_dst.to_bytes(6, "big")
        rest = struct.pack("!HBBHBBHIIHH", *self[4:])
        return int.from_bytes(first + macs + rest, "big")


def read(match: int) -> Fields:
    """The fields of a match integer."""
    data = match.to_bytes(40, "big")
    macs = int.from_bytes(data[6:12], "big"), int.from_bytes(data[12:18], "big")
    return Fields(*struct.unpack_from("!IH", data), *macs, *struct.unpack_from("!HBBHBBHIIHH", data, 18))


def holds(match: int, packet: Packet) -> bool:
    """Whether a packet matches, straight from sections 3.4 and 5.2.3."""
    m, wild = read(match), read(match).wildcards

    def cares(bit: int) -> bool:
        return not wild >> bit & 1

    def prefix(shift: int, wanted: int, has: int) -> bool:
        ignored = min(wild >> shift & 0x3F, 32)
        return wanted >> ignored == has >> ignored

    if (cares(0) and m.in_port != packet.in_port) or (cares(2) and m.dl_src != packet.dl_src):
        return False
    if (cares(3) and m.dl_dst != packet.dl_dst) or (cares(4) and m.dl_type != packet.dl_type):
        return False
    if cares(1) and m.dl_vlan != (0xFFFF if packet.tag is None else packet.tag[0]):
        return False
    untagged = cares(1) and m.dl_vlan == 0xFFFF
    if cares(20) and not untagged and (packet.tag is None or m.pcp & 7 != packet.tag[1]):
        return False
    if not cares(4) or m.dl_type not in (IP, ARP):
        return True
    if not prefix(8, m.nw_src, packet.nw_src) or not prefix(14, m.nw_dst, packet.nw_dst):
        return False
    if cares(5) and m.proto != packet.proto:
        return False
    if m.dl_type == ARP:
        return True
    if cares(21) and m.tos & 0xFC != packet.tos & 0xFC:
        return False
    if not cares(5) or m.proto not in (1, 6, 17, 132):
        return True
    return not ((cares(6) and m.tp_src != packet.tp_src) or (cares(7) and m.tp_dst != packet.tp_dst))


def few(*values: int) -> st.SearchStrategy[int]:
    """Few values, so that matches and packets meet."""
    return st.sampled_from(values)


ADDRESSES = (0x0A000001, 0x0A000002, 0x0A0000FF, 0x0B000001, 0)
packets = st.builds(
    Packet,
    few(1, 2),
    few(0, 5),
    few(0, 5),
    st.one_of(st.none(), st.tuples(few(0, 101, 102), few(0, 5))),
    few(IP, ARP, 0x86DD),
    few(0, 0xB8, 0xB9),
    few(1, 2, 6, 17),
    few(*ADDRESSES),
    few(*ADDRESSES),
    few(0, 80),
    few(0, 80),
)
wildcard_words = st.one_of(
    unsigned(32),
    st.builds(
        lambda bits, source, target: bits & ~(0x3F << 8 | 0x3F << 14) | source << 8 | target << 14,
        unsigned(22),
        few(0, 1, 8, 24, 31, 32, 33, 63),
        few(0, 1, 8, 24, 31, 32, 33, 63),
    ),
)
fields = st.builds(
    Fields,
    wildcard_words,
    few(1, 2),
    few(0, 5),
    few(0, 5),
    few(0, 101, 102, 0xFFFF),
    few(0, 5, 13),
    few(0, 255),
    few(IP, ARP, 0x86DD),
    few(0, 0xB8, 0xB9),
    few(1, 2, 6, 17),
    few(0, 0xFFFF),
    few(*ADDRESSES),
    few(*ADDRESSES),
    few(0, 80),
    few(0, 80),
)


@settings(max_examples=150)
@given(fields, st.lists(packets, min_size=5, max_size=30))
def test_canonical_form_means_the_same(match: Fields, sample: list[Packet]) -> None:
    canonical = m10.canonical(match.whole)
    assert m10.canonical(canonical) == canonical
    for packet in sample:
        assert holds(canonical, packet) == holds(match.whole, packet)


@settings(max_examples=150)
@given(fields, fields)
def test_one_meaning_has_one_form(first: Fields, second: Fields) -> None:
    # Each covers the other: then they are the same match, and have the same bytes.
    one, two = m10.canonical(first.whole), m10.canonical(second.whole)
    assert (m10.covers(one, two) and m10.covers(two, one)) == (one == two)


@given(fields, unsigned(320))
def test_junk_in_ignored_bits_changes_nothing(match: Fields, junk: int) -> None:
    canonical = m10.canonical(match.whole)
    looked_at = m10.F_WILDCARDS | m10.field_mask(m10.wildcards_of(canonical)) | m10.F_DL_TYPE | m10.F_NW_PROTO
    assert m10.canonical(canonical | junk & ~(looked_at | m10.F_DL_VLAN)) == canonical


def contrary(general: int, special: int) -> Packet:
    """A packet of ``special`` that differs from ``general`` wherever ``special`` leaves it the choice."""
    data_mask = m10.field_mask(m10.wildcards_of(special))
    against = read(special & data_mask | (general ^ (1 << 320) - 1) & ~data_mask)
    vlan_fixed = bool(data_mask & m10.F_DL_VLAN)
    pcp_fixed = bool(data_mask & m10.F_DL_VLAN_PCP)
    if vlan_fixed:
        tag = None if against.dl_vlan == 0xFFFF else (against.dl_vlan, against.pcp & 7)
    elif not pcp_fixed and read(general).dl_vlan != 0xFFFF:
        tag = None
    else:
        tag = (against.dl_vlan & 0xFFF, against.pcp & 7)
    return Packet(
        against.in_port,
        against.dl_src,
        against.dl_dst,
        tag,
        against.dl_type,
        against.tos,
        against.proto,
        against.nw_src,
        against.nw_dst,
        against.tp_src,
        against.tp_dst,
    )


@settings(max_examples=200)
@given(fields, fields, st.lists(packets, min_size=5, max_size=30))
def test_covers_is_exactly_containment(first: Fields, second: Fields, sample: list[Packet]) -> None:
    general, special = m10.canonical(first.whole), m10.canonical(second.whole)
    if m10.covers(general, special):
        for packet in sample:
            assert holds(general, packet) or not holds(special, packet)
    else:
        witness = contrary(general, special)
        assert holds(special, witness)
        assert not holds(general, witness)


@given(fields, st.data())
def test_covers_the_same_with_fields_left_out(match: Fields, data: st.DataObject) -> None:
    special = m10.canonical(match.whole)
    known = read(special)
    general = m10.canonical(known._replace(wildcards=known.wildcards | data.draw(unsigned(22)) & ~0xFFF00).whole)
    assert m10.covers(general, special)
    assert m10.covers(m10.CANONICAL_ALL << 288, special)
    assert m10.covers(special, special)
