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

from collections.abc import Iterator
from functools import partial

from vmoc.events import Kind
from vmoc.model import Endpoint, Policy, Segment, Slice, Timers, format_dpid
from vmoc.mux import lifecycle, operator
from vmoc.mux.counters import Counters
from vmoc.mux.datapath import State, VirtualDatapath, presented_dpid
from vmoc.mux.effects import Output
from vmoc.mux.hub import Hub
from vmoc.mux.link import Link, LinkState
from vmoc.mux.north import NorthSession
from vmoc.mux.south import Phase, SouthSession
from vmoc.mux.switch import Switch
from vmoc.openflow import names
from vmoc.openflow.features import parse_features
from vmoc.registry import Snapshot

ABSENT_SWITCHES = 1024


class Mux:
    """The multiplexer's core."""

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
    ) -> None:
        self._hub = Hub(
            versions=versions,
            policy=policy or Policy(),
            timers=timers or Timers(),
            default_controller=default_controller,
            tap=tap,
            seed=seed,
        )
        self._snapshot = snapshot
        self._south: dict[int, SouthSession] = {}
        self._north: dict[int, NorthSession] = {}
        self._switches: dict[tuple[int, int], Switch] = {}
        self._links: dict[int, Link] = {}
        self._presented: dict[tuple[Endpoint, int], Link] = {}
        self._held: dict[tuple[int, int], SouthSession] = {}
        self._next_link = 0
        self._draining = False

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

    def south_lost(self, session: SouthSession, why: str, now: float) -> None:
        """The session is over, for whatever reason."""
        if session.phase is Phase.CLOSED:
            return
        early = session.phase is not Phase.JOINED
        session.closed()
        self._south.pop(session.cid, None)
        switch = session.switch
        if switch is not None and switch.session is session:
            was_up = switch.up
            self._release_all(switch)
            switch.detached(now)
            self._hub.counters.reconnects["south"] += 1
            session.report(Kind.SWITCH_DOWN if was_up else Kind.SWITCH_REFUSED, why)
            waiting = self._held.pop(switch.key, None)
            if waiting is not None:
                self._join(waiting, switch, now)
            self._forget_absent()
        elif early:
            for key, held in list(self._held.items()):
                if held is session:
                    del self._held[key]
            session.report(Kind.SWITCH_REFUSED, why)

    def identified(self, session: SouthSession, features: bytes, now: float) -> None:
        """A switch said who it is: the only one of that DPID, or one too many (vetting D.4)."""
        found = parse_features(features)
        key = (found.dpid, session.native_vlan)
        switch = self._switches.get(key)
        if switch is None:
            switch = self._switches[key] = Switch(self._hub, found.dpid, session.native_vlan)
        session.features = features
        if switch.session is None:
            self._join(session, switch, now)
            return
        if key in self._held or found.auxiliary_id:
            session.fail(f"{format_dpid(found.dpid)} is already connected", now)
            return
        old, self._held[key] = switch.session, session
        session.hold(now)
        old.probe()
        asked = now

        def decide(when: float) -> None:
            if self._held.get(key) is not session:
                return
            del self._held[key]
            if old.heard > asked and switch.session is old:
                reason = f"{format_dpid(found.dpid)} is already connected from {old.peer}, and that connection is alive"
                session.report(Kind.SWITCH_REFUSED, reason, "duplicate-dpid")
                session.fail("its DPID is connected already", when)
                return
            old.fail(f"replaced by a new connection from {session.peer}", when, abort=True)
            if session.phase is Phase.PROBING:
                self._join(session, switch, when)

        self._hub.clock.at(now + self._hub.timers.duplicate_probe, decide)

    def _join(self, session: SouthSession, switch: Switch, now: float) -> None:
        kept = session.join(switch, now)

        def known(when: float) -> None:
            self._sync_switch(switch, when)
            lifecycle.reconcile(switch, reconciled, when)

        def reconciled(when: float) -> None:
            waiting = [datapath for datapath in switch.datapaths.values() if datapath.state is State.PENDING]
            for datapath in waiting:
                lifecycle.bring_up(switch, datapath, partial(self._ready, datapath), when)
            switch.after_barrier(lambda _, later: up(later), when)

        def up(when: float) -> None:
            switch.up, switch.since = True, when
            version = names.version_name(switch.version)
            session.report(Kind.SWITCH_UP, f"{len(switch.ports)} ports, OpenFlow {version}")
            self._sync_switch(switch, when)

        lifecycle.attach(switch, session, session.features, known, now)
        if kept:
            switch.receive(kept, now)

    def _forget_absent(self) -> None:
        """Switches that left are kept for their flows, but not without bound."""
        absent = [key for key, switch in self._switches.items() if switch.session is None]
        for key in absent[: max(0, len(absent) - ABSENT_SWITCHES)]:
            for datapath in self._switches.pop(key).datapaths.values():
                self._drop_links(datapath)

    # -- north -------------------------------------------------------------------------------------

    def dialled(self, link: int, cid: int, now: float) -> None:
        """A controller answered the dial."""
        found = self._links.get(link)
        if found is None or found.state is not LinkState.DIALLING:
            self._hub.close(cid, abort=True)
            return
        found.dialled(now)
        found.session = self._north[cid] = NorthSession(self._hub, cid, found, now)

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
            if session.closed:
                self._north.pop(cid, None)

    def north_closed(self, cid: int, why: str, now: float) -> None:
        """A controller's connection is gone."""
        session = self._north.pop(cid, None)
        if session is not None and not session.closed:
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

    def adopt(self, snapshot: Snapshot, now: float) -> None:
        """The slices are these from now on."""
        before, self._snapshot = self._snapshot.slices, snapshot
        for name in sorted(before.keys() | snapshot.slices.keys()):
            if name not in snapshot.slices:
                self._hub.report(Kind.SLICE_REMOVED, slice=name)
            elif name not in before:
                self._hub.report(Kind.SLICE_ADDED, slice=name)
            elif before[name] != snapshot.slices[name]:
                self._hub.report(Kind.SLICE_CHANGED, slice=name)
        for switch in list(self._switches.values()):
            if switch.features is not None:
                self._sync_switch(switch, now)

    def set_default_controller(self, endpoint: Endpoint | None, now: float) -> None:
        """Where slices without a controller of their own go."""
        self._hub.default_controller = endpoint
        for datapath in list(self._all_datapaths()):
            if not datapath.segment.controllers:
                self._sync_links(datapath, now)

    def begin_drain(self, now: float) -> None:
        """Shut down: controllers are closed, flows stay as they are, switches are let go."""
        self._draining = True
        for link in list(self._links.values()):
            if link.session is not None:
                link.session.datapath.state = State.GONE  # no fail mode: we leave, not the controller
                link.session.detach(now)
                self._hub.close(link.session.cid)
            link.stop(now)
        for session in list(self._south.values()):
            session.closed()
            self._hub.close(session.cid)
        self._south.clear()

    @property
    def drained(self) -> bool:
        """Whether all that is left is for the edge to flush."""
        return self._draining and not self._south

    def _all_datapaths(self) -> Iterator[VirtualDatapath]:
        for switch in self._switches.values():
            yield from switch.datapaths.values()

    def _sync_switch(self, switch: Switch, now: float) -> None:
        """Make the switch's virtual datapaths those of the snapshot, touching only what differs."""
        wanted = {
            segment.vlan: (owner, segment)
            for owner, segment in self._snapshot.segments_on(switch.dpid, switch.native_vlan)
        }
        for vlan, datapath in list(switch.datapaths.items()):
            if vlan not in wanted or not _same_instance(datapath, *wanted[vlan]):
                self._remove(datapath, now)
        for vlan, (owner, segment) in wanted.items():
            existing = switch.datapaths.get(vlan)
            if existing is None:
                self._create(switch, owner, segment, now)
            else:
                self._update(existing, owner, segment, now)

    def _create(self, switch: Switch, owner: Slice, segment: Segment, now: float) -> None:
        attachment = segment.attachment(switch.dpid)
        if attachment is None:
            return
        datapath = VirtualDatapath(self._hub, switch, owner, segment, attachment, now)
        switch.enlist(datapath)
        if not switch.up:
            return  # the switch's own arrival brings it up
        datapath.enter(State.FLUSHING, now)

        def flushed(clean: bool, when: float) -> None:
            if datapath.state is not State.FLUSHING:
                return
            if clean:
                lifecycle.bring_up(switch, datapath, partial(self._ready, datapath), when)
            else:
                datapath.enter(State.TAINTED, when, "tainted", "old flows of the VLAN could not be removed")
                self._hub.report(Kind.TAINTED, slice=owner.id, vlan=segment.vlan, dpid=switch.dpid)

        lifecycle.flush(switch, datapath, flushed, now)

    def _ready(self, datapath: VirtualDatapath, now: float) -> None:
        if datapath.state in (State.PENDING, State.FLUSHING):
            datapath.regrant()
            datapath.enter(State.READY, now)
            self._sync_links(datapath, now)

    def _update(self, datapath: VirtualDatapath, owner: Slice, segment: Segment, now: float) -> None:
        limits_before, owner_before, segment_before = datapath.owner.limits, datapath.owner, datapath.segment
        if owner_before == owner and segment_before == segment and datapath.grant.version == datapath.switch.version:
            datapath.regrant()
            return
        datapath.owner, datapath.segment = owner, segment
        if owner.limits != limits_before:
            datapath.set_limits(owner.limits, now)
        attachment = segment.attachment(datapath.switch.dpid)
        if attachment is not None and attachment != datapath.attachment:
            lifecycle.change_ports(datapath.switch, datapath, attachment, now)
        self._sync_links(datapath, now)

    def _remove(self, datapath: VirtualDatapath, now: float) -> None:
        switch = datapath.switch
        datapath.enter(State.GONE, now, "removed")
        self._drop_links(datapath, now)
        if switch.datapaths.get(datapath.vlan) is datapath:
            del switch.datapaths[datapath.vlan]
        if switch.session is None:
            # Its flows are found and deleted when the switch is back: nobody knows their tag any more.
            switch.by_tag.pop(datapath.tag, None)
            return

        def flushed(clean: bool, when: float) -> None:
            switch.by_tag.pop(datapath.tag, None)
            if not clean:
                self._hub.report(Kind.TAINTED, slice=datapath.owner.id, vlan=datapath.vlan, dpid=switch.dpid)

        lifecycle.flush(switch, datapath, flushed, now)

    # -- links -------------------------------------------------------------------------------------

    def _sync_links(self, datapath: VirtualDatapath, now: float) -> None:
        """Links are those of the segment, started if the datapath is ready."""
        endpoints = datapath.segment.controllers
        if not endpoints and self._hub.default_controller is not None:
            endpoints = (self._hub.default_controller,)
        present = {link.endpoint: link for link in datapath.links.values()}
        for endpoint, link in present.items():
            if endpoint not in endpoints:
                self._drop_link(link, now)
        for endpoint in endpoints:
            if endpoint not in present:
                self._next_link += 1
                link = Link(self._hub, self._next_link, datapath, endpoint, now)
                datapath.links[link.number] = self._links[link.number] = link
        if datapath.state in (State.READY, State.COLLIDING):
            for link in list(datapath.links.values()):
                self._start(link, now)

    def _start(self, link: Link, now: float) -> None:
        datapath = link.datapath
        holder = self._presented.setdefault((link.endpoint, datapath.dpid), link)
        if holder is not link:
            other = holder.datapath
            text = (
                f"{link.endpoint} already has {format_dpid(datapath.dpid)}: VLAN {other.vlan} of "
                f"{format_dpid(other.switch.dpid)}; this one is held down"
            )
            if datapath.state is not State.COLLIDING:
                self._hub.report(
                    Kind.DPID_COLLISION,
                    slice=datapath.owner.id,
                    vlan=datapath.vlan,
                    dpid=datapath.switch.dpid,
                    controller=str(link.endpoint),
                    message=text,
                )
            datapath.enter(State.COLLIDING, now, "dpid-collision", text)
            return
        datapath.enter(State.READY, now)
        link.start(now)

    def _release(self, link: Link) -> Link | None:
        """Give up the DPID a link presents; returns one that waited for it."""
        key = (link.endpoint, link.datapath.dpid)
        if self._presented.get(key) is not link:
            return None
        del self._presented[key]
        for other in self._links.values():
            if other is not link and (other.endpoint, other.datapath.dpid) == key:
                if other.datapath.state is State.COLLIDING:
                    return other
        return None

    def _release_all(self, switch: Switch) -> None:
        for datapath in switch.datapaths.values():
            for link in datapath.links.values():
                key = (link.endpoint, datapath.dpid)
                if self._presented.get(key) is link:
                    del self._presented[key]

    def _drop_links(self, datapath: VirtualDatapath, now: float = 0.0) -> None:
        for link in list(datapath.links.values()):
            self._drop_link(link, now)

    def _drop_link(self, link: Link, now: float) -> None:
        session = link.session
        if session is not None:
            session.detach(now)
            self._north.pop(session.cid, None)
            self._hub.close(session.cid)
        link.stop(now)
        link.datapath.links.pop(link.number, None)
        self._links.pop(link.number, None)
        successor = self._release(link)
        if successor is not None:
            self._start(successor, now)

    # -- the view ----------------------------------------------------------------------------------

    def describe(self) -> dict[str, object]:
        """Plain values for people and metrics: switches, virtual datapaths and links with their states."""
        return {
            "switches": [_describe_switch(switch) for switch in self._switches.values()],
            "slices": sorted(self._snapshot.slices),
        }


def _same_instance(datapath: VirtualDatapath, owner: Slice, segment: Segment) -> bool:
    """Whether a datapath can become the wanted one without everything of it being flushed."""
    return (
        datapath.owner.id == owner.id
        and datapath.segment.presentation == segment.presentation
        and datapath.dpid == presented_dpid(segment, datapath.switch.dpid)
    )


def _describe_switch(switch: Switch) -> dict[str, object]:
    return {
        "dpid": format_dpid(switch.dpid),
        "native_vlan": switch.native_vlan or None,
        "connected": switch.session is not None,
        "up": switch.up,
        "since": switch.since,
        "version": names.version_name(switch.version) if switch.features else None,
        "peer": switch.session.peer if switch.session else None,
        "in_flight": len(switch.pending),
        "ports": [{"number": port.number, "name": port.name} for port in switch.ports.values()],
        "datapaths": [_describe_datapath(datapath) for datapath in switch.datapaths.values()],
    }


def _describe_datapath(datapath: VirtualDatapath) -> dict[str, object]:
    return {
        "slice": datapath.owner.id,
        "vlan": datapath.vlan,
        "state": str(datapath.state),
        "since": datapath.since,
        "presented_dpid": format_dpid(datapath.dpid),
        "ports": sorted(datapath.grant.ports),
        "flows": len(datapath.flows),
        "flow_quota": datapath.flows.quota,
        "controllers": [
            {
                "endpoint": str(link.endpoint),
                "state": str(link.state),
                "since": link.since,
                "last_error": link.last_error,
                "next_retry": link.next_retry,
            }
            for link in datapath.links.values()
        ],
    }
