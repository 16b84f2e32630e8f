"""Every reader of bytes, fed with anything: it answers or refuses, never fails, and its work is bounded.

The bound is counted, not timed: each step over a record advances at least
four bytes, so a reader may run a fixed number of lines per byte and no more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.property.wire import actions10, actions13, instructions, matches
from vmoc.errors import Refused
from vmoc.openflow import features, header, stats
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13
from vmoc.openflow.v13 import oxm

Reader = Callable[[bytes], object]


def _checked(data: bytes) -> None:
    oxm.check_prerequisites(oxm.parse(data, 48, len(data))[0])


READERS: dict[int, dict[str, Reader]] = {
    1: {
        "flow-mod": f10.parse_flow_mod,
        "actions": lambda data: a10.parse(data, 8, len(data)),
        "entries": lambda data: f10.parse_entries(data, 12),
        "match": lambda data: m10.canonical(int.from_bytes(data[8:48].ljust(40, b"\0"), "big")),
    },
    4: {
        "flow-mod": f13.parse_flow_mod,
        "delete": lambda data: f13.parse_flow_mod(data, with_instructions=False),
        "match": _checked,
        "actions": lambda data: a13.parse(data, 8, len(data)),
        "instructions": lambda data: a13.parse_instructions(data, 8, len(data)),
        "entries": lambda data: f13.parse_entries(data, 16),
        "flow request": stats.parse_flow_request13,
        "group-mod": g13.parse_group_mod,
        "meter-mod": g13.parse_meter_mod,
    },
}
for _version, _readers in READERS.items():
    _readers |= {
        "hello": header.hello_versions,
        "error": header.error_code,
        "features": features.parse_features,
        "ports": lambda data, version=_version: features.parse_ports(version, data, 16),  # type: ignore[misc]
        "statistics": stats.head,
        "description": stats.parse_desc,
        "port records": lambda data, version=_version: stats.fixed_items(data, stats.PORT_STATS_LENGTH[version]),  # type: ignore[misc]
        "queue records": lambda data, version=_version: stats.fixed_items(data, stats.QUEUE_STATS_LENGTH[version]),  # type: ignore[misc]
    }
LINES_PER_BYTE, LINES_AT_LEAST = 12, 1500


def lines_run(call: Callable[[], object], most: int) -> int:
    """How many lines of Python ``call`` executes; stops it beyond ``most``."""
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        if count > most:
            raise AssertionError(f"more than {most} lines for this input")
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def survives(data: bytes) -> None:
    """Every reader of the version answers or refuses."""
    for read in READERS[data[0]].values():
        try:
            read(data)
        except Refused:
            continue


def framed(version: int, kind: int, body: bytes) -> bytes:
    """As it comes out of framing: the length is true, nothing else need be."""
    return header.message(version, kind, 1, body)


versions = st.sampled_from((1, 4))


@settings(max_examples=300)
@given(versions, st.integers(0, 255), st.binary(max_size=200))
def test_random_bytes(version: int, kind: int, body: bytes) -> None:
    survives(framed(version, kind, body))


# Bytes that look like lengths and types: small numbers in pairs, and the extremes.
words = st.sampled_from(
    [b"\0\0", b"\0\1", b"\0\4", b"\0\7", b"\0\x08", b"\0\x10", b"\0\x18", b"\0\x19", b"\0\x38", b"\0\x58", b"\x80\0",
     b"\x0c\x02", b"\x10\x65", b"\0\x0c", b"\xff\xff", b"\xff\xf8"]
)  # fmt: skip


@settings(max_examples=400)
@given(versions, st.lists(words, max_size=120).map(b"".join))
def test_bytes_that_look_like_records(version: int, body: bytes) -> None:
    survives(framed(version, 14, body))


@st.composite
def broken_flow_mods(draw: st.DrawFn) -> bytes:
    """A good FLOW_MOD with some bytes changed, cut out, put in or repeated."""
    if draw(st.booleans()):
        data = f10.flow_mod(1, draw(st.binary(min_size=40, max_size=40)), 0, actions=a10.pack(draw(actions10)))
    else:
        do = a13.pack_instructions(draw(instructions)) + a13.pack(draw(actions13))
        data = f13.flow_mod(1, oxm.pack(draw(matches())), 0, instructions=do)
    body = bytearray(data[8:])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        what = draw(st.sampled_from(("change", "word", "cut", "insert", "repeat")))
        if what == "change" and at < len(body):
            body[at] = draw(st.integers(0, 255))
        elif what == "word":
            body[at : at + 2] = draw(words)
        elif what == "cut":
            del body[at : at + draw(st.integers(1, 16))]
        elif what == "insert":
            body[at:at] = draw(st.binary(max_size=16))
        else:
            body[at:at] = body[at : at + 16]
    return framed(data[0], 14, bytes(body))


@settings(max_examples=300)
@given(broken_flow_mods())
@example(framed(4, 14, bytes(40) + bytes.fromhex("0001000400000000" + "0007000800000000")))  # an unknown instruction
@example(framed(4, 14, bytes(40) + bytes.fromhex("0001000400000000" + "00000000")))  # four bytes too many
@example(framed(4, 19, bytes.fromhex("0001000000000000") + bytes(56)))  # an entry of length 0
@example(framed(1, 17, bytes.fromhex("00010000") + bytes(88)))
@example(framed(4, 0, bytes.fromhex("00010000")))  # a HELLO element of length 0
def test_mutated_messages(data: bytes) -> None:
    survives(data)


@settings(max_examples=60)
@given(versions, st.lists(words, min_size=1, max_size=12).map(b"".join), st.integers(100, 2000))
def test_work_is_linear_in_the_bytes(version: int, pattern: bytes, length: int) -> None:
    data = framed(version, 14, (pattern * (length // len(pattern) + 1))[:length])
    for read in READERS[version].values():
        try:
            lines_run(lambda: read(data), LINES_AT_LEAST + LINES_PER_BYTE * len(data))  # noqa: B023
        except Refused:
            continue


# The inputs with the most records in a whole message: the smallest ones allowed.
DENSE = {
    (1, "actions"): bytes.fromhex("0003000800000000"),
    (4, "actions"): bytes.fromhex("0012000800000000"),
    (1, "entries"): b"\0\x58" + bytes(86),
    (4, "entries"): b"\0\x38" + bytes(46) + b"\0\1\0\4" + bytes(4),
    (4, "hello"): bytes.fromhex("0002000400000000"),
    (4, "group-mod"): bytes.fromhex("00100000000000000000000000000000"),
    (4, "meter-mod"): bytes.fromhex("00010010000000000000000000000000"),
}


@pytest.mark.interpreted
@pytest.mark.parametrize(("version", "reader"), DENSE)
def test_a_full_message_of_the_smallest_records(version: int, reader: str) -> None:
    record = DENSE[version, reader]
    head = bytes(8 if "mod" in reader else {1: 4, 4: 8}[version] if reader == "entries" else 0)
    room = header.MAX_LENGTH - 8 - len(head)
    data = framed(version, 0, head + record * (room // len(record)))
    records = room // len(record)
    assert lines_run(lambda: READERS[version][reader](data), 30 * records + 200) >= records


def test_a_hello_full_of_bitmap_costs_no_more_than_a_short_one() -> None:
    words = (0xFFFF - 16) // 4
    body = b"\0\1" + (4 + 4 * words).to_bytes(2, "big") + b"\xff" * 4 * words
    assert lines_run(lambda: header.hello_versions(framed(4, 0, body)), 1000) < 1000
