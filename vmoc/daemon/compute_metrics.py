"""Metrics of slivers and of the operations on them, made at scrape time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # a service without an API need not wait for its import
    from vmoc.daemon.compute import Compute


class ComputeCollector(Collector):
    """Metrics of slivers and operations; none before ``compute`` is there."""

    def __init__(self, compute: Callable[[], Compute | None]) -> None:
        self._compute = compute

    def describe(self) -> list[Metric]:
        """Nothing: registering must not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, at scrape time."""
        compute = self._compute()
        if compute is None:
            return
        slivers = GaugeMetricFamily("vmoc_slivers", "Slivers, by type and state.", labels=["type", "state"])
        present = Counter((one.spec.resource_type, one.state.value) for one in compute.processor.slivers())
        for key, count in present.items():
            slivers.add_metric(list(key), count)
        yield slivers
        going = GaugeMetricFamily("vmoc_operations_unfinished", "Operations, by phase.", labels=["phase"])
        for phase, count in Counter(one.phase.value for one in compute.processor.running()).items():
            going.add_metric([phase], count)
        yield going
        ended = CounterMetricFamily("vmoc_operations", "Operations that ended.", labels=["type", "verb", "state"])
        for labels, count in dict(compute.tally.ended).items():
            ended.add_metric(list(labels), count)
        yield ended
        failed = CounterMetricFamily(
            "vmoc_operation_failures", "Operations that failed, by cause.", labels=["type", "reason"]
        )
        for cause, count in dict(compute.tally.failures).items():
            failed.add_metric(list(cause), count)
        yield failed
        took = HistogramMetricFamily("vmoc_operation_seconds", "How long operations ran.", labels=["type", "verb"])
        for which, (buckets, total) in compute.tally.durations().items():
            took.add_metric(list(which), buckets=buckets, sum_value=total)
        yield took
