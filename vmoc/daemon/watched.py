"""What the metrics endpoint sees of the service: a copy of the numbers, and whether the loop answers."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector

from vmoc.mux.core import Mux
from vmoc.mux.reception import Reception
from vmoc.net.edge import Edge
from vmoc.telemetry import metrics
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag

ANSWER: Final = 2.0
"""Seconds the loop has to answer."""


class Watched:
    """Reads the service from other threads, by asking the loop's."""

    def __init__(
        self,
        edge: Edge,
        core: Mux | Reception,
        events: EventLog,
        lag: LoopLag,
        *,
        others: Callable[[metrics.Reading], None],
    ) -> None:
        """``others`` fills in what is neither the core's nor the edge's; called on the loop."""
        self.accepting = False
        self._edge = edge
        self._core = core
        self._events = events
        self._lag = lag
        self._others = others

    def registry(self) -> CollectorRegistry:
        """The metrics of this service and process."""
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(metrics.ServiceCollector(self.gather, self._lag))
        return registry

    def gather(self) -> metrics.Reading:
        """The numbers, for another thread. Raises ``TimeoutError``."""
        return self._edge.ask(self.read).result(ANSWER)

    def read(self) -> metrics.Reading:
        """On the loop's thread."""
        reading = metrics.read_counters(self._core.counters)
        reading.events = {kind.value: count for kind, count in self._events.counts.items()}
        reading.connections, reading.unsent_bytes = self._edge.load()
        reading.switches, reading.links = self._core.tally()
        self._others(reading)
        return reading

    def why_unhealthy(self) -> str | None:
        """None while the event loop answers."""
        try:
            self._edge.ask(monotonic).result(ANSWER)
        except TimeoutError:
            return f"the event loop has not answered for {ANSWER:g} s"
        return None

    def why_not_ready(self) -> str | None:
        """None while switches are welcome."""
        return self.why_unhealthy() if self.accepting else "starting or draining"
