"""The 1.0 match: what its wildcards mean, the one form of each meaning, and which match holds which."""

from __future__ import annotations

import struct

import pytest

from vmoc.openflow.v10 import match as m10


def raw(wildcards: int = m10.W_ALL, **fields: int) -> int:
    """A match as a controller may write it, junk included."""
    names = "in_port dl_src dl_dst dl_vlan dl_vlan_pcp pad1 dl_type nw_tos nw_proto pad2 nw_src nw_dst tp_src tp_dst"
    f = {**dict.fromkeys(names.split(), 0), **fields}
    packed = struct.pack(
        "!IH6s6sHBBHBBHIIHH",
        wildcards,
        f["in_port"],
        f["dl_src"].to_bytes(6, "big"),
        f["dl_dst"].to_bytes(6, "big"),
        *(f[name] for name in ("dl_vlan", "dl_vlan_pcp", "pad1", "dl_type", "nw_tos", "nw_proto", "pad2")),
        *(f[name] for name in ("nw_src", "nw_dst", "tp_src", "tp_dst")),
    )
    return int.from_bytes(packed, "big")


def but(*bits: int) -> int:
    """Everything wildcarded but these."""
    wild = m10.W_ALL
    for bit in bits:
        wild &= ~bit
    return wild


NW_SRC, NW_DST = 0x3F << m10.NW_SRC_SHIFT, 0x3F << m10.NW_DST_SHIFT
ANYTHING = m10.CANONICAL_ALL << 288


def test_reading_fields() -> None:
    match = raw(0x123456, in_port=0xFFFE, dl_vlan=101)
    assert m10.wildcards_of(match) == 0x123456
    assert m10.in_port_of(match) == 0xFFFE
    assert m10.vlan_of(match) == 101


def test_the_fields_are_the_whole_match_but_its_padding() -> None:
    fields = [getattr(m10, name) for name in dir(m10) if name.startswith("F_")]
    assert sum(fields) == (1 << 320) - 1 - (0xFF << 8 * 18) - (0xFFFF << 8 * 12)


@pytest.mark.parametrize(
    "match",
    [
        raw(),
        raw(0xFFFFFFFF),  # bits without meaning
        raw(
            m10.W_ALL, in_port=7, dl_src=1, dl_vlan=5, tp_dst=80, pad1=1, pad2=0xFFFF
        ),  # junk where nothing is looked at
        raw(m10.CANONICAL_ALL),
        raw(but(NW_SRC) | 33 << m10.NW_SRC_SHIFT),
        raw(but(m10.W_NW_TOS, m10.W_NW_PROTO, NW_SRC, NW_DST, m10.W_TP_SRC, m10.W_TP_DST), nw_src=1),  # no dl_type
    ],
)
def test_forms_of_anything(match: int) -> None:
    assert m10.canonical(match) == ANYTHING


@pytest.mark.parametrize("ignored", range(64))
def test_prefix_counts(ignored: int) -> None:
    wild = but(m10.W_DL_TYPE, NW_DST) | ignored << m10.NW_DST_SHIFT
    found = m10.canonical(raw(wild, dl_type=0x0800, nw_dst=0xFFFFFFFF))
    count = min(ignored, 32)
    assert m10.wildcards_of(found) >> m10.NW_DST_SHIFT & 0x3F == count
    assert found & m10.F_NW_DST == (0xFFFFFFFF >> count << count) * (m10.F_NW_DST & -m10.F_NW_DST)
    source = but(m10.W_DL_TYPE, NW_SRC) | ignored << m10.NW_SRC_SHIFT
    assert m10.wildcards_of(m10.canonical(raw(source, dl_type=0x0806))) >> m10.NW_SRC_SHIFT & 0x3F == count


@pytest.mark.parametrize(
    ("dl_type", "nw_proto", "kept"),
    [
        (0x0800, 6, {"tos", "proto", "nw", "tp"}),
        (0x0800, 17, {"tos", "proto", "nw", "tp"}),
        (0x0800, 1, {"tos", "proto", "nw", "tp"}),
        (0x0800, 132, {"tos", "proto", "nw", "tp"}),
        (0x0800, 2, {"tos", "proto", "nw"}),
        (0x0806, 6, {"proto", "nw"}),
        (0x86DD, 6, set()),
        (0x8847, 6, set()),
    ],
)
def test_fields_need_their_prerequisite(dl_type: int, nw_proto: int, kept: set[str]) -> None:
    exact = raw(0, dl_type=dl_type, nw_proto=nw_proto, nw_tos=0xB8, nw_src=1, nw_dst=2, tp_src=3, tp_dst=4)
    wild = m10.canonical_wildcards(exact)
    assert ("tos" in kept) == (not wild & m10.W_NW_TOS)
    assert ("proto" in kept) == (not wild & m10.W_NW_PROTO)
    assert ("nw" in kept) == (wild & (NW_SRC | NW_DST) == 0)
    assert ("tp" in kept) == (not wild & (m10.W_TP_SRC | m10.W_TP_DST))
    assert not wild & (m10.W_IN_PORT | m10.W_DL_VLAN | m10.W_DL_TYPE | m10.W_DL_SRC)
    found = m10.canonical(exact)
    assert bool(found & m10.F_TP_DST) == ("tp" in kept)
    assert bool(found & m10.F_NW_SRC) == ("nw" in kept)


def test_ports_need_the_protocol_itself() -> None:
    wild = but(m10.W_DL_TYPE, m10.W_TP_DST)
    assert m10.canonical_wildcards(raw(wild, dl_type=0x0800, nw_proto=6)) & m10.W_TP_DST


def test_an_untagged_frame_has_no_priority() -> None:
    wild = but(m10.W_DL_VLAN, m10.W_DL_VLAN_PCP)
    untagged = raw(wild, dl_vlan=m10.VLAN_NONE, dl_vlan_pcp=3)
    assert m10.canonical(untagged) == m10.canonical(raw(but(m10.W_DL_VLAN), dl_vlan=m10.VLAN_NONE))
    assert not m10.canonical_wildcards(raw(wild, dl_vlan=5)) & m10.W_DL_VLAN_PCP
    alone = raw(but(m10.W_DL_VLAN_PCP), dl_vlan=m10.VLAN_NONE, dl_vlan_pcp=3)
    assert not m10.canonical_wildcards(alone) & m10.W_DL_VLAN_PCP  # dl_vlan is junk here


def test_bits_beyond_priority_and_dscp_mean_nothing() -> None:
    wild = but(m10.W_DL_VLAN_PCP, m10.W_DL_TYPE, m10.W_NW_TOS)
    plain = m10.canonical(raw(wild, dl_vlan_pcp=5, dl_type=0x0800, nw_tos=0xB8))
    assert m10.canonical(raw(wild, dl_vlan_pcp=0xFD, dl_type=0x0800, nw_tos=0xBB)) == plain


def test_covers() -> None:
    anything = m10.canonical(raw())
    vlan = m10.canonical(raw(but(m10.W_DL_VLAN), dl_vlan=101))
    other = m10.canonical(raw(but(m10.W_DL_VLAN), dl_vlan=102))
    port = m10.canonical(raw(but(m10.W_DL_VLAN, m10.W_IN_PORT), dl_vlan=101, in_port=3))
    assert m10.covers(anything, vlan) and m10.covers(vlan, vlan) and m10.covers(vlan, port)
    assert not m10.covers(vlan, anything)
    assert not m10.covers(vlan, other)
    assert not m10.covers(port, vlan)
    wide, narrow = (
        m10.canonical(raw(but(m10.W_DL_TYPE, NW_SRC) | bits << 8, dl_type=0x0800, nw_src=0x0A000001)) for bits in (8, 0)
    )
    assert m10.covers(wide, narrow)
    assert not m10.covers(narrow, wide)


def test_pack() -> None:
    assert m10.pack() == ANYTHING.to_bytes(40, "big")
    packed = m10.pack(
        in_port=1,
        dl_src=2,
        dl_dst=3,
        dl_vlan=101,
        dl_vlan_pcp=7,
        dl_type=0x0800,
        nw_tos=0x20,
        nw_proto=17,
        nw_src=0x0A000001,
        nw_dst=0x0A000002,
        tp_src=68,
        tp_dst=67,
    )
    assert packed == bytes.fromhex(
        "00000000 0001 000000000002 000000000003 0065 07 00 0800 20 11 0000"
        "0a000001 0a000002 0044 0043"
    )  # fmt: skip


def test_pack_is_canonical() -> None:
    assert m10.pack(nw_src=1, tp_dst=80) == m10.pack()
    assert m10.pack(dl_vlan=0xFFFF, dl_vlan_pcp=1) == m10.pack(dl_vlan=0xFFFF)


@pytest.mark.parametrize("fields", [{"dl_vlan": 0x10000}, {"in_port": -1}, {"dl_vlan_pcp": 256}])
def test_pack_refuses_what_does_not_fit(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        m10.pack(**fields)


def test_pack_knows_no_other_names() -> None:
    with pytest.raises(KeyError):
        m10.pack(vlan=1)
