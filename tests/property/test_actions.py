"""Actions and instructions of both versions: reading gives back what was written, wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.wire import actions10, actions13, instructions, matches, u8, u16, u32, u64, unsigned
from vmoc.errors import Refused
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm

around = st.binary(max_size=9)


@given(actions10, around, around)
def test_actions_of_1_0(actions: list[a10.Action], before: bytes, after: bytes) -> None:
    packed = a10.pack(actions)
    end = len(before) + len(packed)
    assert a10.parse(before + packed + after, len(before), end) == actions


@given(actions13, around, around)
def test_actions_of_1_3(actions: list[a13.Action], before: bytes, after: bytes) -> None:
    packed = a13.pack(actions)
    assert len(packed) % 8 == 0
    end = len(before) + len(packed)
    assert a13.parse(before + packed + after, len(before), end) == actions


@given(instructions, around, around)
def test_instructions(wanted: list[a13.Instruction], before: bytes, after: bytes) -> None:
    packed = a13.pack_instructions(wanted)
    assert len(packed) % 8 == 0
    end = len(before) + len(packed)
    assert a13.parse_instructions(before + packed + after, len(before), end) == wanted


@given(instructions, st.data())
def test_a_cut_list_is_refused_or_a_shorter_list(wanted: list[a13.Instruction], data: st.DataObject) -> None:
    packed = a13.pack_instructions(wanted)
    end = data.draw(st.integers(0, len(packed)))
    edges = [len(a13.pack_instructions(wanted[:count])) for count in range(len(wanted) + 1)]
    if end in edges:
        assert a13.parse_instructions(packed, 0, end) == wanted[: edges.index(end)]
    else:
        with pytest.raises(Refused):
            a13.parse_instructions(packed, 0, end)


@given(u32, unsigned(320), u64, u16, u16, u16, u16, u16, u16, actions10)
def test_flow_mods_of_1_0(
    xid: int, match: int, cookie: int, command: int, idle: int, hard: int, priority: int, out: int, flags: int,
    actions: list[a10.Action],
) -> None:  # fmt: skip
    data = f10.flow_mod(
        xid, match.to_bytes(40, "big"), command, cookie=cookie, idle=idle, hard=hard, priority=priority, out_port=out,
        flags=flags, actions=a10.pack(actions),
    )  # fmt: skip
    expected = (xid, match, cookie, command, idle, hard, priority, 0xFFFFFFFF, out, flags, actions)
    assert f10.parse_flow_mod(data) == expected


@given(u32, u64, u64, u8, u8, u16, u16, u16, u32, u32, u16, matches(), instructions)
def test_flow_mods_of_1_3(
    xid: int, cookie: int, mask: int, table: int, command: int, idle: int, hard: int, priority: int, out: int,
    group: int, flags: int, match: oxm.Match, wanted: list[a13.Instruction],
) -> None:  # fmt: skip
    data = f13.flow_mod(
        xid, oxm.pack(match), command, table=table, cookie=cookie, cookie_mask=mask, idle=idle, hard=hard,
        priority=priority, out_port=out, out_group=group, flags=flags, instructions=a13.pack_instructions(wanted),
    )  # fmt: skip
    expected = (
        xid, cookie, mask, table, command, idle, hard, priority, 0xFFFFFFFF, out, group, flags, match, wanted,
    )  # fmt: skip
    assert f13.parse_flow_mod(data) == expected
