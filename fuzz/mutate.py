"""What goes wrong with a message: bits, lengths, cuts, copies, splices."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

WORDS: Final = (0, 1, 3, 4, 5, 7, 8, 9, 12, 15, 16, 24, 56, 72, 0x7FFF, 0x8000, 0xFF00, 0xFFF8, 0xFFFE, 0xFFFF)
NAMES: Final = (0, 1, 0xFFFF, 0xFFFFFF00, 0xFFFFFFF8, 0xFFFFFFFC, 0xFFFFFFFE, 0xFFFFFFFF, 0x80000C04, 0x80000D01)
LONGEST: Final = 0xFFFF

Mutator = Callable[[bytearray, Random], None]


def _bit(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _word(data: bytearray, random: Random) -> None:
    at = random.randrange(0, len(data), 2)
    value = random.choice((*WORDS, len(data), len(data) - at, max(len(data) - at - 4, 0)))
    data[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")


def _near(data: bytearray, random: Random) -> None:
    """A length a little wrong."""
    at = random.randrange(0, max(len(data) - 1, 1), 2)
    value = int.from_bytes(data[at : at + 2], "big") + random.choice((-16, -8, -4, -1, 1, 4, 8, 16))
    data[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")


def _long(data: bytearray, random: Random) -> None:
    at = random.randrange(0, len(data), 4)
    data[at : at + 4] = random.choice(NAMES).to_bytes(4, "big")


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


def _less(data: bytearray, random: Random) -> None:
    at = random.randrange(0, len(data), 4)
    del data[at : at + random.choice((1, 2, 4, 8, 16, 24))]


def _more(data: bytearray, random: Random) -> None:
    at = random.randrange(0, len(data) + 1)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 8, 16, 64)))


def _twice(data: bytearray, random: Random) -> None:
    """A TLV again, perhaps very often."""
    start = random.randrange(0, len(data), 4)
    piece = data[start : start + random.choice((4, 8, 12, 16, 24, 40))]
    data[start:start] = piece * random.choice((1, 1, 1, 2, 5, 40, 2000))


def _swap(data: bytearray, random: Random) -> None:
    size = random.choice((4, 8, 16))
    one, other = (random.randrange(0, len(data), 4) for _ in range(2))
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]


def _kind(data: bytearray, random: Random) -> None:
    if len(data) > 1:
        data[1] = random.choice((random.randrange(32), random.randrange(256)))


def _version(data: bytearray, random: Random) -> None:
    data[0] = random.choice((0, 1, 2, 4, 5, 6, 255))


_MUTATORS: Final[tuple[Mutator, ...]] = (
    *(_bit, _byte, _word, _word, _near, _near, _long, _cut, _less, _more, _twice, _twice, _swap, _kind, _version),
)


def mutate(message: bytes, random: Random, other: bytes = b"") -> bytes:
    """``message``, damaged one to four times; ``other`` is something to splice in. Mostly the header's length fits."""
    data = bytearray(message)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        if other and random.random() < 0.15:
            at, start = random.randrange(len(data) + 1), random.randrange(0, len(other), 4)
            data[at:at] = other[start : start + random.choice((8, 16, 32, 64, 4096))]
        if data:
            random.choice(_MUTATORS)(data, random)
    del data[LONGEST:]
    if random.random() < 0.85:
        framed(data)
    return bytes(data)


def framed(data: bytearray) -> None:
    """Make the header's length true (a message has 8 bytes at least)."""
    data.extend(bytes(max(8 - len(data), 0)))
    data[2:4] = len(data).to_bytes(2, "big")
