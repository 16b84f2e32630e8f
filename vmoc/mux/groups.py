"""The shadow of one virtual datapath's groups and meters.

Rules of this file:
- Virtual ids are the controller's own. A physical group id is the datapath's
  slot on the switch (12 bits) and a number that is never used again while the
  slot lives: a switch may keep dangling references to a deleted group, and an
  id given to another slice would splice the two.
- Physical meter ids come from the switch's pool and return to it only after a
  barrier.
- The graph of groups is kept in virtual ids, so that loops and depth are
  judged on what the controller meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.openflow import v10
from vmoc.openflow.v13 import group as g13
from vmoc.policy.groups import DELETE, GroupChange, MeterChange
from vmoc.policy.verdict import Refusal

SLOT_SHIFT: Final = 20
SLOT_MAX: Final = 0xFFE
_NUMBER: Final = (1 << SLOT_SHIFT) - 1


@dataclass(slots=True)
class Group:
    """One group: ``data`` is the controller's own GROUP_MOD."""

    physical: int
    data: bytes
    refers: frozenset[int]


class Undo(NamedTuple):
    """What to put back when the switch refuses: the virtual id and what it was before (None: nothing)."""

    virtual: int
    before: Group | None


class GroupPlan(NamedTuple):
    """What a GROUP_MOD comes to; ``gone`` are virtual ids whose flows the switch deletes along."""

    messages: list[bytes]
    undo: Undo | None = None
    gone: tuple[int, ...] = ()


@dataclass(slots=True)
class GroupTable:
    """All groups of one virtual datapath."""

    slot: int
    quota: int
    chain_depth: int
    groups: dict[int, Group] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    """Virtual to physical ids, kept in step with ``groups``; what a grant looks at."""
    _by_physical: dict[int, int] = field(default_factory=dict)
    _next: int = 0

    def virtual_of(self, physical: int) -> int | None:
        """The virtual id of a physical one, if it is ours."""
        return self._by_physical.get(physical)

    def _set(self, virtual: int, group: Group) -> None:
        self.groups[virtual] = group
        self.ids[virtual] = group.physical
        self._by_physical[group.physical] = virtual

    def _drop(self, virtual: int) -> int:
        physical = self.groups.pop(virtual).physical
        del self.ids[virtual]
        del self._by_physical[physical]
        return physical

    def keep_only(self, physical: set[int]) -> None:
        """The switch holds these: others of ours are gone."""
        for virtual, group in list(self.groups.items()):
            if group.physical not in physical:
                self._drop(virtual)

    def clear(self) -> None:
        """The switch is known to hold none of ours."""
        self.groups.clear()
        self.ids.clear()
        self._by_physical.clear()

    def plan(self, change: GroupChange) -> GroupPlan | Refusal:
        """What ``change`` comes to on the switch, with the shadow already updated."""
        if change.command == v10.ADD:
            return self._add(change)
        if change.command == v10.MODIFY:
            return self._modify(change)
        return self._delete(change.group)

    def _add(self, change: GroupChange) -> GroupPlan | Refusal:
        if self.quota and len(self.groups) >= self.quota:
            return Refusal("quota", errors.GROUP_QUOTA, f"{self.quota} groups are all this slice may have here")
        refusal = self._check_graph(change)
        if refusal is not None:
            return refusal
        physical = self._fresh()
        self._set(change.group, Group(physical, change.data, change.refers))
        message = g13.group_mod(0, v10.ADD, change.kind, physical, g13.pack_buckets(change.buckets))
        return GroupPlan([message], Undo(change.group, None))

    def _modify(self, change: GroupChange) -> GroupPlan | Refusal:
        refusal = self._check_graph(change)
        if refusal is not None:
            return refusal
        before = self.groups[change.group]
        self._set(change.group, Group(before.physical, change.data, change.refers))
        message = g13.group_mod(0, v10.MODIFY, change.kind, before.physical, g13.pack_buckets(change.buckets))
        return GroupPlan([message], Undo(change.group, before))

    def _delete(self, wanted: int) -> GroupPlan | Refusal:
        if wanted == g13.GROUP_ALL:
            order = list(self._dependents_first())
            messages = [g13.group_mod(0, DELETE, 0, self._drop(virtual)) for virtual in order]
            return GroupPlan(messages, None, tuple(order))
        if wanted not in self.groups:
            return GroupPlan([])
        if any(wanted in group.refers for virtual, group in self.groups.items() if virtual != wanted):
            return Refusal("group-chain", errors.GROUP_CHAINED, f"group {wanted}")
        message = g13.group_mod(0, DELETE, 0, self._drop(wanted))
        return GroupPlan([message], None, (wanted,))

    def take_back(self, undo: Undo) -> None:
        """The switch refused an ADD or MODIFY."""
        if undo.before is not None:
            self._set(undo.virtual, undo.before)
        elif undo.virtual in self.groups:
            self._drop(undo.virtual)

    def all_deletes(self) -> list[bytes]:
        """DELETEs of everything, dependents first; the shadow is left as it is."""
        return [g13.group_mod(0, DELETE, 0, self.groups[virtual].physical) for virtual in self._dependents_first()]

    def _fresh(self) -> int:
        while True:
            self._next = self._next % _NUMBER + 1
            physical = self.slot << SLOT_SHIFT | self._next
            if physical not in self._by_physical:
                return physical

    def _check_graph(self, change: GroupChange) -> Refusal | None:
        edges = {virtual: group.refers for virtual, group in self.groups.items()}
        edges[change.group] = change.refers
        heights: dict[int, int] = {}
        state: dict[int, bool] = {}  # False while on the path, True when done
        stack: list[tuple[int, Iterator[int]]] = []
        for start, first in edges.items():
            if start in state:
                continue
            state[start] = False
            stack.append((start, iter(first)))
            while stack:
                node, targets = stack[-1]
                target = next(targets, None)
                if target is None:
                    state[node] = True
                    heights[node] = 1 + max((heights.get(each, 0) for each in edges[node]), default=0)
                    stack.pop()
                elif state.get(target) is False:
                    return Refusal("group-chain", errors.GROUP_LOOP, f"group {change.group} would reach itself")
                elif target not in state and target in edges:
                    state[target] = False
                    stack.append((target, iter(edges[target])))
        if max(heights.values(), default=0) > self.chain_depth:
            return Refusal("group-chain", errors.GROUP_CHAIN, f"deeper than {self.chain_depth}")
        return None

    def _dependents_first(self) -> Iterator[int]:
        remaining = dict(self.groups)
        while remaining:
            pointed_at = {target for group in remaining.values() for target in group.refers}
            free = [virtual for virtual in remaining if virtual not in pointed_at] or list(remaining)
            for virtual in free:
                del remaining[virtual]
                yield virtual


@dataclass(slots=True)
class MeterPool:
    """Physical meter ids of one switch, 1..``limit``."""

    limit: int = 0
    taken: set[int] = field(default_factory=set)
    _next: int = 0

    def take(self) -> int | None:
        """A free id; None when the switch has no more."""
        if len(self.taken) >= self.limit:
            return None
        while True:
            self._next = self._next % self.limit + 1
            if self._next not in self.taken:
                self.taken.add(self._next)
                return self._next

    def free(self, physical: int) -> None:
        """The switch has confirmed that the meter is gone."""
        self.taken.discard(physical)


class MeterPlan(NamedTuple):
    """What a METER_MOD comes to: ``gone`` are ids to free after a barrier, ``added`` one to free on an error."""

    messages: list[bytes]
    added: tuple[int, int] | None = None
    gone: tuple[int, ...] = ()
    gone_virtual: tuple[int, ...] = ()


@dataclass(slots=True)
class MeterTable:
    """All meters of one virtual datapath: virtual to physical ids."""

    pool: MeterPool
    quota: int
    ids: dict[int, int] = field(default_factory=dict)

    def virtual_of(self, physical: int) -> int | None:
        """The virtual id of a physical one, if it is ours."""
        return next((virtual for virtual, own in self.ids.items() if own == physical), None)

    def keep_only(self, physical: set[int]) -> None:
        """The switch holds these: others of ours are gone."""
        for virtual, own in list(self.ids.items()):
            if own not in physical:
                del self.ids[virtual]
                self.pool.free(own)

    def clear(self) -> None:
        """The switch is known to hold none of ours."""
        self.keep_only(set())

    def plan(self, change: MeterChange) -> MeterPlan | Refusal:
        """What ``change`` comes to on the switch, with the shadow already updated."""
        if change.command == v10.ADD:
            if self.quota and len(self.ids) >= self.quota:
                return Refusal("quota", errors.METER_QUOTA, f"{self.quota} meters are all this slice may have here")
            physical = self.pool.take()
            if physical is None:
                return Refusal("quota", errors.METER_QUOTA, "the switch has no meter left")
            self.ids[change.meter] = physical
            message = g13.meter_mod(0, v10.ADD, change.flags, physical, change.bands)
            return MeterPlan([message], (change.meter, physical))
        if change.command == v10.MODIFY:
            physical = self.ids[change.meter]
            return MeterPlan([g13.meter_mod(0, v10.MODIFY, change.flags, physical, change.bands)])
        doomed = list(self.ids) if change.meter == g13.METER_ALL else [change.meter]
        doomed = [virtual for virtual in doomed if virtual in self.ids]
        gone = tuple(self.ids.pop(virtual) for virtual in doomed)
        messages = [g13.meter_mod(0, DELETE, 0, physical) for physical in gone]
        return MeterPlan(messages, None, gone, tuple(doomed))

    def take_back(self, added: tuple[int, int]) -> None:
        """The switch refused an ADD."""
        virtual, physical = added
        if self.ids.get(virtual) == physical:
            del self.ids[virtual]
            self.pool.free(physical)
