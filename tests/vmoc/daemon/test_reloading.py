"""Reloading: the difference and only that, or nothing and all the reasons."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.config import Settings, load
from vmoc.daemon import reloading
from vmoc.daemon.reloading import LIVE, Reloader, needs_restart
from vmoc.events import Event, Kind
from vmoc.ledger import SliceBook
from vmoc.model import Limits, Segment, Slice, Timers
from vmoc.registry import Registry, Snapshot
from vmoc.store import SqliteStore

ALICE = "slices:\n  - {id: alice, segments: [{vlan: 101}]}\n"
BOTH = ALICE + "  - {id: bob, segments: [{vlan: 102}]}\n"
CLASH = ALICE + "  - {id: bob, segments: [{vlan: 101}]}\n"


class World:
    def __init__(self, path: Path | None, text: str = ALICE) -> None:
        if path is not None:
            path.write_text(text)
        self.path = path
        self.settings = load(path)
        self.registry = Registry()
        self.store = SqliteStore(":memory:")
        self.book = SliceBook(self.registry, self.store)
        self.adopted: list[tuple[Settings, Snapshot]] = []
        self.events: list[Event] = []
        self.bugs: list[BaseException] = []
        self.failure: Exception | None = None

        async def applied(settings: Settings) -> None:
            if self.failure is not None:
                raise self.failure
            self.adopted.append((settings, self.registry.snapshot))

        self.reloader = Reloader(
            self.settings,
            path,
            change=lambda settings: self.book.reload(settings.slices),
            applied=applied,
            report=self.events.append,
            bug=lambda where, exc: self.bugs.append(exc),
        )
        self.book.open(self.settings.slices)


def test_the_difference_is_adopted_and_counted(tmp_path: Path) -> None:
    async def scene() -> None:
        world = World(tmp_path / "vmoc.yaml")
        assert world.path is not None
        world.path.write_text(BOTH)
        await world.reloader.reload()
        ((settings, snapshot),) = world.adopted
        assert set(snapshot.slices) == {"alice", "bob"}
        assert len(settings.slices) == 2
        assert [(e.kind, dict(e.detail)) for e in world.events] == [
            (Kind.CONFIG_RELOADED, {"added": 1, "changed": 0, "removed": 0})
        ]
        world.path.write_text("slices: []\n")
        await world.reloader.reload()
        assert world.events[-1].message == "slices: 0 added, 0 changed, 2 removed"
        assert world.reloader.results == {"applied": 2}

    play("asyncio", scene)


def test_slices_of_the_api_are_left_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        world = World(tmp_path / "vmoc.yaml")
        world.book.register([Slice("carol", (Segment(103),))])
        assert world.path is not None
        world.path.write_text("slices: []\n")
        await world.reloader.reload()
        assert set(world.adopted[0][1].slices) == {"carol"}

    play("asyncio", scene)


@pytest.mark.parametrize(
    ("text", "problems", "first"),
    [
        ("slices: [{id: x, segments: [{vlan: 5000}, {vlann: 1}]}]\n", 3, "vlan"),
        (CLASH, 1, "belongs to slice"),
        ("slices: [\n", 1, "vmoc.yaml"),
        (None, 1, "vmoc.yaml"),
    ],
)
def test_a_bad_file_changes_nothing(tmp_path: Path, text: str | None, problems: int, first: str) -> None:
    async def scene() -> None:
        world = World(tmp_path / "vmoc.yaml")
        before = world.registry.snapshot
        assert world.path is not None
        if text is None:
            world.path.unlink()
        else:
            world.path.write_text(text)
        await world.reloader.reload()
        assert world.registry.snapshot is before
        assert not world.adopted
        (event,) = world.events
        assert event.kind is Kind.CONFIG_REJECTED
        assert event.detail["problems"] == problems
        assert first in event.message
        assert world.reloader.results == {"rejected": 1}

    play("asyncio", scene)


def test_a_clash_with_a_slice_of_the_api_changes_nothing_and_names_both(tmp_path: Path) -> None:
    async def scene() -> None:
        world = World(tmp_path / "vmoc.yaml")
        world.book.register([Slice("carol", (Segment(102),))])
        assert world.path is not None
        world.path.write_text(BOTH)
        await world.reloader.reload()
        assert not world.adopted
        (event,) = world.events
        assert event.kind is Kind.CONFIG_REJECTED
        assert event.message.startswith("slice bob: ")
        assert event.message.endswith("(slice carol)")

    play("asyncio", scene)


def test_without_a_file_there_is_nothing_to_do() -> None:
    async def scene() -> None:
        world = World(None)
        await world.reloader.reload()
        assert not world.events
        assert not world.adopted

    play("asyncio", scene)


def test_each_wish_reloads_and_a_failure_of_ours_is_reported(tmp_path: Path) -> None:
    async def scene() -> None:
        world = World(tmp_path / "vmoc.yaml")
        task = asyncio.create_task(world.reloader.run())
        world.reloader.wanted.set()
        await until(lambda: world.adopted, "the first reload")
        world.failure = RuntimeError("broken")
        world.reloader.wanted.set()
        await until(lambda: world.bugs, "the report")
        world.failure = None
        world.reloader.wanted.set()
        await until(lambda: len(world.adopted) == 2, "the third reload")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play("asyncio", scene)


def test_what_needs_a_restart_is_named_by_its_key() -> None:
    old = Settings()
    new = replace(
        old, listeners=(), timers=Timers(echo_interval=1), slices=(Slice("alice"),), limits=Limits(max_flows=1)
    )
    assert needs_restart(old, new) == ["openflow.listen", "timers"]
    assert needs_restart(old, old) == []
    names = {field.name for field in fields(Settings)}
    assert names >= LIVE
    assert names >= set(reloading._KEYS)
