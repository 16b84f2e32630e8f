"""The benchmarks measure a real VMOC and say what they found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import calls, flow_statistics, journal, micro, registration, scale
from tests.emulation import wire as of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])
@pytest.mark.parametrize("build", [micro.packet_in, micro.flow_mod, micro.packet_out], ids=lambda b: b.__name__)
def test_every_message_of_the_micro_benchmark_comes_out(version: int, build: micro.Build) -> None:
    rig = micro.Rig(version)
    messages = [build(version, 101, number) for number in range(100)]
    send = rig.up if build is micro.packet_in else rig.down
    assert micro.measure(rig, send, messages, 0) > 0


@pytest.mark.parametrize("version", ["1.0", "1.3"])
@pytest.mark.parametrize(("entries", "slices"), [(10, 1), (100, 12)])
def test_the_cost_of_a_flow_mod_among_others(version: str, entries: int, slices: int) -> None:
    """It ends with as many flows as it began with, all of them the slice's: the tool looks itself."""
    (cost,) = scale.run(0, (version,), ((entries, slices),))
    assert (cost.version, cost.entries, cost.slices) == (version, entries, slices)
    assert min(cost.add, cost.modify_strict, cost.delete_strict) > 0


def test_what_a_line_of_flows_and_slices_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds of new flows, modifies of known ones, deletes of the new: never more than a chunk above the stock."""
    sent: list[tuple[str, int]] = []
    build = scale.flow_mod

    def seen(version: int, command: str, number: int) -> bytes:
        sent.append((command, number))
        return build(version, command, number)

    monkeypatch.setattr(scale, "flow_mod", seen)
    scale.run(0, ("1.3",), ((10, 1),))
    added = [number for command, number in sent if command == "add"]
    assert added[:10] == list(range(10)) and len(set(added)) == len(added)
    assert {number for command, number in sent if command == "modify_strict"} == set(range(10))
    assert [number for command, number in sent if command == "delete_strict"] == added[10:]


@pytest.mark.parametrize("version", ["1.0", "1.3"])
def test_the_cost_of_flow_statistics(version: str) -> None:
    """More than one reply, and every flow is told of: the tool looks itself."""
    few, many = flow_statistics.run(0, (version,), (10, 1000))
    assert (few.entries, many.entries) == (10, 1000)
    assert 0 < few.whole_ms < many.whole_ms and many.per_entry_us > 0


@pytest.mark.parametrize("version", ["1.0", "1.3"])
def test_the_cost_of_the_journal(version: str) -> None:
    """Each way has the journal it should have, and every flow-mod reached the switch: the tool looks itself."""
    cost = journal.run(0, version)
    assert cost.version == version and min(cost.without, cost.records, cost.written) > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: run make test")
def test_the_benchmark_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "--quick", "--runs", "1", "--seconds", "0.3", "--version", "1.3"]
    done = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    through = [r for r in found["lines"] if r["cpu_us"] is not None]
    assert [(r["switches"], r["mode"]) for r in through] == [
        (1, "throughput"), (16, "throughput"), (1, "latency"), (16, "latency"), (1, "latency"),
    ]  # fmt: skip
    for result in through:
        assert result["per_second"] > 100 and result["resident_mb"] > 1
        assert result["cross"] == result["wild"] == result["silent"] == 0
    assert "trips/s" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: run make test")
@pytest.mark.parametrize(("part", "least"), [(registration.flooded, 2000), (registration.trickled, 500)])
def test_registrations_beside_packets(
    tmp_path: Path, part: Callable[[Path, float], Iterator[calls.Figure]], least: int
) -> None:
    """Some are answered meanwhile: the tool looks itself."""
    quiet, _, median, slowest, trips = part(tmp_path, 1.0)
    assert quiet.value > 0 and 0 < median.value <= slowest.value
    assert trips.value > least, "packets go on as well"
