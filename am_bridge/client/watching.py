"""The stream of events, taken up again where it broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, cast

import grpc

from am_bridge import reasons
from am_bridge.client.backoff import Backoff
from am_bridge.client.errors import ClientError, InvalidRequestError, client_error
from am_bridge.client.records import Gap
from vmoc.v1 import events_pb2

_GONE: Final = {reasons.RESUME_TOKEN_EXPIRED.code, reasons.RESUME_TOKEN_INVALID.code}


async def answers(
    watch: Callable[[events_pb2.WatchEventsRequest], Any],
    request: events_pb2.WatchEventsRequest,
    backoff: Backoff,
    *,
    resume: bool = True,
    connected: Callable[[], None] = lambda: None,
) -> AsyncIterator[events_pb2.WatchEventsResponse | Gap]:
    """WatchEvents for ever: broken streams are resumed, and where that can't be, there is a ``Gap``.

    ``request`` is changed: its resume_token becomes that of the last answer. With ``resume`` False every break is a
    gap. ``connected`` is called as often as a stream begins. Raises ``ClientError`` if the server refuses.
    """
    was_connected = False
    while True:
        call = watch(request)
        gap = ""
        try:
            await call.wait_for_connection()
            was_connected = True
            connected()
            async for answer in call:
                backoff.reset()
                request.resume_token = answer.resume_token
                yield answer
            gap = "" if resume else "the server ended the stream"
        except (grpc.RpcError, asyncio.InvalidStateError) as caught:
            error = client_error(caught) if isinstance(caught, grpc.RpcError) else ClientError(str(caught))
            if not _passes(error):
                raise error from None
            gap = "" if resume and error.reason not in _GONE else error.message
            if error.reason in _GONE:
                request.resume_token = ""
        finally:
            call.cancel()
        if was_connected and not request.resume_token:
            gap = gap or "the stream broke before it said where to go on"
            was_connected = False
        if gap:
            yield Gap(gap)
        await asyncio.sleep(backoff.next())


def _passes(error: ClientError) -> bool:
    """Whether another stream may do better."""
    return error.retryable or (isinstance(error, InvalidRequestError) and error.reason in _GONE)


def watch_request(
    *, resume_token: str, slices: Iterable[str], kinds: Iterable[str], dpids: Iterable[str], initial: bool
) -> events_pb2.WatchEventsRequest:
    """The request for events; ``kinds`` as in "slice". Raises ``ValueError`` for a kind there isn't."""
    return events_pb2.WatchEventsRequest(
        resume_token=resume_token,
        slice_ids=slices,
        kinds=[_kind(kind) for kind in kinds],
        dpids=dpids,
        include_initial_state=initial,
    )


def _kind(word: str) -> events_pb2.EventKind:
    return cast("events_pb2.EventKind", events_pb2.EventKind.Value("EVENT_KIND_" + word.upper().replace("-", "_")))
