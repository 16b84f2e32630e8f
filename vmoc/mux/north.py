"""A north session: one connection to an experimenter's controller, in which we are the switch.

Rules of this file:
- Nothing is sent or handled before both HELLOs; a first message that is
  anything else ends the connection.
- Every request gets exactly one answer under its own xid. While a barrier is
  outstanding, local answers wait behind it (ECHO excepted), so that the order
  is a real switch's.
- A message that may not be handled yet (rate, slow switch) stops the whole
  connection: nothing is dropped, TCP pushes back.
- A controller's bytes never reach a switch; what the policy re-serialised does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.events import Kind
from vmoc.mux import downward
from vmoc.mux.buckets import Bucket
from vmoc.mux.clock import Alarm
from vmoc.mux.effects import PauseReading, ResumeReading
from vmoc.mux.flows import Unsettled
from vmoc.mux.hub import Hub
from vmoc.mux.roles import AsyncMasks, Role
from vmoc.openflow import header, names, v10, v13
from vmoc.openflow.framing import FrameBuffer
from vmoc.openflow.header import OF10, OF13
from vmoc.policy.verdict import Refusal

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.link import Link

HELD_LIMIT: Final = 1024
RAW_LIMIT: Final = 512
"""Bytes of a refused message that are kept for those who want to know what it said."""
TURN: Final = 1024
"""Messages of one connection before the others have their turn."""
_EXPENSIVE: Final = {
    OF10: frozenset((header.FEATURES_REQUEST, v10.STATS_REQUEST)),
    OF13: frozenset((header.FEATURES_REQUEST, v13.MULTIPART_REQUEST)),
}
"""Short questions with long answers: each counts as ``_EXTRA`` messages more, and one for every 4 ports."""
_EXTRA: Final = 15
DEFAULT_MISS_SEND_LEN: Final = 128
_EMPTY: Final[list[bytes]] = []


class NorthSession:
    """The switch's side of one connection."""

    def __init__(self, hub: Hub, cid: int, link: Link, now: float) -> None:
        self.hub = hub
        self.cid = cid
        self.link = link
        self.datapath: VirtualDatapath = link.datapath
        self.switch = link.datapath.switch
        self.version = self.switch.version
        self.frames = FrameBuffer()
        self.greeted = False
        self.closed = False
        self.behind = False
        """The peer does not read: packet-ins for it are dropped, and nothing more is read from it."""
        self.miss_send_len = DEFAULT_MISS_SEND_LEN
        self.role = Role.EQUAL
        self.masks = AsyncMasks()
        self.errors = Bucket(hub.policy.error_rate, now)
        self._waiting: list[bytes] = _EMPTY
        self._resume: Alarm | None = None
        self._paused = False
        self._queued = False
        self._settling = False
        """A message waits for what it is judged by to be settled."""
        self._settled_for: bytes | None = None
        self._order: deque[int | bytes] = deque()
        self.heard = now
        self._missed = 0
        self._handlers = downward.HANDLERS[self.version]
        hub.north[cid] = self
        hub.writes[cid].append(header.hello(self.version, (self.version,)))
        self._alarm = hub.clock.at(now + hub.timers.handshake, self._handshake_expired)

    # -- the connection ----------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the controller."""
        if self.closed:
            return
        self.heard = now
        self._missed = 0
        messages = self.frames.feed(data)
        self.hub.counters.north_in += len(messages)
        if self._waiting:
            self._waiting += messages
        else:
            self._process(messages, now)
        if not (self.greeted or self.closed) and self.frames.begun not in (None, header.HELLO):
            self.hub.counters.malformed["north"] += 1
            self._report(Kind.MALFORMED, "the first message was not HELLO")
            self.drop("its first message was not HELLO", now)
        if self.frames.broken and not self.closed:
            self.hub.counters.malformed["north"] += 1
            self._report(Kind.MALFORMED, "a message stated a length below 8; the stream cannot be followed")
            self.drop("sent a message with a length below 8", now)

    def _process(self, messages: list[bytes], now: float) -> None:
        version, handlers = self.version, self._handlers
        if not self.greeted and messages:
            self._greet(messages[0], now)
            messages = messages[1:]
        spent, expensive = 0, _EXPENSIVE[version]
        extra = _EXTRA + len(self.datapath.grant.ports) // 4
        for index, message in enumerate(messages):
            if self.closed:
                return
            if spent >= TURN:
                self._wait(messages[index:], now, now)
                return
            kind = message[1]
            spent += 1 if kind not in expensive else 1 + extra
            if message[0] != version and not self._other_version(message, now):
                continue
            if kind not in handlers:
                self.refuse(message, _not_ours(self.version, kind), now)
                continue
            if self._held_up():
                self._wait(messages[index:], None, now)
                return
            try:
                # The two that come by the thousand are called by name: to compiled code a table is a detour.
                if kind == header.FLOW_MOD:
                    bucket = downward.flow_mod(self, message, now)
                elif kind == header.PACKET_OUT:
                    bucket = downward.packet_out(self, message, now)
                else:
                    bucket = handlers[kind](self, message, now)
            except Unsettled:
                self._settle_first(messages[index:], now)
                return
            except Refused as refused:
                self.refuse(message, Refusal("decode", refused.reason, refused.detail), now)
                continue
            except Exception as bug:
                # Nobody foresaw it: one message is refused, and neither its bytes nor the mistake go any further.
                self.refuse(message, Refusal("decode", errors.CODEC_BUG, f"{type(bug).__name__}: {bug}"), now)
                continue
            if bucket is not None:
                self._slow_down(message, bucket, now)
                self._wait_for(bucket, messages[index:])
                return

    def _held_up(self) -> bool:
        switch, datapath = self.switch, self.datapath
        return (
            switch.congested
            or self._settling
            or self.behind
            or len(self._order) > HELD_LIMIT
            or (datapath.unsettled > 0 and datapath.unsettled + len(datapath.unacked) >= switch.WINDOW)
            or datapath.heavy > switch.HEAVY_WINDOW
        )

    def _slow_down(self, message: bytes, bucket: Bucket, now: float) -> None:
        kind, datapath = names.message_name(self.version, message[1]), self.datapath
        self.hub.counters.rate_limited[datapath.owner.id, kind] += 1
        text = f"{kind} comes faster than the slice's rate; its controller is slowed down"
        datapath.say(Kind.RATE_LIMITED, now, text, str(self.link.endpoint), datapath.rate_of(bucket), bucket.rate)

    def _hold(self, messages: list[bytes]) -> None:
        self._waiting = messages
        if not self._paused:
            self._paused = True
            self.hub.effect(PauseReading(self.cid))

    def _wait_for(self, bucket: Bucket, messages: list[bytes]) -> None:
        """Wait for a token, behind the slice's other controllers: who has just had one goes to the end."""
        self._hold(messages)
        bucket.queue(self, self.hub.clock)

    def _wait(self, messages: list[bytes], until: float | None, now: float) -> None:
        self._hold(messages)
        if until is None:
            if not self._queued:
                self._queued = True
                self.switch.waiting.append(self)
            if self.datapath.unacked and self.datapath.heavy > self.switch.HEAVY_WINDOW:
                self.switch.barrier(self.datapath, None, b"", now)
        else:
            if self._resume is not None:
                self._resume.cancel()
            self._resume = self.hub.clock.at(until, self.go_on)

    @property
    def paused(self) -> bool:
        """Whether it is there, and not read from."""
        return self._paused and not self.closed

    def unsure(self, message: bytes) -> bool:
        """Whether what ``message`` is judged by may change yet. Once it has waited, no more."""
        datapath = self.datapath
        return (bool(datapath.unacked) or datapath.unsettled > 0) and message is not self._settled_for

    def _settle_first(self, messages: list[bytes], now: float) -> None:
        bucket = self.datapath.barriers
        if not bucket.take(now):  # it makes the switch stall as one of the controller's own does
            self._slow_down(messages[0], bucket, now)
            self._wait_for(bucket, messages)
            return
        self._settling, self._settled_for = True, messages[0]

        def settled(_: bytes, when: float) -> None:
            self._settling = False  # and its turn comes, as it does after every barrier

        self.switch.after_barrier(settled, now, self.datapath)
        self._wait(messages, None, now)

    def turn(self, now: float) -> bool:
        """Room may have come: take it. False when there is none for this one, which keeps its place."""
        if self.closed or not self._paused:
            self._queued = False
        elif self._held_up():
            return False
        else:
            self._queued = False
            self.go_on(now)
        return True

    def go_on(self, now: float) -> None:
        """What held the connection up may be over: handle what waited, then read on."""
        if self.closed:
            return
        if self._held_up():
            self._wait(self._waiting, None, now)
            return
        messages, self._waiting = self._waiting, _EMPTY
        if messages:
            self._process(messages, now)
        if self._paused and not self._waiting and not self.closed:
            self._paused = False
            self.hub.effect(ResumeReading(self.cid))

    def congested(self, now: float) -> None:
        """The controller does not read what we write."""
        self.behind = True
        self.datapath.refresh_receivers()
        if not self._paused:
            self._paused = True
            self.hub.effect(PauseReading(self.cid))

    def relieved(self, now: float) -> None:
        """It reads again."""
        self.behind = False
        self.datapath.refresh_receivers()
        self.go_on(now)

    def drop(self, why: str, now: float, *, abort: bool = False) -> None:
        """End the connection; the link will try again."""
        if not self.closed:
            self.detach(now)
            self.hub.close(self.cid, abort=abort)
            self.link.lost(why, now)

    def detach(self, now: float) -> None:
        """Stop being part of the datapath; bytes that still come are discarded."""
        if self.closed:
            return
        self.closed = True
        self.hub.north.pop(self.cid, None)
        self._alarm.cancel()
        if self._resume is not None:
            self._resume.cancel()
        self._waiting = _EMPTY
        self.link.session, self.link.heard = None, self.heard
        if self in self.datapath.sessions:
            self.datapath.sessions.remove(self)
            self.datapath.refresh_receivers()
            self.switch.controller_left(self.datapath, now)

    # -- HELLO and keep-alive ----------------------------------------------------------------------

    def _greet(self, message: bytes, now: float) -> None:
        if message[1] != header.HELLO:
            self._report(Kind.MALFORMED, "the first message was not HELLO")
            self.drop("its first message was not HELLO", now)
            return
        try:
            offered = header.hello_versions(message)
        except Refused as refused:
            self._incompatible(message, refused.detail, now)
            return
        if self.version not in offered:
            self._incompatible(message, "", now)
            return
        self.greeted = True
        self._alarm.cancel()
        self._alarm = self.hub.clock.at(now + self.hub.timers.echo_interval, self._keep_alive)
        self.switch.controller_came(self.datapath, now)
        self.datapath.sessions.append(self)
        self.datapath.refresh_receivers()
        self.link.active(now)

    def _incompatible(self, message: bytes, detail: str, now: float) -> None:
        text = detail or f"virtual datapath speaks 0x{self.version:02x} only"
        reply = header.hello_error(min(self.version, message[0]) or 1, header.xid_of(message), text)
        self.hub.writes[self.cid].append(reply)
        why = detail or (
            f"no common OpenFlow version: the switch speaks {names.version_name(self.version)}, "
            f"the controller's HELLO says {names.version_name(message[0])}"
        )
        self._report(Kind.VERSION_MISMATCH, why)
        self.drop(why, now)

    def _handshake_expired(self, now: float) -> None:
        self.drop("no HELLO within the handshake timeout", now)

    def _keep_alive(self, now: float) -> None:
        timers = self.hub.timers
        if self._paused and not self.behind:
            self._missed = 0  # it is we who do not listen
        elif now - self.heard >= timers.echo_interval * 0.99:
            self._missed += 1
            if self._missed > timers.echo_misses:
                self.drop("no answer to ECHO_REQUEST", now, abort=True)
                return
            self.hub.writes[self.cid].append(header.message(self.version, header.ECHO_REQUEST, 0))
        else:
            self._missed = 0
        self._alarm = self.hub.clock.at(now + timers.echo_interval, self._keep_alive)

    def _other_version(self, message: bytes, now: float) -> bool:
        """Handle a message of another version; True when it may pass all the same."""
        kind = message[1]
        if kind in (header.ECHO_REQUEST, header.ECHO_REPLY, header.ERROR):
            return True
        self.refuse(message, Refusal("version", errors.BAD_VERSION, f"version 0x{message[0]:02x}"), now)
        return False

    # -- answers -----------------------------------------------------------------------------------

    def reply(self, message: bytes) -> None:
        """A local answer; it waits while an earlier barrier is outstanding."""
        if self._order:
            self._order.append(message)
        else:
            self.hub.writes[self.cid].append(message)

    def relay(self, message: bytes) -> None:
        """An answer the switch gave: it is in the switch's own order already."""
        self.hub.writes[self.cid].append(message)

    def await_barrier(self, xid: int) -> None:
        """A barrier went to the switch under ``xid``; later local answers queue behind it."""
        self._order.append(xid)

    def barrier_done(self, xid: int, answer: bytes, now: float) -> None:
        """The switch answered it: so do we, in the order asked, and what waited behind it follows."""
        order = self._order
        if self.closed or xid not in order:
            return
        full = len(order) > HELD_LIMIT
        order[order.index(xid)] = answer
        out = self.hub.writes[self.cid]
        while order and isinstance(order[0], bytes):
            if order[0]:
                out.append(order[0])
            order.popleft()
        if full:
            self.go_on(now)

    def refuse(self, message: bytes, refusal: Refusal, now: float) -> None:
        """Answer with the error the refusal names; tell the operator. Never silently."""
        code = refusal.error(self.version)
        owner = self.datapath.owner.id
        self.hub.counters.refused[owner, refusal.reason.code] += 1
        self.datapath.refusals += 1
        if not self.errors.take(now):
            return
        self.reply(header.error(self.version, header.xid_of(message), code, message))
        self.hub.report(
            Kind.REFUSED,
            slice=owner,
            vlan=self.datapath.vlan,
            dpid=self.switch.dpid,
            controller=str(self.link.endpoint),
            reason=refusal.reason.code,
            message=refusal.detail,
            detail={
                "rule": refusal.rule,
                "message": names.message_name(self.version, message[1]),
                "xid": header.xid_of(message),
                "error": names.error_name(self.version, *code),
                "error_type": code[0],
                "error_code": code[1],
            },
            raw=message if len(message) <= RAW_LIMIT else message[:8],
        )

    def fail(self, message: bytes, code: tuple[int, int], prefix: bytes, now: float) -> None:
        """The switch refused what became of ``message``: pass its error on, around the controller's own bytes."""
        error = self._error(message, code, prefix, now)
        if error and not self.closed:
            self.relay(error)

    def barrier_failed(self, xid: int, message: bytes, code: tuple[int, int], prefix: bytes, now: float) -> None:
        """The switch refused a barrier: the error takes the place of the reply."""
        self.barrier_done(xid, self._error(message, code, prefix, now), now)

    def _error(self, message: bytes, code: tuple[int, int], prefix: bytes, now: float) -> bytes:
        """The switch's error in the controller's terms; empty when there have been too many."""
        if not self.errors.take(now):
            return b""
        body = code[0].to_bytes(2, "big") + code[1].to_bytes(2, "big") + prefix + message[:64]
        return header.message(self.version, header.ERROR, header.xid_of(message), body)

    @property
    def gets_packet_ins(self) -> bool:
        """Whether it gets them all, without looking at the reason."""
        return self.greeted and self.masks.all_packet_ins(self.role)

    def _report(self, kind: Kind, message: str) -> None:
        self.hub.report(
            kind,
            slice=self.datapath.owner.id,
            vlan=self.datapath.vlan,
            dpid=self.switch.dpid,
            controller=str(self.link.endpoint),
            message=message,
        )


def _not_ours(version: int, kind: int) -> Refusal:
    reason: Reason = errors.BAD_TYPE
    return Refusal("type", reason, f"{names.message_name(version, kind)} is not a controller's message")
