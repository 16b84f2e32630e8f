"""Whose packet is it: the VLAN of a packet-in, read from its bytes (vetting B.1).

The frame starts at byte 18 of a 1.0 PACKET_IN (5.4.1) and at
24 + round8(match length) + 2 of a 1.3 one (7.4.1).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import SLOT_BITS

UNTAGGED: Final = -1
_TPIDS: Final = (b"\x81\x00", b"\x88\xa8")


class PacketIn13(NamedTuple):
    """What classification found in a 1.3 packet-in. ``vid`` is UNTAGGED, or the outermost tag's."""

    in_port: int
    vid: int
    frame_at: int
    match: oxm.Match
    stripped: bool  # the switch took the tag off and told it in the match


def frame_vid(data: bytes, at: int) -> int:
    """The VID of the outermost tag of the frame at ``at``; UNTAGGED for untagged or priority-tagged frames.

    Both TPIDs count, because Open vSwitch matches 0x8100 and 0x88a8 alike.
    A frame too short for the tag it announces is nobody's.
    """
    tpid = data[at + 12 : at + 14]
    if tpid in _TPIDS and len(data) >= at + 18:
        return (data[at + 14] & 0xF) << 8 | data[at + 15] or UNTAGGED
    return UNTAGGED


def classify13(data: bytes) -> PacketIn13 | None:
    """Input port and VLAN of a 1.3 PACKET_IN; None when they cannot be told or contradict each other."""
    if len(data) < 34 or data[24] or data[25] != 1:
        return None
    length = data[26] << 8 | data[27]
    frame_at = 24 + (length + 7 & ~7) + 2
    if length < 4 or frame_at + 14 > len(data):
        return None
    match = _known_fields(data, 28, 24 + length)
    if match is None:
        return None
    fields = {number: value for number, value, _ in match}
    in_port = fields.get(oxm.IN_PORT)
    if in_port is None:
        return None
    vid = frame_vid(data, frame_at)
    stated = fields.get(oxm.VLAN_VID, 0)
    if not stated & oxm.VID_PRESENT:
        return PacketIn13(in_port, vid, frame_at, match, False)
    stated &= 0xFFF
    if vid == UNTAGGED:
        tagged = data[frame_at + 12 : frame_at + 14] in _TPIDS
        return None if tagged else PacketIn13(in_port, stated or UNTAGGED, frame_at, match, True)
    return PacketIn13(in_port, vid, frame_at, match, False) if vid == stated else None


def _known_fields(data: bytes, position: int, end: int) -> oxm.Match | None:
    """The basic fields; others (a switch may tell its own) are passed over. None when TLVs overrun."""
    found: list[oxm.Oxm] = []
    while position < end:
        if end - position < 4:
            return None
        size = data[position + 3]
        after = position + 4 + size
        if after > end:
            return None
        number = data[position + 2] >> 1
        field = oxm.FIELDS.get(number) if data[position : position + 2] == b"\x80\x00" else None
        if field is not None and not data[position + 2] & 1 and size == field.size:
            found.append((number, int.from_bytes(data[position + 4 : after], "big"), None))
        position = after
    return tuple(found)


def delivered_match(match: oxm.Match, ports: frozenset[int], *, hide_tag: bool, hide_slot: bool = False) -> bytes:
    """The match a controller gets with its packet-in: only fields that are its business (vetting B.2)."""
    kept = []
    for field in match:
        number = field[0]
        if hide_slot and number == oxm.METADATA:
            field = number, field[1] & ~SLOT_BITS, None
            if not field[1]:
                continue  # a switch does not tell a metadata of 0
        if (
            number in (oxm.IN_PORT, oxm.METADATA, oxm.TUNNEL_ID)
            or (number == oxm.IN_PHY_PORT and field[1] in ports)
            or (number in (oxm.VLAN_VID, oxm.VLAN_PCP) and not hide_tag)
        ):
            kept.append(field)
    return oxm.pack(kept)
