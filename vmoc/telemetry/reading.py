"""The numbers of a running service, taken at one moment, and those of several processes added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from vmoc.mux.counters import Counters


@dataclass(slots=True)
class Reading:
    """One look at the running service, taken on the loop's thread; a copy, so that it may be formatted elsewhere."""

    messages_in: Mapping[str, int] = field(default_factory=dict)
    packet_ins: int = 0
    flow_mods: int = 0
    packet_outs: int = 0
    reconnects: Mapping[str, int] = field(default_factory=dict)
    dropped_packet_ins: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    malformed: Mapping[str, int] = field(default_factory=dict)
    unrouted: Mapping[str, int] = field(default_factory=dict)
    rate_limited: Mapping[tuple[str, str], int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)
    slices: int = 0
    switches: Mapping[int, bool] = field(default_factory=dict)
    """By DPID: whether it is connected."""
    links: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Virtual datapath connections by (slice, state)."""
    connections: Mapping[str, int] = field(default_factory=dict)
    unsent_bytes: Mapping[str, int] = field(default_factory=dict)
    default_controller_restarts: int = 0
    log_lines_lost: int = 0


def read_counters(counters: Counters) -> Reading:
    """A ``Reading`` with the core's totals in it; call on the loop's thread."""
    return Reading(
        messages_in={"south_in": counters.south_in, "north_in": counters.north_in},
        packet_ins=counters.packet_ins,
        flow_mods=counters.flow_mods,
        packet_outs=counters.packet_outs,
        reconnects=dict(counters.reconnects),
        dropped_packet_ins=dict(counters.dropped_packet_ins),
        refused=dict(counters.refused),
        malformed=dict(counters.malformed),
        unrouted=dict(counters.unrouted),
        rate_limited=dict(counters.rate_limited),
    )


def add(readings: Iterable[Reading]) -> Reading:
    """One reading of them all. A switch is connected if it is so to anybody."""
    total = Reading()
    for reading in readings:
        for each in fields(Reading):
            before, more = getattr(total, each.name), getattr(reading, each.name)
            if each.name == "switches":
                merged = {dpid: before.get(dpid, False) or more.get(dpid, False) for dpid in (*before, *more)}
                total.switches = merged
            elif isinstance(more, int):
                setattr(total, each.name, before + more)
            else:
                counts = Counter(before)
                counts.update(more)
                setattr(total, each.name, dict(counts))
    return total
