"""Every scenario told to its end by the command that tells them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.scenarios.__main__ import NAMES
from tests.mininet import telling


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_it_holds(name: str) -> None:
    before = interfaces()
    with tempfile.TemporaryDirectory(prefix="vmoc-scenario-") as place:
        told = telling.tell("scenarios", Path(place), name, timeout=140)
    assert len(told["stories"][name]) >= 3
    assert interfaces() == before


def test_an_unknown_one_is_a_usage_error_that_names_them_all() -> None:
    done = subprocess.run(
        [*telling.command("scenarios"), "tale"], cwd=telling.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)
