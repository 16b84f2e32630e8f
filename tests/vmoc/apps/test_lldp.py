from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.lib.packet import lldp as oracle
from os_ken.lib.packet import packet

from tests.vmoc.apps.raw_switch import mac
from vmoc.apps import lldp
from vmoc.topology import PortRef

SECRET = b"s" * 32
HERE = PortRef(0x0065000000000001, 7)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_what_is_built_is_read(dpid: int, port: int, stamp: int) -> None:
    frame = lldp.build(PortRef(dpid, port), mac(1), stamp, 15, SECRET)
    assert lldp.read(frame, SECRET) == (PortRef(dpid, port), stamp)
    assert len(frame) <= 128  # fits a 1.0 switch's default miss_send_len


def test_others_read_it_as_lldp() -> None:
    frame = lldp.build(HERE, mac(1), 5, 15, SECRET)
    found = packet.Packet(frame).get_protocol(oracle.lldp)
    chassis, port, ttl, ours, end = found.tlvs
    assert (chassis.subtype, chassis.chassis_id) == (7, b"dpid:0065000000000001")
    assert (port.subtype, port.port_id, ttl.ttl) == (7, b"7", 15)
    assert ours.tlv_type == 127 and end.tlv_type == 0
    assert frame[:6] == bytes.fromhex("0180c200000e")


def test_another_secret_or_a_changed_port_is_not_ours() -> None:
    frame = lldp.build(HERE, mac(1), 5, 15, SECRET)
    assert lldp.read(frame, b"t" * 32) is None
    forged = frame.replace(struct.pack("!HB", 2 << 9 | 2, 7) + b"7", struct.pack("!HB", 2 << 9 | 2, 7) + b"8")
    assert forged != frame and lldp.read(forged, SECRET) is None


@pytest.mark.parametrize("length", range(87))
def test_a_part_of_a_frame_is_not_ours(length: int) -> None:
    frame = lldp.build(HERE, mac(1), 5, 15, SECRET)[:length]
    found = lldp.read(frame, SECRET)
    assert found is None or length >= len(lldp.build(HERE, mac(1), 5, 15, SECRET)) - 2  # only the end TLV is missing


@given(st.binary(max_size=120))
def test_anything_may_come(data: bytes) -> None:
    assert lldp.read(mac(1) + mac(2) + b"\x88\xcc" + data, SECRET) is None
    assert lldp.read(data, SECRET) is None
