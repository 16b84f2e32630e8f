"""Blocking calls off the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.net.threads import in_thread


def test_results_and_failures_come_back(loop_kind: str) -> None:
    async def scene() -> None:
        assert await in_thread(threading.get_ident) != threading.get_ident()
        assert await in_thread(int, "ff", base=16) == 255
        with pytest.raises(ValueError, match="invalid literal"):
            await in_thread(int, "x")

    play(loop_kind, scene)


def test_cancelling_stops_the_waiting(loop_kind: str) -> None:
    async def scene() -> None:
        release = threading.Event()
        task = asyncio.create_task(in_thread(release.wait, 10))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        before = threading.active_count()
        release.set()
        await until(lambda: threading.active_count() < before, "the thread to end")

    play(loop_kind, scene)
