"""``buffers: pool:N`` in the three messages that know of buffers: packet-in, packet-out, flow-mod.

A packet-in names a packet kept here and, in 1.0, carries only the
miss_send_len bytes its controller asked for. A packet-out or flow-mod that
names it is completed with the frame before it is vetted, so that the policy
sees the same bytes as without buffers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc.mux import requests
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.north import NorthSession

_NO_BUFFER: Final = b"\xff\xff\xff\xff"
_BUFFER_AT: Final = {1: 64, 4: 32}
_COMMAND_AT: Final = {1: 57, 4: 25}


def offer(datapath: VirtualDatapath, message: bytes, reason: int, in_port: int) -> bytes:
    """Keep the packet of a PACKET_IN and name it in the message, which stays whole."""
    assert datapath.buffers is not None
    number = datapath.buffers.keep(in_port, message[_frame_at(message) :])
    return message[:8] + number.to_bytes(4, "big") + message[12:]


def cut(session: NorthSession, message: bytes, reason: int) -> bytes:
    """What one controller gets of it: 1.0 NO_MATCH carries miss_send_len bytes (5.4.1); total_len stays."""
    at = _frame_at(message)
    if session.version != OF10 or reason != 0 or len(message) - at <= session.miss_send_len:
        return message
    length = at + session.miss_send_len
    return message[:2] + length.to_bytes(2, "big") + message[4:length]


def _frame_at(message: bytes) -> int:
    if message[0] == OF10:
        return 18
    return 24 + ((message[26] << 8 | message[27]) + 7 & ~7) + 2


def complete(datapath: VirtualDatapath, message: bytes) -> bytes:
    """A PACKET_OUT with the frame it names in it; ``BUFFER_ID`` or ``BUFFER_EMPTY``."""
    assert datapath.buffers is not None
    _, frame = datapath.buffers.use(int.from_bytes(message[8:12], "big"))
    if message[0] == OF10:
        end = 16 + int.from_bytes(message[14:16], "big")
    else:
        end = 24 + int.from_bytes(message[16:18], "big")
    body = _NO_BUFFER + message[12:end] + frame
    return header.message(message[0], header.PACKET_OUT, header.xid_of(message), body)


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
    assert session.datapath.buffers is not None
    session.datapath.buffers.check(number)
    if not requests.flow_mod(session, message, now, bare):
        return
    in_port, frame = session.datapath.buffers.use(number)
    if session.version == OF10:
        actions = a10.pack([(a10.OUTPUT, v10.TABLE, 0)])
        fixed = _NO_BUFFER + in_port.to_bytes(2, "big") + len(actions).to_bytes(2, "big")
    else:
        actions = a13.pack([(a13.OUTPUT, v13.TABLE, 0)])
        fixed = _NO_BUFFER + in_port.to_bytes(4, "big") + len(actions).to_bytes(2, "big") + bytes(6)
    released = header.message(session.version, header.PACKET_OUT, header.xid_of(message), fixed + actions + frame)
    session.send_packet(released, message, now)
