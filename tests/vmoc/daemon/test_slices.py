"""The store and the book in the running service: what comes back at a start, what stops one, and who is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.config import Settings
from vmoc.daemon.errors import StartError
from vmoc.daemon.slices import Slices
from vmoc.events import Event, Kind
from vmoc.model import Origin, Segment, Slice
from vmoc.net.threads import in_thread
from vmoc.registry import Plan
from vmoc.store import SqliteStore, StoredSlice


def settings(tmp_path: Path, *slices: Slice) -> Settings:
    return Settings(state_path=str(tmp_path / "vmoc.db"), slices=slices)


def stored(tmp_path: Path, *slices: Slice) -> None:
    store = SqliteStore(str(tmp_path / "vmoc.db"))
    store.commit([StoredSlice(one, 1.0, 1.0, 1) for one in slices], [], generation=1)
    store.close()


def api(name: str, vlan: int, expire_time: float | None = None) -> Slice:
    return Slice(name, (Segment(vlan),), origin=Origin.API, expire_time=expire_time)


def test_stored_slices_are_there_from_the_start_without_those_that_have_ended(tmp_path: Path) -> None:
    stored(tmp_path, api("a", 1), api("b", 2, time.time() - 1))

    async def scene() -> None:
        events: list[Event] = []
        slices = Slices(settings(tmp_path, Slice("f", (Segment(3),))), report=events.append)
        slices.open(asyncio.get_running_loop())
        assert set(slices.book.snapshot.slices) == {"a", "f"}
        await until(lambda: [(e.kind, e.slice) for e in events] == [(Kind.SLICE_EXPIRED, "b")], "the event")
        slices.close()

    play("asyncio", scene)


def test_each_change_is_told_on_the_loop_before_it_is_answered(tmp_path: Path) -> None:
    async def scene() -> None:
        loop, here = asyncio.get_running_loop(), threading.get_ident()
        slices = Slices(settings(tmp_path), report=lambda event: None)
        slices.open(loop)
        told: list[tuple[tuple[str, ...], bool]] = []
        took: list[tuple[str, ...]] = []

        def adopt(plan: Plan, done: Callable[[], None]) -> None:
            told.append((plan.added, threading.get_ident() == here))
            loop.call_later(0.02, lambda: (took.append(plan.added), done()))

        slices.connect(loop.call_soon_threadsafe, adopt)
        for number in range(3):
            await in_thread(slices.book.register, [api(f"s{number}", number + 1)])
            assert told[-1] == ((f"s{number}",), True) and len(told) == number + 1
            assert took == [plan for plan, _ in told], "the answer waits for the word that it has effect"
        slices.close()

    play("asyncio", scene)


def test_slices_end_while_it_runs_also_those_that_come_later(tmp_path: Path) -> None:
    async def scene() -> None:
        events: list[Event] = []
        slices = Slices(settings(tmp_path), report=events.append)
        slices.open(asyncio.get_running_loop())
        chore = asyncio.create_task(slices.expire())
        await asyncio.sleep(0)
        await in_thread(slices.book.register, [api("a", 1, time.time() + 0.2), api("b", 2)])
        await until(lambda: any(e.kind is Kind.SLICE_EXPIRED for e in events), "the end")
        assert set(slices.book.snapshot.slices) == {"b"}
        chore.cancel()
        await asyncio.gather(chore, return_exceptions=True)
        slices.close()

    play("asyncio", scene)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is damaged"), (b"not a database, but long enough for one" * 30, "is damaged")]
)
def test_a_state_that_cannot_be_read_stops_the_start_and_is_left_alone(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "vmoc.db"
    file.write_bytes(content)

    async def scene() -> None:
        with pytest.raises(StartError) as caught:
            Slices(settings(tmp_path), report=lambda event: None).open(asyncio.get_running_loop())
        assert caught.value.exit_code == 1
        (line,) = caught.value.lines
        assert words in line and str(file) in line

    play("asyncio", scene)
    assert file.read_bytes() == content


def test_two_cannot_have_the_same_state(tmp_path: Path) -> None:
    async def scene() -> None:
        first = Slices(settings(tmp_path), report=lambda event: None)
        first.open(asyncio.get_running_loop())
        with pytest.raises(StartError, match="in use by another process"):
            Slices(settings(tmp_path), report=lambda event: None).open(asyncio.get_running_loop())
        first.close()
        second = Slices(settings(tmp_path), report=lambda event: None)
        second.open(asyncio.get_running_loop())
        second.close()

    play("asyncio", scene)


def test_a_configuration_that_contradicts_itself_stops_the_start_and_lets_go_of_the_state(tmp_path: Path) -> None:
    async def scene() -> None:
        wrong = settings(tmp_path, Slice("a", (Segment(1),)), Slice("b", (Segment(1),)))
        with pytest.raises(StartError, match=r"slice b: .*slice a") as caught:
            Slices(wrong, report=lambda event: None).open(asyncio.get_running_loop())
        assert caught.value.exit_code == 2
        SqliteStore(str(tmp_path / "vmoc.db")).close()

    play("asyncio", scene)
