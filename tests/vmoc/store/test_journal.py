"""The journal's file: what is read back after every kind of end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmoc.store import journal
from vmoc.store.journal import HEADER, JournalFile, JournalInUseError, JournalUnusableError, boot_id

BOOT, OTHER = b"b" * 16, b"o" * 16
BATCHES = [b"one", b"the second batch", b"3" * 40]


@pytest.fixture
def files() -> Iterator[list[JournalFile]]:
    made: list[JournalFile] = []
    yield made
    for file in made:
        file.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vmoc.db"


def begun(files: list[JournalFile], state: Path, boot: bytes = BOOT) -> tuple[JournalFile, list[str]]:
    failures: list[str] = []
    file = JournalFile(state, failures.append, boot=boot)
    files.append(file)
    file.lock()
    file.begin(goes_on=file.path.exists())
    file.rewritten()
    return file, failures


def read(state: Path, boot: bytes = BOOT) -> list[bytes]:
    return list(JournalFile(state, lambda why: None, boot=boot).read())


def flows(state: Path) -> Path:
    return state.with_name("vmoc.db.flows")


def test_what_was_written_is_read_though_nobody_closed_it(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    for batch in BATCHES:
        assert not file.write(batch)
    assert read(state) == BATCHES
    assert flows(state).stat().st_mode & 0o777 == 0o600


def test_nothing_is_there_before_the_first_start(state: Path) -> None:
    assert read(state) == []


def test_cut_short_anywhere_it_holds_the_batches_before(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    ends = [HEADER]
    for batch in BATCHES:
        file.write(batch)
        ends.append(flows(state).stat().st_size)
    whole = flows(state).read_bytes()
    for length in range(HEADER, len(whole) + 1):
        flows(state).write_bytes(whole[:length])
        assert read(state) == BATCHES[: sum(end <= length for end in ends) - 1]


def test_any_byte_that_is_wrong_makes_it_worthless(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    for batch in BATCHES:
        file.write(batch)
    whole = flows(state).read_bytes()
    for at in range(len(whole)):
        flows(state).write_bytes(whole[:at] + bytes((whole[at] ^ 0x40,)) + whole[at + 1 :])
        with pytest.raises(JournalUnusableError):
            read(state)


def test_a_foreign_file_and_a_newer_one_are_named(files: list[JournalFile], state: Path) -> None:
    begun(files, state)
    whole = flows(state).read_bytes()
    flows(state).write_bytes(whole[:8] + b"\x00\x63" + whole[10:])
    with pytest.raises(JournalUnusableError, match="is of format 99, this version reads format 3"):
        read(state)
    for foreign in (b"", b"VMOC", b"SQLite format 3\0" + bytes(100)):
        flows(state).write_bytes(foreign)
        with pytest.raises(JournalUnusableError, match="is not a flow journal"):
            read(state)


def test_what_cannot_be_read_says_why(state: Path) -> None:
    flows(state).mkdir(parents=True)
    with pytest.raises(JournalUnusableError, match="cannot be read: Is a directory"):
        read(state)


def test_after_the_machine_was_down_it_counts_only_if_it_was_closed(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    file.write(BATCHES[0])
    with pytest.raises(JournalUnusableError, match="was not closed before the machine stopped"):
        read(state, OTHER)
    file.close()
    assert read(state, OTHER) == [BATCHES[0]]
    assert read(state) == [BATCHES[0]]


def test_a_machine_whose_boots_have_no_name_is_trusted_after_a_close_only(
    files: list[JournalFile], state: Path
) -> None:
    file, _ = begun(files, state, bytes(16))
    file.write(BATCHES[0])
    with pytest.raises(JournalUnusableError, match="not closed"):
        read(state, bytes(16))
    file.close()
    assert read(state, bytes(16)) == [BATCHES[0]]


def test_the_boot_is_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(boot_id()) == 16
    name = tmp_path / "boot_id"
    monkeypatch.setattr(journal, "_BOOT_ID", name)
    assert boot_id() == bytes(16)
    name.write_text("12345678-9abc-def0-1234-56789abcdef0\n")
    assert boot_id().hex() == "123456789abcdef0123456789abcdef0"
    name.write_text("what?\n")
    assert boot_id() == bytes(16)


def test_one_process_at_a_time(files: list[JournalFile], state: Path) -> None:
    first, _ = begun(files, state)
    second = JournalFile(state, lambda why: None, boot=BOOT)
    with pytest.raises(JournalInUseError, match=r"vmoc\.db\.flows is written by another vmoc; stop it, or"):
        second.lock()
    first.close()
    second.lock()
    second.close()


# -- writing it anew ---------------------------------------------------------------------------------


def test_while_it_is_written_anew_both_files_count(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    file.write(BATCHES[0])
    file.rewrite()
    file.write(BATCHES[1])
    assert read(state) == BATCHES[:2]
    next_ = state.with_name("vmoc.db.flows.next")
    whole = next_.read_bytes()
    for length in range(HEADER):  # killed while it was begun
        next_.write_bytes(whole[:length])
        assert read(state) == BATCHES[:1]
    next_.write_bytes(whole)
    file.rewritten()
    assert read(state) == [BATCHES[1]]
    assert not next_.exists()


def test_a_next_file_of_another_journal_does_not_count(files: list[JournalFile], state: Path, tmp_path: Path) -> None:
    file, _ = begun(files, state)
    file.write(BATCHES[0])
    other = tmp_path / "other.db"
    stranger, _ = begun(files, other)
    stranger.rewrite()
    stranger.write(BATCHES[1])
    other.with_name("other.db.flows.next").rename(state.with_name("vmoc.db.flows.next"))
    assert read(state) == [BATCHES[0]]


def test_a_start_that_is_killed_leaves_the_old_one(files: list[JournalFile], state: Path) -> None:
    file, _ = begun(files, state)
    file.write(BATCHES[0])
    file.close()
    again = JournalFile(state, lambda why: None, boot=BOOT)
    files.append(again)
    again.lock()
    again.begin(goes_on=True)
    again.write(BATCHES[1])
    assert read(state) == BATCHES[:2]
    again.close()
    begun(files, state)[0].rewritten()
    assert read(state) == []


def test_it_wants_to_be_written_anew_when_it_has_outgrown_what_it_holds(
    files: list[JournalFile], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SMALLEST", 1000)
    file, _ = begun(files, state)
    file.rewrite()
    file.write(bytes(500))
    file.rewritten()  # holds some 600 bytes
    assert not file.write(bytes(1700))
    assert file.write(bytes(100))
    file.rewrite()
    assert not file.write(bytes(5000)), "it is being written anew already"


# -- when it cannot be written -----------------------------------------------------------------------


def test_a_full_disk_ends_it_and_leaves_nothing_to_rely_on(
    files: list[JournalFile], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, failures = begun(files, state)
    file.write(BATCHES[0])
    whole = os.write
    monkeypatch.setattr(journal.os, "write", lambda fd, data: whole(fd, data[:5]))
    assert not file.write(BATCHES[1])
    monkeypatch.undo()
    assert failures == [f"{flows(state)} cannot be written: the disk is full"]
    assert not flows(state).exists()
    assert not file.write(BATCHES[2])
    file.rewritten()
    assert len(failures) == 1


def test_a_directory_that_is_gone_ends_it(files: list[JournalFile], state: Path) -> None:
    file, failures = begun(files, state)
    for path in state.parent.iterdir():
        path.unlink()
    state.parent.rmdir()
    file.rewrite()
    assert failures == [f"{flows(state)} cannot be written: No such file or directory"]


def test_a_new_file_that_cannot_take_its_place_ends_it(files: list[JournalFile], state: Path) -> None:
    file, failures = begun(files, state)
    file.rewrite()
    flows(state).unlink()
    flows(state).mkdir()
    file.rewritten()
    assert failures == [f"{flows(state)} cannot be written: Is a directory"]
