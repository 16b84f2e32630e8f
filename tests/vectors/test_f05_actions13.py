"""F.5 instructions and actions 1.3."""

from __future__ import annotations

import struct

from tests.emulation import wire as of
from tests.vectors.lab import Lab

HX02 = bytes.fromhex(
    "040e004800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "10640000000000000009000800000000"
)
HX03 = bytes.fromhex(
    "040e005c00002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "10640000000000000004001800000000000000100000000200000000000000006a756e6b"
)
HX06 = bytes.fromhex(
    "040e006000002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "106400000000000000040020000000000001000800c8000000000010000000020000000000000000"
)
HX08 = bytes.fromhex(
    "040e006800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "10640000000000000004002800000000001900100000080210c800000000000000000010000000020000000000000000"
)
HX21 = bytes.fromhex(
    "040e005800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "10640000000000000004001800000000ffff001000002320000e000400000000"
)
HX22 = bytes.fromhex(
    "040e004800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000a80000c02"
    "10640000000000000001000000000000"
)


def push_mpls(ethertype: int = 0x8847) -> bytes:
    return struct.pack("!HHH2x", 19, 8, ethertype)


def push_pbb(ethertype: int = 0x88E7) -> bytes:
    return struct.pack("!HHH2x", 26, 8, ethertype)


POP_PBB = struct.pack("!HH4x", 27, 8)


def set_queue(number: int) -> bytes:
    return struct.pack("!HHI", 21, 8, number)


def write_metadata(value: int, mask: int) -> bytes:
    return of.instruction(2, struct.pack("!4xQQ", value, mask))


def refused(lab: Lab, actions: bytes, code: int, name: str = "A") -> None:
    """An ADD with these applied actions is a BAD_ACTION error."""
    lab.refused(name, lab.mod(actions), 2, code)


def refused_instructions(lab: Lab, instructions: bytes, kind: int, code: int, **more: int) -> None:
    """An ADD of A with these instructions is refused."""
    lab.refused("A", lab.mod(instructions=instructions, **more), kind, code)


def within_a_second(lab: Lab, raw: bytes, kind: int, code: int) -> None:
    """A crafted message of A is refused within a second, and B is served meanwhile."""
    b = lab.B
    a = lab.A
    a.send(raw)
    b.echo(timeout=1)
    told = a.expect("error", timeout=1)
    error = of.parse_error(told)
    assert (error.type, error.code, error.data) == (kind, code, raw[:64])
    lab.fence()
    assert lab.switch.derived() == []


def test_v101(v13: Lab) -> None:
    """set_field of another VLAN is EPERM."""
    refused(v13, of.set_field("vlan_vid", 0x10C8) + v13.out(2), 6)


def test_v102(v13: Lab) -> None:
    """set_field of its own VLAN passes unchanged."""
    actions = of.set_field("vlan_vid", 0x1064) + v13.out(2)
    v13.is_flow(v13.added("A", v13.mod(actions)), actions, vlan_vid=0x1064)


def test_v104(v13: Lab) -> None:
    """HX08: set_field of NXM_OF_VLAN_TCI is BAD_SET_TYPE."""
    v13.refused("A", HX08, 2, 13)


def test_v106(v13: Lab) -> None:
    """HX06: the action type 1 of OpenFlow 1.1 is BAD_TYPE."""
    v13.refused("A", HX06, 2, 0)


def test_v108(v13: Lab) -> None:
    """pop_vlan is EPERM."""
    refused(v13, of.strip_vlan(4) + v13.out(2), 6)


def test_v109(v13: Lab) -> None:
    """pop_vlan before goto is EPERM."""
    refused_instructions(v13, of.apply_actions(of.strip_vlan(4)) + of.goto_table(1), 2, 6)


def test_v111(v13: Lab) -> None:
    """push_vlan is EPERM."""
    refused(v13, of.push_vlan() + v13.out(2), 6)


def test_v113(v13: Lab) -> None:
    """push_vlan of another ethertype is BAD_ARGUMENT."""
    refused(v13, of.push_vlan(0x9100) + v13.out(2), 5)


def test_v114(v13: Lab) -> None:
    """push_vlan is EPERM in a transparent datapath too."""
    refused(v13, of.push_vlan() + of.set_field("vlan_vid", 0x1007) + v13.out(2), 6, "T")


def test_v116(v13: Lab) -> None:
    """pop_vlan is EPERM in a transparent datapath too."""
    refused(v13, of.strip_vlan(4) + v13.out(2), 6, "T")


def test_v117(v13: Lab) -> None:
    """push_pbb and pop_pbb are BAD_TYPE."""
    refused(v13, push_pbb() + v13.out(2), 0)
    refused(v13, POP_PBB + v13.out(2), 0)


def test_v118(v13: Lab) -> None:
    """push_mpls is BAD_TYPE while mpls is off."""
    refused(v13, push_mpls() + v13.out(2), 0)


def test_v120(v13: Lab) -> None:
    """set_field of metadata, tunnel_id and eth_type is BAD_SET_TYPE."""
    refused(v13, of.set_field("metadata", 5) + v13.out(2), 13)
    refused(v13, of.set_field("tunnel_id", 5), 13)
    refused(v13, of.set_field("eth_type", 0x8100), 13)


def test_v122(v13: Lab) -> None:
    """write_metadata and goto pass."""
    instructions = write_metadata(5, 0xFF) + of.goto_table(1)
    mod = v13.added("A", v13.mod(instructions=instructions))
    v13.is_flow(mod, None, vlan_vid=0x1064)
    assert sorted(of.split_actions(mod.actions)) == sorted(of.split_actions(instructions))


def test_v123(v13: Lab) -> None:
    """goto_table 254 is BAD_TABLE_ID."""
    refused_instructions(v13, of.goto_table(254), 3, 2)


def test_v125(v13: Lab) -> None:
    """goto_table backwards is BAD_TABLE_ID."""
    refused_instructions(v13, of.goto_table(1), 3, 2, table=2)


def test_v126(v13: Lab) -> None:
    """An unknown group is BAD_OUT_GROUP."""
    refused(v13, of.group(77), 9)


def test_v127(v13: Lab) -> None:
    """The group of another slice does not exist."""
    bucket = struct.pack("!HHII4x", 32, 0, 0xFFFFFFFF, 0xFFFFFFFF) + v13.out(2)
    (theirs,) = v13.send("B", v13.message("group_mod", struct.pack("!HBxI", 0, 0, 1) + bucket))
    assert theirs.name == "group_mod"
    refused(v13, of.group(1), 9)


def test_v129(v13: Lab) -> None:
    """An unknown meter is UNKNOWN_METER."""
    refused_instructions(v13, of.instruction(6, struct.pack("!I", 9)), 12, 2)


def test_v130(v13: Lab) -> None:
    """set_queue of a queue granted on the port that follows passes."""
    actions = set_queue(7) + v13.out(2)
    v13.is_flow(v13.added("A", v13.mod(actions)), actions, vlan_vid=0x1064)


def test_v131(v13: Lab) -> None:
    """set_queue before a port where it is not granted is BAD_QUEUE."""
    refused(v13, set_queue(7) + v13.out(1), 8)


def test_v133(v13: Lab) -> None:
    """HX02: an unknown instruction is UNKNOWN_INST, and nobody hangs."""
    within_a_second(v13, HX02, 3, 0)


def test_v134(v13: Lab) -> None:
    """HX03: four bytes left over are BAD_LEN, and nobody hangs."""
    within_a_second(v13, HX03, 1, 6)


def test_v136(v13: Lab) -> None:
    """HX22: an instruction of length 0 is BAD_LEN, and nobody hangs."""
    within_a_second(v13, HX22, 3, 7)


def test_v137(v13: Lab) -> None:
    """Two APPLY_ACTIONS are UNSUP_INST."""
    refused_instructions(v13, of.apply_actions(v13.out(2)) + of.apply_actions(v13.out(3)), 3, 1)


def test_v139(v13: Lab) -> None:
    """FLOOD becomes its own ports, and is shown as FLOOD."""
    mod = v13.added("A", v13.mod(v13.out("flood")))
    v13.is_flow(mod, v13.out(1, 2, 3), vlan_vid=0x1064)
    (entry,) = v13.flow_stats("A")
    v13.is_flow(entry, v13.out("flood"))


def test_v141(v13: Lab) -> None:
    """HX21: Nicira's resubmit is BAD_EXPERIMENTER."""
    v13.refused("A", HX21, 2, 2)


def test_v142(v13: Lab) -> None:
    """Ports 0, beyond MAX, and ANY are BAD_OUT_PORT."""
    refused(v13, v13.out(0), 4)
    refused(v13, v13.out(0xFFFFFF01), 4)
    refused(v13, v13.out("none"), 4)


def test_v144(v13: Lab) -> None:
    """Tables beyond the last, and ALL, are BAD_TABLE_ID for an ADD."""
    v13.refused("A", v13.mod(v13.out(2), table=9), 5, 2)
    v13.refused("A", v13.mod(v13.out(2), table=0xFF), 5, 2)
