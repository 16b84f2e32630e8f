"""A virtual datapath: one segment on one switch, with its flows, its limits and its controllers.

Life (``State``): PENDING (its switch is not there) -> FLUSHING (the VLAN is
being proven empty) -> READY (guards are in, controllers may come) -> GONE.
Whether a controller is connected is the links' business.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vmoc.events import Kind
from vmoc.model import Attachment, DpidScheme, FailMode, Limits, Presentation, Segment, Slice
from vmoc.mux.buckets import Bucket
from vmoc.mux.buffers import BufferPool
from vmoc.mux.clock import Alarm
from vmoc.mux.flows import PROXY_TAG, TAG_MASK, Entry, FlowTable, port_of
from vmoc.mux.groups import GroupTable, MeterTable
from vmoc.mux.hub import Hub
from vmoc.mux.journal import Kept
from vmoc.mux.likeness import actions_alike
from vmoc.mux.pending import Expected, Request
from vmoc.mux.suppress import Excess
from vmoc.mux.virtualform import ports_named, without_outputs
from vmoc.openflow import v10, v13
from vmoc.openflow.features import LOCAL, LOCAL10, NO_FLOOD10, NO_PACKET_IN, Features, Port
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.match import everything13
from vmoc.policy.packetout import PacketOutPolicy
from vmoc.policy.recipes import FlowModPolicy, identity_of

if TYPE_CHECKING:
    from vmoc.mux.link import Link
    from vmoc.mux.north import NorthSession
    from vmoc.mux.switch import Switch

GUARD_PRIORITY: Final = 0xFFFF
SAY_AGAIN: Final = 10.0
"""Seconds in which what goes on happening is reported once."""


class State(StrEnum):
    """Where a virtual datapath is in its life."""

    PENDING = "pending"
    FLUSHING = "flushing"
    READY = "ready"
    COLLIDING = "colliding"
    TAINTED = "tainted"
    GONE = "gone"


def presented_dpid(segment: Segment, dpid: int) -> int:
    """The DPID the controller sees: the VLAN in the upper 16 bits, 48 bits of the switch's own below."""
    if segment.dpid is DpidScheme.PHYSICAL:
        return dpid
    return segment.vlan << 48 | dpid & 0xFFFFFFFFFFFF


class VirtualDatapath:
    """One segment on one switch."""

    def __init__(
        self,
        hub: Hub,
        switch: Switch,
        owner: Slice,
        segment: Segment,
        attachment: Attachment,
        now: float,
        kept: Kept | None = None,
    ) -> None:
        self.hub = hub
        self.switch = switch
        self.owner = owner
        self.segment = segment
        self.attachment = attachment
        self.vlan = segment.vlan
        self.hides_tag = switch.native or segment.presentation is Presentation.TRANSPARENT
        """Whether its controllers see untagged frames."""
        self.state = State.PENDING
        self.since = now
        self.tag = switch.allocate_tag() if kept is None else kept.tag
        self.slot = 0
        if switch.pipeline.sharing:
            self.slot = switch.metadata_slots.allocate() if kept is None else kept.metadata_slot
        self.notes = hub.journal.notes(kept.handle if kept is not None else 0)
        self.restored = kept is not None
        """Back from the journal, and the switch has not shown yet what is true of it."""
        self.on_switch: dict[Entry, bytes] = {}
        """Actions the switch shows of restored entries, where those may not be what they should."""
        self.dpid = presented_dpid(segment, switch.dpid)
        self.adoption = 0
        """The number of the change of slices it came with, or after."""
        self.links: dict[int, Link] = {}
        self.sessions: list[NorthSession] = []
        self.packet_in_cids: list[int] = []
        self.ready = False
        self.packet_ins_in = self.flow_mods_in = self.packet_outs_in = self.refusals = 0
        self.packet_ins_over = 0
        """Dropped, because they came faster than the slice's rate."""
        self.guards: frozenset[int] = frozenset()
        self.admitted: frozenset[int] = frozenset()
        """``pipeline: admission``: where packets may come from, ports and the controller."""
        self.let_in: frozenset[int] = frozenset()
        """For which of those the switch has been given an entry."""
        self.admits = False
        self.no_flood: frozenset[int] = frozenset()
        self.no_packet_in: frozenset[int] = frozenset()
        self.unacked: list[int] = []
        self.unsettled = 0
        self.excess = Excess()
        self.heavy = self.heavy_covered = 0
        self.ack_alarm: Alarm | None = None
        self.standalone_alarm: Alarm | None = None
        self.standalone_identity: bytes | None = None
        self.generation: int | None = None
        self._said: dict[Kind, float] = {}
        self._unsaid: Counter[Kind] = Counter()
        self.flows = FlowTable(switch.version, self.tag, owner.limits.max_flows, self.notes)
        size = hub.policy.buffers.partition(":")[2]
        self.buffers = BufferPool(int(size), hub.random) if size else None
        self.groups = GroupTable(0, owner.limits.max_groups, hub.policy.chain_depth, notes=self.notes)
        self.meters = MeterTable(switch.meter_pool, owner.limits.max_meters, notes=self.notes)
        if kept is not None:
            self.flows.restore(kept.serial, kept.flows)
            self.groups.restore(kept.slot, kept.number, kept.groups)
            self.meters.restore(kept.meters)
            self.no_flood, self.no_packet_in = kept.no_flood, kept.no_packet_in
        self.set_limits(owner.limits, now)
        self.grant = Grant(switch.version, self.vlan, frozenset())
        self.regrant()

    def set_limits(self, limits: Limits, now: float) -> None:
        """Rates start anew; a quota below what is in use keeps the flows and refuses new ones."""
        self.flow_mods = Bucket(limits.flow_mod_rate, now)
        self.packet_outs = Bucket(limits.packet_out_rate, now)
        self.packet_ins = Bucket(limits.packet_in_rate, now)
        self.stats = Bucket(limits.stats_rate, now)
        self.barriers = Bucket(limits.barrier_rate, now)
        self.flows.quota = limits.max_flows
        self.groups.quota = limits.max_groups
        self.meters.quota = limits.max_meters

    def charge_search(self) -> None:
        """Every flow has been looked at: whoever has many and has that done often pays for it."""
        if len(self.flows) > 256:
            self.flow_mods.charge(len(self.flows) / 256)

    # -- what it may do ----------------------------------------------------------------------------

    @property
    def place(self) -> int:
        """Its key among the switch's residents."""
        return self.slot << 12 | self.vlan

    @property
    def doubtful(self) -> bool:
        """Whether there are groups or meters that the switch has not confirmed."""
        return bool(self.groups.doubtful or self.meters.doubtful)

    def owned_ports(self) -> frozenset[int]:
        """The ports of the attachment that the switch has now, as wire numbers."""
        switch = self.switch
        if self.attachment.ports is None:
            return frozenset(number for number, port in switch.ports.items() if port.is_physical)
        return frozenset(number for number in switch.ports if self.attached(number))

    def _awaited_ports(self) -> frozenset[int] | None:
        wanted, version = self.attachment.ports, self.switch.version
        if wanted is None:
            return None
        numbers = (LOCAL10 if version == 1 and number == LOCAL else number for number in wanted)
        return frozenset(number for number in numbers if number not in self.switch.ports)

    def attached(self, number: int) -> bool:
        """Whether the attachment grants a port, by its wire number; the switch may not have it at present."""
        wanted, version = self.attachment.ports, self.switch.version
        if wanted is None:
            return 0 < number < (v10.MAX if version == 1 else v13.MAX)
        return (LOCAL if version == 1 and number == LOCAL10 else number) in wanted

    def keeps_out(self, port: int) -> bool:
        """A port has appeared. If it is not the slice's, that is no reason for a new grant: guard it, and say True."""
        if self.attached(port):
            return False
        if self.switch.pipeline.first_table:
            return True
        if not self.grant.guarded:
            return False
        self.guards = self.guards | {port}
        return True

    def regrant(self) -> None:
        """Recompute the grant and the guards from the attachment and the switch's ports."""
        hub, switch, features = self.hub, self.switch, self.switch.features
        ports = self.owned_ports()
        named = self.attachment.ports
        if named is None:
            foreign = [number for number, port in switch.ports.items() if port.is_local]
        else:
            foreign = [number for number in switch.ports if number not in ports]
        first_table = switch.pipeline.first_table
        if first_table:
            foreign.clear()
            self.admitted = ports if self.slot else ports | {v13.CONTROLLER}
        if self.state is not State.GONE:
            switch.datapaths.place_ports(self, self.grant.ports, ports)
        self.guards = frozenset(foreign)
        self.grant = Grant(
            version=switch.version,
            vlan=self.vlan,
            ports=ports,
            hides_tag=self.hides_tag,
            native=switch.native,
            guarded=bool(foreign),
            n_tables=min(features.n_tables - first_table, hub.policy.max_tables) if features else 1,
            first_table=first_table,
            slot=self.slot,
            queues={port: self.attachment.queues[port] for port in ports if port in self.attachment.queues},
            no_flood=self.no_flood & ports,
            groups=self.groups.ids,
            meters=self.meters.ids,
            policy=hub.policy,
            awaited=self._awaited_ports(),
        )
        self.flow_policy = FlowModPolicy(self.grant)
        self.packet_policy = PacketOutPolicy(self.grant)
        if self.flows.version != switch.version:
            self.flows = FlowTable(switch.version, self.tag, self.owner.limits.max_flows, self.notes)
            if self.notes is not None:
                hub.journal.hold(self.notes.handle, self)

    def kept(self) -> Kept:
        """What the journal has to know."""
        flows = self.flows
        return Kept(
            self.notes.handle if self.notes is not None else 0,
            *self.switch.key,
            self.vlan,
            self.tag,
            flows.version,
            self.hides_tag,
            self.dpid,
            flows.serial,
            self.groups.slot,
            self.groups.last_number,
            self.slot,
            self.owner.id,
            {entry.serial: (entry.identity, entry.data, entry.floods) for entry in flows.by_serial.values()},
            self.groups.kept(),
            self.meters.kept(),
            self.no_flood,
            self.no_packet_in,
        )

    def shown(self, port: Port) -> Port:
        """A port as the slice sees it: its own NO_FLOOD and NO_PACKET_IN, the real PORT_DOWN."""
        config = port.config & 1
        if port.number in self.no_flood:
            config |= NO_FLOOD10
        if port.number in self.no_packet_in:
            config |= NO_PACKET_IN
        return port.with_config(config)

    def shown_ports(self) -> list[Port]:
        """The slice's ports, ascending."""
        ports = self.switch.ports
        return [self.shown(ports[number]) for number in sorted(self.grant.ports)]

    def shown_features(self) -> Features:
        """The FEATURES_REPLY of the virtual switch (vetting A.2)."""
        real = self.switch.features
        assert real is not None
        capabilities = real.capabilities & ~0x20
        if not self.grant.queues:
            capabilities &= ~0x40
        last = 0
        if self.switch.version == 1:
            capabilities &= ~(0x08 | 0x10)
            last = real.last & 0xFFF & ~(0x0E if self.hides_tag else 0x08)
            if not self.grant.queues:
                last &= ~(1 << 11)
        else:
            capabilities &= ~0x100  # blocked ports are the operator's
        buffers = self.buffers.size if self.buffers is not None else 0
        return Features(self.dpid, buffers, self.grant.n_tables, 0, capabilities, last)

    # -- selections on the switch ------------------------------------------------------------------

    def scope_match(self) -> bytes:
        """The physical match of everything that is this datapath's."""
        if self.switch.version == 1:
            return m10.pack() if self.switch.native else m10.pack(dl_vlan=self.vlan)
        return everything13(self.grant)

    def vlan_match(self) -> bytes:
        """The physical match of everything in its VLAN, whoever has that too."""
        if self.switch.version == 1:
            return self.scope_match()
        return everything13(replace(self.grant, slot=0))

    def scope_delete(self, *, own_only: bool) -> bytes:
        """DELETE everything in the VLAN; ``own_only``, or a slot, spares in 1.3 what does not carry the tag."""
        if self.switch.version == 1:
            return f10.flow_mod(0, self.scope_match(), v10.DELETE)
        cookie, mask = (self.flows.tag, TAG_MASK) if own_only or self.slot else (0, 0)
        return f13.flow_mod(0, self.scope_match(), v10.DELETE, table=v13.ALL_TABLES, cookie=cookie, cookie_mask=mask)

    def guard_identity(self, port: int) -> bytes:
        """Table, priority and match of the guard on ``port``."""
        if self.switch.version == 1:
            fields = {"in_port": port} if self.switch.native else {"in_port": port, "dl_vlan": self.vlan}
            match = m10.pack(**fields)
        else:
            vlan = () if self.switch.native else ((oxm.VLAN_VID, oxm.VID_PRESENT | self.vlan, None),)
            match = oxm.pack(((oxm.IN_PORT, port, None), *vlan))
        return b"\x00" + GUARD_PRIORITY.to_bytes(2, "big") + match

    def guard(self, port: int) -> bytes:
        """ADD the drop entry that keeps frames of the VLAN from a port outside the slice."""
        match = self.guard_identity(port)[3:]
        if self.switch.version == 1:
            return f10.flow_mod(0, match, v10.ADD, cookie=PROXY_TAG, priority=GUARD_PRIORITY, flags=v10.SEND_FLOW_REM)
        return f13.flow_mod(0, match, v10.ADD, cookie=PROXY_TAG, priority=GUARD_PRIORITY, flags=v13.SEND_FLOW_REM)

    def guards_with(self, identity: bytes) -> bool:
        """Whether a guard has that table, priority and match."""
        port = port_of(self.switch.version, identity[3:])
        return port in self.guards and identity == self.guard_identity(port)

    def unguard(self, port: int) -> bytes:
        """Remove the guard on ``port``: the slice now has it."""
        match = self.guard_identity(port)[3:]
        if self.switch.version == 1:
            return f10.flow_mod(0, match, v10.DELETE_STRICT, cookie=PROXY_TAG, priority=GUARD_PRIORITY)
        return f13.flow_mod(
            0,
            match,
            v10.DELETE_STRICT,
            cookie=PROXY_TAG,
            cookie_mask=(1 << 64) - 1,
            priority=GUARD_PRIORITY,
        )

    # -- state -------------------------------------------------------------------------------------

    def enter(self, state: State, now: float, reason: str | None = None, message: str = "") -> None:
        """Change state, and say so."""
        if state is self.state:
            return
        before, self.state, self.since = self.state, state, now
        self.ready = state is State.READY
        self.hub.report(
            Kind.DATAPATH_STATE,
            slice=self.owner.id,
            vlan=self.vlan,
            dpid=self.switch.dpid,
            reason=reason or str(state),
            message=message,
            detail={"state": str(state), "before": str(before), "presented_dpid": self.dpid},
        )

    def say(
        self, kind: Kind, now: float, message: str, controller: str | None = None, limit: str = "", value: float = 0
    ) -> None:
        """Report what may happen with every message, but not that often. ``limit`` is one of ``Limits``."""
        self._unsaid[kind] += 1
        if now - self._said.get(kind, -SAY_AGAIN) >= SAY_AGAIN:
            self._said[kind] = now
            self.hub.report(
                kind,
                slice=self.owner.id,
                vlan=self.vlan,
                dpid=self.switch.dpid,
                controller=controller,
                message=message,
                detail={"limit": limit, "value": int(value), "count": self._unsaid.pop(kind)},
            )

    def rate_of(self, bucket: Bucket) -> str:
        """The limit that ``bucket`` keeps; empty if it is none of this datapath's."""
        return next((name for name, one in self._rates() if one is bucket), "")

    def _rates(self) -> tuple[tuple[str, Bucket], ...]:
        return (
            ("flow_mod_rate", self.flow_mods),
            ("packet_out_rate", self.packet_outs),
            ("stats_rate", self.stats),
            ("barrier_rate", self.barriers),
        )

    def refresh_receivers(self) -> None:
        """Which connections get packet-ins, as their common case: every kind, no filter."""
        self.packet_in_cids = [
            session.cid
            for session in self.sessions
            if not session.behind and session.gets_packet_ins and not self.no_packet_in
        ]

    def reexpand(self, now: float) -> None:
        """Re-issue entries whose FLOOD now means other ports; those that name a port that is gone stay as they are."""
        for entry in list(self.flows.flooding.values()):
            self._fits(entry, now)

    def revet(self, now: float) -> list[Entry]:
        """Judge every entry anew under the present grant; what it refuses is deleted, and returned."""
        entries = list(self.flows.by_identity.values())
        refused = [entry for entry in entries if not self._fits(entry, now, anew=True)]
        for entry in refused:
            self.flows.kill(entry)
            self.switch.send_own(self.flows.delete_strict(entry), now, self)
        return refused

    def _fits(self, entry: Entry, now: float, *, anew: bool = False) -> bool:
        verdict = vet_flow_mod(self.grant, entry.data)
        if isinstance(verdict, FlowChange) and identity_of(verdict) == entry.identity:
            self._reissue(entry, verdict, now)
            return True
        # A port the slice has and the switch does not, at present, is no reason: on a real switch the entry stays.
        named = ports_named(self.switch.version, entry.data)
        absent = {port for port in named if port not in self.switch.ports and self.attached(port)}
        if not absent:
            return False
        lenient = vet_flow_mod(replace(self.grant, ports=self.grant.ports | absent), entry.data)
        if not isinstance(lenient, FlowChange) or identity_of(lenient) != entry.identity:
            return False
        lenient.body = without_outputs(self.switch.version, lenient.body, absent)
        if anew:  # its FLOOD may lead to ports that are the slice's no more
            self._reissue(entry, lenient, now)
        return True

    def disown(self) -> None:
        """It is over; what its switch has of it is to be found, also after a restart."""
        if self.notes is not None:
            self.hub.journal.disown(self.notes.handle)

    def end_notes(self) -> None:
        """Nothing of it is on its switch any more, as far as anybody will ever know."""
        if self.notes is not None:
            self.hub.journal.gone(self.notes.handle)

    def confirm(self) -> None:
        """All that came back from the journal has been compared with the switch."""
        self.restored = False
        self.on_switch.clear()

    def check(self, entry: Entry, shown: bytes) -> None:
        """A restored entry, and the switch's own words on it: are its actions those it should have?"""
        verdict = vet_flow_mod(self.grant, entry.data)
        version = self.switch.version
        match = f13.ENTRY_MATCH
        at = f10.ENTRY_FIXED if version == 1 else match + ((shown[match + 2] << 8 | shown[match + 3]) + 7 & ~7)
        body = shown[at:]
        wrong = isinstance(verdict, FlowChange) and not actions_alike(version, body, verdict.body)
        if wrong or entry.floods:
            self.on_switch[entry] = body

    def _reissue(self, entry: Entry, change: FlowChange, now: float) -> None:
        """Write anew an entry that floods or is not as it should be. If the switch does not take it: delete it."""
        shown = self.on_switch.get(entry)
        if not change.floods if shown is None else actions_alike(self.switch.version, shown, change.body):
            return
        self.on_switch.pop(entry, None)
        data = self.flows.reissue(entry, change.body)

        def refused(_: bytes, when: float) -> None:
            if entry.alive:
                self.flows.kill(entry)
                self.switch.send_own(self.flows.delete_strict(entry), when, self)
                self.switch.after_barrier(lambda _, later: self.flows.forget_dead([entry], later), when, self)

        self.switch.send(data, Request(Expected.NOTHING, None, data, at=now, done=refused), self, now)

    @property
    def fail_mode(self) -> FailMode:
        """What happens without a controller."""
        return self.segment.fail_mode
