"""Every scenario told to its end by the command that tells them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.scenarios.__main__ import NAMES

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_it_holds(name: str) -> None:
    before = interfaces()
    done = subprocess.run(
        [sys.executable, "-m", "mininet_scenarios.scenarios", "--json", name],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    told = json.loads(done.stdout)
    broken = [line for line in told["stories"][name] if not line["held"]]
    assert not broken, f"{broken}\n{done.stderr[-4000:]}"
    assert told["held"] is True and done.returncode == 0
    assert len(told["stories"][name]) >= 3
    assert interfaces() == before


def test_an_unknown_one_is_a_usage_error_that_names_them_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mininet_scenarios.scenarios", "tale"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)
