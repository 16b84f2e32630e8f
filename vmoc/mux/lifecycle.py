"""Procedures with a switch that take more than one message (vetting section 5).

Bringing a switch up, a change of a segment's ports, and what happens to flows
when the last controller leaves. Each procedure is a chain of callbacks on the
switch's answers; if the connection dies in between, the rest never happens
and the next connection begins anew. What the switch holds, and proving a VLAN
empty, is ``proving``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vmoc.model import Attachment, FailMode
from vmoc.mux import admission, objects
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.effects import SwitchAppeared
from vmoc.mux.flows import TAG_MASK, Own, port_of
from vmoc.mux.portchanges import MOST_PORTS
from vmoc.mux.proving import exact_vid
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.features import parse_features, parse_ports
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13

if TYPE_CHECKING:
    from vmoc.mux.south import SouthSession
    from vmoc.mux.switch import Switch

Done = Callable[[bytes, float], None]
STANDALONE_PRIORITY: Final = 0
_ALL_ASYNC: Final = b"".join(word.to_bytes(4, "big") for word in (7, 7, 7, 7, 15, 15))
_MISS_SEND_LEN: Final = b"\x00\x00\xff\xff"


def attach(switch: Switch, session: SouthSession, features: bytes, ready: Callable[[float], None], now: float) -> None:
    """A connection takes the switch over: configure it, learn its ports, reconcile; ``ready`` when it is up."""
    version = session.version
    if switch.version != version or switch.features is None:
        switch.version = version
        for datapath in switch.datapaths.values():
            datapath.flows.clear()  # in terms of another version it means nothing
            datapath.groups.clear()
            datapath.meters.clear()
    switch.session, switch.cid, switch.since = session, session.cid, now
    switch.features = parse_features(features)
    switch.features_message = features
    switch.ports = {}
    switch.tables.forget()
    if version == OF10:
        switch.ports = {port.number: port for port in parse_ports(version, features, 32)}
    switch.write(header.message(version, header.SET_CONFIG, switch.pending.fresh(), _MISS_SEND_LEN))
    if version != OF10:
        # Switches that do not know it say so; their defaults do.
        switch.send_own(header.message(version, v13.SET_ASYNC, 0, _ALL_ASYNC), now)
    _Arrival(switch, ready).begin(now)


class _Arrival:
    """The requests a switch answers before it is up."""

    def __init__(self, switch: Switch, ready: Callable[[float], None]) -> None:
        self._switch = switch
        self._ready = ready
        self._session = switch.session
        self._open = 0
        self._port_messages: list[bytes] = []
        self._seen = -1.0

    def begin(self, now: float) -> None:
        switch = self._switch
        switch.progress = now
        self._expect_progress(now)
        self._open = 1 if switch.version == OF10 else 4
        switch.offers = admission.decide(switch.hub.policy, switch.version, self._n_tables, None)
        admits = switch.hub.policy.pipeline == "admission" and switch.version != OF10 and self._n_tables > 1
        if admits:
            self._open += 1
            switch.tables.get(switch, self._tables, now)
        switch.ask(stats.request(switch.version, 0, stats.DESC), self._description, now)
        if switch.version != OF10:
            switch.ask(stats.request(switch.version, 0, stats.PORT_DESC13), self._ports, now)
            switch.ask(stats.request(switch.version, 0, v13.MP_GROUP_FEATURES), self._group_features, now)
            switch.ask(stats.request(switch.version, 0, v13.MP_METER_FEATURES), self._meter_features, now)

    def _expect_progress(self, now: float) -> None:
        switch, session = self._switch, self._session

        def check(when: float) -> None:
            if session is None or switch.session is not session or switch.up:
                return
            if switch.progress == self._seen:
                session.fail("stopped answering during the handshake", when)
            else:
                self._expect_progress(when)

        # Chatter is no answer: what counts is that our own requests are answered.
        self._seen = switch.progress
        switch.hub.clock.at(now + switch.hub.timers.handshake, check)

    def _description(self, message: bytes, now: float) -> None:
        if message[1] != header.ERROR:
            self._switch.description = stats.parse_desc(message)
        self._answered(now)

    def _ports(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] == header.ERROR:
            self._answered(now)
            return
        self._port_messages.append(message)
        for port in parse_ports(switch.version, message, 16):
            switch.ports[port.number] = port
        if not stats.head(message)[1] & 1:
            self._answered(now)

    def _group_features(self, message: bytes, now: float) -> None:
        self._switch.group_features = objects.parse_group_features(message)
        self._answered(now)

    def _meter_features(self, message: bytes, now: float) -> None:
        found = self._switch.meter_features = objects.parse_meter_features(message)
        self._switch.meter_pool.limit = found[0] if found is not None else 0
        self._answered(now)

    @property
    def _n_tables(self) -> int:
        features = self._switch.features
        return features.n_tables if features is not None else 0

    def _tables(self, records: list[bytes] | None, now: float) -> None:
        switch = self._switch
        switch.offers = admission.decide(switch.hub.policy, switch.version, self._n_tables, records)
        self._answered(now)

    def _answered(self, now: float) -> None:
        most = MOST_PORTS[self._switch.version]
        if self._session is not None and len(self._switch.ports) > most:
            self._session.fail(f"has more than {most} ports", now)
            return
        self._open -= 1
        if self._open == 0:
            switch = self._switch
            switch.port_messages = tuple(self._port_messages)
            if switch.hub.tap and switch.session is not None:
                switch.hub.effect(
                    SwitchAppeared(
                        switch.key,
                        switch.version,
                        switch.features_message,
                        switch.port_messages,
                        switch.session.peer,
                    )
                )
            self._ready(now)


# -- one virtual datapath ----------------------------------------------------------------------------


def bring_up(switch: Switch, datapath: VirtualDatapath, ready: Callable[[float], None], now: float) -> None:
    """Guards in, what was kept from before in terms of today's ports, then packets in; after a barrier ``ready``."""
    for port in sorted(datapath.guards):
        switch.send_own(datapath.guard(port), now, datapath)
    deleted = objects.revet(switch, datapath, now) + datapath.revet(now)
    if switch.pipeline.first_table:
        admission.open_up(datapath, now)

    def confirmed(message: bytes, when: float) -> None:
        datapath.flows.forget_dead(deleted, when)
        if datapath.state is not State.GONE:
            ready(when)

    switch.after_barrier(confirmed, now, datapath)


def put_back(switch: Switch, cookie: int, match: bytes, now: float) -> None:
    """An entry of ours was removed: put a guard or an admission back, if it is still wanted."""
    if admission.is_admission(cookie):
        admission.put_back(switch, cookie, match, now)
    else:
        _reinstall_guard(switch, match, now)


def _reinstall_guard(switch: Switch, match: bytes, now: float) -> None:
    # While a VLAN is flushed no guard is wanted.
    vid = switch.native_vlan or exact_vid(switch, match) or 0
    datapath = switch.datapaths.get(vid)
    if datapath is None or datapath.state not in (State.READY, State.COLLIDING):
        return
    port = port_of(switch.version, match)
    if port in datapath.guards and match.startswith(datapath.guard_identity(port)[3:]):
        switch.send_own(datapath.guard(port), now, datapath)


def change_ports(switch: Switch, datapath: VirtualDatapath, attachment: Attachment, now: float) -> None:
    """The segment's ports or queues on this switch changed, in the order that leaves no gap (vetting D.2).

    Ports that leave are guarded, or let in no more, first; then what names them
    goes, and only then do new ports lose their guards, or are let in.
    Controllers learn it by PORT_STATUS.
    """
    ports, guards = datapath.grant.ports, datapath.guards
    shown = {number: datapath.shown(switch.ports[number]) for number in ports if number in switch.ports}
    datapath.attachment = attachment
    datapath.regrant()
    if datapath.state not in (State.READY, State.COLLIDING):
        return  # it has neither guards nor flows yet
    for port in sorted(datapath.guards - guards):
        switch.send_own(datapath.guard(port), now, datapath)
    admission.revoke(datapath, now)
    deleted = objects.revet(switch, datapath, now) + datapath.revet(now)
    refresh_standalone(switch, datapath, now)
    for port in sorted(guards - datapath.guards):
        switch.send_own(datapath.unguard(port), now, datapath)
    admission.grant(datapath, now)
    switch.after_barrier(lambda _, when: datapath.flows.forget_dead(deleted, when), now, datapath)
    for number in sorted(ports - datapath.grant.ports):
        if number in shown:
            switch.tell_port(datapath, 1, shown[number])
    for number in sorted(datapath.grant.ports - ports):
        switch.tell_port(datapath, 0, switch.ports[number])


def controller_came(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """The first controller takes over from whatever stood in for it."""
    if switch.hub.policy.flush_on_connect and not datapath.sessions:
        _delete_own(switch, datapath, now)
    identity = datapath.standalone_identity
    forget_standalone(datapath)
    if identity is not None and identity not in datapath.flows.by_identity:
        switch.send_own(_standalone(datapath, identity, v10.DELETE_STRICT), now, datapath)


def controller_left(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """The last one left: the segment's fail mode says what becomes of its flows."""
    if datapath.sessions or switch.session is None or datapath.state is not State.READY:
        return
    datapath.generation = None
    if datapath.fail_mode is FailMode.FLUSH:
        _delete_own(switch, datapath, now)
        objects.clear(switch, datapath, now)
    else:
        await_controller(switch, datapath, now)


def _delete_own(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """Delete the slice's flows; leave the guards, and its groups and meters."""
    entries = list(datapath.flows.by_serial.values())
    for entry in entries:
        datapath.flows.kill(entry)
    switch.send_own(datapath.scope_delete(own_only=True), now, datapath)
    if switch.version == OF10:
        for port in sorted(datapath.guards):
            switch.send_own(datapath.guard(port), now, datapath)
    switch.after_barrier(lambda _, when: datapath.flows.forget_dead(entries, when), now, datapath)


# -- standing in for a controller ----------------------------------------------------------------------


def await_controller(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """Nobody controls the datapath; if its segment wants that, the switch soon forwards by itself."""
    if datapath.fail_mode is not FailMode.STANDALONE or datapath.sessions:
        return

    def stand_alone(when: float) -> None:
        datapath.standalone_alarm = None
        table = bytes((switch.pipeline.first_table,))
        identity = table + STANDALONE_PRIORITY.to_bytes(2, "big") + datapath.scope_match()
        if switch.session is not None and datapath.state is State.READY and identity not in datapath.flows.by_identity:
            datapath.standalone_identity = identity
            switch.send_own(_standalone(datapath, identity, v10.ADD), when, datapath)

    forget_standalone(datapath)
    after = now + switch.hub.timers.standalone_after
    datapath.standalone_alarm = switch.hub.clock.at(after, stand_alone)


def forget_standalone(datapath: VirtualDatapath) -> None:
    """Neither stand in any more, nor be about to."""
    if datapath.standalone_alarm is not None:
        datapath.standalone_alarm.cancel()
    datapath.standalone_alarm = datapath.standalone_identity = None


def refresh_standalone(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """The datapath's ports changed: what stands in for its controller must lead to them, and to no others."""
    if datapath.standalone_identity is not None:
        switch.send_own(_standalone(datapath, datapath.standalone_identity, v10.ADD), now, datapath)


def _standalone(datapath: VirtualDatapath, identity: bytes, command: int) -> bytes:
    """The entry that floods a VLAN among its own ports while nobody controls it."""
    ports = datapath.grant.flood_ports(None, honour_no_flood=False) if command == v10.ADD else []
    cookie = admission.proxy_cookie(datapath, Own.STANDALONE)
    if datapath.switch.version == OF10:
        actions = a10.pack((a10.OUTPUT, port, 0) for port in ports)
        return f10.flow_mod(0, identity[3:], command, cookie=cookie, priority=STANDALONE_PRIORITY, actions=actions)
    body = a13.pack_instructions([(v13.APPLY_ACTIONS, [(a13.OUTPUT, port, 0) for port in ports])]) if ports else b""
    mask = 0 if command == v10.ADD else TAG_MASK
    return f13.flow_mod(
        0,
        identity[3:],
        command,
        table=identity[0],
        cookie=cookie,
        cookie_mask=mask,
        priority=STANDALONE_PRIORITY,
        instructions=body,
    )
