"""A real flow table: what OpenFlow says about add, modify, delete, overlap and look-up, for both versions."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.emulation.actions import action_lists, output_ports, split_actions
from tests.emulation.layout import V10
from tests.emulation.match import Match, vlan_in
from tests.emulation.read import FlowMod

NONE = {1: 0xFFFF, 4: 0xFFFFFFFF}
SEND_FLOW_REM, CHECK_OVERLAP, RESET_COUNTS = 1, 2, 4


@dataclass(eq=False)
class Entry:
    """One flow entry; ``actions`` is the raw action (1.0) or instruction (1.3) list."""

    table: int
    match: Match
    match_raw: bytes
    priority: int
    cookie: int
    actions: bytes
    idle: int = 0
    hard: int = 0
    flags: int = 0
    packets: int = 0
    bytes: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def vlan(self) -> int | str | None:
        """The exact VLAN, ``"none"`` (untagged only), ``"masked"`` or None (any)."""
        return vlan_in(self.match)

    def outputs(self, version: int) -> list[int]:
        """Every port its action lists name."""
        return [port for actions in action_lists(version, self.actions) for port in output_ports(version, actions)]

    def uses_group(self, group: int) -> bool:
        """Whether a 1.3 action list names ``group``."""
        return any(
            kind == 22 and int.from_bytes(body[4:8], "big") == group
            for actions in action_lists(4, self.actions)
            for kind, body in split_actions(actions)
        )

    def metadata_writes(self) -> list[tuple[int, int]]:
        """What its 1.3 WRITE_METADATA writes, as (value, mask)."""
        return [struct.unpack("!QQ", body[8:24]) for kind, body in split_actions(self.actions) if kind == 2]

    def uses_meter(self, meter: int) -> bool:
        """Whether its 1.3 instructions name ``meter``."""
        return any(
            kind == 6 and int.from_bytes(body[4:8], "big") == meter for kind, body in split_actions(self.actions)
        )

    def __repr__(self) -> str:
        return f"<flow t{self.table} p{self.priority} vlan {self.vlan} {self.match} cookie {self.cookie:#x}>"


def covers(wide: Match, narrow: Match) -> bool:
    """Whether every packet of ``narrow`` is one of ``wide``, judged on the fields as written (1.3.5 section 6.4)."""
    for name, (value, mask) in wide.items():
        other, other_mask = narrow.get(name, (0, 0))
        if mask & ~other_mask or (other & mask) != (value & mask):
            return False
    return True


def overlap(a: Match, b: Match) -> bool:
    """Whether one packet could satisfy both."""
    for name in a.keys() & b.keys():
        (value, mask), (other, other_mask) = a[name], b[name]
        if (value ^ other) & mask & other_mask:
            return False
    return True


def same(a: Match, b: Match) -> bool:
    """Identical matches, as strict commands compare them."""
    return a.keys() == b.keys() and all(a[n][1] == b[n][1] and not (a[n][0] ^ b[n][0]) & a[n][1] for n in a)


def hit(match: Match, fields: dict[str, int]) -> bool:
    """Whether a packet with these fields satisfies a match."""
    return all(name in fields and not (fields[name] ^ value) & mask for name, (value, mask) in match.items())


class FlowError(Exception):
    """Refused; ``args`` are the OpenFlow error type and code."""


class FlowTable:
    """All tables of one switch; ``capacity`` bounds their entries together."""

    def __init__(self, version: int, capacity: int = 1 << 20) -> None:
        self.version = version
        self.capacity = capacity
        self.entries: list[Entry] = []

    def apply(self, mod: FlowMod) -> list[Entry]:
        """Do what a FLOW_MOD asks; returns the entries it removed. Raises ``FlowError``."""
        if mod.command == "add":
            self._add(mod)
        elif mod.command in ("modify", "modify_strict"):
            self._modify(mod)
        elif mod.command in ("delete", "delete_strict"):
            gone = list(self._selected(mod, with_outputs=True))
            self._drop(gone)
            return gone
        else:
            raise FlowError(*((3, 4) if self.version == V10 else (5, 6)))
        return []

    def _drop(self, gone: list[Entry]) -> None:
        self.entries = [entry for entry in self.entries if entry not in gone]

    def _add(self, mod: FlowMod) -> None:
        if mod.flags & CHECK_OVERLAP:
            for entry in self.entries:
                if (
                    entry.table == mod.table
                    and entry.priority == mod.priority
                    and overlap(entry.match, mod.match)
                    and not same(entry.match, mod.match)
                ):
                    raise FlowError(*((3, 1) if self.version == V10 else (5, 3)))
        fresh = Entry(mod.table, mod.match, mod.match_raw, mod.priority, mod.cookie, mod.actions, mod.idle, mod.hard,
                      mod.flags)  # fmt: skip
        old = [e for e in self.entries if e.table == mod.table and e.priority == mod.priority and
               same(e.match, mod.match)]  # fmt: skip
        if old and self.version != V10 and not mod.flags & RESET_COUNTS:
            fresh.packets, fresh.bytes = old[0].packets, old[0].bytes
        self._drop(old)
        if len(self.entries) >= self.capacity:
            raise FlowError(*((3, 0) if self.version == V10 else (5, 1)))
        self.entries.append(fresh)

    def _modify(self, mod: FlowMod) -> None:
        chosen = list(self._selected(mod, with_outputs=False))
        if not chosen and self.version == V10:  # 1.0.1 section 4.6: modify acts as an add when nothing matches
            self._add(mod)
        for entry in chosen:
            entry.actions = mod.actions
            if self.version == V10:
                entry.cookie = mod.cookie
            elif mod.flags & RESET_COUNTS:
                entry.packets = entry.bytes = 0

    def _selected(self, mod: FlowMod, *, with_outputs: bool) -> Iterator[Entry]:
        everywhere = self.version == V10 or (mod.table == 0xFF and mod.command.startswith("delete"))
        for entry in self.entries:
            if not everywhere and entry.table != mod.table:
                continue
            if mod.command.endswith("strict"):
                if entry.priority != mod.priority or not same(entry.match, mod.match):
                    continue
            elif not covers(mod.match, entry.match):
                continue
            if (entry.cookie ^ mod.cookie) & mod.cookie_mask:
                continue
            if with_outputs and not self._names(entry, mod.out_port, mod.out_group):
                continue
            yield entry

    def _names(self, entry: Entry, out_port: int, out_group: int) -> bool:
        if out_port != NONE[self.version] and out_port not in entry.outputs(self.version):
            return False
        return self.version == V10 or out_group == 0xFFFFFFFF or entry.uses_group(out_group)

    def select(
        self, match: Match, table: int, out_port: int, out_group: int, cookie: int = 0, cookie_mask: int = 0
    ) -> list[Entry]:
        """The entries a FLOW or AGGREGATE request asks for."""
        return [
            entry
            for entry in self.entries
            if table in (0xFF, entry.table)
            and covers(match, entry.match)
            and not (entry.cookie ^ cookie) & cookie_mask
            and self._names(entry, out_port, out_group)
        ]

    def look_up(self, table: int, fields: dict[str, int]) -> Entry | None:
        """The entry of highest priority that a packet hits."""
        best: Entry | None = None
        for entry in self.entries:
            if entry.table == table and (best is None or entry.priority > best.priority):
                best = entry if hit(entry.match, fields) else best
        return best

    def removed_message(self, entry: Entry, reason: int) -> bytes:
        """The body of a FLOW_REMOVED for ``entry``."""
        age = int(time.monotonic() - entry.since)
        if self.version == V10:
            head = struct.pack("!QHBxIIH2xQQ", entry.cookie, entry.priority, reason, age, 0, entry.idle,
                               entry.packets, entry.bytes)  # fmt: skip
            return entry.match_raw + head
        head = struct.pack("!QHBBIIHHQQ", entry.cookie, entry.priority, reason, entry.table, age, 0, entry.idle,
                           entry.hard, entry.packets, entry.bytes)  # fmt: skip
        return head + entry.match_raw
