"""The chain a packet-out passes, and that the remembered form says the same."""

from __future__ import annotations

import struct

import pytest

from tests.emulation.actions import enqueue, output, set_field, set_vlan, strip_vlan
from tests.emulation.build import packet_out
from tests.emulation.frames import E
from tests.emulation.layout import message
from tests.vmoc.policy.grants import LOCAL, PRESENTATIONS, V10, V13, VERSIONS, native, tagged, transparent
from vmoc import errors
from vmoc.errors import Reason
from vmoc.policy.grant import Grant
from vmoc.policy.packetout import PacketOut, PacketOutPolicy, vet_packet_out
from vmoc.policy.verdict import Finding, Refusal

VENDOR = struct.pack("!HHI8x", 0xFFFF, 16, 0x2320)


def vet(grant: Grant, data: bytes, xid: int = 9) -> bytes | Refusal:
    """Vetted twice by a policy that remembers, and once in full: one answer."""
    policy = PacketOutPolicy(grant)
    verdict = vet_packet_out(grant, data)
    answer = verdict if isinstance(verdict, Refusal) else verdict.message(xid)
    assert policy.vet(data, xid) == answer
    assert policy.vet(data, xid) == answer
    return answer


def reason(grant: Grant, data: bytes) -> Reason:
    refusal = vet(grant, data)
    assert isinstance(refusal, Refusal)
    return refusal.reason


PORTS = {
    "1": {V10: "1", V13: "1"}, "4": {}, "0": {}, "local": {}, "in_port": {}, "flood": {}, "table": {},
    "none": {V10: "none", V13: "controller"}, "controller": {V10: "controller", V13: "controller"},
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("port", PORTS)
def test_in_port(version: int, port: str) -> None:
    def number(name: str) -> int | str:
        return int(name) if name.isdigit() else name

    data = packet_out(version, E(100), output(version, 2), in_port=number(port), xid=5)
    physical = PORTS[port].get(version)
    if physical is None:
        assert reason(tagged(version), data) is errors.PACKET_IN_PORT
    else:
        expected = packet_out(version, E(100), output(version, 2), in_port=number(physical), xid=9)
        assert vet(tagged(version), data) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_local_as_in_port_when_granted(version: int) -> None:
    grant = tagged(version, ports=frozenset((1, LOCAL[version])))
    data = packet_out(version, E(100), output(version, "flood"), in_port="local")
    assert vet(grant, data) == packet_out(version, E(100), output(version, 1), in_port="local", xid=9)


FRAMES: list[tuple[str, bytes, Reason | None, Reason | None, Reason | None]] = [
    # tagged, transparent, native
    ("untagged", E(), errors.PACKET_VLAN, None, None),
    ("own", E(100), None, None, errors.PACKET_VLAN),
    ("own, priority 7", E(100, pcp=7), None, None, errors.PACKET_VLAN),
    ("own, with one inside", E(100, inner=200), None, None, errors.PACKET_VLAN),
    ("own inside another", E(200, inner=100), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("foreign", E(200), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("foreign, same low byte", E(0x164), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("priority tag", E(0), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("service tag", E(100, tpid=0x88A8), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("old service tag", E(100, tpid=0x9100), errors.PACKET_VLAN, None, errors.PACKET_VLAN),
    ("13 bytes", E(100)[:13], errors.PACKET_SHORT, errors.PACKET_SHORT, errors.PACKET_SHORT),
    ("14 bytes", E()[:14], errors.PACKET_SHORT, None, None),
    ("17 bytes", E(100)[:17], errors.PACKET_SHORT, None, errors.PACKET_VLAN),
    ("18 bytes", E(100)[:18], None, None, errors.PACKET_VLAN),
    ("none", b"", errors.PACKET_SHORT, errors.PACKET_SHORT, errors.PACKET_SHORT),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", PRESENTATIONS)
@pytest.mark.parametrize("row", FRAMES, ids=[row[0] for row in FRAMES])
def test_frame(row: tuple[str, bytes, Reason, Reason, Reason], place: str, version: int) -> None:
    _, frame, *expected = row
    data = packet_out(version, frame, output(version, 2))
    refusal = expected[list(PRESENTATIONS).index(place)]
    if refusal is not None:
        assert reason(PRESENTATIONS[place](version), data) is refusal
    else:
        wire = frame[:12] + b"\x81\x00\x00\x64" + frame[12:] if place == "transparent" else frame
        assert vet(PRESENTATIONS[place](version), data) == packet_out(version, wire, output(version, 2), xid=9)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remembered_prefix_still_looks_at_every_frame(version: int) -> None:
    for grant, good, bad in (
        (tagged(version), E(100), [E(200), E(0x164), E(), E(100)[:17], E(100, tpid=0x88A8), b""]),
        (transparent(version), E(), [E()[:13], b""]),
        (native(version), E(), [E(200), E()[:13]]),
    ):
        policy = PacketOutPolicy(grant)
        assert isinstance(policy.vet(packet_out(version, good, output(version, 2)), 1), bytes)
        for frame in bad:
            data = packet_out(version, frame, output(version, 2))
            assert policy.vet(data, 1) == vet_packet_out(grant, data)
            assert isinstance(policy.vet(data, 1), Refusal)
        longer = packet_out(version, good + b"more", output(version, 2), xid=77)
        verdict = vet_packet_out(grant, longer)
        assert isinstance(verdict, PacketOut)
        assert policy.vet(longer, 3) == verdict.message(3)


@pytest.mark.parametrize("version", VERSIONS)
def test_actions_len_that_lies(version: int) -> None:
    grant = tagged(version)
    data = packet_out(version, E(100), output(version, 2))
    policy = PacketOutPolicy(grant)
    policy.vet(data, 1)
    at = 14 if version == V10 else 16
    for claim in (0xFFFF, len(data), 9, 4):
        lying = data[:at] + struct.pack("!H", claim) + data[at + 2 :]
        assert policy.vet(lying, 1) == vet_packet_out(grant, lying)
        assert isinstance(policy.vet(lying, 1), Refusal)
    for end in range(8, 8 + 24, 4):
        short = data[:end]
        assert policy.vet(short, 1) == vet_packet_out(grant, short)
        assert isinstance(policy.vet(short, 1), Refusal)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_fault_answers(version: int) -> None:
    order = [
        ("length", errors.BAD_LENGTH), ("buffer", errors.BUFFER_ID), ("in_port", errors.PACKET_IN_PORT),
        ("frame", errors.PACKET_VLAN), ("vendor", errors.ACTION_EXPERIMENTER),
    ]  # fmt: skip

    def faulty(faults: set[str]) -> bytes:
        data = packet_out(
            version,
            E(200 if "frame" in faults else 100),
            VENDOR if "vendor" in faults else output(version, 2),
            in_port=4 if "in_port" in faults else 1,
            buffer_id=5 if "buffer" in faults else 0xFFFFFFFF,
        )
        return data[: 14 if version == V10 else 18] if "length" in faults else data

    for index, (name, expected) in enumerate(order):
        assert reason(tagged(version), faulty({name})) is expected
        for later, _ in order[index + 1 :]:
            assert reason(tagged(version), faulty({name, later})) is expected


@pytest.mark.parametrize(
    ("version", "actions", "expected"),
    [
        (V10, output(V10, 4), errors.FOREIGN_OUT_PORT),
        (V10, output(V10, "in_port"), errors.FOREIGN_OUT_PORT),
        (V10, set_vlan(V10, 200), errors.VLAN_ACTION),
        (V10, strip_vlan(V10), errors.VLAN_ACTION),
        (V10, enqueue(V10, 1, 7), errors.FOREIGN_QUEUE),
        (V10, struct.pack("!HH4x", 12, 8), errors.ACTION_TYPE),
        (V10, struct.pack("!HH4x", 0, 16), errors.ACTION_LENGTH),
        (V10, 5 * output(V10, 1), errors.TOO_MANY_ACTIONS),
        (V13, output(V13, 4), errors.FOREIGN_OUT_PORT),
        (V13, output(V13, "in_port"), errors.FOREIGN_OUT_PORT),
        (V13, output(V13, "normal"), errors.FOREIGN_OUT_PORT),
        (V13, set_field("vlan_vid", 0x10C8) + output(V13, "table"), errors.VLAN_ACTION),
        (V13, strip_vlan(V13), errors.VLAN_ACTION),
        (V13, struct.pack("!HHI", 21, 8, 7) + output(V13, "table"), errors.FOREIGN_QUEUE),
        (V13, struct.pack("!HH4x", 1, 8), errors.ACTION_TYPE),
    ],
)
def test_actions_are_judged(version: int, actions: bytes, expected: Reason) -> None:
    assert reason(tagged(version), packet_out(version, E(100), actions)) is expected


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_packet_out_may_do(version: int) -> None:
    def becomes(actions: bytes, physical: bytes, in_port: int | None) -> None:
        data = packet_out(version, E(100), actions, in_port=in_port, xid=1)
        assert vet(tagged(version), data) == packet_out(version, E(100), physical, in_port=in_port, xid=9)

    becomes(b"", b"", None)
    becomes(output(version, "table"), output(version, "table"), 1)
    becomes(output(version, "in_port"), output(version, "in_port"), 1)
    becomes(output(version, "flood"), output(version, 2) + output(version, 3), 1)
    becomes(output(version, "all"), output(version, 1) + output(version, 2) + output(version, 3), None)
    becomes(output(version, "controller", 128), output(version, "controller", 0xFFFF), None)


def test_the_trace_names_every_rule() -> None:
    trace: list[Finding] = []
    vet_packet_out(transparent(V13), packet_out(V13, E(), output(V13, "flood")), trace)
    assert [finding.rule for finding in trace] == ["decode", "buffer", "in-port", "frame", "actions", "size"]
    assert all(finding.passed and finding.text for finding in trace)
    assert "VLAN 100" in trace[3].text and "FLOOD" in trace[4].text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", ["tagged", "transparent"])
def test_what_outgrows_a_message_is_refused_remembered_or_not(place: str, version: int) -> None:
    grant = PRESENTATIONS[place](version)
    small = E(100) if place == "tagged" else E()
    actions = output(version, "flood")
    policy = PacketOutPolicy(grant)
    assert isinstance(policy.vet(packet_out(version, small, actions), 1), bytes)
    room = 0xFFFF - len(packet_out(version, b"", actions))
    big = packet_out(version, small + bytes(room - len(small)), actions)
    assert len(big) == 0xFFFF
    refusal = policy.vet(big, 1)
    assert isinstance(refusal, Refusal) and refusal.reason is errors.TOO_MANY_ACTIONS
    assert refusal == vet_packet_out(grant, big)


@pytest.mark.parametrize("version", VERSIONS)
def test_memory_is_bounded(version: int) -> None:
    policy = PacketOutPolicy(tagged(version))
    for xid in range(3):
        for queue in range(PacketOutPolicy.CAPACITY + 9):
            actions = set_field("tcp_src", queue) if version == V13 else struct.pack("!HHH2x", 9, 8, queue)
            assert isinstance(policy.vet(packet_out(version, E(100), actions), xid), bytes)
            assert len(policy._known) <= PacketOutPolicy.CAPACITY
    policy = PacketOutPolicy(tagged(version))
    one = set_field("tcp_src", 1) if version == V13 else struct.pack("!HHH2x", 9, 8, 1)
    data = packet_out(version, E(100), one * (PacketOutPolicy.LONGEST // len(one)))
    assert policy.vet(data, 2) == policy.vet(data, 2) == message(version, "packet_out", data[8:], 2)
    assert not policy._known
