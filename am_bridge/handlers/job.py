"""An operation that is not over, with its secrets, and one call of its handler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from am_bridge.handlers import inventory, recovery
from am_bridge.handlers.backends import Backends
from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.difference import find_difference
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Host,
    Run,
    Stop,
    Verb,
)
from am_bridge.handlers.operations import Operation, Sliver
from am_bridge.handlers.queue import Ticket
from am_bridge.handlers.redact import mask, mask_all
from am_bridge.handlers.spec import SliverSpec

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """See the module. ``spec`` and ``parameters`` have their secrets still; the ``record`` does not."""

    record: Operation
    spec: SliverSpec
    config: HandlerConfig | None
    host: Host
    parameters: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    stop: Stop | None = None
    checked: HandlerResult | None = None
    """What the undo or the check found."""

    def ticket(self) -> Ticket:
        """What the queue needs to know."""
        record, config = self.record, self.config
        limits, locks = recovery.NO_LIMITS, frozenset[str]()
        if config is not None:
            limits, locks = config.limits, config.lock_names(self.spec, self.host)
        elif record.verb is Verb.INVENTORY:
            limits = inventory.LIMITS
        return Ticket(record.id, record.sliver, record.verb, record.resource_type, limits, locks, record.action)


@dataclass(frozen=True, slots=True)
class World:
    """What a call may need beside its job."""

    backends: Backends
    accept: Callable[[SliverSpec, HandlerResult], str]
    """Why a sliver must not be as it was made; empty if it may."""
    on_host: Callable[[str], Sequence[Sliver]]
    slivers: Callable[[], Sequence[Sliver]]
    """All."""


def perform(
    job: Job, verb: Verb, run: Run, world: World
) -> tuple[HandlerResult | None, HandlerFailure | None, tuple[str, ...]]:
    """Call the handler: its result, or why there is none; and what it could not remove. Never raises."""
    try:
        result = mask_all(_call(job, verb, run, world), job.secrets)
        complaint = world.accept(job.spec, result) if verb in (Verb.CREATE, Verb.MODIFY) else ""
        if complaint:
            return None, HandlerFailure(FailureKind.INVALID, complaint, host=run.host.name), result.leftovers
        if verb is Verb.DELETE and result.leftovers:
            text = f"{len(result.leftovers)} things could not be removed"
            return None, HandlerFailure(FailureKind.TASK, text), result.leftovers
    except HandlerError as error:
        return None, mask_all(error.failure, job.secrets), error.leftovers
    except Exception as error:
        if not job.secrets:  # a traceback may show any value
            _log.exception("the handler of %s broke", job.record.resource_type)
        text = mask(f"{type(error).__name__}: {error}", job.secrets)[:4096]
        return None, HandlerFailure(FailureKind.CRASHED, text), ()
    return result, None, result.leftovers


def _call(job: Job, verb: Verb, run: Run, world: World) -> HandlerResult:
    if job.record.verb is Verb.INVENTORY:
        remove = job.parameters.get("remove") is True
        return inventory.take(run, world.backends.takers(), world.on_host(job.host.name), world.slivers, remove)
    if job.config is None:
        raise HandlerError(HandlerFailure(FailureKind.INVALID, "handlers.yaml no longer has this type"))
    handler = world.backends.make(job.config)
    settled = job.record.previous or job.spec
    if verb is Verb.CREATE:
        return handler.create(run, job.spec)
    if verb is Verb.MODIFY:
        return handler.modify(run, settled, job.spec, find_difference(settled, job.spec))
    if verb is Verb.DELETE:
        return handler.delete(run, job.spec)
    if verb is Verb.PROBE:
        return handler.probe(run, settled)
    return handler.action(run, job.spec, job.record.action, job.parameters)
