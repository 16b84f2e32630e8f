"""What switches say of their ports, no faster than everybody else can bear.

A port that comes, goes or changes concerns every virtual datapath of its
switch. Such changes are made at once as long as they are few. Of a switch whose
ports change faster (a bad cable, a reboot, malice) they wait: for each port the
last thing said counts, and waiting switches have turns, one port at a time, at
a rate that leaves the rest of the time to packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vmoc.mux.clock import Alarm
from vmoc.openflow.header import OF10, OF13

if TYPE_CHECKING:
    from vmoc.mux.hub import Hub
    from vmoc.mux.switch import Switch
    from vmoc.openflow.features import Port

ADD: Final = 0
DELETE: Final = 1
MODIFY: Final = 2
MOST_PORTS: Final = {OF10: 1364, OF13: 4096}
"""Ports of a switch, those of which something waits to be done included; one that has more is not served.

A FEATURES_REPLY of 1.0 has no room for more.
"""
RATE: Final = 10_000
"""Pairs of a changed port and a virtual datapath a second, of all switches together: a fifth of a slow CPU."""
BURST: Final = 0.1
"""Seconds' worth of them that may be done at once."""
PACE: Final = 0.001
"""Seconds from one turn to the next, at least."""


class Change(NamedTuple):
    """The last thing a switch said of a port; ``went``: and before it, that the port was gone."""

    reason: int
    port: Port
    message: bytes
    went: bool


class PortChanges:
    """The changes that wait, of all switches."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._late: dict[Switch, dict[int, Change]] = {}
        """In the order of their turns, and there in the order in which ports were first heard of."""
        self._paid = 0.0
        """Until when the work that has been done takes all there is to spend."""
        self._alarm: Alarm | None = None

    def waiting(self, switch: Switch) -> int:
        """How many ports of a switch wait."""
        return len(self._late.get(switch, ()))

    def put(self, switch: Switch, reason: int, port: Port, message: bytes, now: float) -> None:
        """A switch has said something of a port."""
        waiting = self._late.get(switch)
        if waiting is None and self._may(now):
            self._make(switch, Change(reason, port, message, False), now)
            return
        before = waiting.get(port.number) if waiting is not None else None
        if before is None and reason == DELETE and port.number not in switch.ports:
            return  # nobody knows of it
        if waiting is None:
            waiting = self._late[switch] = {}
        went = before is not None and (before.went or before.reason == DELETE)
        waiting[port.number] = Change(reason, port, message, went)
        if self._alarm is None:
            self._wait(now)

    def forget(self, switch: Switch) -> None:
        """It is gone, with all that was to be said of its ports."""
        self._late.pop(switch, None)

    def _may(self, now: float) -> bool:
        return self._paid < now + BURST

    def _wait(self, now: float) -> None:
        self._alarm = self._hub.clock.at(max(now, self._paid - BURST) + PACE, self._turn)

    def _turn(self, now: float) -> None:
        self._alarm = None
        while self._late and self._may(now):
            switch = next(iter(self._late))
            waiting = self._late.pop(switch)
            change = waiting.pop(next(iter(waiting)))
            if waiting:
                self._late[switch] = waiting  # behind the others
            self._make(switch, change, now)
        if self._late:
            self._wait(now)

    def _make(self, switch: Switch, change: Change, now: float) -> None:
        reason, port, message, went = change
        parts = 1
        if went and reason != DELETE and port.number in switch.ports:
            switch.port_said(DELETE, switch.ports[port.number], None, now)
            parts = 2
        switch.port_said(reason, port, message, now)
        self._paid = max(self._paid, now) + parts * (1 + len(switch.datapaths)) / RATE
