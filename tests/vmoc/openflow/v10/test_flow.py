"""1.0 flow-mods and flow statistics."""

from __future__ import annotations

import struct

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10

MATCH = m10.pack(in_port=1, dl_vlan=101)
OUTPUT = a10.pack([(a10.OUTPUT, 2, 0)])
PLAIN = (
    "010e005000000007" + MATCH.hex() + "1122334455667788 0003000a 00148001 ffffffff0005 0001"
)  # fmt: skip


def test_a_flow_mod() -> None:
    data = f10.flow_mod(
        7,
        MATCH,
        3,
        cookie=0x1122334455667788,
        idle=10,
        hard=20,
        priority=0x8001,
        out_port=5,
        flags=1,
        actions=OUTPUT,
    )
    assert data == bytes.fromhex(PLAIN + OUTPUT.hex())
    mod = f10.parse_flow_mod(data)
    assert mod == f10.FlowMod(
        7,
        int.from_bytes(MATCH, "big"),
        0x1122334455667788,
        3,
        10,
        20,
        0x8001,
        0xFFFFFFFF,
        5,
        1,
        [(a10.OUTPUT, 2, 0)],
    )


def test_defaults() -> None:
    mod = f10.parse_flow_mod(f10.flow_mod(0, MATCH, 0))
    assert (mod.cookie, mod.idle_timeout, mod.hard_timeout, mod.flags, mod.actions) == (0, 0, 0, 0, [])
    assert (mod.priority, mod.out_port, mod.buffer_id) == (0x8000, 0xFFFF, 0xFFFFFFFF)


def test_actions_may_be_left_alone() -> None:
    data = bytes.fromhex(PLAIN) + b"rubbish!"
    with pytest.raises(Refused):
        f10.parse_flow_mod(data)
    assert f10.parse_flow_mod(data, with_actions=False).actions == []


@pytest.mark.parametrize("length", [8, 71])
def test_a_short_flow_mod(length: int) -> None:
    with pytest.raises(Refused) as caught:
        f10.parse_flow_mod(bytes.fromhex(PLAIN)[:length])
    assert caught.value.reason is errors.BAD_LENGTH


def test_bytes_after_the_last_action() -> None:
    with pytest.raises(Refused) as caught:
        f10.parse_flow_mod(bytes.fromhex(PLAIN) + OUTPUT + bytes(4))
    assert caught.value.reason is errors.BAD_LENGTH


def entry(cookie: int = 9, priority: int = 5, actions: bytes = OUTPUT, table: int = 1) -> bytes:
    fixed = struct.pack(
        "!HBx40sIIHHH6xQQQ", 88 + len(actions), table, MATCH, 3, 4, priority, 10, 20, cookie, 1000, 64000
    )
    return fixed + actions


def test_entries() -> None:
    first, second = entry(), entry(10, 6, b"", 2)
    found = f10.parse_entries(b"head" + first + second, 4)
    assert found == [f10.Entry(1, MATCH, 5, 9, first), f10.Entry(2, MATCH, 6, 10, second)]
    assert f10.parse_entries(b"head", 4) == []


@pytest.mark.parametrize(
    "broken",
    [
        entry()[:-1],
        entry()[:87],
        entry() + b"\0",
        b"\0\0" + entry()[2:],
        b"\0\x57" + entry()[2:],
        b"\xff\xff" + entry()[2:],
    ],
)
def test_entries_that_do_not_fit(broken: bytes) -> None:
    with pytest.raises(Refused) as caught:
        f10.parse_entries(broken, 0)
    assert caught.value.reason is errors.BAD_LENGTH


def test_rewriting_an_entry_keeps_its_counters() -> None:
    other = m10.pack(dl_vlan=101)
    two = OUTPUT + OUTPUT
    rewritten = f10.rewrite_entry(entry(), other, 77, 88, two)
    expected = struct.pack("!HBx40sIIHHH6xQQQ", 88 + 16, 1, other, 3, 4, 77, 10, 20, 88, 1000, 64000) + two
    assert rewritten == expected
    assert f10.rewrite_entry(rewritten, MATCH, 5, 9, OUTPUT) == entry()
