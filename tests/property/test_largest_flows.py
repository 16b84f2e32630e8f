"""A flow the policy accepts can always be reported and modified: no answer about it is longer than a message.

A switch's reply that we could not rewrite would count against the switch, so one slice's huge flow would be
everybody's problem.
"""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.openflow import stats, v10, v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.verdict import Refusal

COUNTS = range(8060, 8184, 4)
EVERY_FIELD = tuple((number, 0, 1 if field.maskable else None) for number, field in sorted(oxm.FIELDS.items()))


def flow10(count: int) -> bytes:
    """That many actions; transparent slices may say strip_vlan, which comes to nothing on the switch."""
    return f10.flow_mod(1, m10.pack(), v10.ADD, actions=a10.pack([(a10.STRIP_VLAN,)] * count))


def flow13(count: int) -> bytes:
    """That many actions."""
    do = a13.pack_instructions([(v13.APPLY_ACTIONS, [(a13.DEC_NW_TTL,)] * count)])
    return f13.flow_mod(1, oxm.pack(()), v10.ADD, instructions=do)


@pytest.mark.parametrize("transparent", [True, False])
def test_flows_of_1_0(transparent: bool) -> None:
    verdicts = []
    for count in COUNTS:
        data = flow10(count) if transparent else flow10(count).replace(b"\0\3\0\x08\0\0\0\0", b"\0\x08\0\x08\0\0\0\0")
        verdict = vet_flow_mod(Grant(1, 101, frozenset((1, 2)), hides_tag=transparent), data)
        verdicts.append(isinstance(verdict, FlowChange))
        if isinstance(verdict, Refusal):
            assert verdict.reason is errors.TOO_MANY_ACTIONS
            continue
        assert len(verdict.body) == (0 if transparent else len(data) - f10.FIXED)
        entry = f10.rewrite_entry(bytes(f10.ENTRY_FIXED), verdict.match, 1, 2, data[f10.FIXED :])
        assert len(list(stats.replies(1, 1, stats.FLOW, [entry, entry]))) == 2
    assert verdicts == sorted(verdicts, reverse=True)
    assert verdicts[0] and not verdicts[-1]


def test_flows_of_1_3() -> None:
    longest = oxm.pack(EVERY_FIELD)
    verdicts = []
    for count in COUNTS:
        data = flow13(count)
        verdict = vet_flow_mod(Grant(4, 101, frozenset((1, 2))), data)
        verdicts.append(isinstance(verdict, FlowChange))
        if isinstance(verdict, Refusal):
            assert verdict.reason is errors.TOO_MANY_ACTIONS
            continue
        # A modify may give these actions to a flow with any other match.
        f13.flow_mod(1, longest, v10.MODIFY_STRICT, instructions=verdict.body)
        entry = f13.rewrite_entry(bytes(f13.ENTRY_MATCH), 0, longest, 1, 0, 2, verdict.body)
        assert len(list(stats.replies(4, 1, stats.FLOW, [entry, entry]))) == 2
    assert verdicts == sorted(verdicts, reverse=True)
    assert verdicts[0] and not verdicts[-1]
