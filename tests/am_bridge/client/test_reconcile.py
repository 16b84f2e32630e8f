"""Desired and actual: what is asked of the server, and that it ends as desired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am_bridge import reasons
from am_bridge.client.errors import ConflictError, ForbiddenError, ServerFailedError, SupersededError
from am_bridge.client.reconcile import OnDrift
from am_bridge.client.steps import (
    Check,
    Connected,
    Done,
    Drifted,
    DriftKind,
    Expired,
    Failed,
    Greet,
    ListAll,
    Register,
    Step,
    Sync,
    Trouble,
    Unregister,
)
from am_bridge.status import ApiError
from tests.am_bridge.client.simulated import CLOCK, Pair, Server, slice_of

A, B, C = slice_of("a", 10), slice_of("b", 20), slice_of("c", 30)


def kinds(steps: list[Step]) -> list[type[Step]]:
    return [type(step) for step in steps]


def changes(steps: list[Step]) -> list[Step]:
    return [step for step in steps if isinstance(step, Register | Unregister | Sync)]


# -- the ordinary course -----------------------------------------------------------------------------------------------


def test_greets_lists_and_makes_a_change() -> None:
    pair = Pair()
    ticket = pair.core.put(A)
    assert not pair.core.settled
    reports = pair.run()
    assert kinds(pair.server.made) == [Greet, ListAll, Register]
    assert reports == [Connected("1", restarted=False), Done("a", A)]
    assert [r.ticket for r in reports if isinstance(r, Done)] == [ticket]
    assert pair.server.slices == {"a": A} and pair.core.settled


def test_many_changes_are_one_batch_and_order_is_kept() -> None:
    pair = Pair()
    pair.core.put(A)
    pair.core.put(B)
    pair.run()
    pair.core.remove("a")
    pair.core.put(slice_of("c", 10))  # the VLAN that a leaves
    pair.run()
    assert [type(step) for step in changes(pair.server.made)] == [Register, Unregister, Register]
    assert set(pair.server.slices) == {"b", "c"}


def test_a_batch_is_no_larger_than_the_server_takes() -> None:
    pair = Pair(server=Server(most_batch=2))
    for number in range(1, 6):
        pair.core.put(slice_of(f"s{number}", number))
    pair.run()
    assert [len(step.wanted) for step in pair.server.made if isinstance(step, Register)] == [2, 2, 1]


def test_vlans_that_were_chosen_are_desired_from_then_on() -> None:
    pair = Pair()
    pair.core.put(slice_of("a", 0))
    (done,) = [report for report in pair.run() if isinstance(report, Done)]
    assert done.slice and done.slice.segments[0].vlan == 1
    pair.server.restart(forget=True)
    pair.server.slices["x"] = slice_of("x", 2, manager="other")
    pair.core.doubt()
    pair.run()
    assert pair.server.slices["a"].segments[0].vlan == 1


def test_another_managers_slice_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="slice a is manager other's"):
        Pair().core.put(replace(A, manager="other"))


def test_the_manager_is_filled_in() -> None:
    pair = Pair()
    pair.core.put(replace(A, manager=""))
    pair.run()
    assert pair.server.slices["a"].manager == "geni"


# -- what is there already ---------------------------------------------------------------------------------------------


def test_without_initial_what_is_there_is_desired() -> None:
    pair = Pair(server=Server({"a": A, "o": slice_of("o", 99, manager="other")}))
    pair.run()
    assert pair.core.desired == {"a": A}
    pair.server.restart(forget=True)
    pair.core.doubt()
    pair.run()
    assert pair.server.slices == {"a": A}


def test_with_initial_the_rest_goes_in_one_call_and_others_stay() -> None:
    other = slice_of("o", 99, manager="other")
    # b takes the VLAN of a slice that goes, which only works all at once or in the right order.
    pair = Pair([A, slice_of("b", 55)], server=Server({"a": A, "x": slice_of("x", 55), "o": other}))
    reports = pair.run()
    assert [type(step) for step in changes(pair.server.made)] == [Sync]
    assert set(pair.server.slices) == {"a", "b", "o"}
    assert Drifted("x", DriftKind.ADDED, slice_of("x", 55), restored=True) in reports


def test_initial_empty_means_none() -> None:
    pair = Pair([], server=Server({"a": A}))
    pair.run()
    assert pair.server.slices == {}


def test_what_is_refused_does_not_hold_up_the_rest() -> None:
    taken = slice_of("o", 20, manager="other")
    pair = Pair([A, B, C], server=Server({"o": taken}))
    reports = pair.run()
    assert set(pair.server.slices) == {"a", "c", "o"}
    (failed,) = [report for report in reports if isinstance(report, Failed)]
    assert failed.slice_id == "b" and isinstance(failed.error, ConflictError)
    assert pair.core.refused == {"b"} and pair.core.settled
    # It is tried once more after a restart, and no sooner.
    made = len(pair.server.made)
    pair.core.doubt()
    pair.run()
    assert not changes(pair.server.made[made:])
    del pair.server.slices["o"]
    pair.server.restart()
    pair.core.doubt()
    pair.run()
    assert set(pair.server.slices) == {"a", "b", "c"} and not pair.core.refused


def test_a_sync_does_not_remove_what_is_refused() -> None:
    pair = Pair([A, B], server=Server({"a": slice_of("a", 11)}))
    pair.server.forbidden = {"a"}
    pair.run()
    assert pair.core.refused == {"a"}
    pair.core.put(C)
    pair.core.put(slice_of("d", 40))
    pair.run()
    assert set(pair.server.slices) == {"a", "b", "c", "d"}


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_refused_change_is_told_to_its_owner_once_and_what_was_desired_before_is_again() -> None:
    pair = Pair(server=Server({"o": slice_of("o", 20, manager="other")}))
    pair.core.put(A)
    pair.run()
    ticket = pair.core.put(slice_of("a", 20))
    (failed,) = pair.run()
    assert isinstance(failed, Failed) and failed.ticket == ticket and failed.error.reason == "VLAN_OWNED_ELSEWHERE"
    assert pair.core.desired == {"a": A}
    made = len(pair.server.made)
    pair.run()
    assert len(pair.server.made) == made


def test_a_refused_new_slice_is_not_desired() -> None:
    pair = Pair(server=Server({"o": slice_of("o", 10, manager="other")}))
    pair.core.put(A)
    pair.run()
    assert pair.core.desired == {} and pair.core.settled


def test_one_bad_slice_of_a_batch_is_found_in_few_calls() -> None:
    pair = Pair()
    pair.server.forbidden = {"s13"}
    tickets = {pair.core.put(slice_of(f"s{n}", n)): f"s{n}" for n in range(1, 65)}
    failed = [report for report in pair.run() if isinstance(report, Failed)]
    assert [tickets[report.ticket or 0] for report in failed] == ["s13"]
    assert len(pair.server.slices) == 63
    assert len(changes(pair.server.made)) <= 14


def test_a_later_change_takes_the_place_of_one_that_waits() -> None:
    pair = Pair()
    first, second = pair.core.put(A), pair.core.put(slice_of("a", 11))
    reports = pair.run()
    (failed,) = [report for report in reports if isinstance(report, Failed)]
    (done,) = [report for report in reports if isinstance(report, Done)]
    assert failed.ticket == first and isinstance(failed.error, SupersededError)
    assert done.ticket == second and pair.server.slices["a"].segments[0].vlan == 11


def test_a_change_during_a_call_is_made_after_it() -> None:
    pair = Pair()
    pair.core.put(A)

    def fate(step: Step) -> str:
        if isinstance(step, Register) and step.wanted[0].slice == A:
            pair.core.remove("a")
        return "works"

    pair.fate = fate
    pair.run()
    assert pair.server.slices == {} and pair.core.desired == {}


def test_a_server_that_does_not_know_us_refuses_changes_and_is_asked_on_slowly() -> None:
    pair = Pair()
    error = ForbiddenError("no", ApiError(reasons.NO_IDENTITY))
    ticket = pair.core.put(A)
    step = pair.core.next(0.0)
    assert isinstance(step, Greet)
    pair.core.failed(step, error, 0.0)
    failed, trouble = pair.core.take_reports()
    assert failed == Failed("a", error) and failed.ticket == ticket
    assert isinstance(trouble, Trouble)
    assert isinstance(pair.core.next(0.0), float)


def test_a_servers_mistake_is_tried_three_times() -> None:
    pair = Pair()
    pair.run()
    pair.core.put(A)
    tries = 0
    while True:
        step = pair.core.next(pair.now)
        if isinstance(step, float):
            pair.now = step
        elif isinstance(step, Greet):
            pair.core.answered(step, pair.server.make(step), CLOCK)
        elif isinstance(step, Register):
            tries += 1
            pair.core.failed(step, ServerFailedError("bug"), pair.now)
        else:
            break
    assert tries == 3
    assert [type(report) for report in pair.core.take_reports()] == [Trouble, Trouble, Failed]


# -- a link that breaks ------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_with_the_same_request_id() -> None:
    pair = Pair()
    pair.core.put(A)
    lost = iter([True])
    pair.fate = lambda step: "lost" if isinstance(step, Register) and next(lost, False) else "works"
    reports = pair.run()
    first, second = changes(pair.server.made)
    assert isinstance(first, Register) and first == second
    assert [type(report) for report in reports] == [Connected, Trouble, Done]


def test_waits_grow_and_end_with_the_first_success() -> None:
    pair = Pair()
    pair.fate = lambda _: "away"
    waits = []
    for _ in range(16):
        pair.turn()
        waits += [report.retry_in for report in pair.reports if isinstance(report, Trouble)]
        pair.reports.clear()
    assert waits[:4] == pytest.approx([0.15, 0.3, 0.6, 1.2]) and max(waits) == pytest.approx(7.5)
    pair.fate = lambda _: "works"
    pair.run()
    pair.core.doubt()
    pair.fate = lambda _: "away"
    pair.turn()
    assert pair.reports == [Trouble(pair.reports[0].error, pytest.approx(0.15))]  # type: ignore[union-attr]


def test_changes_made_while_the_server_is_away_are_made_later() -> None:
    pair = Pair()
    pair.fate = lambda _: "away"
    pair.core.put(A)
    for _ in range(50):
        pair.turn()
    pair.core.put(B)
    pair.core.remove("a")
    pair.fate = lambda _: "works"
    pair.run()
    assert pair.server.slices == {"b": B}


# -- what others do ----------------------------------------------------------------------------------------------------


def test_a_slice_that_somebody_removed_is_restored() -> None:
    pair = Pair([A, B])
    pair.run()
    del pair.server.slices["a"]
    pair.core.noticed("a", None)
    assert not pair.core.settled
    reports = pair.run()
    assert reports == [Drifted("a", DriftKind.REMOVED, None, restored=True), Done("a", A)]
    assert set(pair.server.slices) == {"a", "b"}


def test_or_reported_and_let_go() -> None:
    pair = Pair([A, B], on_drift=OnDrift.ACCEPT)
    pair.run()
    del pair.server.slices["a"]
    changed = pair.server.slices["b"] = slice_of("b", 21)
    pair.core.noticed("a", None)
    pair.core.noticed("b", changed)
    reports = pair.run()
    assert reports == [
        Drifted("a", DriftKind.REMOVED, None, restored=False),
        Drifted("b", DriftKind.CHANGED, changed, restored=False),
    ]
    assert pair.core.desired == {"b": changed}


def test_accepting_does_not_mean_to_lose_all_with_the_servers_store() -> None:
    pair = Pair([A, B], on_drift=OnDrift.ACCEPT)
    pair.run()
    pair.server.restart(forget=True)
    pair.core.doubt()
    pair.run()
    assert set(pair.server.slices) == {"a", "b"}


def test_an_operator_may_disable_and_renew() -> None:
    pair = Pair([A])
    pair.run()
    changed = pair.server.slices["a"] = replace(A, enabled=False, expire_time=CLOCK + 500)
    pair.core.noticed("a", changed)
    assert pair.run() == [Drifted("a", DriftKind.CHANGED, changed, restored=False)]
    assert pair.core.desired == {"a": changed}


def test_events_of_our_own_changes_are_not_looked_at() -> None:
    pair = Pair()
    pair.core.put(A)
    pair.core.noticed("a", A)
    pair.run()
    pair.core.noticed("a", replace(A, origin=A.origin))
    assert kinds(pair.server.made) == [Greet, ListAll, Register]
    # An event that comes late: the slice is looked at, and nothing is wrong.
    pair.core.noticed("a", None)
    pair.run()
    assert kinds(pair.server.made[3:]) == [Check] and pair.core.desired == {"a": A}


def test_many_doubts_are_one_listing() -> None:
    many = [slice_of(f"s{n}", n) for n in range(1, 200)]
    pair = Pair(many)
    pair.run()
    made = len(pair.server.made)
    pair.server.slices.clear()
    for one in many:
        pair.core.noticed(one.id, None)
    pair.run()
    assert kinds(pair.server.made[made:]) == [ListAll, Sync] and len(pair.server.slices) == 199


def test_an_expired_slice_is_not_restored() -> None:
    pair = Pair([A, replace(B, expire_time=CLOCK + 100)])
    pair.run()
    pair.server.clock += 101
    del pair.server.slices["b"]
    pair.core.noticed("b", None)
    assert pair.run() == [Expired("b")]
    assert set(pair.core.desired) == {"a"}


def test_removed_before_its_time_it_is_restored() -> None:
    pair = Pair([replace(B, expire_time=CLOCK + 100)])
    pair.run()
    del pair.server.slices["b"]
    pair.core.noticed("b", None)
    pair.run()
    assert set(pair.server.slices) == {"b"}


# -- whatever happens --------------------------------------------------------------------------------------------------

NAMES = st.sampled_from("abcd")
ACTIONS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 6)),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("link"), st.sampled_from(["works", "works", "away", "lost"])),
    st.tuples(st.just("turn"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("other removes"), NAMES, st.booleans()),
    st.tuples(st.just("other changes"), NAMES, st.integers(1, 6), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ACTIONS, max_size=30), st.booleans())
def test_it_always_ends_as_desired(actions: list[tuple[Any, ...]], whole: bool) -> None:
    """Events may or may not arrive; a break of their stream always leads to a doubt, and the last one does here."""
    foreign = slice_of("o", 5, manager="other")
    pair = Pair([A] if whole else None, server=Server({"o": foreign, "c": slice_of("c", 3)}))
    link = "works"
    tickets: set[int] = set()
    outcomes: list[int] = []
    pair.fate = lambda _: link
    for action, *details in actions:
        if action == "put":
            tickets.add(pair.core.put(slice_of(details[0], details[1])))
        elif action == "remove":
            tickets.add(pair.core.remove(details[0]))
        elif action == "link":
            link = details[0]
        elif action == "turn":
            for _ in range(details[0]):
                pair.turn()
        elif action == "restart":
            pair.server.restart(forget=details[0])
            pair.core.doubt()
        elif action == "other removes":
            gone = pair.server.slices.pop(details[0], None)
            if gone and details[1]:
                pair.core.noticed(details[0], None)
        elif action == "other changes":
            taken = {s.vlan for key, one in pair.server.slices.items() if key != details[0] for s in one.segments}
            if details[0] in pair.server.slices and details[1] not in taken:
                changed = pair.server.slices[details[0]] = slice_of(details[0], details[1])
                if details[2]:
                    pair.core.noticed(details[0], changed)
    link = "works"
    pair.reports += pair.core.take_reports()
    pair.core.doubt()
    reports = pair.run()
    outcomes = [r.ticket for r in reports if isinstance(r, Done | Failed) and r.ticket is not None]
    assert len(outcomes) == len(set(outcomes)) and set(outcomes) <= tickets
    assert pair.core.settled
    ours = {key: one for key, one in pair.server.slices.items() if one.manager == "geni"}
    desired = pair.core.desired
    # Every ticket has had its outcome, and what is not refused is there.
    assert tickets == set(outcomes)
    assert {key: one for key, one in desired.items() if key not in pair.core.refused} == {
        key: one for key, one in ours.items() if key not in pair.core.refused
    }
    assert all(key in desired for key in ours)
