"""The store in one SQLite file: write-ahead log, every commit on disk before it returns.

* ``synchronous=FULL``: in WAL mode a commit is an append and a sync of the
  log; what was committed survives ``kill -9`` and power loss.
* ``locking_mode=EXCLUSIVE``: the lock is held while the file is open and goes
  with the process, so a second VMOC can't have the file too.
* A file comes into being complete, under another name first. So an empty or
  half-made file at its place is damage, not a beginning, and nothing is ever
  made anew over what is there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from vmoc.store import codec
from vmoc.store.contract import (
    MOST_ANSWERS,
    StoreDamagedError,
    StoredAnswer,
    StoredSlice,
    StoreError,
    StoreInUseError,
    StoreNewerError,
)
from vmoc.store.migrating import APPLICATION_ID, Step, migrate, steps, version_of

IN_MEMORY: Final = ":memory:"
LOG_SIZE: Final = 4 << 20
"""Bytes of the log at which SQLite begins it anew: its default of 1000 pages."""
ANSWER_ROW: Final = 128
"""Bytes an answer takes beside itself, about."""
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_REPAIR: Final = "restore it from a copy, or move it away to start without the slices in it"


class SqliteStore:
    """See ``Store``. ``path`` may be ``:memory:``."""

    def __init__(self, path: str, *, schema: Sequence[Step] | None = None) -> None:
        """Open the file, made with its directory if it is not there, and bring its schema up to date.

        Raises ``StoreInUseError``, ``StoreDamagedError``, ``StoreNewerError``,
        or ``StoreError`` when the file system says no.
        """
        self._path = path
        self._lock = threading.Lock()
        self._schema = steps() if schema is None else schema
        self._answered: dict[str, int] = {}  # bytes, by caller
        try:
            if path != IN_MEMORY:
                _make(Path(path), self._schema)
            self._connection = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as exc:
            raise self._failure(exc, "opened") from exc
        except OSError as exc:
            raise StoreError(f"the state file {path} cannot be opened: {exc.strerror or exc}") from exc

    def slices(self) -> Sequence[StoredSlice]:
        """Every slice, by id."""
        with self._working("read"):
            rows = self._connection.execute(
                "SELECT id, body, create_time, update_time, generation FROM slices ORDER BY id"
            ).fetchall()
        found = []
        for name, body, created, updated, generation in rows:
            try:
                found.append(StoredSlice(codec.decode(name, body), created, updated, generation))
            except (ValueError, TypeError, LookupError, AttributeError) as exc:
                raise StoreDamagedError(
                    f"the state file {self._path} is damaged: slice {name} cannot be read ({exc}); {_REPAIR}"
                ) from exc
        return found

    def generation(self) -> int:
        """The highest generation ever committed; 0 in the beginning."""
        with self._working("read"):
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        if row is None or not isinstance(row[0], int):
            raise StoreDamagedError(
                f"the state file {self._path} is damaged: the number of changes is missing; {_REPAIR}"
            )
        return row[0]

    def commit(
        self, put: Iterable[StoredSlice], drop: Iterable[str], *, generation: int, answer: StoredAnswer | None = None
    ) -> None:
        """All of it or nothing; on disk when this returns."""
        rows = [(s.slice.id, codec.encode(s.slice), s.create_time, s.update_time, s.generation) for s in put]
        gone = [(name,) for name in drop]
        with self._working("written"):
            write = self._connection
            write.execute("BEGIN IMMEDIATE")
            taken = 0
            try:
                if gone:
                    write.executemany("DELETE FROM slices WHERE id = ?", gone)
                if rows:
                    write.executemany("INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?, ?)", rows)
                write.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'generation'", (generation,))
                if answer is not None:
                    taken = self._keep(answer)
                write.execute("COMMIT")
            except BaseException:
                if write.in_transaction:
                    write.execute("ROLLBACK")
                raise
            if answer is not None:
                self._answered[answer.caller] = taken

    def _keep(self, answer: StoredAnswer) -> int:
        """Write an answer, over the older ones of its caller if they are too many; returns what they take then."""
        run = self._connection.execute
        row = (answer.caller, answer.request_id, answer.digest, answer.answer, answer.time)
        run("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)", row)
        taken = self._answered.get(answer.caller, 0) + len(answer.answer) + ANSWER_ROW
        if taken <= MOST_ANSWERS:
            return taken
        kept = len(answer.answer) + ANSWER_ROW
        older = run(
            "SELECT request_id, length(answer) FROM requests WHERE caller = ? AND request_id != ?"
            " ORDER BY time DESC, rowid DESC",
            (answer.caller, answer.request_id),
        ).fetchall()
        for position, (_, length) in enumerate(older):
            if kept + length + ANSWER_ROW > MOST_ANSWERS // 2:
                self._connection.executemany(
                    "DELETE FROM requests WHERE caller = ? AND request_id = ?",
                    [(answer.caller, name) for name, _ in older[position:]],
                )
                break
            kept += length + ANSWER_ROW
        return kept

    def answer(self, caller: str, request_id: str) -> StoredAnswer | None:
        """What was answered before."""
        with self._working("read"):
            row = self._connection.execute(
                "SELECT digest, answer, time FROM requests WHERE caller = ? AND request_id = ?", (caller, request_id)
            ).fetchone()
        return None if row is None else StoredAnswer(caller, request_id, row[0], row[1], row[2])

    def forget_answers(self, before: float) -> None:
        """Drop answers older than ``before``."""
        with self._working("written"):
            self._connection.execute("DELETE FROM requests WHERE time < ?", (before,))
            self._count_answers()

    def _count_answers(self) -> None:
        found = self._connection.execute(
            "SELECT caller, sum(length(answer) + ?) FROM requests GROUP BY caller", (ANSWER_ROW,)
        )
        self._answered = dict(found.fetchall())

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # -- opening -------------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        # Not URI: a name with ? or % is a name. No waiting for locks: whoever has it keeps it.
        return sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        (mine,) = run("PRAGMA application_id").fetchone()
        if self._path != IN_MEMORY and mine != APPLICATION_ID:
            raise StoreDamagedError(f"{self._path} is not a state file of VMOC; name another file in state.path")
        version = version_of(self._connection)
        if version > len(self._schema):
            raise StoreNewerError(
                f"the state file {self._path} was written by a later version of VMOC (schema {version}, this one knows "
                f"{len(self._schema)}); run that version, or name another file in state.path"
            )
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA journal_size_limit = 67108864")
        # A write takes the lock, which stays.
        run("BEGIN EXCLUSIVE")
        run("COMMIT")
        (verdict,) = run("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreDamagedError(f"the state file {self._path} is damaged ({verdict.splitlines()[-1]}); {_REPAIR}")
        migrate(self._connection, self._schema)
        self._count_answers()
        if self._path != IN_MEMORY:
            self._make_room()

    def _make_room(self) -> None:
        """Let the log have its full size from the start.

        A commit then overwrites what the file has already; one that makes the file longer takes about twice as long,
        as the file system writes its own journal too. Without room on the disk it works all the same.
        """
        run = self._connection.execute
        (cache,) = run("PRAGMA cache_size").fetchone()
        run("PRAGMA cache_size = 10")  # so that pages go to the log before the transaction ends, which it never does
        try:
            run("BEGIN IMMEDIATE")
            with contextlib.suppress(sqlite3.OperationalError):
                run("INSERT INTO meta VALUES ('room', zeroblob(?))", (LOG_SIZE,))
            if self._connection.in_transaction:
                run("ROLLBACK")
        finally:
            run(f"PRAGMA cache_size = {cache}")

    @contextlib.contextmanager
    def _working(self, done: str) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as exc:
                raise self._failure(exc, done) from exc

    def _failure(self, exc: sqlite3.Error, done: str) -> StoreError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreInUseError(f"the state file {self._path} is in use by another process; end that one first")
        if code in _DAMAGE or (isinstance(exc, sqlite3.OperationalError) and "no such " in str(exc)):
            return StoreDamagedError(f"the state file {self._path} is damaged ({exc}); {_REPAIR}")
        return StoreError(f"the state file {self._path} cannot be {done}: {exc}")


def _make(path: Path, schema: Sequence[Step]) -> None:
    """Put a complete file there, unless something is there already."""
    if path.exists():
        if path.stat().st_size == 0:
            raise StoreDamagedError(f"the state file {path} is damaged (it is empty); {_REPAIR}")
        with contextlib.suppress(OSError):  # somebody else's file: opening it will tell
            path.chmod(0o600)
        return
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreDamagedError(f"the state file {path} is missing but its log {log} is there; {_REPAIR}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(IN_MEMORY, isolation_level=None)) as blank:
        migrate(blank, schema)
        content = blank.serialize()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker: its file it is
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
