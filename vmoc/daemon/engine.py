"""What the service needs of whatever forwards, and the engine that does it in this very process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from vmoc.apps.bridge import Key
from vmoc.config import Settings
from vmoc.daemon import journaling
from vmoc.daemon.forwarding import Forwarder
from vmoc.daemon.rack import Rack
from vmoc.daemon.watched import Watched
from vmoc.model import Endpoint
from vmoc.net import tls
from vmoc.net.edge import Edge, Mirrored
from vmoc.registry import Plan, Snapshot
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.lag import LoopLag
from vmoc.telemetry.reading import Reading


class Engine(Protocol):
    """On the loop's thread. ``edge`` is where switches are listened for; ``told``: seconds a change may take."""

    edge: Edge
    rack: Rack
    watched: Watched
    told: float

    def start(self, client_tls: tls.ClientTls | None, identity: tls.Identity | None) -> None:
        """Begin to be ready for switches."""

    async def started(self) -> None:
        """Wait until that is so. Raises ``StartError``."""

    def adopt(self, plan: Plan, done: Callable[[], None]) -> None:
        """The slices have changed; ``done`` is called when that has effect. From a call that pumps."""

    def set_default_controller(self, endpoint: Endpoint | None) -> None:
        """Where slices without a controller of their own go."""

    def operator_send(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        """Messages of os-ken applications to switches."""

    def tick(self) -> None:
        """About a second has passed."""

    def begin_drain(self) -> None:
        """Let everybody go."""

    @property
    def flushed(self) -> bool:
        """Whether everybody has gone."""

    def close(self) -> None:
        """Cut off whoever is left, and let go of all files."""


class OneProcess:
    """Everything here, on this loop."""

    told = 2.0

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        snapshot: Snapshot,
        *,
        events: EventLog,
        lag: LoopLag,
        log: journaling.Log,
        bug: Callable[[str, str], None],
        mirror: Callable[[Mirrored], None],
        fill_in: Callable[[Reading], None],
    ) -> None:
        """Raises ``StartError``."""
        journal, kept = journaling.start(settings, log)
        self._forwarder = Forwarder(
            loop,
            snapshot,
            versions=settings.versions,
            policy=settings.policy,
            timers=settings.timers,
            default_controller=settings.default_controller.url,
            journal=journal,
            kept=kept,
            report=events.record,
            bug=bug,
            mirror=mirror,
        )
        self.edge = self._forwarder.edge
        self.rack = Rack(self.edge, self._forwarder.core, events, discovered)
        self.watched = Watched(self.edge, self._forwarder.core, events, lag, others=fill_in)
        self.set_default_controller = self._forwarder.set_default_controller
        self.operator_send = self._forwarder.operator_send
        self.begin_drain = self._forwarder.begin_drain
        self.close = self._forwarder.close

    def start(self, client_tls: tls.ClientTls | None, identity: tls.Identity | None) -> None:
        """Be ready for switches."""
        self._forwarder.dial(client_tls)

    async def started(self) -> None:
        """It is."""

    def adopt(self, plan: Plan, done: Callable[[], None]) -> None:
        """The slices have changed."""
        self._forwarder.adopt(plan.snapshot, (*plan.added, *plan.changed, *plan.removed))
        done()

    def tick(self) -> None:
        """Nothing depends on it."""

    @property
    def flushed(self) -> bool:
        """Whether everybody has gone."""
        return self._forwarder.flushed


def discovered() -> Any:
    """The graph of links, if discovery was loaded as an application; importing it here would take a second."""
    discovery = sys.modules.get("vmoc.apps.discovery")
    return discovery.graph() if discovery is not None else None
