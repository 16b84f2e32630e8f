"""The chain of rules a packet-out passes (vetting A.5), and its fast form.

Layouts: 1.0 (5.3.6) buffer_id 4, in_port 2, actions_len 2, actions, frame;
1.3 (7.3.7) buffer_id 4, in_port 4, actions_len 2, pad 6, actions, frame.
The frame must already be in the slice: tagged with its VLAN, or, where the
slice sees untagged frames, is put there by inserting the tag. On a native
switch it must have no tag: one could take it to another VLAN's segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v10, v13
from vmoc.openflow.header import MAX_LENGTH, NO_BUFFER
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.policy import actions10, actions13, tagstate
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import ANYWHERE, Outputs
from vmoc.policy.verdict import NOT_OFFERED, Finding, Refusal, Rule, run

_FIXED10: Final = Struct("!IHH")
_FIXED13: Final = Struct("!IIH6x")
ACTIONS_AT: Final = {1: 16, 4: 24}
_TAGS: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_TAG_ACTIONS: Final = {
    1: frozenset((a10.SET_VLAN_VID, a10.SET_VLAN_PCP, a10.STRIP_VLAN)),
    4: frozenset((a13.PUSH_VLAN, a13.POP_VLAN, a13.SET_FIELD)),
}


@dataclass(slots=True)
class PacketOut:
    """A packet-out on its way through the rules; ``actions`` and ``frame`` become the physical ones."""

    grant: Grant
    data: bytes
    buffer_id: int = 0
    in_port: int = 0
    frame_at: int = 0
    actions: bytes = b""
    frame: bytes = b""
    # Filled by the first rule, used by the others.
    parsed: list[tuple[Any, ...]] = field(default_factory=list, repr=False)
    not_offered: Refused | None = field(default=None, repr=False)

    once: bool = False
    """Whether the verdict holds for this message only: it is about the frame's tags too, or a group that may go."""

    def message(self, xid: int) -> bytes:
        """The physical PACKET_OUT."""
        head = _fixed(self.grant.version, self.in_port, len(self.actions))
        length = 8 + len(head) + len(self.actions) + len(self.frame)
        return _header(self.grant.version, length, xid) + head + self.actions + self.frame


class PacketOutPolicy:
    """Vets packet-outs of one grant, remembering verdicts by the bytes in front of the frame."""

    CAPACITY: Final = 512
    LONGEST: Final = 1024  # bytes in front of the frame; longer ones are rare, and would let a slice hoard memory

    __slots__ = ("_grant", "_known", "_tag", "_tagged")

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._known: dict[bytes, bytes] = {}
        self._tag = b"\x81\x00" + grant.vlan.to_bytes(2, "big")
        self._tagged = not grant.hides_tag

    def vet(self, data: bytes, xid: int) -> bytes | Refusal:
        """The physical message under ``xid``, or why not."""
        version = self._grant.version
        if version == 1:
            end = 16 + (data[14] << 8 | data[15]) if len(data) >= 16 else 0
        else:
            end = 24 + (data[16] << 8 | data[17]) if len(data) >= 24 else 0
        known = self._known.get(data[8:end])
        if known is None or end > len(data):
            return self._vet_slowly(data, xid)
        if self._tagged:
            if (
                len(data) < end + 18
                or data[end + 12 : end + 14] != b"\x81\x00"
                or (data[end + 14] & 0xF) << 8 | data[end + 15] != self._grant.vlan
            ):
                return self._vet_slowly(data, xid)
            length = 8 + len(known) + len(data) - end
            if length > MAX_LENGTH:
                return self._vet_slowly(data, xid)
            return b"".join((_header(version, length, xid), known, data[end:]))
        if self._grant.native or len(data) < end + 14:
            return self._vet_slowly(data, xid)
        length = 8 + len(known) + len(data) - end + 4
        if length > MAX_LENGTH:
            return self._vet_slowly(data, xid)
        head = _header(version, length, xid)
        return b"".join((head, known, data[end : end + 12], self._tag, data[end + 12 :]))

    def _vet_slowly(self, data: bytes, xid: int) -> bytes | Refusal:
        verdict = vet_packet_out(self._grant, data)
        if isinstance(verdict, Refusal):
            return verdict
        if verdict.frame_at > self.LONGEST or verdict.once:
            return verdict.message(xid)
        if len(self._known) >= self.CAPACITY:
            self._known.clear()
        prefix = _fixed(self._grant.version, verdict.in_port, len(verdict.actions)) + verdict.actions
        self._known[data[8 : verdict.frame_at]] = prefix
        return verdict.message(xid)


def _header(version: int, length: int, xid: int) -> bytes:
    return ((version << 24 | 13 << 16 | length) << 32 | xid).to_bytes(8, "big")


def _fixed(version: int, in_port: int, actions_length: int) -> bytes:
    fixed = _FIXED10 if version == 1 else _FIXED13
    return fixed.pack(NO_BUFFER, in_port, actions_length)


def vet_packet_out(grant: Grant, data: bytes, trace: list[Finding] | None = None) -> PacketOut | Refusal:
    """The verdict on one whole PACKET_OUT message of the grant's version."""
    case = PacketOut(grant, data)
    refusal = run(RULES, case, trace)
    return case if refusal is None else refusal


def _decode(case: PacketOut) -> str:
    data, start = case.data, ACTIONS_AT[case.grant.version]
    if len(data) < start:
        raise Refused(errors.BAD_LENGTH, f"PACKET_OUT of {len(data)} bytes")
    fixed = _FIXED10 if case.grant.version == 1 else _FIXED13
    case.buffer_id, case.in_port, length = fixed.unpack_from(data, 8)
    case.frame_at = start + length
    if case.frame_at > len(data):
        raise Refused(errors.BAD_LENGTH, f"actions_len {length} is more than the message holds")
    try:
        case.parsed = (a10 if case.grant.version == 1 else a13).parse(data, start, case.frame_at)
    except Refused as refused:
        if refused.reason not in NOT_OFFERED:
            raise
        case.not_offered = refused
    return f"{length} bytes of actions, {len(data) - case.frame_at} bytes of frame"


def _buffer(case: PacketOut) -> str:
    if case.buffer_id != NO_BUFFER:
        raise Refused(errors.BUFFER_ID, f"buffer {case.buffer_id:#x}")
    return "no buffer"


def _in_port(case: PacketOut) -> str:
    if case.in_port in case.grant.ports:
        return f"in_port {case.in_port}"
    if case.grant.version == 1:
        if case.in_port not in (v10.NONE, v10.CONTROLLER):
            raise Refused(errors.PACKET_IN_PORT, f"in_port {case.in_port:#x}")
    elif case.in_port not in (v13.ANY, v13.CONTROLLER):
        raise Refused(errors.PACKET_IN_PORT, f"in_port {case.in_port:#x}")
    else:
        case.in_port = v13.CONTROLLER
    return "in_port: the controller"


def _frame(case: PacketOut) -> str:
    frame = case.data[case.frame_at :]
    grant = case.grant
    if len(frame) < (14 if grant.hides_tag else 18):
        raise Refused(errors.PACKET_SHORT, f"frame of {len(frame)} bytes")
    if grant.native:
        if frame[12:14] in _TAGS:
            raise Refused(errors.PACKET_VLAN, f"frame has ethertype {frame[12:14].hex()}, the instance is untagged")
        case.frame = frame
        return "the instance is untagged"
    if grant.hides_tag:
        case.frame = frame[:12] + b"\x81\x00" + grant.vlan.to_bytes(2, "big") + frame[12:]
        return f"tagged with VLAN {grant.vlan}"
    if frame[12:14] != b"\x81\x00":
        raise Refused(errors.PACKET_VLAN, f"frame has ethertype {frame[12:14].hex()}, no 802.1Q tag")
    vlan = (frame[14] & 0xF) << 8 | frame[15]
    if vlan != grant.vlan:
        raise Refused(errors.PACKET_VLAN, f"frame has VLAN {vlan}")
    case.frame = frame
    return f"in VLAN {vlan}"


def _actions(case: PacketOut) -> str:
    grant = case.grant
    if case.not_offered is not None:
        raise case.not_offered
    in_port = case.in_port if case.in_port in grant.ports else ANYWHERE
    outputs = Outputs(grant, in_port, packet_out=True)
    kinds = {action[0] for action in case.parsed}
    tags = None
    if grant.policy.qinq and not grant.hides_tag and kinds & _TAG_ACTIONS[grant.version]:
        tags = tagstate.tags_of(case.frame)
        case.once = True
    if grant.version == 1:
        case.actions = a10.pack(actions10.narrow(grant, case.parsed, outputs, tags))
    else:
        case.actions = a13.pack(actions13.narrow(grant, case.parsed, outputs, frame=tags))
        case.once = case.once or a13.GROUP in kinds
    return "expanded FLOOD/ALL to the slice's ports" if outputs.floods else "allowed"


def _size(case: PacketOut) -> str:
    size = ACTIONS_AT[case.grant.version] + len(case.actions) + len(case.frame)
    if size > MAX_LENGTH:
        raise Refused(errors.TOO_MANY_ACTIONS, "the expanded message would not fit OpenFlow's 16-bit length")
    return f"{size} bytes"


RULES: Final[Sequence[Rule[PacketOut]]] = (
    ("decode", _decode),
    ("buffer", _buffer),
    ("in-port", _in_port),
    ("frame", _frame),
    ("actions", _actions),
    ("size", _size),
)
