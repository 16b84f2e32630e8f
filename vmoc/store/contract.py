"""What a store of durable state does, whatever keeps it; and how it fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vmoc.errors import VmocError
from vmoc.model import Slice

MOST_ANSWERS: Final = 64 << 20
"""Bytes of one caller's answers: nobody fills the disk by asking."""


class StoreError(VmocError):
    """The state can't be read or written; nothing was changed. The text is one sentence for the operator."""


class StoreInUseError(StoreError):
    """Another process has the state open."""


class StoreDamagedError(StoreError):
    """What is there is not a state we can read in full. It is left as it is."""


class StoreNewerError(StoreError):
    """A later version has written the state. It is left as it is."""


@dataclass(frozen=True, slots=True)
class StoredSlice:
    """A slice with its times (seconds since the epoch) and the number of the change that made it what it is."""

    slice: Slice
    create_time: float
    update_time: float
    generation: int


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a caller's request was answered; ``digest`` tells whether a repetition asks the same."""

    caller: str
    request_id: str
    digest: bytes
    answer: bytes
    time: float


class Store(Protocol):
    """Durable state. One writer, from any thread; every method blocks and raises ``StoreError``."""

    def slices(self) -> Sequence[StoredSlice]:
        """Every slice, by id."""

    def generation(self) -> int:
        """The highest generation ever committed; 0 in the beginning."""

    def commit(
        self, put: Iterable[StoredSlice], drop: Iterable[str], *, generation: int, answer: StoredAnswer | None = None
    ) -> None:
        """All of it or nothing; on disk when this returns. A slice that is dropped need not be there.

        A caller with answers of more than ``MOST_ANSWERS`` bytes loses the oldest half of them.
        """

    def answer(self, caller: str, request_id: str) -> StoredAnswer | None:
        """What was answered before."""

    def forget_answers(self, before: float) -> None:
        """Drop answers older than ``before``."""

    def close(self) -> None:
        """Let go of it; nothing is lost without."""
