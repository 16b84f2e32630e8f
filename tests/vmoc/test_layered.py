"""A layered dictionary is a dictionary, and its copies are independent."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from vmoc.layered import Layered

KEYS = st.integers(0, 12)


class Copies(RuleBasedStateMachine):
    """Any number of copies of copies, each beside a plain dictionary that says what it must hold."""

    pairs = Bundle("pairs")

    @rule(target=pairs, size=st.integers(0, 40))
    def fresh(self, size: int) -> tuple[Layered[int, int], dict[int, int]]:
        made: Layered[int, int] = Layered()
        for key in range(size):
            made[key] = -key
        return made, {key: -key for key in range(size)}

    @rule(target=pairs, pair=pairs)
    def copied(self, pair: tuple[Layered[int, int], dict[int, int]]) -> tuple[Layered[int, int], dict[int, int]]:
        return pair[0].copy(), pair[1].copy()

    @rule(pair=pairs, key=KEYS, value=st.integers())
    def set(self, pair: tuple[Layered[int, int], dict[int, int]], key: int, value: int) -> None:
        for one in pair:
            one[key] = value

    @rule(pair=pairs, key=KEYS)
    def delete(self, pair: tuple[Layered[int, int], dict[int, int]], key: int) -> None:
        assert pair[0].pop(key, None) == pair[1].pop(key, None)

    @rule(pair=pairs, key=KEYS)
    def look(self, pair: tuple[Layered[int, int], dict[int, int]], key: int) -> None:
        layered, plain = pair
        assert (key in layered) == (key in plain)
        assert layered.get(key) == plain.get(key)

    @rule(pair=pairs)
    def compare(self, pair: tuple[Layered[int, int], dict[int, int]]) -> None:
        layered, plain = pair
        assert dict(layered.items()) == plain and layered == plain
        assert len(layered) == len(plain) == len(list(layered)) and bool(layered) == bool(plain)


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_what_is_not_there() -> None:
    one: Layered[str, int] = Layered()
    one["a"] = 1
    with pytest.raises(KeyError):
        one["b"]
    del one["a"]
    for missing in ("a", "b"):
        with pytest.raises(KeyError):
            del one[missing]
    many: Layered[str, int] = Layered()
    many.update({str(n): n for n in range(200)})
    copy = many.copy()
    del copy["7"]
    assert "7" in many and "7" not in copy and len(copy) == 199
    with pytest.raises(KeyError):
        copy["7"]


def test_order_is_that_of_setting() -> None:
    one: Layered[int, int] = Layered()
    one.update({n: n for n in range(100)})
    two = one.copy()
    two[200] = 0
    two[5] = 0
    assert list(two) == [*range(100), 200]
    assert list(two.copy()) == [*range(100), 200]


def test_a_copy_of_a_large_one_shares_it() -> None:
    one: Layered[int, int] = Layered()
    one.update({n: n for n in range(1000)})
    two = one.copy()  # merges what was set one by one
    three = two.copy()
    three[1] = 7
    assert three._base is two._base and len(three._top) == 1 and two[1] == 1
