"""One reason for a refusal, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vmoc.errors import Reason


@dataclass(frozen=True, slots=True)
class Entry:
    """One reason for people.

    ``messages`` are the ones that can meet it, ``rule`` what the event and
    ``vmoc explain`` call the step that refuses; ``advice`` is for who wrote
    the controller, or runs it. Sentences, in Markdown.
    """

    reason: Reason
    messages: str
    rule: str
    meaning: str
    advice: str


LIBRARY: Final = "A mistake of the controller's library, or of bytes put together by hand: look at the message itself."
