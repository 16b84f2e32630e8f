"""What a process that forwards sets for itself: how many files it may open, when threads and the collector run."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
import threading
from typing import Final

# Every message makes and drops a few containers; looking for cycles after 700 of them would find none, often. And what
# a batch of slices leaves is looked through in small pieces: packets wait meanwhile.
GC_THRESHOLDS: Final = (5_000, 5, 200)
SWITCH_INTERVAL: Final = 0.0002
"""Seconds that packets wait at most for another thread to let go of the interpreter (Python's default: 5 ms)."""
NICE: Final = 10


def raise_file_limit() -> None:
    """Every virtual datapath is a connection; the usual soft limit of 1024 does not carry a small rack."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def yield_to_workers() -> None:
    """Have this thread, and what it starts from now on, leave the CPU to processes that forward."""
    with contextlib.suppress(OSError):  # not allowed, or a system that has it by process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def tune_process() -> None:
    """Everything is set up: what is there lives long."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL)
