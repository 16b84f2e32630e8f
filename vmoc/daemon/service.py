"""The running service: one event loop that owns the core, and everything around it.

SIGTERM and SIGINT drain and end with 0 within ``DRAIN`` seconds (a second one
ends at once), SIGHUP reloads the slices and the handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from vmoc import native
from vmoc.apps.bridge import Bridge, Key
from vmoc.config import Listener, Settings
from vmoc.daemon.compute_metrics import ComputeCollector
from vmoc.daemon.default_controller import Keeper, Need
from vmoc.daemon.engine import Engine, OneProcess
from vmoc.daemon.errors import StartError
from vmoc.daemon.limits import raise_file_limit, tune_process, yield_to_workers
from vmoc.daemon.reloading import Reloader
from vmoc.daemon.slices import Slices
from vmoc.events import Event, Kind
from vmoc.model import Endpoint
from vmoc.net import southbound, systemd, tls
from vmoc.net.southbound import Listening
from vmoc.net.threads import in_thread
from vmoc.net.wire import format_peer
from vmoc.registry import Plan
from vmoc.telemetry import logs, metrics
from vmoc.telemetry.endpoint import MetricsEndpoint
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag

DRAIN: Final = 4.0
"""Seconds for everything that has to end; the rest is cut off."""
APPS_STOP: Final = 2.0
API_STOP: Final = 1.0
"""Seconds for calls that are being answered."""


class Service:
    """Everything here runs on the loop's thread unless it says otherwise."""

    def __init__(
        self,
        settings: Settings,
        config_path: Path | None,
        apps: Sequence[str],
        writer: logs.LogWriter,
        workers: int = 0,
    ) -> None:
        self.settings = settings
        self.log = logs.get("daemon")
        self.events = EventLog(logs.get("events"))
        self.lag = LoopLag()
        self._apps = apps
        self._workers = workers
        self._writer = writer
        self._stop_signals = 0
        self._stopping = asyncio.Event()
        self._exit_code = 0
        self._listeners: list[southbound.Listener] = []
        self._endpoint: MetricsEndpoint | None = None
        self._api: Any = None
        self._compute: Any = None
        self._multiplexer: Any = None
        self.slices = Slices(settings, report=self.events.record)
        self._need: Need
        self._need_changed = asyncio.Event()
        self._arranging = asyncio.Lock()
        self.keeper = Keeper(self._use_default_controller)
        self.reloader = Reloader(
            settings,
            config_path,
            change=self._change,
            applied=self._applied,
            report=self.events.record,
            bug=self._crashed,
        )

    # ---- life --------------------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Start, run until told to stop, drain. Raises ``StartError``."""
        loop = asyncio.get_running_loop()
        self.slices.open(loop)
        self._build(loop)
        self._catch_signals()  # before anybody can see a port open and take us for ready
        try:
            client_tls, server_tls = _contexts(self.settings)
            self.engine.start(client_tls, _identity(self.settings))
            await self._unless_stopped(self.engine.started())  # a port that is open has somebody behind it
            self._open(self.settings, server_tls)
            await self._open_api(self.settings)
        except (tls.TlsFilesError, southbound.ListenError, StartError) as exc:
            self._close_listeners()
            if self._compute is not None:
                self._compute.close()
            self.engine.close()
            self.slices.close()
            if isinstance(exc, StartError):
                raise
            raise StartError([str(exc)], 2 if isinstance(exc, tls.TlsFilesError) else 1) from exc
        for listener in self._listeners:
            listener.start()
        self._banner()
        running = (self._housekeeping(), self.reloader.run(), self.slices.expire(), self._follow_need())
        chores = [asyncio.create_task(chore) for chore in running]
        apps = asyncio.create_task(self._start_apps())
        await self._arrange()
        self.lag.start(self.loop)
        self.watched.accepting = True
        self.events.record(Event(Kind.SERVER_STARTED, detail={"boot_id": self.rack.boot_id}))
        systemd.notify("READY=1")
        tune_process()
        try:
            await self._stopping.wait()
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await self._drain()
            apps.cancel()
            await asyncio.gather(apps, return_exceptions=True)
        return self._exit_code

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for ``work``, but not when we are told to stop meanwhile."""
        tasks = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if tasks[0].done():
            await tasks[0]

    def _build(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        loop.set_exception_handler(self._unhandled)
        raise_file_limit()
        snapshot = self.slices.book.snapshot
        self._need = Need(snapshot)
        self.bridge = Bridge(self._operator_send, loop.call_soon_threadsafe)
        kind: Callable[..., Engine] = OneProcess
        if self._workers:
            from vmoc.daemon.workers.crew import Crew

            kind = partial(Crew, self._workers, wants_packet_ins=self._wants_packet_ins)
        self.engine = kind(
            loop,
            self.settings,
            snapshot,
            events=self.events,
            lag=self.lag,
            log=self.log,
            bug=self._bug,
            mirror=self.bridge.sink,
            fill_in=self._fill_in,
        )
        self.edge, self.rack, self.watched = self.engine.edge, self.engine.rack, self.engine.watched
        self.slices.connect(self.edge.call, self._adopt, self.engine.told)

    def _open(self, settings: Settings, server_tls: ssl.SSLContext | None) -> None:
        """Bind every port, before anything is accepted anywhere."""
        for wanted in settings.listeners:
            where = Listening(wanted.address, wanted.port, wanted.vlan or 0, server_tls if wanted.tls else None)
            listener = southbound.Listener(self.edge, where)
            listener.bind()
            self._listeners.append(listener)
        if settings.metrics_listen is not None:
            listening = southbound.bind(*settings.metrics_listen, "metrics.listen")
            registry = self.watched.registry()
            registry.register(ComputeCollector(lambda: self._compute))
            self._endpoint = MetricsEndpoint(
                listening,
                registry,
                healthy=self.watched.why_unhealthy,
                ready=self.watched.why_not_ready,
            )

    async def _open_api(self, settings: Settings) -> None:
        """The API and the compute side, if there are any; all their threads and children come after the workers."""
        if settings.grpc_listen is not None:
            await in_thread(self._start_api, settings)

    def _start_api(self, settings: Settings) -> None:
        """In a thread of its own: what it starts inherits its priority."""
        if self._workers:
            yield_to_workers()
        # Importing gRPC takes a while, which those without it need not wait.
        # The C core writes to stderr on its own account, and need not follow our forks.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from vmoc.daemon import api
        from vmoc.daemon.compute import Compute

        self._compute = Compute(settings, self.slices.book, self._report_from_anywhere)
        self._compute.start()
        listeners = [
            _reachable(one, listener.port) for one, listener in zip(settings.listeners, self._listeners, strict=True)
        ]
        parts = api.Parts(
            book=self.slices.book,
            rack=self.rack,
            settings=lambda: self.settings,
            state=self._condition,
            bug=self._bug_from_anywhere,
            warn=self._warn_from_anywhere,
            compute=self._compute,
        )
        starting = api.Api(parts, listeners)
        try:
            starting.start()
        except api.ListenError as exc:
            raise southbound.ListenError(str(exc)) from exc
        self._api = starting

    def _change(self, settings: Settings) -> Plan:
        """Slices and handlers of a file that was read again: both or neither. Blocks. Raises ``ConfigError``."""
        catalogue = None if self._compute is None else self._compute.read(settings)
        plan = self.slices.change(settings)
        if catalogue is not None and not plan.conflicts:
            self._compute.use(catalogue)
        return plan

    def _condition(self) -> str:
        if self._stopping.is_set():
            return "draining"
        if not self.watched.accepting:
            return "starting"
        return "degraded" if self._compute is not None and self._compute.behind else "ready"

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._asked_to_stop, number)
        self.loop.add_signal_handler(signal.SIGHUP, self.reloader.wanted.set)

    def _banner(self) -> None:
        for wanted, listener in zip(self.settings.listeners, self._listeners, strict=True):
            vlan = {"vlan": wanted.vlan} if wanted.vlan else {}
            where = f"{'ssl' if wanted.tls else 'tcp'}:{_reachable(wanted, listener.port)}"
            self.log.info(f"switches connect to {where}", address=str(listener), **vlan)
        if self._endpoint is not None and self.settings.metrics_listen is not None:
            address = format_peer((self.settings.metrics_listen[0], self._endpoint.port))
            self.log.info(f"metrics are at http://{address}/metrics", address=address)
        if self._api is not None:
            self.log.info(f"the API is at {self._api.address}", address=self._api.address)
        self.log.info(
            "experimenters' controllers are dialled by VMOC: they listen where their slices say",
            slices=len(self.slices.book.snapshot.slices),
            version=metrics.version_of("vmoc"),
            hot_path=native.form(),
        )

    async def _drain(self) -> None:
        """Close everything in an orderly way, within ``DRAIN`` seconds."""
        self.watched.accepting = False
        self.events.record(Event(Kind.SERVER_STOPPING, detail={"boot_id": self.rack.boot_id}))
        self.rack.events.close()
        systemd.notify("STOPPING=1")
        self.log.info("draining: controllers are disconnected, flows stay as their slices' fail_mode says")
        deadline = monotonic() + DRAIN
        if self._api is not None:
            await in_thread(self._api.stop, API_STOP)
        stopping = [asyncio.create_task(in_thread(self._compute.close))] if self._compute is not None else []
        self._close_listeners()
        self.lag.stop()
        self.engine.begin_drain()
        ending = asyncio.create_task(self._end_helpers())
        while monotonic() < deadline - 1.0 and not self.engine.flushed:
            await asyncio.sleep(0.01)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.1, deadline - monotonic())):
                await asyncio.gather(ending, *stopping)
        self.engine.close()
        self.events.flush()
        self.log.info("stopped")

    async def _end_helpers(self) -> None:
        await self.keeper.stop()
        if self._multiplexer is not None:
            await in_thread(self._multiplexer.stop, APPS_STOP)
        self.bridge.close()
        if self._endpoint is not None:
            await in_thread(self._endpoint.close)
        await in_thread(self.slices.close)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _asked_to_stop(self, number: int) -> None:
        self._stop_signals += 1
        if self._stop_signals > 1:
            self._writer.close()
            os._exit(128 + number)
        self._stopping.set()

    # ---- what happens meanwhile --------------------------------------------------------------------------------------

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.events.tick()
            self.engine.tick()

    def _adopt(self, plan: Plan, done: Callable[[], None]) -> None:
        """The slices have changed; called by the edge, which then pumps."""
        needed = bool(self._need)
        self.engine.adopt(plan, done)
        self._need.follow(plan)
        if bool(self._need) != needed:
            self._need_changed.set()

    async def _applied(self, settings: Settings) -> None:
        self.settings = settings
        await self._arrange()

    async def _arrange(self) -> None:
        async with self._arranging:
            await self.keeper.arrange(self.settings.default_controller, bool(self._need))

    async def _follow_need(self) -> None:
        while True:
            await self._need_changed.wait()
            self._need_changed.clear()
            await self._arrange()

    def _use_default_controller(self, endpoint: Endpoint | None) -> None:
        self.engine.set_default_controller(endpoint)

    def _operator_send(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        self.engine.operator_send(batch)

    def _wants_packet_ins(self) -> bool:
        return self.bridge.packet_ins_wanted and not self.bridge.closed

    async def _start_apps(self) -> None:
        """Start os-ken in its own threads. Importing it takes a second: switches are served meanwhile."""

        def start() -> Any:
            from vmoc.apps import multiplexer

            multiplexer.start(self._apps, self.bridge)
            return multiplexer

        try:
            self._multiplexer = await in_thread(start)
        except Exception as exc:
            self.edge.use_mirror(None)
            self.bridge.close()
            self.log.error(f"os-ken applications cannot be started: {exc}")
            if self._apps:
                self._exit_code = 1
                self._stopping.set()

    # ---- what the operator sees --------------------------------------------------------------------------------------

    def _fill_in(self, reading: metrics.Reading) -> None:
        reading.reloads = dict(self.reloader.results)
        reading.slices = len(self.slices.book)
        reading.log_lines_lost = self._writer.lost
        reading.default_controller_restarts = self.keeper.restarts

    def _crashed(self, where: str, exc: BaseException) -> None:
        self.edge.bug(where, exc)

    def _bug(self, where: str, trace: str) -> None:
        self.log.error("internal error, please report it", where=where)
        self.log.debug("traceback of the internal error", trace=trace)

    def _report_from_anywhere(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.events.record, event)

    def _bug_from_anywhere(self, where: str, trace: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._bug, where, trace)

    def _warn_from_anywhere(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.log.warning, text)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would print with a traceback. Broken connections are reported by whoever had them."""
        exc = context.get("exception")
        if isinstance(exc, OSError):
            self.log.debug("a connection broke", error=str(exc))
        elif exc is not None:
            self.edge.bug(str(context.get("message", "the event loop")), exc)
        else:
            self.log.debug(str(context.get("message", "")))


def _contexts(settings: Settings) -> tuple[tls.ClientTls | None, ssl.SSLContext | None]:
    """For ``ssl:`` controllers, and for ``tls: true`` listeners. Raises ``TlsFilesError``."""
    files = settings.tls
    listening = any(listener.tls for listener in settings.listeners)
    if files is None:
        if listening:
            raise tls.TlsFilesError("a listener with tls: true needs openflow.tls (cert, key, ca)")
        return None, None
    identity = _identity(settings)
    assert identity is not None
    return tls.ClientTls(identity), tls.server_context(identity) if listening else None


def _identity(settings: Settings) -> tls.Identity | None:
    files = settings.tls
    if files is None:
        return None
    return tls.Identity(str(files.cert) if files.cert else None, str(files.key) if files.key else None, str(files.ca))


def _reachable(wanted: Listener, port: int) -> str:
    """The address to give to a switch: this host's name where we listen on all of its addresses."""
    host = socket.gethostname() if wanted.address in ("0.0.0.0", "::") else wanted.address
    return format_peer((host, port))
