"""The shadow of groups and meters: ids, chains, quotas, and taking back what a switch refuses."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vmoc import errors
from vmoc.errors import Reason
from vmoc.mux.groups import SLOT_SHIFT, GroupStep, GroupTable, MeterPool, MeterStep, MeterTable
from vmoc.openflow.v13 import group as g13
from vmoc.policy.grant import Grant
from vmoc.policy.groups import GroupChange, MeterChange
from vmoc.policy.verdict import Refusal

ADD, MODIFY, DELETE = range(3)
GRANT = Grant(4, 100, frozenset((1, 2, 3)))
EVERY = 0xFFFFFFFC
SLOT = 5


def change(command: int, number: int, refers: frozenset[int] = frozenset(), data: bytes = b"") -> GroupChange:
    return GroupChange(GRANT, data, command, 0, number, [], refers)


def table(quota: int = 0, depth: int = 4, slot: int = SLOT) -> GroupTable:
    return GroupTable(slot, quota, depth)


def done(plan: list[GroupStep] | Refusal) -> list[GroupStep]:
    assert not isinstance(plan, Refusal), plan
    return plan


def add(groups: GroupTable, number: int, *refers: int, data: bytes = b"") -> GroupStep:
    (step,) = done(groups.plan(change(ADD, number, frozenset(refers), data)))
    return step


def modify(groups: GroupTable, number: int, *refers: int, data: bytes = b"") -> GroupStep:
    (step,) = done(groups.plan(change(MODIFY, number, frozenset(refers), data)))
    return step


def delete(groups: GroupTable, number: int) -> list[GroupStep]:
    return done(groups.plan(change(DELETE, number)))


def reason(plan: list[GroupStep] | Refusal) -> Reason:
    assert isinstance(plan, Refusal)
    return plan.reason


def sent(step: GroupStep) -> tuple[int, int]:
    mod = g13.parse_group_mod(step.message)
    return mod.command, mod.group


def data_of(groups: GroupTable, number: int) -> bytes:
    return groups.groups[number].data


# -- ids ---------------------------------------------------------------------------------------------


def test_ids_are_of_the_slot_and_translate_both_ways() -> None:
    groups = table()
    high = 0x70001234
    steps = [add(groups, 1), add(groups, high)]
    assert [sent(step) for step in steps] == [(ADD, SLOT << SLOT_SHIFT | 1), (ADD, SLOT << SLOT_SHIFT | 2)]
    assert groups.ids == {1: SLOT << SLOT_SHIFT | 1, high: SLOT << SLOT_SHIFT | 2}
    assert [groups.virtual_of(physical) for physical in groups.ids.values()] == [1, high]
    assert groups.virtual_of(1) is None
    assert sent(modify(groups, high)) == (MODIFY, groups.ids[high])


def test_the_id_of_a_deleted_group_does_not_come_again() -> None:
    groups = table()
    first = add(groups, 1)
    assert sent(*delete(groups, 1)) == (DELETE, sent(first)[1])
    assert groups.ids == {}
    assert sent(add(groups, 1))[1] != sent(first)[1]


def test_the_numbers_of_a_slot_go_round_past_those_in_use() -> None:
    groups = table()
    add(groups, 1)
    groups._next = (1 << SLOT_SHIFT) - 2
    add(groups, 2)
    assert [physical & 0xFFFFF for physical in groups.ids.values()] == [1, 0xFFFFF]
    add(groups, 3)
    assert groups.ids[3] & 0xFFFFF == 2


def test_deleting_what_is_not_there_is_nothing() -> None:
    assert delete(table(), 7) == []
    assert delete(table(), EVERY) == []


# -- chains ------------------------------------------------------------------------------------------


def test_no_group_leads_back_to_itself() -> None:
    groups = table()
    add(groups, 1)
    assert reason(groups.plan(change(MODIFY, 1, frozenset((1,))))) is errors.GROUP_LOOP
    add(groups, 2, 1)
    add(groups, 3, 2)
    assert reason(groups.plan(change(MODIFY, 1, frozenset((3,))))) is errors.GROUP_LOOP
    assert groups.groups[1].refers == frozenset()


def test_chains_are_so_deep_and_no_deeper() -> None:
    groups = table(depth=3)
    add(groups, 1)
    add(groups, 2, 1)
    add(groups, 3, 2)
    assert reason(groups.plan(change(ADD, 4, frozenset((3,))))) is errors.GROUP_CHAIN
    add(groups, 4)
    # From below as well: three groups already lead to this one.
    assert reason(groups.plan(change(MODIFY, 1, frozenset((4,))))) is errors.GROUP_CHAIN
    modify(groups, 3)
    modify(groups, 1, 4)


def test_what_another_leads_to_stays() -> None:
    groups = table()
    add(groups, 1)
    add(groups, 2, 1)
    assert reason(groups.plan(change(DELETE, 1))) is errors.GROUP_CHAINED
    modify(groups, 2)
    assert len(delete(groups, 1)) == 1


def test_everything_goes_dependents_first() -> None:
    groups = table()
    for number, refers in ((1, ()), (2, (1,)), (3, (1, 2)), (4, ())):
        add(groups, number, *refers)
    wanted = [groups.ids[number] for number in (3, 4, 2, 1)]
    assert [g13.parse_group_mod(message).group for message in groups.all_deletes()] == wanted
    assert len(groups.groups) == 4
    assert [sent(step) for step in delete(groups, EVERY)] == [(DELETE, physical) for physical in wanted]
    assert groups.groups == groups.ids == {}


def test_what_leads_somewhere_goes_along() -> None:
    groups = table()
    for number, refers in ((1, ()), (2, (1,)), (3, (2,)), (4, ())):
        add(groups, number, *refers)
    assert groups.leading_to([1]) == {1, 2, 3}
    assert groups.leading_to([]) == set()
    assert [step.virtual for step in groups.remove(groups.leading_to([2]))] == [3, 2]
    assert set(groups.ids) == {1, 4}


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, frozenset[int]]]:
    numbers = st.integers(0, 5)
    return draw(st.lists(st.tuples(numbers, st.frozensets(numbers, max_size=3)), max_size=14))


@given(graphs(), st.integers(1, 4))
def test_chains_are_judged_as_networkx_judges_them(wanted: list[tuple[int, frozenset[int]]], depth: int) -> None:
    groups, graph = table(depth=depth), nx.DiGraph()
    for number, refers in wanted:
        known = number in groups.groups
        refers &= groups.groups.keys()
        trial = graph.copy()
        trial.add_node(number)
        trial.remove_edges_from(list(trial.out_edges(number)))
        trial.add_edges_from((number, other) for other in refers)
        plan = groups.plan(change(MODIFY if known else ADD, number, refers))
        if not nx.is_directed_acyclic_graph(trial):
            assert reason(plan) is errors.GROUP_LOOP
        elif nx.dag_longest_path_length(trial) + 1 > depth:
            assert reason(plan) is errors.GROUP_CHAIN
        else:
            assert len(done(plan)) == 1
            graph = trial
        assert {(a, b) for a, group in groups.groups.items() for b in group.refers} == set(graph.edges)
    for number in graph:
        assert groups.leading_to([number]) == {number, *nx.ancestors(graph, number)}
    order = [step.virtual for step in delete(groups, EVERY)]
    assert sorted(order) == sorted(graph)
    assert all(order.index(a) < order.index(b) for a, b in graph.edges)


# -- quota -------------------------------------------------------------------------------------------


def test_a_quota_is_for_new_groups_only() -> None:
    groups = table(quota=2)
    add(groups, 1)
    add(groups, 2)
    refusal = groups.plan(change(ADD, 3))
    assert reason(refusal) is errors.GROUP_QUOTA
    modify(groups, 2)
    groups.quota = 1
    modify(groups, 2)
    delete(groups, 1)
    assert reason(groups.plan(change(ADD, 3))) is errors.GROUP_QUOTA


# -- what the switch refuses -------------------------------------------------------------------------


def test_a_refused_add_was_never_there() -> None:
    groups = table()
    groups.take_back(add(groups, 1))
    assert groups.groups == groups.ids == {}


def test_a_refused_modify_leaves_what_was() -> None:
    groups = table()
    groups.accepted(add(groups, 1, data=b"old"))
    groups.take_back(modify(groups, 1, data=b"new"))
    assert data_of(groups, 1) == b"old"


@pytest.mark.parametrize(
    ("bad", "left"),
    [("", b"c"), ("c", b"b"), ("b", b"c"), ("bc", b"a"), ("cb", b"a"), ("abc", None), ("cba", None), ("ac", b"b")],
)
def test_errors_come_while_the_controller_has_gone_on(bad: str, left: bytes | None) -> None:
    groups = table()
    steps = {"a": add(groups, 1, data=b"a"), "b": modify(groups, 1, data=b"b"), "c": modify(groups, 1, data=b"c")}
    for name in bad:
        groups.take_back(steps[name])
    assert (data_of(groups, 1) if 1 in groups.groups else None) == left


def test_a_refused_add_does_not_harm_the_one_after_it() -> None:
    groups = table()
    refused = add(groups, 1, data=b"refused")
    delete(groups, 1)
    add(groups, 1, data=b"anew")
    groups.take_back(refused)
    assert data_of(groups, 1) == b"anew"


def test_a_refused_delete_leaves_the_group() -> None:
    groups = table()
    first = add(groups, 1, data=b"kept")
    (step,) = delete(groups, 1)
    groups.accepted(first)
    groups.take_back(step)
    assert (data_of(groups, 1), groups.ids[1]) == (b"kept", sent(first)[1])


def test_a_refused_delete_of_what_was_refused_leaves_nothing() -> None:
    groups = table()
    first = add(groups, 1)
    (step,) = delete(groups, 1)
    groups.take_back(first)
    groups.take_back(step)
    assert groups.groups == {}


def test_a_refused_delete_comes_too_late_for_the_new_one() -> None:
    groups = table()
    add(groups, 1, data=b"old")
    (step,) = delete(groups, 1)
    add(groups, 1, data=b"new")
    groups.take_back(step)
    assert data_of(groups, 1) == b"new"
    groups.accepted(step)


def test_what_is_accepted_is_not_remembered_twice() -> None:
    groups = table()
    add(groups, 1)
    step = modify(groups, 1)
    assert step.made is not None
    assert step.made.before is not None
    groups.accepted(step)
    assert step.made.before is None


def test_what_the_switch_lost_is_lost() -> None:
    groups = table()
    add(groups, 1)
    add(groups, 2)
    groups.keep_only({groups.ids[2], 77})
    assert set(groups.ids) == {2}
    groups.clear()
    assert groups.ids == groups.groups == {}
    assert groups.virtual_of(SLOT << SLOT_SHIFT | 2) is None


class Pipelined(RuleBasedStateMachine):
    """Changes go out before the answers to earlier ones are in; a switch takes or refuses each, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = table()
        self.flight: list[tuple[GroupStep, bytes]] = []
        self.switch: dict[int, bytes] = {}
        self.given: set[int] = set()
        self._count = 0

    @rule(number=st.integers(1, 2))
    def put(self, number: int) -> None:
        self._count += 1
        data = b"%d" % self._count
        if number in self.groups.groups:
            step = modify(self.groups, number, data=data)
        else:
            step = add(self.groups, number, data=data)
            assert sent(step)[1] not in self.given
            self.given.add(sent(step)[1])
        self.flight.append((step, data))

    @rule(number=st.integers(1, 2))
    def take(self, number: int) -> None:
        self.flight += [(step, b"") for step in delete(self.groups, number)]

    @rule(fails=st.booleans())
    def answer(self, fails: bool) -> None:
        """The switch works on the oldest; it cannot modify what it does not have."""
        if not self.flight:
            return
        step, data = self.flight.pop(0)
        command, physical = sent(step)
        if fails or (command == MODIFY and physical not in self.switch):
            self.groups.take_back(step)
            return
        self.groups.accepted(step)
        if command == DELETE:
            self.switch.pop(physical, None)
        else:
            self.switch[physical] = data

    @invariant()
    def in_step(self) -> None:
        assert self.groups.ids == {number: group.physical for number, group in self.groups.groups.items()}
        assert all(self.groups.virtual_of(physical) == number for number, physical in self.groups.ids.items())

    def teardown(self) -> None:
        while self.flight:
            self.answer(False)
        for group in self.groups.groups.values():
            assert self.switch.get(group.physical) == group.data


TestPipelined = Pipelined.TestCase


# -- meters ------------------------------------------------------------------------------------------


def meter(command: int, number: int) -> MeterChange:
    return MeterChange(GRANT, b"", command, 1, number, [g13.Band(1, 100, 0, 0)])


def meters(limit: int = 3, quota: int = 0) -> MeterTable:
    return MeterTable(MeterPool(limit), quota)


def put(own: MeterTable, command: int, number: int) -> list[MeterStep]:
    steps = own.plan(meter(command, number))
    assert not isinstance(steps, Refusal)
    return steps


def test_meters_have_ids_of_the_pool() -> None:
    own, other = meters(), meters()
    other.pool = own.pool
    ids = [put(one, ADD, 1)[0].physical for one in (own, other)]
    assert ids == [1, 2]
    assert own.ids == {1: 1}
    (step,) = put(own, MODIFY, 1)
    assert g13.parse_meter_mod(step.message) == (MODIFY, 1, 1, [g13.Band(1, 100, 0, 0)])


def test_no_meter_is_left() -> None:
    own = meters(limit=2)
    put(own, ADD, 1)
    put(own, ADD, 2)
    refusal = own.plan(meter(ADD, 3))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.detail) == (errors.METER_QUOTA, "the switch has no meter left")
    assert MeterPool().take() is None


def test_ids_in_use_are_passed_over() -> None:
    pool = MeterPool(3, {2})
    assert [pool.take() for _ in range(3)] == [1, 3, None]


def test_a_meter_quota() -> None:
    own = meters(quota=1)
    put(own, ADD, 1)
    refusal = own.plan(meter(ADD, 2))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.detail) == (errors.METER_QUOTA, "1 meters are all this slice may have here")
    assert own.pool.taken == {1}


def test_a_deleted_meters_id_is_not_free_yet() -> None:
    own = meters(limit=2)
    put(own, ADD, 1)
    assert [(step.virtual, step.physical) for step in put(own, DELETE, 1)] == [(1, 1)]
    assert put(own, DELETE, 1) == []
    assert own.pool.taken == {1}
    own.pool.free(1)
    assert [put(own, ADD, 1)[0].physical, put(own, ADD, 2)[0].physical] == [2, 1]


def test_all_meters() -> None:
    own = meters()
    put(own, ADD, 8)
    put(own, ADD, 9)
    assert [step.physical for step in put(own, DELETE, 0xFFFFFFFF)] == [1, 2]
    assert own.ids == {}


def test_meters_refused() -> None:
    own = meters()
    (step,) = put(own, ADD, 1)
    assert own.take_back(step)
    assert own.ids == {}
    assert own.pool.taken == {1}  # until a barrier
    (step,) = put(own, ADD, 1)
    (gone,) = put(own, DELETE, 1)
    assert not own.take_back(step)  # the delete sees to the id
    assert not own.take_back(gone)
    assert own.ids == {1: 2}
    (change_,) = put(own, MODIFY, 1)
    assert not own.take_back(change_)
    (gone,) = put(own, DELETE, 1)
    put(own, ADD, 1)
    assert not own.take_back(gone)
    assert own.ids == {1: 3}


def test_meters_the_switch_lost() -> None:
    own = meters()
    put(own, ADD, 1)
    put(own, ADD, 2)
    own.keep_only({2})
    assert (own.ids, own.pool.taken) == ({2: 2}, {2})
    own.clear()
    assert (own.ids, own.pool.taken) == ({}, set())
