"""Durable state: the slices that came by the API, and the answers given. The contract is small; SQLite meets it.

Beside it, and on its own, the flow journal's file (``journal``).
"""

from vmoc.store.contract import (
    Store,
    StoreDamagedError,
    StoredAnswer,
    StoredSlice,
    StoreError,
    StoreInUseError,
    StoreNewerError,
)
from vmoc.store.sqlite import SqliteStore

__all__ = [
    "SqliteStore",
    "Store",
    "StoreDamagedError",
    "StoreError",
    "StoreInUseError",
    "StoreNewerError",
    "StoredAnswer",
    "StoredSlice",
]
