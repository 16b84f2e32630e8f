"""``qinq: on`` and ``mpls: on`` on Open vSwitch: whatever a slice puts below, its VLAN stays outermost."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.emulation.controller import Connection
from tests.ovs.lab import NORTH, Lab, a_slice, established

A = 101
V13 = of.V13
OWN = of.set_field("vlan_vid", 0x1000 | A)
INNER = of.set_field("vlan_vid", 0x1000 | 7)
POP = of.strip_vlan(V13)
PUSH = of.push_vlan()
PUSH_MPLS = struct.pack("!HHH2x", 19, 8, 0x8847)


def connected(lab: Lab, **policy: bool) -> Connection:
    """Alice in VLAN A, under that policy, on a switch that tells two tags apart."""
    lab.ovs.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2")
    lab.ovs.kill_switch()
    lab.ovs.start_switch()
    alice = lab.controller(V13)
    lab.run_vmoc(a_slice("alice", A, f"tcp:127.0.0.1:{NORTH}"), policy=policy)
    lab.bridge(protocols=["OpenFlow13"], ports=2)
    return established(alice)[0]


def leaves_with(lab: Lab, fits: Callable[[bytes], bool]) -> None:
    """A frame of VLAN A into port 1 comes out of port 2, and looks like that behind the addresses."""
    mark, data = lab.marked(A, "br0p1")

    def heard() -> list[bytes]:
        lab.wire("br0p1").send(data)
        return [frame for frame in lab.wire("br0p2").listen() if mark in frame]

    (frame, *_) = wait_until(heard, "the frame to come out", every=0.1)
    assert fits(frame[12:]), frame[12:24].hex()


@pytest.mark.parametrize(
    ("actions", "tags"),
    [
        (INNER + PUSH + OWN, "81000065 81000007"),
        (PUSH + OWN, "81000065 81000065"),
        (POP + PUSH + OWN, "81000065"),
        (PUSH + OWN + POP, "81000065"),
    ],
    ids=["inner tag", "two tags", "renewed", "there and back"],
)
def test_a_second_tag_stays_below(lab: Lab, actions: bytes, tags: str) -> None:
    a = connected(lab, qinq=True)
    a.flow_mod("add", of.match(V13, in_port=1), actions + of.output(V13, 2))
    a.barrier()
    a.expect_nothing("error")
    expected = bytes.fromhex(tags)
    leaves_with(lab, lambda rest: rest.startswith(expected) and rest[len(expected) :][:2] != b"\x81\x00")
    for bad in (PUSH, POP, INNER, INNER + PUSH):
        xid = a.flow_mod("add", of.match(V13, in_port=1), bad + of.output(V13, 2))
        a.expect_error(xid, 2, 6)


def test_a_label_stays_below_the_tag(lab: Lab) -> None:
    a = connected(lab, mpls=True)
    a.flow_mod("add", of.match(V13, in_port=1), PUSH_MPLS + of.output(V13, 2))
    a.barrier()
    a.expect_nothing("error")
    leaves_with(lab, lambda rest: rest.startswith(bytes.fromhex("81000065 8847")))
    xid = a.flow_mod("add", of.match(V13, in_port=1), PUSH + OWN + of.output(V13, 2))
    a.expect_error(xid, 2, 6)
