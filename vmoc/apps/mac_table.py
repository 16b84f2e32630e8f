"""Where the stations are: the learning of the default controller, without any OpenFlow in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

UNTAGGED: Final = -1
FORGETS: Final = 4
"""Stations that one frame can make too old: each costs flow-mods, and other slices' frames wait for those."""

_TPIDS: Final = (0x8100, 0x88A8)
_LLDP: Final = 0x88CC


@dataclass(frozen=True, slots=True)
class Station:
    """A MAC address (6 bytes) in a VLAN as seen on the wire (0 is a priority tag, ``UNTAGGED`` is no tag)."""

    vlan: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about one frame, in this order.

    ``stale``: delete every flow from or to these stations. ``flow``: treat
    what goes from the first to the second station like this packet from now
    on. Then ``drop`` the packet, send it to ``port``, or flood it if ``port``
    is None.
    """

    stale: tuple[Station, ...] = ()
    flow: tuple[Station, Station] | None = None
    port: int | None = None
    drop: bool = False


class MacTable:
    """Stations of one datapath, at most ``capacity`` of them, each for ``age`` seconds since it was last heard.

    Flows hide a station's packets from the controller, so forgetting one goes
    together with deleting its flows: the next packet teaches again.
    """

    def __init__(self, capacity: int = 16384, age: float = 300.0) -> None:
        self._capacity = capacity
        self._age = age
        self._where: OrderedDict[Station, tuple[int, float]] = OrderedDict()  # oldest heard first

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[Station]:
        return iter(self._where)

    def port_of(self, station: Station) -> int | None:
        """The port a station was last heard on."""
        found = self._where.get(station)
        return None if found is None else found[0]

    def forget_port(self, port: int) -> tuple[Station, ...]:
        """Forget, and return, every station on ``port``."""
        gone = tuple(station for station, (where, _) in self._where.items() if where == port)
        for station in gone:
            del self._where[station]
        return gone

    def frame(self, in_port: int, data: bytes, now: float) -> Verdict:
        """Learn from one Ethernet frame and decide about it; ``now`` in seconds of any monotonic clock.

        Frames to the reserved bridge addresses (01-80-c2-00-00-0x, LLDP among
        them), LLDP to any address, frames from a group address and frames
        without a full header go nowhere.
        """
        parsed = _addresses(data)
        if parsed is None:
            return Verdict(drop=True)
        source, destination = parsed
        stale = self._learn(source, in_port, now)
        if destination.mac[0] & 1:
            return Verdict(stale)
        port, heard = self._where.get(destination, (None, now))
        if port is None or now - heard > self._age:
            return Verdict(stale)
        # A destination behind the ingress port gets a flow too, one that drops: its segment has the frame already.
        return Verdict(stale, (source, destination), port, drop=port == in_port)

    def _learn(self, station: Station, port: int, now: float) -> tuple[Station, ...]:
        stale = []
        known = self._where.pop(station, None)
        if known is not None and known[0] != port:
            stale.append(station)
        for _ in range(min(FORGETS, len(self._where))):
            oldest, (_, heard) = next(iter(self._where.items()))
            if len(self._where) < self._capacity and now - heard <= self._age:
                break
            del self._where[oldest]
            stale.append(oldest)
        self._where[station] = (port, now)
        return tuple(stale)


def _addresses(data: bytes) -> tuple[Station, Station] | None:
    if len(data) < 14:
        return None
    kind, vlan = int.from_bytes(data[12:14]), UNTAGGED
    if kind in _TPIDS:
        if len(data) < 18:
            return None
        vlan, kind = int.from_bytes(data[14:16]) & 0xFFF, int.from_bytes(data[16:18])
    target, source = data[0:6], data[6:12]
    reserved = target[:5] == b"\x01\x80\xc2\x00\x00" and target[5] < 0x10
    if reserved or kind == _LLDP or source[0] & 1 or not any(source):
        return None
    return Station(vlan, source), Station(vlan, target)
