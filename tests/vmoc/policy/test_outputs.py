"""Which ports an output may name (one table for both versions), and how many."""

from __future__ import annotations

import pytest

from tests.vmoc.policy.grants import LOCAL, V10, V13, VERSIONS, tagged
from vmoc import errors
from vmoc.errors import Refused
from vmoc.model import Policy
from vmoc.openflow import v10, v13
from vmoc.policy.outputs import ANYWHERE, Outputs

NO = None
# port: the ports it becomes in a list, in a packet-out from port 1, in a packet-out from nowhere, in a set
TABLE = {
    "2": ([2], [2], [2], [2]),
    "4": (NO, NO, NO, NO),
    "0": (NO, NO, NO, NO),
    "IN_PORT": (["IN_PORT"], ["IN_PORT"], NO, ["IN_PORT"]),
    "FLOOD": ([1, 2, 3], [2, 3], [1, 2, 3], NO),
    "ALL": ([1, 2, 3], [2, 3], [1, 2, 3], NO),
    "CONTROLLER": (["CONTROLLER"], ["CONTROLLER"], ["CONTROLLER"], ["CONTROLLER"]),
    "NORMAL": (NO, NO, NO, NO),
    "LOCAL": (NO, NO, NO, NO),
    "TABLE": (NO, ["TABLE"], ["TABLE"], NO),
    "none": (NO, NO, NO, NO),
    "MAX": (NO, NO, NO, NO),
    "reserved": (NO, NO, NO, NO),
}
CONTEXTS = ("list", "packet-out from 1", "packet-out from nowhere", "set")


def number(version: int, name: str | int) -> int:
    if isinstance(name, int) or name.isdigit():
        return int(name)
    if name == "none":
        return v10.NONE if version == V10 else v13.ANY
    if name == "reserved":
        return 0xFFF7 if version == V10 else 0xFFFFFFF7
    found = getattr(v10 if version == V10 else v13, name, None)
    return found if found is not None else LOCAL[version]


def outputs(version: int, context: str) -> Outputs:
    grant = tagged(version)
    return {
        "list": Outputs(grant, None),
        "packet-out from 1": Outputs(grant, 1, packet_out=True),
        "packet-out from nowhere": Outputs(grant, ANYWHERE, packet_out=True),
        "set": Outputs(grant, None, in_set=True),
    }[context]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("port", TABLE)
def test_port(version: int, context: str, port: str) -> None:
    expected = TABLE[port][CONTEXTS.index(context)]
    judge = outputs(version, context)
    if expected is None:
        with pytest.raises(Refused) as caught:
            judge.expand(number(version, port))
        assert caught.value.reason is errors.FOREIGN_OUT_PORT
    else:
        assert judge.expand(number(version, port)) == [number(version, each) for each in expected]
    assert judge.floods is (expected is not None and port in ("FLOOD", "ALL"))


@pytest.mark.parametrize("version", VERSIONS)
def test_local_only_when_granted_and_never_by_flood(version: int) -> None:
    judge = Outputs(tagged(version, ports=frozenset((1, LOCAL[version]))), None)
    assert judge.expand(LOCAL[version]) == [LOCAL[version]]
    assert judge.expand(number(version, "FLOOD")) == [1]
    assert judge.expand(number(version, "ALL")) == [1]


def test_the_slices_own_no_flood_holds_for_flood_in_1_0_alone() -> None:
    marked = frozenset((2,))
    assert Outputs(tagged(V10, no_flood=marked), None).expand(v10.FLOOD) == [1, 3]
    assert Outputs(tagged(V10, no_flood=marked), None).expand(v10.ALL) == [1, 2, 3]
    assert Outputs(tagged(V13, no_flood=marked), None).expand(v13.FLOOD) == [1, 2, 3]


def test_flood_on_the_only_port_leads_nowhere() -> None:
    judge = Outputs(tagged(V13, ports=frozenset((1,))), 1)
    assert judge.expand(v13.FLOOD) == []
    assert judge.floods


def test_as_many_copies_to_one_port_as_the_policy_allows() -> None:
    judge = Outputs(tagged(V13, policy=Policy(max_dup_outputs=2)), None)
    judge.expand(1)
    judge.expand(v13.FLOOD)
    judge.expand(v13.CONTROLLER)
    with pytest.raises(Refused) as caught:
        judge.expand(1)
    assert caught.value.reason is errors.TOO_MANY_ACTIONS


def test_as_many_outputs_in_all_as_fit_the_slice() -> None:
    judge = Outputs(tagged(V13, ports=frozenset(range(1, 11)), policy=Policy(max_dup_outputs=99)), None)
    for _ in range(6):
        judge.expand(v13.ALL)
    for _ in range(4):
        judge.expand(1)
    with pytest.raises(Refused) as caught:
        judge.expand(v13.CONTROLLER)
    assert caught.value.reason is errors.TOO_MANY_ACTIONS
