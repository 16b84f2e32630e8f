"""The pool of packets: ids of its own, each good for one use."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.mux.buffers import USED_REMEMBERED, BufferPool


def refused(pool: BufferPool, number: int) -> Reason:
    with pytest.raises(Refused) as checked:
        pool.check(number)
    with pytest.raises(Refused) as used:
        pool.use(number)
    assert checked.value.reason is used.value.reason
    return used.value.reason


def test_a_packet_is_used_once() -> None:
    pool = BufferPool(3, Random(1))
    number = pool.keep(2, b"frame")
    assert 0 <= number < 1 << 31
    pool.check(number)
    assert pool.use(number) == (2, b"frame")
    assert refused(pool, number) is errors.BUFFER_EMPTY
    assert len(pool) == 0


def test_the_oldest_makes_room() -> None:
    pool = BufferPool(2, Random(1))
    first, *others = [pool.keep(port, b"") for port in (1, 2, 3)]
    assert refused(pool, first) is errors.BUFFER_ID
    assert [pool.use(number)[0] for number in others] == [2, 3]


def test_what_was_never_given_is_unknown() -> None:
    assert refused(BufferPool(2, Random(1)), 7) is errors.BUFFER_ID


def test_two_pools_have_nothing_in_common() -> None:
    random = Random(1)
    alice, bob = BufferPool(2, random), BufferPool(2, random)
    assert refused(bob, alice.keep(1, b"")) is errors.BUFFER_ID


class Repeating(Random):
    """Draws every number twice."""

    def __init__(self) -> None:
        super().__init__(0)
        self._drawn = 0

    def getrandbits(self, k: int, /) -> int:
        self._drawn += 1
        return self._drawn // 2


def test_an_id_in_use_or_just_used_is_not_given_again() -> None:
    pool = BufferPool(3, Repeating())
    numbers = [pool.keep(1, b"") for _ in range(2)]
    pool.use(numbers[1])
    numbers.append(pool.keep(1, b""))
    assert len(set(numbers)) == 3


def test_uses_are_not_remembered_for_ever() -> None:
    pool = BufferPool(1, Random(1))
    first = pool.keep(1, b"")
    pool.use(first)
    for _ in range(USED_REMEMBERED):
        assert refused(pool, first) is errors.BUFFER_EMPTY
        pool.use(pool.keep(1, b""))
    assert refused(pool, first) is errors.BUFFER_ID


@given(st.integers(1, 4), st.lists(st.integers(0, 5), max_size=30))
def test_it_holds_the_last_packets_nobody_used(size: int, uses: list[int]) -> None:
    pool = BufferPool(size, Random(1))
    held: list[tuple[int, bytes]] = []
    for count, use in enumerate(uses):
        if use < len(held):
            number, frame = held.pop(use)
            assert pool.use(number) == (0, frame)
        else:
            held = [*held, (pool.keep(0, b"%d" % count), b"%d" % count)][-size:]
        assert len(pool) == len(held)
