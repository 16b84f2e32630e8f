"""The SQLite store: what is kept, what is refused to be opened, and that nothing is ever made anew over it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from vmoc.model import Origin, Segment, Slice
from vmoc.store import (
    SqliteStore,
    StoreDamagedError,
    StoredAnswer,
    StoredSlice,
    StoreError,
    StoreInUseError,
    StoreNewerError,
    sqlite,
)
from vmoc.store.migrating import APPLICATION_ID, Step, steps


def row(name: str, vlan: int = 1, generation: int = 1) -> StoredSlice:
    return StoredSlice(Slice(name, (Segment(vlan),), origin=Origin.API), 10.5, 11.5, generation)


def reply(name: str, time: float = 5.0) -> StoredAnswer:
    return StoredAnswer("am", name, b"\0digest", b"\0answer", time)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "er" / "vmoc.db")


def test_what_is_committed_comes_back(path: str) -> None:
    store = SqliteStore(path)
    assert list(store.slices()) == [] and store.generation() == 0
    store.commit([row("b", 2, 1), row("a", 1, 2)], [], generation=2, answer=reply("r1"))
    store.commit([row("b", 3, 3)], ["a", "nobody"], generation=3)
    store.close()
    store = SqliteStore(path)
    assert list(store.slices()) == [row("b", 3, 3)]
    assert store.generation() == 3
    assert store.answer("am", "r1") == reply("r1")
    assert store.answer("am", "r2") is None and store.answer("other", "r1") is None
    store.close()


def test_the_generation_never_goes_back() -> None:
    store = SqliteStore(":memory:")
    store.commit([], [], generation=7)
    store.commit([], [], generation=3)
    assert store.generation() == 7


def test_a_commit_is_all_or_nothing() -> None:
    store = SqliteStore(":memory:")
    store.commit([row("a")], [], generation=1)
    bad = replace(row("c"), create_time=None)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="cannot be written"):
        store.commit([row("b"), bad], ["a"], generation=2, answer=reply("r"))
    assert list(store.slices()) == [row("a")] and store.generation() == 1 and store.answer("am", "r") is None
    store.commit([row("b")], [], generation=2)


def test_old_answers_are_forgotten() -> None:
    store = SqliteStore(":memory:")
    for number in range(5):
        store.commit([], [], generation=0, answer=reply(f"r{number}", number))
    store.forget_answers(2.0)
    assert [store.answer("am", f"r{number}") is not None for number in range(5)] == [False, False, True, True, True]


def test_one_callers_answers_do_not_fill_the_disk_and_take_nobody_elses_place(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MOST_ANSWERS", 100_000)
    store = SqliteStore(path)
    store.commit([], [], generation=0, answer=reply("first"))
    size = 0
    for number in range(100):
        if number == 40:  # what is there counts after a restart too
            store.close()
            store = SqliteStore(path)
        greedy = StoredAnswer("greedy", f"r{number}", b"digest", bytes(9_000), number)
        store.commit([], [], generation=0, answer=greedy)
        assert store.answer("greedy", f"r{number}") == greedy, "the latest is there"
        kept = [name for name in range(100) if store.answer("greedy", f"r{name}") is not None]
        assert len(kept) * 9_000 <= 100_000 and kept == list(range(number + 1))[-len(kept) :], "the oldest go"
        size = max(size, len(kept))
    assert size == 10 and store.answer("am", "first") == reply("first")
    large = StoredAnswer("greedy", "large", b"digest", bytes(200_000), 100)
    store.commit([], [], generation=0, answer=large)
    assert store.answer("greedy", "large") == large and store.answer("greedy", "r99") is None


def test_the_file_is_nobody_elses(path: str) -> None:
    old = os.umask(0)
    try:
        store = SqliteStore(path)
        store.commit([row("a")], [], generation=1)
    finally:
        os.umask(old)
    folder = Path(path).parent
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {
        "vmoc.db": "0o600",
        "vmoc.db-wal": "0o600",
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    store.close()
    Path(path).chmod(0o644)
    SqliteStore(path).close()
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_only_one_has_it(path: str) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreInUseError, match="in use"):
        SqliteStore(path)
    program = f"from vmoc.store import SqliteStore; SqliteStore({path!r})"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert other.returncode and "StoreInUseError" in other.stderr
    store.commit([row("a")], [], generation=1)
    store.close()
    SqliteStore(path).close()


def test_a_killed_writer_leaves_a_log_that_is_read(path: str) -> None:
    program = (
        "import os; from tests.vmoc.store.test_sqlite import row; from vmoc.store import SqliteStore;"
        f"SqliteStore({path!r}).commit([row('a')], [], generation=1); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert Path(f"{path}-wal").stat().st_size
    store = SqliteStore(path)
    assert list(store.slices()) == [row("a")]
    store.close()


def _refused(path: str, kind: type[StoreError], words: str) -> None:
    """It cannot be opened, says so in one sentence, and is what it was."""
    before = {file.name: file.read_bytes() for file in Path(path).parent.iterdir()}
    with pytest.raises(kind, match=words) as caught:
        SqliteStore(path).slices()
    assert "\n" not in str(caught.value) and path in str(caught.value)
    after = {file.name: file.read_bytes() for file in Path(path).parent.iterdir()}
    after = {name: content for name, content in after.items() if content or name in before}
    assert after == before


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\1" * 5000])
def test_what_is_not_a_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vmoc.db").write_bytes(content)
    _refused(str(tmp_path / "vmoc.db"), StoreDamagedError, "damaged|not a state file")


def test_a_file_with_a_hole_is_left_alone(path: str) -> None:
    store = SqliteStore(path)
    store.commit([row(f"s{number}") for number in range(500)], [], generation=1)
    store.close()
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    _refused(path, StoreDamagedError, "is damaged")


def test_a_file_cut_short_is_left_alone(path: str) -> None:
    store = SqliteStore(path)
    store.commit([row(f"s{number}") for number in range(500)], [], generation=1)
    store.close()
    os.truncate(path, 8192)
    _refused(path, StoreDamagedError, "is damaged")


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "vmoc.db")
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    _refused(path, StoreDamagedError, "not a state file")


def test_a_row_that_cannot_be_read_is_named(path: str) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO slices VALUES ('eve', '{}', 1, 1, 1)")
    other.close()
    with pytest.raises(StoreDamagedError, match="slice eve"):
        SqliteStore(path).slices()


def test_a_later_versions_file_is_left_alone(path: str) -> None:
    later = [*steps(), Step(len(steps()) + 1, "later", "CREATE TABLE more (x);")]
    SqliteStore(path, schema=later).close()
    _refused(path, StoreNewerError, "later version")
    SqliteStore(path, schema=later).close()


def test_an_earlier_versions_file_is_brought_up_to_date(path: str) -> None:
    store = SqliteStore(path)
    store.commit([row("a")], [], generation=1)
    store.close()
    later = [*steps(), Step(len(steps()) + 1, "later", "CREATE TABLE more (x);")]
    store = SqliteStore(path, schema=later)
    assert list(store.slices()) == [row("a")]
    store.close()
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (len(later),)
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    other.close()


def test_a_log_without_its_file_is_left_alone(path: str) -> None:
    SqliteStore(path).close()
    os.unlink(path)
    Path(f"{path}-wal").write_bytes(b"x" * 4096)
    _refused(path, StoreDamagedError, "missing")


def test_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(str(tmp_path / "file" / "vmoc.db"))


def test_after_closing_nothing_works_and_says_so(path: str) -> None:
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreError):
        store.commit([row("a")], [], generation=1)


def test_threads_take_turns(path: str) -> None:
    store = SqliteStore(path)

    def write(number: int) -> None:
        for turn in range(20):
            store.commit([row(f"s{number}-{turn}")], [], generation=number * 20 + turn)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.slices()) == 80 and store.generation() == 79
    store.close()
