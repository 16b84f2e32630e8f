"""F.4 actions 1.0."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.vectors.lab import Lab

HX10 = bytes.fromhex(
    "010e005000001001003ffffd0000000000000000000000000000006400000000000000000000000000000000000000000000000000000011"
    "0000000000000064ffffffffffff00000000000000000000"
)
HX20 = bytes.fromhex(
    "010e006800001001003ffffd0000000000000000000000000000006400000000000000000000000000000000000000000000000000000011"
    "0000000000000064ffffffffffff0000ffff0020000023200010001e0000003c00000000000000000000000000000000"
)


def refused(lab: Lab, actions: bytes, code: int, name: str = "A") -> None:
    """An ADD of all wildcards with these actions is a BAD_ACTION error."""
    lab.refused(name, lab.mod(actions), 2, code)


def becomes(lab: Lab, actions: bytes, expected: bytes, name: str = "A", **match: of.Value) -> None:
    """The actions of an ADD become these."""
    mod = lab.added(name, lab.mod(actions, match=match))
    lab.is_flow(mod, expected, vlan_vid={"A": 100, "T": 300, "U": 400}[name], **match)


def test_v071(v10: Lab) -> None:
    """A port that is not its own is BAD_OUT_PORT."""
    refused(v10, v10.out(4), 4)


def test_v072(v10: Lab) -> None:
    """FLOOD becomes its own ports."""
    becomes(v10, v10.out("flood"), v10.out(1, 2, 3))


def test_v073(v10: Lab) -> None:
    """FLOOD without the port of the match."""
    becomes(v10, v10.out("flood"), v10.out(2, 3), in_port=1)


def test_v075(v10: Lab) -> None:
    """ALL of a datapath with all ports is not LOCAL."""
    becomes(v10, v10.out("all"), v10.out(1, 2, 3, 4, 5), "U", in_port=6)


def test_v076(v10: Lab) -> None:
    """NORMAL is BAD_OUT_PORT."""
    refused(v10, v10.out("normal"), 4)


def test_v078(v10: Lab) -> None:
    """TABLE is BAD_OUT_PORT in a flow."""
    refused(v10, v10.out("table"), 4)


def test_v080(v10: Lab) -> None:
    """A reserved number without meaning is BAD_OUT_PORT."""
    refused(v10, v10.out(0xFFF7), 4)


def test_v081(v10: Lab) -> None:
    """IN_PORT passes."""
    becomes(v10, v10.out("in_port"), v10.out("in_port"))


def test_v082(v10: Lab) -> None:
    """set_vlan_vid of another VLAN is EPERM."""
    refused(v10, of.set_vlan(1, 200) + v10.out(2), 6)


def test_v083(v10: Lab) -> None:
    """set_vlan_vid of its own VLAN passes."""
    becomes(v10, of.set_vlan(1, 100) + v10.out(2), of.set_vlan(1, 100) + v10.out(2))


def test_v085(v10: Lab) -> None:
    """set_vlan_vid above 4095 is BAD_ARGUMENT."""
    refused(v10, of.set_vlan(1, 4196) + v10.out(2), 5)


def test_v086(v10: Lab) -> None:
    """strip_vlan is EPERM in a tagged datapath."""
    refused(v10, of.strip_vlan(1) + v10.out(2), 6)


def test_v088(v10: Lab) -> None:
    """set_vlan_pcp passes up to 7."""
    becomes(v10, of.set_pcp(1, 5) + v10.out(2), of.set_pcp(1, 5) + v10.out(2))
    refused(v10, of.set_pcp(1, 9) + v10.out(2), 5)


def test_v089(v10: Lab) -> None:
    """strip_vlan is elided in a transparent datapath and shown in its statistics."""
    becomes(v10, of.strip_vlan(1) + v10.out(2), v10.out(2), "T")
    (entry,) = v10.flow_stats("T")
    v10.is_flow(entry, of.strip_vlan(1) + v10.out(2))


def test_v090(v10: Lab) -> None:
    """set_vlan_vid is EPERM in a transparent datapath."""
    refused(v10, of.set_vlan(1, 7) + v10.out(2), 6, "T")


def test_v092(v10: Lab) -> None:
    """set_vlan_pcp is EPERM in a transparent datapath."""
    refused(v10, of.set_pcp(1, 0) + v10.out(2), 6, "T")


def test_v093(v10: Lab) -> None:
    """ENQUEUE of the queue granted passes, of another is BAD_QUEUE."""
    becomes(v10, of.enqueue(1, 2, 7), of.enqueue(1, 2, 7))
    refused(v10, of.enqueue(1, 2, 8), 8)


def test_v096(v10: Lab) -> None:
    """HX20: Nicira's learn is BAD_VENDOR."""
    v10.refused("A", HX20, 2, 2)


def test_v097(v10: Lab) -> None:
    """Any vendor action is BAD_VENDOR."""
    refused(v10, struct.pack("!HHI8x", 0xFFFF, 16, 0x12345678), 2)


@pytest.mark.timeout(20)
def test_v099(v10: Lab) -> None:
    """HX10: an action of length 0 is BAD_LEN, within a second."""
    v10.A.send(HX10)
    v10.A.expect("error", timeout=1)
    v10.refused("A", HX10, 2, 1)
