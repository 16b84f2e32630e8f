"""The operator's own share of a switch: untagged frames, for the os-ken applications loaded with VMOC.

It is a slice of its own kind. It sees packet-ins nobody owns, port-status, and
the answers to what it asked; it may send packet-outs of untagged frames and
flows that match exactly "untagged", and nothing else, so that no application
can touch a slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.mux.effects import OperatorInput
from vmoc.mux.flows import PROXY_TAG, Own
from vmoc.mux.pending import Expected, Request
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

_ASKS10: Final = frozenset((header.FEATURES_REQUEST, header.GET_CONFIG_REQUEST, v10.STATS_REQUEST, v10.BARRIER_REQUEST))
_ASKS13: Final = frozenset(
    (header.FEATURES_REQUEST, header.GET_CONFIG_REQUEST, v13.MULTIPART_REQUEST, v13.BARRIER_REQUEST)
)
_ASKS_STATS: Final = frozenset((stats.DESC, stats.FLOW, stats.AGGREGATE, stats.TABLE, stats.PORT, stats.QUEUE))
_ASKS_STATS13: Final = _ASKS_STATS | frozenset(range(v13.MP_GROUP, v13.MP_PORT_DESC + 1))
_NO_BUFFER: Final = b"\xff\xff\xff\xff"
_TAGGERS10: Final = frozenset((a10.SET_VLAN_VID, a10.SET_VLAN_PCP, a10.STRIP_VLAN))
_TAGGERS13: Final = frozenset((a13.PUSH_VLAN, a13.POP_VLAN, a13.PUSH_PBB, a13.POP_PBB, a13.PUSH_MPLS, a13.POP_MPLS))


def packet_in(switch: Switch, message: bytes) -> None:
    """A packet-in that is nobody's."""
    if switch.hub.tap:
        if message[8:12] != _NO_BUFFER:
            message = message[:8] + _NO_BUFFER + message[12:]  # the packet is whole; buffers are not offered
        switch.hub.effect(OperatorInput(switch.key, message))


def port_status(switch: Switch, message: bytes) -> None:
    """A change of a port."""
    if switch.hub.tap:
        switch.hub.effect(OperatorInput(switch.key, message))


def answer(switch: Switch, sent: Request, message: bytes) -> None:
    """An answer, or an error, to something an application sent."""
    switch.hub.effect(OperatorInput(switch.key, header.with_xid(message, sent.xid)))


def send(switch: Switch, message: bytes, now: float) -> None:
    """A message of an application; what it may not send is answered with an error."""
    version = switch.version
    if switch.session is None or len(message) < 8 or message[0] != version:
        return
    try:
        if int.from_bytes(message[2:4], "big") != len(message):
            raise Refused(errors.BAD_LENGTH, "the header states another length")
        data = _vet(switch, message)
    except Refused as refused:
        code = refused.reason.error(version)
        reply = header.error(version, header.xid_of(message), code, message)
        switch.hub.effect(OperatorInput(switch.key, reply))
        return
    if data is None:
        return
    if message[1] in (header.PACKET_OUT, header.FLOW_MOD):
        request = Request(Expected.NOTHING, None, message, at=now, xid=header.xid_of(message))
        request.done = lambda error, when: answer(switch, request, error)
    else:
        request = Request(Expected.OPERATOR, None, message, at=now, xid=header.xid_of(message))
    switch.send(data, request, switch, now)


def _vet(switch: Switch, message: bytes) -> bytes | None:
    kind, version = message[1], switch.version
    if kind == header.ECHO_REQUEST:
        switch.hub.effect(OperatorInput(switch.key, header.echo_reply(message)))
        return None
    if kind in (header.HELLO, header.ECHO_REPLY, header.SET_CONFIG):
        return None  # part of a handshake that is ours
    if kind in (_ASKS10 if version == OF10 else _ASKS13):
        _check_question(message)
        return message
    if kind == header.PACKET_OUT:
        return _packet_out(switch, message)
    if kind == header.FLOW_MOD:
        return _flow_mod10(switch, message) if version == OF10 else _flow_mod13(switch, message)
    raise Refused(errors.BAD_TYPE, "not offered to applications")


def _check_question(message: bytes) -> None:
    version = message[0]
    if message[1] != stats.REQUEST[version]:
        if len(message) != header.HEADER_SIZE:
            raise Refused(errors.BAD_LENGTH)
        return
    kind, flags = stats.head(message)
    if kind not in (_ASKS_STATS if version == OF10 else _ASKS_STATS13):
        raise Refused(errors.STATS_TYPE, f"statistics type {kind}")
    if version != OF10 and flags:
        raise Refused(errors.STATS_MORE)
    if version != OF10 and kind == v13.MP_TABLE_FEATURES and len(message) > stats.BODY[version]:
        raise Refused(errors.TABLE_FEATURES_SET)


def _packet_out(switch: Switch, message: bytes) -> bytes:
    if switch.native:
        raise Refused(errors.PACKET_VLAN, "every frame of this switch is a slice's")
    version = switch.version
    start = 16 if version == OF10 else 24
    if len(message) < start:
        raise Refused(errors.BAD_LENGTH)
    at = start + int.from_bytes(message[start - 2 : start] if version == OF10 else message[16:18], "big")
    if message[8:12] != b"\xff\xff\xff\xff":
        raise Refused(errors.BUFFER_ID)
    if at > len(message):
        raise Refused(errors.BAD_LENGTH)
    if len(message) < at + 14:
        raise Refused(errors.PACKET_SHORT)
    if message[at + 12 : at + 14] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        raise Refused(errors.PACKET_VLAN, "applications may send untagged frames only")
    actions = a10.parse(message, start, at) if version == OF10 else a13.parse(message, start, at)
    _check_actions(version, actions)
    return message


def _check_actions(version: int, actions: list[a10.Action]) -> None:
    taggers = _TAGGERS10 if version == OF10 else _TAGGERS13
    for action in actions:
        if action[0] in taggers or (
            version != OF10 and action[0] == a13.SET_FIELD and action[1] in (oxm.VLAN_VID, oxm.VLAN_PCP, oxm.ETH_TYPE)
        ):
            raise Refused(errors.VLAN_ACTION)
        if version != OF10 and action[0] == a13.GROUP:
            raise Refused(errors.UNKNOWN_GROUP)


def _flow_mod10(switch: Switch, message: bytes) -> bytes:
    mod = f10.parse_flow_mod(message)
    anything = m10.wildcards_of(mod.match) & m10.W_DL_VLAN
    if anything or m10.vlan_of(mod.match) != m10.VLAN_NONE or switch.native:
        raise Refused(errors.FOREIGN_VLAN, "applications may match untagged frames only")
    if mod.command > v10.DELETE_STRICT:
        raise Refused(errors.FLOW_COMMAND)
    _check_actions(OF10, mod.actions)
    match = m10.canonical(mod.match).to_bytes(m10.LENGTH, "big")
    return f10.flow_mod(
        0,
        match,
        mod.command,
        cookie=PROXY_TAG | Own.OPERATOR,
        idle=mod.idle_timeout,
        hard=mod.hard_timeout,
        priority=mod.priority,
        out_port=mod.out_port,
        actions=a10.pack(mod.actions),
    )


def _flow_mod13(switch: Switch, message: bytes) -> bytes:
    mod = f13.parse_flow_mod(message)
    vlan = next((field for field in mod.match if field[0] == oxm.VLAN_VID), None)
    if vlan is None or vlan[1] != 0 or vlan[2] not in (None, 0x1FFF, 0xFFFF) or switch.native:
        raise Refused(errors.FOREIGN_VLAN, "applications may match untagged frames only")
    if mod.command > v10.DELETE_STRICT:
        raise Refused(errors.FLOW_COMMAND)
    for instruction in mod.instructions:
        if instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
            _check_actions(4, instruction[1])
        elif instruction[0] == v13.METER:
            raise Refused(errors.UNKNOWN_METER)
    return f13.flow_mod(
        0,
        oxm.pack(mod.match),
        mod.command,
        table=mod.table,
        cookie=PROXY_TAG | Own.OPERATOR,
        cookie_mask=0 if mod.command == v10.ADD else (1 << 64) - 1,
        idle=mod.idle_timeout,
        hard=mod.hard_timeout,
        priority=mod.priority,
        out_port=mod.out_port,
        out_group=mod.out_group,
        instructions=a13.pack_instructions(mod.instructions),
    )
