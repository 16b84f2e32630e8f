"""What the metrics endpoint sees of the service: a copy of the numbers, and whether the loop answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector

from vmoc.model import parse_dpid
from vmoc.mux.core import Mux
from vmoc.net.edge import Edge
from vmoc.telemetry import metrics
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag

ANSWER: Final = 2.0
"""Seconds the loop has to answer."""
SHARE: Final = 200


class Watched:
    """Reads the service from other threads, by asking the loop's."""

    def __init__(
        self, edge: Edge, core: Mux, events: EventLog, lag: LoopLag, *, others: Callable[[metrics.Reading], None]
    ) -> None:
        """``others`` fills in what is neither the core's nor the edge's; called on the loop."""
        self.accepting = False
        self._edge = edge
        self._core = core
        self._events = events
        self._lag = lag
        self._others = others
        self._summary_due = 0.0
        self._latest: tuple[dict[int, bool], Counter[tuple[str, str]]] = ({}, Counter())

    def registry(self) -> CollectorRegistry:
        """The metrics of this service and process."""
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(metrics.ServiceCollector(lambda: self._edge.ask(self.read).result(ANSWER), self._lag))
        return registry

    def read(self) -> metrics.Reading:
        """On the loop's thread."""
        reading = metrics.read_counters(self._core.counters)
        reading.events = {kind.value: count for kind, count in self._events.counts.items()}
        reading.connections, reading.unsent_bytes = self._edge.load()
        reading.switches, reading.links = self._summary(monotonic())
        self._others(reading)
        return reading

    def _summary(self, now: float) -> tuple[dict[int, bool], Counter[tuple[str, str]]]:
        """Describing many thousand virtual datapaths takes the loop's time: not more than one part in ``SHARE``."""
        if now >= self._summary_due:
            self._latest = summarise(self._core.describe())
            self._summary_due = now + SHARE * (monotonic() - now)
        return self._latest

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


def summarise(description: Mapping[str, Any]) -> tuple[dict[int, bool], Counter[tuple[str, str]]]:
    """Of the core's description: whether each switch is connected, by DPID, and how many links, by (slice, state)."""
    switches: dict[int, bool] = {}
    links: Counter[tuple[str, str]] = Counter()
    for switch in description["switches"]:
        dpid = parse_dpid(switch["dpid"])
        # A switch has one entry per listener VLAN it connects by.
        switches[dpid] = switches.get(dpid, False) or switch["connected"]
        for datapath in switch["datapaths"]:
            for controller in datapath["controllers"]:
                links[datapath["slice"], controller["state"]] += 1
    return switches, links
