"""When a process runs: one that forwards goes first, as far as the system lets it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

LOOK = """
import os, pathlib
from vmoc.daemon.limits import go_first, yield_to_workers
{does}
print(os.getpriority(os.PRIO_PROCESS, 0))
for name in ("autogroup", "sched"):
    file = pathlib.Path("/proc/self", name)
    print(file.read_text() if file.exists() else "")
"""


def looked(does: str = "go_first()") -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(does=does)],
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,  # its priority is not this one's
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gets_a_priority_within_its_session_and_among_sessions() -> None:
    said = looked()
    assert said.startswith("-10\n")
    if "/autogroup-" in said:
        assert re.search(r"/autogroup-\d+ nice -10$", said, re.MULTILINE)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_others_go_on_as_they_are() -> None:
    said = looked("os.setuid(65534); go_first()")
    assert said.startswith(f"{os.getpriority(os.PRIO_PROCESS, 0)}\n")


def test_what_makes_way_is_ten_below_the_process_it_is_of() -> None:
    """Here before the process itself says its own."""
    in_a_thread = """os.nice(3); import threading
def way():
    yield_to_workers()
    print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
one = threading.Thread(target=way)
one.start()
one.join()"""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert looked(in_a_thread).startswith(f"{before + 13}\n{before + 3}\n")


def test_everybody_gets_short_turns() -> None:
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 12):
        pytest.skip("Linux has them from 6.12 on")
    found = re.search(r"^se\.slice\s*:\s*(\d+)$", looked(), re.MULTILINE)
    if found is None:
        pytest.skip("this kernel does not show them")
    assert int(found[1]) == 100_000
