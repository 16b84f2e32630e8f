"""The OXM match: each error of the specification, canonical form, prerequisites, which match holds which."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v13 import oxm


def match(body: str, kind: int = 1, length: int | None = None) -> bytes:
    """An ofp_match around those OXMs, padded."""
    data = bytes.fromhex(body)
    stated = 4 + len(data) if length is None else length
    return kind.to_bytes(2, "big") + stated.to_bytes(2, "big") + data + bytes(-(4 + len(data)) % 8)


IN_PORT = "8000000400000007"
ETH_TYPE_IP = "80000a020800"
VLAN_101 = "80000c021065"


def test_an_empty_match() -> None:
    assert oxm.parse(match(""), 0, 8) == ((), 8)
    assert oxm.pack(()) == match("")


def test_fields_are_put_in_order() -> None:
    data = b"head" + match(VLAN_101 + IN_PORT) + b"tail"
    found, after = oxm.parse(data, 4, len(data))
    assert found == ((oxm.IN_PORT, 7, None), (oxm.VLAN_VID, 0x1065, None))
    assert data[after:] == b"tail"
    assert oxm.pack(found) == match(IN_PORT + VLAN_101)


@pytest.mark.parametrize("number", sorted(oxm.FIELDS))
def test_every_field(number: int) -> None:
    field = oxm.FIELDS[number]
    top = (1 << field.bits) - 1
    plain = ((number, top, None),)
    packed = oxm.pack(plain)
    assert oxm.parse(packed, 0, len(packed)) == (plain, len(packed))
    assert len(packed) % 8 == 0
    half = ((number, top >> 1, top >> 1),)
    packed = oxm.pack(half)
    if field.maskable:
        assert oxm.parse(packed, 0, len(packed)) == (half, len(packed))
        assert field.full == top
    else:
        assert refusal(packed) is errors.MATCH_MASK
    if field.bits < 8 * field.size:
        assert refusal(oxm.pack(((number, top + 1, None),))) is errors.MATCH_VALUE


def refusal(data: bytes) -> errors.Reason:
    with pytest.raises(Refused) as caught:
        oxm.parse(data, 0, len(data))
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", errors.BAD_LENGTH),
        (match("")[:7], errors.BAD_LENGTH),
        (match("", kind=0), errors.MATCH_TYPE),
        (match("", kind=0x0101), errors.MATCH_TYPE),
        (match("", length=0), errors.MATCH_LENGTH),
        (match("", length=3), errors.MATCH_LENGTH),
        (match("", length=9), errors.MATCH_LENGTH),
        (match(IN_PORT)[:-1], errors.MATCH_LENGTH),  # the padding belongs to it
        (match("800000"), errors.MATCH_LENGTH),
        (match("80000004000000"), errors.MATCH_LENGTH),
        (match(IN_PORT + "8000"), errors.MATCH_LENGTH),
        (match("00000004" + "00000007"), errors.MATCH_FIELD),  # NXM
        (match("80010004" + "00000007"), errors.MATCH_FIELD),  # packet registers
        (match("ffff0004" + "00000007"), errors.MATCH_FIELD),
        (match("80004a03" + "000001"), errors.MATCH_FIELD),  # pbb_isid: left out on purpose
        (match("80005004" + "00000001"), errors.MATCH_FIELD),  # field 40
        (match("80000002" + "0007"), errors.MATCH_FIELD),  # in_port of two bytes
        (match("80000000"), errors.MATCH_FIELD),
        (match("80000d02" + "1065"), errors.MATCH_FIELD),  # says it has a mask, and has none
        (match("80000108" + "0000000700000007"), errors.MATCH_MASK),
        (match("80000d04" + "10651000"), errors.MATCH_WILDCARDS),
        (match("80000d04" + "10650000"), errors.MATCH_WILDCARDS),
        (match("80000c02" + "2065"), errors.MATCH_VALUE),
        (match("80000d04" + "20652065"), errors.MATCH_VALUE),
        (match(IN_PORT + IN_PORT), errors.MATCH_DUPLICATE),
        (match(VLAN_101 + "80000d04" + "00000000"), errors.MATCH_DUPLICATE),
    ],
)
def test_refusals(data: bytes, reason: errors.Reason) -> None:
    assert refusal(data) is reason


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80000d04 1065 1fff", (oxm.VLAN_VID, 0x1065, None)),  # all significant bits
        ("80000d04 1065 ffff", (oxm.VLAN_VID, 0x1065, None)),
        ("80000d04 1000 f000", (oxm.VLAN_VID, 0x1000, 0x1000)),  # insignificant bits go
        ("80000d04 0000 0000", (oxm.VLAN_VID, 0, 0)),  # kept: its prerequisites still count
        ("80003908 00000001 ffffffff", (28, 1, None)),
        ("8000070c 010000000000 ffffffffffff", (oxm.ETH_DST, 0x010000000000, None)),
        ("8000070c 010000000000 010000000000", (oxm.ETH_DST, 0x010000000000, 0x010000000000)),
    ],
)  # fmt: skip
def test_masks_have_one_form(text: str, found: oxm.Oxm) -> None:
    data = match(text)
    assert oxm.parse(data, 0, len(data))[0] == (found,)


def test_the_longest_match_is_every_field_masked() -> None:
    everything = tuple((number, 0, 1 if field.maskable else None) for number, field in sorted(oxm.FIELDS.items()))
    packed = oxm.pack(everything)
    assert len(packed) == oxm.LONGEST
    assert oxm.parse(packed, 0, len(packed))[0] == everything


def test_parse_one_stops_at_the_end_it_is_given() -> None:
    data = bytes.fromhex(IN_PORT)
    assert oxm.parse_one(data, 0, 8) == ((oxm.IN_PORT, 7, None), 8)
    with pytest.raises(Refused):
        oxm.parse_one(data, 0, 7)


def exact(**fields: int) -> oxm.Match:
    numbers = {field.name: number for number, field in oxm.FIELDS.items()}
    return tuple((numbers[name], value, None) for name, value in fields.items())


@pytest.mark.parametrize(
    "good",
    [
        (),
        exact(in_port=1, in_phy_port=1),
        exact(eth_type=0x0800, ip_proto=6, tcp_dst=80, ipv4_src=1, ip_dscp=1),
        exact(tcp_dst=80, ip_proto=6, eth_type=0x86DD),  # in any order
        exact(eth_type=0x86DD, ip_proto=58, icmpv6_type=135, ipv6_nd_target=1, ipv6_nd_sll=1),
        exact(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, ipv6_nd_target=1, ipv6_nd_tll=1),
        exact(eth_type=0x0806, arp_op=1, arp_spa=1),
        exact(eth_type=0x8847, mpls_label=1),
        exact(eth_type=0x8848, mpls_bos=1),
        exact(vlan_vid=0x1065, vlan_pcp=3),
        ((oxm.VLAN_VID, 0x1000, 0x1000), (oxm.VLAN_PCP, 3, None)),
        exact(metadata=1, tunnel_id=1, eth_dst=1, eth_src=1),
    ],
)
def test_prerequisites_met(good: oxm.Match) -> None:
    oxm.check_prerequisites(good)


@pytest.mark.parametrize(
    "bad",
    [
        exact(in_phy_port=1),
        exact(ipv4_src=1),
        exact(eth_type=0x86DD, ipv4_src=1),
        exact(eth_type=0x0800, ipv6_src=1),
        exact(eth_type=0x0800, tcp_dst=80),
        exact(eth_type=0x0800, ip_proto=17, tcp_dst=80),
        exact(eth_type=0x0800, ip_proto=6, udp_dst=80),
        exact(ip_proto=6),
        exact(eth_type=0x0806, ip_dscp=1),
        exact(arp_op=1),
        exact(mpls_tc=1),
        exact(eth_type=0x86DD, ip_proto=58, icmpv6_type=134, ipv6_nd_target=1),
        exact(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, ipv6_nd_sll=1),
        exact(vlan_pcp=3),
        exact(vlan_vid=0, vlan_pcp=3),
        ((oxm.VLAN_VID, 0, 0), (oxm.VLAN_PCP, 3, None)),
        exact(ipv6_exthdr=1),
    ],
)
def test_prerequisites_missing(bad: oxm.Match) -> None:
    for order in (bad, bad[::-1]):
        with pytest.raises(Refused) as caught:
            oxm.check_prerequisites(order)
        assert caught.value.reason is errors.MATCH_PREREQ


@pytest.mark.parametrize("number", sorted(oxm.FIELDS))
def test_which_fields_stand_alone(number: int) -> None:
    alone = ((number, 0, None),)
    if oxm.FIELDS[number].name in ("in_port", "metadata", "eth_dst", "eth_src", "eth_type", "vlan_vid", "tunnel_id"):
        oxm.check_prerequisites(alone)
    else:
        with pytest.raises(Refused):
            oxm.check_prerequisites(alone)


@pytest.mark.parametrize(
    ("general", "special", "covered"),
    [
        ((), exact(in_port=1), True),
        (exact(in_port=1), (), False),
        (exact(in_port=1), exact(in_port=1, eth_type=5), True),
        (exact(in_port=1), exact(in_port=2), False),
        (((6, 0x1000, 0x1000),), exact(vlan_vid=0x1065), True),
        (exact(vlan_vid=0x1065), ((6, 0x1000, 0x1000),), False),
        (((6, 0x1000, 0x1000),), exact(vlan_vid=0), False),
        (((6, 0, 0),), (), True),
        (exact(vlan_vid=0x1065), ((6, 0x1065, 0x1FFF),), True),  # all that matters is masked
        (((6, 0x1065, 0x1FFF),), exact(vlan_vid=0x1065), True),
        (((3, 0x010000000000, 0x010000000000),), ((3, 0x010000000000, 0xFF0000000000),), True),
        (((3, 0x010000000000, 0xFF0000000000),), ((3, 0x010000000000, 0x010000000000),), False),
    ],
)
def test_covers(general: oxm.Match, special: oxm.Match, covered: bool) -> None:
    assert oxm.covers(general, special) is covered
