"""The slices of the running service: opens the store and the book, and tells the core of every change."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from vmoc.config import Settings
from vmoc.daemon.errors import StartError
from vmoc.daemon.reloading import words
from vmoc.events import Event
from vmoc.ledger import SliceBook, rules_of
from vmoc.ledger.book import RETRY, TIDY
from vmoc.ledger.roll import Wait
from vmoc.net.threads import in_thread
from vmoc.registry import Plan, Registry
from vmoc.store import SqliteStore, StoreError
from vmoc.telemetry import logs

TOLD: Final = 2.0
"""Seconds a change waits until it has been taken up; it is durable by then."""

Hand = Callable[[Callable[[], object]], None]
"""Runs a call on the loop, from any thread (``Edge.call``)."""


class Slices:
    """``book`` is there after ``open``; ``connect`` names who is told of changes."""

    book: SliceBook
    _loop: asyncio.AbstractEventLoop

    def __init__(self, settings: Settings, *, report: Callable[[Event], None]) -> None:
        """``report`` is called on the loop's thread."""
        self._settings = settings
        self._report = report
        self._hand: Hand | None = None
        self._adopt: Callable[[Plan, Callable[[], None]], None] | None = None
        self._told = TOLD
        self._nearer = asyncio.Event()
        self._log = logs.get("daemon")

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Adopt the slices of the file and the store. Blocks; raises ``StartError``."""
        self._loop = loop
        settings = self._settings
        try:
            store = SqliteStore(settings.state_path)
        except StoreError as exc:
            raise StartError([str(exc)], 1) from exc
        try:
            self.book = SliceBook(
                Registry(), store, rules_of(settings), tell=self._tell, report=self._report_from_anywhere
            )
            plan = self.book.open(settings.slices)
            if plan.conflicts:
                raise StartError([f"the configuration contradicts itself: {words(c)}" for c in plan.conflicts], 2)
            self.book.wake()  # what has ended meanwhile does not come up again
        except StoreError as exc:
            store.close()
            raise StartError([str(exc)], 1) from exc
        except StartError:
            store.close()
            raise
        self.book.on_expiry_changed(lambda: self._call_soon(self._nearer.set))

    def connect(self, hand: Hand, adopt: Callable[[Plan, Callable[[], None]], None], told: float = TOLD) -> None:
        """From now on ``adopt`` gets each plan, on the loop, in order, and what to call when it has effect.

        A change waits ``told`` seconds for that.
        """
        self._hand, self._adopt, self._told = hand, adopt, told

    def change(self, settings: Settings) -> Plan:
        """Make the file's slices those of ``settings``, unless they clash. Blocks."""
        return self.book.reload(settings.slices, rules_of(self._settings, settings.vlans))

    async def expire(self) -> None:
        """Remove slices when their time has come, for ever."""
        while True:
            self._nearer.clear()
            try:
                await in_thread(self.book.wake)
                deadline = await in_thread(self.book.next_deadline)
                wait = TIDY if deadline is None else min(TIDY, deadline - time.time())
            except StoreError as exc:
                self._log.error(str(exc))
                wait = RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, wait)):
                    await self._nearer.wait()

    def close(self) -> None:
        """Close the store after the change in progress. Blocks."""
        self.book.close()

    def _tell(self, plan: Plan) -> Wait | None:
        hand, adopt = self._hand, self._adopt
        if hand is None or adopt is None:
            return None  # there is no core yet: it begins with the snapshot
        taken = threading.Event()

        def take() -> None:
            try:
                adopt(plan, taken.set)
            except BaseException:
                taken.set()
                raise

        hand(take)

        def wait() -> None:
            if threading.current_thread() is threading.main_thread():
                return  # the loop must not wait for itself
            if not taken.wait(self._told):
                self._log.warning(f"a change of slices has not had effect everywhere within {self._told:g} s")

        return wait

    def _report_from_anywhere(self, event: Event) -> None:
        self._call_soon(self._report, event)

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(call, *args)
