"""Room for calls: what all of them take together, and what one caller takes."""

from __future__ import annotations

from contextlib import suppress

import pytest

from am_bridge import reasons, room
from am_bridge.auth import Caller, Role
from am_bridge.room import Kind, Room
from am_bridge.status import ApiError

ADMIN = Caller("root", Role.ADMIN)
GREEDY, OTHER = Caller("greedy", Role.AM, "am"), Caller("other", Role.AM, "else")
BIG = 16 << 20


def enter_all(inside: Room, caller: Caller | None, kind: Kind, size: int = 0) -> int:
    """As often as it goes; how often that was."""
    for count in range(10_000):
        try:
            inside.enter(caller, kind, size)
        except ApiError as error:
            return count if error.reason is reasons.TOO_MANY_CALLS and error.retry is not None else -1
    raise AssertionError("there is no end")


@pytest.mark.parametrize("caller", [GREEDY, Caller("reader", Role.VIEWER), None], ids=str)
def test_one_caller_leaves_room_of_every_kind_for_others(caller: Caller | None) -> None:
    inside = Room()
    assert enter_all(inside, caller, Kind.WAIT) == room.MOST_WAITING_OF_ONE
    assert enter_all(inside, caller, Kind.CHANGE) == room.MOST_OF_ONE - room.MOST_WAITING_OF_ONE
    assert enter_all(inside, caller, Kind.READ) == 0
    assert enter_all(inside, caller, Kind.STREAM) == room.MOST_OF_ONE
    for kind in Kind:
        inside.enter(OTHER, kind, 100)


def test_one_callers_requests_are_not_all_the_bytes_there_are() -> None:
    inside = Room()
    assert enter_all(inside, GREEDY, Kind.CHANGE, BIG) == room.MOST_BYTES_OF_ONE // BIG
    inside.enter(GREEDY, Kind.STREAM, 100)
    inside.enter(OTHER, Kind.CHANGE, BIG)
    assert inside.bytes == room.MOST_BYTES_OF_ONE + BIG, "streams are bounded by their number"


def test_an_administrator_is_bounded_as_all_are_together() -> None:
    inside = Room()
    assert enter_all(inside, ADMIN, Kind.READ) == room.MOST_CALLS - room.KEPT
    assert enter_all(inside, OTHER, Kind.WAIT) == 0
    assert enter_all(inside, ADMIN, Kind.CHANGE) == room.KEPT, "changes have room of their own"
    assert enter_all(inside, ADMIN, Kind.STREAM) == room.MOST_STREAMS


def test_the_only_request_has_room_whatever_its_size() -> None:
    inside = Room()
    leave = inside.enter(GREEDY, Kind.CHANGE, 2 * room.MOST_BYTES)
    for caller in (GREEDY, OTHER, ADMIN):
        with pytest.raises(ApiError):
            inside.enter(caller, Kind.READ, 1)
    leave()
    inside.enter(GREEDY, Kind.READ, 1)


def test_requests_that_are_kept_are_small() -> None:
    inside = Room()
    for kind in (Kind.WAIT, Kind.STREAM):
        inside.enter(ADMIN, kind, room.LONGEST_KEPT)
        with pytest.raises(ApiError) as caught:
            inside.enter(ADMIN, kind, room.LONGEST_KEPT + 1)
        assert caught.value.reason is reasons.FIELD_INVALID
    inside.enter(ADMIN, Kind.READ, room.LONGEST_KEPT + 1)


def test_room_that_is_given_back_is_there_again_and_nothing_is_kept_of_callers() -> None:
    inside = Room()
    for number in range(300):
        caller = Caller(f"am-{number}", Role.AM, "am")
        leaves = [inside.enter(caller, kind, 1000) for kind in Kind for _ in range(3)]
        with suppress(ApiError):
            inside.enter(caller, Kind.WAIT, room.LONGEST_KEPT + 1)
        for leave in leaves:
            leave()
    assert inside.bytes == 0 and not inside._of
    assert enter_all(inside, ADMIN, Kind.CHANGE) == room.MOST_CALLS
