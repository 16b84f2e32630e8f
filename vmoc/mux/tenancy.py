"""Who has which VLAN of a switch: virtual datapaths come, change and go as the slices do.

A virtual datapath that comes gets its VLAN when that is proven empty; one that
goes is ended at its controllers first and on the switch right after. What is
the same before and after a change of slices is not touched.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from vmoc.events import Kind
from vmoc.model import Segment, Slice
from vmoc.mux import admission, lifecycle, proving
from vmoc.mux.datapath import State, VirtualDatapath, presented_dpid
from vmoc.mux.hub import Hub
from vmoc.mux.links import Links
from vmoc.mux.restoring import Restoring
from vmoc.mux.switch import Switch
from vmoc.registry import Snapshot

CLOSING: Final = 0.02
"""Seconds the ends of a removed slice's controller connections are ahead of the deletion of its flows (vetting D.3)."""


class Tenancy:
    """The tenants of every switch of a mux, as ``snapshot`` says."""

    def __init__(self, hub: Hub, links: Links, restoring: Restoring, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._hub = hub
        self._links = links
        self._restoring = restoring
        self._leaving: dict[tuple[tuple[int, int], int], float] = {}
        """By switch and VLAN: when the flows of the slice that left are going to be deleted."""
        self._adoption = 0
        self._ended: dict[str, int] = {}
        """Slices that were removed or disabled, and with which adoption; their datapaths of before are to go."""

    def follow(self, snapshot: Snapshot, ended: Iterable[str]) -> None:
        """The slices are these; ``sync`` makes the switches so. ``ended``: had effect before and have none now."""
        self.snapshot = snapshot
        self._adoption += 1
        self._ended.update(dict.fromkeys(ended, self._adoption))

    def settled(self) -> None:
        """Every switch is as the snapshot says."""
        self._ended.clear()

    def is_left(self, switch: Switch, vlan: int) -> bool:
        """Whether somebody who has the VLAN of the switch is to lose it."""
        here = switch.datapaths.on_vlan(vlan)
        if not here:
            return False
        staying = {owner.id for owner, _ in self._segments(switch, (vlan,))}
        return any(each.owner.id not in staying or self._has_ended(each) for each in here)

    def _has_ended(self, datapath: VirtualDatapath) -> bool:
        return self._ended.get(datapath.owner.id, -1) >= datapath.adoption

    def sync(self, switch: Switch, now: float, vlans: Collection[int] | None = None) -> None:
        """Make the switch's virtual datapaths (of ``vlans``) those of the snapshot, touching only what differs."""
        if vlans is None:
            found = self.snapshot.segments_on(switch.dpid, switch.native_vlan)
            vlans = set(switch.datapaths.vlans())
        else:
            found = self._segments(switch, vlans)
        wanted = {(segment.vlan, owner.id): (owner, segment) for owner, segment in found}
        here = {(each.vlan, each.owner.id): each for vlan in vlans for each in switch.datapaths.on_vlan(vlan)}
        if not switch.pipeline.sharing:
            self._hold_out(switch, wanted, here, vlans)
        for key, datapath in list(here.items()):
            if key not in wanted or self._has_ended(datapath) or not _same_instance(datapath, *wanted[key]):
                self._remove(datapath, now)
                del here[key]
        for key, datapath in here.items():
            if datapath.slot:  # a neighbour may get what this one loses, and not before
                self._shrink(datapath, wanted[key][1], now)
        for key, (owner, segment) in wanted.items():
            existing = here.get(key)
            if existing is None:
                self._create(switch, owner, segment, now)
            elif not self._must_wait(existing, segment, now):
                self._update(existing, owner, segment, now)

    def _hold_out(
        self,
        switch: Switch,
        wanted: dict[tuple[int, str], tuple[Slice, Segment]],
        here: Container[tuple[int, str]],
        vlans: Collection[int],
    ) -> None:
        """Where VLANs cannot be shared one slice has each: who has it already, else the first by name."""
        by_vlan: dict[int, list[tuple[int, str]]] = {}
        for key in wanted:
            by_vlan.setdefault(key[0], []).append(key)
        out = {key for key in switch.held_out if key[0] not in vlans and key[0] not in by_vlan}
        for keys in by_vlan.values():
            first = min(keys, key=lambda key: (key not in here, key))
            out.update(key for key in keys if key != first)
        for vlan, name in sorted(out):
            wanted.pop((vlan, name), None)
            if (vlan, name) not in switch.held_out:
                self._report_held_out(switch, vlan, name, "another slice has the VLAN here and it cannot be shared")
        switch.held_out = frozenset(out)

    def _report_held_out(self, switch: Switch, vlan: int, name: str, why: str) -> None:
        self._hub.report(Kind.PIPELINE, slice=name, vlan=vlan, dpid=switch.dpid, reason="held-out", message=why)

    def _shrink(self, datapath: VirtualDatapath, segment: Segment, now: float) -> None:
        """Ports the datapath is going to lose, it loses first; what it gains comes when all others have lost theirs."""
        wanted, has = segment.attachment(datapath.switch.dpid), datapath.attachment
        if wanted is None or wanted.ports is None or wanted.ports == has.ports:
            return
        ports = datapath.owned_ports() if has.ports is None else has.ports
        if ports - wanted.ports:
            kept = ports & wanted.ports
            queues = {port: queues for port, queues in has.queues.items() if port in kept}
            lifecycle.change_ports(datapath.switch, datapath, replace(has, ports=kept, queues=queues), now)

    def _must_wait(self, datapath: VirtualDatapath, segment: Segment, now: float) -> bool:
        """Whether a neighbour whose flows are about to be deleted may have ports it wants; then it is done later."""
        switch, leaving = datapath.switch, self._leaving.get((datapath.switch.key, datapath.vlan))
        wanted, session = segment.attachment(switch.dpid), switch.session
        if leaving is None or not datapath.slot or wanted is None or wanted.ports == datapath.attachment.ports:
            return False

        def again(when: float) -> None:
            if switch.session is session:
                self.sync(switch, when, (datapath.vlan,))

        self._hub.clock.at(leaving, again)
        return True

    def _segments(self, switch: Switch, vlans: Iterable[int]) -> Iterator[tuple[Slice, Segment]]:
        for vlan in vlans:
            if switch.native_vlan in (0, vlan):
                yield from self.snapshot.segments_on(switch.dpid, vlan)

    def _create(self, switch: Switch, owner: Slice, segment: Segment, now: float) -> None:
        attachment = segment.attachment(switch.dpid)
        assert attachment is not None, "only segments on the switch are wanted"
        kept = self._restoring.claim(switch, owner, segment)
        if kept is None and switch.pipeline.sharing and switch.metadata_slots.full:
            switch.held_out |= {(segment.vlan, owner.id)}
            self._report_held_out(switch, segment.vlan, owner.id, "all slots of the switch are in use")
            return
        datapath = VirtualDatapath(self._hub, switch, owner, segment, attachment, now, kept)
        datapath.adoption = self._adoption
        switch.held_out -= {(segment.vlan, owner.id)}
        switch.enlist(datapath)
        leaving = self._leaving.get((switch.key, datapath.vlan))
        if switch.up and leaving is None:
            self.prove(datapath, now)
        elif switch.up and leaving is not None:
            session = switch.session

            def prove(when: float) -> None:
                if switch.session is session and datapath.state is State.PENDING:
                    self.prove(datapath, when)

            self._hub.clock.at(leaving, prove)  # after the one before has been deleted, not before
        # Else the switch's own arrival brings it up.

    def prove(self, datapath: VirtualDatapath, now: float) -> None:
        """Empty the VLAN, then bring the datapath up."""
        switch = datapath.switch
        if datapath.state is State.PENDING:
            datapath.enter(State.FLUSHING, now)

        def flushed(clean: bool, when: float) -> None:
            if datapath.state not in (State.FLUSHING, State.TAINTED):
                return
            if clean:
                lifecycle.bring_up(switch, datapath, partial(self.make_ready, datapath), when)
            else:
                self.taint(datapath, when)

        proving.flush(switch, datapath, flushed, now)

    def taint(self, datapath: VirtualDatapath, now: float) -> None:
        """The VLAN holds what could not be deleted: nobody gets it; try again from time to time."""
        if datapath.state is not State.TAINTED:
            self._report_tainted(datapath)
        datapath.enter(State.TAINTED, now, "tainted", "old flows of the VLAN could not be removed")
        session = datapath.switch.session

        def again(when: float) -> None:
            if datapath.state is State.TAINTED and datapath.switch.session is session:
                self.prove(datapath, when)

        self._hub.clock.at(now + self._hub.timers.reconnect_max, again)

    def _report_tainted(self, datapath: VirtualDatapath) -> None:
        self._hub.report(
            Kind.TAINTED,
            slice=datapath.owner.id,
            vlan=datapath.vlan,
            dpid=datapath.switch.dpid,
            message=f"VLAN {datapath.vlan} still holds flows that the switch does not delete",
        )

    def make_ready(self, datapath: VirtualDatapath, now: float) -> None:
        """Its VLAN is clean and guarded: its controllers may come."""
        if datapath.state in (State.PENDING, State.FLUSHING, State.TAINTED):
            datapath.regrant()
            admission.revoke(datapath, now)  # ports may have come and gone since
            admission.grant(datapath, now)
            datapath.confirm()
            datapath.enter(State.READY, now)
            self._links.sync(datapath, now)
            lifecycle.await_controller(datapath.switch, datapath, now)

    def _update(self, datapath: VirtualDatapath, owner: Slice, segment: Segment, now: float) -> None:
        limits_before, owner_before, segment_before = datapath.owner.limits, datapath.owner, datapath.segment
        if owner_before == owner and segment_before == segment:
            datapath.regrant()
            return
        datapath.owner, datapath.segment = owner, segment
        if owner.limits != limits_before:
            datapath.set_limits(owner.limits, now)
        attachment = segment.attachment(datapath.switch.dpid)
        assert attachment is not None
        if attachment != datapath.attachment:
            lifecycle.change_ports(datapath.switch, datapath, attachment, now)
        else:
            datapath.regrant()
        self._links.sync(datapath, now)

    def _remove(self, datapath: VirtualDatapath, now: float) -> None:
        switch = datapath.switch
        datapath.enter(State.GONE, now, "removed")
        datapath.disown()
        admission.close(datapath)  # what goes of it from now on is not put back
        connected = any(link.session is not None for link in datapath.links.values())
        self._links.drop_all(datapath, now)
        switch.datapaths.delist(datapath)
        if switch.session is None:
            # Its flows are found and deleted when the switch is back: nobody knows their tag any more.
            switch.by_tag.pop(datapath.tag, None)
            switch.left.add(datapath.vlan)
            return

        def flushed(clean: bool, when: float) -> None:
            switch.by_tag.pop(datapath.tag, None)
            if clean:
                switch.metadata_slots.taken.discard(datapath.slot)
                datapath.end_notes()
            else:
                self._report_tainted(datapath)

        session, place = switch.session, (switch.key, datapath.vlan)

        def delete(when: float) -> None:
            self._leaving.pop(place, None)
            if switch.session is session:
                proving.flush(switch, datapath, flushed, when)

        if connected:
            self._leaving[place] = now + CLOSING
            self._hub.clock.at(now + CLOSING, delete)
        else:
            proving.flush(switch, datapath, flushed, now)


def _same_instance(datapath: VirtualDatapath, owner: Slice, segment: Segment) -> bool:
    """Whether a datapath can become the wanted one without everything of it being flushed."""
    return (
        datapath.owner.id == owner.id
        and datapath.segment.presentation == segment.presentation
        and datapath.dpid == presented_dpid(segment, datapath.switch.dpid)
    )
