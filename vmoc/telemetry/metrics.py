"""Prometheus metrics, made at scrape time from what the core counts anyway: between scrapes they cost nothing."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vmoc.model import format_dpid
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.reading import Reading, read_counters

__all__ = ["Reading", "ServiceCollector", "read_counters", "version_of"]

SLICES: Final = 2000
"""Slices with label values of their own; the others are added up under ``_other``."""


class ServiceCollector(Collector):
    """Asks ``read`` for a ``Reading`` per scrape; ``read`` may raise ``TimeoutError``, then only the lag is told."""

    def __init__(self, read: Callable[[], Reading], lag: LoopLag) -> None:
        self._read = read
        self._lag = lag

    def describe(self) -> list[Metric]:
        """Nothing: registering must not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric of the service."""
        try:  # first: the lag may be somebody else's who is asked by this
            reading: Reading | None = self._read()
        except TimeoutError:
            reading = None
        yield InfoMetricFamily("vmoc_build", "What is running.", value=_build())
        yield HistogramMetricFamily(
            "vmoc_loop_lag_seconds",
            "How late the event loop's timers fire.",
            buckets=self._lag.cumulative(),
            sum_value=self._lag.total,
        )
        yield GaugeMetricFamily("vmoc_up", "Whether the event loop answers.", value=float(reading is not None))
        if reading is None:
            return
        yield from _traffic(reading)
        yield from _trouble(reading)
        yield from _state(reading)


def _build() -> dict[str, str]:
    return {"version": version_of("vmoc"), "python": platform.python_version(), "os_ken": version_of("os-ken")}


def version_of(distribution: str) -> str:
    """An installed distribution's version, or ``unknown``."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def _traffic(reading: Reading) -> Iterator[Metric]:
    yield _total("vmoc_messages", "OpenFlow messages received, by side.", "direction", reading.messages_in)
    yield CounterMetricFamily("vmoc_packet_ins", "Packet-ins received from switches.", value=reading.packet_ins)
    yield CounterMetricFamily("vmoc_flow_mods", "Flow-mods received from controllers.", value=reading.flow_mods)
    yield CounterMetricFamily("vmoc_packet_outs", "Packet-outs received from controllers.", value=reading.packet_outs)


def _trouble(reading: Reading) -> Iterator[Metric]:
    yield _total(
        "vmoc_packet_ins_dropped", "Packet-ins no controller got, by cause.", "reason", reading.dropped_packet_ins
    )
    yield _per_slice("vmoc_refused", "Controllers' messages refused by the policy.", "reason", reading.refused)
    yield _per_slice("vmoc_rate_limited", "Times a slice was paused for its rate.", "type", reading.rate_limited)
    yield _total("vmoc_malformed", "Input that was not OpenFlow, by side.", "side", reading.malformed)
    yield _total("vmoc_unrouted", "Answers of switches nobody waited for.", "type", reading.unrouted)
    yield _total("vmoc_reconnects", "Connections that had to be made again, by side.", "side", reading.reconnects)
    yield _total("vmoc_events", "Events, by kind.", "kind", reading.events)
    yield _total("vmoc_config_reloads", "Reloads of the configuration, by result.", "result", reading.reloads)
    yield CounterMetricFamily(
        "vmoc_default_controller_restarts",
        "Times the default controller ended and was started again.",
        value=reading.default_controller_restarts,
    )
    yield CounterMetricFamily("vmoc_log_lines_lost", "Log lines nobody read in time.", value=reading.log_lines_lost)


def _state(reading: Reading) -> Iterator[Metric]:
    yield GaugeMetricFamily("vmoc_slices", "Slices known.", value=reading.slices)
    switches = GaugeMetricFamily("vmoc_switch_connected", "Whether a switch is connected.", labels=["dpid"])
    for dpid, connected in reading.switches.items():
        switches.add_metric([format_dpid(dpid)], float(connected))
    yield switches
    links = GaugeMetricFamily(
        "vmoc_controller_connections", "Virtual datapath connections, by state.", labels=["slice", "state"]
    )
    for key, count in _few_slices(reading.links).items():
        links.add_metric(list(key), count)
    yield links
    connections = GaugeMetricFamily("vmoc_connections", "TCP connections, by side.", labels=["side"])
    for side, count in reading.connections.items():
        connections.add_metric([side], count)
    yield connections
    unsent = GaugeMetricFamily("vmoc_queue_bytes", "Bytes waiting to be sent, by side.", labels=["side"])
    for side, count in reading.unsent_bytes.items():
        unsent.add_metric([side], count)
    yield unsent


def _total(name: str, help_text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _per_slice(name: str, help_text: str, label: str, values: Mapping[tuple[str, str], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=["slice", label])
    for key, value in _few_slices(values).items():
        family.add_metric(list(key), value)
    return family


def _few_slices(values: Mapping[tuple[str, str], int]) -> Mapping[tuple[str, str], int]:
    """The first ``SLICES`` slices as they are, the rest together: label values are forever in Prometheus."""
    names: dict[str, None] = {}
    merged: Counter[tuple[str, str]] = Counter()
    for (owner, other), value in values.items():
        if len(names) < SLICES:
            names[owner] = None
        merged[(owner if owner in names else "_other", other)] += value
    return merged
