"""Removes slivers whose time is over or whose slice is gone, and cards on VLANs that are no longer their slice's.

It looks at what is, not at what has changed: what was missed while the service
was down is made good by the next look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from am_bridge.handlers.catalogue import UnsupportedError
from am_bridge.handlers.decode import encode
from am_bridge.handlers.journal import JournalError
from am_bridge.handlers.operations import Request, Sliver
from am_bridge.handlers.processor import ClosedError, MissingError, Processor, StateError
from am_bridge.handlers.queue import BusyError, FullError
from am_bridge.handlers.spec import SliverKey, SpecError

PERIOD: Final = 1.0
"""Seconds between two looks."""
PAUSE: Final = 15.0
MOST_PAUSE: Final = 3600.0
"""Seconds until something that failed is tried again; twice as long each time."""
ACTOR: Final = Request(name="vmoc")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to become of a sliver: nothing, ``over`` (and why), or the loss of some ``cards``."""

    over: str = ""
    cards: frozenset[str] = frozenset()


class Sweeper:
    """See the module. ``judge`` says what is to become of a sliver as far as its slice is concerned; ``chores`` are
    what else is done with each look.
    """

    def __init__(
        self,
        processor: Processor,
        judge: Callable[[Sliver], Fate],
        chores: Sequence[Callable[[Sequence[Sliver]], None]] = (),
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processor = processor
        self._judge = judge
        self._chores = chores
        self._clock = clock
        self._now = monotonic
        self._tried: dict[SliverKey, tuple[float, float]] = {}
        self._closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sliver-sweeper", daemon=True)

    def start(self) -> None:
        """Look every second, in a thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look soon: something has changed."""
        self._wake.set()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def sweep(self) -> None:
        """One look at all slivers."""
        now, slivers = self._clock(), self._processor.slivers()
        keys = {one.key for one in slivers}
        self._tried = {key: tried for key, tried in self._tried.items() if key in keys}
        for one in slivers:
            fate = self._judge(one)
            if one.expire_time and one.expire_time <= now:
                fate = Fate("its time is over")
            if fate != Fate() and self._tried.get(one.key, (0.0, 0.0))[0] <= self._now():
                self._act(one, fate)
        for chore in self._chores:
            chore(slivers)

    def _act(self, one: Sliver, fate: Fate) -> None:
        try:
            if fate.over:
                operation = self._processor.delete(one.key, request=ACTOR)
                _log.info("sliver %s is removed: %s", one.key, fate.over)
            else:
                kept = tuple(nic for nic in one.spec.interfaces if nic.name not in fate.cards)
                operation = self._processor.modify(encode(replace(one.spec, interfaces=kept)), request=ACTOR)
                _log.warning("sliver %s loses cards %s: their VLANs are not its slice's", one.key, set(fate.cards))
        except (BusyError, MissingError, FullError, ClosedError):
            return  # the next look will tell
        except StateError as error:
            if not fate.over:
                self._act(one, Fate(f"its cards cannot be taken away: {error}"))
            return  # a network goes after what is on it
        except (SpecError, UnsupportedError, JournalError) as error:
            _log.error("sliver %s cannot be swept: %s", one.key, error)
        else:
            if operation.requested_by != ACTOR.name:
                return  # somebody else's deletion, which is under way
        _, pause = self._tried.get(one.key, (0.0, PAUSE / 2))
        pause = min(MOST_PAUSE, 2 * pause)
        self._tried[one.key] = (self._now() + pause, pause)

    def _run(self) -> None:
        while True:
            self._wake.wait(PERIOD)
            self._wake.clear()
            if self._closed:
                return
            try:
                self.sweep()
            except Exception:
                _log.exception("slivers could not be swept")
