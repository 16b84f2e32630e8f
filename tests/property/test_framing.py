"""Framing: whatever the chunks, the same messages; never more than one message is kept."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from vmoc.openflow.framing import FrameBuffer


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), 0x01020304) + body


messages = st.lists(st.builds(_message, st.integers(0, 29), st.binary(max_size=60)), max_size=10)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


places = st.lists(st.integers(0, 1 << 16), max_size=12)


@given(messages, places)
def test_any_chunking_gives_the_same_messages(sent: list[bytes], where: list[int]) -> None:
    frames = FrameBuffer()
    found = [message for chunk in cut(b"".join(sent), where) for message in frames.feed(chunk)]
    assert found == sent
    assert len(frames) == 0
    assert not frames.broken


@given(messages)
def test_one_byte_at_a_time(sent: list[bytes]) -> None:
    frames = FrameBuffer()
    stream = b"".join(sent)
    found = [message for at in range(len(stream)) for message in frames.feed(stream[at : at + 1])]
    assert found == sent


@given(messages, st.integers(0, 7), st.binary(max_size=40), places)
def test_everything_before_a_break_arrives_and_nothing_after(
    sent: list[bytes], length: int, rest: bytes, where: list[int]
) -> None:
    frames = FrameBuffer()
    stream = b"".join(sent) + struct.pack("!BBHI", 4, 0, length, 0) + rest
    found = [message for chunk in cut(stream, where) for message in frames.feed(chunk)]
    assert found == sent
    assert frames.broken
    assert frames.feed(_message(0, b"")) == []


def _reference(stream: bytes) -> tuple[list[bytes], bytes]:
    """The messages of a stream and what is left over, the plain way."""
    found = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[2:4], "big")
        if length < 8:
            return found, b""
        if len(stream) < length:
            break
        found.append(stream[:length])
        stream = stream[length:]
    return found, stream


@settings(max_examples=200)
@given(st.binary(max_size=300), places)
def test_garbage_is_cut_the_same_way_and_never_piles_up(stream: bytes, where: list[int]) -> None:
    frames, found, fed = FrameBuffer(), [], 0
    for chunk in cut(stream, where):
        found += frames.feed(chunk)
        fed += len(chunk)
        assert len(frames) <= 0xFFFE
        assert frames.broken or sum(map(len, found)) + len(frames) == fed
    expected, rest = _reference(stream)
    assert found == expected
    assert frames.broken or len(frames) == len(rest)


def test_an_endless_stream_keeps_at_most_one_message() -> None:
    frames = FrameBuffer()
    longest = b"\x04\x0d\xff\xff" + bytes(0xFFFF - 4)
    chunk, most, whole = (longest * 2)[:40000], 0, 0
    stream = longest * 20
    for at in range(0, len(stream), len(chunk)):
        whole += len(frames.feed(stream[at : at + len(chunk)]))
        most = max(most, len(frames))
    assert whole == 20
    assert most <= 0xFFFE
