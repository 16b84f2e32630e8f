"""How much one call costs: its CPU time, a stop for one that never ends, and the memory a thing holds on to."""

from __future__ import annotations

import enum
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType, ModuleType
from typing import Final, TypeVar

T = TypeVar("T")
LIMIT: Final = 0.1
"""Seconds of CPU that one call may take."""
_TRACED: Final = 30
"""How much slower calls may be while their lines are traced."""
HANG: Final = 20.0
"""Seconds of CPU after which it is not waited for any longer."""


class Hang(BaseException):
    """A call did not end. Not an ``Exception``, so that nobody handles it."""


@contextmanager
def guarded(seconds: float = HANG) -> Iterator[None]:
    """Interrupt what runs inside after so much CPU time of the process (main thread only)."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds:g} s of CPU")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def limit() -> float:
    """Seconds of CPU that one call may take now."""
    return LIMIT if sys.gettrace() is None else LIMIT * _TRACED


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the seconds of CPU it took; the garbage collector's turns are not its own."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with guarded():
            begin = time.thread_time()
            found = call()
            return found, time.thread_time() - begin
    finally:
        if collecting:
            gc.enable()


def weight(root: object) -> int:
    """Bytes of everything reachable from ``root``, code and types left out."""
    seen: set[int] = set()
    total = 0
    stack = [root]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | enum.Enum):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        if isinstance(thing, FunctionType):
            stack += [thing.__closure__, thing.__defaults__]
        else:
            stack += gc.get_referents(thing)
    return total
