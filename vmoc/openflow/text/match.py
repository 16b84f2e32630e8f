"""Matches in ``ovs-ofctl`` syntax: ``in_port=1,dl_vlan=100,tcp,nw_dst=10.0.0.0/8``.

The names are those of either version of OpenFlow. What one field can't say
without another (``nw_dst`` without ``ip``) is a ``TextError`` where the text
would otherwise mean less than it seems to; in 1.3, where the switch and the
policy answer such a match with an error, it is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmoc.openflow.text.values import TextError, mac_text, masked, number, port, port_text, value_text
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm

_IP: Final = 0x0800
_ARP: Final = 0x0806
# Shorthands: dl_type and nw_proto they stand for.
_SHORT: Final[dict[str, tuple[int, int | None]]] = {
    "ip": (_IP, None),
    "icmp": (_IP, 1),
    "tcp": (_IP, 6),
    "udp": (_IP, 17),
    "sctp": (_IP, 132),
    "arp": (_ARP, None),
    "ipv6": (0x86DD, None),
    "icmp6": (0x86DD, 58),
    "tcp6": (0x86DD, 6),
    "udp6": (0x86DD, 17),
    "sctp6": (0x86DD, 132),
    "mpls": (0x8847, None),
    "mplsm": (0x8848, None),
}
SHORTHANDS: Final = frozenset(_SHORT)
_BITS10: Final = {
    "in_port": 16,
    "dl_src": 48,
    "dl_dst": 48,
    "dl_vlan": 16,
    "dl_vlan_pcp": 3,
    "dl_type": 16,
    "nw_tos": 8,
    "nw_proto": 8,
    "nw_src": 32,
    "nw_dst": 32,
    "tp_src": 16,
    "tp_dst": 16,
}
# Names of later versions for fields that 1.0 has too.
_ALIASES10: Final = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
    "vlan_pcp": "dl_vlan_pcp",
    "ip_tos": "nw_tos",
    "ip_proto": "nw_proto",
    "arp_op": "nw_proto",
    **dict.fromkeys(("ipv4_src", "ip_src", "arp_spa"), "nw_src"),
    **dict.fromkeys(("ipv4_dst", "ip_dst", "arp_tpa"), "nw_dst"),
    **dict.fromkeys(("tcp_src", "udp_src", "sctp_src", "icmp_type", "icmpv4_type"), "tp_src"),
    **dict.fromkeys(("tcp_dst", "udp_dst", "sctp_dst", "icmp_code", "icmpv4_code"), "tp_dst"),
}
# 1.0 names in 1.3, where the field does not depend on the protocol.
ALIASES13: Final = {
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "tun_id": "tunnel_id",
    "nw_ecn": "ip_ecn",
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "ipv6_label": "ipv6_flabel",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}
# ovs-ofctl has its own names for some fields of 1.3; it knows no other for these.
WRITTEN13: Final = {
    "ipv4_src": "ip_src",
    "ipv4_dst": "ip_dst",
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
    "ipv6_flabel": "ipv6_label",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_sll": "nd_sll",
    "ipv6_nd_tll": "nd_tll",
}
NUMBERS13: Final = {field.name: number_ for number_, field in oxm.FIELDS.items()}
_VLAN_PCP: Final = NUMBERS13["vlan_pcp"]
_IP_DSCP: Final = NUMBERS13["ip_dscp"]
_SCTP: Final = 132
_PORTS13: Final = {6: 13, 17: 15, _SCTP: 17}
# 1.0 names that stand for one field or another, by the protocol; nw_proto decides about the rest and comes first.
_BY_PROTOCOL: Final = ("nw_proto", "nw_src", "nw_dst", "tp_src", "tp_dst", "icmp_type", "icmp_code")
FIELDS: Final = frozenset(_BITS10) | frozenset(_ALIASES10) | frozenset(NUMBERS13) | frozenset(ALIASES13) | SHORTHANDS


def parse10(words: Iterable[str]) -> bytes:
    """The 40-byte match of ``words`` (``field=value`` or a shorthand)."""
    fields: dict[str, int] = {}
    prefixes: dict[str, int] = {}

    def put(field: str, value: int, name: str) -> None:
        if fields.setdefault(field, value) != value:
            raise TextError(f"{name}: {field} is said twice, and differently")

    for name, text in _fields(words):
        if text is None:
            dl_type, proto = _SHORT[name]
            put("dl_type", dl_type, name)
            if proto is not None:
                put("nw_proto", proto, name)
            continue
        field = _ALIASES10.get(name, name)
        if field == "in_port":
            put(field, port(text, 1, name), name)
        elif field in ("nw_src", "nw_dst"):
            value, mask = masked(text, 32, name)
            put(field, value, name)
            prefixes[field] = _prefix(mask, name)
        elif field == "nw_tos":
            put(field, _tos(text, name), name)
        elif field in _BITS10:
            value, mask = masked(text, _BITS10[field], name)
            if mask is not None:
                raise TextError(f"{name}: OpenFlow 1.0 has no mask for it")
            put(field, value, name)
        else:
            raise TextError(f"{name}: not a field of OpenFlow 1.0")
    packed = m10.pack(**fields)
    match = int.from_bytes(packed, "big")
    for field, ignored in prefixes.items():
        shift = m10.NW_SRC_SHIFT if field == "nw_src" else m10.NW_DST_SHIFT
        if not m10.wildcards_of(match) >> shift & 0x20:
            match |= ignored << shift + 8 * (m10.LENGTH - 4)
    _nothing_lost(fields, prefixes, match)
    return match.to_bytes(m10.LENGTH, "big")


_IGNORED10: Final = (
    ("nw_tos", m10.W_NW_TOS, "without ip"),
    ("nw_proto", m10.W_NW_PROTO, "without ip or arp"),
    ("nw_src", 32 << m10.NW_SRC_SHIFT, "without ip or arp"),
    ("nw_dst", 32 << m10.NW_DST_SHIFT, "without ip or arp"),
    ("tp_src", m10.W_TP_SRC, "without tcp, udp, sctp or icmp"),
    ("tp_dst", m10.W_TP_DST, "without tcp, udp, sctp or icmp"),
    ("dl_vlan_pcp", m10.W_DL_VLAN_PCP, "beside dl_vlan=0xffff, which says untagged"),
)


def _nothing_lost(fields: dict[str, int], prefixes: dict[str, int], match: int) -> None:
    """A 1.0 switch ignores a field without the one it needs: the flow would match more than was written."""
    wild = m10.wildcards_of(match)
    for name, bit, when in _IGNORED10:
        if name in fields and wild & bit and prefixes.get(name) != 32:
            raise TextError(f"{name}: a switch ignores it {when}")


def parse13(words: Iterable[str]) -> oxm.Match:
    """The OXM fields of ``words``; ``dl_vlan=N`` becomes vlan_vid, ``nw_src`` what the protocol makes of it."""
    found: dict[int, oxm.Oxm] = {}
    late: dict[str, str] = {}

    def put(field: int, value: int, mask: int | None, name: str) -> None:
        full = oxm.FIELDS[field].full
        if mask is not None and value <= full:  # bits that the field has not are left out, as ovs-ofctl does
            mask = None if mask & full == full else mask & full
        if found.setdefault(field, (field, value, mask)) != (field, value, mask):
            raise TextError(f"{name}: {oxm.FIELDS[field].name} is said twice, and differently")

    for name, text in _fields(words):
        if text is None:
            dl_type, proto = _SHORT[name]
            put(oxm.ETH_TYPE, dl_type, None, name)
            if proto is not None:
                put(oxm.IP_PROTO, proto, None, name)
        elif name == "dl_vlan":
            value = number(text, 16, name)
            if 0xFFF < value < 0xFFFF:
                raise TextError(f"{name}: {text} is not a VLAN; a raw value is vlan_vid={text}")
            put(oxm.VLAN_VID, 0 if value == 0xFFFF else oxm.VID_PRESENT | value, None, name)
        elif name in ("nw_tos", "ip_tos"):
            put(_IP_DSCP, _tos(text, name) >> 2, None, name)
        elif name in _BY_PROTOCOL or name == "dl_vlan_pcp":
            if late.setdefault(name, text) != text:
                raise TextError(f"{name}: said twice, and differently")
        else:
            field = NUMBERS13.get(ALIASES13.get(name, name))
            if field is None:
                raise TextError(f"{name}: not a field of OpenFlow 1.3")
            if field in (oxm.IN_PORT, oxm.IN_PHY_PORT):
                put(field, port(text, 4, name), None, name)
            else:
                put(field, *masked(text, 8 * oxm.FIELDS[field].size, name), name)
    for name in _BY_PROTOCOL:
        if name in late:
            field = _by_protocol(name, found)
            put(field, *masked(late[name], 8 * oxm.FIELDS[field].size, name), name)
    if "dl_vlan_pcp" in late:
        put(_VLAN_PCP, number(late["dl_vlan_pcp"], 3, "dl_vlan_pcp"), None, "dl_vlan_pcp")
        found.setdefault(oxm.VLAN_VID, (oxm.VLAN_VID, oxm.VID_PRESENT, oxm.VID_PRESENT))
    return tuple(found[each] for each in sorted(found))


def _by_protocol(name: str, found: dict[int, oxm.Oxm]) -> int:
    """The field a 1.0 name stands for beside what was found already."""
    ethertype = found.get(oxm.ETH_TYPE, (0, 0, None))[1]
    protocol = found.get(oxm.IP_PROTO, (0, 0, None))[1]
    if name == "nw_proto":
        return NUMBERS13["arp_op"] if ethertype == _ARP else oxm.IP_PROTO
    if name in ("nw_src", "nw_dst"):
        arp, ip = ("arp_spa", "ipv4_src") if name == "nw_src" else ("arp_tpa", "ipv4_dst")
        return NUMBERS13[arp if ethertype == _ARP else ip]
    if name in ("icmp_type", "icmp_code"):
        return NUMBERS13[name.replace("icmp", "icmpv6" if protocol == 58 else "icmpv4")]
    if protocol not in _PORTS13:
        raise TextError(f"{name}: say tcp, udp or sctp as well")
    return _PORTS13[protocol] + (name == "tp_dst")


def _fields(words: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for word in words:
        name, equals, text = word.partition("=")
        name = name.lower()
        if equals:
            yield name, text
        elif name in SHORTHANDS:
            yield name, None
        else:
            raise TextError(f"{word!r} is neither field=value nor one of {', '.join(sorted(SHORTHANDS))}")


def _tos(text: str, name: str) -> int:
    value = number(text, 8, name)
    if value & 3:
        raise TextError(f"{name}: {text} has bits of ECN; it is four times the DSCP")
    return value


def _prefix(mask: int | None, what: str) -> int:
    if mask is None:
        return 0
    ignored = 32 - mask.bit_count()
    if mask != (1 << 32) - (1 << ignored):
        raise TextError(f"{what}: OpenFlow 1.0 takes a prefix length only")
    return ignored


def format10(match: bytes) -> list[str]:
    """Words for a 40-byte match, without what a switch ignores."""
    whole = m10.canonical(int.from_bytes(match, "big"))
    match = whole.to_bytes(m10.LENGTH, "big")
    wild = m10.wildcards_of(whole)
    words: list[str] = []

    def field(name: str, bit: int, offset: int, size: int) -> None:
        if not wild & bit:
            value = int.from_bytes(match[offset : offset + size], "big")
            if name == "in_port":
                words.append(f"{name}={port_text(value, 1)}")
            elif size == 6:
                words.append(f"{name}={mac_text(value)}")
            else:
                as_hex = name == "dl_type" or (name == "dl_vlan" and value > 0xFFF)
                words.append(f"{name}=0x{value:04x}" if as_hex else f"{name}={value}")

    field("in_port", m10.W_IN_PORT, 4, 2)
    field("dl_vlan", m10.W_DL_VLAN, 18, 2)
    field("dl_vlan_pcp", m10.W_DL_VLAN_PCP, 20, 1)
    field("dl_src", m10.W_DL_SRC, 6, 6)
    field("dl_dst", m10.W_DL_DST, 12, 6)
    field("dl_type", m10.W_DL_TYPE, 22, 2)
    for name, shift, offset in (("nw_src", m10.NW_SRC_SHIFT, 28), ("nw_dst", m10.NW_DST_SHIFT, 32)):
        ignored = wild >> shift & 0x3F
        if ignored < 32:
            text = value_text(int.from_bytes(match[offset : offset + 4], "big"), 32)
            words.append(f"{name}={text}" + (f"/{32 - ignored}" if ignored else ""))
    field("nw_proto", m10.W_NW_PROTO, 25, 1)
    field("nw_tos", m10.W_NW_TOS, 24, 1)
    field("tp_src", m10.W_TP_SRC, 36, 2)
    field("tp_dst", m10.W_TP_DST, 38, 2)
    return words


def format13(match: oxm.Match) -> list[str]:
    """Words for OXM fields."""
    return [format_oxm(field) for field in match]


def format_oxm(field: oxm.Oxm) -> str:
    """``name=value`` or ``name=value/mask``."""
    number_, value, mask = field
    known = oxm.FIELDS[number_]
    bits = 8 * known.size
    if known.name in ("in_port", "in_phy_port"):
        return f"{known.name}={port_text(value, 4)}"
    if known.name in ("vlan_vid", "eth_type", "metadata", "tunnel_id"):
        text = f"{known.name}={value:#x}"
        return text if mask is None else f"{text}/{mask:#x}"
    as_bits = bits if known.name.startswith(("eth_", "ipv4_", "ipv6_", "arp_")) and bits >= 32 else 0
    if known.name == "ipv6_flabel":
        as_bits = 0
    text = f"{WRITTEN13.get(known.name, known.name)}={value_text(value, as_bits)}"
    return text if mask is None else f"{text}/{value_text(mask, as_bits)}"
