"""The two bounded queues between the event loop, which owns the switches, and os-ken's threads.

This module does not import os-ken, so that the daemon may build a bridge
before (or without) paying for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished

Key = tuple[int, int]
"""(DPID, native VLAN or 0), as in the core's effects."""

Deliver = Callable[[Sequence[tuple[Key, bytes]]], None]
CallSoon = Callable[[Callable[[], None]], object]
Incoming = SwitchAppeared | SwitchVanished | OperatorInput

PACKET_IN: Final = 10  # OFPT_PACKET_IN, the same number in 1.0 and 1.3


@dataclass(slots=True)
class BridgeCounters:
    """What passed and what did not, since the start."""

    up: int = 0
    down: int = 0
    unwanted_packet_ins: int = 0
    dropped_packet_ins: int = 0
    dropped_inputs: int = 0


class Bridge:
    """Carries effects to os-ken's threads and their messages back; nobody on the loop ever waits.

    ``sink`` is for the event loop: it never blocks. Packet-ins have a budget
    of their own (``packet_ins``) and are the first to be dropped; everything
    else has ``others`` on top, beyond which it is dropped and counted too.
    Appearances are never dropped: a vanished switch takes what is queued for it
    along, so one switch has at most two of them queued.

    ``send`` is for os-ken's threads: beyond ``outbox`` messages it blocks its
    caller until the loop has caught up, as os-ken's own send queue does.
    ``deliver`` is called on the loop, by way of ``call_soon``
    (``loop.call_soon_threadsafe``), with all that came together.
    """

    def __init__(
        self,
        deliver: Deliver,
        call_soon: CallSoon,
        *,
        packet_ins: int = 2048,
        others: int = 8192,
        outbox: int = 1024,
    ) -> None:
        self.counters = BridgeCounters()
        self.packet_ins_wanted = True
        """Whether any application listens to packet-ins; if none does they end here, at next to no cost."""
        self._deliver = deliver
        self._call_soon = call_soon
        self._packet_in_budget = packet_ins
        self._other_budget = others
        self._outbox_limit = outbox
        self._lock = threading.Lock()
        self._incoming = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._inbox: deque[Incoming] = deque()
        self._packet_ins = 0
        self._others = 0
        self._outbox: list[tuple[Key, bytes]] = []
        self._delivery_due = False
        self._closed = False

    # ---- the loop's side ----------------------------------------------------------------------------------------

    def sink(self, effect: Incoming) -> None:
        """Queue one effect for os-ken's threads. Never blocks."""
        with self._lock:
            if self._closed:
                return
            if isinstance(effect, OperatorInput):
                if not self._admit(effect):
                    return
            elif isinstance(effect, SwitchVanished):
                self._discard(effect.key)
            self._inbox.append(effect)
            self._incoming.notify()

    def close(self) -> None:
        """Nothing passes any more; every waiting thread returns."""
        with self._lock:
            self._closed = True
            self._inbox.clear()
            self._outbox.clear()
            self._incoming.notify_all()
            self._room.notify_all()

    def _admit(self, effect: OperatorInput) -> bool:
        if _is_packet_in(effect.message):
            if not self.packet_ins_wanted:
                self.counters.unwanted_packet_ins += 1
                return False
            if self._packet_ins >= self._packet_in_budget:
                self.counters.dropped_packet_ins += 1
                return False
            self._packet_ins += 1
        else:
            if self._others >= self._other_budget:
                self.counters.dropped_inputs += 1
                return False
            self._others += 1
        return True

    def _discard(self, key: Key) -> None:
        """Forget what is queued for a switch that has just vanished."""
        kept: deque[Incoming] = deque()
        for effect in self._inbox:
            if effect.key != key:
                kept.append(effect)
            else:
                self._release(effect)
        self._inbox = kept

    def _release(self, effect: Incoming) -> None:
        if isinstance(effect, OperatorInput):
            if _is_packet_in(effect.message):
                self._packet_ins -= 1
            else:
                self._others -= 1

    def _drain(self) -> None:
        with self._lock:
            batch, self._outbox = self._outbox, []
            self._delivery_due = False
            self._room.notify_all()
        if batch:
            self._deliver(batch)

    # ---- os-ken's side ------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> Incoming | None:
        """The next effect; None after ``timeout`` seconds without one, or when the bridge is closed."""
        with self._lock:
            if not self._inbox and not self._closed:
                self._incoming.wait_for(lambda: self._inbox or self._closed, timeout)
            if not self._inbox:
                return None
            effect = self._inbox.popleft()
            self._release(effect)
            self.counters.up += 1
            return effect

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def send(self, key: Key, message: bytes) -> bool:
        """Hand one message to the core, waiting for room. False when the bridge is closed."""
        with self._lock:
            self._room.wait_for(lambda: len(self._outbox) < self._outbox_limit or self._closed)
            if self._closed:
                return False
            self._outbox.append((key, message))
            self.counters.down += 1
            if self._delivery_due:
                return True
            self._delivery_due = True
        try:
            self._call_soon(self._drain)
        except RuntimeError:  # the loop is closed: the service is ending
            self.close()
            return False
        return True


def _is_packet_in(message: bytes) -> bool:
    return len(message) > 1 and message[1] == PACKET_IN
