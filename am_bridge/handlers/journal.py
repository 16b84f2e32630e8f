"""Operations and slivers on disk, written before anything is done about them.

SQLite in WAL mode with ``synchronous=FULL``: what a call has returned from
survives a power cut. One connection, used under a lock; the file is its
owner's alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from am_bridge.handlers.decode import DecodeError, decode, encode
from am_bridge.handlers.operations import Answered, Operation, Request, Sliver
from am_bridge.handlers.spec import SliverKey

_Kind = TypeVar("_Kind", Operation, Sliver)

MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE operations (
        id TEXT PRIMARY KEY, slice_id TEXT NOT NULL, sliver_id TEXT NOT NULL,
        over INTEGER NOT NULL, create_time REAL NOT NULL, end_time REAL NOT NULL, document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX operations_by_sliver ON operations (slice_id, sliver_id, create_time);
    CREATE INDEX operations_by_over ON operations (over, end_time);
    CREATE TABLE slivers (
        slice_id TEXT NOT NULL, sliver_id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (slice_id, sliver_id)
    ) STRICT;
    """,
    """
    CREATE TABLE requests (
        requester TEXT NOT NULL, request_id TEXT NOT NULL, digest TEXT NOT NULL,
        operation TEXT NOT NULL, answer BLOB NOT NULL, time REAL NOT NULL, PRIMARY KEY (requester, request_id)
    ) STRICT;
    CREATE INDEX requests_by_time ON requests (time);
    """,
    """
    CREATE TABLE installation (id TEXT NOT NULL) STRICT;
    INSERT INTO installation VALUES (lower(hex(randomblob(8))));
    """,
)
"""Applied in order; ``PRAGMA user_version`` counts them. Never change one that was released: append."""


class JournalError(Exception):
    """The journal cannot be read or written; the text says what to do."""


class Journal(Protocol):
    """Where the processor writes. Every method raises ``JournalError``; a call that returned is durable."""

    installation: str
    """Whose journal it is: an id that outlives restarts."""

    def save(
        self,
        operation: Operation,
        sliver: Sliver | None = None,
        *,
        gone: bool = False,
        answered: Answered | None = None,
    ) -> None:
        """Write an operation, with it its sliver as it now is, or (``gone``) that it is no more, and who asked."""

    def put(self, sliver: Sliver) -> None:
        """Write a sliver."""

    def forget(self, key: SliverKey, answered: Answered | None = None) -> None:
        """Remove a sliver."""

    def note(self, answered: Answered) -> None:
        """Write what a named request was answered with."""

    def answered(self, request: Request) -> Answered | None:
        """What an earlier request of that name was answered with."""

    def drop(self, operation: str) -> None:
        """Remove an operation."""

    def unfinished(self) -> list[Operation]:
        """Operations that are not over, oldest first."""

    def operation(self, name: str) -> Operation | None:
        """The operation of that id."""

    def operations(
        self, key: SliverKey | None = None, limit: int = 1000, before: tuple[float, str] | None = None
    ) -> list[Operation]:
        """The newest operations, of one sliver or of all, newest first; ``before`` that (create_time, id)."""

    def slivers(self) -> list[Sliver]:
        """Every sliver."""

    def prune(self, before: float) -> int:
        """Remove operations that were over before that time; returns how many."""

    def close(self) -> None:
        """Let go of the file."""


class SqliteJournal:
    """See the module; ``:memory:`` keeps it in memory."""

    def __init__(self, path: str | Path) -> None:
        """Raises ``JournalError`` when the file cannot be used."""
        self._path = str(path)
        self._lock = threading.Lock()
        try:
            if self._path != ":memory:":
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=5.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._migrate()
            # What is kept in memory is nobody's tomorrow, so all who keep nothing go by one name.
            found = self._connection.execute("SELECT id FROM installation").fetchone()
            self.installation: str = "memory" if self._path == ":memory:" else str(found[0])
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the journal {self._path} cannot be opened: {error}") from None

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise JournalError(f"the journal {self._path} was written by a newer VMOC; use that one")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number};COMMIT;")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise JournalError(f"the journal {self._path} cannot be written: {error}") from None

    def save(
        self,
        operation: Operation,
        sliver: Sliver | None = None,
        *,
        gone: bool = False,
        answered: Answered | None = None,
    ) -> None:
        """See ``Journal``."""
        key = operation.sliver
        row = (operation.id, key.slice_id, key.sliver_id, int(operation.over), operation.create_time)
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO operations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, operation.end_time, _text(operation)),
            )
            if sliver is not None:
                self._put(connection, sliver)
            elif gone:
                self._forget(connection, key)
            if answered is not None:
                self._note(connection, answered)

    def put(self, sliver: Sliver) -> None:
        """See ``Journal``."""
        with self._transaction() as connection:
            self._put(connection, sliver)

    def forget(self, key: SliverKey, answered: Answered | None = None) -> None:
        """See ``Journal``."""
        with self._transaction() as connection:
            self._forget(connection, key)
            if answered is not None:
                self._note(connection, answered)

    def note(self, answered: Answered) -> None:
        """See ``Journal``."""
        with self._transaction() as connection:
            self._note(connection, answered)

    def answered(self, request: Request) -> Answered | None:
        """See ``Journal``."""
        query = "SELECT digest, operation, answer, time FROM requests WHERE requester = ? AND request_id = ?"
        for digest, operation, answer, time in self._rows(query, request.by, request.id):
            return Answered(Request(request.by, request.id, digest), operation, answer, time)
        return None

    def drop(self, operation: str) -> None:
        """See ``Journal``."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM operations WHERE id = ?", (operation,))

    def unfinished(self) -> list[Operation]:
        """See ``Journal``."""
        return self._read("SELECT document FROM operations WHERE over = 0 ORDER BY create_time, rowid")

    def operation(self, name: str) -> Operation | None:
        """See ``Journal``."""
        found = self._read("SELECT document FROM operations WHERE id = ?", name)
        return found[0] if found else None

    def operations(
        self, key: SliverKey | None = None, limit: int = 1000, before: tuple[float, str] | None = None
    ) -> list[Operation]:
        """See ``Journal``."""
        conditions, values = ["1"], list[object]()
        if key is not None:
            conditions.append("slice_id = ? AND sliver_id = ?")
            values += [key.slice_id, key.sliver_id]
        if before is not None:
            conditions.append("(create_time, id) < (?, ?)")
            values += before
        where = " AND ".join(conditions)
        query = f"SELECT document FROM operations WHERE {where} ORDER BY create_time DESC, id DESC LIMIT ?"
        return self._read(query, *values, limit)

    def slivers(self) -> list[Sliver]:
        """See ``Journal``."""
        rows = self._rows("SELECT document FROM slivers ORDER BY slice_id, sliver_id")
        return [self._decoded(Sliver, row[0]) for row in rows]

    def prune(self, before: float) -> int:
        """See ``Journal``."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM requests WHERE time < ?", (before,))
            return connection.execute("DELETE FROM operations WHERE over = 1 AND end_time < ?", (before,)).rowcount

    def close(self) -> None:
        """See ``Journal``."""
        with self._lock:
            self._connection.close()

    def _read(self, query: str, *values: object) -> list[Operation]:
        return [self._decoded(Operation, row[0]) for row in self._rows(query, *values)]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return list(self._connection.execute(query, values))
            except sqlite3.Error as error:
                raise JournalError(f"the journal {self._path} cannot be read: {error}") from None

    def _decoded(self, kind: type[_Kind], text: str) -> _Kind:
        try:
            return decode(kind, json.loads(text))
        except (ValueError, DecodeError) as error:
            raise JournalError(f"the journal {self._path} holds what this VMOC cannot read: {error}") from None

    @staticmethod
    def _put(connection: sqlite3.Connection, sliver: Sliver) -> None:
        key = sliver.key
        connection.execute(
            "INSERT OR REPLACE INTO slivers VALUES (?, ?, ?)", (key.slice_id, key.sliver_id, _text(sliver))
        )

    @staticmethod
    def _note(connection: sqlite3.Connection, one: Answered) -> None:
        row = (one.request.by, one.request.id, one.request.digest, one.operation, one.answer, one.time)
        connection.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)", row)

    @staticmethod
    def _forget(connection: sqlite3.Connection, key: SliverKey) -> None:
        connection.execute("DELETE FROM slivers WHERE slice_id = ? AND sliver_id = ?", (key.slice_id, key.sliver_id))


def _text(value: object) -> str:
    return json.dumps(encode(value), separators=(",", ":"))
