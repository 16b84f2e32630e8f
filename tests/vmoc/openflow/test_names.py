"""Names for people."""

from __future__ import annotations

import pytest

from vmoc.openflow import names


@pytest.mark.parametrize(
    ("version", "kind", "name"),
    [
        (1, 0, "HELLO"),
        (1, 15, "PORT_MOD"),
        (4, 15, "GROUP_MOD"),
        (1, 21, "QUEUE_GET_CONFIG_REPLY"),
        (1, 22, "TYPE_22"),
        (4, 29, "METER_MOD"),
        (4, 30, "TYPE_30"),
        (4, 255, "TYPE_255"),
        (5, 14, "FLOW_MOD"),  # of an unknown version, what never changes
        (5, 15, "TYPE_15"),
    ],
)
def test_message_name(version: int, kind: int, name: str) -> None:
    assert names.message_name(version, kind) == name


@pytest.mark.parametrize(
    ("version", "kind", "code", "name"),
    [
        (1, 2, 4, "BAD_ACTION/BAD_OUT_PORT (2,4)"),
        (4, 2, 8, "BAD_ACTION/BAD_QUEUE (2,8)"),
        (4, 4, 11, "BAD_MATCH/EPERM (4,11)"),
        (4, 4, 12, "BAD_MATCH/12 (4,12)"),
        (1, 6, 0, "(6,0)"),
        (4, 0xFFFF, 2600, "(65535,2600)"),
        (9, 1, 1, "(1,1)"),
    ],
)
def test_error_name(version: int, kind: int, code: int, name: str) -> None:
    assert names.error_name(version, kind, code) == name


@pytest.mark.parametrize(("version", "name"), [(1, "1.0"), (4, "1.3"), (6, "1.5"), (0, "0x00"), (99, "0x63")])
def test_version_name(version: int, name: str) -> None:
    assert names.version_name(version) == name
