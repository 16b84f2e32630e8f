"""What is known of an operation and of a sliver: the values that are written down and shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from am_bridge.handlers.handler import HandlerFailure, HandlerResult, SliverState, Verb
from am_bridge.handlers.queue import Phase
from am_bridge.handlers.spec import SliverKey, SliverSpec


class OperationState(StrEnum):
    """How far an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    """The service was restarted before it was over."""


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and by what name: a request with the ``id`` and ``digest`` of an earlier one of ``by`` is that one.

    ``name`` is who it is, for people; ``manager`` whose sliver it is about.
    """

    by: str = ""
    id: str = ""
    digest: str = ""
    name: str = ""
    manager: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a named request was answered with: an operation, or bytes."""

    request: Request
    operation: str = ""
    answer: bytes = b""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb asked of one sliver, or (``inventory``) of a host. Times are seconds since 1970; 0: not yet.

    Holds no secrets. The sliver's key of an inventory is ``HOST_KEY`` and the host.
    """

    id: str
    sliver: SliverKey
    verb: Verb
    resource_type: str
    spec: SliverSpec
    """As wanted, without secrets."""
    previous: SliverSpec | None = None
    """What a modify starts from."""
    action: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    requested_by: str = ""
    request_id: str = ""
    manager: str = ""
    """Whose sliver it was when this was asked for."""
    state: OperationState = OperationState.QUEUED
    phase: Phase = Phase.QUEUED
    attempt: int = 0
    create_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    deadline: float = 0.0
    """Of the present attempt."""
    cancel_requested: bool = False
    current_task: str = ""
    tasks_done: int = 0
    result: HandlerResult | None = None
    failure: HandlerFailure | None = None
    leftovers: tuple[str, ...] = ()
    sliver_after: Sliver | None = None
    """The sliver as it left it; None also for deletes, and where nobody knows."""

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in (OperationState.QUEUED, OperationState.RUNNING)


@dataclass(frozen=True, slots=True)
class Sliver:
    """A sliver as last known. ``spec`` is what it was last made or changed to, without secrets."""

    spec: SliverSpec
    state: SliverState = SliverState.PENDING
    generation: int = 0
    """Counts what creates and modifies achieved."""
    result: HandlerResult | None = None
    failure: HandlerFailure | None = None
    leftovers: tuple[str, ...] = ()
    create_time: float = 0.0
    update_time: float = 0.0
    expire_time: float = 0.0
    """When it is deleted by itself; 0: with its slice."""
    slice_time: float = 0.0
    """When its slice was made: another slice of that name is not its slice. 0: not known."""
    manager: str = ""
    """Whose slice that is."""
    probe_time: float = 0.0
    """When its handler last looked."""
    state_time: float = 0.0
    """When it came to its state; 0: with its creation."""

    @property
    def etag(self) -> str:
        """Changes with every change of the sliver, but not when somebody looks and finds it as it was."""
        about = (self.create_time, self.generation, self.state.value, self.expire_time)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:16]

    @property
    def key(self) -> SliverKey:
        """What identifies it."""
        return self.spec.key


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an operation. ``kind`` is one of ``Progress``, or a state or phase of it."""

    operation: str
    sequence: int
    """Per operation from 1, without gaps but for one at a restart of the service."""
    time: float
    kind: str
    text: str = ""
    task: str = ""
    host: str = ""
