"""``python -m fuzz [run]``, ``python -m fuzz replay FILE``, ``python -m fuzz text SEED``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from fuzz import plot, text
from fuzz.hunt import hunt


def main() -> int:
    """Look for trouble, or show what was found again."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="play episodes")
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    run.add_argument("--seconds", type=float, default=seconds, help="how long; FUZZ_SECONDS, else 600")
    run.add_argument("--seed", type=int, default=None, help="the first seed; else from the clock")
    run.add_argument("--jobs", type=int, default=1, help="processes; every second one is guided by coverage")
    run.add_argument("--guided", action="store_true", help="keep and vary episodes that reach new lines")
    run.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="where findings are written")
    replay = commands.add_parser("replay", help="play one file, step by step")
    replay.add_argument("file", type=Path)
    one = commands.add_parser("text", help="try one line of text")
    one.add_argument("seed", type=int)
    given = parser.parse_args(sys.argv[1:] or ["run"])
    if given.command == "replay":
        return _replay(given.file)
    if given.command == "text":
        wrong = text.attempt(given.seed)
        print(wrong or "nothing wrong")
        return bool(wrong)
    first = given.seed if given.seed is not None else int(time.time()) * 1_000_000
    if given.jobs > 1:
        return _several(given.jobs, first, given.seconds, given.folder)
    print(f"seeds from {first}, for {given.seconds:g} s", flush=True)
    tally = hunt(first, given.seconds, given.folder, guided=given.guided, stop_at=10)
    print(*tally.findings, tally, sep="\n")
    return bool(tally.findings)


def _several(jobs: int, first: int, seconds: float, folder: Path) -> int:
    common = [sys.executable, "-m", "fuzz", "run", "--seconds", str(seconds), "--folder", str(folder)]
    processes = [
        subprocess.Popen([*common, "--seed", str(first + job * 100_000), *(["--guided"] if job % 2 else [])])
        for job in range(jobs)
    ]
    return max([process.wait() for process in processes])


def _replay(path: Path) -> int:
    episode = plot.Episode.load(path)
    for number, operation in enumerate(episode.operations):
        print(f"{number:4} {str(operation)[:200]}")
    result = plot.play(episode)
    print(f"operation {result.step}: {result.failure}" if result.failure else f"nothing wrong; {result.calls} calls")
    return bool(result.failure)


if __name__ == "__main__":
    sys.exit(main())
