"""The gRPC server: a thread with a loop of its own, and on it the services, health and reflection, behind the gate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from am_bridge.auth import Callers
from am_bridge.gate import Gate, Hooks
from vmoc.errors import VmocError

MOST_MESSAGE: Final = 16 << 20
"""Bytes of a request: a batch of 1000 slices, or 50 000 small ones to sync."""
MOST_PER_CONNECTION: Final = 128
"""Calls and streams at once; more wait at the caller's."""
STOP_SOON: Final = 3.0

_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # Two servers on one port would each get some of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MOST_MESSAGE),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_concurrent_streams", MOST_PER_CONNECTION),
    ("grpc.max_metadata_size", 16 << 10),
    # A caller whose machine is gone holds its stream for a minute at most.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A caller that pings more often than every 5 s is told to go away.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 4),
)


class ListenError(VmocError):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Served:
    """One service: its full name, what registers it with a server (generated), and the servicer."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any


class ApiServer:
    """Methods may be called from any thread, and block; ``start`` first, ``stop`` last."""

    def __init__(
        self,
        address: str,
        services: Sequence[Served],
        callers: Callers,
        hooks: Hooks,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """``address`` is HOST:PORT; port 0 takes a free one, see ``port``."""
        self.port = 0
        self._address = address
        self._services = services
        self._callers = callers
        self._hooks = hooks
        self._credentials = credentials
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._gate: Gate
        self._health: Any
        self._stop: asyncio.Event
        self._grace = 0.0

    def start(self) -> None:
        """Listen and serve. Raises ``ListenError``."""
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="api", daemon=True)
        self._thread.start()
        self.port = started.result()

    def drain(self) -> None:
        """Changes are refused from now on, and health says NOT_SERVING."""
        self._ask(self._drain)

    def stop(self, grace: float) -> None:
        """End: calls in progress have ``grace`` seconds, then they are cut off."""
        self._grace = grace
        self._ask(self._end)
        if self._thread is not None:
            self._thread.join(grace + STOP_SOON)

    def _ask(self, what: Callable[[], Any]) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        with suppress(RuntimeError, TimeoutError):  # it has ended meanwhile
            asyncio.run_coroutine_threadsafe(what(), loop).result(STOP_SOON)

    # -- on the API's own thread ---------------------------------------------------------------------------------------

    def _run(self, started: Future[int]) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            self._loop = runner.get_loop()
            self._loop.set_exception_handler(self._unhandled)
            try:
                runner.run(self._serve(started))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

    async def _serve(self, started: Future[int]) -> None:
        self._stop = asyncio.Event()
        ours = [one.name for one in self._services]
        self._gate = Gate(self._callers, ours, self._hooks)
        server = grpc.aio.server(interceptors=[self._gate], options=_OPTIONS)
        for one in self._services:
            one.add(one.servicer, server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in ("", *ours):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        reflection.enable_server_reflection((*ours, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            if self._credentials is None:
                port = server.add_insecure_port(self._address)
            else:
                port = server.add_secure_port(self._address, self._credentials)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {self._address}; change grpc.listen") from error
        await server.start()
        started.set_result(port)
        try:
            await self._stop.wait()
        finally:
            await server.stop(self._grace)
            self._gate.close()

    async def _drain(self) -> None:
        self._gate.draining = True
        for name in ("", *(one.name for one in self._services)):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _end(self) -> None:
        await self._drain()
        self._stop.set()

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._hooks.bug("the API's loop", f"{context.get('message', '')}: {error!r}")
