"""Stories told by their commands, with files and processes that can be told from others'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mininet_scenarios.processes import Process, descendants

ROOT = Path(__file__).parents[2]
_MARK = "VMOC_STORY_TEST", str(os.getpid())


def command(story: str) -> list[str]:
    """What tells it."""
    return [sys.executable, "-m", f"mininet_scenarios.{story}"]


def environment(place: Path) -> dict[str, str]:
    """What tells a story's descendants, and its files, from others'."""
    return dict([_MARK]) | {"TMPDIR": str(place)}


def running() -> int:
    """How many processes of this test's stories there are."""
    return len(descendants("=".join(_MARK)))


def start(story: str, place: Path) -> Process:
    """One that is not waited for."""
    return Process(story, command(story), log=place / f"{story}.log", env=environment(place), cwd=ROOT)


def tell(story: str, place: Path, *words: str, timeout: float) -> dict[str, Any]:
    """The whole of it, as JSON; every line has held."""
    done = subprocess.run(
        [*command(story), "--json", *words],
        cwd=ROOT,
        env=os.environ | environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    lines = told["lines"] if "lines" in told else [line for one in told["stories"].values() for line in one]
    broken = [line for line in lines if not line["held"]]
    assert not broken, f"{broken}\n{done.stderr[-4000:]}"
    assert told["held"] is True and done.returncode == 0
    return told
