"""Runs operations: the threads, the clock and the journal around ``queue``.

Every method may be called from any thread, and returns quickly except
``wait`` and ``close``. What a call returned is on disk. A worker thread calls
the handler; a timekeeper thread watches limits and pauses.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from am_bridge.handlers import recovery
from am_bridge.handlers.ansible import AnsibleHandler
from am_bridge.handlers.catalogue import Catalogue, HandlerConfig, UnsupportedError, check_action
from am_bridge.handlers.difference import find_difference, find_immutable
from am_bridge.handlers.eventlog import EventLog
from am_bridge.handlers.handler import (
    FailureKind,
    Handler,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Host,
    Progress,
    Run,
    SliverState,
    Stop,
    Verb,
)
from am_bridge.handlers.journal import Journal, JournalError
from am_bridge.handlers.noop import NoopHandler
from am_bridge.handlers.operations import Event, Operation, OperationState, Sliver
from am_bridge.handlers.outcome import conclude
from am_bridge.handlers.queue import Ask, Done, Effect, Phase, Queue, Start, Ticket, Wait
from am_bridge.handlers.redact import mask, mask_all, split_secrets, split_values
from am_bridge.handlers.spec import SliverKey, SliverSpec, SpecError, read_spec

KEEP: Final = 7 * 24 * 3600.0
"""Seconds an operation is kept once it is over."""
_IDLE: Final = 1.0

_log = logging.getLogger(__name__)


class ExistsError(Exception):
    """A sliver of that name is there already."""


class MissingError(Exception):
    """There is no such sliver or operation."""


class StateError(Exception):
    """Not in the state it is in."""


class ClosedError(Exception):
    """The processor is stopping."""


@dataclass
class _Job:
    """An operation that is not over. ``spec`` has its secrets still; the ``record`` does not."""

    record: Operation
    spec: SliverSpec
    config: HandlerConfig | None
    host: Host
    parameters: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    stop: Stop | None = None
    checked: HandlerResult | None = None
    """What the undo or the check found."""


class Processor:
    """See the module. ``backends`` make a handler for an entry of the catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        backends: Mapping[str, Callable[[HandlerConfig], Handler]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        listener: Callable[[Event], None] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self._journal = journal
        self._backends: dict[str, Callable[[HandlerConfig], Handler]] = {
            "noop": lambda config: NoopHandler(),
            "ansible": AnsibleHandler,
        }
        self._backends.update(backends or {})
        self._clock = clock
        self._now = monotonic
        for config in catalogue.handlers.values():
            if config.backend not in self._backends:
                raise ValueError(f"nobody provides the back-end {config.backend} of {config.resource_type}")
        self._queue = Queue(catalogue.workers, catalogue.queue, jitter)
        self._events = EventLog(listener)
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, _Job] = {}
        self._slivers: dict[SliverKey, Sliver] = {}
        self._unsaved: dict[str, tuple[Operation, Sliver | None]] = {}
        self._closed = False
        self._timekeeper = threading.Thread(target=self._keep_time, name="handler-timekeeper", daemon=True)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what an earlier life left, and begin. Raises ``JournalError``."""
        with self._changed:
            self._slivers = {one.key: one for one in self._journal.slivers()}
            records = self._journal.unfinished()
            covered = recovery.find_covered(records)
            for record in records:
                self._recover(record, covered=record.id in covered)
            self._timekeeper.start()

    def close(self, grace: float = 0.0) -> None:
        """Start nothing any more, give what runs ``grace`` seconds, then stop it.

        What is stopped stays in the journal as running, and the next life takes it up.
        """
        with self._changed:
            self._closed = True
            self._queue.close()
            self._changed.wait_for(lambda: not self._queue.running, grace)
            for name in self._queue.running:
                if (stop := self._jobs[name].stop) is not None:
                    stop.set(FailureKind.RESTARTED)
            self._changed.wait_for(lambda: not self._queue.running, self.catalogue.stop_grace + 5.0)
            self._write_unsaved()
            self._changed.notify_all()
        if self._timekeeper.is_alive():
            self._timekeeper.join(5.0)

    # -- what is asked -------------------------------------------------------------------------------------------------

    def create(self, document: object, *, requested_by: str = "", request_id: str = "") -> Operation:
        """Make a sliver from its specification (see ``spec``).

        Raises ``SpecError``, ``UnsupportedError``, ``ExistsError``,
        ``queue.BusyError``, ``queue.FullError``, ``JournalError``, ``ClosedError``.
        """
        spec = self.check(document)
        with self._changed:
            job = self._job(Verb.CREATE, spec, requested_by, request_id)
            self._queue.check_room(_ticket(job))
            if spec.key in self._slivers:
                raise ExistsError(f"the sliver {spec.key} exists; modify it, or delete it first")
            sliver = Sliver(job.record.spec, create_time=self._clock(), update_time=self._clock())
            return self._submit(job, sliver)

    def modify(self, document: object, *, requested_by: str = "", request_id: str = "") -> Operation:
        """Change a sliver to a new specification. Raises what ``create`` does, and ``MissingError``, ``StateError``."""
        spec = self.check(document)
        with self._changed:
            old = self._sliver(spec.key)
            job = self._job(Verb.MODIFY, spec, requested_by, request_id)
            self._queue.check_room(_ticket(job))
            if old.state not in (SliverState.READY, SliverState.STOPPED, SliverState.DEGRADED):
                raise StateError(f"the sliver {spec.key} is {old.state}; probe it or delete it")
            fixed = find_immutable(find_difference(old.spec, job.record.spec))
            if fixed:
                raise SpecError([(name, "cannot be modified; create another sliver") for name in fixed])
            job.record = replace(job.record, previous=old.spec)
            return self._submit(job, None)

    def delete(self, key: SliverKey, *, requested_by: str = "", request_id: str = "") -> Operation:
        """Remove a sliver; what is under way for it is stopped. A second delete is the first one's operation."""
        return self._ask(Verb.DELETE, key, requested_by, request_id)

    def probe(self, key: SliverKey, *, requested_by: str = "", request_id: str = "") -> Operation:
        """Look what is there."""
        return self._ask(Verb.PROBE, key, requested_by, request_id)

    def action(
        self,
        key: SliverKey,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        requested_by: str = "",
        request_id: str = "",
    ) -> Operation:
        """Perform one of the handler's actions. Raises ``UnsupportedError`` when it has no such one."""
        return self._ask(Verb.ACTION, key, requested_by, request_id, action, dict(parameters or {}))

    def check(self, document: object) -> SliverSpec:
        """The specification in a document, checked as ``create`` would. Raises ``SpecError``, ``UnsupportedError``."""
        spec = read_spec(document)
        config = self.catalogue.find(spec.resource_type, spec.model)
        self.catalogue.host(spec.host)
        problems = list(config.find_problems(spec.properties))
        if problems:
            raise SpecError(problems)
        return spec

    def cancel(self, operation: str) -> Operation:
        """End an operation early; one that is over stays as it is. Raises ``MissingError``."""
        with self._changed:
            job = self._jobs.get(operation)
            if job is None:
                return self.operation(operation)
            job.record = replace(job.record, cancel_requested=True)
            self._apply(self._queue.cancel(operation, self._now()))
            return self.operation(operation)

    def forget(self, key: SliverKey) -> None:
        """Drop what is known of a sliver, without touching the host. Raises ``MissingError``, ``StateError``."""
        with self._changed:
            self._sliver(key)
            if (operation := self._queue.operation_of(key)) is not None:
                raise StateError(f"operation {operation} is in progress on {key}; cancel it first")
            self._journal.forget(key)
            del self._slivers[key]

    # -- what is known -------------------------------------------------------------------------------------------------

    def operation(self, name: str) -> Operation:
        """An operation as it is now. Raises ``MissingError``."""
        with self._changed:
            if name in self._jobs:
                return self._jobs[name].record
            if name in self._unsaved:
                return self._unsaved[name][0]
        found = self._journal.operation(name)
        if found is None:
            raise MissingError(f"there is no operation {name!r:.80}; operations are kept for 7 days")
        return found

    def operations(self, key: SliverKey | None = None, limit: int = 1000) -> list[Operation]:
        """The newest operations, of one sliver or of all, newest first."""
        with self._changed:
            live = {name: job.record for name, job in self._jobs.items()}
        return [live.get(one.id, one) for one in self._journal.operations(key, limit)]

    def sliver(self, key: SliverKey) -> Sliver:
        """A sliver as last known. Raises ``MissingError``."""
        with self._changed:
            return self._sliver(key)

    def slivers(self) -> list[Sliver]:
        """Every sliver, by slice and name."""
        with self._changed:
            return [self._slivers[key] for key in sorted(self._slivers)]

    def wait(self, operation: str, timeout: float) -> Operation:
        """The operation once it is over, or as it is after ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: operation not in self._jobs, timeout)
            return self.operation(operation)

    def events(self, operation: str, after: int = 0, timeout: float = 0.0) -> tuple[list[Event], bool]:
        """Its events after that sequence number, waiting for one if need be; and whether more will come."""
        return self._events.after(operation, after, timeout)

    # -- inside, under the lock ----------------------------------------------------------------------------------------

    def _sliver(self, key: SliverKey) -> Sliver:
        if key not in self._slivers:
            raise MissingError(f"there is no sliver {key}")
        return self._slivers[key]

    def _ask(
        self,
        verb: Verb,
        key: SliverKey,
        requested_by: str,
        request_id: str,
        action: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> Operation:
        with self._changed:
            sliver = self._sliver(key)
            job = self._job(verb, sliver.spec, requested_by, request_id, action, parameters)
            if verb is Verb.ACTION and job.config is not None:
                check_action(job.config, action)
            joined = self._queue.check_room(_ticket(job))
            return self.operation(joined) if joined is not None else self._submit(job, None)

    def _job(
        self,
        verb: Verb,
        spec: SliverSpec,
        requested_by: str,
        request_id: str,
        action: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> _Job:
        if self._closed:
            raise ClosedError("the service is stopping; try again when it is back")
        config = self.catalogue.find(spec.resource_type, spec.model)
        host = self.catalogue.host(spec.host)
        public, secrets = split_secrets(spec, config.schema)
        shown, more = split_values(parameters or {}, config.schema)
        record = Operation(
            id=uuid.uuid4().hex,
            sliver=spec.key,
            verb=verb,
            resource_type=spec.resource_type,
            spec=public,
            action=action,
            parameters=shown,
            requested_by=requested_by,
            request_id=request_id,
            create_time=self._clock(),
        )
        return _Job(record, spec, config, host, parameters or {}, (*secrets, *more))

    def _submit(self, job: _Job, sliver: Sliver | None) -> Operation:
        record = job.record
        self._journal.save(record, sliver)
        if sliver is not None:
            self._slivers[sliver.key] = sliver
        self._jobs[record.id] = job
        self._tell(record.id, "queued")
        _, effects = self._queue.submit(_ticket(job), self._now())
        self._apply(effects)
        return self.operation(record.id)

    def _tell(self, operation: str, kind: str, text: str = "", task: str = "", host: str = "") -> None:
        self._events.append(operation, self._clock(), kind, text, task, host)

    def _apply(self, effects: list[Effect]) -> None:
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            job = self._jobs[effect.ticket.id]
            if isinstance(effect, Start):
                todo += self._launch(job, effect)
            elif isinstance(effect, Ask):
                if job.stop is not None:
                    job.stop.set(effect.kind)
                self._tell(job.record.id, "stopping", str(effect.kind))
            elif isinstance(effect, Wait):
                job.record = replace(job.record, phase=Phase.BACKOFF)
                self._tell(job.record.id, "retry", f"attempt {effect.attempt} failed; again in {effect.seconds:.1f} s")
            else:
                self._end(job, effect)
        self._changed.notify_all()

    def _launch(self, job: _Job, start: Start) -> list[Effect]:
        now = self._clock()
        job.record = replace(
            job.record,
            state=OperationState.RUNNING,
            phase=start.phase,
            attempt=start.attempt,
            start_time=job.record.start_time or now,
            deadline=now + start.time_limit,
        )
        try:
            self._journal.save(job.record)
        except JournalError as error:
            job.record = replace(job.record, failure=HandlerFailure(FailureKind.CRASHED, str(error)))
            return self._queue.finish(job.record.id, succeeded=False, now=self._now())
        job.stop = stop = Stop()
        self._tell(job.record.id, start.phase.value, f"{start.verb}, attempt {start.attempt}")
        threading.Thread(
            target=self._work, args=(job, start, stop), name=f"handler-{job.record.id[:8]}", daemon=True
        ).start()
        return []

    def _end(self, job: _Job, done: Done) -> None:
        record = replace(job.record, end_time=self._clock(), deadline=0.0, current_task="")
        before = self._slivers.get(record.sliver)
        record, sliver = conclude(record, done.succeeded, done.cancelled, before, job.checked, self._clock())
        if before is not None and sliver is None:
            del self._slivers[record.sliver]
        elif sliver is not None:
            self._slivers[record.sliver] = sliver
        self._keep(record, sliver)
        del self._jobs[record.id]
        self._tell(record.id, record.state.value, record.failure.message if record.failure is not None else "")
        self._events.close(record.id)

    def _keep(self, record: Operation, sliver: Sliver | None) -> None:
        """Write an end down; while the disk is full, keep it until it can be."""
        try:
            self._journal.save(record, sliver, gone=sliver is None)
            self._unsaved.pop(record.id, None)
        except JournalError as error:
            _log.error("%s; operation %s ended and will be written later", error, record.id)
            self._unsaved[record.id] = (record, sliver)

    def _write_unsaved(self) -> None:
        for record, sliver in list(self._unsaved.values()):
            self._keep(record, sliver)

    def _recover(self, record: Operation, *, covered: bool) -> None:
        config: HandlerConfig | None = None
        host = Host("")
        with contextlib.suppress(UnsupportedError):
            config = self.catalogue.find(record.spec.resource_type, record.spec.model)
            host = self.catalogue.host(record.spec.host)
        phase = None if covered or config is None or not host.name else recovery.resume_at(record)
        failure = record.failure or HandlerFailure(FailureKind.RESTARTED, "the service was restarted meanwhile")
        job = _Job(record, record.spec, config, host, record.parameters)
        self._jobs[record.id] = job
        if config is not None and record.state is OperationState.RUNNING:
            self._backends[config.backend](config).clean(record.id)
        if phase is None:
            job.record = replace(record, failure=failure)
            self._end(job, Done(_ticket(job), False, False))
            return
        if phase is not Phase.MAIN:
            job.record = replace(record, failure=failure)
        self._tell(record.id, "recovered", f"the service was restarted; going on with {phase}")
        self._apply(self._queue.resume(_ticket(job), phase, self._now()))

    # -- threads -------------------------------------------------------------------------------------------------------

    def _work(self, job: _Job, start: Start, stop: Stop) -> None:
        """One call of the handler, in a thread of its own."""
        run = Run(
            operation=job.record.id,
            attempt=start.attempt,
            time_limit=start.time_limit,
            host=job.host,
            stop=stop,
            report=lambda progress: self._report(job, progress),
            secrets=job.secrets,
            grace=self.catalogue.stop_grace,
        )
        result: HandlerResult | None = None
        failure: HandlerFailure | None = None
        leftovers: tuple[str, ...] = ()
        try:
            result = mask_all(self._call(job, start.verb, run), job.secrets)
            leftovers = result.leftovers
        except HandlerError as error:
            failure, leftovers = mask_all(error.failure, job.secrets), error.leftovers
        except Exception as error:
            if not job.secrets:  # a traceback may show any value
                _log.exception("the handler of %s broke", job.record.resource_type)
            failure = HandlerFailure(FailureKind.CRASHED, mask(f"{type(error).__name__}: {error}", job.secrets)[:4096])
        if failure is None and start.verb is Verb.DELETE and leftovers:
            failure = HandlerFailure(FailureKind.TASK, f"{len(leftovers)} things could not be removed")
        with self._changed:
            self._finish(job, start, result if failure is None else None, failure, leftovers)

    def _finish(
        self,
        job: _Job,
        start: Start,
        result: HandlerResult | None,
        failure: HandlerFailure | None,
        leftovers: tuple[str, ...],
    ) -> None:
        job.stop = None
        if failure is not None and failure.kind is FailureKind.RESTARTED:
            # Left running in the journal: the next life takes it up.
            self._queue.finish(job.record.id, succeeded=False, now=self._now(), again=False)
            self._changed.notify_all()
            return
        if start.phase is Phase.MAIN:
            job.record = replace(job.record, result=result, failure=failure or job.record.failure, leftovers=leftovers)
            if failure is None:
                job.record = replace(job.record, failure=None)
        else:
            job.checked = result
            job.record = replace(job.record, leftovers=leftovers)
            if failure is not None:
                self._tell(job.record.id, "failed", f"{start.verb}: {failure.message}", failure.task, failure.host)
        again = failure is None or failure.kind not in (FailureKind.INVALID, FailureKind.UNSUPPORTED)
        self._apply(self._queue.finish(job.record.id, succeeded=failure is None, now=self._now(), again=again))

    def _call(self, job: _Job, verb: Verb, run: Run) -> HandlerResult:
        if job.config is None:
            raise HandlerError(HandlerFailure(FailureKind.INVALID, "handlers.yaml no longer has this type"))
        handler = self._backends[job.config.backend](job.config)
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

    def _report(self, job: _Job, progress: Progress) -> None:
        text, task = mask(progress.text, job.secrets), mask(progress.task, job.secrets)
        with self._changed:
            if progress.kind == "task":
                job.record = replace(job.record, current_task=task)
            elif progress.kind in ("ok", "changed", "skipped", "ignored"):
                job.record = replace(job.record, tasks_done=job.record.tasks_done + 1)
        self._tell(job.record.id, progress.kind, text, task, progress.host)

    def _keep_time(self) -> None:
        next_prune = 0.0
        with self._changed:
            while not self._closed:
                now = self._now()
                self._apply(self._queue.tick(now))
                self._write_unsaved()
                if self._clock() >= next_prune:
                    next_prune = self._clock() + 3600.0
                    with contextlib.suppress(JournalError):
                        self._journal.prune(self._clock() - KEEP)
                at = self._queue.next_tick()
                self._changed.wait(_IDLE if at is None else min(_IDLE, max(0.0, at - now)))


def _ticket(job: _Job) -> Ticket:
    record, config = job.record, job.config
    limits, locks = recovery.NO_LIMITS, frozenset[str]()
    if config is not None:
        limits, locks = config.limits, config.lock_names(job.spec, job.host)
    return Ticket(record.id, record.sliver, record.verb, record.resource_type, limits, locks, record.action)
