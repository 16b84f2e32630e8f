"""Pages follow each other without gaps, and their tokens are good for one query only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am_bridge.paging import PageTokens, cut_page, page_size
from am_bridge.reasons import PAGE_TOKEN_INVALID
from am_bridge.status import ApiError
from vmoc.v1.slices_pb2 import ListSlicesRequest, ListVlansRequest

TOKENS = PageTokens(b"secret")


def request(**fields: object) -> ListSlicesRequest:
    return ListSlicesRequest(**({"manager": "m", "labels": {"a": "1", "b": "2"}} | fields))  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_a_token_leads_where_its_page_ended(last: str) -> None:
    token = TOKENS.make(request(), last)
    # Another page size and the token itself are not another query.
    assert TOKENS.read(request(page_size=7, page_token=token), token) == last
    assert PageTokens(b"secret").read(request(), token) == last


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.read(request(), "") is None


def test_the_order_of_a_map_is_no_other_query() -> None:
    assert TOKENS.read(request(labels={"b": "2", "a": "1"}), TOKENS.make(request(), "x")) == "x"


@pytest.mark.parametrize("other", [request(manager="n"), request(vlan_id=1), request(labels={}), ListVlansRequest()])
def test_a_token_of_another_query_is_refused(other: ListSlicesRequest | ListVlansRequest) -> None:
    with pytest.raises(ApiError) as caught:
        TOKENS.read(other, TOKENS.make(request(), "x"))
    assert caught.value.reason is PAGE_TOKEN_INVALID
    assert caught.value.violations[0][0] == "page_token"


def test_two_kinds_of_requests_that_look_alike_are_two_queries() -> None:
    with pytest.raises(ApiError):
        TOKENS.read(ListVlansRequest(), TOKENS.make(ListSlicesRequest(), "x"))


def test_another_servers_token_is_refused() -> None:
    with pytest.raises(ApiError):
        PageTokens().read(request(), TOKENS.make(request(), "x"))


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_an_invented_token_is_refused(token: str) -> None:
    if token:
        with pytest.raises(ApiError):
            TOKENS.read(request(), token)


@pytest.mark.parametrize("position", range(0, 30, 3))
def test_a_changed_token_is_refused(position: int) -> None:
    token = TOKENS.make(request(), "slice-0001")
    changed = token[:position] + ("B" if token[position] == "A" else "A") + token[position + 1 :]
    with pytest.raises(ApiError):
        TOKENS.read(request(), changed)


def test_a_huge_token_is_refused() -> None:
    with pytest.raises(ApiError):
        TOKENS.read(request(), "A" * 10_000_000)


def test_page_sizes() -> None:
    assert [page_size(asked, 100, 1000) for asked in (0, 1, 1000, 1001)] == [100, 1, 1000, 1000]
    with pytest.raises(ApiError, match="page_size: must be 0 or more, not -1"):
        page_size(-1, 100, 1000)


@given(st.lists(st.text(max_size=3), unique=True), st.integers(1, 5))
def test_pages_add_up(names: list[str], size: int) -> None:
    names.sort()
    got: list[str] = []
    after: str | None = None
    for _ in range(len(names) + 1):
        page, after = cut_page(names, str, after, size)
        assert len(page) <= size
        got += page
        if after is None:
            break
    assert got == names


def test_what_comes_and_goes_between_pages_shifts_nothing() -> None:
    page, after = cut_page(["b", "c", "d", "e"], str, None, 2)
    assert (list(page), after) == (["b", "c"], "c")
    page, after = cut_page(["a", "d", "dd", "e"], str, after, 2)  # c is gone, a and dd are new
    assert (list(page), after) == (["d", "dd"], "dd")
    page, after = cut_page(["e"], str, after, 2)
    assert (list(page), after) == (["e"], None)
