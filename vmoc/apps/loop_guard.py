"""Keeps the default controller's floods from running in circles, without costing slices that have no loop anything.

Two lines of defence. Every frame that reaches the controller is remembered
for a moment: one that comes back by another port is a copy that went round,
and ends there, so that no storm can start. Only then the switch, and with it
whoever hears it, sends probes out of its ports for as long as they are heard:
the links they show are a graph, its spanning tree says which ports are
blocked.

All numbers here are connections', not DPIDs: those of two slices may be
the same. Probes stay within a slice because VMOC sees to that.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from struct import pack
from typing import Final

import networkx as nx

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


class LoopGuard:
    """Who is linked to whom, and which ports are blocked. ``now`` is in seconds of any monotonic clock.

    Methods that may change which ports are blocked return every switch whose
    frames may take other ways now: those have to forget what they learnt.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._topology = Topology(LIFETIME)
        self._links: tuple[Link, ...] = ()
        """Those the blocked ports were chosen by."""
        self._blocked: frozenset[PortRef] = frozenset()
        self._repeats: dict[int, Repeats] = {}
        self._probing: dict[int, tuple[float, float]] = {}
        """By switch: when it probes next, and how long it goes on should nobody be heard."""
        self._news = False
        """Links that the tree does not know yet. It waits for the next tick: they come many at a time."""

    def join(self, number: int, ports: Mapping[int, str]) -> None:
        """A switch with its ports (number to name) is there."""
        self._repeats[number] = Repeats()
        self._topology.switch_up(number, ports)

    def leave(self, number: int) -> frozenset[int]:
        """It is gone."""
        self._repeats.pop(number, None)
        self._probing.pop(number, None)
        return self._rebuild() if self._topology.switch_down(number) else frozenset()

    def port_up(self, number: int, port: int, name: str, now: float) -> None:
        """A port is there and carries frames; where there was a loop it may be part of the next one."""
        self._topology.port_up(PortRef(number, port), name)
        if number in self._probing:
            self._begin(number, now)

    def port_down(self, number: int, port: int) -> frozenset[int]:
        """A port carries nothing any more."""
        return self._rebuild() if self._topology.port_down(PortRef(number, port)) else frozenset()

    def blocked(self, number: int) -> frozenset[int]:
        """The ports of a switch that nothing may be sent to."""
        return frozenset(where.port for where in self._blocked if where.dpid == number)

    def ends(self, number: int, port: int, data: bytes, now: float) -> bool:
        """Whether a frame that came by a port goes no further: a probe, a copy, or it came by a blocked port."""
        untagged = untag(data)
        if untagged.startswith(GROUP) and lldp.is_lldp(untagged):
            self._hear(number, port, untagged, now)
            return True
        if self._blocked and PortRef(number, port) in self._blocked:
            return True
        repeats = self._repeats.get(number)
        if repeats is None or not repeats.is_copy(port, data, now):
            return False
        self._begin(number, now)
        return True

    def tick(self, now: float) -> tuple[list[int], frozenset[int]]:
        """Which switches have to send probes now; and who has to forget. To be called about twice a second."""
        if not self._probing and not self._links:
            return [], frozenset()
        gone = self._topology.expire(now)
        links = self._topology.links()
        changed = self._rebuild() if gone or self._news else frozenset()
        linked = {end.dpid for link in links for end in (link.source, link.target)}
        due = []
        for number, (when, until) in list(self._probing.items()):
            if number not in linked and now > until:
                del self._probing[number]
            elif when <= now:
                due.append(number)
                self._probing[number] = (now + INTERVAL, until)
        return due, changed

    def probe(self, number: int, port: int, hw_addr: bytes, vlan: int) -> bytes:
        """The frame to send out of a port with address ``hw_addr``, tagged unless ``vlan`` is ``UNTAGGED``."""
        made = lldp.build(PortRef(number, port), hw_addr, 0, int(LIFETIME), self._secret)
        tag = b"" if vlan == UNTAGGED else pack("!HH", 0x8100, vlan)
        return GROUP + made[6:12] + tag + made[12:]

    def _hear(self, number: int, port: int, untagged: bytes, now: float) -> None:
        read = lldp.read(untagged, self._secret)
        if read is not None:
            self._begin(number, now)
            self._news |= self._topology.link_seen(Link(read[0], PortRef(number, port)), now)

    def _begin(self, number: int, now: float) -> None:
        when, _ = self._probing.get(number, (now, 0.0))
        self._probing[number] = (when, now + LIFETIME)

    def _rebuild(self) -> frozenset[int]:
        before, links = self._links, self._topology.links()
        blocked = blocked_ports(links)
        concerned = {where.dpid for where in blocked ^ self._blocked}
        self._links, self._blocked, self._news = links, blocked, False
        found: set[int] = set()
        for each in (before, links) if concerned else ():
            graph: nx.Graph[int] = nx.Graph([(link.source.dpid, link.target.dpid) for link in each])
            found.update(*(part for part in nx.connected_components(graph) if part & concerned))
        return frozenset(found)


def untag(data: bytes) -> bytes:
    """A frame without its outer 802.1Q tag, if it has one."""
    return data[:12] + data[16:] if data[12:14] == b"\x81\x00" else data
