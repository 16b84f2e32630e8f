"""What may be asked of handlers: checked, recorded, and handed to the engine.

Every method may be called from any thread, and returns quickly except
``wait`` and ``close``. What a call returned is on disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from am_bridge.handlers import inventory, networks
from am_bridge.handlers.catalogue import UnsupportedError, check_action
from am_bridge.handlers.difference import find_difference, find_immutable
from am_bridge.handlers.engine import Engine
from am_bridge.handlers.handler import Host, SliverState, Verb
from am_bridge.handlers.job import Job
from am_bridge.handlers.operations import Event, Operation, Request, Sliver
from am_bridge.handlers.placement import NoRoomError, check_room, choose_host, grows
from am_bridge.handlers.queue import BusyError
from am_bridge.handlers.records import EtagError, ExistsError, MissingError, ReusedError
from am_bridge.handlers.redact import split_secrets, split_values
from am_bridge.handlers.spec import SliverKey, SliverSpec, SpecError, read_spec

__all__ = [
    "ClosedError",
    "EtagError",
    "ExistsError",
    "MissingError",
    "NoRoomError",
    "Processor",
    "ReusedError",
    "StateError",
]

_NOBODY: Final = Request()


class StateError(Exception):
    """Not in the state it is in."""


class ClosedError(Exception):
    """The processor is stopping."""


class Processor(Engine):
    """See the module. Methods that ask for something take the ``request`` it came with: the same one again is
    answered with the first one's operation. With ``dry_run`` they check all there is to check, and change nothing.
    """

    # -- what is asked -------------------------------------------------------------------------------------------------

    def create(
        self,
        document: object,
        *,
        request: Request = _NOBODY,
        expire_time: float = 0.0,
        slice_time: float = 0.0,
        dry_run: bool = False,
    ) -> Operation:
        """Make a sliver from its specification (see ``spec``).

        Raises ``SpecError``, ``UnsupportedError``, ``ExistsError``, ``ReusedError``,
        ``NoRoomError``, ``queue.BusyError``, ``queue.FullError``, ``JournalError``, ``ClosedError``.
        """
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            slivers = self._records.slivers()
            spec = networks.attach(self.check(document), slivers)
            spec = self._place(spec, slivers)
            job = self._job(Verb.CREATE, spec, request)
            self._check_host_is_free(job.host)
            self._queue.check_room(job.ticket())
            self._records.check_free(spec.key)
            now = self._clock()
            sliver = Sliver(
                job.record.spec,
                create_time=now,
                update_time=now,
                expire_time=expire_time,
                slice_time=slice_time,
                manager=request.manager,
            )
            return job.record if dry_run else self._submit(job, request, sliver)

    def modify(
        self,
        document: object,
        *,
        request: Request = _NOBODY,
        etag: str = "",
        expire_time: float | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Change a sliver to a new specification; ``expire_time`` None leaves it. Raises what ``create`` does, and
        ``MissingError``, ``EtagError``, ``StateError``.
        """
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            spec = networks.attach(self.check(document), self._records.slivers())
            old = self._records.sliver(spec.key)
            spec = replace(spec, host=spec.host or old.spec.host)
            if grows(old.spec, spec):
                spec = self._place(spec, self._records.slivers())
            self._records.check_etag(spec.key, etag)
            job = self._job(Verb.MODIFY, spec, request)
            self._check_host_is_free(job.host)
            self._queue.check_room(job.ticket())
            difference = find_difference(old.spec, job.record.spec)
            if expire_time not in (None, old.expire_time):
                old = replace(old, expire_time=expire_time or 0.0, update_time=self._clock())
                if not difference and not job.secrets:
                    return job.record if dry_run else self._settle(job.record, request, old)
            if old.state not in (SliverState.READY, SliverState.STOPPED, SliverState.DEGRADED):
                raise StateError(f"the sliver {spec.key} is {old.state}; probe it or delete it")
            fixed = find_immutable(difference)
            if fixed:
                raise SpecError([(name, "cannot be modified; create another sliver") for name in fixed])
            job.record = replace(job.record, previous=old.spec)
            return job.record if dry_run else self._submit(job, request, old)

    def delete(self, key: SliverKey, *, request: Request = _NOBODY, etag: str = "", dry_run: bool = False) -> Operation:
        """Remove a sliver; what is under way for it is stopped. A second delete is the first one's operation.

        Raises ``MissingError``, ``EtagError``, ``StateError`` for a network that has slivers, and what all do.
        """
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            sliver = self._records.sliver(key)
            self._records.check_etag(key, etag)
            attached = networks.users(sliver, self._records.slivers())
            if attached:
                text = f"{len(attached)} slivers are on network {key}, {attached[0]} is one; delete them first"
                raise StateError(text)
            return self._ask(Verb.DELETE, sliver, request, dry_run)

    def delete_missing(self, sliver_id: str, *, request: Request, allowed: bool, dry_run: bool = False) -> Operation:
        """The answer to the deletion of a sliver that is not there: if ``allowed`` an operation that is over.

        A repetition of the request that removed it gets that one's operation. Raises ``MissingError``, ``ReusedError``.
        """
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            if not allowed:
                raise MissingError("sliver", f"there is no sliver {sliver_id!r:.80}")
            spec = SliverSpec("", sliver_id, "")
            record = self._record(Verb.DELETE, spec, request)
            return record if dry_run else self._settle(record, request, None)

    def probe(self, key: SliverKey, *, request: Request = _NOBODY) -> Operation:
        """Look what is there."""
        with self._changed:
            return self._ask(Verb.PROBE, self._records.sliver(key), request, dry_run=False)

    def action(
        self,
        key: SliverKey,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        request: Request = _NOBODY,
        dry_run: bool = False,
    ) -> Operation:
        """Perform one of the handler's actions. Raises ``UnsupportedError`` when it has no such one."""
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            sliver = self._records.sliver(key)
            check_action(self.catalogue.find(sliver.spec.resource_type, sliver.spec.model), action)
            return self._ask(Verb.ACTION, sliver, request, dry_run, action, dict(parameters or {}))

    def reconcile(
        self, host: str, *, remove: bool = False, request: Request = _NOBODY, dry_run: bool = False
    ) -> Operation:
        """Compare what is on a host with what should be; ``remove`` what should not. Raises ``UnsupportedError``."""
        with self._changed:
            if (again := self._again(request, dry_run)) is not None:
                return again
            if self._closed:
                raise ClosedError("the service is stopping; try again when it is back")
            there = self.catalogue.host(host)
            key = inventory.host_key(there.name)
            spec = SliverSpec(key.slice_id, key.sliver_id, "host", host=there.name)
            parameters = {"remove": remove}
            record = self._record(Verb.INVENTORY, spec, request, parameters=parameters)
            job = Job(record, spec, None, there, parameters)
            self._queue.check_room(job.ticket())
            return record if dry_run else self._submit(job, request, None)

    def repeated(self, request: Request) -> Operation | None:
        """What the same request was answered with before, whatever has become of its sliver and slice since.

        Raises ``ReusedError``, and ``MissingError`` if the operation was dropped.
        """
        with self._changed:
            return self._again(request, dry_run=False)

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

    def forget(
        self,
        key: SliverKey,
        *,
        request: Request = _NOBODY,
        etag: str = "",
        encode: Callable[[Sliver], bytes] = lambda sliver: b"",
        dry_run: bool = False,
    ) -> bytes:
        """Drop what is known of a sliver, without touching the host; what ``encode`` makes of it is the answer.

        Raises ``MissingError``, ``EtagError``, ``StateError``.
        """
        with self._changed:
            if not dry_run and (found := self._records.answered(request)) is not None:
                return found.answer
            sliver = self._records.sliver(key)
            self._records.check_etag(key, etag)
            if (operation := self._queue.operation_of(key)) is not None:
                raise StateError(f"operation {operation} is in progress on {key}; cancel it first")
            answer = encode(sliver)
            if not dry_run:
                self._records.forget(key, request, answer)
            return answer

    def answer(self, request: Request, sliver_id: str) -> bytes:
        """What the same ``forget`` was answered with before. Raises ``MissingError``, ``ReusedError``."""
        with self._changed:
            found = self._records.answered(request)
            if found is None:
                raise MissingError("sliver", f"there is no sliver {sliver_id!r:.80}")
            return found.answer

    def drop_operation(self, name: str) -> None:
        """Forget an operation that is over. Raises ``MissingError``, ``StateError``."""
        with self._changed:
            if name in self._jobs:
                raise StateError(f"operation {name} is in progress; cancel it first")
            self._records.operation(name)
            self._records.drop_operation(name)

    # -- what is known -------------------------------------------------------------------------------------------------

    def operations(
        self, key: SliverKey | None = None, limit: int = 1000, before: tuple[float, str] | None = None
    ) -> list[Operation]:
        """The newest operations, of one sliver or of all, newest first; ``before`` that (create_time, id)."""
        with self._changed:
            live = {name: job.record for name, job in self._jobs.items()}
        return [live.get(one.id, one) for one in self._journal.operations(key, limit, before)]

    def running(self) -> list[Operation]:
        """Those that are not over, oldest first."""
        with self._changed:
            return [job.record for job in self._jobs.values()]

    def operation_of(self, key: SliverKey) -> str:
        """The id of the operation that works on a sliver; empty if none does."""
        with self._changed:
            return self._queue.operation_of(key) or ""

    def sliver(self, key: SliverKey) -> Sliver:
        """A sliver as last known. Raises ``MissingError``."""
        with self._changed:
            return self._records.sliver(key)

    def find(self, sliver_id: str) -> Sliver:
        """The sliver of that name, in whatever slice. Raises ``MissingError``."""
        with self._changed:
            return self._records.find(sliver_id)

    def wait(self, operation: str, timeout: float) -> Operation:
        """The operation once it is over, or as it is after ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: operation not in self._jobs, timeout)
            return self.operation(operation)

    def events(self, operation: str, after: int = 0, timeout: float = 0.0) -> tuple[list[Event], bool]:
        """Its events after that sequence number, waiting for one if need be; and whether more will come."""
        return self._events.after(operation, after, timeout)

    def watch(self, operation: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake``, which must return at once, for each of its events; returns what ends that."""
        return self._events.watch(operation, wake)

    # -- inside, under the lock ----------------------------------------------------------------------------------------

    def _again(self, request: Request, dry_run: bool) -> Operation | None:
        """What the same request was answered with before."""
        found = None if dry_run else self._records.answered(request)
        return None if found is None else self.operation(found.operation)

    def _ask(
        self,
        verb: Verb,
        sliver: Sliver,
        request: Request,
        dry_run: bool,
        action: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> Operation:
        job = self._job(verb, sliver.spec, request, action, parameters)
        joined = self._queue.check_room(job.ticket())
        if joined is not None:
            if not dry_run:
                self._records.note(request, joined)
            return self.operation(joined)
        return job.record if dry_run else self._submit(job, request, None)

    def _job(
        self,
        verb: Verb,
        spec: SliverSpec,
        request: Request,
        action: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        if self._closed:
            raise ClosedError("the service is stopping; try again when it is back")
        config = self.catalogue.find(spec.resource_type, spec.model)
        host = self.catalogue.host(spec.host)
        public, secrets = split_secrets(spec, config.schema)
        shown, more = split_values(parameters or {}, config.schema)
        record = self._record(verb, public, request, action, shown)
        return Job(record, spec, config, host, parameters or {}, (*secrets, *more))

    def _record(
        self,
        verb: Verb,
        spec: SliverSpec,
        request: Request,
        action: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> Operation:
        return Operation(
            id=uuid.uuid4().hex,
            sliver=spec.key,
            verb=verb,
            resource_type=spec.resource_type,
            spec=spec,
            action=action,
            parameters=dict(parameters or {}),
            requested_by=request.name or request.by,
            request_id=request.id,
            manager=request.manager,
            create_time=self._clock(),
        )

    def _place(self, spec: SliverSpec, slivers: list[Sliver]) -> SliverSpec:
        """With a host, which has room for it. Raises ``NoRoomError``."""
        if not self._is_placed(spec):
            return spec
        placed = [one for one in slivers if self._is_placed(one.spec)]
        if not spec.host:
            return replace(spec, host=choose_host(self.catalogue.hosts, spec, placed))
        host = self.catalogue.host(spec.host)
        check_room(host, spec, inventory.of_host(placed, host.name, self.catalogue.host("").name))
        return spec

    def _is_placed(self, spec: SliverSpec) -> bool:
        try:
            return self.catalogue.find(spec.resource_type, spec.model).placed
        except UnsupportedError:  # of a type that is no longer in the file
            return True

    def _check_host_is_free(self, host: Host) -> None:
        """While strays are removed from a host, what is new there might be taken for one."""
        holder = self._queue.operation_of(inventory.host_key(host.name))
        if holder is not None and self._jobs[holder].parameters.get("remove"):
            raise BusyError(holder)
