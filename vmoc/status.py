"""What VMOC shows of itself: switches, virtual datapaths, controller connections, flows, hosts, as plain values.

Made on the loop's thread, immutable, and good on any other. Times are seconds
since the epoch; None is "never" or "does not apply". Nothing is kept from
before: a switch or controller that is away says so, with the moment it was
last heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Lifecycle(StrEnum):
    """A virtual datapath as its experimenter sees it."""

    PENDING = "pending"  # its switch is not there, or not looked through yet
    FLUSHING = "flushing"  # the VLAN is being proven empty
    CONNECTING = "connecting"  # ready; no controller has finished its handshake so far
    ACTIVE = "active"  # at least one controller is connected
    FAILED = "failed"  # no controller can be reached; attempts go on
    DRAINING = "draining"  # the segment is gone, its flows are being deleted
    TAINTED = "tainted"  # the VLAN could not be proven empty: nobody gets it
    COLLIDING = "colliding"  # its controllers are shown the same DPID by another one
    DISABLED = "disabled"  # its slice is


@dataclass(frozen=True, slots=True)
class PortStatus:
    """One port of a switch, under its wire number."""

    number: int
    name: str
    hw_addr: str
    is_local: bool
    down: bool  # by configuration
    link_down: bool
    speed_kbps: int = 0
    max_speed_kbps: int = 0
    """0: not told, as always in OpenFlow 1.0."""


@dataclass(frozen=True, slots=True)
class SwitchSummary:
    """One switch. ``native_vlan`` is not 0 for a per-VLAN instance.

    ``connected``: its OpenFlow connection stands; ``up``: it has also been
    looked through, and carries slices. ``since``: when that became so.
    """

    dpid: int
    native_vlan: int
    connected: bool
    up: bool
    version: str | None  # "1.0", "1.3"
    peer: str | None
    since: float | None
    last_seen: float | None
    ports: int
    datapaths: int
    in_flight: int  # messages the switch has not acknowledged
    tables: int
    manufacturer: str
    hardware: str
    software: str
    serial_number: str
    description: str
    flows: int = 0
    """Those of all slices together."""
    tls: bool = False
    ailing: int = 0
    """Virtual datapaths without service: the switch is not up, or old flows of the VLAN could not be removed."""


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """One switch with its ports, and the VLANs that have a virtual datapath on it, both ascending."""

    summary: SwitchSummary
    ports: tuple[PortStatus, ...]
    vlans: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """One virtual datapath's connection to one controller, or the wish for it.

    ``state`` is idle (the datapath is not ready), held (another datapath shows
    the same DPID to that controller), waiting, dialling, handshaking or active.
    ``number`` names it for as long as it exists; connections are listed by it.
    """

    number: int
    slice: str
    vlan: int
    dpid: int
    native_vlan: int
    presented_dpid: int
    endpoint: str
    state: str
    since: float
    last_seen: float | None
    last_error: str
    next_retry: float | None
    failures: int  # attempts that failed since it was last active
    version: str | None  # of a connected controller, as its role
    role: str | None  # equal, master, slave
    is_default: bool  # the segment names no controller; this is the default one
    dropped: int = 0  # packet-ins it did not get because it was too slow, or the slice over its rate


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a limit is used; ``limit`` 0 is no limit."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages of one virtual datapath since it was made."""

    packet_ins: int = 0  # delivered
    flow_mods: int = 0  # received
    packet_outs: int = 0  # received
    refused: int = 0


@dataclass(frozen=True, slots=True)
class DatapathStatus:
    """One segment on one switch.

    ``state`` is the core's own word (absent: its switch was never here;
    pending, flushing, ready, colliding, tainted, gone), ``lifecycle`` what it
    comes to. ``since``: when its first present controller connected, of an active
    one; else when ``state`` became what it is. ``ports`` are the granted ones that the switch has.
    """

    slice: str
    vlan: int
    dpid: int
    native_vlan: int
    presented_dpid: int
    lifecycle: Lifecycle
    state: str
    reason: str
    since: float | None
    ports: tuple[int, ...] = ()
    flows: Usage = Usage(0, 0)
    groups: Usage = Usage(0, 0)
    meters: Usage = Usage(0, 0)
    traffic: Traffic = Traffic()
    controllers: tuple[Connection, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceStatus:
    """All virtual datapaths of one slice, by VLAN and DPID, and how many there are of each lifecycle."""

    slice: str
    enabled: bool
    datapaths: tuple[DatapathStatus, ...]
    counts: dict[Lifecycle, int]


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """What the switch counted for an entry; ``duration`` in seconds."""

    packets: int
    bytes: int
    duration: float


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """One flow entry, in ``ovs-ofctl`` syntax.

    ``kind``: slice (a controller's), guard, admission, standalone, suppress, operator
    (these five are VMOC's own, and have no ``virtual`` form), foreign (on the
    switch, unknown here) or missing (known here, not on the switch).
    ``confirmed``: the switch has reported it in this very answer.
    """

    dpid: int
    native_vlan: int
    vlan: int | None
    slice: str | None
    kind: str
    table: int
    priority: int
    cookie: int
    physical: str
    virtual: str
    virtual_cookie: int | None
    confirmed: bool
    counts: FlowCounts | None


@dataclass(frozen=True, slots=True)
class Host:
    """A station seen by its ARP, in one slice's VLAN; others may have the same addresses."""

    slice: str
    vlan: int
    mac: str
    ip: str | None
    dpid: int
    port: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has a VLAN somewhere. ``dpid`` None: on every switch; ``ports`` None: every port."""

    slice: str
    vlan: int
    dpid: int | None
    ports: tuple[int, ...] | None
    enabled: bool
    host: Host | None = None
