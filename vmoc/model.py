"""Value types shared by every layer: what a slice *is*, without what it does.

Everything here is immutable and imports the standard library only. A *slice*
belongs to one experimenter and has *segments*; a segment is one VLAN on some
attachment points with its controllers. A *virtual datapath* is (segment,
switch) and lives in ``vmoc.mux``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

VLAN_MIN: Final = 1
VLAN_MAX: Final = 4094
DPID_MASK: Final = (1 << 64) - 1
SLICE_ID: Final = re.compile(r"[A-Za-z0-9._:+-]{1,128}")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_NO_QUEUES: Final[Mapping[int, frozenset[int]]] = MappingProxyType({})


class Presentation(StrEnum):
    """How a slice's frames look to its controller (vetting rules differ)."""

    TAGGED = "tagged"
    TRANSPARENT = "transparent"


class DpidScheme(StrEnum):
    """Which DPID a virtual datapath presents."""

    VLAN = "vlan"
    PHYSICAL = "physical"


class FailMode(StrEnum):
    """What happens to a virtual datapath's flows when no controller is connected."""

    SECURE = "secure"
    STANDALONE = "standalone"
    FLUSH = "flush"


class Origin(StrEnum):
    """Who made a slice; a configuration reload touches only ``FILE``."""

    FILE = "file"
    API = "api"


def parse_dpid(text: str | int) -> int:
    """Read a DPID: ``0x`` hex, 16 bare hex digits, or colon-separated hex.

    Raises ``ValueError`` on anything else or beyond 64 bits.
    """
    if isinstance(text, bool):
        raise ValueError("a DPID is a number or a hex string, not a boolean")
    if isinstance(text, int):
        value = text
    else:
        bare = text.strip().lower().replace(":", "")
        if bare.startswith("0x"):
            bare = bare[2:]
        elif ":" not in text and len(bare) != 16:
            raise ValueError(f"{text!r} is not a DPID; write 0x and up to 16 hex digits")
        if not re.fullmatch(r"[0-9a-f]{1,16}", bare):
            raise ValueError(f"{text!r} is not a DPID; write 0x and up to 16 hex digits")
        value = int(bare, 16)
    if not 0 <= value <= DPID_MASK:
        raise ValueError(f"{text!r} does not fit a DPID's 64 bits")
    return value


def format_dpid(dpid: int) -> str:
    """``0x`` and 16 hex digits."""
    return f"0x{dpid:016x}"


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Rising numbers as the first and last of each unbroken run."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def format_runs(numbers: Iterable[int]) -> list[str]:
    """``1, 2, 3, 7`` as ``1-3`` and ``7``. Numbers must rise."""
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs(numbers)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A controller's address, ``tcp:HOST:PORT`` or ``ssl:HOST:PORT``."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``tcp:H:P`` or ``ssl:H:P`` (IPv6 hosts in brackets); ``ValueError`` if it is neither."""
        match = re.fullmatch(r"(tcp|ssl):(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):(\d{1,5})", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a controller address; write tcp:HOST:PORT or ssl:HOST:PORT")
        host, port = match[2].strip("[]"), int(match[3])
        if not 1 <= port <= 65535:
            raise ValueError(f"{text!r}: port {port} is outside 1..65535")
        return cls(match[1], host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A segment's ports on one switch; ``ports`` None means every physical port, now and later."""

    dpid: int
    ports: frozenset[int] | None = None
    queues: Mapping[int, frozenset[int]] = field(default_factory=lambda: _NO_QUEUES, hash=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one virtual datapath may use. Rates are per second; 0 means unlimited everywhere."""

    max_flows: int = 1000
    max_groups: int = 64
    max_meters: int = 16
    flow_mod_rate: int = 500
    packet_out_rate: int = 1000
    packet_in_rate: int = 1000
    stats_rate: int = 20
    barrier_rate: int = 50


@dataclass(frozen=True, slots=True)
class Segment:
    """One VLAN of a slice: where it is attached and who controls it.

    ``controllers`` empty means the default controller; ``attachments`` None
    means every switch, every port.
    """

    vlan: int
    controllers: tuple[Endpoint, ...] = ()
    presentation: Presentation = Presentation.TAGGED
    dpid: DpidScheme = DpidScheme.VLAN
    attachments: tuple[Attachment, ...] | None = None
    fail_mode: FailMode = FailMode.SECURE

    def attachment(self, dpid: int) -> Attachment | None:
        """The grant on ``dpid``, or None when the segment is not there."""
        if self.attachments is None:
            return Attachment(dpid)
        for attachment in self.attachments:
            if attachment.dpid == dpid:
                return attachment
        return None


@dataclass(frozen=True, slots=True)
class Slice:
    """One experimenter's share of the network."""

    id: str
    segments: tuple[Segment, ...] = ()
    limits: Limits = Limits()
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    manager: str = ""
    origin: Origin = Origin.FILE
    enabled: bool = True
    owner: str = ""
    expire_time: float | None = None  # seconds since the epoch; the slice is removed then


@dataclass(frozen=True, slots=True)
class Policy:
    """The isolation policy's options; names as under ``policy:`` in the configuration."""

    qinq: bool = False
    mpls: bool = False
    pcp: str = "pass"
    buffers: str = "none"
    port_counters: str = "auto"
    pipeline: str = "direct"
    vlan_port_sharing: bool = False
    foreign_flows: str = "delete"
    on_restart: str = "journal"
    flush_on_connect: bool = False
    max_tables: int = 254
    max_buckets: int = 32
    chain_depth: int = 4
    max_dup_outputs: int = 4
    error_rate: int = 100


@dataclass(frozen=True, slots=True)
class Timers:
    """Every timer of the OpenFlow legs, in seconds."""

    echo_interval: float = 15.0
    echo_misses: int = 3
    handshake: float = 10.0
    reconnect_first: float = 1.0
    reconnect_max: float = 30.0
    request: float = 10.0
    duplicate_probe: float = 1.0
    standalone_after: float = 5.0
    audit: float = 60.0
