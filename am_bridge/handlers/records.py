"""What the processor knows, and has on disk: slivers, operations that are over, named requests.

Not thread-safe: the processor's lock is held around every call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from am_bridge.handlers.journal import Journal, JournalError
from am_bridge.handlers.operations import Answered, Operation, Request, Sliver
from am_bridge.handlers.spec import SliverKey

_log = logging.getLogger(__name__)


class ExistsError(Exception):
    """A sliver of that name is there already."""


class MissingError(Exception):
    """There is no such sliver or operation."""

    def __init__(self, what: str, text: str) -> None:
        """``what`` is ``sliver`` or ``operation``."""
        super().__init__(text)
        self.what = what


class EtagError(Exception):
    """The sliver is not as the caller knows it."""


class ReusedError(Exception):
    """The name of a request was used for another one."""


class Records:
    """See the module. Methods that write raise ``JournalError``; then nothing has changed."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._slivers: dict[SliverKey, Sliver] = {}
        self._names: dict[str, SliverKey] = {}
        self._unsaved: dict[str, Operation] = {}

    def load(self) -> list[Operation]:
        """Read what there is; returns the operations that are not over."""
        for one in self._journal.slivers():
            self._keep(one)
        return self._journal.unfinished()

    # -- slivers -------------------------------------------------------------------------------------------------------

    def get(self, key: SliverKey) -> Sliver | None:
        """A sliver, if it is there."""
        return self._slivers.get(key)

    def sliver(self, key: SliverKey) -> Sliver:
        """A sliver. Raises ``MissingError``."""
        if key not in self._slivers:
            raise MissingError("sliver", f"there is no sliver {key}")
        return self._slivers[key]

    def find(self, sliver_id: str) -> Sliver:
        """The sliver of that name, in whatever slice. Raises ``MissingError``."""
        if sliver_id not in self._names:
            raise MissingError("sliver", f"there is no sliver {sliver_id!r:.80}")
        return self._slivers[self._names[sliver_id]]

    def slivers(self) -> list[Sliver]:
        """Every sliver, by slice and name."""
        return [self._slivers[key] for key in sorted(self._slivers)]

    def check_free(self, key: SliverKey) -> None:
        """Raises ``ExistsError`` if the name is taken, in any slice."""
        holder = self._names.get(key.sliver_id)
        if holder == key:
            raise ExistsError(f"the sliver {key} exists; modify it, or delete it first")
        if holder is not None:
            raise ExistsError(f"the name {key.sliver_id} is taken by a sliver of another slice; take another name")

    def check_etag(self, key: SliverKey, etag: str) -> None:
        """Raises ``EtagError`` unless the sliver is still as the caller knows it."""
        sliver = self._slivers.get(key)
        if etag and sliver is not None and sliver.etag != etag:
            raise EtagError(f"the sliver {key} has changed since the etag {etag!r:.80} was given")

    def forget(self, key: SliverKey, request: Request, answer: bytes) -> None:
        """Drop a sliver, and note the answer if the request has a name."""
        answered = Answered(request, answer=answer, time=self._clock()) if request.id else None
        self._journal.forget(key, answered)
        self._drop(key)

    # -- operations ----------------------------------------------------------------------------------------------------

    def begin(self, record: Operation, sliver: Sliver | None, request: Request) -> None:
        """Write a new operation, the sliver it makes, and who asked for it."""
        answered = Answered(request, record.id, time=self._clock()) if request.id else None
        self._journal.save(record, sliver, answered=answered)
        if sliver is not None:
            self._keep(sliver)

    def update(self, record: Operation) -> None:
        """Write an operation that goes on."""
        self._journal.save(record)

    def end(self, record: Operation, sliver: Sliver | None) -> None:
        """Write an end down; while the disk is full, keep it until it can be."""
        if sliver is None:
            self._drop(record.sliver)
        else:
            self._keep(sliver)
        self._write(record)

    @property
    def unwritten(self) -> int:
        """How many ends are not on disk yet."""
        return len(self._unsaved)

    def write_unsaved(self) -> None:
        """Try again what could not be written."""
        for record in list(self._unsaved.values()):
            self._write(record)

    def _write(self, record: Operation) -> None:
        sliver = self._slivers.get(record.sliver)
        try:
            self._journal.save(record, sliver, gone=sliver is None)
            self._unsaved.pop(record.id, None)
        except JournalError as error:
            _log.error("%s; operation %s ended and will be written later", error, record.id)
            self._unsaved[record.id] = record

    def operation(self, name: str) -> Operation:
        """An operation that is over. Raises ``MissingError``."""
        if name in self._unsaved:
            return self._unsaved[name]
        found = self._journal.operation(name)
        if found is None:
            raise MissingError("operation", f"there is no operation {name!r:.80}; operations are kept for 7 days")
        return found

    def drop_operation(self, name: str) -> None:
        """Remove an operation that is over."""
        self._journal.drop(name)
        self._unsaved.pop(name, None)

    # -- named requests ------------------------------------------------------------------------------------------------

    def answered(self, request: Request) -> Answered | None:
        """What the same request was answered with before. Raises ``ReusedError``."""
        found = self._journal.answered(request) if request.id else None
        if found is not None and found.request.digest != request.digest:
            raise ReusedError(f"the request_id {request.id!r:.80} was used for another request; take a new one")
        return found

    def note(self, request: Request, operation: str) -> None:
        """Write which operation a request was answered with, if it has a name."""
        if request.id:
            self._journal.note(Answered(request, operation, time=self._clock()))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _keep(self, sliver: Sliver) -> None:
        self._slivers[sliver.key] = sliver
        self._names[sliver.key.sliver_id] = sliver.key

    def _drop(self, key: SliverKey) -> None:
        if self._slivers.pop(key, None) is not None and self._names.get(key.sliver_id) == key:
            del self._names[key.sliver_id]
