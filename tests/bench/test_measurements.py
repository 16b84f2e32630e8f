"""The benchmarks measure a real VMOC and say what they found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import micro
from tests.emulation import wire as of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])
@pytest.mark.parametrize("build", [micro.packet_in, micro.flow_mod, micro.packet_out], ids=lambda b: b.__name__)
def test_every_message_of_the_micro_benchmark_comes_out(version: int, build: micro.Build) -> None:
    rig = micro.Rig(version)
    messages = [build(version, 101, number) for number in range(100)]
    send = rig.up if build is micro.packet_in else rig.down
    assert micro.measure(rig, send, messages, 0) > 0


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
    through = [r for r in found["results"] if r["cpu_us"] is not None]
    assert [(r["switches"], r["mode"]) for r in through] == [
        (1, "throughput"), (16, "throughput"), (1, "latency"), (1, "latency"),
    ]  # fmt: skip
    for result in through:
        assert result["per_second"] > 100 and result["resident_mb"] > 1
        assert result["cross"] == result["wild"] == result["silent"] == 0
    assert "trips/s" in done.stdout
