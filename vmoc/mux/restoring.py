"""What an earlier run of VMOC left on the switches: given back to whom it belongs, or cleaned up (vetting D.6).

A switch that connects for the first time since the start finds its virtual
datapaths here. One that is the same as before gets back what it had, and the
reconciliation that follows keeps of that what the switch really holds. What
nobody claims is nobody's: its VLAN is cleaned like that of a slice that was
removed while the switch was away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from vmoc.model import Presentation, Segment, Slice
from vmoc.mux.datapath import presented_dpid
from vmoc.mux.journal import Journal, Kept

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch


class Restoring:
    """Everything kept of switches that have not been here since the start."""

    def __init__(self, journal: Journal, kept: Iterable[Kept], slices: Mapping[str, Slice]) -> None:
        self._journal = journal
        self._waiting: dict[tuple[int, int], dict[tuple[int, str], Kept]] = {}
        """By switch; and there by VLAN and slice, several of which may have one VLAN."""
        every = list(kept)
        journal.restore(every)
        for one in every:
            if not one.disowned:
                waiting = self._waiting.setdefault(one.key, {})
                replaced = waiting.get((one.vlan, one.owner))
                if replaced is not None:
                    journal.disown(replaced.handle)
                waiting[one.vlan, one.owner] = one
        self.leave([one.owner for one in every if not _enabled(slices.get(one.owner))])

    def leave(self, owners: Collection[str]) -> None:
        """These slices are no more: should they come again, they are others."""
        if not self._waiting or not owners:
            return
        for waiting in self._waiting.values():
            for place, one in list(waiting.items()):
                if one.owner in owners:
                    del waiting[place]
                    self._journal.disown(one.handle)

    def claim(self, switch: Switch, owner: Slice, segment: Segment) -> Kept | None:
        """What a virtual datapath had, if it is the same as before."""
        waiting = self._waiting.get(switch.key, {})
        one = waiting.get((segment.vlan, owner.id))
        if one is None:
            return None
        same = (
            bool(one.metadata_slot) is switch.pipeline.sharing
            and one.version == switch.version
            and one.hides_tag is (switch.native or segment.presentation is Presentation.TRANSPARENT)
            and one.presented_dpid == presented_dpid(segment, switch.dpid)
            and one.tag not in switch.by_tag
        )
        return waiting.pop((segment.vlan, owner.id)) if same else None

    def reserve(self, switch: Switch) -> None:
        """Tags and slots in entries that a switch may hold are not to be given to others before it is reconciled."""
        every = [*self._waiting.get(switch.key, {}).values(), *self._journal.left(switch.key)]
        switch.reserved_tags = {one.tag for one in every}
        switch.metadata_slots.reserve({one.metadata_slot for one in every} - {0})

    def arrived(self, switch: Switch) -> None:
        """The virtual datapaths of a switch exist: what is left has to be cleaned up."""
        for one in self._waiting.pop(switch.key, {}).values():
            self._journal.disown(one.handle)
        for one in self._journal.left(switch.key):
            if not switch.datapaths.on_vlan(one.vlan):
                switch.left.add(one.vlan)
            if one.slot and one.slot not in switch.slots:
                switch.left_slots.add(one.slot)
                switch.slot_known(one.slot)
            switch.left_meters.update(one.meters)


def _enabled(owner: Slice | None) -> bool:
    return owner is not None and owner.enabled
