"""The 40-byte match of OpenFlow 1.0 (5.2.3).

Layout: wildcards 4, in_port 2, dl_src 6, dl_dst 6, dl_vlan 2, dl_vlan_pcp 1,
pad 1, dl_type 2, nw_tos 1, nw_proto 1, pad 2, nw_src 4, nw_dst 4, tp_src 2,
tp_dst 2. Wildcard bits 8..13 and 14..19 count the ignored low bits of nw_src
and nw_dst; 32 and above is "any".

A match is handled as the 320-bit integer of its bytes, because then keeping,
clearing and comparing fields are single operations.
"""

from __future__ import annotations

from typing import Final

LENGTH: Final = 40

W_IN_PORT: Final = 1 << 0
W_DL_VLAN: Final = 1 << 1
W_DL_SRC: Final = 1 << 2
W_DL_DST: Final = 1 << 3
W_DL_TYPE: Final = 1 << 4
W_NW_PROTO: Final = 1 << 5
W_TP_SRC: Final = 1 << 6
W_TP_DST: Final = 1 << 7
NW_SRC_SHIFT: Final = 8
NW_DST_SHIFT: Final = 14
W_DL_VLAN_PCP: Final = 1 << 20
W_NW_TOS: Final = 1 << 21
W_ALL: Final = (1 << 22) - 1
CANONICAL_ALL: Final = W_ALL & ~(0x3F << NW_SRC_SHIFT | 0x3F << NW_DST_SHIFT) | 32 << NW_SRC_SHIFT | 32 << NW_DST_SHIFT

VLAN_NONE: Final = 0xFFFF

_IP: Final = 0x0800
_ARP: Final = 0x0806
_WITH_PORTS: Final = (1, 6, 17, 132)


def _field(offset: int, size: int) -> int:
    return ((1 << 8 * size) - 1) << 8 * (LENGTH - offset - size)


F_WILDCARDS: Final = _field(0, 4)
F_IN_PORT: Final = _field(4, 2)
F_DL_SRC: Final = _field(6, 6)
F_DL_DST: Final = _field(12, 6)
F_DL_VLAN: Final = _field(18, 2)
F_DL_VLAN_PCP: Final = _field(20, 1)
F_DL_TYPE: Final = _field(22, 2)
F_NW_TOS: Final = _field(24, 1)
F_NW_PROTO: Final = _field(25, 1)
F_NW_SRC: Final = _field(28, 4)
F_NW_DST: Final = _field(32, 4)
F_TP_SRC: Final = _field(36, 2)
F_TP_DST: Final = _field(38, 2)

# Only these bits of their byte mean anything (5.2.3); a switch ignores the others.
_PCP: Final = F_DL_VLAN_PCP // 0xFF * 0x07
_DSCP: Final = F_NW_TOS // 0xFF * 0xFC

_SIMPLE: Final = (
    (W_IN_PORT, F_IN_PORT),
    (W_DL_VLAN, F_DL_VLAN),
    (W_DL_SRC, F_DL_SRC),
    (W_DL_DST, F_DL_DST),
    (W_DL_TYPE, F_DL_TYPE),
    (W_NW_PROTO, F_NW_PROTO),
    (W_TP_SRC, F_TP_SRC),
    (W_TP_DST, F_TP_DST),
    (W_DL_VLAN_PCP, _PCP),
    (W_NW_TOS, _DSCP),
)


def wildcards_of(match: int) -> int:
    """The wildcard word of a match integer."""
    return match >> 8 * (LENGTH - 4)


def in_port_of(match: int) -> int:
    """in_port, whether wildcarded or not."""
    return match >> 8 * (LENGTH - 6) & 0xFFFF


def vlan_of(match: int) -> int:
    """dl_vlan, whether wildcarded or not."""
    return match >> 8 * (LENGTH - 20) & 0xFFFF


def canonical_wildcards(match: int) -> int:
    """The wildcard word a switch effectively uses: unknown bits cleared, prefix counts capped at 32.

    Fields whose prerequisite is missing match anything (5.2.3): nw_* need
    dl_type IP (nw_src, nw_dst and nw_proto also ARP), tp_* need nw_proto ICMP,
    TCP, UDP or SCTP over IP. dl_vlan_pcp needs a VLAN tag.
    """
    wild = wildcards_of(match) & W_ALL
    dl_type = match >> 8 * (LENGTH - 24) & 0xFFFF
    nw_proto = match >> 8 * (LENGTH - 26) & 0xFF
    if min(wild >> NW_SRC_SHIFT & 0x3F, 32) == 32:
        wild = wild & ~(0x3F << NW_SRC_SHIFT) | 32 << NW_SRC_SHIFT
    if min(wild >> NW_DST_SHIFT & 0x3F, 32) == 32:
        wild = wild & ~(0x3F << NW_DST_SHIFT) | 32 << NW_DST_SHIFT
    over_ip = not wild & W_DL_TYPE and dl_type == _IP
    over_arp = not wild & W_DL_TYPE and dl_type == _ARP
    if not over_ip:
        wild |= W_NW_TOS
    if not (over_ip or over_arp):
        wild = wild & ~(0x3F << NW_SRC_SHIFT | 0x3F << NW_DST_SHIFT) | 32 << NW_SRC_SHIFT | 32 << NW_DST_SHIFT
        wild |= W_NW_PROTO
    if not over_ip or wild & W_NW_PROTO or nw_proto not in _WITH_PORTS:
        wild |= W_TP_SRC | W_TP_DST
    if not wild & W_DL_VLAN and vlan_of(match) == VLAN_NONE:
        wild |= W_DL_VLAN_PCP
    return wild


def field_mask(wildcards: int) -> int:
    """The bits of the 40 bytes (without the wildcard word) that a match with these wildcards looks at."""
    keep = 0
    for bit, field in _SIMPLE:
        if not wildcards & bit:
            keep |= field
    for shift, field in ((NW_SRC_SHIFT, F_NW_SRC), (NW_DST_SHIFT, F_NW_DST)):
        ignored = wildcards >> shift & 0x3F
        if ignored < 32:
            unit = field & -field
            keep |= field & ~(((1 << ignored) - 1) * unit)
    return keep


def canonical(match: int) -> int:
    """The one integer of all matches with this meaning: canonical wildcards, ignored bits zero."""
    wild = canonical_wildcards(match)
    return wild << 8 * (LENGTH - 4) | match & field_mask(wild)


def covers(general: int, special: int) -> bool:
    """Whether every packet of ``special`` is one of ``general``; both canonical."""
    mask = field_mask(wildcards_of(general))
    return mask & ~field_mask(wildcards_of(special)) == 0 and (general ^ special) & mask == 0


def pack(**fields: int) -> bytes:
    """A canonical match from the named fields, everything else wildcarded.

    Names: in_port, dl_src, dl_dst, dl_vlan, dl_vlan_pcp, dl_type, nw_tos, nw_proto,
    nw_src, nw_dst, tp_src, tp_dst; values are integers. ``KeyError`` on another name,
    ``ValueError`` on a value that does not fit its field. Fields without their
    prerequisite are left out, as ``canonical`` does.
    """
    wild, value = CANONICAL_ALL, 0
    for name, number in fields.items():
        bit, field = _BY_NAME[name]
        if name == "nw_src":
            wild &= ~(0x3F << NW_SRC_SHIFT)
        elif name == "nw_dst":
            wild &= ~(0x3F << NW_DST_SHIFT)
        else:
            wild &= ~bit
        placed = number * (field & -field)
        if placed & ~field or number < 0:
            raise ValueError(f"{name} cannot be {number}")
        value |= placed
    return canonical(wild << 8 * (LENGTH - 4) | value).to_bytes(LENGTH, "big")


_BY_NAME: Final = {
    "in_port": (W_IN_PORT, F_IN_PORT),
    "dl_src": (W_DL_SRC, F_DL_SRC),
    "dl_dst": (W_DL_DST, F_DL_DST),
    "dl_vlan": (W_DL_VLAN, F_DL_VLAN),
    "dl_vlan_pcp": (W_DL_VLAN_PCP, F_DL_VLAN_PCP),
    "dl_type": (W_DL_TYPE, F_DL_TYPE),
    "nw_tos": (W_NW_TOS, F_NW_TOS),
    "nw_proto": (W_NW_PROTO, F_NW_PROTO),
    "nw_src": (0, F_NW_SRC),
    "nw_dst": (0, F_NW_DST),
    "tp_src": (W_TP_SRC, F_TP_SRC),
    "tp_dst": (W_TP_DST, F_TP_DST),
}
