"""Messages of controllers on their way down: what handles each type, and the two that come by the thousand.

Flow-mods and packet-outs of known shapes go by recipe; what every other
message comes to is ``requests`` and ``objects``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.mux import buffered, objects, packetouts, requests
from vmoc.mux.buckets import Bucket
from vmoc.mux.flows import Unsettled
from vmoc.mux.pending import Expected, Sent
from vmoc.mux.roles import Role
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import OF10, OF13

if TYPE_CHECKING:
    from vmoc.mux.north import NorthSession

_NO_BUFFER: Final = b"\xff\xff\xff\xff"
_SLAVE: Final = Role.SLAVE
_NOTHING: Final = Expected.NOTHING
"""Looked up once: a member of an enum is found by a function of Python's own."""


def flow_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """FLOW_MOD: known shapes by recipe, everything else through the whole chain."""
    datapath, switch = session.datapath, session.switch
    bucket = datapath.flow_mods
    if bucket.rate and not bucket.take(now):
        return bucket
    session.hub.counters.flow_mods += 1
    datapath.flow_mods_in += 1
    if session.role is _SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    if datapath.buffers is not None and buffered.names_buffer(message):
        _at_length(buffered.flow_mod, session, message, now)
        return None
    recipe = datapath.flow_policy.recipe(message)
    if recipe is not None:
        pending = switch.pending
        xid = pending.fresh()
        quick = datapath.flows.quick_add(recipe, message, xid)
        if quick is not None:
            data, entry = quick
            pending.waiting[xid] = Sent(_NOTHING, session, message, entry)
            switch.write(data)
            unacked = datapath.unacked
            unacked.append(xid)
            if len(unacked) == 1 or len(unacked) >= switch.ACK_EVERY:
                switch.acknowledge(datapath, now)
            return None
    _at_length(requests.flow_mod, session, message, now)
    return None


def _at_length(
    handle: Callable[[NorthSession, bytes, float], object], session: NorthSession, message: bytes, now: float
) -> None:
    try:
        handle(session, message, now)
    except Unsettled:  # it will come again
        session.hub.counters.flow_mods -= 1
        session.datapath.flow_mods_in -= 1
        session.datapath.flow_mods.charge(-1)
        raise


def packet_out(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """PACKET_OUT."""
    datapath = session.datapath
    bucket = datapath.packet_outs
    if bucket.rate and not bucket.take(now):
        return bucket
    session.hub.counters.packet_outs += 1
    datapath.packet_outs_in += 1
    if session.role is _SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    if datapath.buffers is not None and message[8:12] != _NO_BUFFER:
        buffered.packet_out(session, message, now)
    else:
        packetouts.send_packet(session, message, message, now)
    return None


Handler = Callable[["NorthSession", bytes, float], Bucket | None]

_SAME: Final[dict[int, Handler]] = {
    header.ERROR: requests.swallow,
    header.ECHO_REQUEST: requests.echo,
    header.ECHO_REPLY: requests.swallow,
    header.EXPERIMENTER: requests.experimenter,
    header.FEATURES_REQUEST: requests.features,
    header.GET_CONFIG_REQUEST: requests.get_config,
    header.SET_CONFIG: requests.set_config,
    header.PACKET_OUT: packet_out,
    header.FLOW_MOD: flow_mod,
}
HANDLERS: Final[dict[int, dict[int, Handler]]] = {
    OF10: {
        **_SAME,
        v10.PORT_MOD: requests.port_mod,
        v10.STATS_REQUEST: requests.statistics_request,
        v10.BARRIER_REQUEST: requests.barrier,
        v10.QUEUE_GET_CONFIG_REQUEST: requests.queue_config,
    },
    OF13: {
        **_SAME,
        v13.GROUP_MOD: objects.group_mod,
        v13.PORT_MOD: requests.port_mod,
        v13.TABLE_MOD: requests.table_mod,
        v13.MULTIPART_REQUEST: requests.statistics_request,
        v13.BARRIER_REQUEST: requests.barrier,
        v13.QUEUE_GET_CONFIG_REQUEST: requests.queue_config,
        v13.ROLE_REQUEST: requests.role,
        v13.GET_ASYNC_REQUEST: requests.get_async,
        v13.SET_ASYNC: requests.set_async,
        v13.METER_MOD: objects.meter_mod,
    },
}
