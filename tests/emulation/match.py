"""``ofp_match`` of both versions, written from keyword arguments and read into plain (value, mask) pairs."""

from __future__ import annotations

import struct
from typing import Final

from tests.emulation.frames import mac
from tests.emulation.layout import V10, port_number

# name: (OXM field number, bytes)
OXM: Final = {
    name: (number, width)
    for number, (name, width) in enumerate(
        [
            ("in_port", 4), ("in_phy_port", 4), ("metadata", 8), ("eth_dst", 6), ("eth_src", 6), ("eth_type", 2),
            ("vlan_vid", 2), ("vlan_pcp", 1), ("ip_dscp", 1), ("ip_ecn", 1), ("ip_proto", 1), ("ipv4_src", 4),
            ("ipv4_dst", 4), ("tcp_src", 2), ("tcp_dst", 2), ("udp_src", 2), ("udp_dst", 2), ("sctp_src", 2),
            ("sctp_dst", 2), ("icmpv4_type", 1), ("icmpv4_code", 1), ("arp_op", 2), ("arp_spa", 4), ("arp_tpa", 4),
            ("arp_sha", 6), ("arp_tha", 6), ("ipv6_src", 16), ("ipv6_dst", 16), ("ipv6_flabel", 4),
            ("icmpv6_type", 1), ("icmpv6_code", 1), ("ipv6_nd_target", 16), ("ipv6_nd_sll", 6), ("ipv6_nd_tll", 6),
            ("mpls_label", 4), ("mpls_tc", 1), ("mpls_bos", 1), ("pbb_isid", 3), ("tunnel_id", 8),
            ("ipv6_exthdr", 2),
        ]
    )
}  # fmt: skip
_OXM_NAMES: Final = {number: (name, width) for name, (number, width) in OXM.items()}

# name: (wildcard bit, offset in ofp_match, bytes); nw_src and nw_dst have six-bit wildcard counts instead
_MATCH10: Final = {
    "in_port": (1 << 0, 4, 2),
    "vlan_vid": (1 << 1, 18, 2),
    "eth_src": (1 << 2, 6, 6),
    "eth_dst": (1 << 3, 12, 6),
    "eth_type": (1 << 4, 22, 2),
    "ip_proto": (1 << 5, 25, 1),
    "tp_src": (1 << 6, 36, 2),
    "tp_dst": (1 << 7, 38, 2),
    "vlan_pcp": (1 << 20, 20, 1),
    "nw_tos": (1 << 21, 24, 1),
}
_PREFIX10: Final = {"ipv4_src": (8, 28), "ipv4_dst": (14, 32)}

Value = int | str | bytes | tuple[int, int]
Match = dict[str, tuple[int, int]]  # field: (value, mask)


def _number(value: int | str | bytes, width: int) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    if width == 6:
        return int.from_bytes(mac(value), "big")
    return int.from_bytes(bytes(int(part) for part in value.split(".")), "big")


def match(version: int, **fields: Value) -> bytes:
    """``ofp_match``; ``vlan=101`` or ``vlan="none"`` is written as each version wants it, ``vlan_vid=`` goes raw.

    1.3 OXMs keep the order given; (value, mask) tuples are masked OXMs (1.0: only ``ipv4_*`` prefixes).
    """
    if "vlan" in fields:
        vlan = fields.pop("vlan")
        untagged = 0xFFFF if version == V10 else 0
        vid = untagged if vlan == "none" else vlan if version == V10 else 0x1000 | int(vlan)  # type: ignore[arg-type]
        fields = {"vlan_vid": vid} | fields
    if "in_port" in fields:
        fields["in_port"] = port_number(version, fields["in_port"])  # type: ignore[arg-type]
    return _match10(fields) if version == V10 else _match13(fields)


def _match10(fields: dict[str, Value]) -> bytes:
    wildcards = 0x3FFFFF
    data = bytearray(40)
    for name, value in fields.items():
        if name in _PREFIX10:
            shift, offset = _PREFIX10[name]
            number, mask = value if isinstance(value, tuple) else (_number(value, 4), 0xFFFFFFFF)
            wildcards = wildcards & ~(0x3F << shift) | (32 - mask.bit_count()) << shift
            data[offset : offset + 4] = number.to_bytes(4, "big")
        else:
            bit, offset, width = _MATCH10[name]
            wildcards &= ~bit
            assert not isinstance(value, tuple), f"{name} cannot be masked in OpenFlow 1.0"
            data[offset : offset + width] = _number(value, width).to_bytes(width, "big")
    data[0:4] = struct.pack("!I", wildcards)
    return bytes(data)


def oxm(name: str, value: Value) -> bytes:
    """One OXM TLV of class 0x8000."""
    number, width = OXM[name]
    if isinstance(value, tuple):
        payload = value[0].to_bytes(width, "big") + value[1].to_bytes(width, "big")
        return struct.pack("!HBB", 0x8000, number << 1 | 1, 2 * width) + payload
    return struct.pack("!HBB", 0x8000, number << 1, width) + _number(value, width).to_bytes(width, "big")


def _match13(fields: dict[str, Value]) -> bytes:
    tlvs = b"".join(oxm(name, value) for name, value in fields.items())
    return _padded(struct.pack("!HH", 1, 4 + len(tlvs)) + tlvs)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def parse_match(version: int, data: bytes) -> tuple[Match, int]:
    """Fields as (value, mask) and the number of bytes used. 1.0 VLANs are given the 1.3 way (0x1000 | vid; 0 untagged).

    Unknown OXMs appear as ``oxm:CLASS:FIELD``; ``ValueError`` when TLVs overrun.
    """
    if version == V10:
        return _parse10(data), 40
    kind, length = struct.unpack_from("!HH", data)
    if kind != 1 or length < 4 or length > len(data):
        raise ValueError(f"match type {kind} length {length}")
    fields: Match = {}
    offset = 4
    while offset < length:
        klass, field_mask, size = struct.unpack_from("!HBB", data, offset)
        payload = data[offset + 4 : offset + 4 + size]
        offset += 4 + size
        if offset > length or len(payload) < size:
            raise ValueError("OXM overruns the match")
        name, _ = _OXM_NAMES.get(field_mask >> 1, ("", 0)) if klass == 0x8000 else ("", 0)
        name = name or f"oxm:{klass:#x}:{field_mask >> 1}"
        half = size // 2 if field_mask & 1 else size
        mask = int.from_bytes(payload[half:], "big") if field_mask & 1 else (1 << 8 * half) - 1
        if name == "vlan_vid":
            mask &= 0x1FFF
        if name in fields:
            raise ValueError(f"{name} twice")
        fields[name] = (int.from_bytes(payload[:half], "big"), mask)
    return fields, (length + 7) // 8 * 8


def _parse10(data: bytes) -> Match:
    (wildcards,) = struct.unpack_from("!I", data)
    fields: Match = {}
    for name, (bit, offset, width) in _MATCH10.items():
        if not wildcards & bit:
            fields[name] = (int.from_bytes(data[offset : offset + width], "big"), (1 << 8 * width) - 1)
    for name, (shift, offset) in _PREFIX10.items():
        wild = min(wildcards >> shift & 0x3F, 32)
        if wild < 32:
            mask = 0xFFFFFFFF >> wild << wild
            fields[name] = (int.from_bytes(data[offset : offset + 4], "big") & mask, mask)
    if "vlan_vid" in fields:
        vid = fields["vlan_vid"][0]
        fields["vlan_vid"] = (0 if vid == 0xFFFF else 0x1000 | vid & 0xFFF, 0x1FFF)
    return fields


def vlan_in(fields: Match) -> int | str | None:
    """The exact VLAN a match asks for; ``"none"`` for untagged, ``"masked"``, or None when it does not care."""
    if "vlan_vid" not in fields:
        return None
    value, mask = fields["vlan_vid"]
    if mask & 0x1FFF != 0x1FFF:
        return "masked"
    return value & 0xFFF if value & 0x1000 else "none"


def is_exact10(fields: Match) -> bool:
    """Whether a 1.0 match has no wildcards at all; such entries rank above every priority (1.0.1 section 3.4)."""
    return fields.keys() == {*_MATCH10, *_PREFIX10} and all(fields[n][1] == 0xFFFFFFFF for n in _PREFIX10)
