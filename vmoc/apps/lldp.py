"""The LLDP frames of link discovery (IEEE 802.1AB), signed so that nobody else can make one.

Frame: destination 01-80-c2-00-00-0e, which no bridge forwards; ethertype
0x88cc; then TLVs of a 7 bit type, a 9 bit length and a value:

======= ==============================================================
chassis type 1: subtype 7, ``dpid:`` and 16 hex digits
port    type 2: subtype 7, the port number in decimal
TTL     type 3: seconds, 16 bits
ours    type 127: OUI 02-56-4d, subtype 1, stamp 8 bytes, signature 16
end     type 0
======= ==============================================================

The signature is HMAC-SHA256 over DPID, port and stamp, cut to 16 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from struct import error, pack, unpack, unpack_from
from typing import Final

from vmoc.topology import PortRef

ETHERTYPE: Final = 0x88CC
DESTINATION: Final = bytes.fromhex("0180c200000e")

_OUI: Final = bytes.fromhex("02564d")  # the local bit is set: nobody's
_HEAD: Final = _OUI + b"\x01"
_SIGNATURE: Final = 16
_LOCAL: Final = b"\x07"


def build(where: PortRef, hw_addr: bytes, stamp: int, ttl: int, secret: bytes) -> bytes:
    """The frame to send out of port ``where`` with address ``hw_addr`` (6 bytes); ``ttl`` in seconds."""
    return b"".join(
        (
            DESTINATION,
            hw_addr,
            pack("!H", ETHERTYPE),
            _tlv(1, _LOCAL + b"dpid:%016x" % where.dpid),
            _tlv(2, _LOCAL + b"%d" % where.port),
            _tlv(3, pack("!H", ttl)),
            _tlv(127, _HEAD + pack("!Q", stamp) + _sign(where, stamp, secret)),
            _tlv(0, b""),
        )
    )


def is_lldp(frame: bytes) -> bool:
    """Whether an untagged frame is LLDP, anybody's."""
    return len(frame) >= 14 and frame[12:14] == b"\x88\xcc"


def read(frame: bytes, secret: bytes) -> tuple[PortRef, int] | None:
    """The port a frame of ours was sent from and its stamp; None if it is not ours, or not signed by ``secret``."""
    if not is_lldp(frame):
        return None
    values: dict[int, bytes] = {}
    offset = 14
    while offset + 2 <= len(frame):
        head = unpack_from("!H", frame, offset)[0]
        kind, length = head >> 9, head & 0x1FF
        offset += 2
        if kind == 0:
            break
        if offset + length > len(frame) or kind in values:
            return None
        values[kind] = frame[offset : offset + length]
        offset += length
    chassis, port, ours = values.get(1, b""), values.get(2, b""), values.get(127, b"")
    if len(ours) != len(_HEAD) + 8 + _SIGNATURE or not ours.startswith(_HEAD):
        return None
    try:
        where = PortRef(int(chassis.removeprefix(b"\x07dpid:"), 16), int(port.removeprefix(_LOCAL)))
        stamp = unpack("!Q", ours[4:12])[0]
        signature = _sign(where, stamp, secret)
    except (ValueError, error):  # not numbers, or numbers out of range
        return None
    return (where, stamp) if hmac.compare_digest(signature, ours[12:]) else None


def _tlv(kind: int, value: bytes) -> bytes:
    return pack("!H", kind << 9 | len(value)) + value


def _sign(where: PortRef, stamp: int, secret: bytes) -> bytes:
    content = pack("!QIQ", where.dpid, where.port, stamp)
    return hmac.new(secret, content, hashlib.sha256).digest()[:_SIGNATURE]
