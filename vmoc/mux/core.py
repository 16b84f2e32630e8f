"""``Mux``: the one object the edge talks to. Bytes, closings, moments and slices in; ``Output`` out.

Rules of this file:
- One thread calls it, one call at a time; after every call the edge takes the
  output, writes it and performs the effects.
- It decides which connection a call is about and leaves the rest to sessions,
  switches and procedures.
- Slices change by whole snapshots; only virtual datapaths that differ are
  touched.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import replace
from functools import partial

from vmoc.events import Kind
from vmoc.model import Endpoint, Policy, Segment, Slice, Timers, format_dpid
from vmoc.mux import admission, audit, lifecycle, operator, proving
from vmoc.mux.changes import Touched
from vmoc.mux.clock import Clock
from vmoc.mux.counters import Counters
from vmoc.mux.datapath import State, VirtualDatapath, presented_dpid
from vmoc.mux.effects import Output
from vmoc.mux.hub import Hub
from vmoc.mux.journal import Kept
from vmoc.mux.link import LinkState
from vmoc.mux.links import Links
from vmoc.mux.north import NorthSession
from vmoc.mux.restoring import Restoring
from vmoc.mux.south import Phase, SouthSession
from vmoc.mux.switch import Switch
from vmoc.mux.view import View
from vmoc.openflow import names
from vmoc.openflow.features import parse_features, parse_ports
from vmoc.openflow.header import OF10
from vmoc.registry import Snapshot

ABSENT_SWITCHES = 1024
CLOSING = 0.02
"""Seconds the ends of a removed slice's controller connections are ahead of the deletion of its flows (vetting D.3)."""


class Mux:
    """The multiplexer's core.

    ``journal``: put into the output what a restart must not forget; ``kept`` is
    what the journal of the run before came to.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        versions: frozenset[int] = frozenset({1, 4}),
        policy: Policy | None = None,
        timers: Timers | None = None,
        default_controller: Endpoint | None = None,
        tap: bool = False,
        seed: int = 0,
        journal: bool = False,
        kept: Iterable[Kept] = (),
    ) -> None:
        self._hub = Hub(
            versions=versions,
            policy=policy or Policy(),
            timers=timers or Timers(),
            default_controller=default_controller,
            tap=tap,
            seed=seed,
            journal=journal,
        )
        self._snapshot = snapshot
        self._restoring = Restoring(self._hub.journal, kept if journal else (), snapshot.slices)
        self._north = self._hub.north
        self._south: dict[int, SouthSession] = {}
        self._switches: dict[tuple[int, int], Switch] = {}
        self._links = Links(self._hub)
        self._held: dict[tuple[int, int], SouthSession] = {}
        self._leaving: dict[tuple[tuple[int, int], int], float] = {}
        """By switch and VLAN: when the flows of the slice that left are going to be deleted."""
        self._draining = False
        self.view = View(self._switches, self._links, lambda: self._snapshot)

    # -- output, time, views -----------------------------------------------------------------------

    def take(self) -> Output:
        """Everything produced since the last call."""
        return self._hub.take()

    def next_deadline(self) -> float | None:
        """When ``wake`` is due; None when nothing is."""
        return self._hub.clock.next_deadline()

    def wake(self, now: float) -> None:
        """Do what is due."""
        self._hub.clock.run(now)

    @property
    def counters(self) -> Counters:
        """Totals since start."""
        return self._hub.counters

    # -- south -------------------------------------------------------------------------------------

    def south_opened(self, cid: int, peer: str, native_vlan: int, now: float) -> None:
        """A switch connected; ``native_vlan`` 0 on an ordinary listener."""
        self._south[cid] = session = SouthSession(self._hub, self, cid, peer, native_vlan, now)
        session.report(Kind.SWITCH_CONNECTED, "a switch connected")
        if self._draining:
            session.fail("shutting down", now)

    def south_data(self, cid: int, data: bytes, now: float) -> None:
        """Bytes of a switch."""
        session = self._south.get(cid)
        if session is not None:
            session.receive(data, now)

    def south_closed(self, cid: int, why: str, now: float) -> None:
        """A switch's connection is gone."""
        session = self._south.get(cid)
        if session is not None:
            self.south_lost(session, why, now)

    def south_lost(self, session: SouthSession, why: str, now: float, reason: str | None = None) -> None:
        """The session is over, for whatever reason."""
        early = session.phase is not Phase.JOINED
        session.closed()
        self._south.pop(session.cid, None)
        switch = session.switch
        if switch is not None and switch.session is session:
            was_up = switch.up
            switch.detached(now)
            self._links.release_all(switch, now)
            self._hub.counters.reconnects["south"] += 1
            session.report(Kind.SWITCH_DOWN if was_up else Kind.SWITCH_REFUSED, why, reason)
            waiting = self._held.pop(switch.key, None)
            if waiting is not None:
                self._join(waiting, switch, now)
            self._forget_absent(now)
        elif early:
            for key, held in list(self._held.items()):
                if held is session:
                    del self._held[key]
            session.report(Kind.SWITCH_REFUSED, why, reason)

    def identified(self, session: SouthSession, features: bytes, now: float) -> None:
        """A switch said who it is: the only one of that DPID, or one too many (vetting D.4).

        Raises ``Refused`` when it cannot be understood.
        """
        found = parse_features(features)
        if session.version == OF10:
            parse_ports(OF10, features, 32)
        if found.auxiliary_id:
            session.fail("auxiliary connections are not used", now)
            return
        key = (found.dpid, session.native_vlan)
        switch = self._switches.get(key)
        if switch is None:
            switch = self._switches[key] = Switch(self._hub, found.dpid, session.native_vlan)
            switch.reserved_tags = self._restoring.reserved_tags(key)
        session.features = features
        if switch.session is None:
            self._join(session, switch, now)
            return
        if key in self._held:
            session.fail(f"{format_dpid(found.dpid)} is already connected", now, reason="duplicate-dpid")
            return
        old, self._held[key] = switch.session, session
        session.hold(now)
        old.probe()
        asked = now

        def decide(when: float) -> None:
            if self._held.get(key) is not session:
                return
            if old.heard > asked and switch.session is old:
                del self._held[key]
                reason = f"{format_dpid(found.dpid)} is already connected from {old.peer}, and that connection is alive"
                session.fail(reason, when, reason="duplicate-dpid")
                return
            old.fail(
                f"replaced by a new connection from {session.peer}", when, abort=True
            )  # the one held takes its place

        self._hub.clock.at(now + self._hub.timers.duplicate_probe, decide)

    def _join(self, session: SouthSession, switch: Switch, now: float) -> None:
        kept = session.join(switch, now)
        looked_at: list[VirtualDatapath] = []

        def known(when: float) -> None:
            self._choose_pipeline(switch, when)
            self._sync_switch(switch, when)
            self._restoring.arrived(switch)
            looked_at[:] = switch.datapaths.values()
            proving.reconcile(switch, reconciled, when)

        def reconciled(unclean: proving.Unclean, when: float) -> None:
            for datapath in looked_at:
                if datapath.state is not State.PENDING:
                    continue
                if datapath.vlan in unclean:
                    self._taint(datapath, when)
                else:
                    lifecycle.bring_up(switch, datapath, partial(self._ready, datapath), when)
            switch.after_barrier(lambda _, later: up(later), when)

        def up(when: float) -> None:
            switch.up, switch.since = True, when
            version = names.version_name(switch.version)
            session.report(Kind.SWITCH_UP, f"{len(switch.ports)} ports, OpenFlow {version}")
            audit.schedule(switch, when)
            if switch.version != OF10:
                switch.tables.fetch(switch, when)  # a controller that asks is answered from here
            for datapath in list(switch.datapaths.values()):
                if datapath.state is State.PENDING:  # it came while the switch was being looked at
                    self._prove(datapath, when)

        lifecycle.attach(switch, session, session.features, known, now)
        if kept:
            switch.receive(kept, now)

    def _choose_pipeline(self, switch: Switch, now: float) -> None:
        """Use the tables as the switch can do it now; if that is another way than before, everybody begins anew."""
        before, switch.pipeline = switch.pipeline, switch.offers
        if (before.first_table, before.sharing) != (switch.offers.first_table, switch.offers.sharing):
            for datapath in list(switch.datapaths.values()):
                datapath.enter(State.GONE, now, "pipeline", "its switch's tables are used in another way now")
                datapath.disown()
                self._links.drop_all(datapath, now)
                switch.datapaths.delist(datapath)
                switch.left.add(datapath.vlan)
            switch.by_tag.clear()
        if switch.offers.why_not and switch.session is not None:
            text = f"its pipeline is {switch.offers.name}: {switch.offers.why_not}"
            switch.session.report(Kind.PIPELINE, text, switch.offers.name)

    def _forget_absent(self, now: float) -> None:
        """Switches that left are kept for their flows, but not without bound, and not those that never came up."""
        absent = [switch for switch in self._switches.values() if switch.session is None]
        doomed = [switch for switch in absent if not switch.remembers]
        excess = len(absent) - len(doomed) - ABSENT_SWITCHES
        if excess > 0:  # whoever invents switches drives out none that slices have flows on
            known = (switch for switch in absent if switch.remembers)
            doomed += sorted(known, key=lambda switch: (switch.holds_something, switch.since))[:excess]
        for switch in doomed:
            del self._switches[switch.key]
            for datapath in switch.datapaths.values():
                self._links.drop_all(datapath, now)
                datapath.end_notes()
            if switch.remembers:
                for one in self._hub.journal.left(switch.key):
                    self._hub.journal.gone(one.handle)

    # -- north -------------------------------------------------------------------------------------

    def dialled(self, link: int, cid: int, now: float) -> None:
        """A controller answered the dial."""
        found = self._links.get(link)
        if found is None or found.state is not LinkState.DIALLING:
            self._hub.close(cid, abort=True)
            return
        found.dialled(now)
        found.session = NorthSession(self._hub, cid, found, now)

    def dial_failed(self, link: int, why: str, now: float) -> None:
        """It did not."""
        found = self._links.get(link)
        if found is not None and found.state is LinkState.DIALLING:
            found.lost(why, now)

    def north_data(self, cid: int, data: bytes, now: float) -> None:
        """Bytes of a controller."""
        session = self._north.get(cid)
        if session is not None:
            session.receive(data, now)

    def north_closed(self, cid: int, why: str, now: float) -> None:
        """A controller's connection is gone."""
        session = self._north.get(cid)
        if session is not None:
            session.detach(now)
            session.link.lost(why, now)

    # -- flow control ------------------------------------------------------------------------------

    def congested(self, cid: int, now: float) -> None:
        """The transport's buffer is above its mark."""
        south = self._south.get(cid)
        if south is not None:
            if south.switch is not None:
                south.switch.congested = True
        elif (north := self._north.get(cid)) is not None:
            north.congested(now)

    def relieved(self, cid: int, now: float) -> None:
        """It is below again."""
        south = self._south.get(cid)
        if south is not None:
            if south.switch is not None:
                south.switch.relieved(now)
        elif (north := self._north.get(cid)) is not None:
            north.relieved(now)

    # -- operator applications ---------------------------------------------------------------------

    def operator_send(self, key: tuple[int, int], message: bytes, now: float) -> None:
        """A message of an os-ken application to the switch of ``key``."""
        switch = self._switches.get(key)
        if switch is not None:
            operator.send(switch, message, now)

    # -- slices ------------------------------------------------------------------------------------

    def adopt(self, snapshot: Snapshot, now: float, names: Iterable[str] | None = None) -> None:
        """The slices are these from now on; ``names`` are all that may differ (None: look), and only they cost time."""
        before, self._snapshot = self._snapshot.slices, snapshot
        after, touched = snapshot.slices, Touched()
        for name in sorted(before.keys() | after.keys() if names is None else set(names)):
            old, new = before.get(name), after.get(name)
            known = new if new is not None else old
            if known is None or old is new or old == new:
                continue
            kind = Kind.SLICE_REMOVED if new is None else Kind.SLICE_ADDED if old is None else Kind.SLICE_CHANGED
            self._hub.report(kind, slice=name, detail={"origin": str(known.origin)})
            touched.add(old, new)
            if new is None or not new.enabled:
                self._restoring.leave((name,))
        for switch in list(self._switches.values()):
            vlans = touched.on(switch.dpid)
            if vlans and switch.features is not None:
                self._sync_switch(switch, now, vlans)

    def set_default_controller(self, endpoint: Endpoint | None, now: float) -> None:
        """Where slices without a controller of their own go."""
        self._hub.default_controller = endpoint
        for datapath in list(self._all_datapaths()):
            if not datapath.segment.controllers:
                self._links.sync(datapath, now)

    def begin_drain(self, now: float) -> None:
        """Shut down: controllers are closed, flows stay as they are, switches are let go."""
        self._draining = True
        for south in list(self._south.values()):
            if south.switch is not None:
                south.switch.detached(now, "shutting down")  # no fail mode: we leave, not the controllers
            south.closed()
            self._hub.close(south.cid)
        self._south.clear()
        self._hub.clock = Clock()  # nothing is going to happen any more

    @property
    def drained(self) -> bool:
        """Whether all that is left is for the edge to flush."""
        return self._draining and not self._south

    def _all_datapaths(self) -> Iterator[VirtualDatapath]:
        for switch in self._switches.values():
            yield from switch.datapaths.values()

    def _sync_switch(self, switch: Switch, now: float, vlans: Collection[int] | None = None) -> None:
        """Make the switch's virtual datapaths (of ``vlans``) those of the snapshot, touching only what differs."""
        if vlans is None:
            found = self._snapshot.segments_on(switch.dpid, switch.native_vlan)
            vlans = set(switch.datapaths.vlans())
        else:
            found = self._segments(switch, vlans)
        wanted = {(segment.vlan, owner.id): (owner, segment) for owner, segment in found}
        here = {(each.vlan, each.owner.id): each for vlan in vlans for each in switch.datapaths.on_vlan(vlan)}
        if not switch.pipeline.sharing:
            self._hold_out(switch, wanted, here, vlans)
        for key, datapath in list(here.items()):
            if key not in wanted or not _same_instance(datapath, *wanted[key]):
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
                self._sync_switch(switch, when, (datapath.vlan,))

        self._hub.clock.at(leaving, again)
        return True

    def _segments(self, switch: Switch, vlans: Iterable[int]) -> Iterator[tuple[Slice, Segment]]:
        for vlan in vlans:
            if switch.native_vlan in (0, vlan):
                yield from self._snapshot.segments_on(switch.dpid, vlan)

    def _create(self, switch: Switch, owner: Slice, segment: Segment, now: float) -> None:
        attachment = segment.attachment(switch.dpid)
        assert attachment is not None, "only segments on the switch are wanted"
        if switch.pipeline.sharing and switch.metadata_slots.full:
            switch.held_out |= {(segment.vlan, owner.id)}
            self._report_held_out(switch, segment.vlan, owner.id, "all slots of the switch are in use")
            return
        kept = self._restoring.claim(switch, owner, segment)
        datapath = VirtualDatapath(self._hub, switch, owner, segment, attachment, now, kept)
        switch.held_out -= {(segment.vlan, owner.id)}
        switch.enlist(datapath)
        leaving = self._leaving.get((switch.key, datapath.vlan))
        if switch.up and leaving is None:
            self._prove(datapath, now)
        elif switch.up and leaving is not None:
            session = switch.session

            def prove(when: float) -> None:
                if switch.session is session and datapath.state is State.PENDING:
                    self._prove(datapath, when)

            self._hub.clock.at(leaving, prove)  # after the one before has been deleted, not before
        # Else the switch's own arrival brings it up.

    def _prove(self, datapath: VirtualDatapath, now: float) -> None:
        """Empty the VLAN, then bring the datapath up."""
        switch = datapath.switch
        if datapath.state is State.PENDING:
            datapath.enter(State.FLUSHING, now)

        def flushed(clean: bool, when: float) -> None:
            if datapath.state not in (State.FLUSHING, State.TAINTED):
                return
            if clean:
                lifecycle.bring_up(switch, datapath, partial(self._ready, datapath), when)
            else:
                self._taint(datapath, when)

        proving.flush(switch, datapath, flushed, now)

    def _taint(self, datapath: VirtualDatapath, now: float) -> None:
        """The VLAN holds what could not be deleted: nobody gets it; try again from time to time."""
        if datapath.state is not State.TAINTED:
            self._report_tainted(datapath)
        datapath.enter(State.TAINTED, now, "tainted", "old flows of the VLAN could not be removed")
        session = datapath.switch.session

        def again(when: float) -> None:
            if datapath.state is State.TAINTED and datapath.switch.session is session:
                self._prove(datapath, when)

        self._hub.clock.at(now + self._hub.timers.reconnect_max, again)

    def _report_tainted(self, datapath: VirtualDatapath) -> None:
        self._hub.report(
            Kind.TAINTED,
            slice=datapath.owner.id,
            vlan=datapath.vlan,
            dpid=datapath.switch.dpid,
            message=f"VLAN {datapath.vlan} still holds flows that the switch does not delete",
        )

    def _ready(self, datapath: VirtualDatapath, now: float) -> None:
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

    # -- the journal -------------------------------------------------------------------------------

    def rewrite_journal(self) -> None:
        """Begin to write everything anew: once ``rewrite_some`` is False, what was written before is superfluous."""
        self._hub.journal.rewrite()

    def rewrite_some(self) -> bool:
        """Write one virtual datapath anew; whether there is more to do. The next output has it."""
        return self._hub.journal.rewrite_some()

    # -- the view ----------------------------------------------------------------------------------

    def tally(self) -> tuple[dict[int, bool], dict[tuple[str, str], int]]:
        """For metrics: whether each switch is connected, by DPID, and how many links there are by (slice, state)."""
        switches: dict[int, bool] = {}
        for switch in self._switches.values():  # one per listener VLAN it connects by
            switches[switch.dpid] = switches.get(switch.dpid, False) or switch.session is not None
        return switches, dict(self._hub.link_states)

    def describe(self) -> dict[str, object]:
        """Everything at once as plain values, for debugging; ``view`` is for what runs."""
        return self.view.describe()


def _same_instance(datapath: VirtualDatapath, owner: Slice, segment: Segment) -> bool:
    """Whether a datapath can become the wanted one without everything of it being flushed."""
    return (
        datapath.owner.id == owner.id
        and datapath.segment.presentation == segment.presentation
        and datapath.dpid == presented_dpid(segment, datapath.switch.dpid)
    )
