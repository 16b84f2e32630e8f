"""``Mux``: the one object the edge talks to. Bytes, closings, moments and slices in; ``Output`` out.

Rules of this file:
- One thread calls it, one call at a time; after every call the edge takes the
  output, writes it and performs the effects.
- It decides which connection a call is about and leaves the rest to sessions,
  switches and procedures.
- Slices change by whole snapshots; only virtual datapaths that differ are
  touched, a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from vmoc.events import Kind
from vmoc.model import Endpoint, Policy, Timers, format_dpid
from vmoc.mux import audit, lifecycle, operator, proving
from vmoc.mux.adopting import Adopting
from vmoc.mux.clock import Clock
from vmoc.mux.counters import Counters
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.effects import Output, SwitchForgotten
from vmoc.mux.hub import Hub
from vmoc.mux.journal import Kept
from vmoc.mux.link import LinkState
from vmoc.mux.links import Links
from vmoc.mux.north import NorthSession
from vmoc.mux.restoring import Restoring
from vmoc.mux.south import Phase, SouthSession
from vmoc.mux.switch import Switch
from vmoc.mux.tenancy import Tenancy
from vmoc.mux.view import View
from vmoc.openflow import names
from vmoc.openflow.features import parse_features, parse_ports
from vmoc.openflow.header import OF10
from vmoc.registry import Snapshot

ABSENT_SWITCHES: Final = 1024
"""Switches that are away and known all the same."""
ABSENT_DATAPATHS: Final = 1 << 14
"""Virtual datapaths on those of them that nothing is left on: whoever invents DPIDs gets all slices of every switch."""


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
        self._restoring = Restoring(self._hub.journal, kept if journal else (), snapshot.slices)
        self._north = self._hub.north
        self._south: dict[int, SouthSession] = {}
        self._switches: dict[tuple[int, int], Switch] = {}
        self._links = Links(self._hub)
        self._tenancy = Tenancy(self._hub, self._links, self._restoring, snapshot)
        self._adopting = Adopting(self._hub, self._tenancy, self._restoring, self._switches)
        self._held: dict[tuple[int, int], SouthSession] = {}
        self._draining = False
        self.view = View(self._switches, self._links, lambda: self._tenancy.snapshot)

    # -- output, time, views -----------------------------------------------------------------------

    def take(self) -> Output:
        """Everything produced since the last call."""
        return self._hub.take()

    def urgent(self) -> bool:
        """Whether output holds more than bytes to write, which is not to wait."""
        return self._hub.urgent()

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

    def south_opened(self, cid: int, peer: str, native_vlan: int, now: float, version: int = 0) -> None:
        """A switch connected; ``native_vlan`` 0 on an ordinary listener.

        ``version``: a ``Reception`` has welcomed it and agreed on that one; its FEATURES_REPLY comes next.
        """
        self._south[cid] = session = SouthSession(self._hub, self, cid, peer, native_vlan, now, version)
        if not version:
            session.report(Kind.SWITCH_CONNECTED, "")
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
            self._restoring.reserve(switch)
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
            self._tenancy.sync(switch, when)
            self._restoring.arrived(switch)
            looked_at[:] = switch.datapaths.values()
            proving.reconcile(switch, reconciled, when)

        def reconciled(unclean: proving.Unclean, when: float) -> None:
            for datapath in looked_at:
                if datapath.state is not State.PENDING:
                    continue
                if datapath.vlan in unclean:
                    self._tenancy.taint(datapath, when)
                else:
                    lifecycle.bring_up(switch, datapath, partial(self._tenancy.make_ready, datapath), when)
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
                    self._tenancy.prove(datapath, when)

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
        known = [switch for switch in absent if switch.remembers]
        excess = len(known) - ABSENT_SWITCHES
        weight = sum(len(switch.datapaths) for switch in known) - ABSENT_DATAPATHS
        if excess > 0 or weight > 0:  # whoever invents switches drives out none that slices have flows on
            for switch in sorted(known, key=lambda switch: (switch.holds_something, switch.since)):
                if excess <= 0 and (weight <= 0 or switch.holds_something):
                    break
                doomed.append(switch)
                excess, weight = excess - 1, weight - len(switch.datapaths)
        for switch in doomed:
            del self._switches[switch.key]
            self._hub.effect(SwitchForgotten(switch.key))
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
        self._adopting.adopt(snapshot, now, names)

    @property
    def behind(self) -> int:
        """How much of the latest changes of slices has not reached the switches: slices and (switch, VLAN) pairs."""
        return self._adopting.behind

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
