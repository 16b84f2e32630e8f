"""Metrics made at scrape time."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from vmoc.mux.counters import Counters
from vmoc.telemetry import metrics
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.metrics import Reading, ServiceCollector, read_counters


def _scrape(read: object) -> str:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(read, LoopLag()))  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def test_what_the_core_counts_is_exposed() -> None:
    counters = Counters(south_in=11, north_in=7, packet_ins=5, flow_mods=3, packet_outs=2)
    counters.refused["alice", "foreign-vlan"] = 4
    counters.dropped_packet_ins["backlog"] = 9
    reading = read_counters(counters)
    counters.refused["alice", "foreign-vlan"] = 99  # a reading is a copy
    reading.switches = {1: True, 2: False}
    reading.links = {("alice", "active"): 2}
    reading.connections = {"south": 1, "north": 2}
    reading.unsent_bytes = {"south": 0, "north": 10}
    reading.events = {"switch-up": 1}
    text = _scrape(lambda: reading)
    for line in (
        'vmoc_messages_total{direction="south_in"} 11.0',
        "vmoc_packet_ins_total 5.0",
        "vmoc_flow_mods_total 3.0",
        "vmoc_packet_outs_total 2.0",
        'vmoc_refused_total{reason="foreign-vlan",slice="alice"} 4.0',
        'vmoc_packet_ins_dropped_total{reason="backlog"} 9.0',
        'vmoc_switch_connected{dpid="0x0000000000000001"} 1.0',
        'vmoc_switch_connected{dpid="0x0000000000000002"} 0.0',
        'vmoc_controller_connections{slice="alice",state="active"} 2.0',
        'vmoc_queue_bytes{side="north"} 10.0',
        'vmoc_events_total{kind="switch-up"} 1.0',
        "vmoc_up 1.0",
        'vmoc_loop_lag_seconds_bucket{le="+Inf"} 0.0',
    ):
        assert line in text
    assert "vmoc_build_info{" in text


def test_a_loop_that_does_not_answer_is_told_and_nothing_invented() -> None:
    def stuck() -> Reading:
        raise TimeoutError

    text = _scrape(stuck)
    assert "vmoc_up 0.0" in text
    assert "vmoc_messages" not in text
    assert "vmoc_loop_lag_seconds_bucket" in text


def test_registering_does_not_scrape() -> None:
    def never() -> Reading:
        raise AssertionError

    CollectorRegistry(auto_describe=False).register(ServiceCollector(never, LoopLag()))


def test_beyond_a_few_thousand_slices_the_rest_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SLICES", 2)
    text = _scrape(lambda: Reading(refused={(name, "x"): 1 for name in ("a", "b", "c", "d")}))
    assert 'vmoc_refused_total{reason="x",slice="a"} 1.0' in text
    assert 'vmoc_refused_total{reason="x",slice="_other"} 2.0' in text
    assert 'slice="c"' not in text


def test_an_uninstalled_distribution_has_an_unknown_version() -> None:
    assert metrics.version_of("no-such-distribution-here") == "unknown"
