"""The OXM match of OpenFlow 1.3 (7.2.3): strict reading, canonical writing.

ofp_match: type 2 (1 = OXM), length 2 (without padding), then OXM TLVs, padded
to 8. An OXM header is class 2, field and has-mask 1, payload length 1. A match
is a tuple of (field, value, mask) in ascending field order; mask None is exact,
and a mask of every significant bit is read as None, because a switch takes both
for the same flow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused

BASIC: Final = 0x8000

IN_PORT: Final = 0
IN_PHY_PORT: Final = 1
METADATA: Final = 2
ETH_DST: Final = 3
ETH_SRC: Final = 4
ETH_TYPE: Final = 5
VLAN_VID: Final = 6
VLAN_PCP: Final = 7
IP_PROTO: Final = 10
ICMPV6_TYPE: Final = 29
PBB_ISID: Final = 37
TUNNEL_ID: Final = 38
IPV6_EXTHDR: Final = 39

VID_PRESENT: Final = 0x1000


class Field(NamedTuple):
    """One match field: name, payload bytes, significant bits, whether a mask is allowed (7.2.3.7)."""

    name: str
    size: int
    bits: int
    maskable: bool

    @property
    def full(self) -> int:
        """The mask of all significant bits."""
        return (1 << self.bits) - 1


FIELDS: Final[dict[int, Field]] = {
    0: Field("in_port", 4, 32, False),
    1: Field("in_phy_port", 4, 32, False),
    2: Field("metadata", 8, 64, True),
    3: Field("eth_dst", 6, 48, True),
    4: Field("eth_src", 6, 48, True),
    5: Field("eth_type", 2, 16, False),
    6: Field("vlan_vid", 2, 13, True),
    7: Field("vlan_pcp", 1, 3, False),
    8: Field("ip_dscp", 1, 6, False),
    9: Field("ip_ecn", 1, 2, False),
    10: Field("ip_proto", 1, 8, False),
    11: Field("ipv4_src", 4, 32, True),
    12: Field("ipv4_dst", 4, 32, True),
    13: Field("tcp_src", 2, 16, False),
    14: Field("tcp_dst", 2, 16, False),
    15: Field("udp_src", 2, 16, False),
    16: Field("udp_dst", 2, 16, False),
    17: Field("sctp_src", 2, 16, False),
    18: Field("sctp_dst", 2, 16, False),
    19: Field("icmpv4_type", 1, 8, False),
    20: Field("icmpv4_code", 1, 8, False),
    21: Field("arp_op", 2, 16, False),
    22: Field("arp_spa", 4, 32, True),
    23: Field("arp_tpa", 4, 32, True),
    24: Field("arp_sha", 6, 48, True),
    25: Field("arp_tha", 6, 48, True),
    26: Field("ipv6_src", 16, 128, True),
    27: Field("ipv6_dst", 16, 128, True),
    28: Field("ipv6_flabel", 4, 20, True),
    29: Field("icmpv6_type", 1, 8, False),
    30: Field("icmpv6_code", 1, 8, False),
    31: Field("ipv6_nd_target", 16, 128, False),
    32: Field("ipv6_nd_sll", 6, 48, False),
    33: Field("ipv6_nd_tll", 6, 48, False),
    34: Field("mpls_label", 4, 20, False),
    35: Field("mpls_tc", 1, 3, False),
    36: Field("mpls_bos", 1, 1, False),
    38: Field("tunnel_id", 8, 64, True),
    39: Field("ipv6_exthdr", 2, 9, True),
}
"""pbb_isid (37) is left out on purpose: a B-MAC header would hide the VLAN (vetting A.3)."""

# A prerequisite is (field, allowed values); any one of them suffices (table 12).
_IP4: Final = (5, (0x0800,))
_IP6: Final = (5, (0x86DD,))
_IP: Final = (5, (0x0800, 0x86DD))
_ARP: Final = (5, (0x0806,))
_MPLS: Final = (5, (0x8847, 0x8848))
_PREREQUISITES: Final[dict[int, tuple[int, tuple[int, ...]]]] = {
    8: _IP,
    9: _IP,
    10: _IP,
    11: _IP4,
    12: _IP4,
    13: (10, (6,)),
    14: (10, (6,)),
    15: (10, (17,)),
    16: (10, (17,)),
    17: (10, (132,)),
    18: (10, (132,)),
    19: (10, (1,)),
    20: (10, (1,)),
    21: _ARP,
    22: _ARP,
    23: _ARP,
    24: _ARP,
    25: _ARP,
    26: _IP6,
    27: _IP6,
    28: _IP6,
    29: (10, (58,)),
    30: (10, (58,)),
    31: (29, (135, 136)),
    32: (29, (135,)),
    33: (29, (136,)),
    34: _MPLS,
    35: _MPLS,
    36: _MPLS,
    39: _IP6,
}

Oxm = tuple[int, int, int | None]
Match = tuple[Oxm, ...]
LONGEST: Final = (4 + sum(4 + (f.size << f.maskable) for f in FIELDS.values()) + 7) & ~7
"""Bytes of the longest ofp_match there can be: every field once, masked where it may be."""


def parse_one(data: bytes, position: int, end: int) -> tuple[Oxm, int]:
    """One OXM and the position after it; the errors of the specification's match section."""
    if end - position < 4:
        raise Refused(errors.MATCH_LENGTH, f"{end - position} bytes left where a match field should be")
    length = data[position + 3]
    after = position + 4 + length
    if after > end:
        raise Refused(errors.MATCH_LENGTH, "match field overruns the match")
    number, masked = data[position + 2] >> 1, data[position + 2] & 1
    field = FIELDS.get(number) if data[position] == 0x80 and data[position + 1] == 0 else None
    if field is None:
        raise Refused(errors.MATCH_FIELD, f"match field {data[position : position + 3].hex()}")
    if length != field.size << masked:
        raise Refused(errors.MATCH_FIELD, f"{field.name} with a payload of {length} bytes")
    if masked and not field.maskable:
        raise Refused(errors.MATCH_MASK, f"{field.name} cannot be masked")
    value = int.from_bytes(data[position + 4 : position + 4 + field.size], "big")
    mask = int.from_bytes(data[position + 4 + field.size : after], "big") if masked else None
    return (number, value, mask), after


def parse(data: bytes, start: int, limit: int) -> tuple[Match, int]:
    """The ofp_match at ``start`` and the position after its padding.

    Raises ``MATCH_TYPE``, ``MATCH_LENGTH``, ``MATCH_FIELD``, ``MATCH_MASK``,
    ``MATCH_WILDCARDS``, ``MATCH_VALUE``, ``MATCH_DUPLICATE``. Prerequisites are
    ``check_prerequisites``'.
    """
    if limit - start < 8:
        raise Refused(errors.BAD_LENGTH, "no room for a match")
    if data[start] << 8 | data[start + 1] != 1:
        raise Refused(errors.MATCH_TYPE, "match is not of type OXM")
    length = data[start + 2] << 8 | data[start + 3]
    after = start + ((length + 7) & ~7)
    if length < 4 or after > limit:
        raise Refused(errors.MATCH_LENGTH, f"match states length {length}")
    position, end = start + 4, start + length
    found: dict[int, Oxm] = {}
    while position < end:
        oxm, position = parse_one(data, position, end)
        number, value, mask = oxm
        field = FIELDS[number]
        if number in found:
            raise Refused(errors.MATCH_DUPLICATE, f"{field.name} appears twice")
        if mask is not None and value & ~mask:
            raise Refused(errors.MATCH_WILDCARDS, f"{field.name} has value bits outside its mask")
        if value >> field.bits:
            raise Refused(errors.MATCH_VALUE, f"{field.name} is out of range")
        if mask is not None:
            mask &= field.full
            oxm = number, value, None if mask == field.full else mask
        found[number] = oxm
    return tuple(found[number] for number in sorted(found)), after


def check_prerequisites(match: Match) -> None:
    """Raise ``MATCH_PREREQ`` when a field is there without the one it needs (order does not matter)."""
    present = {number: (value, mask) for number, value, mask in match}
    for number in present:
        need = _PREREQUISITES.get(number)
        if need is not None:
            got = present.get(need[0])
            if got is None or got[0] not in need[1]:
                raise Refused(errors.MATCH_PREREQ, f"{FIELDS[number].name} needs {FIELDS[need[0]].name}")
        if number == IN_PHY_PORT and IN_PORT not in present:
            raise Refused(errors.MATCH_PREREQ, "in_phy_port needs in_port")
        if number == VLAN_PCP and not present.get(VLAN_VID, (0, None))[0] & VID_PRESENT:
            raise Refused(errors.MATCH_PREREQ, "vlan_pcp needs vlan_vid")


def pack_one(oxm: Oxm) -> bytes:
    """One OXM TLV."""
    number, value, mask = oxm
    size = FIELDS[number].size
    if mask is None:
        return bytes((0x80, 0, number << 1, size)) + value.to_bytes(size, "big")
    return bytes((0x80, 0, number << 1 | 1, 2 * size)) + value.to_bytes(size, "big") + mask.to_bytes(size, "big")


def pack(match: Iterable[Oxm]) -> bytes:
    """A whole ofp_match with padding; fields are written in the order given."""
    body = b"".join(map(pack_one, match))
    length = 4 + len(body)
    return b"\x00\x01" + length.to_bytes(2, "big") + body + b"\x00" * (-length % 8)


def covers(general: Match, special: Match) -> bool:
    """Whether every packet of ``special`` is one of ``general``."""
    inside = {number: (value, mask) for number, value, mask in special}
    for number, value, mask in general:
        full = FIELDS[number].full
        wanted = full if mask is None else mask
        got, got_mask = inside.get(number, (0, 0))
        have = full if got_mask is None else got_mask
        if wanted & ~have or (value ^ got) & wanted:
            return False
    return True
