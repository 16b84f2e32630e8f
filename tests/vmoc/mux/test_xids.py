from __future__ import annotations

from vmoc.mux.xids import Pending


def test_never_zero_nor_all_ones():
    pending: Pending[str] = Pending(0xFFFFFFFD)
    assert [pending.fresh() for _ in range(4)] == [0xFFFFFFFD, 0xFFFFFFFE, 1, 2]


def test_starts_in_range_whatever_is_asked():
    assert Pending(0).fresh() == 1
    assert Pending(0xFFFFFFFF).fresh() == 1


def test_one_that_is_pending_is_not_given_again():
    pending: Pending[str] = Pending(5)
    assert pending.expect("a") == 5
    pending._next = 5
    assert pending.expect("b") == 6
    assert len(pending) == 2


def test_pop_forgets_and_get_does_not():
    pending: Pending[str] = Pending(1)
    xid = pending.expect("a")
    assert pending.get(xid) == "a"
    assert pending.pop(xid) == "a"
    assert pending.pop(xid) is None
    assert pending.get(xid) is None


def test_clear_forgets_everything():
    pending: Pending[str] = Pending(1)
    pending.expect("a")
    pending.clear()
    assert not len(pending)
