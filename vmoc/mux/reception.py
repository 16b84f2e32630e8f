"""``Reception``: welcomes switches for muxes in other processes, and sends each on to whoever serves it.

It takes the place of the mux at an edge that only listens: the handshake up to
FEATURES_REPLY is ``SouthSession``'s, refusals included, and ends with a
``HandOver``. Nothing is known here of slices, and nobody is dialled.
"""

from __future__ import annotations

from vmoc.events import Kind
from vmoc.model import Policy, Timers
from vmoc.mux.counters import Counters
from vmoc.mux.effects import HandOver, Output
from vmoc.mux.hub import Hub
from vmoc.mux.south import Phase, SouthSession
from vmoc.openflow.features import parse_features


class Reception:
    """What an edge needs of a core, for switches that are about to be handed over."""

    def __init__(self, *, versions: frozenset[int], timers: Timers | None = None) -> None:
        self._hub = Hub(
            versions=versions,
            policy=Policy(),
            timers=timers or Timers(),
            default_controller=None,
            tap=False,
            seed=0,
        )
        self._sessions: dict[int, SouthSession] = {}
        self._closing = False

    @property
    def counters(self) -> Counters:
        """What was refused here; what is handed over counts where it is served."""
        return self._hub.counters

    def take(self) -> Output:
        """Everything produced since the last call."""
        return self._hub.take()

    def urgent(self) -> bool:
        """Whether output holds more than bytes to write, which is not to wait."""
        return self._hub.urgent()

    def next_deadline(self) -> float | None:
        """When ``wake`` is due; None when nothing is."""
        return self._hub.clock.next_deadline()

    def wake(self, now: float) -> None:
        """Do what is due."""
        self._hub.clock.run(now)

    def tally(self) -> tuple[dict[int, bool], dict[tuple[str, str], int]]:
        """As ``Mux.tally``: no switch is served here, and nobody is dialled."""
        return {}, {}

    # -- switches ----------------------------------------------------------------------------------

    def south_opened(self, cid: int, peer: str, native_vlan: int, now: float, version: int = 0) -> None:
        """A switch connected."""
        self._sessions[cid] = session = SouthSession(self._hub, self, cid, peer, native_vlan, now, version)
        session.report(Kind.SWITCH_CONNECTED, "a switch connected")
        if self._closing:
            session.fail("shutting down", now)

    def south_data(self, cid: int, data: bytes, now: float) -> None:
        """Bytes of a switch."""
        session = self._sessions.get(cid)
        if session is None:
            return
        session.receive(data, now)
        if session.phase is Phase.HANDED:
            del self._sessions[cid]
            key = (parse_features(session.features).dpid, session.native_vlan)
            self._hub.effect(HandOver(cid, key, session.version, session.features + session.unhandled()))
            session.closed()

    def south_closed(self, cid: int, why: str, now: float) -> None:
        """A switch went before it was known."""
        session = self._sessions.get(cid)
        if session is not None:
            self.south_lost(session, why, now)

    def south_lost(self, session: SouthSession, why: str, now: float, reason: str | None = None) -> None:
        """The session is over, for whatever reason."""
        session.closed()
        self._sessions.pop(session.cid, None)
        session.report(Kind.SWITCH_REFUSED, why, reason)

    def identified(self, session: SouthSession, features: bytes, now: float) -> None:
        """A switch said who it is. Raises ``Refused`` when that cannot be understood."""
        parse_features(features)
        session.features = features
        session.hand_over()

    def begin_drain(self, now: float) -> None:
        """Welcome nobody any more."""
        self._closing = True
        for session in list(self._sessions.values()):
            session.fail("shutting down", now)

    # -- what only a mux does ----------------------------------------------------------------------

    def dialled(self, link: int, cid: int, now: float) -> None:
        """Nobody is dialled from here, so nobody answers."""

    def dial_failed(self, link: int, why: str, now: float) -> None:
        """As ``dialled``."""

    def north_data(self, cid: int, data: bytes, now: float) -> None:
        """There are no controllers here."""

    def north_closed(self, cid: int, why: str, now: float) -> None:
        """As ``north_data``."""

    def congested(self, cid: int, now: float) -> None:
        """A handshake is a few bytes: the edge's own limit is enough."""

    def relieved(self, cid: int, now: float) -> None:
        """As ``congested``."""

    def rewrite_journal(self) -> None:
        """There is nothing to remember."""

    def rewrite_some(self) -> bool:
        """As ``rewrite_journal``."""
        return False
