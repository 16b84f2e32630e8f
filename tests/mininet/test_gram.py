"""The rack's story as ``make demo-rack`` tells it, and what is left when it is killed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_scenarios.gram import rack
from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.processes import wait_until
from tests.mininet import telling


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the story keeps its files; no process and no interface of it stays."""
    before = interfaces()
    with tempfile.TemporaryDirectory(prefix="vmoc-rack-") as name:
        yield Path(name)
    wait_until(lambda: not telling.running(), "every process of the story to be gone", timeout=15)
    wait_until(lambda: not connections(), "ssh to let go of the compute nodes", timeout=15)
    assert interfaces() == before


def connections() -> list[str]:
    """What keeps Ansible's connections; it outlives a run, but not by much."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_text())
    return [line for line in lines if line.startswith("ssh: ") and "/vmoc-run-" in line]


def machines() -> set[str]:
    """The network namespaces of the story's slivers."""
    return {one.name for one in Path("/run/netns").glob("vmoc-*-vm?-*")}


@pytest.mark.timeout(400)
def test_every_line_holds(place: Path) -> None:
    before = machines()
    told = telling.tell("gram", place, timeout=380)
    assert len(told["lines"]) >= 20
    assert list(place.iterdir()) == []
    assert machines() <= before


def test_killed_it_leaves_no_process(place: Path) -> None:
    story = telling.start("gram", place)
    try:
        wait_until(lambda: "The rack stands" in story.output(), "the rack", timeout=60)
        running = telling.running()
    finally:
        story.kill()
    assert running > 12


def test_without_an_ssh_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rack, "SSHD", "/nowhere/sshd")
    with pytest.raises(rack.RackUnavailableError, match="apt-get install openssh-server"):
        rack.GramRack()
