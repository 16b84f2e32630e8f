"""The flow journal when VMOC starts: used, begun anew, or said to be useless; no start fails for what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmoc.config import Settings
from vmoc.daemon import journaling
from vmoc.daemon.errors import StartError
from vmoc.model import Policy
from vmoc.mux.core import Mux
from vmoc.mux.journal import Kept, replay
from vmoc.registry import Registry
from vmoc.store.journal import HEADER, JournalFile

BOOT = b"b" * 16
ONE = Kept(3, 0xAA, 0, 100, 7, 4, False, 0xAA, 2, 0, 0, 0, "alice", {1: (b"identity", b"flow-mod", False)})
TWO = Kept(5, 0xBB, 0, 200, 8, 1, True, 0xBB, 0, 0, 0, 0, "bob")


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(("error", event))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), state_path=str(tmp_path / "state" / "vmoc.db"))


@pytest.fixture
def opened() -> Iterator[list[JournalFile]]:
    found: list[JournalFile] = []
    yield found
    for file in found:
        file.close()


def start(settings: Settings, log: Log, opened: list[JournalFile]) -> tuple[JournalFile | None, list[Kept]]:
    file, kept = journaling.start(settings, log, boot=BOOT)
    if file is not None:
        opened.append(file)
    return file, kept


def path(settings: Settings) -> Path:
    return Path(settings.state_path + ".flows")


def leave(settings: Settings, *every: Kept) -> None:
    """A VMOC was here, and was killed."""
    file = JournalFile(Path(settings.state_path), lambda why: None, boot=BOOT)
    file.lock()
    file.begin(goes_on=False)
    file.rewritten()
    for one in every:
        file.write(b"".join(one.records()))
    os.close(file._fd)
    file._fd = -1
    file.close()


def test_the_first_start_begins_one(settings: Settings, log: Log, opened: list[JournalFile]) -> None:
    file, kept = start(settings, log, opened)
    assert file is not None and kept == [] and log.lines == []
    journaling.write_anew(file, Mux(Registry().snapshot, journal=True))
    assert path(settings).stat().st_size == HEADER


def test_what_was_left_is_found_and_written_anew(settings: Settings, log: Log, opened: list[JournalFile]) -> None:
    leave(settings, ONE, TWO)
    before = path(settings).read_bytes()
    file, kept = start(settings, log, opened)
    assert file is not None and kept == [ONE, TWO]
    assert log.lines == [("info", "the flow journal knows 1 flow(s) of 2 virtual datapath(s)")]
    assert path(settings).read_bytes() == before, "until all is written anew the old one counts"
    journaling.write_anew(file, Mux(Registry().snapshot, journal=True, kept=kept))
    assert not path(settings).with_name("vmoc.db.flows.next").exists()
    found = replay(JournalFile(Path(settings.state_path), lambda why: None, boot=BOOT).read())
    assert [(one.owner, one.disowned) for one in found] == [("alice", True), ("bob", True)], "there are no slices"
    file.close()
    leave(settings, *found)
    assert start(settings, Log(), opened)[1] == found


def test_a_kill_while_it_is_written_anew_loses_nothing(settings: Settings, log: Log, opened: list[JournalFile]) -> None:
    leave(settings, ONE, TWO)
    for _ in range(3):
        file, kept = start(settings, log, opened)
        assert file is not None and kept == [ONE, TWO]
        core = Mux(Registry().snapshot, journal=True, kept=())
        core.rewrite_journal()
        os.close(file._fd)  # as far as it got: a header, no records
        file._fd = -1
        file.close()


DAMAGE = {
    "empty": lambda data: b"",
    "foreign": lambda data: b"SQLite format 3\0" + bytes(4000),
    "text": lambda data: b"# not for you\n",
    "of format 99": lambda data: data[:8] + b"\0\x63" + data[10:],
    "older format": lambda data: data[:8] + b"\0\1" + data[10:],
    "header": lambda data: data[:20] + b"\xff" + data[21:],
    "another boot": lambda data: data[:12] + b"x" * 16 + data[28:],
    "in a record": lambda data: data[: HEADER + 20] + b"\xff\xff" + data[HEADER + 22 :],
    "in a length": lambda data: data[:HEADER] + b"\0\xff" + data[HEADER + 2 :],
    "zeroes": lambda data: data[:HEADER] + bytes(len(data)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_journal_that_cannot_be_relied_on_is_said_to_be_and_replaced(
    what: str, settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    leave(settings, ONE, TWO)
    path(settings).write_bytes(DAMAGE[what](path(settings).read_bytes()))
    file, kept = start(settings, log, opened)
    assert file is not None and kept == []
    ((level, text),) = log.lines
    assert level == "warning"
    assert text.startswith("the flow journal is not used, the slices' flows are flushed: ") and str(file.path) in text
    journaling.write_anew(file, Mux(Registry().snapshot, journal=True))
    file.close()
    assert start(settings, later := Log(), opened)[1] == [] and later.lines == [], "the next start has a good one"


def test_batches_with_good_checksums_and_nonsense_in_them(
    settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    """Written by no version of this program; yet no reason to crash, nor to believe the half that can be read."""
    leave(settings, ONE)
    file, _ = start(settings, Log(), opened)
    assert file is not None
    file.write(b"".join(ONE.records()))
    file.write(b"\xee" * 40)
    file.rewritten()
    file.close()
    again, kept = start(settings, log, opened)
    assert again is not None and kept == []
    assert "a record is of kind 238" in log.lines[0][1]


def test_cut_short_at_its_end_it_is_used_as_far_as_it_goes(
    settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    leave(settings, ONE, TWO)
    path(settings).write_bytes(path(settings).read_bytes()[:-3])
    assert start(settings, log, opened)[1] == [ONE]
    assert [level for level, _ in log.lines] == ["info"]


def test_two_at_once_do_not_start(settings: Settings, log: Log, opened: list[JournalFile]) -> None:
    start(settings, log, opened)
    with pytest.raises(StartError) as refused:
        journaling.start(settings, log, boot=BOOT)
    assert "is written by another vmoc; stop it, or set another state.path" in refused.value.lines[0]


def test_where_nothing_can_be_written_it_starts_without(
    tmp_path: Path, settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    (tmp_path / "file").write_text("")
    assert start(replace(settings, state_path=str(tmp_path / "file" / "vmoc.db")), log, opened) == (None, [])
    ((level, text),) = log.lines
    assert level == "warning" and text.endswith("the slices' flows will not survive a restart")


def test_without_a_journal_nothing_is_written(
    tmp_path: Path, settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    assert start(replace(settings, state_path=":memory:"), log, opened) == (None, [])
    flushing = replace(settings, policy=Policy(on_restart="flush"))
    assert start(flushing, log, opened) == (None, [])
    assert not log.lines and not any(tmp_path.rglob("*"))


def test_one_that_was_left_out_is_not_taken_for_recent_later(
    settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    leave(settings, ONE)
    assert start(replace(settings, policy=Policy(on_restart="flush")), log, opened) == (None, [])
    assert not path(settings).exists()
    assert start(settings, log, opened)[1] == []


def test_a_full_disk_is_said_once_and_no_later_start_relies_on_it(
    settings: Settings, log: Log, opened: list[JournalFile]
) -> None:
    leave(settings, ONE)
    file, _ = start(settings, log, opened)
    assert file is not None
    log.lines.clear()
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), file._fd)
    assert not file.write(b"records") and not file.write(b"more")
    ((level, text),) = log.lines
    assert level == "error" and "cannot be written: No space left on device; the slices' flows will not" in text
    file.close()
    assert start(settings, log, opened)[1] == []
