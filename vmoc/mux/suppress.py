"""Packet-ins nobody can use are stopped at the switch, for a moment at a time (vetting A.10, B.1).

A slice far above its packet-in rate, and a VLAN that has no owner, cost the
switch and this process work for every frame. A drop entry of lowest priority
with a hard timeout ends that; while the cause lasts it is put back.

Rules of this file: such an entry carries the proxy's own tag; it is never
installed under an identity a slice's flow has; what is counted is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc.mux import admission
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, Own
from vmoc.openflow import v10
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.match import narrow13

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.proving import FlowEntry
    from vmoc.mux.switch import Switch

SUSTAINED: Final = 5.0
"""Seconds a port may keep its slice above its rate before it is quietened."""
GAP: Final = 1.0
"""Seconds without excess after which it counts anew."""
SLICE_SECONDS: Final = 1
NOBODY_RATE: Final = 10
"""Packet-ins per second of one (port, VLAN) without an owner."""
NOBODY_SECONDS: Final = 5
TRACKED: Final = 4096


class Excess:
    """By port: since when it has kept a virtual datapath above its packet-in rate, and until when it is quiet."""

    __slots__ = ("_ports",)

    def __init__(self) -> None:
        self._ports: dict[int, list[float]] = {}

    def seen(self, in_port: int, now: float) -> bool:
        """One more dropped packet-in of a port of the switch; whether it is time to stop them there."""
        entry = self._ports.get(in_port)
        if entry is None:
            entry = self._ports[in_port] = [now, now, 0.0]
        since, last, quiet_until = entry
        # Quiet of our own making is no sign that the cause is gone.
        if now - max(last, quiet_until) > GAP:
            since = entry[0] = now
        entry[1] = now
        if now - since <= SUSTAINED or now < quiet_until:
            return False
        entry[2] = now + SLICE_SECONDS
        return True


class Nobody:
    """Packet-ins without an owner, per (port, VLAN): count in the present second, and until when it is quiet."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[float]] = {}

    def seen(self, in_port: int, vid: int, now: float) -> bool:
        """One more; whether it is time to stop them at the switch."""
        entry = self._seen.get((in_port, vid))
        if entry is None:
            if len(self._seen) >= TRACKED:
                self._seen.clear()
            entry = self._seen[in_port, vid] = [now, 0.0, 0.0]
        if now - entry[0] >= 1.0:
            entry[0], entry[1] = now, 0.0
        entry[1] += 1
        if entry[1] <= NOBODY_RATE or now < entry[2]:
            return False
        entry[2] = now + NOBODY_SECONDS
        return True


def excess(datapath: VirtualDatapath, in_port: int, now: float) -> None:
    """A packet-in of a slice that is up was dropped for its rate."""
    switch = datapath.switch
    if in_port not in switch.ports or not datapath.excess.seen(in_port, now):
        return  # what a controller sent itself has no port
    table = switch.pipeline.first_table
    if table:
        match = oxm.pack(narrow13(datapath.grant, ((oxm.IN_PORT, in_port, None),)))
    else:
        match = _match(switch, in_port, None if switch.native else datapath.vlan)
    if bytes((table, 0, 0)) + match not in datapath.flows.by_identity:
        cookie = admission.proxy_cookie(datapath, Own.SUPPRESS)
        switch.send_own(_drop(switch, match, SLICE_SECONDS, cookie, table), now, datapath)


def nobody(switch: Switch, in_port: int, vid: int, now: float) -> None:
    """A packet-in had no owner; untagged frames are the operator's and stay."""
    if (
        vid > 0
        and not switch.native
        and switch.up
        and in_port in switch.ports
        and switch.nobody.seen(in_port, vid, now)
    ):
        switch.send_own(_drop(switch, _match(switch, in_port, vid), NOBODY_SECONDS, PROXY_TAG | Own.SUPPRESS), now)


def is_drop(entry: FlowEntry) -> bool:
    """Whether an entry a switch reported is one of these; it ends by itself."""
    proxys = entry.cookie >> SERIAL_BITS == PROXY_TAG >> SERIAL_BITS
    return proxys and entry.cookie & 0xFFFF == Own.SUPPRESS and entry.priority == 0


def _match(switch: Switch, in_port: int, vid: int | None) -> bytes:
    if switch.version == OF10:
        return m10.pack(in_port=in_port) if vid is None else m10.pack(in_port=in_port, dl_vlan=vid)
    vlan = () if vid is None else ((oxm.VLAN_VID, oxm.VID_PRESENT | vid, None),)
    return oxm.pack(((oxm.IN_PORT, in_port, None), *vlan))


def _drop(switch: Switch, match: bytes, seconds: int, cookie: int, table: int = 0) -> bytes:
    if switch.version == OF10:
        return f10.flow_mod(0, match, v10.ADD, cookie=cookie, hard=seconds, priority=0)
    return f13.flow_mod(0, match, v10.ADD, table=table, cookie=cookie, hard=seconds, priority=0)
