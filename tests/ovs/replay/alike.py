"""Flows, groups, meters and frames in a form in which a model's and a real switch's can be compared.

Ids that VMOC chooses (groups, meters, cookies) are replaced by what they stand
for. What is left out is what cannot be the same: ages, counters, and fields
Open vSwitch computes from a packet that is not what its ethertype says.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.emulation import wire as of
from tests.emulation.actions import split_actions
from tests.emulation.answers import split_buckets
from tests.emulation.frames import TAGS
from tests.emulation.match import Match
from tests.ovs.replay.script import MARK

PROXY: Final = 0xFFFE
MOMENTARY: Final = PROXY << 48 | 3
"""The cookie of a drop entry that VMOC installs for some seconds against packet-ins (vetting A.10)."""
INNER: Final = (0x0800, 0x0806, 0x86DD)
"""Ethertypes whose headers actions may rewrite; the model leaves them alone."""


@dataclass
class State:
    """All a switch holds. Entries have the fields of ``tests.emulation.table.Entry``."""

    version: int
    entries: list[Any]
    groups: Mapping[int, tuple[int, bytes]] = field(default_factory=dict)
    meters: Mapping[int, tuple[int, bytes]] = field(default_factory=dict)

    def flows(self) -> Counter[Any]:
        """Every entry but the momentary ones."""
        return Counter(
            (
                entry.vlan,
                entry.table,
                entry.priority,
                "proxy" if entry.cookie >> 48 == PROXY else "slice",
                matched(entry.match),
                entry.idle,
                entry.hard,
                self.instructions(entry.actions),
            )
            for entry in self.entries
            if entry.cookie != MOMENTARY
        )

    def all_groups(self) -> Counter[Any]:
        """Every group by what it does."""
        return Counter(self.group(number) for number in self.groups)

    def all_meters(self) -> Counter[Any]:
        """Every meter by what it does."""
        return Counter(self.meters.values())

    def group(self, number: int, above: tuple[int, ...] = ()) -> Any:
        """A group by what it does; what a bucket leads to is part of it."""
        if number not in self.groups or number in above:
            return ("no group", number)
        kind, raw = self.groups[number]
        found = []
        for bucket in split_buckets(raw):
            weight, watch_port, watch_group = struct.unpack_from("!HII", bucket, 2)
            watched = None if watch_group == 0xFFFFFFFF else self.group(watch_group, (*above, number))
            found.append((weight, watch_port, watched, self.actions(bucket[16:], (*above, number))))
        return (kind, *found)

    def instructions(self, data: bytes) -> Any:
        """An action list (1.0) or instructions (1.3)."""
        if self.version == of.V10:
            return self.actions(data)
        found = []
        for kind, body in sorted(split_actions(data)):
            if kind in (3, 4):
                if len(body) > 8 or kind == 3:
                    found.append((kind, self.actions(body[8:])))
            elif kind == 6:
                found.append((kind, self.meters.get(int.from_bytes(body[4:8], "big"))))
            else:
                found.append((kind, body[4:5] if kind == 1 else body[8:]))
        return tuple(found)

    def actions(self, data: bytes, above: tuple[int, ...] = ()) -> Any:
        """An action list; how much of a packet a controller wants is the switch's choice."""
        found: list[Any] = []
        for kind, body in split_actions(data):
            if kind == 0:
                found.append((0, body[4:6] if self.version == of.V10 else body[4:8]))
            elif kind == 22 and self.version == of.V13:
                found.append((22, self.group(int.from_bytes(body[4:8], "big"), above)))
            else:
                found.append((kind, body[4:]))
        return tuple(found)

    def tags(self) -> dict[int, set[Any]]:
        """Whose cookies are in which VLANs."""
        found: dict[int, set[Any]] = {}
        for entry in self.entries:
            found.setdefault(entry.cookie >> 48, set()).add(entry.vlan)
        return found


def matched(match: Match) -> Any:
    """A match without what its masks hide."""
    return frozenset((name, value & mask, mask) for name, (value, mask) in match.items())


def frame(data: bytes) -> bytes:
    """Addresses, tags and ethertype, and the payload, or its end if actions may rewrite it."""
    at = 12
    while int.from_bytes(data[at : at + 2], "big") in TAGS:
        at += 4
    # Padding is as long as an interface likes it.
    whole = data.rstrip(b"\0")
    return data[: at + 2] + mark(data) if int.from_bytes(data[at : at + 2], "big") in INNER else whole


def mark(data: bytes) -> bytes:
    """The end of an injected frame, which no other one has; nothing of other frames."""
    return b"".join(data.rpartition(MARK)[1:]).rstrip(b"\0") if MARK in data else b""


def sent(frames: Iterable[tuple[int, bytes]]) -> Counter[tuple[int, bytes]]:
    """What left a switch, by port."""
    return Counter((port, frame(data)) for port, data in frames)


def difference(real: Counter[Any], model: Counter[Any], most: int = 6) -> str:
    """What only one of them has, the first few."""
    only = [(side, item) for side, found in (("Open vSwitch", real - model), ("the model", model - real))
            for item in list(found.elements())[:most]]  # fmt: skip
    return "\n".join(f"  only on {side}: {item}".replace("\\x00", "") for side, item in only)
