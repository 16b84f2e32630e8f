"""1.0 actions."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v10 import actions as a10

MAC = bytes.fromhex("0a0b0c0d0e0f")
EVERY = [
    ((a10.OUTPUT, 0xFFFD, 128), "00000008fffd0080"),
    ((a10.SET_VLAN_VID, 101), "0001000800650000"),
    ((a10.SET_VLAN_PCP, 7), "0002000807000000"),
    ((a10.STRIP_VLAN,), "0003000800000000"),
    ((a10.SET_DL_SRC, MAC), "000400100a0b0c0d0e0f000000000000"),
    ((a10.SET_DL_DST, MAC), "000500100a0b0c0d0e0f000000000000"),
    ((a10.SET_NW_SRC, 0x0A000001), "000600080a000001"),
    ((a10.SET_NW_DST, 0x0A000001), "000700080a000001"),
    ((a10.SET_NW_TOS, 0xB8), "00080008b8000000"),
    ((a10.SET_TP_SRC, 80), "0009000800500000"),
    ((a10.SET_TP_DST, 80), "000a000800500000"),
    ((a10.ENQUEUE, 2, 7), "000b0010000200000000000000000007"),
]


def parse(text: str) -> list[a10.Action]:
    data = bytes.fromhex(text)
    return a10.parse(b"abc" + data + b"xyz", 3, 3 + len(data))


@pytest.mark.parametrize(("action", "text"), EVERY)
def test_every_action(action: a10.Action, text: str) -> None:
    assert parse(text) == [action]
    assert a10.pack([action]) == bytes.fromhex(text)


def test_lists_keep_their_order() -> None:
    everything = [action for action, _ in EVERY] * 2
    assert parse(a10.pack(everything).hex()) == everything
    assert a10.pack([]) == b""
    assert parse("") == []


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("0003000801020304", "0003000800000000"),
        ("000b00100002ffffffffffff00000007", "000b0010000200000000000000000007"),
    ],
)
def test_padding_is_ignored_and_written_as_zero(noisy: str, clean: str) -> None:
    assert a10.pack(parse(noisy)) == bytes.fromhex(clean)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("00000000", errors.BAD_LENGTH),
        ("0000000800010000 00", errors.BAD_LENGTH),
        ("0000000800010000 0000000800", errors.BAD_LENGTH),
        ("0000000000010000", errors.ACTION_LENGTH),
        ("0000000700010000", errors.ACTION_LENGTH),
        ("0000000c00010000 00000000 00000000", errors.ACTION_LENGTH),
        ("0000001000010000", errors.ACTION_LENGTH),  # beyond its region
        ("0000ffff00010000", errors.ACTION_LENGTH),
        ("0000001000010000 0000000000000000", errors.ACTION_LENGTH),  # wrong for its type
        ("0004000801020304", errors.ACTION_LENGTH),
        ("000c000800000000", errors.ACTION_TYPE),
        ("0019000800000000", errors.ACTION_TYPE),
        ("ffff000800002320", errors.ACTION_EXPERIMENTER),
        ("ffff00100000232000000000 00000000", errors.ACTION_EXPERIMENTER),
        ("ffff000400002320", errors.ACTION_LENGTH),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.reason is reason


def test_an_action_may_not_reach_beyond_the_region_into_the_message() -> None:
    data = bytes.fromhex("0004001000000000 0000000000000000")  # fmt: skip
    with pytest.raises(Refused):
        a10.parse(data, 0, 8)


def test_more_actions_than_a_message_may_carry() -> None:
    strip = bytes.fromhex("0003000800000000")
    assert len(a10.parse(strip * a10.MAX_ACTIONS, 0, 8 * a10.MAX_ACTIONS)) == a10.MAX_ACTIONS
    with pytest.raises(Refused) as caught:
        a10.parse(strip * (a10.MAX_ACTIONS + 1), 0, 8 * (a10.MAX_ACTIONS + 1))
    assert caught.value.reason is errors.TOO_MANY_ACTIONS
