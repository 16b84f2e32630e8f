"""What the book answers: entries, outcomes, and the index of entries by id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, ItemsView
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from vmoc.model import Slice
from vmoc.registry import Conflict

CHUNK: Final = 256
"""Ids in a piece of the order: what one change copies, however many there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A slice as the book has it. Times (seconds since the epoch) and etag are 0 and empty for the file's."""

    slice: Slice
    create_time: float = 0.0
    update_time: float = 0.0
    etag: str = ""
    held: tuple[Conflict, ...] = ()
    """Why it has no effect at present; empty when it has."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change has done, or would do. ``entries`` are the slices asked for, in the order of the request."""

    entries: tuple[Entry, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    last: tuple[Entry, ...] = ()
    """Those of ``removed``, as they were."""
    answer: bytes | None = None
    """With ``once``: its encoded answer, and nothing else if the request was a repetition (``replayed``)."""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Once:
    """Makes a change happen once: the same (caller, request_id) again gives the first answer, for a day.

    ``digest`` is of the request's content; ``encode`` makes the bytes to keep.
    """

    caller: str
    request_id: str
    digest: bytes
    encode: Callable[[Outcome], bytes]


def places_of(one: Slice) -> int:
    """Attachments, ports and queues of a slice: what it takes in memory beside its segments."""
    count = 0
    for segment in one.segments:
        for attachment in segment.attachments or ():
            count += 1 + len(attachment.ports or ()) + sum(1 + len(ids) for ids in attachment.queues.values())
    return count


class Index:
    """Entries by id and in order. One thread writes and calls ``settle``; any thread reads, without locks."""

    def __init__(self) -> None:
        self.segments = 0
        self.places = 0
        self._entries: dict[str, Entry] = {}
        self._order: list[list[str]] = []  # never changed, only replaced: readers may be in the middle of it
        self._come: list[str] = []
        self._gone: list[str] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, slice_id: str) -> bool:
        return slice_id in self._entries

    def __getitem__(self, slice_id: str) -> Entry:
        return self._entries[slice_id]

    def get(self, slice_id: str) -> Entry | None:
        """The entry, if there is one."""
        return self._entries.get(slice_id)

    def items(self) -> ItemsView[str, Entry]:
        """All of them; for the writer."""
        return self._entries.items()

    def page(
        self, after: str, limit: int, wanted: Callable[[Entry], bool] | None = None
    ) -> tuple[list[Entry], str | None]:
        """Up to ``limit`` entries beyond ``after``, and the ``after`` of the next page if there is one."""
        order = self._order
        found: list[Entry] = []
        for chunk in order[_place(order, after) :]:
            for position in range(bisect_right(chunk, after), len(chunk)):
                entry = self._entries.get(chunk[position])
                if entry is None or (wanted is not None and not wanted(entry)):
                    continue
                if len(found) == limit:
                    return found, found[-1].slice.id
                found.append(entry)
        return found, None

    def enter(self, entry: Entry) -> None:
        """Add or replace."""
        name = entry.slice.id
        old = self._entries.get(name)
        if old is None:
            self._come.append(name)
        else:
            self._count(old.slice, -1)
        self._count(entry.slice, 1)
        self._entries[name] = entry

    def leave(self, slice_id: str) -> None:
        """Remove; it need not be there."""
        old = self._entries.pop(slice_id, None)
        if old is not None:
            self._gone.append(slice_id)
            self._count(old.slice, -1)

    def _count(self, one: Slice, step: int) -> None:
        self.segments += step * len(one.segments)
        self.places += step * places_of(one)

    def settle(self) -> None:
        """Make the order follow what was entered and has left."""
        if not (self._come or self._gone):
            return
        touched: dict[int, set[str]] = {}
        for name in (*self._come, *self._gone):
            touched.setdefault(_place(self._order, name), set()).add(name)
        order: list[list[str]] = []
        for at, chunk in enumerate(self._order or [[]]):
            names = touched.get(at)
            if names is None:
                order.append(chunk)
                continue
            ids = sorted(name for name in names.union(chunk) if name in self._entries)
            size = CHUNK if len(ids) > 2 * CHUNK else len(ids)
            order += [ids[start : start + size] for start in range(0, len(ids), size or 1)]
        self._order = order
        self._come, self._gone = [], []


def _place(order: list[list[str]], name: str) -> int:
    """Which chunk a name is in, or would be."""
    return max(0, bisect_right(order, name, key=itemgetter(0)) - 1)
