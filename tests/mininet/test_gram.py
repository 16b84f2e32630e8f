"""The rack's story as ``make demo-rack`` tells it, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_scenarios.gram import rack
from mininet_scenarios.namespaces import interfaces
from mininet_scenarios.processes import Process, descendants, wait_until

ROOT = Path(__file__).parents[2]
STORY = [sys.executable, "-m", "mininet_scenarios.gram"]
MARK = f"VMOC_RACK_TEST={os.getpid()}"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the story keeps its files; no process, interface or namespace of it stays."""
    before = interfaces(), set(_names())
    with tempfile.TemporaryDirectory(prefix="vmoc-rack-") as name:
        yield Path(name)
    wait_until(lambda: not descendants(MARK), "every process of the story to be gone", timeout=15)
    assert interfaces() == before[0]
    assert not [name for name in set(_names()) - before[1] if name.startswith(("vmoc-alice-vm", "vmoc-bob-vm"))]


def _names() -> list[str]:
    folder = Path("/run/netns")
    return [one.name for one in folder.iterdir()] if folder.is_dir() else []


def environment(place: Path) -> dict[str, str]:
    """What tells the story's processes and files from others'."""
    return {"VMOC_RACK_TEST": str(os.getpid()), "TMPDIR": str(place)}


@pytest.mark.timeout(400)
def test_every_line_holds(place: Path) -> None:
    done = subprocess.run(
        [*STORY, "--json"],
        cwd=ROOT,
        env={**os.environ, **environment(place)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    told = json.loads(done.stdout)
    broken = [line for line in told["lines"] if not line["held"]]
    assert not broken, f"{broken}\n{done.stderr[-4000:]}"
    assert told["held"] is True and done.returncode == 0
    assert len(told["lines"]) >= 20
    assert list(place.iterdir()) == []


def test_killed_it_leaves_no_process(place: Path) -> None:
    story = Process("story", STORY, log=place / "story.log", env=environment(place), cwd=ROOT)
    try:
        wait_until(lambda: "The rack stands" in story.output(), "the rack", timeout=60)
        running = len(descendants(MARK))
    finally:
        story.kill()
    assert running > 12


def test_without_an_ssh_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rack, "SSHD", "/nowhere/sshd")
    with pytest.raises(rack.RackUnavailableError, match="apt-get install openssh-server"):
        rack.GramRack()
