"""Which virtual datapaths a change of slices is about: VLANs by switch, so that nothing else is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vmoc.model import Segment, Slice


@dataclass(slots=True)
class Touched:
    """VLANs, by the DPID they are attached to; None is every switch."""

    by_dpid: dict[int | None, set[int]] = field(default_factory=dict)

    def add(self, old: Slice | None, new: Slice | None) -> None:
        """Note what differs between two versions of a slice (None: it is not there)."""
        if old is not None and new is not None and old.limits == new.limits and old.enabled == new.enabled:
            before, after = _by_vlan(old), _by_vlan(new)
            for vlan in before.keys() | after.keys():
                pair = before.get(vlan), after.get(vlan)
                if pair[0] != pair[1]:
                    self._note(one for one in pair if one is not None)
            return
        for one in (old, new):
            self._note(one.segments if one is not None else ())

    def on(self, dpid: int) -> set[int]:
        """The VLANs to look at on that switch."""
        return self.by_dpid.get(None, set()) | self.by_dpid.get(dpid, set())

    def _note(self, segments: Iterator[Segment] | tuple[Segment, ...]) -> None:
        for segment in segments:
            dpids = (None,) if segment.attachments is None else [one.dpid for one in segment.attachments]
            for dpid in dpids:
                self.by_dpid.setdefault(dpid, set()).add(segment.vlan)


def _by_vlan(one: Slice) -> Mapping[int, Segment]:
    return {segment.vlan: segment for segment in one.segments}
