"""What is on its way to one switch, under which xid, and what settles it (vetting A.6, A.9, A.10).

Every message has a fresh xid. One without an answer is *unacked* until a
barrier is written behind it, *unsettled* until that is answered, and may be
refused until then. The barriers are VMOC's own where no controller asks for
one: after ``ACK_EVERY`` messages of a virtual datapath, or a second.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vmoc.mux.clock import Alarm
from vmoc.mux.pending import Expected, Request, Sent
from vmoc.mux.xids import Pending
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import OF10

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.hub import Hub
    from vmoc.mux.north import NorthSession
    from vmoc.mux.south import SouthSession

    Done = Callable[[bytes, float], None]

ACK_AFTER: Final = 1.0
MOST_OWN: Final = 1 << 19
"""Messages of VMOC's own that a switch may leave unconfirmed: guards of 64 ports in each of 4094 VLANs, twice."""
_NO_ANSWER: Final = (1, 1)
"""The error that stands for an answer that never came."""


class InFlight:
    """The way down to one switch. A scope is whose messages a barrier settles: a virtual datapath's, or our own."""

    ACK_EVERY: Final = 32
    WINDOW: Final = 64
    """Messages of one virtual datapath in flight; more wait, so that nobody fills the switch's queue for all."""
    HEAVY: Final = 4096
    HEAVY_WINDOW: Final = 256 * 1024
    """Bytes in flight of messages above ``HEAVY`` bytes."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.session: SouthSession | None = None
        self.cid = -1
        self.version = OF10
        self.up = False
        self.pending: Pending[Sent] = Pending(hub.random.randrange(1, 1 << 31))
        self.unacked: list[int] = []
        self.unsettled = 0
        self.heavy = self.heavy_covered = 0
        self.ack_alarm: Alarm | None = None
        self.congested = False
        self.waiting: deque[NorthSession] = deque()
        """Controllers that wait for room, in the order they get it."""
        self._own = 0
        self._given_up = False
        self._sweep: Alarm | None = None

    def write(self, data: bytes) -> None:
        """Bytes for the switch."""
        self.hub.writes[self.cid].append(data)

    def send(self, data: bytes, request: Sent, scope: VirtualDatapath | InFlight, now: float) -> int:
        """Give ``data`` a fresh xid, remember ``request`` under it, and write it."""
        if self._own >= MOST_OWN:
            self._give_up(now)
            return self.pending.fresh()
        xid = self.pending.expect(request)
        self.write(data[:4] + xid.to_bytes(4, "big") + data[8:])
        if request.expected is Expected.NOTHING:
            scope.unacked.append(xid)
            if len(data) > self.HEAVY:
                scope.heavy += len(data)
            self.acknowledge(scope, now)
            if request.session is None:
                self._own += 1
        elif self._sweep is None:
            self._sweep = self.hub.clock.at(now + self.hub.timers.request, self._expire)
        return xid

    def _give_up(self, now: float) -> None:
        """It makes us write and confirms nothing: its connection ends when whoever is writing is done."""
        session = self.session
        if session is not None and not self._given_up:
            self._given_up = self.congested = True
            self.hub.clock.at(now, lambda when: session.fail(f"leaves {MOST_OWN} messages unconfirmed", when))

    def send_own(self, data: bytes, now: float, scope: VirtualDatapath | None = None) -> None:
        """One of our own messages that has no answer."""
        self.send(data, Sent(Expected.NOTHING, None, data), scope or self, now)

    def ask(self, data: bytes, done: Done, now: float) -> None:
        """One of our own requests; ``done`` gets each part of the answer, or the error."""
        self.send(data, Request(Expected.OWN, None, data, at=now, done=done), self, now)

    def barrier(
        self, scope: VirtualDatapath | InFlight, session: NorthSession | None, message: bytes, now: float
    ) -> int:
        """Write a barrier; its reply settles everything ``scope`` has in flight."""
        return self._barrier(scope, Request(Expected.BARRIER, session, message, at=now), now)

    def after_barrier(self, done: Done, now: float, scope: VirtualDatapath | None = None) -> None:
        """Call ``done`` when the switch has processed all that was written."""
        self._barrier(scope or self, Request(Expected.BARRIER, None, b"", at=now, done=done), now)

    def _barrier(self, scope: VirtualDatapath | InFlight, request: Request, now: float) -> int:
        request.scope = scope
        if not isinstance(scope, InFlight):
            request.serial = scope.flows.serial
        request.settles, scope.unacked = scope.unacked, []
        scope.unsettled += len(request.settles)
        request.heavy, scope.heavy_covered = scope.heavy - scope.heavy_covered, scope.heavy
        kind = v10.BARRIER_REQUEST if self.version == OF10 else v13.BARRIER_REQUEST
        return self.send(header.message(self.version, kind, 0), request, scope, now)

    def acknowledge(self, scope: VirtualDatapath | InFlight, now: float) -> None:
        """See to it that what is in flight is settled: by a barrier now if it is much, within a second if not."""
        if len(scope.unacked) >= self.ACK_EVERY:
            self.barrier(scope, None, b"", now)
        elif scope.ack_alarm is None:

            def settle(when: float) -> None:
                scope.ack_alarm = None
                if scope.unacked and self.session is not None:
                    self.barrier(scope, None, b"", when)

            scope.ack_alarm = self.hub.clock.at(now + ACK_AFTER, settle)

    # -- what comes back -----------------------------------------------------------------------------

    def take_refused(self, xid: int) -> Sent | None:
        """What an error under ``xid`` is about: it is settled, for the worse."""
        sent = self.pending.pop(xid)
        if sent is not None and sent.session is None and sent.expected is Expected.NOTHING:
            self._own -= 1
        return sent

    def settle(self, barrier: Request, now: float) -> None:
        """A barrier was answered, or refused: what was written before it has been processed."""
        scope, xids = barrier.scope, barrier.settles
        assert scope is not None
        scope.unsettled -= len(xids)
        scope.heavy -= barrier.heavy
        scope.heavy_covered -= barrier.heavy
        replacing = []
        pop = self.pending.waiting.pop
        for xid in xids:
            sent = pop(xid, None)
            if sent is None:
                continue
            if sent.session is None:
                self._own -= 1
                continue
            if sent.added is not None and sent.added.previous is not None:
                replacing.append(sent.added)
            if type(sent) is Request:
                if sent.plan is not None:
                    sent.session.datapath.flows.forget_dead(sent.plan.dying, now)
                if sent.settled is not None:
                    sent.settled()
        if not isinstance(scope, InFlight):
            scope.flows.settled = barrier.serial
            if replacing:
                scope.flows.accepted(replacing)

    def _expire(self, now: float) -> None:
        """Requests nobody answered: forgotten silently, as on a real switch, but counted."""
        self._sweep = None
        limit = now - self.hub.timers.request
        waiting = self.pending.waiting
        for xid in [x for x, sent in waiting.items() if isinstance(sent, Request) and self._may_expire(sent, limit)]:
            sent = waiting.pop(xid)
            self.hub.counters.unrouted["expired"] += 1
            if sent.expected is Expected.OWN and isinstance(sent, Request) and sent.done is not None:
                sent.done(header.error(self.version, xid, _NO_ANSWER, sent.message), now)
        if any(isinstance(sent, Request) for sent in waiting.values()):
            self._sweep = self.hub.clock.at(now + self.hub.timers.request, self._expire)

    def _may_expire(self, sent: Request, limit: float) -> bool:
        # Barriers never: a controller that waits for one must not be told it is done.
        # While the switch comes up its whole connection is at stake, which is watched elsewhere.
        kinds = (Expected.STATISTICS, Expected.QUEUE_CONFIG, Expected.OPERATOR)
        return sent.at <= limit and (sent.expected in kinds or (self.up and sent.expected is Expected.OWN))

    # -- room ----------------------------------------------------------------------------------------

    def relieved(self, now: float) -> None:
        """The switch takes bytes again: controllers that were held up go on."""
        self.congested = False
        self.give_turns(now)

    def give_turns(self, now: float) -> None:
        """Let each waiting controller go on, in turn: a window's worth at most, then the next one.

        Those who found no room are ahead, next time, of those who did.
        """
        if self.congested:
            return
        queue, self.waiting = self.waiting, deque()
        passed = [session for session in queue if not session.turn(now)]
        self.waiting.extendleft(reversed(passed))

    def lost(self) -> None:
        """The connection is gone, and everything that was on its way."""
        self.session, self.cid, self.up, self.congested = None, -1, False, False
        self.pending.clear()
        self.unacked, self.unsettled = [], 0
        self.heavy = self.heavy_covered = 0
        self._own = 0
        self._given_up = False
        self.waiting.clear()
