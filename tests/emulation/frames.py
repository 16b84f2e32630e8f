"""Ethernet frames as tests write them, and the header fields a switch reads from one."""

from __future__ import annotations

import struct
from typing import Final

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
TAGS: Final = (0x8100, 0x88A8)


def mac(text: str | bytes) -> bytes:
    """Six bytes from ``02:00:00:00:00:01``."""
    return text if isinstance(text, bytes) else bytes.fromhex(text.replace(":", ""))


def E(
    vlan: int | None = None,
    *,
    inner: int | None = None,
    tpid: int = 0x8100,
    pcp: int = 0,
    dst: str | bytes = BROADCAST,
    src: str | bytes = "02:00:00:00:00:01",
    ethertype: int = 0x0800,
    payload: bytes = b"",
    size: int = 60,
) -> bytes:
    """A frame padded with zeros to ``size`` bytes plus 4 per tag; ``inner`` is a second tag below ``vlan``."""
    tags = b""
    if vlan is not None:
        tags += struct.pack("!HH", tpid, pcp << 13 | vlan)
    if inner is not None:
        tags += struct.pack("!HH", 0x8100, inner)
    body = (struct.pack("!H", ethertype) + payload).ljust(size - 12, b"\0")
    return mac(dst) + mac(src) + tags + body


def udp(src_ip: str, dst_ip: str, src_port: int, dst_port: int) -> bytes:
    """An IPv4 header and a UDP header without data, for ``E(payload=)``; checksums are left zero."""
    addresses = b"".join(bytes(int(part) for part in ip.split(".")) for ip in (src_ip, dst_ip))
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + addresses
    return header + struct.pack("!HHHH", src_port, dst_port, 8, 0)


def vlan_of(frame: bytes) -> int | None:
    """The outermost tag's VLAN id, None if the frame is untagged."""
    if len(frame) >= 18 and int.from_bytes(frame[12:14], "big") in TAGS:
        return int.from_bytes(frame[14:16], "big") & 0xFFF
    return None


def frame_fields(frame: bytes, in_port: int) -> dict[str, int]:
    """The values a flow table compares, by the names of OXM fields (``tp_*`` as OpenFlow 1.0 sees ports)."""
    fields = {
        "in_port": in_port,
        "eth_dst": int.from_bytes(frame[0:6], "big"),
        "eth_src": int.from_bytes(frame[6:12], "big"),
        "vlan_vid": 0,
    }
    offset = 12
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype in TAGS and len(frame) >= 18:
        tci = int.from_bytes(frame[14:16], "big")
        fields["vlan_vid"] = 0x1000 | (tci & 0xFFF)
        fields["vlan_pcp"] = tci >> 13
        offset = 16
        ethertype = int.from_bytes(frame[16:18], "big")
    fields["eth_type"] = ethertype
    packet = frame[offset + 2 :]
    if ethertype == 0x0800 and len(packet) >= 20 and packet[0] >> 4 == 4:
        _ipv4(packet, fields)
    elif ethertype == 0x0806 and len(packet) >= 28:
        fields["arp_op"] = fields["ip_proto"] = int.from_bytes(packet[6:8], "big")
        fields["arp_spa"] = fields["ipv4_src"] = int.from_bytes(packet[14:18], "big")
        fields["arp_tpa"] = fields["ipv4_dst"] = int.from_bytes(packet[24:28], "big")
    return fields


def _ipv4(packet: bytes, fields: dict[str, int]) -> None:
    fields["ip_dscp"] = packet[1] >> 2
    fields["nw_tos"] = packet[1] & 0xFC
    fields["ip_proto"] = packet[9]
    fields["ipv4_src"] = int.from_bytes(packet[12:16], "big")
    fields["ipv4_dst"] = int.from_bytes(packet[16:20], "big")
    transport = packet[(packet[0] & 15) * 4 :]
    if packet[9] in (6, 17) and len(transport) >= 4:
        prefix = "tcp" if packet[9] == 6 else "udp"
        source, target = struct.unpack_from("!HH", transport)
        fields[f"{prefix}_src"] = fields["tp_src"] = source
        fields[f"{prefix}_dst"] = fields["tp_dst"] = target


def retag(frame: bytes, vid: int | None = None, pcp: int | None = None) -> bytes:
    """OpenFlow 1.0 SET_VLAN_VID or SET_VLAN_PCP: rewrite the outer tag, or add one to an untagged frame."""
    if vlan_of(frame) is None:
        frame = frame[:12] + b"\x81\x00\x00\x00" + frame[12:]
    tci = int.from_bytes(frame[14:16], "big")
    if vid is not None:
        tci = tci & 0xF000 | vid & 0xFFF
    if pcp is not None:
        tci = tci & 0x1FFF | pcp << 13
    return frame[:14] + struct.pack("!H", tci) + frame[16:]


def untag(frame: bytes) -> bytes:
    """Remove the outermost tag, if any."""
    return frame if vlan_of(frame) is None else frame[:12] + frame[16:]
