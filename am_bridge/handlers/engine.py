"""Runs the operations that were accepted: the threads, the clock and the journal around ``queue``.

A worker thread calls the handler; a timekeeper thread watches limits and pauses.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from am_bridge.handlers import inventory, networks, recovery
from am_bridge.handlers.backends import Backends, Factory
from am_bridge.handlers.catalogue import Catalogue, HandlerConfig, UnsupportedError
from am_bridge.handlers.eventlog import EventLog
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerFailure,
    HandlerResult,
    Host,
    Progress,
    Run,
    Stop,
)
from am_bridge.handlers.job import Job, World, perform
from am_bridge.handlers.journal import Journal, JournalError
from am_bridge.handlers.operations import Operation, OperationState, Request, Sliver
from am_bridge.handlers.outcome import conclude
from am_bridge.handlers.queue import Ask, Done, Effect, Phase, Queue, Start, Wait
from am_bridge.handlers.records import Records
from am_bridge.handlers.redact import mask
from am_bridge.handlers.spec import SliverSpec

KEEP: Final = 7 * 24 * 3600.0
"""Seconds an operation is kept once it is over."""
FINAL: Final = (FailureKind.INVALID, FailureKind.UNSUPPORTED, FailureKind.EXHAUSTED)
"""Failures that trying again does not mend."""
_IDLE: Final = 1.0


class Engine:
    """See the module. ``backends`` make a handler for an entry of the catalogue.

    ``accept`` says why a sliver must not be as it was made (what was made is
    then undone), or "". ``listener`` is told an operation when it goes on;
    it is called under the lock and must return at once.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        backends: Mapping[str, Factory] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        accept: Callable[[SliverSpec, HandlerResult], str] = lambda spec, result: "",
        listener: Callable[[Operation], None] = lambda operation: None,
    ) -> None:
        self.catalogue = catalogue
        self._journal = journal
        self._factories = backends or {}
        self._clock = clock
        self._now = monotonic
        self._world = World(Backends(catalogue, self._factories), accept, self.on_host, self.slivers)
        self._queue = Queue(catalogue.workers, catalogue.queue, jitter)
        self._events = EventLog()
        self._listener = listener
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, Job] = {}
        self._records = Records(journal, clock)
        self._closed = False
        self._timekeeper = threading.Thread(target=self._keep_time, name="handler-timekeeper", daemon=True)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what an earlier life left, and begin. Raises ``JournalError``."""
        with self._changed:
            records = self._records.load()
            covered = recovery.find_covered(records)
            for record in records:
                self._recover(record, covered=record.id in covered)
            self._timekeeper.start()

    def use(self, catalogue: Catalogue) -> None:
        """Another catalogue from now on. Operations keep what they were accepted with, to their end.

        Raises ``ValueError`` for a back-end that nobody provides; then nothing changes.
        """
        world = replace(self._world, backends=Backends(catalogue, self._factories))
        with self._changed:
            self.catalogue, self._world = catalogue, world
            self._apply(self._queue.resize(catalogue.workers, catalogue.queue, self._now()))

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
            self._records.write_unsaved()
            self._changed.notify_all()
        if self._timekeeper.is_alive():
            self._timekeeper.join(5.0)

    # -- what is known -------------------------------------------------------------------------------------------------

    def operation(self, name: str) -> Operation:
        """An operation as it is now. Raises ``MissingError``."""
        with self._changed:
            return self._jobs[name].record if name in self._jobs else self._records.operation(name)

    @property
    def unwritten(self) -> int:
        """How many ends of operations could not be written down yet: the disk is full."""
        return self._records.unwritten

    def slivers(self) -> list[Sliver]:
        """Every sliver, by slice and name."""
        with self._changed:
            return self._records.slivers()

    def on_host(self, host: str) -> list[Sliver]:
        """Every sliver on a host; those that name none are on the first one."""
        return inventory.of_host(self.slivers(), host, self.catalogue.host("").name)

    # -- inside, under the lock ----------------------------------------------------------------------------------------

    def _submit(self, job: Job, request: Request, sliver: Sliver | None) -> Operation:
        record = job.record
        self._records.begin(record, sliver, request)
        self._jobs[record.id] = job
        self._tell(record.id, "queued")
        self._listener(record)
        _, effects = self._queue.submit(job.ticket(), self._now())
        self._apply(effects)
        return self.operation(record.id)

    def _settle(self, record: Operation, request: Request, sliver: Sliver | None) -> Operation:
        """An operation that is over as soon as it is written down."""
        now, result = self._clock(), None if sliver is None else sliver.result
        record = replace(record, state=OperationState.SUCCEEDED, start_time=now, end_time=now, result=result)
        record = replace(record, sliver_after=sliver)
        self._records.begin(record, sliver, request)
        self._listener(record)
        return record

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
                self._listener(job.record)
                self._tell(job.record.id, "retry", f"attempt {effect.attempt} failed; again in {effect.seconds:.1f} s")
            else:
                self._end(job, effect)
        self._changed.notify_all()

    def _launch(self, job: Job, start: Start) -> list[Effect]:
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
            self._records.update(job.record)
        except JournalError as error:
            job.record = replace(job.record, failure=HandlerFailure(FailureKind.CRASHED, str(error)))
            return self._queue.finish(job.record.id, succeeded=False, now=self._now())
        job.stop = stop = Stop()
        self._tell(job.record.id, start.phase.value, f"{start.verb}, attempt {start.attempt}")
        self._listener(job.record)
        threading.Thread(
            target=self._work, args=(job, start, stop), name=f"handler-{job.record.id[:8]}", daemon=True
        ).start()
        return []

    def _end(self, job: Job, done: Done) -> None:
        record = replace(job.record, end_time=self._clock(), deadline=0.0, current_task="")
        before = self._records.get(record.sliver)
        record, sliver = conclude(record, done.succeeded, done.cancelled, before, job.checked, self._clock())
        record = replace(record, sliver_after=sliver)
        self._records.end(record, sliver)
        del self._jobs[record.id]
        self._tell(record.id, record.state.value, record.failure.message if record.failure is not None else "")
        self._events.close(record.id)
        self._listener(record)

    def _recover(self, record: Operation, *, covered: bool) -> None:
        config: HandlerConfig | None = None
        host = Host("")
        with contextlib.suppress(UnsupportedError):
            config = self.catalogue.find(record.spec.resource_type, record.spec.model)
            host = self.catalogue.host(record.spec.host)
        phase = None if covered or config is None or not host.name else recovery.resume_at(record)
        failure = record.failure or HandlerFailure(FailureKind.RESTARTED, "the service was restarted meanwhile")
        job = Job(record, record.spec, config, host, record.parameters)
        self._jobs[record.id] = job
        self._events.begin(record.id, int(self._clock()) << 20)
        if record.state is OperationState.RUNNING:
            backends = self._world.backends
            for each in backends.all() if config is None else [backends.make(config)]:
                each.clean(record.id)
        if phase is None:
            job.record = replace(record, failure=failure)
            self._end(job, Done(job.ticket(), False, False))
            return
        if phase is not Phase.MAIN:
            job.record = replace(record, failure=failure)
        self._tell(record.id, "recovered", f"the service was restarted; going on with {phase}")
        self._apply(self._queue.resume(job.ticket(), phase, self._now()))

    # -- threads -------------------------------------------------------------------------------------------------------

    def _work(self, job: Job, start: Start, stop: Stop) -> None:
        """One call of the handler, in a thread of its own."""
        run = Run(
            operation=job.record.id,
            attempt=start.attempt,
            time_limit=start.time_limit,
            host=job.host,
            stop=stop,
            report=lambda progress: self._report(job, progress),
            secrets=job.secrets,
            networks=networks.handed_on(job.spec, self.slivers()),
            grace=self.catalogue.stop_grace,
            cpu_weight=self.catalogue.cpu_weight,
            installation=self._journal.installation,
        )
        result, failure, leftovers = perform(job, start.verb, run, self._world)
        with self._changed:
            self._finish(job, start, result, failure, leftovers)

    def _finish(
        self,
        job: Job,
        start: Start,
        result: HandlerResult | None,
        failure: HandlerFailure | None,
        leftovers: Iterable[str],
    ) -> None:
        job.stop = None
        if failure is not None and failure.kind is FailureKind.RESTARTED:
            # Left running in the journal: the next life takes it up.
            self._queue.finish(job.record.id, succeeded=False, now=self._now(), again=False)
            self._changed.notify_all()
            return
        leftovers = tuple(leftovers)
        if start.phase is Phase.MAIN:
            job.record = replace(job.record, result=result, failure=failure or job.record.failure, leftovers=leftovers)
            if failure is None:
                job.record = replace(job.record, failure=None)
        else:
            job.checked = result
            job.record = replace(job.record, leftovers=leftovers)
            if failure is not None:
                self._tell(job.record.id, "failed", f"{start.verb}: {failure.message}", failure.task, failure.host)
        again = failure is None or failure.kind not in FINAL
        self._apply(self._queue.finish(job.record.id, succeeded=failure is None, now=self._now(), again=again))

    def _report(self, job: Job, progress: Progress) -> None:
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
                self._records.write_unsaved()
                if self._clock() >= next_prune:
                    next_prune = self._clock() + 3600.0
                    with contextlib.suppress(JournalError):
                        self._journal.prune(self._clock() - KEEP)
                at = self._queue.next_tick()
                self._changed.wait(_IDLE if at is None else min(_IDLE, max(0.0, at - now)))
