"""The pump: hands bytes, closures and time to the core, and performs what the core asks for.

Rules of this file:

* Everything runs on the loop's thread. Only ``call`` and ``ask`` may be used
  from another one.
* After every call into the core its output is taken: first the journal, then
  the writes, one transport write per connection, then the effects in order.
  Among many connections one such turn may serve several reads (``gather``).
* There is one timer. It may fire early (the core then does nothing), never late.
* A failure here or in the core costs the connection that caused it, nothing else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from vmoc.events import Event
from vmoc.mux.effects import (
    AbandonDial,
    Close,
    Dial,
    Effect,
    HandOver,
    OperatorInput,
    Output,
    PauseReading,
    Report,
    ResumeReading,
    SwitchAppeared,
    SwitchForgotten,
    SwitchVanished,
)
from vmoc.net.polling import BusyPoll
from vmoc.net.wire import Wire

T = TypeVar("T")
Mirrored = SwitchAppeared | SwitchVanished | OperatorInput

FEW: Final = 8
"""Connections up to which every read is answered by itself."""
GATHER: Final = 8192
"""Bytes read from others, for at most so many of which a connection's output waits."""
_NEVER: Final = float("inf")
# Loops round timers to milliseconds; without this the timer fires just before its time and spins.
_TIMER_SLACK: Final = 0.001


class Core(Protocol):
    """What the edge needs of ``vmoc.mux.core.Mux``. Times are seconds of ``time.monotonic``."""

    def south_opened(self, cid: int, peer: str, native_vlan: int, now: float, version: int = 0) -> None: ...
    def south_data(self, cid: int, data: bytes, now: float) -> None: ...
    def south_closed(self, cid: int, why: str, now: float) -> None: ...
    def dialled(self, link: int, cid: int, now: float) -> None: ...
    def dial_failed(self, link: int, why: str, now: float) -> None: ...
    def north_data(self, cid: int, data: bytes, now: float) -> None: ...
    def north_closed(self, cid: int, why: str, now: float) -> None: ...
    def congested(self, cid: int, now: float) -> None: ...
    def relieved(self, cid: int, now: float) -> None: ...
    def next_deadline(self) -> float | None: ...
    def wake(self, now: float) -> None: ...
    def take(self) -> Output: ...
    def urgent(self) -> bool: ...
    def rewrite_journal(self) -> None: ...
    def rewrite_some(self) -> bool: ...


class Diallers(Protocol):
    """Who makes connections to controllers (``northbound.Dialler``)."""

    def dial(self, effect: Dial) -> None: ...
    def abandon(self, link: int) -> None: ...


class Records(Protocol):
    """Where the core's journal is written (``vmoc.store.journal.JournalFile``)."""

    def write(self, records: bytes) -> bool: ...
    def rewrite(self) -> None: ...
    def rewritten(self) -> None: ...


class Edge:
    """One core, its connections, its timer.

    ``report`` receives every event, ``mirror`` what the os-ken application
    wants to know; neither may block. ``bug`` receives (where, traceback text)
    for failures that are ours.
    """

    def __init__(
        self,
        core: Core,
        loop: asyncio.AbstractEventLoop,
        *,
        report: Callable[[Event], None],
        bug: Callable[[str, str], None],
        mirror: Callable[[Mirrored], None] | None = None,
    ) -> None:
        self.core = core
        self.loop = loop
        self.report = report
        self.wires: dict[int, Wire] = {}
        self.lingering: set[Wire] = set()
        self._bug = bug
        self._mirror = mirror
        self._records: Records | None = None
        self.registered = 0
        """Connections that there were, ever."""
        self._diallers: Diallers | None = None
        self._take = core.take
        self._next_deadline = core.next_deadline
        self._armed = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._urgent = core.urgent
        self._pumping = False
        self._again = False
        self._gathering = False
        self._gathered = 0
        self.polling = BusyPoll(loop)
        self._came = self.polling.came
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            Dial: self._dial,
            AbandonDial: self._abandon,
            Close: self._close,
            PauseReading: self._pause,
            ResumeReading: self._resume,
            Report: self._report,
            SwitchAppeared: self._to_mirror,
            SwitchVanished: self._to_mirror,
            OperatorInput: self._to_mirror,
            HandOver: self._hand_over,
            SwitchForgotten: self._forgotten,
        }
        self._receive: Callable[[Wire, HandOver], None] | None = None
        self._forget: Callable[[SwitchForgotten], None] | None = None

    # ---- wiring ------------------------------------------------------------------------------------------------------

    def use_dialler(self, diallers: Diallers) -> None:
        """Name who performs ``Dial``; until then dials wait for nobody."""
        self._diallers = diallers

    def use_mirror(self, mirror: Callable[[Mirrored], None] | None) -> None:
        """Name who receives what os-ken applications may see."""
        self._mirror = mirror

    def use_receiver(self, receive: Callable[[Wire, HandOver], None]) -> None:
        """Name who gets connections that are handed over: reading is paused, and the core does not know them any more.

        ``HandOver.data`` is then all that was read.
        """
        self._receive = receive

    def use_forgetter(self, forget: Callable[[SwitchForgotten], None]) -> None:
        """Name who wants to know what the core has forgotten."""
        self._forget = forget

    def use_journal(self, records: Records) -> None:
        """Name where the journal goes; until then it goes nowhere."""
        self._records = records

    def register(self, wire: Wire) -> int:
        """Give a new connection its cid; both sides draw from one counter."""
        self.registered = cid = self.registered + 1
        self.wires[cid] = wire
        return cid

    def load(self) -> tuple[dict[str, int], dict[str, int]]:
        """Connections and unsent bytes, by side; for the metrics."""
        connections: Counter[str] = Counter({"south": 0, "north": 0})
        unsent: Counter[str] = Counter({"south": 0, "north": 0})
        for wire in self.wires.values():
            connections[wire.side] += 1
            unsent[wire.side] += wire.unsent()
        return dict(connections), dict(unsent)

    def close(self) -> None:
        """Abort every connection and stop the timer; the core is not told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = _NEVER
        for wire in [*self.wires.values(), *self.lingering]:
            wire.abandon()
        self.wires.clear()
        self.lingering.clear()

    # ---- from other threads ------------------------------------------------------------------------------------------

    def call(self, what: Callable[[], object]) -> None:
        """Run ``what`` on the loop, then pump. Thread-safe; a closed loop swallows it."""
        try:
            self.loop.call_soon_threadsafe(self.run, what)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def ask(self, what: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Like ``call``, with the result as a future to wait on from another thread."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def answer() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(what())
            except BaseException as exc:
                future.set_exception(exc)

        self.call(answer)
        return future

    def run(self, what: Callable[[], object]) -> None:
        """Run ``what``, then pump, on the loop's thread; failures become a bug report."""
        try:
            what()
            self.pump()
        except Exception as exc:
            self.bug("a call handed to the loop", exc)

    # ---- the pump ----------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Take what the core produced, write it, perform the effects, re-arm the timer."""
        if self._pumping:
            # A transport called back from inside a write (pause_writing): the outer pump takes that too.
            self._again = True
            return
        self._pumping = True
        wires = self.wires
        try:
            while True:
                self._again = False
                output = self._take()
                if output.journal and self._records is not None and self._records.write(output.journal):
                    self._rewrite_journal(self._records)
                for cid, chunks in output.writes.items():
                    wire = wires.get(cid)
                    if wire is None:
                        continue
                    try:
                        # One joined buffer is cheaper than an iovec of many small ones.
                        wire.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
                        if wire.congested and wire.unsent() > wire.most_unsent:
                            wire.overflow()
                            self._again = True
                    except Exception as exc:
                        wire.crashed(exc)  # not whoever it was that had us write
                        self._again = True
                if output.effects:
                    self._do(output.effects)
                if not self._again:
                    break
        finally:
            self._pumping = False
        deadline = self._next_deadline()
        if deadline is not None and deadline < self._armed:
            self._arm(deadline)

    def gather(self, size: int, now: float) -> None:
        """So many bytes that came ``now`` have been handed to the core: pump, or let what others bring come with it.

        With many connections most of a load arrives as single messages. What the loop reads in one turn then leaves
        together: one write to the journal, and one to each switch, for all of it. It waits for no more than ``GATHER``
        bytes of others, and effects do not wait.
        """
        self._came(size, now)
        if self._gathering:
            self._gathered += size
            if self._gathered < GATHER and not self._urgent():
                return
        elif len(self.wires) > FEW:
            self._gathering = True
            self.loop.call_soon(self._turn_over)
        self._gathered = 0
        self.pump()

    def _turn_over(self) -> None:
        self._gathering = False
        try:
            self.pump()
        except Exception as exc:
            self.bug("the end of a turn", exc)

    def _rewrite_journal(self, records: Records) -> None:
        """Write the journal anew, one virtual datapath at a time, while everything else goes on."""
        records.rewrite()
        self.core.rewrite_journal()

        def step() -> None:
            if self.core.rewrite_some():
                self.loop.call_soon(self.run, step)
            else:
                records.rewritten()

        self.loop.call_soon(self.run, step)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            try:
                self._perform[type(effect)](effect)
            except Exception as exc:
                self.bug(f"effect {type(effect).__name__}", exc)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self.loop.call_later(max(0.0, deadline - time.monotonic()) + _TIMER_SLACK, self._fire)

    def _fire(self) -> None:
        self._armed = _NEVER
        self._timer = None
        try:
            self.core.wake(time.monotonic())
            self.pump()
        except Exception as exc:
            self.bug("the timer", exc)
            # A timer that dies would leave every session without keep-alive.
            if self._timer is None:
                self._arm(time.monotonic() + 1.0)

    def bug(self, where: str, exc: BaseException) -> None:
        """Report a failure that is ours, with its innermost place in one line and the traceback apart."""
        frames = traceback.extract_tb(exc.__traceback__)
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        self._bug(f"{where}: {type(exc).__name__}: {exc}{place}", "".join(traceback.format_exception(exc)))

    # ---- effects -----------------------------------------------------------------------------------------------------

    def _dial(self, effect: Dial) -> None:
        if self._diallers is not None:
            self._diallers.dial(effect)

    def _abandon(self, effect: AbandonDial) -> None:
        if self._diallers is not None:
            self._diallers.abandon(effect.link)

    def _close(self, effect: Close) -> None:
        wire = self.wires.pop(effect.cid, None)
        if wire is not None:
            wire.finish(effect.abort)

    def _pause(self, effect: PauseReading) -> None:
        wire = self.wires.get(effect.cid)
        if wire is not None:
            wire.pause()

    def _resume(self, effect: ResumeReading) -> None:
        wire = self.wires.get(effect.cid)
        if wire is not None:
            wire.resume()

    def _report(self, effect: Report) -> None:
        self.report(effect.event)

    def _hand_over(self, effect: HandOver) -> None:
        wire = self.wires.get(effect.cid)
        if wire is not None and self._receive is not None:
            rest = wire.let_go()
            self._receive(wire, replace(effect, data=effect.data + rest) if rest else effect)

    def _forgotten(self, effect: SwitchForgotten) -> None:
        if self._forget is not None:
            self._forget(effect)

    def _to_mirror(self, effect: Mirrored) -> None:
        if self._mirror is not None:
            self._mirror(effect)
