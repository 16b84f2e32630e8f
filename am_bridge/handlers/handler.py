"""The interface of a handler: five verbs on a sliver, each of which may block, fail, and be stopped.

A handler is called in a thread of its own. ``create`` and ``delete`` are
idempotent: creating what is there changes nothing, deleting what is not there
succeeds, and ``delete`` removes whatever a create that was killed anywhere left.
``probe`` changes nothing. What a handler knows it returns; how it failed it
raises as ``HandlerError``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from am_bridge.handlers.difference import Difference
from am_bridge.handlers.spec import SliverKey, SliverSpec


class Verb(StrEnum):
    """What can be asked of a handler."""

    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"
    PROBE = "probe"
    ACTION = "action"
    INVENTORY = "inventory"
    """Of a host, not of a sliver: what is there that carries our mark?"""


class SliverState(StrEnum):
    """What a handler last said about a sliver."""

    PENDING = "pending"
    """Being created."""
    READY = "ready"
    STOPPED = "stopped"
    DEGRADED = "degraded"
    """There, but not as specified; the problems say how."""
    ABSENT = "absent"
    FAILED = "failed"
    """Nobody knows, or leftovers remain: delete it again, or forget it."""


class FailureKind(StrEnum):
    """Why a run failed, for those who must choose a status code."""

    TASK = "task"
    """A step of the handler failed."""
    UNREACHABLE = "unreachable"
    """The host could not be reached."""
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    """Cancelled."""
    CRASHED = "crashed"
    """The handler's process died, or the handler broke its own rules."""
    UNSUPPORTED = "unsupported"
    """The handler has no such action."""
    INVALID = "invalid"
    """The request cannot be met as it is; trying again will not help."""
    EXHAUSTED = "exhausted"
    """There is nothing left of what it takes."""
    RESTARTED = "restarted"
    """The service was restarted meanwhile."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where a sliver lives. ``variables`` are the operator's, for the handler."""

    name: str
    address: str = ""
    """Empty: this machine."""
    variables: dict[str, Any] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)
    """How much it has for slivers (see ``placement``); what is not named is not limited."""


@dataclass(frozen=True, slots=True)
class NicStatus:
    """A network card as it is: what joins a sliver to its slice's segment."""

    name: str
    mac: str = ""
    vlan: int = 0
    dpid: str = ""
    """Of the switch the card is at: ``0x`` and 16 digits."""
    port: int = 0
    """Its OpenFlow port there."""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """A way in."""

    host: str
    port: int
    user: str = ""


@dataclass(frozen=True, slots=True)
class HandlerResult:
    """What a verb found or made. ``facts`` are the handler's own; an action's answer is there."""

    state: SliverState
    instance: str = ""
    """The name on the host."""
    interfaces: tuple[NicStatus, ...] = ()
    management_addresses: tuple[str, ...] = ()
    logins: tuple[Login, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    """What could not be removed, as ``kind:name``."""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class HandlerFailure:
    """Where and why a run failed; without secrets."""

    kind: FailureKind
    message: str
    playbook: str = ""
    task: str = ""
    host: str = ""
    rc: int = 0
    """Exit status of what ran; negative: the signal that ended it."""
    output: tuple[str, ...] = ()
    """The last lines it printed."""


class HandlerError(Exception):
    """A verb failed."""

    def __init__(self, failure: HandlerFailure, leftovers: tuple[str, ...] = ()) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.leftovers = leftovers


class Stop:
    """Tells a running verb to end: cancelled, or out of time."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.kind = FailureKind.STOPPED

    def set(self, kind: FailureKind) -> None:
        """Ask for the end; the first reason counts."""
        if not self._event.is_set():
            self.kind = kind
            self._event.set()

    @property
    def asked(self) -> bool:
        """Whether the verb should end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most that long to be asked."""
        return self._event.wait(seconds)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a run, as told while it happens."""

    kind: str
    """``play``, ``task``, ``ok``, ``changed``, ``skipped``, ``failed``, ``ignored``, ``unreachable`` or ``log``."""
    text: str = ""
    task: str = ""
    host: str = ""


@dataclass(frozen=True)
class Run:
    """One call of one verb: what it is about, how it reports, when it must end."""

    operation: str
    """The operation's id."""
    attempt: int
    time_limit: float
    """Seconds the processor will wait before it asks the run to stop."""
    host: Host
    stop: Stop
    report: Callable[[Progress], None]
    secrets: tuple[str, ...] = ()
    """Texts that must not be repeated anywhere."""
    networks: tuple[dict[str, Any], ...] = ()
    """Those the sliver's cards name: ``name``, and what the network says (``vlan``, ``bridge``, ``subnet``...)."""
    grace: float = 10.0
    """Seconds between asking children to end and killing them."""
    cpu_weight: int = 100
    """Of a busy CPU, against 100 of anybody else."""
    installation: str = ""
    """This VMOC's own id, over restarts: others may have slivers on the host."""


class Handler(Protocol):
    """See the module."""

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """Make the sliver, or find it made."""

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        """Change the sliver from ``old`` to ``new``."""

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """Remove the sliver and everything that belongs to it."""

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """Say what is there, and change nothing."""

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        """Do something else to the sliver, such as ``reboot``."""

    def clean(self, operation: str) -> None:
        """After a crash of the service: end whatever that operation's run left running on this machine."""


@runtime_checkable
class TakesInventory(Protocol):
    """What a handler may have beside: it knows what of it is on a host."""

    def inventory(self, run: Run, known: Sequence[SliverKey], remove: Sequence[str]) -> HandlerResult:
        """What is on the run's host after the removal of the instances in ``remove``.

        ``facts["instances"]`` holds {name, slice_id, sliver_id} of each, the ids
        where it is one of ``known``; ``leftovers`` what could not be removed.
        """


__all__ = [
    "Difference",
    "FailureKind",
    "Handler",
    "HandlerError",
    "HandlerFailure",
    "HandlerResult",
    "Host",
    "Login",
    "NicStatus",
    "Progress",
    "Run",
    "SliverKey",
    "SliverSpec",
    "SliverState",
    "Stop",
    "TakesInventory",
    "Verb",
]
