"""What forwards: a mux, its edge, its connections to controllers, its journal. In the service, or in a worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from time import monotonic

from vmoc.daemon import journaling
from vmoc.events import Event
from vmoc.model import Endpoint, Policy, Timers
from vmoc.mux.core import Mux
from vmoc.mux.journal import Kept
from vmoc.net import tls
from vmoc.net.edge import Edge, Mirrored
from vmoc.net.northbound import Dialler
from vmoc.registry import Snapshot
from vmoc.store.journal import JournalFile

Key = tuple[int, int]


class Forwarder:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        snapshot: Snapshot,
        *,
        versions: frozenset[int],
        policy: Policy,
        timers: Timers,
        default_controller: Endpoint | None,
        journal: JournalFile | None,
        kept: Iterable[Kept],
        report: Callable[[Event], None],
        bug: Callable[[str, str], None],
        mirror: Callable[[Mirrored], None],
    ) -> None:
        self.core = Mux(
            snapshot,
            versions=versions,
            policy=policy,
            timers=timers,
            default_controller=default_controller,
            tap=True,
            seed=int.from_bytes(os.urandom(8)),
            journal=journal is not None,
            kept=kept,
        )
        self.edge = Edge(self.core, loop, report=report, bug=bug, mirror=mirror)
        self._dialler: Dialler | None = None
        self._journal = journal
        if journal is not None:
            journaling.write_anew(journal, self.core)
            self.edge.use_journal(journal)

    def dial(self, client_tls: tls.ClientTls | None) -> None:
        """Connect to controllers from now on."""
        self._dialler = Dialler(self.edge, client_tls)
        self.edge.use_dialler(self._dialler)

    def adopt(self, snapshot: Snapshot, names: Collection[str]) -> None:
        """The slices are these; ``names`` may differ. From a call that pumps."""
        self.core.adopt(snapshot, monotonic(), names)

    def set_default_controller(self, endpoint: Endpoint | None) -> None:
        """Where slices without a controller of their own go."""
        self.edge.run(lambda: self.core.set_default_controller(endpoint, monotonic()))

    def operator_send(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        """Messages of os-ken applications to switches."""

        def send() -> None:
            now = monotonic()
            for key, message in batch:
                self.core.operator_send(key, message, now)

        self.edge.run(send)

    def begin_drain(self) -> None:
        """Let everybody go."""
        if self._dialler is not None:
            self._dialler.close()
        self.edge.run(lambda: self.core.begin_drain(monotonic()))

    @property
    def flushed(self) -> bool:
        """Whether everybody has gone, with all there was to send."""
        edge = self.edge
        return self.core.drained and not edge.lingering and not any(wire.unsent() for wire in edge.wires.values())

    def close(self) -> None:
        """Cut off whoever is left, and close the journal."""
        self.edge.close()
        self.close_journal()

    def close_journal(self) -> None:
        """Nothing more is written."""
        if self._journal is not None:
            self._journal.close()
