"""The compute side of the running service: handlers, their journal, and what removes slivers nobody may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from am_bridge.handlers.catalogue import Catalogue, UnsupportedError
from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.handler import Verb
from am_bridge.handlers.journal import JournalError, SqliteJournal
from am_bridge.handlers.l2bridge import L2Bridge, follow_cards
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.queue import Phase
from am_bridge.handlers.sweeper import Sweeper
from am_bridge.handlers.tally import Tally
from am_bridge.services.sliver_access import acceptance, fate_of, occupants
from vmoc.config import ConfigError, Settings
from vmoc.daemon.errors import StartError
from vmoc.events import Event, Kind
from vmoc.ledger import SliceBook
from vmoc.telemetry import logs

_PHASES: Final = {
    Phase.QUEUED: "queued",
    Phase.MAIN: "running",
    Phase.BACKOFF: "retrying",
    Phase.UNDO: "undoing",
    Phase.CHECK: "undoing",
}
_log: Final = logs.get("daemon")
MEMORY: Final = ":memory:"
GRACE: Final = 1.0
"""Seconds that runs get to end by themselves when the service stops; the next life takes up the rest."""


class Compute:
    """``start`` once the slices are there; methods block, and are called off the loop or before it runs."""

    def __init__(self, settings: Settings, book: SliceBook, report: Callable[[Event], None]) -> None:
        """``report`` gets events, from whatever thread. Raises ``StartError``."""
        self._report = report
        self.tally = Tally()
        try:
            catalogue = self.read(settings)
        except ConfigError as error:
            raise StartError(str(error).splitlines(), 2) from error
        try:
            self._journal = SqliteJournal(journal_path(settings.state_path))
        except JournalError as error:
            raise StartError([str(error)], 1) from error
        self.processor = Processor(
            catalogue,
            self._journal,
            {"l2bridge": lambda config: L2Bridge(config, book)},
            accept=acceptance(book),
            listener=self._went_on,
        )
        book.use_occupants(lambda: occupants(self.processor.slivers))
        self._sweeper = Sweeper(self.processor, fate_of(book), [lambda slivers: follow_cards(book, slivers)])

    @staticmethod
    def read(settings: Settings) -> Catalogue:
        """Raises ``ConfigError``."""
        return read_catalogue(settings.handlers)

    def use(self, catalogue: Catalogue) -> None:
        """Another ``handlers.yaml`` from now on; what is under way keeps the old one. Blocks."""
        if catalogue == self.processor.catalogue:
            return
        self.processor.use(catalogue)
        _log.info("handlers.yaml was read again", types=len(catalogue.handlers), hosts=len(catalogue.hosts))
        orphans: Counter[str] = Counter()
        for one in self.processor.slivers():
            try:
                catalogue.find(one.spec.resource_type, one.spec.model)
                catalogue.host(one.spec.host)
            except UnsupportedError as error:
                orphans[str(error)] += 1
        for text, count in orphans.items():
            _log.warning(f"nothing can be done about slivers but to forget them: {text}", slivers=count)

    def start(self) -> None:
        """Take up what an earlier life left. Raises ``StartError``."""
        try:
            self.processor.start()
        except JournalError as error:
            raise StartError([str(error)], 1) from error
        self._sweeper.start()

    @property
    def behind(self) -> int:
        """How many ends of operations could not be written down yet."""
        return self.processor.unwritten

    def close(self) -> None:
        """Stop what runs; it is taken up by the next life."""
        self._sweeper.close()
        self.processor.close(GRACE)
        self._journal.close()

    def _went_on(self, operation: Operation) -> None:
        self.tally.note(operation)
        if operation.over:
            self._sweeper.wake()
            kind, failure = Kind.OPERATION_ENDED, operation.failure
            failed = operation.state is not OperationState.SUCCEEDED
            reason = failure.kind.value if failed and failure is not None else None
            message = failure.message if failed and failure is not None else ""
        else:
            kind, reason, message = Kind.OPERATION_GOES_ON, None, ""
        of_host = operation.verb is Verb.INVENTORY
        detail = {
            "operation": operation.id,
            "verb": "reconcile" if of_host else operation.action or operation.verb.value,
            "host" if of_host else "sliver": operation.sliver.sliver_id,
            "state": operation.state.value if operation.over else _PHASES[operation.phase],
            "by": operation.requested_by,
        }
        owner = None if of_host else operation.sliver.slice_id or None
        self._report(Event(kind, slice=owner, reason=reason, message=message, detail=detail))


def journal_path(state: str | Path) -> str:
    """The file of operations and slivers that goes with a state file: ``vmoc.db`` has ``vmoc-slivers.db``."""
    if str(state) == MEMORY:
        return MEMORY
    path = Path(state)
    return str(path.with_name(f"{path.stem}-slivers{path.suffix}"))
