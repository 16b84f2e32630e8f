"""One journal or several: what is known is complete at every moment, whoever is killed, whatever the next number is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmoc.config import Settings
from vmoc.daemon import journaling
from vmoc.daemon.errors import StartError
from vmoc.model import Policy
from vmoc.mux.core import Mux
from vmoc.mux.journal import Kept
from vmoc.registry import Snapshot
from vmoc.store.journal import JournalFile

BOOT = b"b" * 16
ALL = tuple(
    Kept(number, dpid, native, 100 + number, number, 4, False, dpid, 2, 0, 0, 0, "alice", {1: (b"i", b"f", False)})
    for number, (dpid, native) in enumerate([(1, 0), (1, 100), (2, 0), (1 << 48 | 2, 0), (3, 0), (4, 0), (5, 0)], 1)
)


class Killed(BaseException):
    """The process is no more."""


class Disk:
    """The journals in a folder, what starts on them, and kills at a given step."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = replace(Settings(), state_path=str(folder / "vmoc.db"))
        self.folder = folder
        self.lines: list[tuple[str, str]] = []
        self.left = -1
        self._files: list[JournalFile] = []
        make = journaling._file

        def file(*arguments: Any) -> JournalFile:
            self._files.append(make(*arguments))
            return self._files[-1]

        monkeypatch.setattr(journaling, "_file", file)
        monkeypatch.setattr(journaling, "GONE", 0.05)
        monkeypatch.setattr(os, "write", self._counted(os.write))
        for name in ("rename", "unlink"):
            monkeypatch.setattr(Path, name, self._counted(getattr(Path, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return call(*arguments, **options)

        return counted

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((level, event))

    def end(self) -> None:
        """Whoever ran is gone, and its locks with it."""
        self.left = -1
        for file in self._files:
            for descriptor in (file._fd, file._lock):
                if descriptor >= 0:
                    os.close(descriptor)
            file._fd = file._lock = -1
        self._files.clear()

    def run(self, workers: int) -> list[list[Kept]]:
        """A whole start; what each worker (or the one process) finds, which it then writes anew."""
        file, kept = journaling.start(self.settings, self, workers=workers, boot=BOOT)
        assert file is not None
        found = []
        for number in range(workers) if workers else (-1,):
            if number >= 0:
                file, kept = journaling.start_worker(self.settings.state_path, number, self, boot=BOOT)
                assert file is not None
            found.append(list(kept))
            journaling.write_anew(file, Mux(Snapshot(), journal=True, kept=kept))
        return found

    def leave(self, *every: Kept) -> None:
        """A single process was here."""
        file = JournalFile(Path(self.settings.state_path), lambda why: None, boot=BOOT)
        file.lock()
        file.begin(goes_on=False)
        for one in every:
            file.write(b"".join(one.records()))
        file.rewritten()
        self._files.append(file)
        self.end()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name.endswith(".flows"))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path, monkeypatch)
    yield made
    made.end()


def known(found: list[list[Kept]]) -> list[tuple[int, int, int]]:
    """A slice that is not there is nobody's; its VLANs are known all the same."""
    return sorted((one.dpid, one.native_vlan, one.vlan) for part in found for one in part)


EVERYTHING = known([list(ALL)])


def test_what_one_process_knew_is_dealt_out(disk: Disk):
    disk.leave(*ALL)
    found = disk.run(3)
    assert known(found) == EVERYTHING
    homes = [{one.dpid & 0xFFFF_FFFF_FFFF for one in part} for part in found]
    assert sum(map(len, homes)) == len(set().union(*homes)), "what must meet is together"
    assert sorted(map(len, homes)) == [1, 2, 2]
    assert disk.names() == ["vmoc.db.0.flows", "vmoc.db.1.flows", "vmoc.db.2.flows"]


def test_with_the_same_number_everybody_finds_its_own(disk: Disk):
    disk.leave(*ALL)
    before = disk.run(2)
    disk.end()
    after = disk.run(2)
    assert [known([part]) for part in after] == [known([part]) for part in before]
    disk.end()
    assert [known([part]) for part in disk.run(4)] == [*(known([part]) for part in before), [], []]


@pytest.mark.parametrize("then", [0, 1, 2])
def test_fewer_take_over_what_more_knew(disk: Disk, then: int):
    disk.leave(*ALL)
    disk.run(4)
    disk.end()
    found = disk.run(then)
    assert known(found) == EVERYTHING
    assert disk.names() == ([f"vmoc.db.{number}.flows" for number in range(then)] or ["vmoc.db.flows"])


@pytest.mark.parametrize(("first", "then", "last"), [(0, 3, 0), (3, 2, 3), (4, 1, 2), (2, 0, 1)])
def test_a_kill_at_any_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, then: int, last: int
):
    kills = 0
    for step in range(1000):
        folder = tmp_path / str(step)
        folder.mkdir()
        with monkeypatch.context() as patch:
            disk = Disk(folder, patch)
            disk.leave(*ALL)
            disk.run(first)
            disk.end()
            disk.left = step
            try:
                disk.run(then)
            except Killed:
                kills += 1
                killed = True
            else:
                killed = False
            disk.end()
            assert known(disk.run(last)) == EVERYTHING, f"killed at step {step}"
            disk.end()
            assert not [line for line in disk.lines if line[0] != "info"], disk.lines
        if not killed:
            break
    assert kills > 10


def test_a_damaged_one_costs_its_switches_only(disk: Disk):
    disk.leave(*ALL)
    before = disk.run(2)
    disk.end()
    path = disk.folder / "vmoc.db.0.flows"
    whole = path.read_bytes()
    path.write_bytes(whole[:70] + bytes((whole[70] ^ 1,)) + whole[71:])
    assert known(disk.run(0)) == known([before[1]])
    assert [level for level, _ in disk.lines] == ["info", "info", "warning"] or "warning" in dict(disk.lines)


def test_the_single_one_is_the_truth_while_it_is_there(disk: Disk):
    disk.leave(*ALL)
    disk.run(3)
    disk.end()
    disk.leave(ALL[0])
    assert known(disk.run(2)) == known([[ALL[0]]])


def test_flushing_leaves_nothing_for_later(disk: Disk):
    disk.leave(*ALL)
    disk.run(3)
    disk.end()
    flushing = replace(disk.settings, policy=Policy(on_restart="flush"))
    assert journaling.start(flushing, disk, workers=2, boot=BOOT) == (None, [])
    assert disk.names() == []
    disk.end()
    assert known(disk.run(2)) == []


def test_a_second_service_does_not_start_whatever_the_numbers(disk: Disk):
    disk.run(2)
    for workers in (0, 1, 2, 3):
        with pytest.raises(StartError, match="written by another vmoc"):
            journaling.start(disk.settings, disk, workers=workers, boot=BOOT)


def test_a_worker_of_a_killed_parent_is_waited_for_and_named(disk: Disk):
    disk.leave(*ALL)
    disk.run(3)
    parent = next(file for file in disk._files if file.path.name == "vmoc.db.flows")
    assert parent._lock >= 0
    os.close(parent._lock)
    parent._lock = -1  # its workers live on
    with pytest.raises(StartError, match=r"vmoc.db.0.flows is written by another vmoc"):
        journaling.start(disk.settings, disk, workers=0, boot=BOOT)
