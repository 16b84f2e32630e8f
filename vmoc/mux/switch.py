"""One switch: its ports, its virtual datapaths, and who gets what it says.

Keyed by (DPID, native VLAN or 0); it outlives its connections, because the
slices' flows on it do. Every message it sends is given to exactly those it
belongs to: packet-ins by VLAN and port, flow-removed by cookie, answers and
errors by xid, port-status by port.
"""

from __future__ import annotations

from struct import error as StructError
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import admission, lifecycle, operator, statistics, upward
from vmoc.mux.admission import Pipeline, Slots
from vmoc.mux.clock import Alarm
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.effects import SwitchVanished
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, TAG_MASK
from vmoc.mux.groups import SLOT_MAX, MeterPool
from vmoc.mux.hub import Hub
from vmoc.mux.inflight import InFlight
from vmoc.mux.pending import Expected, Request
from vmoc.mux.portchanges import ADD, DELETE, MOST_PORTS
from vmoc.mux.residents import Residents
from vmoc.mux.suppress import Nobody
from vmoc.mux.tablefeatures import TableCache
from vmoc.mux.virtualform import virtual_flags
from vmoc.openflow import header, names, stats, v10, v13
from vmoc.openflow.features import Features, Port, parse_port, port_status
from vmoc.openflow.header import OF10, OF13

if TYPE_CHECKING:
    from vmoc.mux.flows import Entry

MALFORMED_LIMIT: Final = 3
MALFORMED_WINDOW: Final = 60.0
LONGEST_DUMP: Final = 64 << 20
LONGEST_ANSWER: Final = 8 << 20
"""Bytes of a flow dump, and of any other answer, that a switch may give before it is not believed."""
MALFORMED_ERRORS: Final = (Refused, StructError, ValueError, IndexError, KeyError, OverflowError)
PORTS_KEPT: Final = 256
"""Ports of a switch that is away; of one that has more, none are remembered until it is back."""
_REMOVED_BY_DELETE: Final = 2
_COMMON: Final = (header.EXPERIMENTER, header.FEATURES_REPLY, header.GET_CONFIG_REPLY)
_ANSWERS: Final = {
    OF10: frozenset((*_COMMON, v10.QUEUE_GET_CONFIG_REPLY)),
    OF13: frozenset((*_COMMON, v13.QUEUE_GET_CONFIG_REPLY, v13.ROLE_REPLY, v13.GET_ASYNC_REPLY)),
}
"""What a switch may send besides what is handled one by one; experimenter messages are counted and dropped."""


class Switch(InFlight):
    """One physical datapath (on one native VLAN)."""

    def __init__(self, hub: Hub, dpid: int, native_vlan: int) -> None:
        super().__init__(hub)
        self.dpid = dpid
        self.native_vlan = native_vlan
        self.key = (dpid, native_vlan)
        self.native = native_vlan != 0
        self.features: Features | None = None
        self.features_message = b""
        self.port_messages: tuple[bytes, ...] = ()
        self.description: tuple[bytes, bytes, bytes, bytes, bytes] = (b"", b"", b"", b"", b"")
        self.ports: dict[int, Port] = {}
        self.pipeline = self.offers = Pipeline()
        """How its tables are used; and how they could be since it last connected."""
        self.datapaths = Residents()
        self.held_out: frozenset[tuple[int, str]] = frozenset()
        """VLANs and slices that would have to share one here, where that cannot be."""
        self.metadata_slots = Slots()
        self.by_tag: dict[int, VirtualDatapath] = {}
        self.left: set[int] = set()
        """VLANs whose slices went while the switch was away: what it holds of them is deleted when it is back."""
        self.left_slots: set[int] = set()
        self.left_meters: set[int] = set()
        """Group slots and meters of such slices, as far as the journal of an earlier run tells."""
        self.reserved_tags: set[int] = set()
        """Tags an earlier run gave out that entries on the switch may still carry."""
        self.ever_up = False
        """Whether it was up before its present connection."""
        self.since = 0.0
        self.heard = 0.0
        """When it was last heard on a connection that is over; 0: never."""
        self.progress = 0.0
        """When it last answered something a procedure of ours waits for."""
        self.audit_alarm: Alarm | None = None
        self.slots: dict[int, VirtualDatapath] = {}
        self.taken_slots: set[int] = set()
        """Slots of group ids in which the switch holds groups that are nobody's here."""
        self.meter_pool = MeterPool()
        self.group_features: tuple[int, ...] | None = None
        self.meter_features: tuple[int, ...] | None = None
        self.tables = TableCache()
        self.nobody = Nobody()
        self._tag = hub.random.randrange(1, 0xFFFD)
        self._slot = 0
        self._bad: list[float] = []

    # -- tags --------------------------------------------------------------------------------------

    @property
    def remembers(self) -> bool:
        """Whether something would be lost if it were forgotten while it is away."""
        return self.ever_up or self.holds_something

    @property
    def holds_something(self) -> bool:
        """Whether some slice has flows, groups or meters on it, or one that is gone may have left some."""
        every = self.datapaths.values()
        return bool(self.left) or any(each.flows.by_serial or each.groups.ids or each.meters.ids for each in every)

    def allocate_tag(self) -> int:
        """A 16-bit tag no live datapath of this switch has; 0, 0xfffe and 0xffff are not for slices."""
        while True:
            self._tag = self._tag % 0xFFFD + 1
            if self._tag not in self.by_tag and self._tag not in self.reserved_tags:
                return self._tag

    def allocate_slot(self, datapath: VirtualDatapath) -> int:
        """A slot of group ids for ``datapath``, which keeps it until its groups are proven gone; 0: none is free."""
        for _ in range(SLOT_MAX):
            self._slot = self._slot % SLOT_MAX + 1
            if self._slot not in self.slots and self._slot not in self.taken_slots:
                self.slots[self._slot] = datapath
                return self._slot
        return 0

    def slot_known(self, slot: int) -> None:
        """An earlier run gave it out: it comes again only after those above it, as it would have then."""
        self._slot = max(self._slot, slot)

    def enlist(self, datapath: VirtualDatapath) -> None:
        """The datapath is this switch's."""
        self.datapaths.enlist(datapath)
        self.by_tag[datapath.tag] = datapath
        if datapath.groups.slot:
            self.slots[datapath.groups.slot] = datapath
            self.slot_known(datapath.groups.slot)
        if datapath.notes is not None:
            self.hub.journal.hold(datapath.notes.handle, datapath, write=not datapath.restored)

    def is_shared(self, port: int, datapath: VirtualDatapath) -> bool:
        """Whether another virtual datapath has the port too."""
        return any(port in other.grant.ports for other in self.datapaths.values() if other is not datapath)

    # -- up ----------------------------------------------------------------------------------------

    def receive(self, messages: list[bytes], now: float) -> None:
        """Whole messages of the switch, in order. A bad one costs itself; three in a minute the connection."""
        version = self.version
        for message in messages:
            try:
                if message[0] != version and message[1] not in (header.ECHO_REQUEST, header.ECHO_REPLY):
                    raise Refused(errors.BAD_VERSION)
                if message[1] != header.PACKET_IN:
                    self._other(message, now)
                elif version == OF10:
                    upward.packet_in10(self, message, now)
                else:
                    upward.packet_in13(self, message, now)
            except MALFORMED_ERRORS as problem:
                if not self._tolerate(message, problem, now):
                    return
            if self.session is None:
                return

    def _tolerate(self, message: bytes, problem: Exception, now: float) -> bool:
        self.hub.counters.malformed["south"] += 1
        name = names.message_name(self.version, message[1])
        self._bad = [when for when in self._bad if now - when < MALFORMED_WINDOW]
        self._bad.append(now)
        if self.session is not None:
            self.session.report(Kind.MALFORMED, f"the switch sent a bad {name}: {problem}")
            if len(self._bad) >= MALFORMED_LIMIT:
                self._bad.clear()
                self.session.fail("sent too many malformed messages", now)
                return False
        return True

    def _other(self, message: bytes, now: float) -> None:
        kind, version = message[1], self.version
        if kind == header.ECHO_REQUEST:
            self.write(header.echo_reply(message))
        elif kind in (header.ECHO_REPLY, header.HELLO):
            pass
        elif kind == header.FLOW_REMOVED:
            self._flow_removed(message, now)
        elif kind == header.PORT_STATUS:
            self._port_status(message, now)
        elif kind == header.ERROR:
            self._error(message, now)
            if self.waiting:  # a refused barrier settles as well
                self.give_turns(now)
        elif kind == (v10.BARRIER_REPLY if version == OF10 else v13.BARRIER_REPLY):
            self._barrier_reply(message, now)
        elif kind == stats.REPLY[version]:
            self._answer(message, now, more=bool(stats.head(message)[1] & 1))
        elif kind in _ANSWERS[version]:
            self._answer(message, now, more=False)
        else:
            raise Refused(errors.BAD_TYPE, "not a switch's message")

    def _barrier_reply(self, message: bytes, now: float) -> None:
        xid = header.xid_of(message)
        sent = self.pending.get(xid)
        if type(sent) is not Request or sent.expected not in (Expected.BARRIER, Expected.OPERATOR):
            self.hub.counters.unrouted["BARRIER_REPLY"] += 1
            return
        self.pending.pop(xid)
        if sent.expected is Expected.OPERATOR:
            operator.answer(self, sent, message)
            return
        self.settle(sent, now)
        if sent.done is not None:
            self.progress = now
            sent.done(message, now)
        elif sent.session is not None and not sent.session.closed:
            sent.session.barrier_done(xid, header.with_xid(message, header.xid_of(sent.message)), now)
        if self.waiting:
            self.give_turns(now)

    def _answer(self, message: bytes, now: float, *, more: bool) -> None:
        xid = header.xid_of(message)
        sent = self.pending.get(xid)
        if type(sent) is not Request or sent.expected is Expected.BARRIER:
            self.hub.counters.unrouted[names.message_name(self.version, message[1])] += 1
            return
        if sent.expected is Expected.QUEUE_CONFIG:
            fits = message[1] in (v10.QUEUE_GET_CONFIG_REPLY, v13.QUEUE_GET_CONFIG_REPLY)
        else:
            fits = message[1] == stats.REPLY[self.version] or sent.expected is Expected.OPERATOR
        if not fits:
            raise Refused(errors.BAD_TYPE, "it answers another kind of request")
        if not more:
            self.pending.pop(xid)
        sent.at = self.progress = now
        if sent.expected is Expected.OPERATOR:
            operator.answer(self, sent, message)
        elif sent.expected is Expected.OWN and sent.done is not None:
            sent.size += len(message)
            if sent.size > (LONGEST_DUMP if stats.head(message)[0] == stats.FLOW else LONGEST_ANSWER):
                if self.session is not None:
                    self.session.fail("its answer does not end", now)
                return
            sent.done(message, now)
        elif sent.session is not None and not sent.session.closed:
            if sent.expected is Expected.QUEUE_CONFIG:
                statistics.relay_queue_config(sent.session, sent.message, message)
            elif sent.done is not None:
                sent.done(message, now)

    def _error(self, message: bytes, now: float) -> None:
        code = header.error_code(message)
        xid = header.xid_of(message)
        sent = self.take_refused(xid)
        if sent is None and len(message) >= 20:
            xid = int.from_bytes(message[16:20], "big")
            sent = self.take_refused(xid)
        if sent is None:
            self.hub.counters.unrouted["ERROR"] += 1
            return
        request = sent if type(sent) is Request else None
        if sent.session is not None:
            flows = sent.session.datapath.flows
            if request is not None and request.plan is not None:
                flows.undo(request.plan, request.part)
            elif sent.added is not None:
                flows.take_back(sent.added)
            if sent.added is not None and sent.added.rewritten and self.version == OF10:
                self._undo_stray(sent.session.datapath, sent.added, now)
            if request is not None and request.undo is not None:
                request.undo(now)
        if request is not None and request.expected is Expected.BARRIER:
            self.settle(request, now)
        if request is not None and request.expected is Expected.OPERATOR:
            operator.answer(self, request, message)
        elif sent.session is not None:
            if request is not None and request.unit is not None:
                if request.unit.failed:
                    return
                request.unit.failed = True
            prefix = message[12 : 12 + _prefix_length(self.version, code[0])]
            if request is not None and request.expected is Expected.BARRIER:
                sent.session.barrier_failed(xid, request.message, code, prefix, now)
            else:
                sent.session.fail(sent.message, code, prefix, now)
        elif request is not None and request.done is not None:
            request.done(message, now)
        elif self.session is not None:
            what = names.message_name(self.version, sent.message[1]) if len(sent.message) > 1 else "a message"
            text = f"the switch refused our own {what}: {names.error_name(self.version, *code)}"
            self.session.report(Kind.SWITCH_ERROR, text)

    def _undo_stray(self, datapath: VirtualDatapath, refused: Entry, now: float) -> None:
        """1.0: FLOODs were written anew right behind an ADD that was refused, which has added it all the same."""
        previous = datapath.flows.by_identity.get(refused.identity)
        if previous is not None:
            datapath.flows.kill(previous)
        self.send_own(datapath.flows.delete_strict(refused), now, datapath)

    def _flow_removed(self, message: bytes, now: float) -> None:
        version = self.version
        if len(message) < (88 if version == OF10 else 56):
            raise Refused(errors.BAD_LENGTH)
        cookie = int.from_bytes(message[48:56] if version == OF10 else message[8:16], "big")
        if cookie & TAG_MASK == PROXY_TAG:
            at = 8 if version == OF10 else 48
            match = message[at : at + 40] if version == OF10 else message[at:]
            lifecycle.put_back(self, cookie, match, now)
            return
        datapath = self.by_tag.get(cookie >> SERIAL_BITS)
        entry = datapath.flows.find(cookie) if datapath else None
        if datapath is None or entry is None:
            self.hub.counters.unrouted["FLOW_REMOVED"] += 1
            return
        reason = message[58] if version == OF10 else message[18]
        if version == OF10 and entry.rewritten and entry.alive and reason != _REMOVED_BY_DELETE:
            # A modify that was on its way when it expired has added it anew: the order now is modify, then expiry.
            self.send_own(datapath.flows.delete_strict(entry), now, datapath)
        datapath.flows.forget(entry)
        if not virtual_flags(version, entry.data) & v10.SEND_FLOW_REM:
            return
        told = upward.flow_removed(version, message, entry)
        for session in datapath.sessions:
            if session.masks.wants(session.masks.flow_removed, session.role, reason):
                session.relay(told)

    def _port_status(self, message: bytes, now: float) -> None:
        if len(message) < 16:
            raise Refused(errors.BAD_LENGTH)
        reason, port = message[8], parse_port(self.version, message, 16)
        if reason > 2:
            raise Refused(errors.BAD_LENGTH, f"port-status reason {reason}")
        changes = self.hub.port_changes
        most = MOST_PORTS[self.version]
        many = len(self.ports) + changes.waiting(self) >= most
        if many and reason != DELETE and port.number not in self.ports and self.session is not None:
            self.session.fail(f"has more than {most} ports", now)
        else:
            changes.put(self, reason, port, message, now)

    def port_said(self, reason: int, port: Port, message: bytes | None, now: float) -> None:
        """A port was added, deleted or modified; ``message``: in the switch's own words, if these are they."""
        known = port.number in self.ports
        if reason == DELETE:
            self.ports.pop(port.number, None)
        else:
            self.ports[port.number] = port
        if not known and reason != DELETE:
            self._port_added(port, now)
        else:
            self._port_changed(port, reason, now)
        if self.session is not None:
            what = ("added", "removed", "changed")[reason]
            text = f"port {port.number} ({port.name}) {what}"
            self.session.report(Kind.PORT_CHANGED, text, port=port.number, name=port.name, change=what)
        if message is not None:
            operator.port_status(self, message)

    def _port_added(self, port: Port, now: float) -> None:
        # Guards first, for everybody: until they are in, frames of the new port can meet wildcarded entries.
        for datapath in self.datapaths.values():
            if not datapath.keeps_out(port.number):
                datapath.regrant()
            if port.number in datapath.guards and datapath.state is not State.PENDING:
                self.send_own(datapath.guard(port.number), now, datapath)
        for datapath in self.datapaths.values():
            if port.number in datapath.grant.ports:
                datapath.refresh_receivers()
                datapath.reexpand(now)
                lifecycle.refresh_standalone(self, datapath, now)
                admission.grant(datapath, now)
                self.tell_port(datapath, ADD, port)

    def _port_changed(self, port: Port, reason: int, now: float) -> None:
        for datapath in self.datapaths.values():
            if port.number in datapath.grant.ports:
                shown = datapath.shown(port)
                if reason == DELETE:
                    datapath.regrant()
                    admission.revoke(datapath, now)
                    datapath.reexpand(now)
                    lifecycle.refresh_standalone(self, datapath, now)
                self.tell_port(datapath, reason, shown)

    def tell_port(self, datapath: VirtualDatapath, reason: int, port: Port) -> None:
        """PORT_STATUS (0 add, 1 delete, 2 modify) to the datapath's controllers."""
        told = port_status(self.version, 0, reason, datapath.shown(port))
        for session in datapath.sessions:
            if session.masks.wants(session.masks.port_status, session.role, reason):
                session.relay(told)

    # -- connection --------------------------------------------------------------------------------

    def detached(self, now: float, why: str = "its switch is not connected") -> None:
        """The connection is gone: the virtual switches are too, what they had installed stays known."""
        self.ever_up = self.ever_up or self.up
        self.features_message, self.port_messages = b"", ()
        if not self.ever_up or len(self.ports) > PORTS_KEPT:
            self.ports = {}  # anybody can invent a DPID, and ports by the hundred thousand
        if self.session is not None:
            self.heard = self.session.heard
        self.since = now
        self.lost()
        self.hub.port_changes.forget(self)
        if self.audit_alarm is not None:
            self.audit_alarm.cancel()
            self.audit_alarm = None
        self.left.update(datapath.vlan for datapath in self.by_tag.values())  # some are being removed
        self.by_tag = {datapath.tag: datapath for datapath in self.datapaths.values()}
        self.left.difference_update(datapath.vlan for datapath in self.datapaths.values())
        for datapath in list(self.datapaths.values()):
            datapath.unacked, datapath.unsettled = [], 0
            datapath.heavy = datapath.heavy_covered = 0
            for link in datapath.links.values():
                session = link.session
                if session is not None:
                    session.detach(now)
                    self.hub.close(session.cid)
                link.stop(now)
            lifecycle.forget_standalone(datapath)
            admission.close(datapath)
            datapath.enter(State.PENDING, now, message=why)
        if self.hub.tap:
            self.hub.effect(SwitchVanished(self.key))

    def controller_came(self, datapath: VirtualDatapath, now: float) -> None:
        """A controller finished its handshake."""
        lifecycle.controller_came(self, datapath, now)

    def controller_left(self, datapath: VirtualDatapath, now: float) -> None:
        """A controller's connection ended."""
        lifecycle.controller_left(self, datapath, now)


def _prefix_length(version: int, kind: int) -> int:
    """Vendor errors carry their own identification in front of the refused message."""
    if version == OF10:
        return 8 if kind == 0xB0C2 else 0
    return 4 if kind == 0xFFFF else 0
