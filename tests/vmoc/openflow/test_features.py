"""Features and ports, as switches of both versions state them."""

from __future__ import annotations

import struct

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import features
from vmoc.openflow.features import Features, Port

MAC = bytes.fromhex("0a0b0c0d0e0f")


def port10(number: int, name: bytes = b"eth1", config: int = 0, state: int = 0) -> bytes:
    return struct.pack("!H6s16sIIIIII", number, MAC, name, config, state, 1, 2, 3, 4)


def port13(number: int, name: bytes = b"eth1", config: int = 0, state: int = 0) -> bytes:
    return struct.pack("!I4x6s2x16sIIIIIIII", number, MAC, name, config, state, 1, 2, 3, 4, 5, 6)


RAW = {1: port10, 4: port13}


def test_features_of_1_0() -> None:
    data = bytes.fromhex("0106002000000001 00000000000000aa00000100 fe000000000000c7 00000fff")  # fmt: skip
    assert features.parse_features(data) == Features(0xAA, 256, 254, 0, 0xC7, 0xFFF)
    assert features.features_reply(1, 1, features.parse_features(data)) == data


def test_features_of_1_3() -> None:
    data = bytes.fromhex("0406002000000001 00000000000000aa00000100 fe0100000000004f 00000000")  # fmt: skip
    assert features.parse_features(data) == Features(0xAA, 256, 254, 1, 0x4F, 0)
    assert features.features_reply(4, 1, features.parse_features(data)) == data


def test_ports_are_part_of_the_1_0_reply_only() -> None:
    port = features.parse_port(1, port10(1), 0)
    fixed = Features(1, 0, 1, 0, 0, 0)
    assert features.features_reply(1, 9, fixed, [port, port])[32:] == port10(1) * 2
    assert len(features.features_reply(4, 9, fixed, [])) == 32


def test_a_short_features_reply() -> None:
    with pytest.raises(Refused) as caught:
        features.parse_features(bytes.fromhex("0406001f00000001") + bytes(23))
    assert caught.value.reason is errors.BAD_LENGTH


@pytest.mark.parametrize("version", [1, 4])
def test_what_a_port_says(version: int) -> None:
    raw = RAW[version](7, b"veth\xe9\0junk", 0x50, 0x1)
    port = features.parse_port(version, b"xx" + raw, 2)
    assert port == Port(version, 7, raw)
    assert (port.number, port.hw_addr, port.name, port.config, port.state) == (7, MAC, "veth\xe9", 0x50, 1)
    assert port.is_physical
    assert not port.is_local
    changed = port.with_config(features.PORT_DOWN)
    assert (changed.config, changed.state, changed.number) == (1, 1, 7)
    assert changed.raw == RAW[version](7, b"veth\xe9\0junk", 1, 1)
    assert port.config == 0x50


@pytest.mark.parametrize(
    ("version", "number", "local", "physical"),
    [
        (1, 0, False, False),
        (1, 0xFEFF, False, True),
        (1, 0xFF00, False, False),
        (1, 0xFFFE, True, False),
        (4, 0xFFFE, False, True),
        (4, 0xFFFFFEFF, False, True),
        (4, 0xFFFFFF00, False, False),
        (4, 0xFFFFFFFE, True, False),
        (4, 0, False, False),
    ],
)
def test_kinds_of_port(version: int, number: int, local: bool, physical: bool) -> None:
    port = features.parse_port(version, RAW[version](number), 0)
    assert (port.is_local, port.is_physical) == (local, physical)


@pytest.mark.parametrize("version", [1, 4])
def test_port_lists_must_fill_their_room(version: int) -> None:
    raw = RAW[version](1) + RAW[version](2)
    assert [port.number for port in features.parse_ports(version, b"abc" + raw, 3)] == [1, 2]
    assert features.parse_ports(version, raw, len(raw)) == []
    for broken in (raw[:-1], raw + b"\0"):
        with pytest.raises(Refused) as caught:
            features.parse_ports(version, broken, 0)
        assert caught.value.reason is errors.BAD_LENGTH
    with pytest.raises(Refused):
        features.parse_port(version, raw, len(raw) - 1)


def test_port_status() -> None:
    port = features.parse_port(1, port10(3), 0)
    assert features.port_status(1, 0, 2, port) == bytes.fromhex(
        "010c004000000000" + "0200000000000000" + port10(3).hex()
    )
    port = features.parse_port(4, port13(3), 0)
    assert features.port_status(4, 0, 1, port) == bytes.fromhex(
        "040c005000000000" + "0100000000000000" + port13(3).hex()
    )
