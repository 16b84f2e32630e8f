"""Actions and instructions of 1.3: the tables of the policy, a row per action, field and instruction."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vmoc.policy.grants import PRESENTATIONS, V13, tagged
from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.model import Policy
from vmoc.openflow import v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm
from vmoc.policy.actions13 import narrow, narrow_instructions, offered, settable
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import Outputs

VACT, AARG, OUT, QUEUE = errors.VLAN_ACTION, errors.ACTION_ARGUMENT, errors.FOREIGN_OUT_PORT, errors.FOREIGN_QUEUE
ATYPE, SET, VALUE, GROUP = errors.ACTION_TYPE, errors.SET_FIELD_TYPE, errors.SET_FIELD_VALUE, errors.UNKNOWN_GROUP
PASS = "pass"
EVERYWHERE = dict.fromkeys((1, 2, 3), frozenset((7,)))
PLACES = tuple(PRESENTATIONS)
TO3: a13.Action = (a13.OUTPUT, 3, 0)

# action: tagged, transparent, native
ACTIONS: list[tuple[a13.Action, Reason | str, Reason | str, Reason | str]] = [
    ((a13.OUTPUT, 2, 128), PASS, PASS, PASS),
    ((a13.OUTPUT, 4, 128), OUT, OUT, OUT),
    ((a13.OUTPUT, 0, 128), OUT, OUT, OUT),
    ((a13.COPY_TTL_OUT,), PASS, PASS, PASS),
    ((a13.COPY_TTL_IN,), PASS, PASS, PASS),
    ((a13.SET_MPLS_TTL, 9), PASS, PASS, PASS),
    ((a13.DEC_MPLS_TTL,), PASS, PASS, PASS),
    ((a13.PUSH_VLAN, 0x8100), VACT, VACT, VACT),
    ((a13.PUSH_VLAN, 0x88A8), VACT, VACT, VACT),
    ((a13.PUSH_VLAN, 0x9100), AARG, VACT, VACT),
    ((a13.POP_VLAN,), VACT, VACT, VACT),
    ((a13.PUSH_MPLS, 0x8847), ATYPE, ATYPE, ATYPE),
    ((a13.POP_MPLS, 0x0800), ATYPE, ATYPE, ATYPE),
    ((a13.GROUP, 1), GROUP, GROUP, GROUP),
    ((a13.SET_NW_TTL, 9), PASS, PASS, PASS),
    ((a13.DEC_NW_TTL,), PASS, PASS, PASS),
    ((a13.PUSH_PBB, 0x88E7), ATYPE, ATYPE, ATYPE),
    ((a13.POP_PBB,), ATYPE, ATYPE, ATYPE),
    ((a13.SET_FIELD, 6, 0x1064), PASS, VACT, VACT),
    ((a13.SET_FIELD, 6, 0x10C8), VACT, VACT, VACT),
    ((a13.SET_FIELD, 6, 0x1000), VACT, VACT, VACT),
    ((a13.SET_FIELD, 6, 0x0064), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 6, 0x2064), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 7, 0), PASS, VACT, VACT),
    ((a13.SET_FIELD, 7, 8), VALUE, VACT, VACT),
    *[
        ((a13.SET_FIELD, number, 1), *3 * ((SET,) if number in (0, 1, 2, 5, 10, 38, 39) else (PASS,)))
        for number in oxm.FIELDS
        if number not in (6, 7)
    ],
    ((a13.SET_FIELD, 8, 64), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 9, 4), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 28, 1 << 20), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 34, 1 << 20), VALUE, VALUE, VALUE),
    ((a13.SET_FIELD, 36, 2), VALUE, VALUE, VALUE),
]  # type: ignore[list-item]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", ACTIONS, ids=[str(row[0]) for row in ACTIONS])
def test_action_in_a_list_and_in_a_set(row: tuple[a13.Action, ...], place: str) -> None:
    grant, expected = PRESENTATIONS[place](V13), row[1 + PLACES.index(place)]
    for in_set in (False, True):
        for actions in ([row[0], TO3], [TO3, row[0]]):
            outputs = Outputs(grant, None, in_set=in_set)
            if isinstance(expected, Reason):
                with pytest.raises(Refused) as caught:
                    narrow(grant, actions, outputs, in_set=in_set)
                assert caught.value.reason is expected
            else:
                assert narrow(grant, actions, outputs, in_set=in_set) == actions


def only(grant: Grant, *actions: a13.Action, packet_out: bool = False, **how: Any) -> list[a13.Action]:
    return narrow(grant, list(actions), Outputs(grant, None, packet_out=packet_out), **how)


def refused(grant: Grant, *actions: a13.Action, **how: Any) -> Reason:
    with pytest.raises(Refused) as caught:
        only(grant, *actions, **how)
    return caught.value.reason


def test_the_controller_gets_whole_packets() -> None:
    assert only(tagged(V13), (a13.OUTPUT, v13.CONTROLLER, 128)) == [(a13.OUTPUT, v13.CONTROLLER, 0xFFFF)]


def test_an_operator_may_keep_priorities_to_himself() -> None:
    grant = tagged(V13, policy=Policy(pcp="reject"))
    assert refused(grant, (a13.SET_FIELD, 7, 5)) is VACT
    assert refused(grant, (a13.SET_FIELD, 7, 8)) is VALUE


def test_groups_go_by_the_slices_own_numbers() -> None:
    grant = tagged(V13, groups={5: 0x10005})
    assert only(grant, (a13.GROUP, 5)) == [(a13.GROUP, 0x10005)]
    assert refused(grant, (a13.GROUP, 0x10005)) is GROUP


Q7, Q9, TO1, TO2 = (a13.SET_QUEUE, 7), (a13.SET_QUEUE, 9), (a13.OUTPUT, 1, 0), (a13.OUTPUT, 2, 0)
TO_CONTROLLER, BACK = (a13.OUTPUT, v13.CONTROLLER, 0xFFFF), (a13.OUTPUT, v13.IN_PORT, 0)
TO_TABLE, GROUP5 = (a13.OUTPUT, v13.TABLE, 0), (a13.GROUP, 5)


@pytest.mark.parametrize(
    ("allowed", "actions", "how"),
    [
        (True, (Q7, TO2), {}),
        (False, (Q7, TO1), {}),
        (False, (Q7, TO2, TO1), {}),
        (False, (Q9, TO2), {}),
        (True, (TO1, Q7, TO2), {}),
        (False, (Q9, TO2, Q7, TO2), {}),
        (True, (Q9,), {}),
        (True, (Q9, Q7, TO2), {}),
        (True, (Q9, TO_CONTROLLER), {}),
        (False, (Q7, BACK), {}),
        (False, (Q7, GROUP5), {}),
        (False, (Q7, TO2), {"output_follows": True}),
        (False, (Q7,), {"output_follows": True}),
        (True, (TO2,), {"output_follows": True}),
        (False, (Q7, TO2), {"in_set": True}),
        (False, (Q7, TO_TABLE), {"packet_out": True}),
        (False, (Q9, TO_TABLE, Q7, TO2), {"packet_out": True}),
        (True, (TO_TABLE, Q7, TO2), {"packet_out": True}),
    ],
)
def test_queue_on_one_port(allowed: bool, actions: tuple[a13.Action, ...], how: dict[str, bool]) -> None:
    grant = tagged(V13, groups={5: 5})
    if allowed:
        assert only(grant, *actions, **how) == list(actions)
    else:
        assert refused(grant, *actions, **how) is QUEUE
    # Granted everywhere, 7 is never in the way; 9 is granted nowhere.
    if Q9 not in actions:
        assert only(tagged(V13, groups={5: 5}, queues=EVERYWHERE), *actions, **how) == list(actions)


# -- instructions ----------------------------------------------------------------------------------

APPLY, WRITE = v13.APPLY_ACTIONS, v13.WRITE_ACTIONS


def instructions(*wanted: a13.Instruction, table: int = 0, grant: Grant | None = None) -> list[a13.Instruction]:
    return narrow_instructions(grant or tagged(V13), table, list(wanted), None)[0]


@pytest.mark.parametrize(("table", "to", "allowed"), [
    (0, 1, True), (0, 3, True), (0, 4, False), (0, 0, False), (2, 1, False), (2, 2, False), (2, 3, True),
    (0, 254, False), (0, 255, False), (3, 4, False),
])  # fmt: skip
def test_goto_leads_to_a_later_existing_table(table: int, to: int, allowed: bool) -> None:
    goto = (v13.GOTO_TABLE, to)
    if allowed:
        assert instructions(goto, table=table) == [goto]
    else:
        with pytest.raises(Refused) as caught:
            instructions(goto, table=table)
        assert caught.value.reason is errors.GOTO_TABLE


def test_metadata_and_clear_pass() -> None:
    wanted = [(v13.WRITE_METADATA, 5, 0xFF), (v13.CLEAR_ACTIONS,)]
    assert instructions(*wanted) == wanted


def test_meters_go_by_the_slices_own_numbers() -> None:
    assert instructions((v13.METER, 3), grant=tagged(V13, meters={3: 77})) == [(v13.METER, 77)]
    with pytest.raises(Refused) as caught:
        instructions((v13.METER, 77), grant=tagged(V13, meters={3: 77}))
    assert caught.value.reason is errors.UNKNOWN_METER


def test_flood_is_expanded_in_a_list_and_refused_in_a_set() -> None:
    flood = (a13.OUTPUT, v13.FLOOD, 9)
    physical, floods = narrow_instructions(tagged(V13), 0, [(APPLY, [flood])], 2)
    assert physical == [(APPLY, [(a13.OUTPUT, 1, 9), (a13.OUTPUT, 3, 9)])] and floods
    assert not narrow_instructions(tagged(V13), 0, [(APPLY, [TO1])], 2)[1]
    with pytest.raises(Refused) as caught:
        instructions((WRITE, [flood]))
    assert caught.value.reason is OUT


def test_both_lists_are_judged() -> None:
    assert instructions((WRITE, [TO2]), (APPLY, [TO1])) == [(WRITE, [TO2]), (APPLY, [TO1])]
    for kind in (WRITE, APPLY):
        with pytest.raises(Refused) as caught:
            instructions((kind, [(a13.POP_VLAN,)]))
        assert caught.value.reason is VACT


@pytest.mark.parametrize(
    ("table", "others", "allowed"),
    [
        (0, [], True),
        (1, [], False),
        (0, [(v13.GOTO_TABLE, 1)], False),
        (0, [(WRITE, [TO2])], False),
        (0, [(v13.WRITE_METADATA, 1, 1), (v13.CLEAR_ACTIONS,)], True),
    ],
)
def test_a_queue_must_be_granted_wherever_the_packet_may_still_go(
    table: int, others: list[a13.Instruction], allowed: bool
) -> None:
    wanted = [(APPLY, [Q7, TO2]), *others]
    if allowed:
        assert instructions(*wanted, table=table) == wanted
    else:
        with pytest.raises(Refused) as caught:
            instructions(*wanted, table=table)
        assert caught.value.reason is QUEUE
    assert instructions(*wanted, table=table, grant=tagged(V13, queues=EVERYWHERE)) == wanted


# -- buckets, MPLS, and what a slice is told it may use ----------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "actions"),
    [
        (True, (Q7, TO2)),
        (True, (TO2, Q7)),  # a set: the order does not matter
        (False, (Q7, TO1)),
        (False, (TO2, Q7, TO1)),
        (False, (Q7, BACK)),
        (False, (Q7, GROUP5)),
        (False, (GROUP5, Q7)),
        (True, (Q7, TO_CONTROLLER)),
        (True, (Q7,)),
        (False, (Q9, TO2)),
    ],
)
def test_queue_in_a_bucket_is_for_its_own_outputs(allowed: bool, actions: tuple[a13.Action, ...]) -> None:
    grant = tagged(V13, groups={5: 5})
    if allowed:
        assert only(grant, *actions, in_bucket=True) == list(actions)
    else:
        assert refused(grant, *actions, in_bucket=True) is QUEUE


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ((a13.PUSH_MPLS, 0x8847), PASS),
        ((a13.PUSH_MPLS, 0x8848), PASS),
        ((a13.PUSH_MPLS, 0x0800), AARG),
        ((a13.POP_MPLS, 0x0800), PASS),
        ((a13.POP_MPLS, 0x8847), PASS),
        *[((a13.POP_MPLS, tag), AARG) for tag in (0x8100, 0x88A8, 0x9100, 0x88E7)],
    ],
)
def test_mpls_where_the_operator_allows_it(place: str, action: a13.Action, expected: Reason | str) -> None:
    grant = PRESENTATIONS[place](V13, policy=Policy(mpls=True))
    if isinstance(expected, Reason):
        assert refused(grant, action, TO2) is expected
    else:
        assert only(grant, action, TO2) == [action, TO2]
    assert refused(grant, action, TO2, in_set=True) is ATYPE


EXAMPLES: dict[int, a13.Action] = {
    a13.OUTPUT: TO2,
    a13.COPY_TTL_OUT: (a13.COPY_TTL_OUT,),
    a13.COPY_TTL_IN: (a13.COPY_TTL_IN,),
    a13.SET_MPLS_TTL: (a13.SET_MPLS_TTL, 9),
    a13.DEC_MPLS_TTL: (a13.DEC_MPLS_TTL,),
    a13.PUSH_VLAN: (a13.PUSH_VLAN, 0x8100),
    a13.POP_VLAN: (a13.POP_VLAN,),
    a13.PUSH_MPLS: (a13.PUSH_MPLS, 0x8847),
    a13.POP_MPLS: (a13.POP_MPLS, 0x0800),
    a13.SET_QUEUE: Q7,
    a13.GROUP: GROUP5,
    a13.SET_NW_TTL: (a13.SET_NW_TTL, 9),
    a13.DEC_NW_TTL: (a13.DEC_NW_TTL,),
    a13.SET_FIELD: (a13.SET_FIELD, oxm.ETH_DST, 1),
    a13.PUSH_PBB: (a13.PUSH_PBB, 0x88E7),
    a13.POP_PBB: (a13.POP_PBB,),
}
WITH: dict[int, list[a13.Action]] = {
    a13.PUSH_VLAN: [(a13.SET_FIELD, oxm.VLAN_VID, 0x1064)],
    a13.POP_VLAN: [EXAMPLES[a13.PUSH_VLAN], (a13.SET_FIELD, oxm.VLAN_VID, 0x1064)],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("policy", [Policy(), Policy(qinq=True), Policy(mpls=True)], ids=["plain", "qinq", "mpls"])
@pytest.mark.parametrize("queues", [{}, EVERYWHERE], ids=["no queues", "queues"])
@pytest.mark.parametrize("in_set", [False, True], ids=["list", "set"])
def test_what_is_offered_is_what_passes(place: str, policy: Policy, queues: Any, in_set: bool) -> None:
    grant = PRESENTATIONS[place](V13, policy=policy, queues=queues, groups={5: 5})
    passing = set()
    for kind, action in EXAMPLES.items():
        try:
            only(grant, action, *WITH.get(kind, []), *([TO2] if kind == a13.SET_QUEUE else []), in_set=in_set)
        except Refused:
            continue
        passing.add(kind)
    assert offered(grant, in_set=in_set) == passing


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pcp", ["pass", "reject"])
def test_what_is_settable_is_what_passes(place: str, pcp: str) -> None:
    grant = PRESENTATIONS[place](V13, policy=Policy(pcp=pcp))
    passing = set()
    for number in oxm.FIELDS:
        try:
            only(grant, (a13.SET_FIELD, number, 0x1064 if number == oxm.VLAN_VID else 1))
        except Refused:
            continue
        passing.add(number)
    assert settable(grant) == passing
