"""What a caller gets to see: everything, or the slices of its own manager."""

from __future__ import annotations

from am_bridge import reasons
from am_bridge.auth import Caller
from am_bridge.fields import name_of
from am_bridge.status import ApiError
from vmoc.ledger import Entry, SliceBook
from vmoc.ledger.errors import SliceNotFoundError


class Sight:
    """One caller's, for one call."""

    def __init__(self, book: SliceBook, caller: Caller) -> None:
        self._book = book
        self._scope = caller.scope

    @property
    def whole(self) -> bool:
        """It sees every slice."""
        return self._scope is None

    def slice(self, slice_id: str) -> Entry:
        """The slice, if the caller may know it. Raises ``ApiError``."""
        name = name_of(slice_id, "slice_id")
        found = self.look(name)
        if found is None:
            raise ApiError(reasons.SLICE_NOT_FOUND, f"there is no slice {name}", metadata={"slice": name})
        return found

    def look(self, slice_id: str) -> Entry | None:
        """The same of a name that need not be there."""
        try:
            return self._book.get(slice_id, manager=self._scope)
        except SliceNotFoundError:
            return None

    def own(self) -> frozenset[str] | None:
        """Names of the slices it sees; None: all."""
        if self._scope is None:
            return None
        entries, _ = self._book.page("", len(self._book) + 1, lambda entry: entry.slice.manager == self._scope)
        return frozenset(entry.slice.id for entry in entries)
