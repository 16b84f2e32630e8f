"""What each message of a controller comes to: answered here, or vetted and passed on (vetting section 2).

Every function takes the session, the whole message and the time; it raises
``Refused`` to have the error sent, returns the bucket that held it up, or None
when it is done.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import statistics
from vmoc.mux.buckets import Bucket
from vmoc.mux.flows import Unsettled
from vmoc.mux.pending import Expected, Request, Unit
from vmoc.mux.roles import Role, is_stale
from vmoc.openflow import header, v10, v13
from vmoc.openflow.features import NO_FLOOD10, NO_PACKET_IN, features_reply, port_status
from vmoc.openflow.header import OF10
from vmoc.policy.verdict import Refusal

if TYPE_CHECKING:
    from vmoc.mux.north import NorthSession

_CONFIG: Final = Struct("!HH")
_ROLE: Final = Struct("!I4xQ")
_PORT_MOD10: Final = Struct("!H6sIII4x")
_PORT_MOD13: Final = Struct("!I4x6s2xIII4x")
_MODIFIES: Final = (v10.MODIFY, v10.MODIFY_STRICT)


def _exactly(message: bytes, length: int) -> None:
    if len(message) != length:
        raise Refused(errors.BAD_LENGTH, f"{len(message)} bytes where {length} are due")


def _not_slave(session: NorthSession) -> None:
    if session.role is Role.SLAVE:
        raise Refused(errors.ROLE_SLAVE)


# -- answered here ---------------------------------------------------------------------------------


def swallow(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """ERROR and ECHO_REPLY: an error is never answered with another."""
    return None


def echo(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """ECHO_REQUEST: at once, also past a barrier."""
    session.relay(header.echo_reply(message))
    return None


def experimenter(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """VENDOR and EXPERIMENTER: none is offered."""
    if len(message) < (12 if session.version == OF10 else 16):
        raise Refused(errors.BAD_LENGTH, f"{len(message)} bytes do not name an experimenter")
    raise Refused(errors.EXPERIMENTER)


def features(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """FEATURES_REQUEST: the virtual switch."""
    _exactly(message, header.HEADER_SIZE)
    datapath = session.datapath
    ports = datapath.shown_ports()
    session.reply(features_reply(session.version, header.xid_of(message), datapath.shown_features(), ports))
    return None


def get_config(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """GET_CONFIG_REQUEST: this controller's own miss_send_len."""
    _exactly(message, header.HEADER_SIZE)
    body = _CONFIG.pack(0, session.miss_send_len)
    session.reply(header.message(session.version, header.GET_CONFIG_REPLY, header.xid_of(message), body))
    return None


def set_config(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """SET_CONFIG: kept per controller; fragment handling would be everybody's."""
    _exactly(message, 12)
    flags, length = _CONFIG.unpack_from(message, 8)
    if flags & 3 or (flags and session.version == OF10):
        raise Refused(errors.SWITCH_CONFIG, f"flags {flags:#x}")
    if flags:
        raise Refused(errors.SWITCH_CONFIG_FLAGS, f"flags {flags:#x}")
    session.miss_send_len = length
    return None


def port_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """PORT_MOD: NO_FLOOD (1.0) and NO_PACKET_IN are the slice's own; everything else is the operator's."""
    bucket = session.datapath.flow_mods
    if not bucket.take(now):
        return bucket
    _not_slave(session)
    version, datapath = session.version, session.datapath
    layout = _PORT_MOD10 if version == OF10 else _PORT_MOD13
    _exactly(message, 8 + layout.size)
    number, address, config, mask, advertise = layout.unpack_from(message, 8)
    port = session.switch.ports.get(number) if number in datapath.grant.ports else None
    if port is None:
        raise Refused(errors.PORT_UNKNOWN, f"port {number}")
    if address != port.hw_addr:
        raise Refused(errors.PORT_ADDRESS, f"port {number}")
    own = NO_PACKET_IN | (NO_FLOOD10 if version == OF10 else 0)
    if mask & ~own or advertise:
        raise Refused(errors.PORT_FORBIDDEN, f"port {number}, mask {mask:#x}")
    before = datapath.no_flood, datapath.no_packet_in
    others = datapath.grant.ports - {number}  # of ports that went nothing is kept: there may be no end of them
    if mask & NO_FLOOD10 and version == OF10:
        datapath.no_flood = datapath.no_flood & others | ({number} if config & NO_FLOOD10 else set())
    if mask & NO_PACKET_IN:
        datapath.no_packet_in = datapath.no_packet_in & others | ({number} if config & NO_PACKET_IN else set())
    if (datapath.no_flood, datapath.no_packet_in) != before:
        if datapath.notes is not None:
            datapath.notes.ports(datapath.no_flood, datapath.no_packet_in)
        datapath.regrant()
        datapath.refresh_receivers()
        bucket.charge(len(datapath.flows.flooding) + len(others) // 64)  # each is written, or looked at, anew
        datapath.reexpand(now)
        for each in datapath.sessions:
            if each.masks.wants(each.masks.port_status, each.role, 2):
                each.reply(port_status(version, 0, 2, datapath.shown(port)))
    return None


def table_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """TABLE_MOD: tables are everybody's."""
    _not_slave(session)
    _exactly(message, 16)
    if message[8] >= session.datapath.grant.n_tables and message[8] != v13.ALL_TABLES:
        raise Refused(errors.TABLE_CONFIG_ID, f"table {message[8]}")
    raise Refused(errors.TABLE_CONFIG)


def role(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """ROLE_REQUEST: a matter among the controllers of this datapath."""
    _exactly(message, 24)
    wanted, generation = _ROLE.unpack_from(message, 8)
    datapath = session.datapath
    if wanted > Role.SLAVE:
        raise Refused(errors.ROLE_UNKNOWN, f"role {wanted}")
    if wanted in (Role.MASTER, Role.SLAVE):
        if is_stale(generation, datapath.generation):
            raise Refused(errors.ROLE_STALE, f"generation {generation}, known {datapath.generation}")
        datapath.generation = generation
    if wanted == Role.MASTER:
        for other in datapath.sessions:
            if other.role is Role.MASTER:
                other.role = Role.SLAVE
    if wanted != Role.NOCHANGE:
        session.role = Role(wanted)
        datapath.refresh_receivers()
    known = datapath.generation if datapath.generation is not None else (1 << 64) - 1
    body = _ROLE.pack(session.role, known)
    session.reply(header.message(session.version, v13.ROLE_REPLY, header.xid_of(message), body))
    return None


def get_async(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """GET_ASYNC_REQUEST."""
    _exactly(message, header.HEADER_SIZE)
    reply = header.message(session.version, v13.GET_ASYNC_REPLY, header.xid_of(message), session.masks.pack())
    session.reply(reply)
    return None


def set_async(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """SET_ASYNC."""
    _exactly(message, 32)
    session.masks.load(message[8:])
    session.datapath.refresh_receivers()
    return None


# -- passed on -------------------------------------------------------------------------------------


def barrier(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """BARRIER_REQUEST: answered when the switch has answered one written after all that came before."""
    _exactly(message, header.HEADER_SIZE)
    bucket = session.datapath.barriers
    if not bucket.take(now):
        return bucket
    session.await_barrier(session.switch.barrier(session.datapath, session, message, now))
    return None


def flow_mod(session: NorthSession, message: bytes, now: float, bare: bytes | None = None) -> bool:
    """FLOW_MOD by the whole chain: policy, then the shadow, then as many messages as it takes.

    ``bare`` is the message without the buffer it names, if it names one.
    Returns whether it was allowed.
    """
    datapath, switch = session.datapath, session.switch
    change = datapath.flow_policy.vet(message if bare is None else bare)
    unsure = session.unsure(message)
    if unsure and datapath.doubtful and (isinstance(change, Refusal) or change.command in _MODIFIES):
        raise Unsettled  # a switch may find nothing wrong with a modify of nothing
    if isinstance(change, Refusal):
        session.refuse(message, change, now)
        return False
    plan = datapath.flows.plan(change, unsure=unsure)
    if isinstance(plan, Refusal):
        if unsure:
            raise Unsettled
        session.refuse(message, plan, now)
        if plan.reason is errors.FLOW_QUOTA:
            datapath.say(Kind.QUOTA, now, plan.detail, str(session.link.endpoint), "max_flows", datapath.flows.quota)
        return False
    if change.command != v10.ADD:
        datapath.charge_search()
    unit = Unit()
    for part, data in enumerate(plan.messages):
        request = Request(Expected.NOTHING, session, message, plan=plan, part=part, unit=unit, at=now)
        switch.send(data, request, datapath, now)
    if not plan.messages:
        for entry in plan.dying:
            datapath.flows.forget(entry)
    if plan.reguard:
        # A 1.0 delete of everything takes the guards with it; until they are back nothing of the slice may follow.
        for port in sorted(datapath.guards):
            switch.send_own(datapath.guard(port), now, datapath)
        switch.barrier(datapath, None, b"", now)
    return True


def statistics_request(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """STATS_REQUEST and MULTIPART_REQUEST."""
    bucket = session.datapath.stats
    if not bucket.take(now):
        return bucket
    statistics.request(session, message, now)
    return None


def queue_config(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """QUEUE_GET_CONFIG_REQUEST: 1.0 port 2, pad 2; 1.3 port 4, pad 4."""
    bucket = session.datapath.stats
    if not bucket.take(now):
        return bucket
    version = session.version
    _exactly(message, 12 if version == OF10 else 16)
    port = int.from_bytes(message[8 : 10 if version == OF10 else 12], "big")
    if port not in session.datapath.grant.ports and not (version != OF10 and port == v13.ANY):
        raise Refused(errors.QUEUE_PORT, f"port {port:#x}")
    kind = v10.QUEUE_GET_CONFIG_REQUEST if version == OF10 else v13.QUEUE_GET_CONFIG_REQUEST
    body = port.to_bytes(2, "big") + bytes(2) if version == OF10 else port.to_bytes(4, "big") + bytes(4)
    request = Request(Expected.QUEUE_CONFIG, session, message, at=now)
    session.switch.send(header.message(version, kind, 0, body), request, session.datapath, now)
    return None
