"""Procedures with a switch that take more than one message (vetting section 5).

Bringing a switch up (who is it, what does it hold, what of that may stay),
proving a VLAN empty before it changes hands, and what happens to flows when
the last controller leaves. Each procedure is a chain of callbacks on the
switch's answers; if the connection dies in between, the rest never happens
and the next connection begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.model import Attachment, FailMode
from vmoc.mux.datapath import PROXY_TAG, State, VirtualDatapath
from vmoc.mux.effects import SwitchAppeared
from vmoc.mux.flows import SERIAL_BITS, TAG_MASK
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.features import parse_features, parse_ports
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm

if TYPE_CHECKING:
    from vmoc.mux.south import SouthSession
    from vmoc.mux.switch import Switch

Done = Callable[[bytes, float], None]
FLUSH_TRIES: Final = 3
STANDALONE_PRIORITY: Final = 0
_STANDALONE_COOKIE: Final = PROXY_TAG | 2
_ALL_ASYNC: Final = b"".join(word.to_bytes(4, "big") for word in (7, 7, 7, 7, 15, 15))
_MISS_SEND_LEN: Final = b"\x00\x00\xff\xff"


def attach(switch: Switch, session: SouthSession, features: bytes, ready: Callable[[float], None], now: float) -> None:
    """A connection takes the switch over: configure it, learn its ports, reconcile; ``ready`` when it is up."""
    version = session.version
    if switch.version != version or switch.features is None:
        switch.version = version
        for datapath in switch.datapaths.values():
            datapath.flows.clear()  # in terms of another version it means nothing
    switch.session, switch.cid, switch.since = session, session.cid, now
    switch.features = parse_features(features)
    switch.features_message = features
    switch.ports = {}
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

    def begin(self, now: float) -> None:
        switch = self._switch
        self._expect_progress(now)
        self._open = 1 if switch.version == OF10 else 2
        switch.ask(stats.request(switch.version, 0, stats.DESC), self._description, now)
        if switch.version != OF10:
            switch.ask(stats.request(switch.version, 0, stats.PORT_DESC13), self._ports, now)

    def _expect_progress(self, now: float) -> None:
        session, seen = self._session, now

        def check(when: float) -> None:
            if session is None or self._switch.session is not session or self._switch.up:
                return
            if session.heard <= seen:
                session.fail("stopped answering during the handshake", when)
            else:
                self._expect_progress(when)

        self._switch.hub.clock.at(now + self._switch.hub.timers.handshake, check)

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

    def _answered(self, now: float) -> None:
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


def reconcile(switch: Switch, done: Callable[[float], None], now: float) -> None:
    """Dump the switch and delete whatever is not known to be a slice's; then ``done``.

    A flow dump is the only truth: entries the shadow knows but the switch lost
    are dropped from the shadow too, and not re-installed (the controller sees
    a reconnect).
    """
    _Reconcile(switch, done).begin(now)


class _Reconcile:
    def __init__(self, switch: Switch, done: Callable[[float], None]) -> None:
        self._switch = switch
        self._done = done
        self._seen: set[tuple[int, int]] = set()
        self._foreign = 0

    def begin(self, now: float) -> None:
        version = self._switch.version
        if version == OF10:
            body = stats.flow_request_body10(m10.pack(), v13.ALL_TABLES, v10.NONE)
        else:
            body = stats.flow_request_body13(oxm.pack(()), v13.ALL_TABLES, v13.ANY, v13.ANY_GROUP, 0, 0)
        self._switch.ask(stats.request(version, 0, stats.FLOW, body), self._part, now)

    def _part(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] == header.ERROR:
            # It will not tell what it holds: then nothing it holds can be trusted.
            self._delete_all(now)
            return
        parse = f10.parse_entries if switch.version == OF10 else f13.parse_entries
        for entry in parse(message, stats.BODY[switch.version]):
            self._judge(entry, now)
        if not stats.head(message)[1] & 1:
            self._finish(now)

    def _judge(self, entry: f10.Entry | f13.Entry, now: float) -> None:
        switch = self._switch
        tag = entry.cookie >> SERIAL_BITS
        datapath = switch.by_tag.get(tag)
        vid = exact_vid(switch, entry.match)
        if datapath is not None:
            known = datapath.flows.find(entry.cookie)
            if known is not None and known.alive and known.identity == _identity(switch, entry):
                self._seen.add((tag, known.serial))
                return
        elif tag == 0xFFFE:
            owner = switch.datapaths.get(switch.native_vlan or vid or 0)
            if owner is not None and any(
                owner.guard_identity(port) == _identity(switch, entry) for port in owner.guards
            ):
                return
        owned = switch.native or (vid is not None and vid in switch.datapaths)
        ours = datapath is not None or tag == 0xFFFE
        if not owned and not ours:
            self._foreign += 1
            if switch.hub.policy.foreign_flows == "keep":
                return
        switch.send_own(delete_entry(switch, entry), now)

    def _delete_all(self, now: float) -> None:
        switch = self._switch
        if switch.version == OF10:
            switch.send_own(f10.flow_mod(0, m10.pack(), v10.DELETE), now)
        else:
            switch.send_own(f13.flow_mod(0, oxm.pack(()), v10.DELETE, table=v13.ALL_TABLES), now)
        self._finish(now)

    def _finish(self, now: float) -> None:
        switch = self._switch
        if self._foreign and switch.session is not None:
            kept = switch.hub.policy.foreign_flows == "keep"
            text = f"{self._foreign} flow(s) of nobody's on the switch were {'kept' if kept else 'deleted'}"
            switch.session.report(Kind.FOREIGN_FLOW, text)
        for tag, datapath in switch.by_tag.items():
            for entry in list(datapath.flows.by_serial.values()):
                if (tag, entry.serial) not in self._seen:
                    datapath.flows.forget(entry)
        self._done(now)


def _identity(switch: Switch, entry: f10.Entry | f13.Entry) -> bytes:
    match = entry.match
    if switch.version == OF10:
        match = m10.canonical(int.from_bytes(match, "big")).to_bytes(m10.LENGTH, "big")
    else:
        try:
            match = oxm.pack(oxm.parse(match, 0, len(match))[0])
        except Refused:
            pass  # fields no slice can have: compared as it is, equal to nothing of ours
    return bytes((entry.table,)) + entry.priority.to_bytes(2, "big") + match


def exact_vid(switch: Switch, match: bytes) -> int | None:
    """The one VID a physical match is about; None when it is about others too."""
    if switch.version == OF10:
        number = int.from_bytes(match, "big")
        return None if m10.wildcards_of(number) & m10.W_DL_VLAN else m10.vlan_of(number)
    try:
        fields, _ = oxm.parse(match, 0, len(match))
    except Refused:
        return None
    for number, value, mask in fields:
        if number == oxm.VLAN_VID and value & oxm.VID_PRESENT and (mask is None or mask & 0x1FFF == 0x1FFF):
            return value & 0xFFF
    return None


def delete_entry(switch: Switch, entry: f10.Entry | f13.Entry) -> bytes:
    """DELETE_STRICT of an entry as the switch reported it."""
    if switch.version == OF10:
        return f10.flow_mod(0, entry.match, v10.DELETE_STRICT, priority=entry.priority)
    return f13.flow_mod(0, entry.match, v10.DELETE_STRICT, table=entry.table, priority=entry.priority)


# -- one virtual datapath ----------------------------------------------------------------------------


def flush(switch: Switch, datapath: VirtualDatapath, done: Callable[[bool, float], None], now: float) -> None:
    """Delete everything in the datapath's VLAN and look until nothing is left; ``done(clean)``."""
    _Flush(switch, datapath, done).begin(now)


class _Flush:
    def __init__(self, switch: Switch, datapath: VirtualDatapath, done: Callable[[bool, float], None]) -> None:
        self._switch = switch
        self._datapath = datapath
        self._done = done
        self._tries = 0
        self._left = 0

    def begin(self, now: float) -> None:
        switch, datapath = self._switch, self._datapath
        self._tries += 1
        self._left = 0
        datapath.flows.clear()
        switch.send_own(datapath.scope_delete(own_only=False), now)
        switch.barrier(switch, None, b"", now)
        match = datapath.scope_match()
        if switch.version == OF10:
            body = stats.flow_request_body10(match, v13.ALL_TABLES, v10.NONE)
        else:
            body = stats.flow_request_body13(match, v13.ALL_TABLES, v13.ANY, v13.ANY_GROUP, 0, 0)
        switch.ask(stats.request(switch.version, 0, stats.FLOW, body), self._part, now)

    def _part(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] == header.ERROR:
            self._done(False, now)
            return
        parse = f10.parse_entries if switch.version == OF10 else f13.parse_entries
        for entry in parse(message, stats.BODY[switch.version]):
            # An emulated or sloppy switch may answer with more than was asked for.
            if switch.native or exact_vid(switch, entry.match) == self._datapath.vlan:
                self._left += 1
        if stats.head(message)[1] & 1:
            return
        if self._left == 0:
            self._done(True, now)
        elif self._tries < FLUSH_TRIES:
            self.begin(now)
        else:
            self._done(False, now)


def bring_up(switch: Switch, datapath: VirtualDatapath, ready: Callable[[float], None], now: float) -> None:
    """Guards in, confirmed by a barrier; then ``ready``."""
    for port in sorted(datapath.guards):
        switch.send_own(datapath.guard(port), now, datapath)

    def confirmed(message: bytes, when: float) -> None:
        if datapath.state is not State.GONE:
            ready(when)

    switch.after_barrier(confirmed, now, datapath)


def reinstall_guard(switch: Switch, match: bytes, now: float) -> None:
    """A guard was removed: put it back, if it is still wanted."""
    vid = switch.native_vlan or exact_vid(switch, match) or 0
    datapath = switch.datapaths.get(vid)
    if datapath is None or datapath.state in (State.PENDING, State.GONE):
        return
    for port in datapath.guards:
        if match.startswith(datapath.guard_identity(port)[3:]):
            switch.send_own(datapath.guard(port), now, datapath)
            return


def change_ports(switch: Switch, datapath: VirtualDatapath, attachment: Attachment, now: float) -> None:
    """The segment's ports or queues on this switch changed, in the order that leaves no gap (vetting D.2).

    Ports that leave are guarded first; then what names them goes, and only
    then do new ports lose their guards. Controllers learn it by PORT_STATUS.
    """
    ports, guards = datapath.grant.ports, datapath.guards
    shown = {number: datapath.shown(switch.ports[number]) for number in ports if number in switch.ports}
    datapath.attachment = attachment
    datapath.regrant()
    if datapath.state in (State.PENDING, State.GONE):
        return
    for port in sorted(datapath.guards - guards):
        switch.send_own(datapath.guard(port), now, datapath)
    datapath.revet(now)
    for port in sorted(guards - datapath.guards):
        switch.send_own(datapath.unguard(port), now, datapath)
    switch.barrier(datapath, None, b"", now)
    for number in sorted(ports - datapath.grant.ports):
        if number in shown:
            switch.tell_port(datapath, 1, shown[number])
    for number in sorted(datapath.grant.ports - ports):
        switch.tell_port(datapath, 0, switch.ports[number])


def controller_came(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """The first controller takes over from whatever stood in for it."""
    if datapath.standalone_alarm is not None:
        datapath.standalone_alarm.cancel()
        datapath.standalone_alarm = None
    identity = datapath.standalone_identity
    if identity is not None:
        datapath.standalone_identity = None
        if identity not in datapath.flows.by_identity:
            switch.send_own(_standalone(switch, identity, v10.DELETE_STRICT), now, datapath)


def controller_left(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """The last one left: the segment's fail mode says what becomes of its flows."""
    if datapath.sessions or switch.session is None or datapath.state is not State.READY:
        return
    datapath.generation = None
    if datapath.fail_mode is FailMode.FLUSH:
        for entry in list(datapath.flows.by_identity.values()):
            datapath.flows.kill(entry)
        switch.send_own(datapath.scope_delete(own_only=True), now, datapath)
        if switch.version == OF10:
            for port in sorted(datapath.guards):
                switch.send_own(datapath.guard(port), now, datapath)
        switch.barrier(datapath, None, b"", now)
    elif datapath.fail_mode is FailMode.STANDALONE:

        def stand_alone(when: float) -> None:
            datapath.standalone_alarm = None
            identity = b"\x00" + STANDALONE_PRIORITY.to_bytes(2, "big") + datapath.scope_match()
            taken = identity in datapath.flows.by_identity
            if datapath.sessions or switch.session is None or datapath.state is not State.READY or taken:
                return
            datapath.standalone_identity = identity
            switch.send_own(_standalone(switch, identity, v10.ADD, datapath), when, datapath)

        after = now + switch.hub.timers.standalone_after
        datapath.standalone_alarm = switch.hub.clock.at(after, stand_alone)


def _standalone(switch: Switch, identity: bytes, command: int, datapath: VirtualDatapath | None = None) -> bytes:
    """The entry that floods a VLAN among its own ports while nobody controls it."""
    ports = datapath.grant.flood_ports(None, honour_no_flood=False) if datapath else []
    if switch.version == OF10:
        actions = a10.pack((a10.OUTPUT, port, 0) for port in ports)
        return f10.flow_mod(
            0, identity[3:], command, cookie=_STANDALONE_COOKIE, priority=STANDALONE_PRIORITY, actions=actions
        )
    body = a13.pack_instructions([(v13.APPLY_ACTIONS, [(a13.OUTPUT, port, 0) for port in ports])]) if ports else b""
    mask = 0 if command == v10.ADD else TAG_MASK
    return f13.flow_mod(
        0,
        identity[3:],
        command,
        cookie=_STANDALONE_COOKIE,
        cookie_mask=mask,
        priority=STANDALONE_PRIORITY,
        instructions=body,
    )
