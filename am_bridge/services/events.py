"""EventService: the stream of events, at each reader's own speed; whoever does not keep up loses its stream.

Nothing is queued for a reader: it goes through the ring of events, on the API's loop, a few at a time, and is woken
when there are new ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from typing import Final, Protocol

from am_bridge import fields as read
from am_bridge import reasons
from am_bridge.auth import Caller
from am_bridge.call import Call
from am_bridge.services.happenings import GROUPS, Teller, datapath_state, switch_state
from am_bridge.services.sight import Sight
from am_bridge.status import ApiError, RetryAfter
from am_bridge.violations import Violations
from vmoc.events import Kind
from vmoc.ledger import SliceBook
from vmoc.ledger.errors import SliceNotFoundError
from vmoc.status import DatapathStatus, SwitchSummary
from vmoc.telemetry.stream import (
    EARLIEST,
    EventFilter,
    Gap,
    Group,
    Happened,
    Item,
    StateEnd,
    StateItem,
    Subscription,
    TokenError,
    TooManyReadersError,
)
from vmoc.v1 import events_pb2 as m

HEARTBEAT: Final = 15.0
GATHER: Final = 0.01
"""Seconds: events that come that soon after another are sent with it."""
BATCH: Final = 64
STATES: Final = 200
"""Of the initial state, at a time."""
MOST_CONDITIONS: Final = 1000
MOST_TOKEN: Final = 256


class EventRack(Protocol):
    """What of the running service this needs."""

    boot_id: str

    def watch(
        self,
        wanted: EventFilter | None = ...,
        token: str = ...,
        *,
        initial_state: bool = ...,
        among: Collection[str] | None = ...,
        on_news: Callable[[], None] | None = ...,
    ) -> Subscription: ...


class EventService:
    """See the module. ``wall`` gives seconds since the epoch, ``heartbeat`` is in seconds."""

    def __init__(
        self,
        book: SliceBook,
        rack: EventRack,
        summarise: Callable[[bytes], str],
        wall: Callable[[], float] = time.time,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._book = book
        self._rack = rack
        self._teller = Teller(rack.boot_id, summarise)
        self._wall = wall
        self._heartbeat = heartbeat

    async def WatchEvents(self, request: m.WatchEventsRequest, call: Call) -> AsyncIterator[m.WatchEventsResponse]:
        """Until the caller or the server ends it."""
        wanted = _filter(request)
        own = Sight(self._book, call.caller).own()
        news, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_news() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(news.set)

        try:
            reader = self._rack.watch(
                wanted,
                request.resume_token,
                initial_state=request.include_initial_state,
                among=own,
                on_news=on_news,
            )
        except TokenError as error:
            raise ApiError(reasons.RESUME_TOKEN_INVALID, violations=[("resume_token", str(error))]) from error
        except TooManyReadersError as error:
            raise ApiError(reasons.TOO_MANY_CALLS, str(error), retry=RetryAfter(5.0)) from error
        eyes = _Eyes(self._book, call.caller, own or ())
        try:
            assert call.in_thread is not None
            while items := await call.in_thread(lambda: reader.prelude(STATES)):
                for item in items:
                    yield self._state(item)
            resuming, current = request.resume_token not in ("", EARLIEST), False
            while True:
                news.clear()
                found, more = reader.ready(BATCH)
                for one in found:
                    if isinstance(one, Gap):
                        if one.reason == "restart" or resuming:
                            raise ApiError(reasons.RESUME_TOKEN_EXPIRED)
                        if current or request.resume_token != EARLIEST:
                            raise ApiError(reasons.SLOW_READER)
                    elif isinstance(one, Happened) and eyes.see(one):
                        yield self._event(one, eyes)
                    resuming = False
                if more:
                    await asyncio.sleep(0)
                    continue
                resuming = False
                if reader.closed:
                    raise ApiError(reasons.SERVER_DRAINING, retry=RetryAfter(2.0))
                if not current:
                    current = True
                    yield m.WatchEventsResponse(resume_token=reader.token, heartbeat=True)
                try:
                    async with asyncio.timeout(self._heartbeat):
                        await news.wait()
                except TimeoutError:
                    yield m.WatchEventsResponse(resume_token=reader.token, heartbeat=True)
                else:
                    await asyncio.sleep(GATHER)
        finally:
            reader.close()

    def _state(self, item: Item) -> m.WatchEventsResponse:
        if isinstance(item, StateEnd):
            return m.WatchEventsResponse(resume_token=item.token, initial_state_done=True)
        assert isinstance(item, StateItem)
        if isinstance(item.value, SwitchSummary):
            return m.WatchEventsResponse(event=switch_state(item.value, self._wall()))
        assert isinstance(item.value, DatapathStatus)
        return m.WatchEventsResponse(event=datapath_state(item.value, self._wall()))

    def _event(self, one: Happened, eyes: _Eyes) -> m.WatchEventsResponse:
        name = one.event.slice
        entry = eyes.sight.look(name) if name is not None else None
        event = self._teller.event(one, entry, discreet=not eyes.sight.whole)
        return m.WatchEventsResponse(resume_token=one.token, event=event)


class _Eyes:
    """Which events a caller sees; of a slice that is gone too, if it was the caller's while the stream was there."""

    def __init__(self, book: SliceBook, caller: Caller, own: Collection[str]) -> None:
        self.sight = Sight(book, caller)
        self._book = book
        self._caller = caller
        self._own = set(own)

    def see(self, one: Happened) -> bool:
        event, scope = one.event, self._caller.scope
        if scope is None:
            return True
        if event.kind is Kind.CALL:
            return event.detail.get("identity") == self._caller.name
        if event.slice is None:
            return one.group is not Group.OPERATION  # on hosts, which are the administrators'
        if "manager" in event.detail:
            return event.detail["manager"] == scope
        try:
            entry = self._book.get(event.slice)
        except SliceNotFoundError:
            return event.slice in self._own
        if entry.slice.manager != scope:
            self._own.discard(event.slice)
            return False
        if one.time < entry.create_time:  # that was somebody else's slice of the same name
            return False
        self._own.add(event.slice)
        return True


def _filter(request: m.WatchEventsRequest) -> EventFilter:
    problems = Violations()
    if len(request.resume_token) > MOST_TOKEN:
        problems.add("resume_token", f"must have at most {MOST_TOKEN} characters")
    for path, values in (("slice_ids", request.slice_ids), ("kinds", request.kinds), ("dpids", request.dpids)):
        if len(values) > MOST_CONDITIONS:
            problems.add(path, f"must be at most {MOST_CONDITIONS}, not {len(values)}")
    problems.check()
    slices = [read.read_name(name, f"slice_ids[{index}]", problems) for index, name in enumerate(request.slice_ids)]
    dpids = [read.read_dpid(dpid, f"dpids[{index}]", problems) for index, dpid in enumerate(request.dpids)]
    groups = []
    for index, kind in enumerate(request.kinds):
        if kind in GROUPS:
            groups.append(GROUPS[kind])
        else:
            problems.add(f"kinds[{index}]", f"must be one of EventKind, not {kind}")
    problems.check()
    return EventFilter(
        slices=frozenset(slices) if slices else None,
        groups=frozenset(groups) if groups else None,
        dpids=frozenset(dpids) if dpids else None,
    )
