"""Rules, chains and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from vmoc import errors
from vmoc.errors import OfError, Reason, Refused

Case = TypeVar("Case")
Rule = tuple[str, Callable[[Case], str]]
"""A name and a step: it returns what it found, in words, or raises ``Refused``."""

NOT_OFFERED: Final = frozenset(
    (
        errors.ACTION_TYPE,
        errors.ACTION_EXPERIMENTER,
        errors.SET_FIELD_TYPE,
        errors.INSTRUCTION_TYPE,
        errors.INSTRUCTION_EXPERIMENTER,
        errors.INSTRUCTION_DUPLICATE,
    )
)
"""What the readers cannot read on past, although it is the actions' turn to be refused, not the decoding's."""


class Refusal(NamedTuple):
    """Not allowed: which rule said so, and why."""

    rule: str
    reason: Reason
    detail: str

    def error(self, version: int) -> OfError:
        """The OpenFlow error that tells the controller."""
        return self.reason.error(version)


class Finding(NamedTuple):
    """One line of an explanation: the rule, and what it found or why it refused."""

    rule: str
    passed: bool
    text: str


def run(rules: Sequence[Rule[Case]], case: Case, trace: list[Finding] | None = None) -> Refusal | None:
    """Apply ``rules`` in order; None when all passed, else the first refusal.

    A rule that fails in a way its author did not foresee refuses too: nothing
    passes because of a mistake in a rule.
    """
    for name, rule in rules:
        try:
            text = rule(case)
        except Refused as refused:
            refusal = Refusal(name, refused.reason, refused.detail)
        except Exception as bug:
            refusal = Refusal(name, errors.CODEC_BUG, f"{type(bug).__name__} in rule {name}")
        else:
            if trace is not None:
                trace.append(Finding(name, True, text))
            continue
        if trace is not None:
            trace.append(Finding(name, False, refusal.detail))
        return refusal
    return None
