"""Keeps the default controller's floods from running in circles, without costing slices that have no loop anything.

Two lines of defence. Every frame that reaches the controller is remembered
for a moment: one that comes back by another port is a copy that went round,
and ends there, so that no storm can start. Only then the switch, and with it
whoever hears it, sends probes out of its ports for as long as they are heard:
the links they show are a graph, its spanning tree says which ports are
blocked.

All numbers here are connections', not DPIDs: those of two slices may be
the same. Probes stay within a slice because VMOC sees to that; hosts can see
them, and could say them again later or in another VLAN, so a probe is good for
one VLAN and for ``FRESH`` seconds.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from struct import pack
from typing import Final

from vmoc.apps import lldp
from vmoc.apps.mac_table import UNTAGGED
from vmoc.topology import Link, PortRef, Topology
from vmoc.topology.spanning import blocked_ports

INTERVAL: Final = 2.0
"""Seconds between two probes out of a port."""
LIFETIME: Final = 4 * INTERVAL
"""Seconds a link stays without being heard, and a switch goes on probing without any link."""
MEMORY: Final = 2.0
"""Seconds a frame is remembered; a station that moves meanwhile and says the same again waits so long."""
FRESH: Final = 2 * INTERVAL
"""Seconds after which a probe of ours is a replay."""
GROUP: Final = bytes.fromhex("03564d000001")
"""Where probes go: an address that bridges in between do forward."""


class Repeats:
    """The latest frames of a switch, at most ``capacity``, and the port each came by first."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[int, tuple[int, float]] = OrderedDict()  # latest last

    def __len__(self) -> int:
        return len(self._seen)

    def is_copy(self, port: int, data: bytes, now: float) -> bool:
        """Whether the frame came by another port a moment ago. From the same port it is sent again, as hosts do."""
        while self._seen:
            oldest, (_, when) = next(iter(self._seen.items()))
            if len(self._seen) < self._capacity and now - when <= MEMORY:
                break
            del self._seen[oldest]
        key = hash(data)
        first = self._seen.get(key)
        if first is not None and first[0] != port:
            return True
        self._seen.pop(key, None)
        self._seen[key] = (port, now)
        return False


@dataclass(slots=True)
class _Probing:
    """When a switch probes next, how long it goes on should nobody be heard, and the tag of what it noticed."""

    when: float
    until: float
    vlan: int


class LoopGuard:
    """Who is linked to whom, and which ports are blocked. ``now`` is in seconds of any monotonic clock.

    Methods that may change which ports are blocked return every switch whose
    frames may take other ways now: those have to forget what they learnt.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._topology = Topology(LIFETIME)
        self._parts: dict[int, frozenset[int]] = {}
        """By switch: with whom it was linked when ports were last chosen there. Without a link it is not here."""
        self._blocked: dict[int, set[int]] = {}
        self._repeats: dict[int, Repeats] = {}
        self._probing: dict[int, _Probing] = {}
        self._news: set[int] = set()
        """Switches with links that no tree knows yet. They wait for the next tick: links come many at a time."""

    def join(self, number: int, ports: Mapping[int, str]) -> None:
        """A switch with its ports (number to name) is there."""
        self._repeats[number] = Repeats()
        self._topology.switch_up(number, ports)

    def leave(self, number: int) -> frozenset[int]:
        """It is gone."""
        self._repeats.pop(number, None)
        self._probing.pop(number, None)
        return self._rebuild(_ends(self._topology.switch_down(number)))

    def port_up(self, number: int, port: int, name: str, now: float) -> None:
        """A port is there and carries frames; where there was a loop it may be part of the next one."""
        self._topology.port_up(PortRef(number, port), name)
        if number in self._probing:
            self._begin(number, self._probing[number].vlan, now)

    def port_down(self, number: int, port: int) -> frozenset[int]:
        """A port carries nothing any more."""
        return self._rebuild(_ends(self._topology.port_down(PortRef(number, port))))

    def blocked(self, number: int) -> Set[int]:
        """The ports of a switch that nothing may be sent to."""
        return self._blocked.get(number, frozenset())

    def ends(self, number: int, port: int, data: bytes, now: float) -> bool:
        """Whether a frame that came by a port goes no further: a probe, a copy, or it came by a blocked port."""
        if data.startswith(GROUP):
            vlan, untagged = untag(data)
            if lldp.is_lldp(untagged):
                self._hear(number, port, vlan, untagged, now)
                return True
        if port in self.blocked(number):
            return True
        repeats = self._repeats.get(number)
        if repeats is None or not repeats.is_copy(port, data, now):
            return False
        self._begin(number, untag(data)[0], now)
        return True

    def tick(self, now: float) -> tuple[list[tuple[int, int]], frozenset[int]]:
        """Which switches have to send probes now, and with what tag; and who has to forget. About twice a second."""
        if not self._probing and not self._parts:
            return [], frozenset()
        touched = _ends(self._topology.expire(now)) | self._news
        self._news = set()
        changed = self._rebuild(touched)
        due = []
        for number, probing in list(self._probing.items()):
            if number not in self._parts and now > probing.until:
                del self._probing[number]
            elif probing.when <= now:
                due.append((number, probing.vlan))
                probing.when = now + INTERVAL
        return due, changed

    def probe(self, number: int, port: int, hw_addr: bytes, vlan: int, now: float) -> bytes:
        """The frame to send out of a port with address ``hw_addr``, tagged unless ``vlan`` is ``UNTAGGED``."""
        made = lldp.build(PortRef(number, port), hw_addr, _stamp(vlan, now), int(LIFETIME), self._secret)
        tag = b"" if vlan == UNTAGGED else pack("!HH", 0x8100, vlan)
        return GROUP + made[6:12] + tag + made[12:]

    def _hear(self, number: int, port: int, vlan: int, untagged: bytes, now: float) -> None:
        read = lldp.read(untagged, self._secret)
        if read is None or not _stamp(vlan, now - FRESH) <= read[1] <= _stamp(vlan, now):
            return
        self._begin(number, vlan, now)
        link = Link(read[0], PortRef(number, port))
        if self._topology.link_seen(link, now):
            self._news |= _ends([link])

    def _begin(self, number: int, vlan: int, now: float) -> None:
        before = self._probing.get(number)
        self._probing[number] = _Probing(now if before is None else before.when, now + LIFETIME, vlan)

    def _rebuild(self, touched: set[int]) -> frozenset[int]:
        """Choose anew where the switches ``touched`` are, or were; the others, of other slices most of all, stay."""
        old = {self._parts[number] for number in touched if number in self._parts}
        members = touched.union(*old)
        new, left = [], set(members)
        while left:
            part = self._topology.part(left.pop())
            left -= part
            new.append(part)
        members = members.union(*new)
        before = {number: self._blocked.pop(number, None) for number in members}
        for number in members:
            self._parts.pop(number, None)
        for part in new:
            links = self._topology.links(part)
            if links:
                self._parts.update(dict.fromkeys(part, part))
            for where in blocked_ports(links):
                self._blocked.setdefault(where.dpid, set()).add(where.port)
        concerned = {number for number in members if before[number] != self._blocked.get(number)}
        return frozenset().union(*(part for part in (*old, *new) if part & concerned))


def untag(data: bytes) -> tuple[int, bytes]:
    """The VLAN of a frame's outer 802.1Q tag (``UNTAGGED`` without one), and the frame without it."""
    if data[12:14] != b"\x81\x00":
        return UNTAGGED, data
    return int.from_bytes(data[14:16]) & 0xFFF, data[:12] + data[16:]


def _ends(links: Iterable[Link]) -> set[int]:
    return {end.dpid for link in links for end in (link.source, link.target)}


def _stamp(vlan: int, now: float) -> int:
    """Milliseconds below the VLAN. No tag and that of VLAN 0, which only has a priority, are the same."""
    return max(vlan, 0) << 48 | max(int(now * 1000), 0)
