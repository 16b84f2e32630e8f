"""What a process sets for itself: how many files it may open, when it and its threads run, when the collector does."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import resource
import struct
import sys
import threading
from pathlib import Path
from typing import Final

# Every message makes and drops a few containers; looking for cycles after 700 of them would find none, often. And what
# a batch of slices leaves is looked through in small pieces: packets wait meanwhile.
GC_THRESHOLDS: Final = (5_000, 5, 200)
SWITCH_INTERVAL: Final = 0.0002
"""Seconds that packets wait at most for another thread to let go of the interpreter (Python's default: 5 ms)."""
NICE: Final = 10
"""How much later than the rest of the process: what floods a worker leaves a tenth of its CPU."""
FIRST: Final = -10
"""The priority that Open vSwitch gives its own daemon."""
TURN: Final = 100_000
"""Nanoseconds; the least that Linux takes."""
SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""Number of the system call; the C library has no function for it."""


def raise_file_limit() -> None:
    """Every virtual datapath is a connection; the usual soft limit of 1024 does not carry a small rack."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def yield_to_workers() -> None:
    """Have this thread, and what it starts from now on, leave the CPU to processes that forward."""
    with contextlib.suppress(OSError):  # not allowed, or a system that has it by process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICE)


def go_first() -> None:
    """Have this process run as soon as it has something to do: others have had more of the CPU than forwarding needs.

    As far as the system lets it: a higher priority is for root; a short turn (``sched_setattr(2)``) is for everybody,
    and Linux heeds it from 6.12 on.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    # Where a session is a group of the scheduler (sched_autogroup), the priority inside it says nothing to others.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(FIRST))
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        # size, policy, flags, nice, priority (of real-time ones); runtime, deadline, period
        wanted = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, TURN, 0, 0)
        ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, wanted, 0)


def tune_process() -> None:
    """Everything is set up: what is there lives long."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL)
