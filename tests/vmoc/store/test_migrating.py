"""The schema's steps: in order, once, all or nothing each."""

from __future__ import annotations

import sqlite3

import pytest

from vmoc.store.migrating import APPLICATION_ID, Step, migrate, steps, version_of

ONE = Step(1, "one", "CREATE TABLE a (x); INSERT INTO a VALUES (1);")
TWO = Step(2, "two", "ALTER TABLE a ADD COLUMN y DEFAULT 7;")
BAD = Step(2, "bad", "INSERT INTO a VALUES (2); INSERT INTO nowhere VALUES (1);")


@pytest.fixture
def blank() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_the_steps_in_the_package_are_numbered_without_gaps(blank: sqlite3.Connection) -> None:
    assert [step.number for step in steps()] == list(range(1, len(steps()) + 1))
    migrate(blank, steps())
    assert version_of(blank) == len(steps())
    assert blank.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    blank.close()


def test_each_step_runs_once_and_what_is_there_stays(blank: sqlite3.Connection) -> None:
    migrate(blank, [ONE])
    migrate(blank, [ONE])
    assert version_of(blank) == 1
    migrate(blank, [ONE, TWO])
    assert blank.execute("SELECT x, y FROM a").fetchall() == [(1, 7)] and version_of(blank) == 2
    blank.close()


def test_a_step_that_fails_leaves_nothing_behind(blank: sqlite3.Connection) -> None:
    migrate(blank, [ONE])
    with pytest.raises(sqlite3.Error):
        migrate(blank, [ONE, BAD])
    assert version_of(blank) == 1 and not blank.in_transaction
    assert blank.execute("SELECT count(*) FROM a").fetchone() == (1,)
    blank.close()
