"""kill -9 at any moment: what was answered is there, what was removed is not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmoc.ledger import SliceBook
from vmoc.registry import Registry
from vmoc.store import SqliteStore

KILLS = 100


@pytest.mark.slow
@pytest.mark.timeout(120)  # each commit waits for a disk that others use too
def test_a_hundred_kills_lose_nothing_and_bring_nothing_back(tmp_path: Path) -> None:
    path, chance = str(tmp_path / "vmoc.db"), random.Random(4)
    known: set[str] = set()
    answers = 0
    # One parent that forks, so that a hundred interpreters need not start.
    program = (
        "import os, sys\n"
        "from tests.vmoc.ledger.registering import run, say\n"
        "for line in sys.stdin:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        run(sys.argv[1], int(line))\n"
        "    say(f'child {child}')\n"
        "    os.waitpid(child, 0)\n"
        "    say('end')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert parent.stdin is not None and parent.stdout is not None
    try:
        for turn in range(KILLS):
            parent.stdin.write(f"{turn}\n")
            parent.stdin.flush()
            child, lines = 0, []
            while not (child and "ready" in lines):
                line = parent.stdout.readline().strip()
                assert line, "the writer ended"
                lines.append(line)
                if line.startswith("child"):
                    child = int(line.split()[1])
            while turn % 5 and not lines[-1].startswith("!"):  # else kill it while it begins
                lines.append(parent.stdout.readline().strip())
                assert lines[-1], "the writer ended"
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, 9)
            while lines[-1] != "end":
                lines.append(parent.stdout.readline().strip())
                assert lines[-1], "the parent ended"
            open_change = None
            for line in lines:
                words = line.split()
                if words[0] == "?":
                    open_change = words[2]
                elif words[0] == "!":
                    answers += 1
                    open_change = None
                    (known.add if words[1] == "+" else known.discard)(words[2])
            store = SqliteStore(path)
            book = SliceBook(Registry(), store)
            book.open([])
            found = {entry.slice.id for entry in book.page()[0]}
            assert set(book.snapshot.slices) == found
            store.close()
            assert found ^ known <= ({open_change} if open_change else set()), f"after kill {turn}"
            known = found  # what was not answered may be either way, but stays that way
    finally:
        parent.stdin.close()
        parent.stdout.close()
        parent.kill()
        parent.wait()
    assert answers >= KILLS * 4 // 5, "the kills came too early to prove anything"
