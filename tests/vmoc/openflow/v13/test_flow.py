"""1.3 flow-mods and flow statistics."""

from __future__ import annotations

import struct

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm

FIELDS: oxm.Match = ((oxm.IN_PORT, 1, None), (oxm.VLAN_VID, 0x1065, None))
MATCH = oxm.pack(FIELDS)
DO = [(v13.APPLY_ACTIONS, [(a13.OUTPUT, 2, 0)])]
BODY = a13.pack_instructions(DO)
PLAIN = (
    "040e006000000007 112233445566778800000000000000ff 0203 000a0014 8001 ffffffff"
    "00000005 000000060001 0000"
)  # fmt: skip


def test_a_flow_mod() -> None:
    data = f13.flow_mod(
        7,
        MATCH,
        3,
        table=2,
        cookie=0x1122334455667788,
        cookie_mask=0xFF,
        idle=10,
        hard=20,
        priority=0x8001,
        out_port=5,
        out_group=6,
        flags=1,
        instructions=BODY,
    )
    assert data == bytes.fromhex(PLAIN + MATCH.hex() + BODY.hex())
    assert f13.parse_flow_mod(data) == f13.FlowMod(
        7, 0x1122334455667788, 0xFF, 2, 3, 10, 20, 0x8001, 0xFFFFFFFF, 5, 6, 1, FIELDS, DO
    )


def test_defaults() -> None:
    mod = f13.parse_flow_mod(f13.flow_mod(0, oxm.pack(()), 0))
    assert (mod.cookie, mod.cookie_mask, mod.table, mod.idle_timeout, mod.hard_timeout, mod.flags) == (0,) * 6
    assert (mod.priority, mod.out_port, mod.out_group, mod.buffer_id) == (0x8000, v13.ANY, v13.ANY_GROUP, 0xFFFFFFFF)
    assert (mod.match, mod.instructions) == ((), [])


def test_instructions_may_be_left_alone() -> None:
    data = bytes.fromhex(PLAIN) + MATCH + b"rubbish!"
    with pytest.raises(Refused):
        f13.parse_flow_mod(data)
    assert f13.parse_flow_mod(data, with_instructions=False).instructions == []


@pytest.mark.parametrize("length", [8, 55])
def test_a_short_flow_mod(length: int) -> None:
    with pytest.raises(Refused) as caught:
        f13.parse_flow_mod((bytes.fromhex(PLAIN) + MATCH)[:length])
    assert caught.value.reason is errors.BAD_LENGTH


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (bytes(8), errors.MATCH_TYPE),
        (b"\0\1\0\xff" + bytes(4), errors.MATCH_LENGTH),
        (MATCH + BODY + bytes(4), errors.BAD_LENGTH),
        (MATCH + bytes.fromhex("000f000800000000"), errors.INSTRUCTION_TYPE),
    ],
)
def test_refusals(rest: bytes, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        f13.parse_flow_mod(bytes.fromhex(PLAIN) + rest)
    assert caught.value.reason is reason


def entry(
    cookie: int = 9, priority: int = 5, table: int = 1, flags: int = 1, match: bytes = MATCH, body: bytes = BODY
) -> bytes:
    length = 48 + len(match) + len(body)
    fixed = struct.pack("!HBxIIHHHH4xQQQ", length, table, 3, 4, priority, 10, 20, flags, cookie, 1000, 64000)
    return fixed + match + body


def test_entries() -> None:
    first, second = entry(), entry(10, 6, 2, 0, oxm.pack(()), b"")
    found = f13.parse_entries(b"head" + first + second, 4)
    assert found == [f13.Entry(1, MATCH, 5, 9, first), f13.Entry(2, oxm.pack(()), 6, 10, second)]
    assert f13.parse_entries(b"head", 4) == []


def restated(length: int) -> bytes:
    """An entry whose match states that length."""
    return entry()[:50] + length.to_bytes(2, "big") + entry()[52:]


@pytest.mark.parametrize(
    "broken",
    [
        entry()[:-1],
        entry(match=b"", body=b""),
        entry() + b"\0",
        b"\0\0" + entry()[2:],
        b"\0\x37" + entry()[2:],
        b"\xff\xff" + entry()[2:],
        restated(0),
        restated(3),
        restated(len(MATCH) + len(BODY) + 1),
        restated(0xFFFF),
    ],
)
def test_entries_that_do_not_fit(broken: bytes) -> None:
    with pytest.raises(Refused) as caught:
        f13.parse_entries(broken, 0)
    assert caught.value.reason is errors.BAD_LENGTH


def test_rewriting_an_entry_keeps_its_counters() -> None:
    other = oxm.pack(())
    rewritten = f13.rewrite_entry(entry(), 7, other, 77, 4, 88, b"")
    assert rewritten == entry(88, 77, 7, 4, other, b"")
    assert f13.rewrite_entry(rewritten, 1, MATCH, 5, 1, 9, BODY) == entry()
