"""What concerns flows and packets: matches, flow-mods, actions, instructions, packet-outs."""

from __future__ import annotations

from typing import Final

from vmoc import errors
from vmoc.policy.advice.entry import LIBRARY, Entry

_FLOWS: Final = "FLOW_MOD, statistics requests"
_ACTING: Final = "FLOW_MOD, PACKET_OUT, GROUP_MOD"
_ACTION_RULES: Final = "actions, instructions, buckets"

MATCHES: Final = (
    Entry(
        errors.FOREIGN_VLAN,
        _FLOWS,
        "match",
        'The match names a VLAN that is not the slice\'s, "untagged" where the slice sees tags, or a tag where it '
        "sees none (`presentation: transparent`, a per-VLAN listener). Statistics requests get an empty reply instead.",
        "Leave the VLAN out of the match: VMOC adds the slice's own. Or name just that VLAN (tagged) or "
        "`dl_vlan=0xffff`, `vlan_vid=0` (transparent).",
    ),
    Entry(
        errors.FOREIGN_IN_PORT,
        _FLOWS,
        "match",
        "The match names an input port that is not among the slice's ports. Statistics requests get an empty reply "
        "instead.",
        "Use the ports that the features or port description reply lists; they may change, PORT_STATUS tells.",
    ),
    Entry(
        errors.PRIORITY_TAKEN,
        "FLOW_MOD",
        "quota",
        "Priority 65535 without an input port becomes 65534, below the entries that keep foreign ports out, and there "
        "the slice already has another flow with the same match.",
        "Use a priority below 65534, or match an input port as well.",
    ),
    Entry(
        errors.MATCH_TYPE,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "The match is not of type OXM, the only one of OpenFlow 1.3.",
        LIBRARY,
    ),
    Entry(
        errors.MATCH_LENGTH,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "The match, or a field in it, ends behind the end of the message or of the match.",
        LIBRARY,
    ),
    Entry(
        errors.MATCH_FIELD,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "A match field is unknown, of another class than OpenFlow's basic one (such as Nicira's NXM), of the wrong "
        "length, or `pbb_isid`, which would hide the VLAN.",
        "Write the match with the fields of OpenFlow 1.3; most NXM fields have one of the same meaning.",
    ),
    Entry(
        errors.MATCH_VALUE,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "A match value has more bits than the field, as in `vlan_vid=0x2064`.",
        "Correct the value; a VLAN is 0x1000 plus its number.",
    ),
    Entry(
        errors.MATCH_MASK,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "The field takes no mask in OpenFlow 1.3.",
        "Match the exact value, or write one flow per value.",
    ),
    Entry(
        errors.MATCH_WILDCARDS,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "The value has bits set that its mask says to ignore.",
        "Clear these bits: value AND mask must be the value.",
    ),
    Entry(
        errors.MATCH_PREREQ,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "A field is there without the one it needs: `ipv4_dst` needs `eth_type=0x0800`, `tcp_dst` needs `ip_proto=6`, "
        "`vlan_pcp` needs `vlan_vid`. A slice that sees no tags cannot match `vlan_pcp` at all.",
        "Add the missing field; which one each needs is in table 12 of the specification.",
    ),
    Entry(
        errors.MATCH_DUPLICATE,
        "FLOW_MOD, statistics requests (1.3)",
        "decode",
        "A field appears twice in one match.",
        "Leave one of them out.",
    ),
)

FLOW_MODS: Final = (
    Entry(
        errors.FLOW_COMMAND,
        "FLOW_MOD",
        "command",
        "The command is not one of add, modify, modify_strict, delete, delete_strict. In 1.0 this is also what the "
        "Nicira extension for table numbers looks like.",
        "Do not use the table-id extension in 1.0; use OpenFlow 1.3 for more than one table.",
    ),
    Entry(
        errors.FLOW_FLAGS,
        "FLOW_MOD",
        "flags",
        "A flag is set that the version does not define.",
        "Set only send_flow_rem and check_overlap, in 1.3 also reset_counts, no_packet_counts and no_byte_counts.",
    ),
    Entry(
        errors.EMERGENCY_FLOW,
        "FLOW_MOD (1.0)",
        "flags",
        "The flow is meant for the emergency table, which is the whole switch's and not offered.",
        "Clear the flag. What happens without a controller is the segment's `fail_mode`.",
    ),
    Entry(
        errors.EMERGENCY_TIMEOUT,
        "FLOW_MOD (1.0)",
        "flags",
        "An emergency flow with a timeout, which OpenFlow 1.0 forbids.",
        "Clear the emergency flag: emergency flows are not offered at all.",
    ),
    Entry(
        errors.TABLE_ID,
        "FLOW_MOD (1.3)",
        "table",
        "The virtual switch has no table of this number. 255 means all tables, and only for a delete.",
        "Stay below `n_tables` of the features reply; the operator's `policy.max_tables` may lower it.",
    ),
    Entry(
        errors.BUFFER_ID,
        "FLOW_MOD, PACKET_OUT",
        "buffer",
        "The message names a buffered packet, and the virtual switch has none of that id: by default it has no buffers "
        "(`n_buffers` is 0), and a buffer of another slice does not exist for this one.",
        "Send the whole packet: use the data of the packet-in, which is always complete, and OFP_NO_BUFFER.",
    ),
    Entry(
        errors.BUFFER_EMPTY,
        "FLOW_MOD, PACKET_OUT",
        "buffer",
        "The buffered packet was sent already; each can be used once.",
        "Send a further copy as a whole packet.",
    ),
    Entry(
        errors.FLOW_QUOTA,
        "FLOW_MOD",
        "quota",
        "The slice has as many flows on this switch as its `max_flows` allows.",
        "Delete flows or give them timeouts, or ask the operator for a higher limit. Replacing a flow is always free.",
    ),
)

ACTIONS: Final = (
    Entry(
        errors.FOREIGN_OUT_PORT,
        _ACTING,
        _ACTION_RULES,
        "Output to a port that the slice does not have, or to a reserved port that leads outside: NORMAL always, LOCAL "
        "unless granted, TABLE except in a packet-out, FLOOD and ALL in a group or in write-actions, IN_PORT in a "
        "packet-out that came from no port.",
        "Use the slice's own ports, or FLOOD (as an applied action): it becomes the slice's ports.",
    ),
    Entry(
        errors.VLAN_ACTION,
        _ACTING,
        _ACTION_RULES,
        "The action would change, add or remove the tag that keeps the slice's frames apart from others'. Where the "
        "slice sees no tags, every VLAN action is one.",
        "Leave the action out. Setting the slice's own VLAN is allowed where tags are seen, and so are tags inside it "
        "if the operator has set `policy.qinq`.",
    ),
    Entry(
        errors.ACTION_TYPE,
        _ACTING,
        _ACTION_RULES,
        "The action is unknown, or not offered because it could hide the VLAN (MPLS and PBB tags), or an OpenFlow 1.1 "
        "action in a 1.3 message.",
        "Use the actions that the features or table features reply lists. In 1.3, fields are set with set_field. "
        "`policy.mpls` offers MPLS.",
    ),
    Entry(
        errors.ACTION_EXPERIMENTER,
        _ACTING,
        _ACTION_RULES,
        "A vendor's or experimenter's action, such as Nicira's resubmit, load and learn: they can lead anywhere.",
        "Do without. Often a second table and goto_table (1.3), or set_field, do the same.",
    ),
    Entry(
        errors.ACTION_ARGUMENT,
        _ACTING,
        _ACTION_RULES,
        "The argument is out of range: a VLAN above 4095, a VLAN priority above 7, another ethertype than the tag's.",
        "Correct the argument.",
    ),
    Entry(
        errors.ACTION_LENGTH,
        _ACTING,
        "decode",
        "An action's length is not its type's, no multiple of 8, or goes beyond the list.",
        LIBRARY,
    ),
    Entry(
        errors.TOO_MANY_ACTIONS,
        _ACTING,
        "decode, actions, size",
        "One message has too many actions; or one packet would leave too often, counted after FLOOD and ALL became the "
        "slice's ports; or what VMOC would send no longer fits an OpenFlow message.",
        "Name each port once. Many ports are better reached by one FLOOD than by several lists.",
    ),
    Entry(
        errors.SET_FIELD_FORM,
        "FLOW_MOD, PACKET_OUT, GROUP_MOD (1.3)",
        "decode",
        "A set_field must hold one field, without a mask, and nothing but zeros behind it.",
        "Write one set_field per field. Masks are a later version's.",
    ),
    Entry(
        errors.SET_FIELD_TYPE,
        "FLOW_MOD, PACKET_OUT, GROUP_MOD (1.3)",
        _ACTION_RULES,
        "The field cannot be set: it is not of OpenFlow 1.3, or it decides where the packet belongs (in_port, "
        "metadata, eth_type, ip_proto, tunnel_id).",
        "Do without; metadata is written by the instruction write_metadata.",
    ),
    Entry(
        errors.SET_FIELD_VALUE,
        "FLOW_MOD, PACKET_OUT, GROUP_MOD (1.3)",
        _ACTION_RULES,
        "The value does not fit the field; a VLAN lacks the bit 0x1000 that says there is one.",
        "Correct the value: VLAN 101 is `set_field:0x1065->vlan_vid`.",
    ),
    Entry(
        errors.FOREIGN_QUEUE,
        _ACTING,
        _ACTION_RULES,
        "The queue is not granted to the slice on the port the packet leaves by; where that port is known at run time "
        "only, the queue must be granted on all of them.",
        "Use the queues that the queue configuration reply lists, or ask the operator to grant one (`queues:` of the "
        "attachment).",
    ),
    Entry(
        errors.UNKNOWN_GROUP,
        "FLOW_MOD, PACKET_OUT, GROUP_MOD (1.3)",
        _ACTION_RULES,
        "The slice has no group of this id. Other slices' groups do not exist for it.",
        "Add the group first, and wait for a barrier reply if another connection adds it.",
    ),
    Entry(
        errors.UNKNOWN_METER,
        "FLOW_MOD (1.3)",
        "instructions",
        "The slice has no meter of this id. Other slices' meters do not exist for it.",
        "Add the meter first, and wait for a barrier reply if another connection adds it.",
    ),
)

INSTRUCTIONS: Final = (
    Entry(
        errors.INSTRUCTION_LENGTH,
        "FLOW_MOD (1.3)",
        "decode",
        "An instruction's length is not its type's, no multiple of 8, or goes beyond the message.",
        LIBRARY,
    ),
    Entry(
        errors.INSTRUCTION_TYPE,
        "FLOW_MOD (1.3)",
        "instructions",
        "OpenFlow 1.3 has no such instruction.",
        "Use goto_table, write_metadata, write_actions, apply_actions, clear_actions and meter.",
    ),
    Entry(
        errors.INSTRUCTION_EXPERIMENTER,
        "FLOW_MOD (1.3)",
        "instructions",
        "An experimenter's instruction: what it does is not known, so it is not offered.",
        "Do without.",
    ),
    Entry(
        errors.INSTRUCTION_DUPLICATE,
        "FLOW_MOD (1.3)",
        "instructions",
        "A flow has at most one instruction of each kind.",
        "Put all applied actions into one apply_actions, all written ones into one write_actions.",
    ),
    Entry(
        errors.GOTO_TABLE,
        "FLOW_MOD (1.3)",
        "instructions",
        "A goto_table must lead to a table with a higher number than the flow's own, which the virtual switch has.",
        "Stay below `n_tables` of the features reply.",
    ),
    Entry(
        errors.METADATA,
        "FLOW_MOD (1.3)",
        "instructions",
        "The switch cannot write these bits of the metadata.",
        "Use only the bits of `metadata_write` in the table features reply.",
    ),
    Entry(
        errors.METADATA_WRITE,
        "FLOW_MOD (1.3)",
        "instructions",
        "Where slices may share a VLAN, metadata bits 63 to 52 say whose a packet is. A write_metadata without mask, "
        "which writes all bits, is refused too.",
        "Give a mask that leaves bits 63 to 52 alone, like 0x000fffffffffffff.",
    ),
    Entry(
        errors.METADATA_MATCH,
        "FLOW_MOD, flow statistics (1.3)",
        "match",
        "Where slices may share a VLAN, metadata bits 63 to 52 say whose a packet is, and a match may not ask for "
        "them. One without mask may have a value below 2^52: the upper bits are 0 for the slice.",
        "Match bits 51 to 0 only.",
    ),
)

PACKETS: Final = (
    Entry(
        errors.PACKET_VLAN,
        "PACKET_OUT",
        "frame",
        "The frame is not in the slice's VLAN: untagged, or with another tag. On a per-VLAN listener: it has a tag.",
        "Put the slice's 802.1Q tag (0x8100) outermost, or ask for `presentation: transparent`, where VMOC adds it.",
    ),
    Entry(
        errors.PACKET_SHORT,
        "PACKET_OUT",
        "frame",
        "The frame is shorter than an Ethernet header, 14 bytes, or 18 with the tag.",
        "Send the whole frame as data.",
    ),
    Entry(
        errors.PACKET_IN_PORT,
        "PACKET_OUT",
        "in-port",
        "The packet-out says that the packet came in by a port that is not the slice's.",
        "Use the packet-in's in_port, or CONTROLLER (1.0 also NONE) for a packet of the controller's own.",
    ),
)
