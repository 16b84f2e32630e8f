"""What every refusal means and what to do about it: the text of docs/reasons.md and of ``vmoc explain``.

Each reason of ``vmoc.errors`` has one entry; a test fails when one is missing.
"""

from __future__ import annotations

from typing import Final

from vmoc.errors import Reason
from vmoc.policy.advice.entry import Entry
from vmoc.policy.advice.flows import ACTIONS, FLOW_MODS, INSTRUCTIONS, MATCHES, PACKETS
from vmoc.policy.advice.messages import ASKING, FRAMING, SWITCH
from vmoc.policy.advice.objects import GROUPS

CHAPTERS: Final[tuple[tuple[str, tuple[Entry, ...]], ...]] = (
    ("Messages", FRAMING),
    ("Matches", MATCHES),
    ("Flow-mods", FLOW_MODS),
    ("Actions", ACTIONS),
    ("Instructions", INSTRUCTIONS),
    ("Packet-outs", PACKETS),
    ("Groups and meters", GROUPS),
    ("The switch and its ports", SWITCH),
    ("Questions and roles", ASKING),
)
ENTRIES: Final[dict[str, Entry]] = {entry.reason.code: entry for _, entries in CHAPTERS for entry in entries}
PAGE: Final = "docs/reasons.md"


def advice_of(reason: Reason) -> str:
    """What to do about it; empty for a reason without an entry."""
    entry = ENTRIES.get(reason.code)
    return entry.advice if entry is not None else ""
