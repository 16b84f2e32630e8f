"""Frames and descriptors between processes: whole, in order, and nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmoc.net.stage import play, sockets, until
from vmoc.net import channel as channel_module
from vmoc.net.channel import Channel, FrameError, Frames, frame


@given(payloads=st.lists(st.tuples(st.binary(max_size=50), st.booleans()), max_size=8), data=st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads: list[tuple[bytes, bool]], data: st.DataObject):
    stream = b"".join(frame(payload, descriptor=flag) for payload, flag in payloads)
    frames, found = Frames(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == payloads


@pytest.mark.parametrize("head", [struct.pack("!IB", (1 << 30) + 1, 0), struct.pack("!IB", 1, 2)])
def test_what_is_no_frame_is_refused(head: bytes):
    with pytest.raises(FrameError):
        Frames().feed(head)


def test_a_frame_nobody_would_read_is_not_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(channel_module, "LONGEST", 10)
    with pytest.raises(FrameError):
        frame(b"x" * 11)


class Ends:
    """Two channels that face each other."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.got: tuple[list[tuple[bytes, int | None]], ...] = ([], [])
        self.lost: list[tuple[int, str]] = []
        self.raw = socket.socketpair()
        self.ends = [
            Channel(
                loop,
                end,
                lambda payload, descriptor, i=i: self.got[i].append((payload, descriptor)),
                lambda why, i=i: self.lost.append((i, why)),
            )
            for i, end in enumerate(self.raw)
        ]

    def close(self) -> None:
        for end in self.ends:
            end.close()


def test_large_and_small_frames_arrive_in_order(loop_kind: str) -> None:
    async def scene() -> None:
        before = sockets()
        ends = Ends()
        one, _ = ends.ends
        sent = [bytes([i]) * size for i, size in enumerate((0, 1, 3_000_000, 7, 500_000))]
        for payload in sent:
            one.send(payload)
        assert one.unsent > 0, "more than a socket takes at once"
        await until(lambda: len(ends.got[1]) == 5, "all frames")
        assert [payload for payload, _ in ends.got[1]] == sent
        assert one.unsent == 0
        ends.close()
        assert sockets() == before

    play(loop_kind, scene)


def test_descriptors_stay_with_their_frames(loop_kind: str) -> None:
    async def scene() -> None:
        before = len(os.listdir("/proc/self/fd"))
        ends = Ends()
        pipes = [os.pipe() for _ in range(5)]
        for number, (_, write) in enumerate(pipes):
            ends.ends[0].send(b"big" * 300_000)
            ends.ends[0].send(bytes([number]), write)
        await until(lambda: len(ends.got[1]) == 10, "all frames")
        for payload, descriptor in ends.got[1]:
            assert (descriptor is None) is (len(payload) > 1)
            if descriptor is not None:
                assert not os.get_inheritable(descriptor)
                os.write(descriptor, payload)
                os.close(descriptor)
        for number, (read, _) in enumerate(pipes):
            assert os.read(read, 10) == bytes([number])
            os.close(read)
        ends.close()
        assert len(os.listdir("/proc/self/fd")) == before

    play(loop_kind, scene)


def test_closing_closes_what_was_not_sent(loop_kind: str) -> None:
    async def scene() -> None:
        ends = Ends()
        read, write = os.pipe()
        ends.ends[0].send(b"x" * 5_000_000)
        ends.ends[0].send(b"y", write)
        ends.ends[0].close()
        assert os.read(read, 1) == b"", "the last writer is gone"
        os.close(read)
        read, write = os.pipe()
        ends.ends[0].send(b"too late", write)
        assert os.read(read, 1) == b""
        os.close(read)
        await until(lambda: ends.lost == [(1, "it closed its end")], "the other end to notice")
        ends.close()

    play(loop_kind, scene)


def test_nonsense_ends_it_once(loop_kind: str) -> None:
    async def scene() -> None:
        ends = Ends()
        ends.raw[0].send(b"\xff" * 100)
        await until(lambda: len(ends.lost) == 2, "the end, at both ends")
        assert ends.lost[0] == (1, "the channel carries what is not a frame") and ends.ends[1].closed
        ends.close()

    play(loop_kind, scene)


def test_a_promised_descriptor_that_does_not_come_ends_it(loop_kind: str) -> None:
    async def scene() -> None:
        ends = Ends()
        ends.raw[0].send(frame(b"x", descriptor=True))
        await until(lambda: len(ends.lost) == 2, "the end, at both ends")
        assert ends.lost[0] == (1, "a descriptor is missing") and ends.got[1] == []
        ends.close()

    play(loop_kind, scene)
