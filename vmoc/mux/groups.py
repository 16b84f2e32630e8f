"""The shadow of one virtual datapath's groups and meters.

Rules of this file:
- Virtual ids are the controller's own. A physical group id is the datapath's
  slot on the switch (12 bits) and a number that comes again only after all
  others of the slot: a switch may keep dangling references to a deleted group,
  and an id given to another slice would splice the two.
- Physical meter ids come from the switch's pool and return to it only after a
  barrier.
- The graph of groups is kept in virtual ids, so that loops and depth are
  judged on what the controller meant.
- The shadow runs ahead of the switch. What the switch refuses is taken back,
  also when the controller has gone on in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.mux.journal import Notes
from vmoc.openflow import v10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13
from vmoc.policy.groups import DELETE, GroupChange, MeterChange
from vmoc.policy.verdict import Refusal

SLOT_SHIFT: Final = 20
SLOT_MAX: Final = 0xFFE
_NUMBER: Final = (1 << SLOT_SHIFT) - 1


@dataclass(slots=True, eq=False)
class Group:
    """One group as one GROUP_MOD made it: ``data`` is the controller's own message."""

    physical: int
    data: bytes
    refers: frozenset[int]
    before: Group | None = None
    """What it was before this change, until the switch is known to have accepted that."""
    refused: bool = False


class GroupStep(NamedTuple):
    """One message to the switch, and what it is about.

    ``made`` is what an ADD or MODIFY entered, ``deleted`` what a DELETE took out;
    a switch deletes the flows that use the group along.
    """

    message: bytes
    virtual: int
    made: Group | None = None
    deleted: Group | None = None


@dataclass(slots=True)
class GroupTable:
    """All groups of one virtual datapath."""

    slot: int
    quota: int
    chain_depth: int
    groups: dict[int, Group] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    """Virtual to physical ids, kept in step with ``groups``; what a grant looks at."""
    notes: Notes | None = None
    doubtful: set[int] = field(default_factory=set)
    """Added, and the switch has not confirmed it: what leads there is judged after a barrier."""
    _by_physical: dict[int, int] = field(default_factory=dict)
    _next: int = 0

    @property
    def last_number(self) -> int:
        """The number in the last physical id that was given out."""
        return self._next

    def take_slot(self, slot: int) -> None:
        """Physical ids are in this slot from now on; 0: there are none any more."""
        self.slot = slot
        if self.notes is not None:
            self.notes.slot(slot)

    def restore(self, slot: int, number: int, groups: Mapping[int, tuple[int, bytes]]) -> None:
        """Know the groups of before a restart again."""
        self.slot, self._next = slot, number
        notes, self.notes = self.notes, None
        for physical, (virtual, data) in groups.items():
            if virtual in self.groups:
                self._drop(virtual)
            self._set(virtual, Group(physical, data, _refers(data)))
        self.notes = notes

    def kept(self) -> dict[int, tuple[int, bytes]]:
        """What ``restore`` takes."""
        return {group.physical: (virtual, group.data) for virtual, group in self.groups.items()}

    def virtual_of(self, physical: int) -> int | None:
        """The virtual id of a physical one, if it is ours."""
        return self._by_physical.get(physical)

    def _set(self, virtual: int, group: Group) -> None:
        self.groups[virtual] = group
        self.ids[virtual] = group.physical
        self._by_physical[group.physical] = virtual
        if self.notes is not None:
            self.notes.group(group.physical, virtual, group.data)

    def _drop(self, virtual: int) -> Group:
        group = self.groups.pop(virtual)
        del self.ids[virtual]
        del self._by_physical[group.physical]
        self.doubtful.discard(virtual)
        if self.notes is not None:
            self.notes.no_group(group.physical)
        return group

    def keep_only(self, physical: set[int]) -> None:
        """The switch holds these: others of ours are gone."""
        self.doubtful.clear()
        for virtual, group in list(self.groups.items()):
            if group.physical not in physical:
                self._drop(virtual)

    def clear(self) -> None:
        """The switch is known to hold none of ours."""
        for virtual in list(self.groups):
            self._drop(virtual)

    def plan(self, change: GroupChange) -> list[GroupStep] | Refusal:
        """What ``change`` comes to on the switch, with the shadow already updated; an ADD needs a slot."""
        if change.command == v10.ADD:
            return self._add(change)
        if change.command == v10.MODIFY:
            return self._modify(change)
        return self._delete(change.group)

    def _add(self, change: GroupChange) -> list[GroupStep] | Refusal:
        if self.quota and len(self.groups) >= self.quota:
            return Refusal("quota", errors.GROUP_QUOTA, f"{self.quota} groups are all this slice may have here")
        return self._check_graph(change) or self._enter(change, self._fresh(), None)

    def _modify(self, change: GroupChange) -> list[GroupStep] | Refusal:
        before = self.groups[change.group]
        return self._check_graph(change) or self._enter(change, before.physical, before)

    def _enter(self, change: GroupChange, physical: int, before: Group | None) -> list[GroupStep]:
        made = Group(physical, change.data, change.refers, before)
        self._set(change.group, made)
        if before is None:
            self.doubtful.add(change.group)
        message = g13.group_mod(0, change.command, change.kind, physical, g13.pack_buckets(change.buckets))
        return [GroupStep(message, change.group, made)]

    def _delete(self, wanted: int) -> list[GroupStep] | Refusal:
        if wanted == g13.GROUP_ALL:
            return self.remove(self.groups)
        if wanted not in self.groups:
            return []
        if any(wanted in group.refers for virtual, group in self.groups.items() if virtual != wanted):
            return Refusal("group-chain", errors.GROUP_CHAINED, f"group {wanted}")
        return self.remove((wanted,))

    def remove(self, doomed: Iterable[int]) -> list[GroupStep]:
        """DELETEs of some groups, those that lead to others first; they are out of the shadow."""
        order = list(self._dependents_first(doomed))
        steps = []
        for virtual in order:
            group = self._drop(virtual)
            steps.append(GroupStep(g13.group_mod(0, DELETE, 0, group.physical), virtual, deleted=group))
        return steps

    def leading_to(self, virtuals: Iterable[int]) -> set[int]:
        """``virtuals`` and every group that leads to one of them, over however many others."""
        found = set(virtuals)
        while True:
            more = {virtual for virtual, group in self.groups.items() if virtual not in found and group.refers & found}
            if not more:
                return found
            found |= more

    def take_back(self, step: GroupStep) -> None:
        """The switch refused a message: what it was about is as before."""
        if step.made is not None:
            step.made.refused = True
        if self.groups.get(step.virtual) is not step.made:
            return  # changed, deleted or made anew since; what comes of that looks at ``refused``
        before = step.deleted if step.made is None else step.made.before
        while before is not None and before.refused:
            before = before.before
        if before is not None:
            self._set(step.virtual, before)
        elif step.made is not None:
            self._drop(step.virtual)

    def accepted(self, step: GroupStep) -> None:
        """The switch has processed a message."""
        if step.made is not None:
            step.made.before = None
            if self.groups.get(step.virtual) is step.made:
                self.doubtful.discard(step.virtual)

    def all_deletes(self) -> list[bytes]:
        """DELETEs of everything, dependents first; the shadow is left as it is."""
        return [
            g13.group_mod(0, DELETE, 0, self.groups[virtual].physical)
            for virtual in self._dependents_first(self.groups)
        ]

    def _fresh(self) -> int:
        while True:
            self._next = self._next % _NUMBER + 1
            physical = self.slot << SLOT_SHIFT | self._next
            if physical not in self._by_physical:
                return physical

    def _check_graph(self, change: GroupChange) -> Refusal | None:
        """Loops and depth, with ``change`` made. Groups before it were judged when they came."""
        if not change.refers:
            return None
        edges = {virtual: group.refers for virtual, group in self.groups.items()}
        edges[change.group] = change.refers
        heights: dict[int, int] = {}
        entered: set[int] = set()
        stack: list[tuple[int, Iterator[int]]] = []
        for start, first in edges.items():
            if start not in entered:
                entered.add(start)
                stack.append((start, iter(first)))
            while stack:
                node, targets = stack[-1]
                target = next(targets, None)
                if target is None:
                    heights[node] = 1 + max((heights.get(each, 0) for each in edges[node]), default=0)
                    stack.pop()
                elif target in entered and target not in heights:
                    return Refusal("group-chain", errors.GROUP_LOOP, f"group {change.group} would reach itself")
                elif target not in entered and target in edges:
                    entered.add(target)
                    stack.append((target, iter(edges[target])))
        if max(heights.values()) > self.chain_depth:
            return Refusal("group-chain", errors.GROUP_CHAIN, f"deeper than {self.chain_depth}")
        return None

    def _dependents_first(self, doomed: Iterable[int]) -> Iterator[int]:
        remaining = {virtual: self.groups[virtual] for virtual in doomed}
        while remaining:
            pointed_at = {target for group in remaining.values() for target in group.refers}
            # Each round has one: there are no loops.
            for virtual in [virtual for virtual in remaining if virtual not in pointed_at]:
                del remaining[virtual]
                yield virtual


def _refers(data: bytes) -> frozenset[int]:
    """The groups the buckets of a GROUP_MOD lead to."""
    buckets = g13.parse_buckets(data, 16, len(data))
    return frozenset(action[1] for bucket in buckets for action in bucket.actions if action[0] == a13.GROUP)


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


class MeterStep(NamedTuple):
    """One message to the switch, and the meter it is about; a switch deletes the flows that use it along."""

    message: bytes
    virtual: int
    physical: int
    command: int
    before: bytes = b""
    """Flags and bands before a MODIFY."""


@dataclass(slots=True)
class MeterTable:
    """All meters of one virtual datapath: virtual to physical ids."""

    pool: MeterPool
    quota: int
    ids: dict[int, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    """By physical id, of all that the switch may have: flags and bands as METER_MOD and METER_CONFIG carry them."""
    notes: Notes | None = None
    doubtful: set[int] = field(default_factory=set)
    """Physical ids added of late, which the switch has not confirmed."""

    def _note(self, virtual: int, physical: int, content: bytes) -> None:
        self.contents[physical] = content
        if self.notes is not None:
            self.notes.meter(physical, virtual, content)

    def forget(self, physical: int) -> None:
        """The switch does not have it."""
        self.doubtful.discard(physical)
        if self.contents.pop(physical, None) is not None and self.notes is not None:
            self.notes.no_meter(physical)

    def restore(self, meters: Mapping[int, tuple[int, bytes]]) -> None:
        """Know the meters of before a restart again."""
        for physical, (virtual, content) in meters.items():
            self.ids[virtual] = physical
            self.contents[physical] = content
            self.pool.taken.add(physical)

    def kept(self) -> dict[int, tuple[int, bytes]]:
        """What ``restore`` takes."""
        return {physical: (virtual, self.contents.get(physical, b"")) for virtual, physical in self.ids.items()}

    def keep_only(self, physical: set[int]) -> None:
        """The switch holds these: others of ours are gone."""
        self.doubtful.clear()
        for virtual, own in list(self.ids.items()):
            if own not in physical:
                del self.ids[virtual]
                self.pool.free(own)
        for own in self.contents.keys() - physical:
            self.forget(own)

    def clear(self) -> None:
        """The switch is known to hold none of ours."""
        self.keep_only(set())

    def plan(self, change: MeterChange) -> list[MeterStep] | Refusal:
        """What ``change`` comes to on the switch, with the shadow already updated."""
        if change.command == v10.ADD:
            if self.quota and len(self.ids) >= self.quota:
                return Refusal("quota", errors.METER_QUOTA, f"{self.quota} meters are all this slice may have here")
            physical = self.pool.take()
            if physical is None:
                return Refusal("quota", errors.METER_QUOTA, "the switch has no meter left")
            self.ids[change.meter] = physical
            self.doubtful.add(physical)
        if change.command != DELETE:
            physical = self.ids[change.meter]
            message = g13.meter_mod(0, change.command, change.flags, physical, change.bands)
            before = self.contents.get(physical, b"")
            self._note(change.meter, physical, message[10:12] + message[16:])
            return [MeterStep(message, change.meter, physical, change.command, before)]
        return self.remove(list(self.ids) if change.meter == g13.METER_ALL else [change.meter])

    def remove(self, doomed: Iterable[int]) -> list[MeterStep]:
        """DELETEs of some meters; they are out of the shadow, their physical ids not yet back in the pool."""
        steps = []
        for virtual in doomed:
            if virtual in self.ids:
                physical = self.ids.pop(virtual)
                steps.append(MeterStep(g13.meter_mod(0, DELETE, 0, physical), virtual, physical, DELETE))
        return steps

    def take_back(self, step: MeterStep) -> bool:
        """The switch refused a message. True: its physical id is nobody's any more, once a barrier has confirmed it."""
        if step.command == v10.ADD and self.ids.get(step.virtual) == step.physical:
            del self.ids[step.virtual]
            self.forget(step.physical)
            return True
        if step.command == v10.MODIFY and self.contents.get(step.physical) == step.message[10:12] + step.message[16:]:
            self._note(step.virtual, step.physical, step.before)
        if step.command == DELETE:
            # Made anew since? Then the old one stays on the switch, and its id taken.
            self.ids.setdefault(step.virtual, step.physical)
        return False
