"""Matches in ``ovs-ofctl`` syntax: ``in_port=1,dl_vlan=100,tcp,nw_dst=10.0.0.0/8``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmoc.openflow.text.values import TextError, mac_text, masked, number, port, port_text, value_text
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm

# Shorthands: dl_type and nw_proto they stand for.
_SHORT: Final[dict[str, tuple[int, int | None]]] = {
    "ip": (0x0800, None),
    "icmp": (0x0800, 1),
    "tcp": (0x0800, 6),
    "udp": (0x0800, 17),
    "sctp": (0x0800, 132),
    "arp": (0x0806, None),
    "ipv6": (0x86DD, None),
    "icmp6": (0x86DD, 58),
    "tcp6": (0x86DD, 6),
    "udp6": (0x86DD, 17),
    "sctp6": (0x86DD, 132),
    "mpls": (0x8847, None),
}
SHORTHANDS: Final = frozenset(_SHORT)
_BITS10: Final = {
    "in_port": 16,
    "dl_src": 48,
    "dl_dst": 48,
    "dl_vlan": 16,
    "dl_vlan_pcp": 8,
    "dl_type": 16,
    "nw_tos": 8,
    "nw_proto": 8,
    "nw_src": 32,
    "nw_dst": 32,
    "tp_src": 16,
    "tp_dst": 16,
}
# 1.0 names in 1.3, where the field does not depend on the protocol.
_ALIASES13: Final = {
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "dl_vlan_pcp": "vlan_pcp",
    "nw_proto": "ip_proto",
    "nw_src": "ipv4_src",
    "nw_dst": "ipv4_dst",
    "tun_id": "tunnel_id",
    "icmp_type": "icmpv4_type",
    "icmp_code": "icmpv4_code",
    "ipv6_label": "ipv6_flabel",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
    "ip_tos": "ip_dscp",
}
NUMBERS13: Final = {field.name: number_ for number_, field in oxm.FIELDS.items()}
FIELDS: Final = frozenset(_BITS10) | frozenset(NUMBERS13) | frozenset(_ALIASES13) | SHORTHANDS


def parse10(words: Iterable[str]) -> bytes:
    """The 40-byte match of ``words`` (``field=value`` or a shorthand)."""
    fields: dict[str, int] = {}
    prefixes: dict[str, int] = {}
    for name, text in _fields(words):
        if text is None:
            dl_type, proto = _SHORT[name]
            fields["dl_type"] = dl_type
            if proto is not None:
                fields["nw_proto"] = proto
        elif name == "in_port":
            fields[name] = port(text, 1, name)
        elif name in ("nw_src", "nw_dst"):
            value, mask = masked(text, 32, name)
            prefixes[name] = _prefix(mask, name)
            fields[name] = value
        elif name in _BITS10:
            fields[name], mask = masked(text, _BITS10[name], name)
            if mask is not None:
                raise TextError(f"{name}: OpenFlow 1.0 has no mask for it")
        else:
            raise TextError(f"{name}: not a field of OpenFlow 1.0")
    match = int.from_bytes(m10.pack(**fields), "big")
    for name, ignored in prefixes.items():
        shift = m10.NW_SRC_SHIFT if name == "nw_src" else m10.NW_DST_SHIFT
        match |= ignored << shift + 8 * (m10.LENGTH - 4)
    return match.to_bytes(m10.LENGTH, "big")


def parse13(words: Iterable[str]) -> oxm.Match:
    """The OXM fields of ``words``; ``dl_vlan=N`` and ``vlan_tci`` style words become vlan_vid."""
    found: dict[int, oxm.Oxm] = {}
    late: list[tuple[str, str]] = []
    for name, text in _fields(words):
        if text is None:
            dl_type, proto = _SHORT[name]
            found[oxm.ETH_TYPE] = (oxm.ETH_TYPE, dl_type, None)
            if proto is not None:
                found[oxm.IP_PROTO] = (oxm.IP_PROTO, proto, None)
        elif name == "dl_vlan":
            value = number(text, 16, name)
            found[oxm.VLAN_VID] = (oxm.VLAN_VID, 0 if value == 0xFFFF else oxm.VID_PRESENT | value, None)
        elif name in ("tp_src", "tp_dst"):
            late.append((name, text))
        else:
            full = _ALIASES13.get(name, name)
            if full not in NUMBERS13:
                raise TextError(f"{name}: not a field of OpenFlow 1.3")
            field_number = NUMBERS13[full]
            field = oxm.FIELDS[field_number]
            if full in ("in_port", "in_phy_port"):
                value, mask = port(text, 4, name), None
            else:
                value, mask = masked(text, 8 * field.size, name)
            found[field_number] = (field_number, value, mask)
    for name, text in late:
        proto = found.get(oxm.IP_PROTO, (0, 0, None))[1]
        base = {6: 13, 17: 15, 132: 17}.get(proto)
        if base is None:
            raise TextError(f"{name}: say tcp, udp or sctp as well")
        field_number = base + (name == "tp_dst")
        found[field_number] = (field_number, *masked(text, 16, name))
    return tuple(found[each] for each in sorted(found))


def _fields(words: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().lower()
        if not equals:
            if name not in SHORTHANDS:
                raise TextError(f"{word!r} is neither field=value nor one of {', '.join(sorted(SHORTHANDS))}")
            yield name, None
        else:
            yield name, text.strip()


def _prefix(mask: int | None, what: str) -> int:
    if mask is None:
        return 0
    ignored = 32 - mask.bit_count()
    if mask != (1 << 32) - (1 << ignored):
        raise TextError(f"{what}: OpenFlow 1.0 takes a prefix length only")
    return ignored


def format10(match: bytes) -> list[str]:
    """Words for a 40-byte match."""
    whole = int.from_bytes(match, "big")
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
                words.append(f"{name}=0x{value:04x}" if name == "dl_type" else f"{name}={value}")

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
    text = f"{known.name}={value_text(value, as_bits)}"
    return text if mask is None else f"{text}/{value_text(mask, as_bits)}"
