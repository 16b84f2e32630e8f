"""The client for programs without asyncio: the same client, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from am_bridge.client.client import Change, VmocClient
from am_bridge.client.errors import ClosedError
from am_bridge.client.records import Event, Gap, ServerRecord, SliceRecord
from am_bridge.convert import Choice
from vmoc.model import Slice

T = TypeVar("T")


class BlockingChange:
    """A change of the desired state; ``result`` waits for it."""

    def __init__(self, slice_id: str, outcome: Future[Slice | None]) -> None:
        self.slice_id = slice_id
        self._outcome = outcome

    @property
    def done(self) -> bool:
        """Whether it was made or refused."""
        return self._outcome.done()

    def result(self, timeout: float | None = None) -> Slice | None:
        """The slice as the server has it, None if it is gone.

        Raises the ``ClientError`` it was refused with, and ``TimeoutError``; then the change is still to be made.
        """
        return self._outcome.result(timeout)


class VmocClientSync:
    """``VmocClient`` for blocking callers, with the same arguments and methods: ``with VmocClientSync(...) as client``.

    May be used from any thread. ``on_report`` is called in the client's own thread and must not block.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = VmocClient(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> VmocClientSync:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vmoc-client", daemon=True)
        self._thread.start()
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop. Slices stay on the server; changes not made yet fail with ``ClosedError``."""
        if self._loop is not None:
            try:
                self._run(self._client.close())
                self._run(_finish_others())
            finally:
                self._end()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    # -- the desired state ---------------------------------------------------------------------------------------------

    @property
    def desired(self) -> Mapping[str, Slice]:
        """What shall be, by id."""
        return self._run(self._call(lambda: dict(self._client.desired)))

    @property
    def refused(self) -> set[str]:
        """Ids of desired slices that the server refuses."""
        return self._run(self._call(lambda: self._client.refused))

    def put(self, one: Slice, choices: Mapping[int, Choice] | None = None) -> BlockingChange:
        """Desire a slice, new or changed."""
        return self._change(one.id, lambda: self._client.put(one, choices))

    def remove(self, slice_id: str) -> BlockingChange:
        """Desire that there is no such slice."""
        return self._change(slice_id, lambda: self._client.remove(slice_id))

    def settled(self, timeout: float | None = None) -> None:
        """Wait until the server has what is desired, what it refuses excepted. Raises ``TimeoutError``."""
        self._run(self._client.settled(timeout))

    # -- reading -------------------------------------------------------------------------------------------------------

    def server(self) -> ServerRecord:
        """What one talks to."""
        return self._run(self._client.server())

    def get(self, slice_id: str) -> SliceRecord:
        """A slice with its state on the switches."""
        return self._run(self._client.get(slice_id))

    def free_vlans(self, **conditions: Any) -> list[int]:
        """VLANs that nobody has."""
        return self._run(self._client.free_vlans(**conditions))

    def slices(self, **conditions: Any) -> Iterator[SliceRecord]:
        """Slices in the order of their ids."""
        return self._each(self._client.slices(**conditions))

    def events(self, **conditions: Any) -> Iterator[Event | Gap]:
        """Events for ever; end the loop, or the iterator with its ``close``, to stop."""
        return self._each(self._client.events(**conditions))

    # -- between the threads -------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise ClosedError("the client isn't open; use it as: with VmocClientSync(...) as client")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _call(self, work: Callable[[], T]) -> T:
        return work()

    def _change(self, slice_id: str, change: Callable[[], Change]) -> BlockingChange:
        made = self._run(self._call(change))

        async def outcome() -> Slice | None:
            return await made

        assert self._loop is not None
        return BlockingChange(slice_id, asyncio.run_coroutine_threadsafe(outcome(), self._loop))

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        try:
            while True:
                try:
                    yield self._run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if self._loop is not None and hasattr(items, "aclose"):
                self._run(items.aclose())


async def _finish_others() -> None:
    """Let whoever waits learn how it ended, before there is no loop any more."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, stuck = await asyncio.wait(others, timeout=1.0)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
