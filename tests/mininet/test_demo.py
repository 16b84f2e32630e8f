"""The demo as ``make demo`` runs it: told to its end, ended early, killed, and where it cannot run."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.processes import wait_until
from tests.mininet import telling

DEMO = telling.command("demo")


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo keeps its files; not in pytest's directory, whose names are too long for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="vmoc-demo-") as name:
        yield Path(name)


def left(place: Path) -> list[Path]:
    """What it has left there."""
    return list(place.glob("vmoc-ovs-*"))


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process and no interface of the demo stays."""
    before = interfaces()
    yield
    wait_until(lambda: not telling.running(), "every process of the demo to be gone", timeout=10)
    assert interfaces() == before


@pytest.mark.timeout(150)
def test_every_line_holds(nothing_left: None, place: Path) -> None:
    told = telling.tell("demo", place, timeout=120)
    assert len(told["lines"]) >= 20
    assert told["seconds"] < 90
    assert left(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(nothing_left: None, place: Path, number: signal.Signals) -> None:
    process = telling.start("demo", place)
    wait_until(lambda: "The rack stands" in process.output(), "the rack", timeout=30)
    process.signal(number)
    assert process.wait(20) == 128 + number, process.output()
    assert "Traceback" not in process.output()
    assert left(place) == []


def test_killed_it_takes_everything_with_it(nothing_left: None, place: Path) -> None:
    process = telling.start("demo", place)
    wait_until(lambda: "The rack stands" in process.output(), "the rack", timeout=30)
    assert telling.running() > 10
    process.kill()


def test_without_root_it_says_so() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", "--", *DEMO],
        cwd=telling.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert " ".join(done.stdout.split()).endswith("needs root; run it with sudo.")
    assert "Traceback" not in done.stderr


def test_without_open_vswitch_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO, cwd=telling.ROOT, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "apt-get install openvswitch-switch" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr
