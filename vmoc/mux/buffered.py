"""``buffers: pool:N`` in the three messages that know of buffers: packet-in, packet-out, flow-mod.

A packet-in names a packet kept here and, in 1.0, carries only the
miss_send_len bytes its controller asked for. A packet-out or flow-mod that
names it is completed with the frame before it is vetted, so that the policy
sees the same bytes as without buffers. One that is refused uses nothing up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.mux import packetouts, requests
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.policy.packetout import ACTIONS_AT

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.north import NorthSession

_NO_BUFFER: Final = b"\xff\xff\xff\xff"
_BUFFER_AT: Final = {1: 64, 4: 32}
_COMMAND_AT: Final = {1: 57, 4: 25}
_LONGEST: Final = header.MAX_LENGTH - 64
"""With a fixed part, one action and a tag a longer frame would not fit a packet-out."""


def offer(datapath: VirtualDatapath, message: bytes, in_port: int) -> bytes:
    """Keep the packet of a PACKET_IN and name it in the message, which stays whole.

    One that the switch has cut short, or that no packet-out has room for, gets no id.
    """
    assert datapath.buffers is not None
    frame = message[_frame_at(message) :]
    if len(frame) < int.from_bytes(message[12:14], "big") or len(frame) > _LONGEST:
        return message
    number = datapath.buffers.keep(in_port, frame)
    return message[:8] + number.to_bytes(4, "big") + message[12:]


def cut(session: NorthSession, message: bytes, reason: int) -> bytes:
    """What one controller gets of it: 1.0 NO_MATCH carries miss_send_len bytes (5.4.1); total_len stays."""
    at = _frame_at(message)
    if session.version != OF10 or reason != 0 or len(message) - at <= session.miss_send_len:
        return message
    if message[8:12] == _NO_BUFFER:
        return message  # the rest of it would be lost
    length = at + session.miss_send_len
    return message[:2] + length.to_bytes(2, "big") + message[4:length]


def _frame_at(message: bytes) -> int:
    if message[0] == OF10:
        return 18
    return 24 + ((message[26] << 8 | message[27]) + 7 & ~7) + 2


def packet_out(session: NorthSession, message: bytes, now: float) -> None:
    """A PACKET_OUT that names a buffer; ``BUFFER_ID`` or ``BUFFER_EMPTY`` when that is nothing to send."""
    buffers = session.datapath.buffers
    assert buffers is not None
    fixed = ACTIONS_AT[session.version]
    at = 14 if session.version == OF10 else 16
    end = fixed + int.from_bytes(message[at : at + 2], "big")
    if len(message) < fixed or len(message) < end:
        packetouts.send_packet(session, message, message, now)  # refused for what it is, before anything else
        return
    number = int.from_bytes(message[8:12], "big")
    _, frame = buffers.check(number)
    if end + len(frame) > header.MAX_LENGTH:
        raise Refused(errors.TOO_MANY_ACTIONS, "with the buffered packet the message would not fit its length")
    body = _NO_BUFFER + message[12:end] + frame
    whole = header.message(message[0], header.PACKET_OUT, header.xid_of(message), body)
    if packetouts.send_packet(session, whole, message, now):
        buffers.use(number)


def names_buffer(message: bytes) -> bool:
    """Whether a FLOW_MOD that installs something names a buffer."""
    version = message[0]
    at = _BUFFER_AT[version]
    return len(message) >= at + 4 and message[at : at + 4] != _NO_BUFFER and message[_COMMAND_AT[version]] < v10.DELETE


def flow_mod(session: NorthSession, message: bytes, now: float) -> None:
    """A FLOW_MOD that names a buffer: the flow first, then its packet through the tables."""
    at = _BUFFER_AT[session.version]
    bare = message[:at] + _NO_BUFFER + message[at + 4 :]
    number = int.from_bytes(message[at : at + 4], "big")
    buffers = session.datapath.buffers
    assert buffers is not None
    in_port, frame = buffers.check(number)
    if not requests.flow_mod(session, message, now, bare):
        return
    if session.version == OF10:
        actions = a10.pack([(a10.OUTPUT, v10.TABLE, 0)])
        fixed = _NO_BUFFER + in_port.to_bytes(2, "big") + len(actions).to_bytes(2, "big")
    else:
        actions = a13.pack([(a13.OUTPUT, v13.TABLE, 0)])
        fixed = _NO_BUFFER + in_port.to_bytes(4, "big") + len(actions).to_bytes(2, "big") + bytes(6)
    released = header.message(session.version, header.PACKET_OUT, header.xid_of(message), fixed + actions + frame)
    if packetouts.send_packet(session, released, message, now):
        buffers.use(number)
