from __future__ import annotations

import struct

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.policy.verdict import NOT_OFFERED, Finding, Refusal, run


def test_all_rules_pass() -> None:
    trace: list[Finding] = []
    rules = [("first", lambda case: f"saw {case}"), ("second", lambda case: "fine")]
    assert run(rules, "x", trace) is None
    assert trace == [Finding("first", True, "saw x"), Finding("second", True, "fine")]
    assert run(rules, "x") is None


def test_the_first_refusal_answers_and_the_rest_is_not_asked() -> None:
    asked = []

    def refuses(case: str) -> str:
        raise Refused(errors.FOREIGN_VLAN, "names 200")

    def later(case: str) -> str:
        asked.append(case)
        return ""

    trace: list[Finding] = []
    rules = [("first", lambda case: "ok"), ("match", refuses), ("later", later)]
    refusal = run(rules, "x", trace)
    assert refusal == Refusal("match", errors.FOREIGN_VLAN, "names 200")
    assert refusal.error(1) == (3, 2) and refusal.error(4) == (5, 4)
    assert trace == [Finding("first", True, "ok"), Finding("match", False, "names 200")]
    assert run(rules, "x") == refusal
    assert not asked


@pytest.mark.parametrize("bug", [ValueError, KeyError, IndexError, struct.error, AssertionError, AttributeError])
def test_a_mistake_in_a_rule_refuses(bug: type[Exception]) -> None:
    def fails(case: str) -> str:
        raise bug("not foreseen")

    refusal = run([("decode", fails)], "x")
    assert refusal is not None
    assert (refusal.rule, refusal.reason) == ("decode", errors.CODEC_BUG)
    assert bug.__name__ in refusal.detail


def test_what_is_not_offered_has_an_error_in_the_action_or_instruction_class() -> None:
    assert {reason.error(4)[0] for reason in NOT_OFFERED} == {2, 3}
