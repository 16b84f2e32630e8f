"""os-ken's codec behind two functions. Only well-formed bytes may be given to it: on others it may never return."""

from __future__ import annotations

from typing import Any

from os_ken.ofproto import ofproto_parser, ofproto_v1_0, ofproto_v1_3
from os_ken.ofproto import ofproto_v1_0_parser as parser10
from os_ken.ofproto import ofproto_v1_3_parser as parser13
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm

NUMBERS: dict[int, Any] = {1: ofproto_v1_0, 4: ofproto_v1_3}
PARSERS: dict[int, Any] = {1: parser10, 4: parser13}
DATAPATHS = {1: ProtocolDesc(version=1), 4: ProtocolDesc(version=4)}


def written(version: int, name: str, *arguments: Any, xid: int = 0x01020304, **named: Any) -> bytes:
    """The bytes os-ken sends for ``OFP<name>``."""
    message = getattr(PARSERS[version], "OFP" + name)(DATAPATHS[version], *arguments, **named)
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def read(data: bytes) -> Any:
    """What os-ken makes of a message."""
    version, kind, length, xid = ofproto_parser.header(data)
    assert length == len(data)
    message = ofproto_parser.msg(DATAPATHS[version], version, kind, length, xid, data)
    assert message is not None, data.hex()
    return message


def action10(action: a10.Action) -> Any:
    """One of our 1.0 actions as os-ken's."""
    names = {
        a10.OUTPUT: "Output",
        a10.SET_VLAN_VID: "VlanVid",
        a10.SET_VLAN_PCP: "VlanPcp",
        a10.STRIP_VLAN: "StripVlan",
        a10.SET_DL_SRC: "SetDlSrc",
        a10.SET_DL_DST: "SetDlDst",
        a10.SET_NW_SRC: "SetNwSrc",
        a10.SET_NW_DST: "SetNwDst",
        a10.SET_NW_TOS: "SetNwTos",
        a10.SET_TP_SRC: "SetTpSrc",
        a10.SET_TP_DST: "SetTpDst",
        a10.ENQUEUE: "Enqueue",
    }
    return getattr(parser10, "OFPAction" + names[action[0]])(*action[1:])


def match10(data: bytes) -> Any:
    """A 40-byte match as os-ken's, all of it."""
    number = int.from_bytes
    return parser10.OFPMatch(
        wildcards=number(data[0:4], "big"),
        in_port=number(data[4:6], "big"),
        dl_src=data[6:12],
        dl_dst=data[12:18],
        dl_vlan=number(data[18:20], "big"),
        dl_vlan_pcp=data[20],
        dl_type=number(data[22:24], "big"),
        nw_tos=data[24],
        nw_proto=data[25],
        nw_src=number(data[28:32], "big"),
        nw_dst=number(data[32:36], "big"),
        tp_src=number(data[36:38], "big"),
        tp_dst=number(data[38:40], "big"),
    )


def field13(number: int, value: int, mask: int | None) -> tuple[str, Any]:
    """One of our match fields as os-ken names and writes it for its users."""
    size = oxm.FIELDS[number].size
    packed_mask = None if mask is None else mask.to_bytes(size, "big")
    name, shown = ofproto_v1_3.oxm_to_user(oxm.BASIC << 7 | number, value.to_bytes(size, "big"), packed_mask)
    return str(name), shown


def match13(match: oxm.Match) -> Any:
    """One of our matches as os-ken's."""
    return parser13.OFPMatch(**dict(field13(*field) for field in match))


def action13(action: a13.Action) -> Any:
    """One of our 1.3 actions as os-ken's."""
    if action[0] == a13.SET_FIELD:
        name, value = field13(action[1], action[2], None)
        return parser13.OFPActionSetField(**{name: value})
    names = {
        a13.OUTPUT: "Output",
        a13.COPY_TTL_OUT: "CopyTtlOut",
        a13.COPY_TTL_IN: "CopyTtlIn",
        a13.SET_MPLS_TTL: "SetMplsTtl",
        a13.DEC_MPLS_TTL: "DecMplsTtl",
        a13.PUSH_VLAN: "PushVlan",
        a13.POP_VLAN: "PopVlan",
        a13.PUSH_MPLS: "PushMpls",
        a13.POP_MPLS: "PopMpls",
        a13.SET_QUEUE: "SetQueue",
        a13.GROUP: "Group",
        a13.SET_NW_TTL: "SetNwTtl",
        a13.DEC_NW_TTL: "DecNwTtl",
        a13.PUSH_PBB: "PushPbb",
        a13.POP_PBB: "PopPbb",
    }
    return getattr(parser13, "OFPAction" + names[action[0]])(*action[1:])


def instruction13(instruction: a13.Instruction) -> Any:
    """One of our instructions as os-ken's."""
    kind = instruction[0]
    if kind == ofproto_v1_3.OFPIT_GOTO_TABLE:
        return parser13.OFPInstructionGotoTable(instruction[1])
    if kind == ofproto_v1_3.OFPIT_WRITE_METADATA:
        return parser13.OFPInstructionWriteMetadata(*instruction[1:])
    if kind == ofproto_v1_3.OFPIT_METER:
        return parser13.OFPInstructionMeter(instruction[1])
    actions = instruction[1] if len(instruction) > 1 else []
    return parser13.OFPInstructionActions(kind, [action13(action) for action in actions])
