"""The metrics and the health of a service of several processes: what each says, added up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vmoc.daemon.watched import ANSWER, Watched
from vmoc.daemon.workers.member import Member
from vmoc.daemon.workers.messages import MessageError, Raised, unpack
from vmoc.mux.reception import Reception
from vmoc.net.edge import Edge
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.reading import Reading, add

KEPT: Final = 5
"""Seconds between looks at the workers, so that little is lost of what one has counted when it ends."""


@dataclass(slots=True)
class Look:
    """What one worker said: its numbers, its loop's lag, CPU seconds and resident bytes."""

    reading: Reading
    lag_counts: list[int]
    lag_total: float
    cpu: float
    resident: int


def totals_of(reading: Reading) -> Reading:
    """What of a reading stays when the process that made it is gone: what was counted, not what there was."""
    return Reading(
        messages_in=reading.messages_in,
        packet_ins=reading.packet_ins,
        flow_mods=reading.flow_mods,
        packet_outs=reading.packet_outs,
        reconnects=reading.reconnects,
        dropped_packet_ins=reading.dropped_packet_ins,
        refused=reading.refused,
        malformed=reading.malformed,
        unrouted=reading.unrouted,
        rate_limited=reading.rate_limited,
    )


class CrewWatched(Watched):
    """Asks the workers too."""

    def __init__(
        self,
        edge: Edge,
        reception: Reception,
        members: Sequence[Member],
        events: EventLog,
        *,
        others: Callable[[Reading], None],
    ) -> None:
        self._all_lag = LoopLag()
        """Of the workers' loops: they are what packets wait for."""
        super().__init__(edge, reception, events, self._all_lag, others=others)
        self._members = members
        self._ticks = 0
        self._lock = threading.Lock()
        self._looks: dict[int, Look] = {}
        self._past: dict[int, Look] = {}

    def registry(self) -> CollectorRegistry:
        """The metrics of the service, of this process, and of each worker."""
        registry = super().registry()
        registry.register(_Workers(self))
        return registry

    def read(self) -> Reading:
        """What this process knows; on the loop's thread."""
        reading = Reading(
            malformed=dict(self._core.counters.malformed),
            events={kind.value: count for kind, count in self._events.counts.items()},
        )
        reading.connections, reading.unsent_bytes = self._edge.load()
        self._others(reading)
        return reading

    def gather(self) -> Reading:
        """Everybody's numbers, for another thread. Raises ``TimeoutError``."""
        deadline = monotonic() + ANSWER
        asked = {one.number: one.ask("reading", timeout=ANSWER) for one in self._members if one.ready}
        own = super().gather()
        for number, future in asked.items():
            try:
                self._keep(number, future.result(max(0.0, deadline - monotonic())))
            except (TimeoutError, FutureTimeout, CancelledError, MessageError):
                future.cancel()
                raise TimeoutError from None
        with self._lock:
            here = {number: self._looks[number] for number in asked if number in self._looks}
            every = [*here.values(), *self._past.values()]
            counts = [sum(each) for each in zip(*(look.lag_counts for look in every), strict=True)]
            self._all_lag.counts = counts or self._all_lag.counts
            self._all_lag.total = sum(look.lag_total for look in every)
        return add([own, *(look.reading for look in every)])

    def tick(self) -> None:
        """A second has passed."""
        self._ticks += 1
        if self._ticks % KEPT == 0:
            for member in self._members:
                if member.ready:
                    future = member.ask("reading", timeout=ANSWER)
                    future.add_done_callback(lambda done, number=member.number: self._keep_late(number, done))  # type: ignore[misc]

    def gone(self, member: Member) -> None:
        """A worker has ended: what it has counted still counts."""
        with self._lock:
            look = self._looks.pop(member.number, None)
            if look is None:
                return
            before = self._past.get(member.number)
            now = Look(totals_of(look.reading), look.lag_counts, look.lag_total, look.cpu, 0)
            if before is not None:
                now.reading = add([before.reading, now.reading])
                now.lag_counts = [sum(pair) for pair in zip(before.lag_counts, now.lag_counts, strict=True)]
                now.lag_total += before.lag_total
                now.cpu += before.cpu
            self._past[member.number] = now

    def why_unhealthy(self) -> str | None:
        """None while every loop that runs answers."""
        deadline = monotonic() + ANSWER
        asked = [(one, one.ask("reading", timeout=ANSWER)) for one in self._members if one.ready]
        found = super().why_unhealthy()
        for member, future in asked:
            try:
                future.result(max(0.0, deadline - monotonic()))
            except (TimeoutError, FutureTimeout, CancelledError):
                if future.cancel() and member.ready:
                    found = found or f"worker {member.number} has not answered for {ANSWER:g} s"
        return found

    def why_not_ready(self) -> str | None:
        """None while switches are welcome, and every worker is there to serve them."""
        missing = [str(member.number) for member in self._members if not member.ready]
        why = super().why_not_ready()
        return why or (f"worker {', '.join(missing)} is being started" if missing else None)

    def _keep(self, number: int, body: bytes) -> None:
        answer = unpack(body)
        if isinstance(answer, Raised):
            raise answer.error()
        with self._lock:
            self._looks[number] = Look(*answer)

    def _keep_late(self, number: int, done: Future[bytes]) -> None:
        if not done.cancelled() and done.exception() is None and self._members[number].ready:
            try:
                self._keep(number, done.result())
            except MessageError:
                return

    def workers(self) -> Iterator[tuple[Member, float, int]]:
        """Each with the CPU seconds it and its predecessors have used, and its resident bytes."""
        with self._lock:
            for member in self._members:
                look, past = self._looks.get(member.number), self._past.get(member.number)
                cpu = (look.cpu if look else 0.0) + (past.cpu if past else 0.0)
                yield member, cpu, look.resident if look and member.ready else 0


class _Workers(Collector):
    """Metrics of each worker; registered last, so that the others have just been asked."""

    def __init__(self, watched: CrewWatched) -> None:
        self._watched = watched

    def describe(self) -> list[Any]:
        """Nothing: registering must not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Four of each worker."""
        label = ["worker"]
        up = GaugeMetricFamily("vmoc_worker_up", "Whether a worker serves switches.", labels=label)
        restarts = CounterMetricFamily("vmoc_worker_restarts", "Times a worker was started again.", labels=label)
        cpu = CounterMetricFamily("vmoc_worker_cpu_seconds", "CPU time of a worker.", labels=label)
        memory = GaugeMetricFamily("vmoc_worker_resident_memory_bytes", "Memory of a worker.", labels=label)
        for member, seconds, resident in self._watched.workers():
            name = [str(member.number)]
            up.add_metric(name, float(member.ready))
            restarts.add_metric(name, member.restarts)
            cpu.add_metric(name, seconds)
            memory.add_metric(name, resident)
        yield from (up, restarts, cpu, memory)
