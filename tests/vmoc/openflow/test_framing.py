"""Cutting a stream into messages: whatever the chunks, the same messages; bounded; no work done twice."""

from __future__ import annotations

import tracemalloc

import pytest

from vmoc.openflow.framing import FrameBuffer

HELLO = bytes.fromhex("0100000800000001")
ECHO = bytes.fromhex("0102000b00000002616263")
LONGEST = b"\x04\x0d\xff\xff" + bytes(0xFFFF - 4)


def test_nothing_from_nothing() -> None:
    frames = FrameBuffer()
    assert frames.feed(b"") == []
    assert len(frames) == 0
    assert not frames.broken


def test_one_whole_message() -> None:
    frames = FrameBuffer()
    assert frames.feed(ECHO) == [ECHO]
    assert len(frames) == 0


def test_several_in_one_chunk_keep_their_order() -> None:
    assert FrameBuffer().feed(HELLO + ECHO + HELLO) == [HELLO, ECHO, HELLO]


def test_an_incomplete_message_is_kept() -> None:
    frames = FrameBuffer()
    assert frames.feed(HELLO + ECHO[:-1]) == [HELLO]
    assert len(frames) == len(ECHO) - 1
    assert frames.feed(ECHO[-1:] + HELLO[:3]) == [ECHO]
    assert len(frames) == 3
    assert frames.feed(HELLO[3:]) == [HELLO]
    assert len(frames) == 0


@pytest.mark.parametrize("cut", range(1, len(ECHO)))
def test_a_message_cut_anywhere(cut: int) -> None:
    frames = FrameBuffer()
    assert frames.feed(ECHO[:cut]) == []
    assert frames.feed(ECHO[cut:]) == [ECHO]


def test_one_byte_at_a_time() -> None:
    frames = FrameBuffer()
    stream = HELLO + ECHO + HELLO
    found = [message for at in range(len(stream)) for message in frames.feed(stream[at : at + 1])]
    assert found == [HELLO, ECHO, HELLO]


def test_the_longest_message() -> None:
    frames = FrameBuffer()
    assert frames.feed(LONGEST[:-1]) == []
    assert len(frames) == 0xFFFE
    assert frames.feed(LONGEST[-1:] + LONGEST) == [LONGEST, LONGEST]
    assert len(frames) == 0


@pytest.mark.parametrize("length", range(8))
def test_a_length_below_the_header_breaks_the_stream(length: int) -> None:
    frames = FrameBuffer()
    assert frames.feed(HELLO + bytes((1, 2, 0, length)) + HELLO) == [HELLO]
    assert frames.broken
    assert frames.feed(HELLO) == []
    assert len(frames) == 0


def test_a_broken_length_is_seen_when_its_bytes_come_singly() -> None:
    frames = FrameBuffer()
    for byte in b"\x01\x02\x00":
        assert frames.feed(bytes((byte,))) == []
        assert not frames.broken
    assert frames.feed(b"\x07") == []
    assert frames.broken


def test_waiting_costs_no_copy_of_what_waits() -> None:
    # A peer that sends a long message byte by byte must not make us copy what is there each time.
    frames = FrameBuffer()
    frames.feed(LONGEST[:60000])
    byte, copies = LONGEST[:1], 0
    tracemalloc.start()
    try:
        for _ in range(2000):
            tracemalloc.reset_peak()
            before, _peak = tracemalloc.get_traced_memory()
            frames.feed(byte)
            _now, peak = tracemalloc.get_traced_memory()
            copies += peak - before > 30000
    finally:
        tracemalloc.stop()
    assert copies <= 8  # the buffer itself grows in large steps


def test_what_has_begun_is_known_by_its_type() -> None:
    buffer = FrameBuffer()
    assert buffer.begun is None
    assert buffer.feed(b"G") == []
    assert buffer.begun is None
    assert buffer.feed(b"ET / HTTP/1.1\r\n") == []
    assert buffer.begun == ord("E")
