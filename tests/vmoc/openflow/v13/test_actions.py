"""1.3 actions and instructions."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.v13 import actions as a13

EVERY = [
    ((a13.OUTPUT, 0xFFFFFFFD, 0xFFFF), "00000010fffffffdffff000000000000"),
    ((a13.COPY_TTL_OUT,), "000b000800000000"),
    ((a13.COPY_TTL_IN,), "000c000800000000"),
    ((a13.SET_MPLS_TTL, 64), "000f000840000000"),
    ((a13.DEC_MPLS_TTL,), "0010000800000000"),
    ((a13.PUSH_VLAN, 0x8100), "0011000881000000"),
    ((a13.POP_VLAN,), "0012000800000000"),
    ((a13.PUSH_MPLS, 0x8847), "0013000888470000"),
    ((a13.POP_MPLS, 0x0800), "0014000808000000"),
    ((a13.SET_QUEUE, 7), "0015000800000007"),
    ((a13.GROUP, 0x01020304), "0016000801020304"),
    ((a13.SET_NW_TTL, 63), "001700083f000000"),
    ((a13.DEC_NW_TTL,), "0018000800000000"),
    ((a13.SET_FIELD, 6, 0x1065), "00190010 80000c021065 000000000000"),
    ((a13.SET_FIELD, 0, 1), "00190010 8000000400000001 00000000"),
    ((a13.SET_FIELD, 2, 1), "00190010 80000408 0000000000000001"),
    ((a13.SET_FIELD, 3, 0x0A0B0C0D0E0F), "00190010 800006060a0b0c0d0e0f 0000"),
    ((a13.SET_FIELD, 26, 1), "00190018 80003410" + "00" * 15 + "01"),
    ((a13.PUSH_PBB, 0x88E7), "001a000888e70000"),
    ((a13.POP_PBB,), "001b000800000000"),
]  # fmt: skip


def parse(text: str) -> list[a13.Action]:
    data = bytes.fromhex(text)
    return a13.parse(b"abc" + data + b"xyz", 3, 3 + len(data))


@pytest.mark.parametrize(("action", "text"), EVERY)
def test_every_action(action: a13.Action, text: str) -> None:
    assert parse(text) == [action]
    assert a13.pack([action]) == bytes.fromhex(text)


def test_lists_keep_their_order() -> None:
    everything = [action for action, _ in EVERY] * 2
    assert parse(a13.pack(everything).hex()) == everything
    assert a13.pack([]) == b""
    assert parse("") == []


def test_padding_is_ignored_and_written_as_zero() -> None:
    assert a13.pack(parse("0012000801020304")) == bytes.fromhex("0012000800000000")
    assert a13.pack(parse("0000001000000001ffff010203040506")) == bytes.fromhex("0000001000000001ffff000000000000")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("00000000", errors.BAD_LENGTH),
        ("0012000800000000 00000000", errors.BAD_LENGTH),
        ("0012000000000000", errors.ACTION_LENGTH),
        ("0012000400000000", errors.ACTION_LENGTH),
        ("0012000c00000000 00000000 00000000", errors.ACTION_LENGTH),
        ("0012001000000000", errors.ACTION_LENGTH),
        ("0012001000000000 0000000000000000", errors.ACTION_LENGTH),
        ("0000000800000001", errors.ACTION_LENGTH),
        *((f"{legacy:04x}000800650000", errors.ACTION_TYPE) for legacy in (*range(1, 11), 13, 14)),
        ("001c000800000000", errors.ACTION_TYPE),
        ("0019000400000000", errors.ACTION_LENGTH),
        ("ffff000800002320", errors.ACTION_EXPERIMENTER),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("00190010 0001080400000001 00000000", errors.SET_FIELD_TYPE),  # NXM
        ("00190010 80010008 0000000000000001", errors.SET_FIELD_TYPE),  # packet register
        ("00190010 ffff00064f4e4600 0000 0000", errors.SET_FIELD_TYPE),
        ("00190010 80004a03000001 0000000000", errors.SET_FIELD_TYPE),  # pbb_isid
        ("00190010 8000500400000001 00000000", errors.SET_FIELD_TYPE),  # field 40
        ("00190010 80000d0410651fff 00000000", errors.SET_FIELD_FORM),  # a mask
        ("00190010 80000c0400001065 00000000", errors.SET_FIELD_FORM),  # a wrong length
        ("00190010 80000c021065 000000000001", errors.SET_FIELD_FORM),  # more than the field
        ("00190018 80000c021065 0000000000000000000000000000", errors.SET_FIELD_FORM),  # longer than need be
        ("00190018 80000c021065 80000c021066 0000000000000000", errors.SET_FIELD_FORM),  # two fields
        ("00190008 80000c02", errors.SET_FIELD_FORM),  # too short for its field
        ("00190008 00000000", errors.SET_FIELD_TYPE),
    ],
)  # fmt: skip
def test_set_field_has_one_form(text: str, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.reason is reason


def test_more_actions_than_a_message_may_carry() -> None:
    pop = bytes.fromhex("0012000800000000")
    assert len(a13.parse(pop * a13.MAX_ACTIONS, 0, 8 * a13.MAX_ACTIONS)) == a13.MAX_ACTIONS
    with pytest.raises(Refused) as caught:
        a13.parse(pop * (a13.MAX_ACTIONS + 1), 0, 8 * (a13.MAX_ACTIONS + 1))
    assert caught.value.reason is errors.TOO_MANY_ACTIONS


OUTPUT = "00000010000000020000000000000000"
INSTRUCTIONS = [
    ((v13.GOTO_TABLE, 3), "0001000803000000"),
    ((v13.WRITE_METADATA, 1, 0xFF), "0002001800000000 0000000000000001 00000000000000ff"),
    ((v13.WRITE_ACTIONS, [(a13.OUTPUT, 2, 0)]), "0003001800000000" + OUTPUT),
    ((v13.APPLY_ACTIONS, [(a13.OUTPUT, 2, 0), (a13.POP_VLAN,)]), "0004002000000000" + OUTPUT + "0012000800000000"),
    ((v13.APPLY_ACTIONS, []), "0004000800000000"),
    ((v13.CLEAR_ACTIONS,), "0005000800000000"),
    ((v13.METER, 9), "0006000800000009"),
]  # fmt: skip


def parse_instructions(text: str) -> list[a13.Instruction]:
    data = bytes.fromhex(text)
    return a13.parse_instructions(b"abc" + data + b"xyz", 3, 3 + len(data))


@pytest.mark.parametrize(("instruction", "text"), INSTRUCTIONS)
def test_every_instruction(instruction: a13.Instruction, text: str) -> None:
    assert parse_instructions(text) == [instruction]
    assert a13.pack_instructions([instruction]) == bytes.fromhex(text)


def test_instructions_keep_their_order() -> None:
    six = [INSTRUCTIONS[at][0] for at in (6, 3, 5, 2, 1, 0)]
    assert parse_instructions(a13.pack_instructions(six).hex()) == six
    assert parse_instructions("") == []


def test_padding_of_instructions_is_ignored() -> None:
    assert parse_instructions("0001000803ffffff") == [(v13.GOTO_TABLE, 3)]
    assert parse_instructions("00050008ffffffff") == [(v13.CLEAR_ACTIONS,)]
    assert parse_instructions("00040008ffffffff") == [(v13.APPLY_ACTIONS, [])]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("00000000", errors.BAD_LENGTH),
        ("0005000800000000 00000000", errors.BAD_LENGTH),
        ("0005000000000000", errors.INSTRUCTION_LENGTH),
        ("0005000700000000", errors.INSTRUCTION_LENGTH),
        ("0005000c00000000 00000000 00000000", errors.INSTRUCTION_LENGTH),
        ("0005001000000000", errors.INSTRUCTION_LENGTH),
        ("0005001000000000 0000000000000000", errors.INSTRUCTION_LENGTH),
        ("0001001000000000 0000000000000000", errors.INSTRUCTION_LENGTH),
        ("0006001000000000 0000000000000000", errors.INSTRUCTION_LENGTH),
        ("0002000800000000", errors.INSTRUCTION_LENGTH),
        ("0002001000000000 0000000000000000", errors.INSTRUCTION_LENGTH),
        ("0000000800000000", errors.INSTRUCTION_TYPE),
        ("0007000800000000", errors.INSTRUCTION_TYPE),
        ("ffff000800002320", errors.INSTRUCTION_EXPERIMENTER),
        ("0005000800000000 0005000800000000", errors.INSTRUCTION_DUPLICATE),
        ("0004000800000000 0004000800000000", errors.INSTRUCTION_DUPLICATE),
        ("0004001000000000 0000000800000001", errors.ACTION_LENGTH),
        ("0004001000000000 0012001000000000 0005000800000000", errors.ACTION_LENGTH),  # into the next instruction
        ("0003001000000000 0001000800650000", errors.ACTION_TYPE),
    ],
)  # fmt: skip
def test_refused_instructions(text: str, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        parse_instructions(text)
    assert caught.value.reason is reason
