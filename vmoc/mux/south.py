"""A south session: one TCP connection to a switch, from HELLO until the switch is known.

HELLO -> FEATURES -> (is this DPID connected already?) -> joined to its
``Switch``, which takes every message from then on. The session keeps the
connection alive and ends it when it dies.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux.clock import Alarm
from vmoc.mux.hub import Hub
from vmoc.openflow import header, names
from vmoc.openflow.framing import FrameBuffer

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

KEPT_WHILE_PROBING: Final = 256


class Phase(Enum):
    """Where the handshake is."""

    HELLO = auto()
    FEATURES = auto()
    PROBING = auto()
    HANDED = auto()
    JOINED = auto()
    CLOSED = auto()


class Host(Protocol):
    """What a south session needs of the mux."""

    def identified(self, session: SouthSession, features: bytes, now: float) -> None:
        """The switch has said who it is."""

    def south_lost(self, session: SouthSession, why: str, now: float, reason: str | None = None) -> None:
        """The session ended itself."""


class SouthSession:
    """The controller's side of one connection."""

    def __init__(
        self, hub: Hub, host: Host, cid: int, peer: str, native_vlan: int, now: float, version: int = 0
    ) -> None:
        """``version`` is given when somebody else has said HELLO, agreed on it and asked for the features."""
        self.hub = hub
        self.host = host
        self.cid = cid
        self.peer = peer
        self.native_vlan = native_vlan
        self.phase = Phase.FEATURES if version else Phase.HELLO
        self.version = version
        self.switch: Switch | None = None
        self.frames = FrameBuffer()
        self.heard = now
        self.features = b""
        self._missed = 0
        self._kept: list[bytes] = []
        if not version:
            hub.writes[cid].append(header.hello(max(hub.versions), hub.versions))
        self._alarm: Alarm = hub.clock.at(now + hub.timers.handshake, self._expired)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the switch."""
        self.heard = now
        self._missed = 0
        messages = self.frames.feed(data)
        self.hub.counters.south_in += len(messages)
        if self.phase is Phase.JOINED and self.switch is not None:
            self.switch.receive(messages, now)
        else:
            for index, message in enumerate(messages):
                if self.phase is Phase.JOINED and self.switch is not None:
                    self.switch.receive(messages[index:], now)
                    break
                if self.phase is Phase.HANDED:
                    self._kept += messages[index:]
                    break
                try:
                    self._early(message, now)
                except Refused as refused:
                    self.hub.counters.malformed["south"] += 1
                    self.fail(f"sent a bad {names.message_name(self.version, message[1])}: {refused.detail}", now)
        if self.phase is Phase.HELLO and self.frames.begun not in (None, header.HELLO):
            # Not worth waiting for the rest: whoever this is does not begin with HELLO.
            self.hub.counters.malformed["south"] += 1
            self.fail("began with something else than HELLO", now)
        if self.frames.broken and self.phase is not Phase.CLOSED:
            self.hub.counters.malformed["south"] += 1
            self.fail("sent a message with a length below 8; the stream cannot be followed", now)

    def _early(self, message: bytes, now: float) -> None:
        kind = message[1]
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.HELLO:
            self._hello(message, now)
        elif kind == header.ECHO_REQUEST:
            self.hub.writes[self.cid].append(header.echo_reply(message))
        elif self.phase is Phase.PROBING:
            self._kept.append(message)
            if len(self._kept) > KEPT_WHILE_PROBING:
                self.fail("sent too much before it was accepted", now)
        elif kind == header.FEATURES_REPLY and message[0] == self.version:
            self.host.identified(self, message, now)
        elif kind == header.ERROR:
            self.fail("answered the handshake with an error", now)
        # Anything else this early (packet-ins of a switch in a hurry) is not ours to route yet.

    def _hello(self, message: bytes, now: float) -> None:
        if message[1] != header.HELLO:
            self.fail(f"began with {names.message_name(message[0], message[1])} instead of HELLO", now)
            return
        try:
            common = self.hub.versions & header.hello_versions(message)
        except Refused as refused:
            common, detail = frozenset(), refused.detail
        else:
            detail = f"no common OpenFlow version (the switch offers {names.version_name(message[0])})"
        if not common:
            version = min(max(self.hub.versions), message[0]) or 1
            text = "versions spoken: " + ", ".join(names.version_name(v) for v in sorted(self.hub.versions))
            self.hub.writes[self.cid].append(header.hello_error(version, header.xid_of(message), text))
            self.fail(detail, now)
            return
        self.version = max(common)
        self.phase = Phase.FEATURES
        self.hub.writes[self.cid].append(header.message(self.version, header.FEATURES_REQUEST, 1))

    # -- joining -----------------------------------------------------------------------------------

    def hold(self, now: float) -> None:
        """Another connection has this DPID: wait until it is known whether that one lives."""
        self.phase = Phase.PROBING

    def hand_over(self) -> None:
        """Somebody else serves the switch: answer nothing from now on, and keep what has been read already."""
        self.phase = Phase.HANDED

    def unhandled(self) -> bytes:
        """Everything read since ``hand_over``."""
        return b"".join((*self._kept, self.frames.rest))

    def join(self, switch: Switch, now: float) -> list[bytes]:
        """The connection is the switch's from now on; returns what came while it was held."""
        self.phase = Phase.JOINED
        self.switch = switch
        self._alarm.cancel()
        self._alarm = self.hub.clock.at(now + self.hub.timers.echo_interval, self._keep_alive)
        kept, self._kept = self._kept, []
        return kept

    # -- the end -----------------------------------------------------------------------------------

    def fail(self, why: str, now: float, *, abort: bool = False, reason: str | None = None) -> None:
        """End the connection for a reason of ours."""
        if self.phase is not Phase.CLOSED:
            self.hub.close(self.cid, abort=abort)
            self.host.south_lost(self, why, now, reason)

    def closed(self) -> None:
        """Nothing more comes or goes."""
        self.phase = Phase.CLOSED
        self._alarm.cancel()

    def report(self, kind: Kind, message: str, reason: str | None = None, **detail: object) -> None:
        """An event about this connection."""
        dpid = self.switch.dpid if self.switch else None
        self.hub.report(kind, dpid=dpid, reason=reason, message=message, detail={"peer": self.peer, **detail})

    def _expired(self, now: float) -> None:
        self.fail("did not finish the handshake in time", now)

    def _keep_alive(self, now: float) -> None:
        timers = self.hub.timers
        if now - self.heard >= timers.echo_interval * 0.99:
            self._missed += 1
            if self._missed > timers.echo_misses:
                self.fail("did not answer ECHO_REQUEST", now, abort=True)
                return
            self.probe()
        else:
            self._missed = 0
        self._alarm = self.hub.clock.at(now + timers.echo_interval, self._keep_alive)

    def probe(self) -> None:
        """Ask for a sign of life."""
        self.hub.writes[self.cid].append(header.message(self.version, header.ECHO_REQUEST, 0))
