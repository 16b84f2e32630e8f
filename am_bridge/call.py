"""One call, as the services see it: who calls, how long it may take, and what of it the audit log gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from am_bridge.auth import Caller

LONGEST: Final = 60.0
"""Seconds a call may take at most, whatever its deadline."""
MOST_NAME: Final = 128


def shown_name(text: str) -> str | None:
    """A name that was not checked yet, as the audit log has it; None if it is none."""
    return text[:MOST_NAME] if text and text.isprintable() else None


@dataclass(slots=True)
class Call:
    """``until`` is on the monotonic clock. ``slice_id`` and ``detail`` go to the audit log."""

    method: str
    caller: Caller
    until: float
    peer: str = ""
    slice_id: str | None = None
    detail: dict[str, str | int | bool] = field(default_factory=dict)
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
    """For streams, which run on the API's loop: runs what blocks elsewhere."""

    @property
    def left(self) -> float:
        """Seconds until the deadline; never less than a moment."""
        return max(0.01, self.until - monotonic())
