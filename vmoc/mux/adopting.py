"""A change of slices reaches the switches in small pieces, so that ten thousand of them delay no packet.

Every moment a few (switch, VLAN) pairs are compared with the slices as they
are *now*, and made so: doing one late, or twice, is harmless. What leaves goes
before what comes, whoever asked first, and no switch waits for another's turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from vmoc.events import Kind
from vmoc.model import Slice
from vmoc.mux.changes import Touched
from vmoc.mux.clock import Alarm
from vmoc.mux.hub import Hub
from vmoc.mux.restoring import Restoring
from vmoc.mux.switch import Switch
from vmoc.mux.tenancy import Tenancy
from vmoc.registry import Snapshot

PIECE: Final = 2
"""(Switch, VLAN) pairs at a time: a fraction of a millisecond."""
LEAVING: Final = 8
"""The same while somebody leaves: rights that were taken away should not outlast that by much."""
SHARE: Final = 1
"""How many of them one switch gets before the next one has its turn."""
SLICES: Final = 16
"""Slices looked at at a time."""
PACE: Final = 0.001
"""Seconds from one piece to the next, while everybody else is served in time."""
LONGEST: Final = 0.05
"""Seconds at most, while others are not."""

Key = tuple[int, int]
Slices = Mapping[str, Slice]


class Adopting:
    """Brings ``tenancy`` and the switches where the latest snapshot says."""

    def __init__(self, hub: Hub, tenancy: Tenancy, restoring: Restoring, switches: Mapping[Key, Switch]) -> None:
        self._hub = hub
        self._tenancy = tenancy
        self._restoring = restoring
        self._switches = switches
        self._changes: deque[tuple[Slices, Slices, deque[str]]] = deque()
        self._urgent: dict[Key, dict[int, None]] = {}
        """VLANs that somebody leaves."""
        self._todo: dict[Key, dict[int, None]] = {}
        self._alarm: Alarm | None = None
        self._pause = PACE

    @property
    def behind(self) -> int:
        """How many slices and (switch, VLAN) pairs are still to be looked at."""
        queues = (*self._urgent.values(), *self._todo.values())
        return sum(len(names) for _, _, names in self._changes) + sum(len(vlans) for vlans in queues)

    def adopt(self, snapshot: Snapshot, now: float, names: Iterable[str] | None = None) -> None:
        """The slices are these from now on; a small change is made at once."""
        before, after = self._tenancy.snapshot.slices, snapshot.slices
        listed = sorted(before.keys() | after.keys() if names is None else set(names))
        gone = {name for name in listed if _is_enabled(before.get(name)) and not _is_enabled(after.get(name))}
        # At once: one that comes back by this name in the meantime is another, and gets nothing of this one.
        self._tenancy.follow(snapshot, gone)
        self._restoring.leave(gone)
        if listed:
            self._changes.append((before, after, deque(listed)))
        if self._alarm is None:
            self._step(now)

    def _step(self, now: float) -> None:
        # A turn that comes late shows that there is more to do than time: packets go first.
        late = max(0.0, now - self._alarm.when) if self._alarm is not None else 0.0
        self._pause = min(LONGEST, max(PACE, self._pause / 2 + 2 * late))
        self._alarm = None
        touched = Touched()
        for old, new in self._next_changes():
            self._report(old, new)
            touched.add(old, new)
        if touched.by_dpid:
            for switch in self._switches.values():
                vlans = touched.on(switch.dpid)
                if vlans and switch.features is not None:
                    self._put(switch, vlans)
        for switch, piece in self._next_pairs():
            self._tenancy.sync(switch, now, piece)
        if self._changes or self._urgent or self._todo:
            self._alarm = self._hub.clock.at(now + self._pause, self._step)
        else:
            self._tenancy.settled()

    def _next_changes(self) -> Iterator[tuple[Slice | None, Slice | None]]:
        left = max(SLICES, len(self._changes))  # more changes than can be made: each time more of them
        while self._changes and left:
            before, after, names = self._changes[0]
            while names and left:
                left -= 1
                name = names.popleft()
                old, new = before.get(name), after.get(name)
                if old is not new and old != new:
                    yield old, new
            if not names:
                self._changes.popleft()

    def _report(self, old: Slice | None, new: Slice | None) -> None:
        known = new or old
        assert known is not None, "it was there before or it is there now"
        kind = Kind.SLICE_REMOVED if new is None else Kind.SLICE_ADDED if old is None else Kind.SLICE_CHANGED
        detail = {"origin": str(known.origin)} | ({"manager": known.manager} if known.manager else {})
        self._hub.report(kind, slice=known.id, detail=detail)

    def _put(self, switch: Switch, vlans: Collection[int]) -> None:
        for vlan in vlans:
            queue = self._urgent if self._tenancy.is_left(switch, vlan) else self._todo
            queue.setdefault(switch.key, {})[vlan] = None

    def _next_pairs(self) -> Iterator[tuple[Switch, list[int]]]:
        """Switch after switch, and of each some VLANs."""
        left = LEAVING if self._urgent else PIECE
        for queue in (self._urgent, self._todo):
            while queue and left:
                key = next(iter(queue))
                vlans = queue.pop(key)
                piece = list(islice(vlans, min(SHARE, left)))
                left -= len(piece)
                for vlan in piece:
                    del vlans[vlan]
                if vlans:
                    queue[key] = vlans  # behind the others
                switch = self._switches.get(key)
                if switch is not None and switch.features is not None:
                    yield switch, piece


def _is_enabled(one: Slice | None) -> bool:
    return one is not None and one.enabled
