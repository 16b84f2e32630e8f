"""The schema by numbered steps: ``migrations/0001_name.sql`` and so on, each run once, in order.

A file's ``user_version`` is the number of the last step it has had.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

APPLICATION_ID = 0x564D4F43
"""``VMOC`` in the file's header (SQLite file format 1.3.2): the file is ours."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration; numbers count from 1 without gaps."""

    number: int
    name: str
    sql: str


@cache
def steps() -> tuple[Step, ...]:
    """All of them, in order."""
    found = []
    for file in resources.files("vmoc.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match is not None:
            found.append(Step(int(match[1]), match[2], file.read_text("utf-8")))
    found.sort(key=lambda step: step.number)
    if not found or [step.number for step in found] != list(range(1, len(found) + 1)):
        raise RuntimeError("the numbers of the migrations have gaps: the installation is incomplete")
    return tuple(found)


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps the file has had."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def migrate(connection: sqlite3.Connection, to: Sequence[Step]) -> None:
    """Run the steps the file has not had, each in a transaction of its own with its number."""
    done = version_of(connection)
    for step in to[done:]:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{step.sql}\nPRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {step.number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
