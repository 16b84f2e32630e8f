"""What every call passes: who calls, may it, is there room; then the service, in a thread; then the status.

The services block (they write to disk, or wait for the multiplexer's loop), so they run in two small pools: changes,
which exclude one another anyway, cannot be held up by reads that wait for a switch. What waits for a thread is bounded
in number and bytes; the rest is refused at once, with the time to come back.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from am_bridge import reasons
from am_bridge.auth import LONG, METHODS, Access, Caller, Callers, authorise
from am_bridge.call import LONGEST, Call, shown_name
from am_bridge.room import Kind, Room
from am_bridge.status import ApiError, RetryAfter, api_error, to_grpc
from vmoc.errors import VmocError

CHANGING: Final = 2
READING: Final = 6
WAITING: Final = 32
"""Threads."""
LONGEST_REFUSED: Final = 4096
LONGEST_WRITE: Final = 20.0
GIVE_UP: Final = 1.0
"""Seconds: until a stream nobody reads is ended, and for telling its reader."""
Context = Any  # grpc.aio.ServicerContext; its stubs are generic in what we treat as bytes
Translate = Callable[[VmocError], "ApiError | None"]


class Audit(Protocol):
    """Keeps who changed what; never blocks."""

    def __call__(
        self, identity: str, method: str, slice_id: str | None, outcome: str, message: str = "", **detail: object
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the gate is given. ``translate`` knows errors of what was injected; ``bug`` gets (where, traceback)."""

    audit: Audit
    bug: Callable[[str, str], None]
    translate: Translate = lambda error: None


class Gate(grpc.aio.ServerInterceptor):
    """One for the server; everything but ``_answer`` runs on the API's loop."""

    def __init__(self, callers: Callers, ours: Sequence[str], hooks: Hooks) -> None:
        """``ours`` are the names of the services whose methods take a ``Call``."""
        self.draining = False
        self._callers = callers
        self._ours = frozenset(ours)
        self._hooks = hooks
        self.room = Room()
        self._reading = ThreadPoolExecutor(READING, "api-read")
        self._pools = {
            Kind.READ: self._reading,
            Kind.CHANGE: ThreadPoolExecutor(CHANGING, "api-change"),
            Kind.WAIT: ThreadPoolExecutor(WAITING, "api-wait"),
        }

    def close(self) -> None:
        """No more calls; those in progress end by themselves."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """The method's handler, behind everything that is checked first."""
        found = await continuation(handler_call_details)
        if found is None:
            return None
        method: str = handler_call_details.method
        ours = method.lstrip("/").partition("/")[0] in self._ours
        if found.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._native_stream(method, found.stream_stream), found.request_deserializer, found.response_serializer
            )
        read, write = _reader(found), found.response_serializer
        if found.response_streaming:
            stream = self._stream if ours else self._native_watch
            return grpc.unary_stream_rpc_method_handler(stream(method, found.unary_stream, read, write))
        if not ours:
            return grpc.unary_unary_rpc_method_handler(self._native(method, found.unary_unary, read, write))
        return grpc.unary_unary_rpc_method_handler(self._unary(method, found.unary_unary, read, write))

    # -- our own services ----------------------------------------------------------------------------------------------

    def _unary(self, method: str, serve: Callable[[Any, Call], Any], read: Any, write: Any) -> Any:
        changes = METHODS.get(method) is Access.WRITE
        kind = Kind.CHANGE if changes else Kind.WAIT if method in LONG else Kind.READ
        pool = self._pools[kind]

        async def handle(data: bytes, context: Context) -> bytes:
            call = None
            try:
                caller = self._known(method, context, refused=self.draining and changes)
                leave = self.room.enter(caller, kind, len(data))
                call, loop = _call(method, caller, context), asyncio.get_running_loop()
                future = pool.submit(self._answer, call, serve, read, write, data, changes)
                future.add_done_callback(lambda _: _on_loop(loop, leave))
                answer: bytes = await _result(future, loop)
                return answer
            except Exception as error:
                named = _slice_of(read, data) if changes and call is None else None
                await self._refuse(context, error, call, method, changes, named)
                raise AssertionError("unreachable") from error

        return handle

    def _answer(self, call: Call, serve: Any, read: Any, write: Any, data: bytes, changes: bool) -> bytes:
        """In a thread: the whole call, so that it is audited also if the caller has gone."""
        outcome, message = "OK", ""
        try:
            request = read(data)
            if getattr(request, "validate_only", False):
                call.detail["validate_only"] = True
            answer: bytes = write(serve(request, call))
        except Exception as error:
            told = self._told(error, call.method)
            outcome, message = told.reason.code, told.message
            raise told from error
        else:
            return answer
        finally:
            if changes:
                self._hooks.audit(call.caller.name, _short(call.method), call.slice_id, outcome, message, **call.detail)

    def _stream(self, method: str, serve: Callable[[Any, Call], Any], read: Any, write: Any) -> Any:
        audited = METHODS.get(method) is Access.WRITE

        async def handle(data: bytes, context: Context) -> None:
            call = None
            outcome, message = "OK", ""
            try:
                caller = self._known(method, context, refused=self.draining)
                with self._streaming(caller, len(data)):
                    call, loop = _call(method, caller, context), asyncio.get_running_loop()
                    call.in_thread = lambda work: _result(self._reading.submit(work), loop)
                    answers = serve(read(data), call)
                    try:
                        async for answer in answers:
                            await _write(context, write(answer))
                    finally:
                        await answers.aclose()
            except Exception as error:
                told = self._told(error, method)
                outcome, message = told.reason.code, told.message
                # A caller who does not read does not read this either.
                with suppress(TimeoutError):
                    async with asyncio.timeout(GIVE_UP):
                        await self._refuse(context, told, call, method, audited)
            finally:
                if audited and call is not None:
                    self._hooks.audit(call.caller.name, _short(method), call.slice_id, outcome, message, **call.detail)

        return handle

    def _known(self, method: str, context: Context, *, refused: bool) -> Caller:
        """Who calls, and may; ``refused``: but not now."""
        caller = self._callers.identify(context.auth_context())
        authorise(method, caller)
        if refused:
            raise ApiError(reasons.SERVER_DRAINING, retry=RetryAfter(2.0))
        assert caller is not None
        return caller

    @contextmanager
    def _streaming(self, caller: Caller | None, size: int) -> Iterator[None]:
        leave = self.room.enter(caller, Kind.STREAM, size)
        try:
            yield
        finally:
            leave()

    async def _refuse(
        self,
        context: Context,
        error: Exception,
        call: Call | None,
        method: str,
        changes: bool,
        slice_id: str | None = None,
    ) -> None:
        told = self._told(error, method)
        if changes and call is None:  # it never came to the service
            caller = self._callers.identify(context.auth_context())
            name = caller.name if caller is not None else "unknown"
            self._hooks.audit(name, _short(method), slice_id, told.reason.code, told.message, peer=context.peer())
        status = to_grpc(told)
        await context.abort(status.code, status.details, tuple(status.trailing_metadata or ()))

    def _told(self, error: Exception, method: str) -> ApiError:
        if isinstance(error, VmocError):
            told = error if isinstance(error, ApiError) else self._hooks.translate(error)
            if told is not None:
                return told
        told = api_error(error)
        if told.reason is reasons.BUG:
            self._hooks.bug(method, "".join(traceback.format_exception(error)))
        return told

    # -- health and reflection -----------------------------------------------------------------------------------------

    def _native(self, method: str, serve: Any, read: Any, write: Any) -> Any:
        async def handle(data: bytes, context: Context) -> bytes:
            try:
                authorise(method, self._callers.identify(context.auth_context()))
                request = read(data)
            except ApiError as error:
                await self._refuse(context, error, None, method, False)
            answer = serve(request, context)
            return write(await answer if inspect.isawaitable(answer) else answer)  # type: ignore[no-any-return]

        return handle

    def _native_watch(self, method: str, serve: Any, read: Any, write: Any) -> Any:
        class Writing:
            """The context with a serialising ``write``."""

            def __init__(self, context: Context) -> None:
                self._context = context

            async def write(self, message: Message) -> None:
                await self._context.write(write(message))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._context, name)

        async def handle(data: bytes, context: Context) -> None:
            try:
                with self._admitted(method, context, len(data)):
                    await serve(read(data), Writing(context))
            except ApiError as error:
                await self._refuse(context, error, None, method, False)

        return handle

    def _native_stream(self, method: str, serve: Any) -> Any:
        async def handle(requests: Any, context: Context) -> Any:
            try:
                with self._admitted(method, context, 0):
                    async for answer in serve(requests, context):
                        yield answer
            except ApiError as error:
                await self._refuse(context, error, None, method, False)

        return handle

    def _admitted(self, method: str, context: Context, size: int) -> AbstractContextManager[None]:
        caller = self._callers.identify(context.auth_context())
        authorise(method, caller)
        return self._streaming(caller, size)


def _reader(handler: Any) -> Callable[[bytes], Any]:
    """A request of its bytes. gRPC's own way would end a call with UNKNOWN if they are none."""
    parse = handler.request_deserializer

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            raise ApiError(reasons.FIELD_INVALID, "the request is not a message of the method's type") from None

    return read


def _slice_of(read: Callable[[bytes], Any], data: bytes) -> str | None:
    """The slice that a refused request is about, for the audit log; a long request is not worth reading."""
    if len(data) > LONGEST_REFUSED:
        return None
    try:
        request = read(data)
    except ApiError:
        return None
    return shown_name(getattr(request, "slice_id", "") or getattr(getattr(request, "slice", None), "slice_id", ""))


async def _write(context: Context, data: bytes) -> None:
    try:
        async with asyncio.timeout(LONGEST_WRITE):
            await context.write(data)
    except TimeoutError:
        raise ApiError(reasons.SLOW_READER) from None


def _call(method: str, caller: Caller, context: Context) -> Call:
    left = context.time_remaining()
    until = monotonic() + (LONGEST if left is None else min(left, LONGEST))
    return Call(method, caller, until, context.peer())


async def _result(future: Future[Any], loop: asyncio.AbstractEventLoop) -> Any:
    return await asyncio.wrap_future(future, loop=loop)


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:  # the loop is closed: nobody counts any more
        return


def _short(method: str) -> str:
    return method.rpartition("/")[2]
