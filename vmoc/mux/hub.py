"""What every session of a mux shares: where output goes, the clock, the settings."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import TYPE_CHECKING

from vmoc.events import Event, Kind
from vmoc.model import Endpoint, Policy, Timers
from vmoc.mux.clock import Clock
from vmoc.mux.counters import Counters
from vmoc.mux.effects import Close, Effect, Output, Report
from vmoc.mux.journal import Journal
from vmoc.mux.portchanges import PortChanges

if TYPE_CHECKING:
    from vmoc.mux.north import NorthSession


class Hub:
    """Collects bytes and effects until the edge takes them."""

    def __init__(
        self,
        *,
        versions: frozenset[int],
        policy: Policy,
        timers: Timers,
        default_controller: Endpoint | None,
        tap: bool,
        seed: int,
        journal: bool = False,
    ) -> None:
        self.versions = versions
        self.policy = policy
        self.timers = timers
        self.default_controller = default_controller
        self.tap = tap
        self.random = Random(seed)
        self.clock = Clock()
        self.counters = Counters()
        self.link_states: Counter[tuple[str, str]] = Counter()
        """How many links are in each state, by (slice, state); kept by the links, so that nobody has to count them."""
        self.north: dict[int, NorthSession] = {}
        """Open connections to controllers, by cid; each takes itself out when it ends."""
        self.writes: defaultdict[int, list[bytes]] = defaultdict(list)
        self.port_changes = PortChanges(self)
        self.journal = Journal(journal)
        self._records = self.journal.records
        self._effects: list[Effect] = []

    def effect(self, effect: Effect) -> None:
        """Ask the edge for something."""
        self._effects.append(effect)

    def report(self, kind: Kind, **fields: object) -> None:
        """Tell the operator; ``fields`` are those of ``Event``."""
        self._effects.append(Report(Event(kind, **fields)))  # type: ignore[arg-type]

    def close(self, cid: int, *, abort: bool = False) -> None:
        """Close a connection after what was written to it."""
        self._effects.append(Close(cid, abort))

    def urgent(self) -> bool:
        """Whether there is something to do besides writing."""
        return bool(self._effects)

    def take(self) -> Output:
        """All output since the last call."""
        output = Output(dict(self.writes), self._effects)
        self.writes.clear()
        if self._records:
            output.journal = b"".join(self._records)
            self._records.clear()
        self._effects = []
        return output
