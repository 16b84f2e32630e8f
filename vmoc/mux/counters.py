"""What the core counts: plain integers, read by telemetry, never by the core itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Totals since start. Keys of the mappings are label values."""

    south_in: int = 0
    north_in: int = 0
    packet_ins: int = 0
    flow_mods: int = 0
    packet_outs: int = 0
    reconnects: Counter[str] = field(default_factory=Counter)
    """By side: ``south``, ``north``."""
    dropped_packet_ins: Counter[str] = field(default_factory=Counter)
    """By cause: ``no-slice``, ``foreign-port``, ``foreign-cookie``, ``down``, ``rate``, ``backlog``, ``malformed``."""
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (slice, reason code)."""
    malformed: Counter[str] = field(default_factory=Counter)
    """By side."""
    unrouted: Counter[str] = field(default_factory=Counter)
    """Answers of switches nobody waits for, by message name."""
    rate_limited: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Pauses by (slice, kind of message)."""
    unclassified: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    """Packet-ins nobody owns, by (dpid, in_port, VID); at most ``UNCLASSIFIED_KEYS`` keys."""

    def count_unclassified(self, dpid: int, in_port: int, vid: int) -> None:
        """Count, without letting hosts make up keys for ever."""
        key = (dpid, in_port, vid)
        if key in self.unclassified or len(self.unclassified) < UNCLASSIFIED_KEYS:
            self.unclassified[key] += 1
        self.dropped_packet_ins["no-slice"] += 1


UNCLASSIFIED_KEYS = 4096
