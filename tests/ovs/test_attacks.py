"""What Open vSwitch itself would accept and do, VMOC must not let through to it.

Each of these was seen to cross VLANs, ports or slices on a bare Open vSwitch
3.1; behind VMOC each is refused with its error, or narrowed, and neither the
table nor a wire of the neighbour shows a trace.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from mininet_scenarios.frames import BROADCAST, frame, vlan_of
from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.ovs.lab import NORTH, Lab, a_slice, established

A, B = 101, 102
ALICE, BOB = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"
MARK = b"alice's attack"
NICIRA = 0x2320
Attack = tuple[str, Callable[[int], bytes], tuple[int, int]]  # name, message with that xid, the error it must meet


def flow10(match: bytes | None = None, actions: bytes = b"", **more: int) -> Callable[[int], bytes]:
    """A 1.0 FLOW_MOD."""
    return lambda xid: of.flow_mod(of.V10, "add", match, actions or of.output(of.V10, 2), **({"xid": xid} | more))


def flow13(match: bytes | None = None, actions: bytes = b"", **more: object) -> Callable[[int], bytes]:
    """A 1.3 FLOW_MOD."""
    return lambda xid: of.flow_mod(of.V13, "add", match, actions or of.output(of.V13, 2), **({"xid": xid} | more))


def packet(version: int, vlan: int | None, actions: bytes, **more: object) -> Callable[[int], bytes]:
    """A PACKET_OUT of a marked frame."""
    data = frame(BROADCAST, "02:00:00:00:00:01", MARK, vlan=vlan)
    return lambda xid: of.packet_out(version, data, actions, **({"xid": xid} | more))


def plain(version: int, name: str | int, body: bytes) -> Callable[[int], bytes]:
    """Any other message."""
    return lambda xid: of.message(version, name, body, xid)


def attacks10() -> list[Attack]:
    """OpenFlow 1.0."""
    match, out = of.match, of.output
    v = of.V10
    return [
        ("a VLAN whose upper bits Open vSwitch masks away", flow10(match(v, vlan_vid=0x1000 | B)), (3, 2)),
        ("a foreign VLAN", flow10(match(v, vlan=B)), (3, 2)),
        ("untagged frames", flow10(match(v, vlan="none")), (3, 2)),
        ("priority-tagged frames", flow10(match(v, vlan_vid=0)), (3, 2)),
        ("a foreign in_port", flow10(match(v, in_port=3)), (3, 2)),
        ("a foreign output port", flow10(None, out(v, 3)), (2, 4)),
        ("NORMAL, which knows no slices", flow10(None, out(v, "normal")), (2, 4)),
        ("the switch's own port", flow10(None, out(v, "local")), (2, 4)),
        ("a rewrite into the neighbour", flow10(None, of.set_vlan(v, B) + out(v, 2)), (2, 6)),
        ("the tag taken off", flow10(None, of.strip_vlan(v) + out(v, 2)), (2, 6)),
        ("a vendor's action", flow10(None, struct.pack("!HHIH6x", 0xFFFF, 16, NICIRA, 14)), (2, 2)),
        ("a queue nobody granted", flow10(None, of.enqueue(v, 2, 1)), (2, 8)),
        ("another one's buffer", flow10(None, out(v, 2), buffer_id=1), (1, 8)),
        ("the emergency table", flow10(None, out(v, 2), flags=4), (3, 0)),
        ("a frame into the neighbour", packet(v, B, out(v, "flood")), (1, 5)),
        ("an untagged frame", packet(v, None, out(v, "all")), (1, 5)),
        ("IN_PORT as a way to a foreign port", packet(v, A, out(v, "in_port"), in_port=3), (1, 5)),
        ("port descriptions by a statistics type of 1.3", plain(v, "stats_request", struct.pack("!HH", 13, 0)), (1, 2)),
        ("NXT_FLOW_MOD_TABLE_ID", plain(v, "experimenter", struct.pack("!IIB7x", NICIRA, 15, 1)), (1, 3)),
        ("fragments dropped for everybody", plain(v, "set_config", struct.pack("!HH", 1, 128)), (1, 5)),
    ]


def attacks13() -> list[Attack]:
    """OpenFlow 1.3."""
    match, out = of.match, of.output
    v = of.V13
    twice = struct.pack("!HHIHIH", 1, 16, 0x80000C02, 0x1000 | A, 0x80000C02, 0x1000 | B)
    write_pop = of.write_actions(of.strip_vlan(v))
    table_mod = struct.pack("!B3xI", 0, 0)
    return [
        ("a foreign VLAN", flow13(match(v, vlan=B)), (5, 4)),
        ("a VLAN without its PRESENT bit", flow13(match(v, vlan_vid=A)), (5, 4)),
        ("a VLAN beyond thirteen bits", flow13(match(v, vlan_vid=0x2000 | A)), (4, 7)),
        ("two VLANs in one match", flow13(twice), (4, 10)),
        ("a foreign in_port", flow13(match(v, in_port=3)), (5, 4)),
        ("a foreign output port", flow13(None, out(v, 3)), (2, 4)),
        ("NORMAL, which knows no slices", flow13(None, out(v, "normal")), (2, 4)),
        ("TABLE, a second look-up, from a flow", flow13(None, out(v, "table")), (2, 4)),
        ("a rewrite into the neighbour", flow13(None, of.set_vlan(v, B) + out(v, 2)), (2, 6)),
        ("the tag taken off", flow13(None, of.strip_vlan(v) + out(v, 2)), (2, 6)),
        ("the tag taken off by the action set", flow13(None, instructions=write_pop), (2, 6)),
        ("one tag more", flow13(None, of.push_vlan() + out(v, 2)), (2, 6)),
        ("another in_port written", flow13(None, of.set_field("in_port", 3) + out(v, "in_port")), (2, 13)),
        ("SET_VLAN_VID of OpenFlow 1.1", flow13(None, struct.pack("!HHH2x", 1, 8, B) + out(v, 2)), (2, 0)),
        ("a group that is not there", flow13(None, of.group(7)), (2, 9)),
        ("the switch's internal table", flow13(None, out(v, 2), table=254), (5, 2)),
        ("another one's buffer", flow13(None, out(v, 2), buffer_id=1), (1, 8)),
        ("a frame into the neighbour", packet(v, B, out(v, "flood")), (1, 5)),
        ("an untagged frame", packet(v, None, out(v, "all")), (1, 5)),
        ("IN_PORT as a way to a foreign port", packet(v, A, out(v, "in_port"), in_port=3), (1, 11)),
        ("a table switched off", plain(v, "table_mod", table_mod), (8, 2)),
        ("an experimenter's message", plain(v, "experimenter", struct.pack("!II", NICIRA, 18)), (1, 3)),
        ("fragments dropped for everybody", plain(v, "set_config", struct.pack("!HH", 1, 128)), (10, 2)),
    ]


@pytest.mark.parametrize(
    ("version", "protocol", "attacks"),
    [(of.V10, "OpenFlow10", attacks10()), (of.V13, "OpenFlow13", attacks13())],
    ids=["1.0", "1.3"],
)
def test_refused_without_a_trace(lab: Lab, version: int, protocol: str, attacks: list[Attack]) -> None:
    alice, bob = lab.controller(version), lab.controller(version, NORTH + 1)
    ports = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=ports), a_slice("bob", B, BOB))
    lab.bridge(protocols=[protocol])
    (a,), (b,) = established(alice), established(bob)
    b.flow_mod("add", of.match(version), of.output(version, "flood"))
    b.barrier()
    before = lab.flows()
    wires = [lab.wire(f"br0p{number}") for number in (1, 2, 3)]
    wrong = []
    for name, make, (kind, code) in attacks:
        xid = a.next_xid()
        a.send(make(xid))
        a.barrier()  # an error precedes the reply to a later barrier
        errors = [of.parse_error(message) for message in a.unseen("error") if message.xid == xid]
        if [(error.type, error.code) for error in errors] != [(kind, code)]:
            wrong.append(f"{name}: wanted {(kind, code)}, got {[(error.type, error.code) for error in errors]}")
    assert not wrong, "\n".join(wrong)
    assert lab.flows() == before
    lab.passes(B, "br0p1", "br0p2", "br0p3")  # bob's network works, and all that came before has arrived by now
    assert not [one for wire in wires for one in wire.listen() if MARK in one]
    b.expect_nothing("error")


@pytest.mark.parametrize(("version", "protocol"), [(of.V10, "OpenFlow10"), (of.V13, "OpenFlow13")], ids=["1.0", "1.3"])
def test_narrowed_to_what_is_ones_own(lab: Lab, version: int, protocol: str) -> None:
    alice = lab.controller(version)
    ports = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    builtin = {"default_controller": {"mode": "builtin"}}
    lab.run_vmoc(a_slice("alice", A, ALICE, attachments=ports), a_slice("bob", B), **builtin)
    lab.bridge(protocols=[protocol])
    (a,) = established(alice)
    lab.talk(B, "br0p1", "br0p2")
    bobs, guards = lab.flows(B), lab.flows(A)
    assert len(guards) == 2 and all("actions=drop" in flow for flow in guards)
    # MODIFY of everything turns a bare switch's guards into forwarders: it matches them all.
    for command in ("modify", "add"):
        a.flow_mod(command, of.match(version), of.output(version, 2), priority=65535)
        a.barrier()
        assert set(guards) <= set(lab.flows(A))
    if version == of.V13:  # wildcards that look like a VLAN
        for vlan in ((0, 0), (0x1000, 0x1000), (A & 0x0F | 0x1000, 0x100F)):
            a.flow_mod("add", of.match(version, vlan_vid=vlan), of.output(version, "all"), priority=9)
        a.barrier()
    assert lab.flows(B) == bobs
    lab.only_vlans(A, B)
    lab.stays_out(A, "br0p3", "br0p1", "br0p2", fence=(B, "br0p3"))
    for mine in (wire for wire in map(lab.wire, ("br0p1", "br0p2", "br0p3")) if wire.listen()):
        assert {vlan_of(one) for one in mine.heard} <= {A, B}
    wait_until(lambda: not a.unseen("error"), "no error")
