"""What is remembered of a message sent to a switch, until nothing can come back for it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from vmoc.mux.flows import Entry, Plan

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.inflight import InFlight
    from vmoc.mux.north import NorthSession


class Expected(Enum):
    """What answers a message, besides an error."""

    NOTHING = auto()
    BARRIER = auto()
    STATISTICS = auto()
    QUEUE_CONFIG = auto()
    OWN = auto()
    """Ours; ``done`` is called with each answer."""
    OPERATOR = auto()
    """An os-ken application's; the answer goes to it under ``xid``."""


class Sent:
    """One message on its way. Small, because there is one per flow-mod and packet-out in flight."""

    __slots__ = ("added", "expected", "message", "session")

    def __init__(
        self, expected: Expected, session: NorthSession | None, message: bytes, added: Entry | None = None
    ) -> None:
        self.expected = expected
        self.session = session
        self.message = message
        self.added = added


class Request(Sent):
    """One that is answered, or is one part of several; has room for what that takes."""

    __slots__ = (
        "at",
        "done",
        "heavy",
        "part",
        "plan",
        "scope",
        "serial",
        "settled",
        "settles",
        "size",
        "undo",
        "unit",
        "xid",
    )

    def __init__(
        self,
        expected: Expected,
        session: NorthSession | None,
        message: bytes,
        *,
        at: float = 0.0,
        xid: int = 0,
        plan: Plan | None = None,
        part: int = 0,
        unit: Unit | None = None,
        done: Callable[[bytes, float], None] | None = None,
    ) -> None:
        super().__init__(expected, session, message, plan.added if plan else None)
        self.at = at
        self.xid = xid
        self.plan = plan
        self.part = part
        self.unit = unit
        self.settles: list[int] = []
        """The messages a barrier confirms, by xid."""
        self.done = done
        self.size = 0
        """Bytes of the answer so far, of a request of ours."""
        self.scope: VirtualDatapath | InFlight | None = None
        """Whose messages a barrier settles."""
        self.serial = 0
        """The last serial of its flows that a barrier confirms."""
        self.heavy = 0
        """How many bytes of heavy messages are among them."""
        self.undo: Callable[[float], None] | None = None
        """Called when the switch refuses the message."""
        self.settled: Callable[[], None] | None = None
        """Called when a later barrier has confirmed it."""


class Unit:
    """Several physical messages that came of one: only the first error is the controller's business."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False
