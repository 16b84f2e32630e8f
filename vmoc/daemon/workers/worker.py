"""A worker's process: ``python -m vmoc.daemon.workers.worker DESCRIPTOR PARENT``.

It is told everything over its channel, serves the switches that it is given,
and ends with its parent, whichever way that ends. Signals for the service are
the parent's to act upon.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from vmoc.daemon import journaling
from vmoc.daemon.forwarding import Forwarder
from vmoc.daemon.limits import go_first, raise_file_limit, tune_process
from vmoc.daemon.rack import Rack
from vmoc.daemon.workers import messages as m
from vmoc.daemon.workers.collecting import Collecting
from vmoc.daemon.workers.collecting import begin as begin_collecting
from vmoc.daemon.workers.messages import MessageError, pack, unpack
from vmoc.errors import VmocError
from vmoc.events import Event, Kind
from vmoc.model import Slice
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchForgotten, SwitchVanished
from vmoc.mux.journal import Kept
from vmoc.net import southbound, tls
from vmoc.net.channel import Channel
from vmoc.net.southbound import Welcomed
from vmoc.net.threads import in_thread
from vmoc.registry import Snapshot, follow
from vmoc.store.journal import JournalFile, JournalInUseError
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.reading import Reading, read_counters

LOAD: Final = 1.0
DRAIN: Final = 3.0
LAST_WORDS: Final = 0.1
"""Seconds for saying why it ends."""
MOST_UNSENT: Final = 8 << 20
"""Bytes of facts that may wait for the parent; beyond that they are counted only."""
MOST_PACKET_INS: Final = 1 << 20
_OF_ALL: Final = (Kind.SLICE_ADDED, Kind.SLICE_CHANGED, Kind.SLICE_REMOVED)
"""Told by the parent, once."""
_PACKET_IN: Final = 10
ASKABLE: Final = frozenset(
    ("switches", "switch", "datapaths", "slice_statuses", "connections", "connected_controllers", "flows", "topology")
)
_PR_SET_PDEATHSIG: Final = 1


class Log:
    """What there is to say goes into the parent's log."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send

    def info(self, event: str, **fields: object) -> None:
        """As a logger's."""
        self._note("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """As a logger's."""
        self._note("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """As a logger's."""
        self._note("error", event, fields)

    def log(self, level: int, event: str, **fields: object) -> None:
        """Events are logged where they are numbered."""

    def _note(self, level: str, event: str, fields: dict[str, object]) -> None:
        more = "".join(f" ({key} {value})" for key, value in fields.items())
        self._send(m.Noted(level, event + more))


class Worker:
    """Everything on the loop's thread unless it says otherwise."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket) -> None:
        self._loop = loop
        self._log = Log(self._send)
        self._lag = LoopLag()
        self._snapshot = Snapshot()
        self._charter: m.Charter | None = None
        self._chartered = asyncio.Event()
        self._forwarder: Forwarder | None = None
        self._rack: Rack | None = None
        self._changes: asyncio.Queue[m.Changed | tuple[m.Handed, socket.socket]] = asyncio.Queue()
        """And switches: the slices that are told before one come are adopted before it is served."""
        self._dropped = 0
        """Slices that went, ever."""
        self._facts: list[Any] = []
        self._forgotten: list[tuple[int, int]] = []
        self._lost = 0
        self._due = False
        self._seen = 0
        self._packet_ins = True
        self._drain = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = Channel(loop, end, self._received, lambda _: os._exit(0))
        loop.set_exception_handler(self._unhandled)

    async def run(self) -> None:
        """Serve until told to drain."""
        chores = [asyncio.create_task(chore) for chore in (self._follow(), self._report_load())]
        for chore in chores:
            chore.add_done_callback(self._over)
        await self._drain.wait()
        for chore in chores:
            chore.cancel()
        self._lag.stop()
        deadline = monotonic() + DRAIN
        forwarder = self._forwarder
        if forwarder is not None:
            forwarder.begin_drain()
            while monotonic() < deadline and not forwarder.flushed:
                await asyncio.sleep(0.01)
            forwarder.close()
        self._flush()
        while monotonic() < deadline and self._channel.unsent:
            await asyncio.sleep(0.01)

    def _over(self, chore: asyncio.Task[None]) -> None:
        """Without one of its chores a worker is of no use: the next one may do better."""
        if chore.cancelled() or (exc := chore.exception()) is None:
            return
        if isinstance(exc, VmocError | JournalInUseError):
            self._log.error(f"worker {self._number} ends: {exc}")
        else:
            trace = "".join(traceback.format_exception(exc))
            self._send(m.Noted("error", f"{type(exc).__name__}: {exc}", trace))
        self._loop.call_later(LAST_WORDS, os._exit, 1)

    # -- what the parent says ----------------------------------------------------------------------

    def _received(self, payload: bytes, descriptor: int | None) -> None:
        message = unpack(payload)
        match message:
            case m.Handed():
                assert descriptor is not None, "a connection comes with every switch"
                self._changes.put_nowait((message, socket.socket(fileno=descriptor)))
            case m.Changed():
                self._changes.put_nowait(message)
            case m.Asked():
                self._spawn(self._answer(message))
            case m.Charter():
                self._charter = message
                self._packet_ins = message.packet_ins
                self._chartered.set()
            case m.DefaultController():
                if self._forwarder is not None:
                    self._forwarder.set_default_controller(message.endpoint)
                elif self._charter is not None:
                    self._charter = replace(self._charter, default_controller=message.endpoint)
            case m.OperatorOutput():
                if self._forwarder is not None:
                    self._forwarder.operator_send(message.batch)
            case m.PacketInsWanted():
                self._packet_ins = message.wanted
            case m.Drain():
                self._drain.set()
            case _:
                raise MessageError(f"a worker does not take {type(message).__name__}")

    def _serve(self, handed: m.Handed, connection: socket.socket) -> None:
        self._seen = max(self._seen, handed.number)
        switch = handed.switch
        if self._forwarder is None:
            connection.close()
            return
        welcomed = Welcomed(switch.version, switch.data, handed.secured)
        self._spawn(southbound.take_over(self._forwarder.edge, connection, handed.peer, switch.key[1], welcomed))

    async def _follow(self) -> None:
        """Adopt changes, and take switches, in order; a large change in pieces, and packets go between."""
        journal, kept = await self._read_journal()
        put: list[Slice] = []
        drop: list[str] = []
        while True:
            change = await self._changes.get()
            if isinstance(change, tuple):
                self._serve(*change)
                continue
            for piece in change.put:
                put += unpack(piece)
                await asyncio.sleep(0)
            drop += change.drop
            if change.more:
                continue
            # If this fails what we hold is not what the parent holds: the worker ends, and its successor begins anew.
            steps = follow(self._snapshot, put, drop)
            try:
                while True:
                    for _ in range(m.PIECE):
                        next(steps)
                    await asyncio.sleep(0)
            except StopIteration as end:
                snapshot: Snapshot = end.value
            names = (*drop, *(one.id for one in put))
            self._dropped += len(drop)
            put, drop = [], []
            self._snapshot = snapshot
            if self._forwarder is None:
                self._begin(journal, kept)
            else:
                self._adopt(self._forwarder, snapshot, names)
            self._flush()
            self._send(m.Adopted(change.number))

    @staticmethod
    def _adopt(forwarder: Forwarder, snapshot: Snapshot, names: tuple[str, ...]) -> None:
        forwarder.edge.run(lambda: forwarder.adopt(snapshot, names))

    async def _read_journal(self) -> tuple[JournalFile | None, list[Kept]]:
        await self._chartered.wait()
        charter = self._charter
        journal: JournalFile | None = None
        kept: list[Kept] = []
        if charter is not None and charter.journal is not None:
            journal, kept = await in_thread(
                journaling.start_worker, charter.journal, charter.number, _FromThread(self._loop, self._log)
            )
        self._send(m.Known(tuple({one.key: None for one in kept})))
        return journal, kept

    def _begin(self, journal: JournalFile | None, kept: list[Kept]) -> None:
        charter = self._charter
        assert charter is not None, "the charter comes first"
        self._forwarder = forwarder = Forwarder(
            self._loop,
            self._snapshot,
            versions=charter.versions,
            policy=charter.policy,
            timers=charter.timers,
            default_controller=charter.default_controller,
            journal=journal,
            kept=kept,
            report=self._happened,
            bug=lambda where, trace: self._send(m.Noted("error", where, trace)),
            mirror=self._mirrored,
        )
        forwarder.edge.use_forgetter(self._forgot)
        forwarder.dial(tls.ClientTls(charter.identity) if charter.identity is not None else None)
        self._rack = Rack(forwarder.edge, forwarder.core, EventLog(self._log, capacity=1))
        self._lag.start(self._loop)
        tune_process()
        begin_collecting()
        self._send(m.Ready())

    @property
    def _number(self) -> int:
        return -1 if self._charter is None else self._charter.number

    # -- what the parent asks ----------------------------------------------------------------------

    async def _answer(self, asked: m.Asked) -> None:
        try:
            if asked.method == "reading":
                value: object = self._reading()
            elif asked.method in ASKABLE and self._rack is not None:
                method = getattr(self._rack, asked.method)
                value = await in_thread(method, *asked.arguments, timeout=asked.timeout, **asked.options)
            else:
                raise MessageError(f"a worker cannot be asked for {asked.method}")
        except VmocError as exc:
            value = m.Raised.of(exc)
        except Exception as exc:
            if self._forwarder is not None:
                self._forwarder.edge.bug(f"a question: {asked.method}", exc)
            value = m.Raised.of(MessageError(f"worker {self._number} could not answer"))
        self._send(m.Answered(asked.number, await in_thread(pack, value)))

    def _reading(self) -> tuple[Reading, list[int], float, float, int]:
        """Numbers, the loop's lag (counts and total), CPU seconds, resident bytes."""
        assert self._forwarder is not None
        core = self._forwarder.core
        reading = read_counters(core.counters)
        reading.connections, reading.unsent_bytes = self._forwarder.edge.load()
        reading.switches, reading.links = core.tally()
        return reading, list(self._lag.counts), self._lag.total, time.process_time(), _resident()

    # -- what the parent is told -------------------------------------------------------------------

    def _send(self, message: object) -> None:
        self._channel.send(pack(message))

    def _happened(self, event: Event) -> None:
        if event.kind not in _OF_ALL:
            self._put(event)

    def _mirrored(self, effect: SwitchAppeared | SwitchVanished | OperatorInput) -> None:
        unwanted = not self._packet_ins or self._channel.unsent > MOST_PACKET_INS
        if not (unwanted and isinstance(effect, OperatorInput) and effect.message[1] == _PACKET_IN):
            self._put(effect)  # else as with a full queue in a single process

    def _put(self, fact: Event | SwitchAppeared | SwitchVanished | OperatorInput) -> None:
        if self._channel.unsent > MOST_UNSENT and not isinstance(fact, SwitchAppeared | SwitchVanished):
            self._lost += 1
            return
        self._facts.append(fact)
        self._flush_soon()

    def _forgot(self, effect: SwitchForgotten) -> None:
        self._forgotten.append(effect.key)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        if self._facts:
            facts, self._facts = tuple(self._facts), []
            lost, self._lost = self._lost, 0
            self._send(m.Happened(facts, lost))
        if self._forgotten:
            keys, self._forgotten = tuple(self._forgotten), []
            self._send(m.Forgotten(keys, self._seen))

    async def _report_load(self) -> None:
        before, used = monotonic(), self._used()
        collecting = Collecting(before)
        while True:
            await asyncio.sleep(LOAD)
            now, cpu = monotonic(), self._used()
            edge = None if self._forwarder is None else self._forwarder.edge
            self._send(m.Load(max(0.0, cpu - used) / (now - before), 0 if edge is None else edge.load()[0]["south"]))
            before, used = now, cpu
            if edge is not None:
                wires = len(edge.wires)
                gone = edge.registered - wires + self._dropped
                if collecting.is_due(gone, wires + len(self._snapshot.slices), now):
                    gc.collect()

    def _used(self) -> float:
        """Seconds of CPU so far that were needed: not those in which it looked whether there is more to do."""
        looked = 0.0 if self._forwarder is None else self._forwarder.edge.polling.spent
        return time.process_time() - looked

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if isinstance(exc, OSError):
            return  # a connection broke, and whoever had it has said so
        where = str(context.get("message", "the event loop"))
        if exc is not None and self._forwarder is not None:
            self._forwarder.edge.bug(where, exc)
        else:
            self._send(m.Noted("error", f"{where}: {exc!r}"))


class _FromThread:
    """A log for another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        def relay(method: Callable[..., None]) -> Callable[..., None]:
            def note(event: str, **fields: object) -> None:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(lambda: method(event, **fields))

            return note

        self.info, self.warning, self.error = relay(log.info), relay(log.warning), relay(log.error)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _end_with(parent: int) -> None:
    """Be killed when the parent's main thread ends; the channel's end tells as well, but only a loop that runs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def main(arguments: list[str]) -> None:
    """Run a worker until its parent lets it go."""
    descriptor, parent = map(int, arguments)
    _end_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise_file_limit()
    go_first()
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)

    async def serve() -> None:
        await Worker(asyncio.get_running_loop(), end).run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())
    os._exit(0)  # threads that answer a question need not be waited for


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main(sys.argv[1:])
