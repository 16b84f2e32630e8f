"""Actions of 1.0: the table of the policy, a row per action."""

from __future__ import annotations

import pytest

from tests.vmoc.policy.grants import PRESENTATIONS, V10, tagged
from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.model import Policy
from vmoc.openflow import v10
from vmoc.openflow.v10 import actions as a10
from vmoc.policy.actions10 import narrow
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import ANYWHERE, Outputs

VACT, AARG, OUT, QUEUE = errors.VLAN_ACTION, errors.ACTION_ARGUMENT, errors.FOREIGN_OUT_PORT, errors.FOREIGN_QUEUE
PASS, GONE = "pass", "elided"
MAC = b"\x02\0\0\0\0\1"

# action: tagged, transparent, native
TABLE: list[tuple[a10.Action, Reason | str, Reason | str, Reason | str]] = [
    ((a10.OUTPUT, 2, 128), PASS, PASS, PASS),
    ((a10.OUTPUT, 4, 128), OUT, OUT, OUT),
    ((a10.SET_VLAN_VID, 100), PASS, VACT, VACT),
    ((a10.SET_VLAN_VID, 200), VACT, VACT, VACT),
    ((a10.SET_VLAN_VID, 0), VACT, VACT, VACT),
    ((a10.SET_VLAN_VID, 4095), VACT, VACT, VACT),
    ((a10.SET_VLAN_VID, 4096), AARG, AARG, AARG),
    ((a10.SET_VLAN_VID, 0x1064), AARG, AARG, AARG),
    ((a10.SET_VLAN_VID, 0xFFFF), AARG, AARG, AARG),
    ((a10.SET_VLAN_PCP, 0), PASS, VACT, VACT),
    ((a10.SET_VLAN_PCP, 7), PASS, VACT, VACT),
    ((a10.SET_VLAN_PCP, 8), AARG, VACT, VACT),
    ((a10.STRIP_VLAN,), VACT, GONE, GONE),
    ((a10.SET_DL_SRC, MAC), PASS, PASS, PASS),
    ((a10.SET_DL_DST, MAC), PASS, PASS, PASS),
    ((a10.SET_NW_SRC, 1), PASS, PASS, PASS),
    ((a10.SET_NW_DST, 1), PASS, PASS, PASS),
    ((a10.SET_NW_TOS, 4), PASS, PASS, PASS),
    ((a10.SET_TP_SRC, 80), PASS, PASS, PASS),
    ((a10.SET_TP_DST, 80), PASS, PASS, PASS),
    ((a10.ENQUEUE, 2, 7), PASS, PASS, PASS),
    ((a10.ENQUEUE, 2, 8), QUEUE, QUEUE, QUEUE),
    ((a10.ENQUEUE, 1, 7), QUEUE, QUEUE, QUEUE),
    ((a10.ENQUEUE, 4, 7), OUT, OUT, OUT),
    ((a10.ENQUEUE, v10.IN_PORT, 7), QUEUE, QUEUE, QUEUE),
    ((a10.ENQUEUE, v10.FLOOD, 7), OUT, OUT, OUT),
    ((a10.ENQUEUE, v10.CONTROLLER, 7), OUT, OUT, OUT),
]
PLACES = tuple(PRESENTATIONS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("row", TABLE, ids=[str(row[0]) for row in TABLE])
def test_action(row: tuple[a10.Action, ...], position: str, place: str) -> None:
    grant, expected = PRESENTATIONS[place](V10), row[1 + PLACES.index(place)]
    other: a10.Action = (a10.OUTPUT, 3, 0)
    actions = [row[0], other] if position == "before" else [other, row[0]]
    if isinstance(expected, Reason):
        with pytest.raises(Refused) as caught:
            narrow(grant, actions, Outputs(grant, None))
        assert caught.value.reason is expected
    else:
        kept = [each for each in actions if each is other or expected == PASS]
        assert narrow(grant, actions, Outputs(grant, None)) == kept


def only(grant: Grant, *actions: a10.Action, in_port: int | None = None) -> list[a10.Action]:
    return narrow(grant, list(actions), Outputs(grant, in_port, packet_out=in_port == ANYWHERE))


def test_the_controller_gets_whole_packets() -> None:
    assert only(tagged(V10), (a10.OUTPUT, v10.CONTROLLER, 128)) == [(a10.OUTPUT, v10.CONTROLLER, 0xFFFF)]


def test_flood_in_the_middle() -> None:
    actions = only(tagged(V10), (a10.SET_NW_TOS, 4), (a10.OUTPUT, v10.FLOOD, 9), (a10.SET_TP_SRC, 80), in_port=2)
    assert actions == [(a10.SET_NW_TOS, 4), (a10.OUTPUT, 1, 9), (a10.OUTPUT, 3, 9), (a10.SET_TP_SRC, 80)]


def test_a_queue_on_every_port_may_be_used_for_in_port() -> None:
    grant = tagged(V10, queues=dict.fromkeys((1, 2, 3), frozenset((7,))))
    assert only(grant, (a10.ENQUEUE, v10.IN_PORT, 7)) == [(a10.ENQUEUE, v10.IN_PORT, 7)]
    with pytest.raises(Refused) as caught:
        only(grant, (a10.ENQUEUE, v10.IN_PORT, 7), in_port=ANYWHERE)
    assert caught.value.reason is OUT


def test_an_operator_may_keep_priorities_to_himself() -> None:
    for pcp, reason in ((5, VACT), (8, AARG)):
        with pytest.raises(Refused) as caught:
            only(tagged(V10, policy=Policy(pcp="reject")), (a10.SET_VLAN_PCP, pcp))
        assert caught.value.reason is reason


def test_enqueue_counts_as_an_output() -> None:
    with pytest.raises(Refused) as caught:
        only(tagged(V10, policy=Policy(max_dup_outputs=1)), (a10.OUTPUT, 2, 0), (a10.ENQUEUE, 2, 7))
    assert caught.value.reason is errors.TOO_MANY_ACTIONS
