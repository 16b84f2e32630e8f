"""Which worker serves which switch: one for good, chosen by load, and the same for all that must meet in one mux.

Switches whose DPIDs have the same lower 48 bits go to one worker: it is there
that a second connection of a DPID, a per-VLAN instance of the same switch, and
two virtual datapaths that would show a controller the same DPID (``vlan << 48``
with those 48 bits, or the DPID itself) are told apart. All else that a mux
holds is about one switch.

A switch keeps its worker until that has forgotten it, because its flows are
known there, connected or not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

Key = tuple[int, int]
"""DPID, native VLAN or 0."""
_MEETS: Final = 0xFFFF_FFFF_FFFF
_LEAST: Final = 0.01
"""The share of a CPU a switch is expected to take when nothing is known."""


@dataclass(slots=True)
class _Home:
    worker: int
    keys: dict[Key, int] = field(default_factory=dict)
    """Each with the number of its last hand-over; 0: known by the journal."""


@dataclass(slots=True)
class _Load:
    busy: float = 0.0
    switches: int = 0
    since: int = 0
    """Switches given to it that its last report may not have in it."""


class Placing:
    """The map of one service. ``workers`` have the numbers from 0."""

    def __init__(self, workers: int) -> None:
        self._loads = [_Load() for _ in range(workers)]
        self._homes: dict[int, _Home] = {}

    def worker_of(self, dpid: int) -> int | None:
        """Whose a switch is; None: nobody's yet, or no more."""
        home = self._homes.get(dpid & _MEETS)
        return None if home is None else home.worker

    def choose(self, dpid: int, ready: Collection[int]) -> int | None:
        """Who shall serve a switch: whoever has it, or the least busy one of ``ready``; None when there is none."""
        worker = self.worker_of(dpid)
        if worker is not None or not ready:
            return worker
        return min(ready, key=self._burden)

    def _burden(self, worker: int) -> tuple[int, int, int]:
        """CPU in tenths of one, then switches: what is next to idle is told apart by how many it may have to serve."""
        load = self._loads[worker]
        switches = sum(one.switches for one in self._loads)
        share = max(sum(one.busy for one in self._loads) / switches, _LEAST) if switches else _LEAST
        return int((load.busy + load.since * share) * 10 + 0.5), load.switches + load.since, worker

    def put(self, key: Key, worker: int, number: int = 0) -> None:
        """``worker`` has the switch; ``number`` is that of the hand-over, which ascend."""
        self._homes.setdefault(key[0] & _MEETS, _Home(worker)).keys[key] = number
        if number:
            self._loads[worker].since += 1

    def report(self, worker: int, busy: float, switches: int) -> None:
        """How much of a CPU a worker uses, and how many switches are connected to it."""
        self._loads[worker] = _Load(busy, switches)

    def begin(self, worker: int, known: Collection[Key]) -> None:
        """A new ``worker`` knows these switches by its journal, and none of those that were its predecessor's."""
        for identity, home in list(self._homes.items()):
            if home.worker == worker:
                del self._homes[identity]
        for key in known:
            self.put(key, worker)

    def forget(self, key: Key, worker: int, seen: int) -> None:
        """``worker`` keeps nothing of the switch; ``seen`` is the last hand-over it had got when it said so."""
        home = self._homes.get(key[0] & _MEETS)
        if home is None or home.worker != worker or home.keys.get(key, seen + 1) > seen:
            return  # it has been handed over again meanwhile
        del home.keys[key]
        if not home.keys:
            del self._homes[key[0] & _MEETS]
