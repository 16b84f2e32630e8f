"""The client of an aggregate manager, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from typing import Any, Final

import grpc

from am_bridge.channel import DEFAULT_ADDRESS, ClientTlsFiles, open_async_channel
from am_bridge.client.backoff import Backoff
from am_bridge.client.calls import Calls, Deadlines
from am_bridge.client.errors import ClientError, ClosedError
from am_bridge.client.reconcile import OnDrift, Reconciler
from am_bridge.client.records import Event, Gap, ServerRecord, SliceRecord, event_of, slice_of, slice_record
from am_bridge.client.steps import Done, Failed, Greet, Greeting, Report, Step
from am_bridge.client.watching import answers, watch_request
from am_bridge.convert import Choice
from vmoc.model import Slice, format_dpid
from vmoc.v1 import events_pb2, resources_pb2

_LOG: Final = logging.getLogger("vmoc.client")
_WATCH_PATIENCE: Final = 1.0
"""Seconds that the first listing waits for the stream of events, so that nothing happens in between unseen."""
_BLIND_AUDIT: Final = 15.0
"""Seconds between audits without a stream of events."""


class Change:
    """A change of the desired state. ``await`` it for the slice as the server has it, None if it is gone.

    It raises the ``ClientError`` that the server refused it with. Nobody needs to wait: it is made all the same.
    """

    def __init__(self, slice_id: str, outcome: asyncio.Future[Slice | None]) -> None:
        self.slice_id = slice_id
        self._outcome = outcome
        outcome.add_done_callback(_look)  # or asyncio complains of errors that nobody awaits

    def __await__(self) -> Generator[object, None, Slice | None]:
        return asyncio.shield(self._outcome).__await__()

    @property
    def done(self) -> bool:
        """Whether it was made or refused."""
        return self._outcome.done()


def _look(outcome: asyncio.Future[Slice | None]) -> None:
    if not outcome.cancelled():
        outcome.exception()


class VmocClient:
    """Keeps one manager's slices on a server as they are desired, whatever happens to either side meanwhile.

    ``put`` and ``remove`` change what is desired and return at once; the change is made as soon as the server can be
    reached. ``desired`` given: that is all this manager shall have, and what else it has is removed. Not given: what
    it has already is desired too. ``manager`` may be left out where the caller's certificate names it.

    ``on_report`` is called in the event loop with everything that happens (``am_bridge.client.Report``). ``audit`` are
    the seconds after which the server's slices are compared again though no event told of a change.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        manager: str = "",
        desired: Iterable[Slice] | None = None,
        tls: ClientTlsFiles | None = None,
        on_drift: OnDrift = OnDrift.RESTORE,
        on_report: Callable[[Report], None] | None = None,
        deadlines: Deadlines | None = None,
        longest_wait: float = 10.0,
        audit: float = 300.0,
    ) -> None:
        self._address = address
        self._tls = tls
        self._deadlines = deadlines or Deadlines()
        self._longest_wait = longest_wait
        self._audit = audit
        self._on_report = on_report
        self._core = Reconciler(
            manager, desired, new_id=lambda: uuid.uuid4().hex, on_drift=on_drift, backoff=Backoff(most=longest_wait)
        )
        self._clock = 0.0  # the server's less ours
        self._changes: dict[int, asyncio.Future[Slice | None]] = {}
        self._settled: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._channel: grpc.aio.Channel | None = None
        self._calls: Calls | None = None
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> VmocClient:
        self._channel = open_async_channel(self._address, self._tls)
        self._calls = Calls(self._channel, self._deadlines)
        self._wake = asyncio.Event()
        self._watching = asyncio.Event()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._reconcile())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop. Slices stay on the server; changes not made yet fail with ``ClosedError``."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        error = ClosedError("the client was closed before the change was made")
        waiting: list[asyncio.Future[Any]] = [*self._changes.values(), *self._settled]
        for outcome in waiting:
            if not outcome.done():
                outcome.set_exception(error)
                outcome.exception()
        self._changes.clear()
        self._settled.clear()

    # -- the desired state ---------------------------------------------------------------------------------------------

    @property
    def desired(self) -> Mapping[str, Slice]:
        """What shall be, by id. VLANs that the server chose are filled in."""
        return self._core.desired

    @property
    def refused(self) -> set[str]:
        """Ids of desired slices that the server refuses; reports told why."""
        return self._core.refused

    @property
    def is_settled(self) -> bool:
        """Whether the server has what is desired, as far as is known."""
        return self._core.settled

    def put(self, one: Slice, choices: Mapping[int, Choice] | None = None) -> Change:
        """Desire a slice, new or changed.

        A segment with VLAN 0 takes any free one; ``choices`` says, by the segment's index, which do. Raises
        ``ValueError`` if the slice is another manager's.
        """
        return self._change(one.id, self._core.put(one, choices))

    def remove(self, slice_id: str) -> Change:
        """Desire that there is no such slice."""
        return self._change(slice_id, self._core.remove(slice_id))

    def _change(self, slice_id: str, ticket: int) -> Change:
        if self._closed or not self._tasks:
            raise ClosedError("the client isn't open; use it as: async with VmocClient(...) as client")
        outcome: asyncio.Future[Slice | None] = asyncio.get_running_loop().create_future()
        self._changes[ticket] = outcome
        self._deliver()  # a change whose place this one took
        self._wake.set()
        return Change(slice_id, outcome)

    async def settled(self, timeout: float | None = None) -> None:
        """Wait until the server has what is desired, what it refuses excepted. Raises ``TimeoutError``."""
        if self._core.settled and not self._closed:
            return
        if self._closed:
            raise ClosedError("the client is closed")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.append(waiter)
        self._wake.set()
        await asyncio.wait_for(waiter, timeout)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def server(self) -> ServerRecord:
        """What one talks to. Raises ``ClientError``, as do all calls that read."""
        return await self._open.server()

    async def get(self, slice_id: str) -> SliceRecord:
        """A slice with its state on the switches."""
        return await self._open.slice(slice_id, status=True)

    async def slices(
        self,
        *,
        manager: str = "",
        owner: str = "",
        labels: Mapping[str, str] | None = None,
        vlan: int = 0,
        dpid: int | None = None,
    ) -> AsyncIterator[SliceRecord]:
        """Slices in the order of their ids, of any manager unless one is named; all that is given must hold."""
        conditions = self._open.slices(
            manager=manager,
            owner=owner,
            labels=dict(labels or {}),
            vlan_id=vlan,
            dpid="" if dpid is None else format_dpid(dpid),
        )
        async for one in conditions:
            yield slice_record(one)

    async def free_vlans(self, *, dpid: int | None = None, pool: str = "") -> list[int]:
        """VLANs that nobody has: on every switch, or on one; of every pool and none, or of one."""
        return await self._open.free_vlans(dpid=dpid, pool=pool)

    async def events(
        self,
        *,
        resume_token: str = "",
        slices: Iterable[str] = (),
        kinds: Iterable[str] = (),
        dpids: Iterable[int] = (),
        initial: bool = False,
    ) -> AsyncIterator[Event | Gap]:
        """Events for ever, from now on or after ``resume_token``; a stream that breaks is taken up where it broke.

        A ``Gap`` stands where events were missed all the same. ``initial`` begins, after a gap too, with what is.
        """
        request = watch_request(
            resume_token=resume_token,
            slices=slices,
            kinds=kinds,
            dpids=[format_dpid(dpid) for dpid in dpids],
            initial=initial,
        )
        async for answer in answers(self._open.watch, request, Backoff(most=self._longest_wait)):
            if isinstance(answer, Gap):
                yield answer
            elif answer.HasField("event"):
                yield event_of(answer)

    @property
    def _open(self) -> Calls:
        if self._calls is None or self._closed:
            raise ClosedError("the client isn't open; use it as: async with VmocClient(...) as client")
        return self._calls

    # -- the work ------------------------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._watching.wait(), _WATCH_PATIENCE)
        audited = time.monotonic()
        while not self._closed:  # wait_for may swallow the cancellation of close()
            self._wake.clear()
            now = time.monotonic()
            if now - audited >= self._audit:
                audited = now
                self._core.doubt()
            step = self._core.next(now)
            if step is None or isinstance(step, float):
                wait = min(self._audit, float("inf") if step is None else max(0.0, step - now))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
            else:
                await self._make(step)
            self._deliver()

    async def _make(self, step: Step) -> None:
        try:
            answer = await self._open.make(step, self._core.manager)
        except ClientError as error:
            self._core.failed(step, error, time.monotonic())
            return
        if isinstance(step, Greet):
            assert isinstance(answer, Greeting)
            self._clock = answer.clock - time.time()
        self._core.answered(step, answer, time.time() + self._clock)

    async def _watch(self) -> None:
        """Notice what others do to our slices, and that the server went."""
        request = watch_request(resume_token="", slices=(), kinds=("slice", "server"), dpids=(), initial=False)
        stream = answers(
            self._open.watch, request, Backoff(most=self._longest_wait), resume=False, connected=self._watched
        )
        try:
            async for answer in stream:
                if isinstance(answer, Gap):
                    request.resume_token = ""
                    self._core.doubt()
                    self._wake.set()
                elif answer.event.WhichOneof("detail") == "slice":
                    self._noticed(answer.event)
        except ClientError as error:
            _LOG.warning("no events from %s, so others' changes are noticed late: %s", self._address, error)
            self._audit = min(self._audit, _BLIND_AUDIT)
            self._watching.set()
            self._wake.set()

    def _watched(self) -> None:
        if self._watching.is_set():
            self._core.doubt()
            self._wake.set()
        self._watching.set()

    def _noticed(self, event: events_pb2.Event) -> None:
        told = event.slice
        if told.change == resources_pb2.CHANGE_KIND_UNSPECIFIED:
            return
        if told.change == resources_pb2.CHANGE_KIND_REMOVED:
            self._core.noticed(event.slice_id, None)  # of a slice that is gone only the id is told
        elif not told.HasField("slice"):
            self._core.suspect(event.slice_id)  # too large for an event
        else:
            ours = told.slice.manager == self._core.manager
            self._core.noticed(event.slice_id, slice_of(told.slice) if ours else None)
        self._wake.set()

    def _deliver(self) -> None:
        for report in self._core.take_reports():
            outcome = None
            if isinstance(report, Done | Failed) and report.ticket is not None:
                outcome = self._changes.pop(report.ticket, None)
            if outcome is not None and not outcome.done():
                if isinstance(report, Done):
                    outcome.set_result(report.slice)
                elif isinstance(report, Failed):
                    outcome.set_exception(report.error)
            if self._on_report is not None:
                try:
                    self._on_report(report)
                except Exception:
                    _LOG.exception("on_report failed for %r", report)
        if self._core.settled:
            waiters, self._settled = self._settled, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
