"""SliverService: slivers are asked of the processor, within the slices of the book."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from google.longrunning import operations_pb2

from am_bridge import fields as read
from am_bridge import reasons
from am_bridge.call import Call, shown_name
from am_bridge.fieldmask import apply_mask
from am_bridge.fields import to_timestamp
from am_bridge.handlers.handler import FailureKind, Host
from am_bridge.handlers.operations import Operation, OperationState, Sliver
from am_bridge.handlers.placement import used
from am_bridge.handlers.processor import MissingError, Processor
from am_bridge.handlers.spec import SpecError
from am_bridge.paging import PageTokens, cut_page, page_size
from am_bridge.services import console
from am_bridge.services.operations import Operations
from am_bridge.services.sliver_access import (
    check_admin,
    find_foreign_vlans,
    manager_of_sliver,
    slice_to_change,
)
from am_bridge.services.sliver_messages import (
    TASKS,
    failure_error,
    handler_message,
    operation_message,
    sliver_message,
    task_message,
)
from am_bridge.services.sliver_requests import (
    document_of,
    operation_id_of,
    plain_struct,
    refusals,
    request_of,
)
from am_bridge.status import ApiError
from am_bridge.violations import Violations
from vmoc.ledger import Entry, SliceBook
from vmoc.v1 import slivers_pb2 as v

Asking = v.CreateSliverRequest | v.ModifySliverRequest | v.DeleteSliverRequest | v.PerformActionRequest
PAGE: Final = 100
MOST_PAGE: Final = 1000
MOST_STATES: Final = 16


class SliverService:
    """See the module. ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        processor: Processor,
        book: SliceBook,
        tokens: PageTokens,
        operations: Operations,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._processor = processor
        self._book = book
        self._tokens = tokens
        self._operations = operations
        self._wall = wall

    # -- changing ------------------------------------------------------------------------------------------------------

    def CreateSliver(self, request: v.CreateSliverRequest, call: Call) -> operations_pb2.Operation:
        """Make one."""
        wanted = request.sliver
        self._audit(call, wanted.slice_id, wanted.sliver_id)
        if (again := self._repeated(request, call)) is not None:
            return again
        read.name_of(wanted.sliver_id, "sliver.sliver_id")
        read.name_of(wanted.slice_id, "sliver.slice_id")
        entry = slice_to_change(self._book, wanted.slice_id, call.caller)
        document, expire_time = document_of(wanted), self._expire_time(wanted)
        with refusals({"sliver": wanted.sliver_id, "slice": wanted.slice_id}):
            asked = request_of(request, call.caller, entry.slice.manager)
            self._check_vlans(document, entry)
            operation = self._processor.create(
                document,
                request=asked,
                expire_time=expire_time,
                slice_time=entry.create_time,
                dry_run=request.validate_only,
            )
        if request.validate_only:
            planned = Sliver(operation.spec, expire_time=expire_time, manager=entry.slice.manager)
            return self._planned(operation, planned)
        return self._operations.message(operation)

    def ModifySliver(self, request: v.ModifySliverRequest, call: Call) -> operations_pb2.Operation:
        """Set what the mask names."""
        if (again := self._repeated(request, call)) is not None:
            return again
        old = self._own(request.sliver.sliver_id, call, "sliver.sliver_id", change=True)
        entry = slice_to_change(self._book, old.spec.slice_id, call.caller)
        mask = request.update_mask if request.HasField("update_mask") else None
        current = self._message(old)
        wanted = apply_mask(mask, current, request.sliver)
        same = wanted.expire_time == current.expire_time
        expire_time = None if same else self._expire_time(wanted)
        document = document_of(wanted)
        with self._refusals(old):
            asked = request_of(request, call.caller, entry.slice.manager)
            self._check_vlans(document, entry)
            operation = self._processor.modify(
                document,
                request=asked,
                etag=request.sliver.etag,
                expire_time=expire_time,
                dry_run=request.validate_only,
            )
        return self._planned(operation, old) if request.validate_only else self._operations.message(operation)

    def DeleteSliver(self, request: v.DeleteSliverRequest, call: Call) -> operations_pb2.Operation:
        """Remove one."""
        if (again := self._repeated(request, call)) is not None:
            return again
        name = read.name_of(request.sliver_id, "sliver_id")
        try:
            found = self._processor.find(name)
        except MissingError:
            asked = request_of(request, call.caller, call.caller.manager)
            with refusals({"sliver": name}):
                operation = self._processor.delete_missing(
                    name, request=asked, allowed=request.allow_missing, dry_run=request.validate_only
                )
            if request.validate_only:
                return self._planned(operation, None)
            return self._operations.message(operation)
        old = self._own(name, call, change=True)
        asked = request_of(request, call.caller, manager_of_sliver(self._book, found))
        with self._refusals(old):
            operation = self._processor.delete(old.key, request=asked, etag=request.etag, dry_run=request.validate_only)
        return self._planned(operation, None) if request.validate_only else self._operations.message(operation)

    def PerformAction(self, request: v.PerformActionRequest, call: Call) -> operations_pb2.Operation:
        """Do something its handler offers."""
        if (again := self._repeated(request, call)) is not None:
            return again
        old = self._own(request.sliver_id, call, change=True)
        call.detail["action"] = request.action[:64]
        problems = Violations()
        parameters = plain_struct(request.parameters, "parameters", problems)
        problems.check()
        asked = request_of(request, call.caller, manager_of_sliver(self._book, old))
        with self._refusals(old):
            operation = self._processor.action(
                old.key, request.action, parameters, request=asked, dry_run=request.validate_only
            )
        return self._planned(operation, old) if request.validate_only else self._operations.message(operation)

    def ProbeSliver(self, request: v.ProbeSliverRequest, call: Call) -> v.Sliver:
        """Look, and answer with what there is. Waits for it."""
        old = self._own(request.sliver_id, call)
        asked = request_of(request, call.caller, manager_of_sliver(self._book, old))
        with self._refusals(old):
            operation = self._processor.probe(old.key, request=asked)
            operation = self._processor.wait(operation.id, call.left)
        if not operation.over:
            text = f"the probe goes on as operations/{operation.id}; wait for it, or look at the sliver later"
            raise ApiError(reasons.HANDLER_TIMEOUT, text, metadata={"operation": f"operations/{operation.id}"})
        if operation.state is not OperationState.SUCCEEDED:
            raise failure_error(operation.failure, operation.state)
        return self._message(operation.sliver_after or old)

    def ForgetSliver(self, request: v.ForgetSliverRequest, call: Call) -> v.ForgetSliverResponse:
        """Drop one from the records."""
        check_admin(call.caller)
        name = read.name_of(request.sliver_id, "sliver_id")
        asked = request_of(request, call.caller)
        with refusals({"sliver": name}):
            try:
                old = self._processor.find(name)
            except MissingError:
                return v.ForgetSliverResponse.FromString(self._processor.answer(asked, name))
        self._audit(call, old.spec.slice_id, name)

        def encode(sliver: Sliver) -> bytes:
            return v.ForgetSliverResponse(sliver=self._message(sliver)).SerializeToString()

        with self._refusals(old):
            answer = self._processor.forget(
                old.key, request=asked, etag=request.etag, encode=encode, dry_run=request.validate_only
            )
        return v.ForgetSliverResponse.FromString(answer)

    def ReconcileHost(self, request: v.ReconcileHostRequest, call: Call) -> operations_pb2.Operation:
        """Compare a host with the records."""
        check_admin(call.caller)
        call.detail["host"] = request.host[:128]
        if not request.host:
            problems = Violations()
            problems.add("host", "must be given")
            problems.check()
        with refusals({"host": request.host[:128]}):
            operation = self._processor.reconcile(
                request.host,
                remove=request.remove_strays,
                request=request_of(request, call.caller),
                dry_run=request.validate_only,
            )
        return self._planned(operation, None) if request.validate_only else self._operations.message(operation)

    # -- reading -------------------------------------------------------------------------------------------------------

    def GetSliver(self, request: v.GetSliverRequest, call: Call) -> v.Sliver:
        """One as last known."""
        return self._message(self._own(request.sliver_id, call))

    def ListSlivers(self, request: v.ListSliversRequest, call: Call) -> v.ListSliversResponse:
        """A page, in the order of ids."""
        problems = Violations()
        if len(request.states) > MOST_STATES:
            problems.add("states", f"must be at most {MOST_STATES}, not {len(request.states)}")
        slice_id = read.read_name(request.slice_id, "slice_id", problems, optional=True)
        problems.check()
        default = self._default_host()
        found = [
            one
            for one in sorted(self._processor.slivers(), key=lambda sliver: sliver.spec.sliver_id)
            if slice_id in ("", one.spec.slice_id)
            and request.resource_type in ("", one.spec.resource_type)
            and request.host in ("", one.spec.host or default)
            and call.caller.may_know(manager_of_sliver(self._book, one))
            and (not request.states or self._message(one).status.state in request.states)
        ]
        size, after = page_size(request.page_size, PAGE, MOST_PAGE), self._tokens.read(request, request.page_token)
        page, last = cut_page(found, lambda one: one.spec.sliver_id, after, size)
        token = "" if last is None else self._tokens.make(request, last)
        return v.ListSliversResponse(slivers=map(self._message, page), next_page_token=token)

    def ListHandlers(self, request: v.ListHandlersRequest, call: Call) -> v.ListHandlersResponse:
        """Types, and what their specs look like."""
        catalogue = self._processor.catalogue
        found = [handler_message(name, one, catalogue.workers) for name, one in sorted(catalogue.handlers.items())]
        size, after = page_size(request.page_size, PAGE, MOST_PAGE), self._tokens.read(request, request.page_token)
        page, last = cut_page(found, lambda one: one.resource_type, after, size)
        token = "" if last is None else self._tokens.make(request, last)
        return v.ListHandlersResponse(handlers=page, next_page_token=token)

    def ListHosts(self, request: v.ListHostsRequest, call: Call) -> v.ListHostsResponse:
        """Where slivers can be."""
        hosts = sorted(self._processor.catalogue.hosts.items())
        size, after = page_size(request.page_size, PAGE, MOST_PAGE), self._tokens.read(request, request.page_token)
        page, last = cut_page(hosts, lambda one: one[0], after, size)
        token = "" if last is None else self._tokens.make(request, last)
        return v.ListHostsResponse(hosts=[self._host(host) for _, host in page], next_page_token=token)

    def _host(self, host: Host) -> v.Host:
        slivers = self._processor.on_host(host.name)
        latest = max(slivers, key=lambda one: one.update_time, default=None)
        lost = latest is not None and latest.failure is not None and latest.failure.kind is FailureKind.UNREACHABLE
        seen = max((one.probe_time for one in slivers), default=0.0)
        state = v.HOST_STATE_UNSPECIFIED
        if lost:
            state = v.HOST_STATE_UNREACHABLE
        elif seen or not host.address:
            state = v.HOST_STATE_REACHABLE
        cards = (card for one in slivers if one.result is not None for card in one.result.interfaces)
        return v.Host(
            host=host.name,
            state=state,
            schedulable=True,
            resource_types=sorted(self._processor.catalogue.handlers),
            capacity=host.capacity,
            used=used(slivers),
            sliver_count=len(slivers),
            dpids=sorted({card.dpid for card in cards if card.dpid}),
            last_seen_time=to_timestamp(seen) if seen else None,
        )

    # -- streams -------------------------------------------------------------------------------------------------------

    async def WatchOperation(
        self, request: v.WatchOperationRequest, call: Call
    ) -> AsyncIterator[v.WatchOperationResponse]:
        """Its events, and in the end itself."""
        name, after = operation_id_of(request.name), max(0, request.after_sequence)
        await self._present(name, call)  # if it may
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

        end = self._processor.watch(name, wake)
        try:
            while True:
                changed.clear()
                events, more = self._processor.events(name, after)
                for event in events:
                    answer = v.WatchOperationResponse(sequence=event.sequence, event_time=to_timestamp(event.time))
                    after = event.sequence
                    if event.kind in TASKS:
                        answer.task.CopyFrom(task_message(event))
                    elif more or event is not events[-1]:
                        answer.operation.CopyFrom(await self._present(name, call))
                        if answer.operation.done:
                            continue  # it has ended meanwhile, and is told last
                    else:
                        continue
                    yield answer
                if not more:
                    operation = await self._present(name, call)
                    if operation.done:
                        now = to_timestamp(self._wall())
                        yield v.WatchOperationResponse(sequence=after, event_time=now, operation=operation)
                        return
                await changed.wait()
        finally:
            end()

    async def _present(self, name: str, call: Call) -> operations_pb2.Operation:
        """Reading it may wait for the disk."""
        assert call.in_thread is not None
        found = await call.in_thread(lambda: self._operations.message(self._operations.own(name, call.caller)))
        assert isinstance(found, operations_pb2.Operation)
        return found

    async def StreamConsole(
        self, request: v.StreamConsoleRequest, call: Call
    ) -> AsyncIterator[v.StreamConsoleResponse]:
        """What it writes."""
        assert call.in_thread is not None

        def opened() -> console.Console:
            sliver = self._own(request.sliver_id, call, change=True)
            return console.Console(sliver, self._processor.catalogue.host(sliver.spec.host), request.tail_bytes)

        reader = await call.in_thread(opened)
        assert isinstance(reader, console.Console)
        try:
            while True:
                data = await call.in_thread(reader.read)
                assert isinstance(data, bytes)
                if data:
                    yield v.StreamConsoleResponse(data=data)
                elif not request.follow:
                    return
                else:
                    await asyncio.sleep(console.PAUSE)
        finally:
            reader.close()

    # -- between -------------------------------------------------------------------------------------------------------

    def _repeated(self, request: Asking, call: Call) -> operations_pb2.Operation | None:
        """The answer that the same request has had already."""
        if not request.request_id or request.validate_only:
            return None
        with refusals({"request_id": request.request_id[:64]}):
            operation = self._processor.repeated(request_of(request, call.caller))
        return None if operation is None else self._operations.message(operation)

    def _own(self, sliver_id: str, call: Call, path: str = "sliver_id", *, change: bool = False) -> Sliver:
        """A sliver the caller may look at, or change. Raises ``ApiError``."""
        name = read.name_of(sliver_id, path)
        with refusals({"sliver": name}):
            found = self._processor.find(name)
        if not call.caller.may_know(manager_of_sliver(self._book, found)):
            if change:
                text = f"sliver {name} belongs to another manager"
                raise ApiError(reasons.NOT_OWNER, text, metadata={"sliver": name, "manager": call.caller.manager})
            raise ApiError(reasons.SLIVER_NOT_FOUND, f"there is no sliver {name!r}", metadata={"sliver": name})
        self._audit(call, found.spec.slice_id, name)
        return found

    def _audit(self, call: Call, slice_id: str, sliver_id: str) -> None:
        call.slice_id = shown_name(slice_id)
        call.detail["sliver"] = shown_name(sliver_id) or ""

    def _check_vlans(self, document: object, entry: Entry) -> None:
        problems = list(find_foreign_vlans(self._processor.check(document), entry.slice))
        if problems:
            raise SpecError(problems)

    def _expire_time(self, wanted: v.Sliver) -> float:
        if not wanted.HasField("expire_time"):
            return 0.0
        problems = Violations()
        found = read.read_time(wanted.expire_time, "sliver.expire_time", problems)
        if not problems.count and found <= self._wall():
            problems.add("sliver.expire_time", "must be to come")
        problems.check()
        return found

    def _refusals(self, old: Sliver) -> contextlib.AbstractContextManager[None]:
        about = {"sliver": old.spec.sliver_id, "slice": old.spec.slice_id}
        return refusals(about, lambda: self._processor.sliver(old.key).etag)

    def _message(self, one: Sliver) -> v.Sliver:
        operation: Operation | None = None
        if name := self._processor.operation_of(one.key):
            with contextlib.suppress(MissingError):
                operation = self._processor.operation(name)
        return sliver_message(one, self._default_host(), operation)

    def _default_host(self) -> str:
        return self._processor.catalogue.host("").name

    def _planned(self, operation: Operation, sliver: Sliver | None) -> operations_pb2.Operation:
        """What a request that only asks whether it would do is answered with: an operation without a name, done."""
        message = operation_message(operation, self._default_host(), 0, self._wall())
        message.name, message.done = "", True
        message.response.Pack(
            v.DeleteSliverResponse() if sliver is None else sliver_message(sliver, self._default_host())
        )
        return message
