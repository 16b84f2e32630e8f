"""``buffers: pool:N``: whole packets kept here, named to one virtual datapath by ids of ours.

A switch's own buffer ids are never used: its pool is everybody's, and an id it
reuses would hand one slice another's packet. Here an id is 31 random bits, is
known to one virtual datapath only, and is used up by its first use.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Final

from vmoc import errors
from vmoc.errors import Refused

USED_REMEMBERED: Final = 1024


class BufferPool:
    """The last ``size`` packets of one virtual datapath: (in_port, frame as the controller knows it)."""

    __slots__ = ("_frames", "_random", "_used", "size")

    def __init__(self, size: int, random: Random) -> None:
        self.size = size
        self._random = random
        self._frames: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._used: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, in_port: int, frame: bytes) -> int:
        """Keep a frame, dropping the oldest when full; returns its id."""
        while True:
            number = self._random.getrandbits(31)
            if number not in self._frames and number not in self._used:
                break
        self._frames[number] = (in_port, frame)
        if len(self._frames) > self.size:
            self._frames.popitem(last=False)
        return number

    def check(self, number: int) -> tuple[int, bytes]:
        """What ``use`` would return or raise, without using anything up."""
        if number not in self._frames:
            raise Refused(errors.BUFFER_EMPTY if number in self._used else errors.BUFFER_ID, f"buffer {number:#x}")
        return self._frames[number]

    def use(self, number: int) -> tuple[int, bytes]:
        """The frame of an id, once; ``BUFFER_EMPTY`` the second time, ``BUFFER_ID`` for one never given."""
        found = self.check(number)
        del self._frames[number]
        self._used[number] = None
        if len(self._used) > USED_REMEMBERED:
            self._used.popitem(last=False)
        return found
