"""The benchmark of slivers measures a real VMOC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cancelled_create_is_measured(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.slivers", "--only", "cancelled", "--runs", "1", "--json", str(report)]
    command += ["--cpu-weight", "100"]  # it takes minutes beside other tests otherwise
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {one["what"]: one["value"] for one in json.loads(report.read_text())["lines"]}
    assert len(figures) == 2 and all(value > 0 for value in figures.values())
