"""A link: one virtual datapath's wish to be connected to one controller, and how that goes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from vmoc.events import Kind
from vmoc.model import Endpoint
from vmoc.mux.clock import Alarm
from vmoc.mux.datapath import VirtualDatapath
from vmoc.mux.effects import AbandonDial, Dial
from vmoc.mux.hub import Hub
from vmoc.mux.north import NorthSession
from vmoc.mux.reconnect import Backoff


class LinkState(StrEnum):
    """IDLE (its datapath is not ready), WAITING (for the next try), DIALLING, HANDSHAKING, ACTIVE.

    HELD: another link shows the same DPID to the same controller.
    """

    IDLE = "idle"
    HELD = "held"
    WAITING = "waiting"
    DIALLING = "dialling"
    HANDSHAKING = "handshaking"
    ACTIVE = "active"


class Link:
    """Keeps trying while its datapath is ready; never gives up, never hurries."""

    def __init__(self, hub: Hub, number: int, datapath: VirtualDatapath, endpoint: Endpoint, now: float) -> None:
        self.hub = hub
        self.number = number
        self.datapath = datapath
        self.endpoint = endpoint
        self.state = LinkState.IDLE
        self.since = now
        self.last_error = ""
        self.failures = 0
        """Attempts that failed since it was last active."""
        self.dropped = 0
        """Packet-ins that its controller was too slow for."""
        self.session: NorthSession | None = None
        self.leaves: float | None = None
        """When it goes at the latest: the segment names another controller in its place, which is being connected."""
        self.on_active: Callable[[float], None] | None = None
        self.heard: float | None = None
        """When a controller was last heard on a connection that is over."""
        self._backoff = Backoff(hub.timers.reconnect_first, hub.timers.reconnect_max)
        self._alarm: Alarm | None = None
        self._count(1)

    @property
    def next_retry(self) -> float | None:
        """When the next attempt starts; None when it is not waiting."""
        return self._alarm.when if self.state is LinkState.WAITING and self._alarm else None

    def start(self, now: float) -> None:
        """The datapath is ready: connect."""
        if self.state in (LinkState.IDLE, LinkState.HELD):
            self._dial(now)

    def hold(self, why: str, now: float) -> None:
        """Another link shows the DPID: wait until it does not."""
        self.last_error = why
        self._enter(LinkState.HELD, now)

    def stop(self, now: float) -> None:
        """The datapath is not ready any more, or the controller is no longer wanted."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if self.state is LinkState.DIALLING:
            self.hub.effect(AbandonDial(self.number))
        self._enter(LinkState.IDLE, now)

    def dialled(self, now: float) -> None:
        """TCP (and TLS) is up."""
        self._enter(LinkState.HANDSHAKING, now)

    def active(self, now: float) -> None:
        """The OpenFlow handshake is done."""
        self._backoff.succeeded()
        self.failures = 0
        self.last_error = ""
        self._enter(LinkState.ACTIVE, now)
        self._report(Kind.CONTROLLER_CONNECTED, "")
        if self.on_active is not None:
            self.on_active(now)

    def lost(self, why: str, now: float) -> None:
        """An attempt failed, or the connection broke."""
        if self.state in (LinkState.IDLE, LinkState.HELD):
            return
        was_active = self.state is LinkState.ACTIVE
        self.failures += not was_active
        self.last_error = why
        if self.leaves is not None:
            self._enter(LinkState.IDLE, now)
            self._report(Kind.CONTROLLER_LOST, f"{why}; it was being replaced")
            return
        wait = self._backoff.failed(self.hub.random.random())
        self._enter(LinkState.WAITING, now)
        self._alarm = self.hub.clock.at(now + wait, self._dial)
        self.hub.counters.reconnects["north"] += 1
        kind = Kind.CONTROLLER_LOST if was_active else Kind.CONTROLLER_FAILED
        self._report(kind, f"{why}; next attempt in {wait:.1f} s")

    def _dial(self, now: float) -> None:
        self._alarm = None
        self._enter(LinkState.DIALLING, now)
        self.hub.effect(Dial(self.number, self.endpoint))

    def _enter(self, state: LinkState, now: float) -> None:
        self._count(-1)
        self.state, self.since = state, now
        self._count(1)

    def forget(self) -> None:
        """It is dropped, and not counted any more."""
        self._count(-1)

    def _count(self, step: int) -> None:
        tally, key = self.hub.link_states, (self.datapath.owner.id, self.state.value)
        tally[key] += step
        if not tally[key]:
            del tally[key]  # slices come and go: no zeroes for ever

    def _report(self, kind: Kind, message: str) -> None:
        self.hub.report(
            kind,
            slice=self.datapath.owner.id,
            vlan=self.datapath.vlan,
            dpid=self.datapath.switch.dpid,
            controller=str(self.endpoint),
            message=message,
        )
