"""Statistics of a virtual switch: what a request becomes, and what is left of the reply (vetting A.7, B.6).

A request about something outside the slice is answered as if that did not
exist. A reply is filtered by what the proxy knows it installed, never by
trust in the request; each fragment is filtered on its own and the last one is
always sent, even empty.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.model import format_dpid
from vmoc.mux import objects, virtualform
from vmoc.mux.flows import TAG_MASK, Entry
from vmoc.mux.pending import Expected, Request
from vmoc.mux.tablefeatures import Trimmer
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.header import OF10, OF13
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.match import narrow10, narrow13

if TYPE_CHECKING:
    from vmoc.mux.north import NorthSession

_PORT_REQUEST: Final = {OF10: Struct("!H6x"), OF13: Struct("!I4x")}
_QUEUE_REQUEST: Final = {OF10: Struct("!H2xI"), OF13: Struct("!II")}
_EVERY_QUEUE: Final = 0xFFFFFFFF
_ONE_TOKEN: Final = 4096
"""Bytes of a switch's answer: each time as many cost the rate a request more."""
_COUNTS: Final = {OF10: Struct("!72x QQ"), OF13: Struct("!32x QQ")}
_FOREIGN: Final = (errors.FOREIGN_VLAN, errors.FOREIGN_IN_PORT)


def request(session: NorthSession, message: bytes, now: float) -> None:
    """Answer a request, or pass it on; ``Refused`` for what the virtual switch does not know."""
    kind, flags = stats.head(message)
    if session.version == OF13 and flags & v13.MP_MORE and kind != v13.MP_TABLE_FEATURES:
        raise Refused(errors.STATS_MORE)
    if kind in (stats.FLOW, stats.AGGREGATE):
        _flow_request(session, message, kind, now)
    elif kind == stats.PORT:
        _port_request(session, message, now)
    elif kind == stats.QUEUE:
        _queue_request(session, message, now)
    elif kind == stats.DESC:
        _bare(message)
        _answer(session, message, kind, [_description(session)])
    elif kind == stats.TABLE:
        _bare(message)
        _answer(session, message, kind, _tables(session))
    elif session.version == OF13:
        _others13(session, message, kind, now)
    elif kind == 0xFFFF:
        raise Refused(errors.EXPERIMENTER)
    else:
        raise Refused(errors.STATS_TYPE, f"statistics type {kind}")


def _bare(message: bytes) -> None:
    if len(message) != stats.BODY[message[0]]:
        raise Refused(errors.BAD_LENGTH, "a request without body has one")


def _answer(session: NorthSession, message: bytes, kind: int, items: list[bytes]) -> None:
    for part in stats.replies(session.version, header.xid_of(message), kind, items):
        session.reply(part)


def _others13(session: NorthSession, message: bytes, kind: int, now: float) -> None:
    if kind == v13.MP_PORT_DESC:
        _bare(message)
        _answer(session, message, kind, [port.raw for port in session.datapath.shown_ports()])
    elif v13.MP_GROUP <= kind <= v13.MP_METER_FEATURES:
        objects.statistics(session, message, kind, _forward_kept, _answer, now)
    elif kind == v13.MP_TABLE_FEATURES:
        if len(message) > 16:
            raise Refused(errors.TABLE_FEATURES_SET)
        _table_features(session, message, now)
    elif kind == 0xFFFF:
        raise Refused(errors.EXPERIMENTER)
    else:
        raise Refused(errors.STATS_TYPE, f"multipart type {kind}")


def _forward_kept(
    session: NorthSession, message: bytes, kind: int, body: bytes, keep: Callable[[bytes], list[bytes]], now: float
) -> None:
    """Pass a request on; of each part of the reply the controller gets what ``keep`` leaves."""
    _forward(
        session, message, kind, body, lambda reply, when: _relay_items(session, message, kind, keep(reply), reply), now
    )


def _table_features(session: NorthSession, message: bytes, now: float) -> None:
    """Answered from what the switch said once: a dump of them is a megabyte on some."""
    datapath = session.datapath
    # The switch may have to be asked first; meanwhile later answers wait for this one.
    place = session.switch.pending.fresh()
    session.await_barrier(place)

    def known(records: list[bytes] | None, when: float) -> None:
        try:
            if records is None:
                raise Refused(errors.STATS_TYPE, "the switch does not tell")
            trimmer = Trimmer(datapath.grant, datapath.flows.quota)
            items = [item for record in records if (item := trimmer.trim(record)) is not None]
        except Refused:
            session.barrier_failed(place, message, errors.STATS_TYPE.error(session.version), b"", when)
            return
        parts = list(stats.replies(session.version, header.xid_of(message), v13.MP_TABLE_FEATURES, items))
        datapath.stats.charge(len(parts) - 1)
        session.barrier_done(place, b"".join(parts), when)

    session.switch.tables.get(session.switch, known, now)


def _description(session: NorthSession) -> bytes:
    datapath, switch = session.datapath, session.switch
    mfr, hardware, software, serial, _ = switch.description
    name = f"vlan {datapath.vlan} of {format_dpid(switch.dpid)}".encode()
    return stats.desc_body(mfr, hardware, software, serial, name)


def _tables(session: NorthSession) -> list[bytes]:
    datapath = session.datapath
    active = [0] * datapath.grant.n_tables
    for entry in datapath.flows.by_identity.values():
        table = entry.table - datapath.grant.first_table
        if table < len(active):
            active[table] += 1
    if session.version == OF13:
        return [stats.table_item13(table, count) for table, count in enumerate(active)]
    room = datapath.flows.quota or 0xFFFFFFFF
    return [
        stats.table_item10(table, f"table{table}".encode(), m10.W_ALL, room, count)
        for table, count in enumerate(active)
    ]


# -- flows -----------------------------------------------------------------------------------------


class _FlowFilter:
    """Which entries of a reply the controller asked for, beyond what the switch was asked."""

    __slots__ = ("cookie", "mask", "out_group", "out_port")

    def __init__(self, out_port: int | None = None, out_group: int | None = None, cookie: int = 0, mask: int = 0):
        self.out_port = out_port
        self.out_group = out_group
        self.cookie = cookie
        self.mask = mask

    @property
    def idle(self) -> bool:
        """Whether it lets everything pass."""
        return self.out_port is None and self.out_group is None and not self.mask

    def passes(self, version: int, entry: Entry) -> bool:
        """Judge the virtual form of an entry."""
        if self.mask and (virtualform.virtual_cookie(version, entry.data) ^ self.cookie) & self.mask:
            return False
        return virtualform.outputs_to(version, entry.data, self.out_port, self.out_group)


def _flow_request(session: NorthSession, message: bytes, kind: int, now: float) -> None:
    try:
        table, match, keep = (_parse10 if session.version == OF10 else _parse13)(session, message)
    except Refused as refused:
        if refused.reason not in _FOREIGN:
            raise
        # What it asks for is not there: an empty answer, not an error.
        _answer(session, message, kind, [] if kind == stats.FLOW else [stats.aggregate_body(0, 0, 0)])
        return
    if kind == stats.AGGREGATE and session.version == OF13 and keep.idle:
        body = stats.flow_request_body13(match, table, v13.ANY, v13.ANY_GROUP, session.datapath.flows.tag, TAG_MASK)
        _forward(session, message, stats.AGGREGATE, body, lambda reply, when: _relay(session, message, reply), now)
        return
    if session.version == OF10:
        body = stats.flow_request_body10(match, table, v10.NONE)
    else:
        body = stats.flow_request_body13(match, table, v13.ANY, v13.ANY_GROUP, session.datapath.flows.tag, TAG_MASK)
    if kind == stats.FLOW:
        _forward(
            session, message, stats.FLOW, body, lambda reply, when: _relay_flows(session, message, keep, reply), now
        )
    else:
        # 1.0 would count our guards, and neither version can filter by what only the controller knows.
        total = _Total(session, message, keep)
        _forward(session, message, stats.FLOW, body, lambda reply, when: total.add(reply), now)


def _parse10(session: NorthSession, message: bytes) -> tuple[int, bytes, _FlowFilter]:
    if len(message) != 56:
        raise Refused(errors.BAD_LENGTH, f"flow statistics request of {len(message)} bytes")
    table, out_port = message[52], int.from_bytes(message[54:56], "big")
    match = narrow10(session.datapath.grant, int.from_bytes(message[12:52], "big"))
    if table >= session.datapath.grant.n_tables and table != v13.ALL_TABLES:
        raise Refused(errors.FOREIGN_VLAN, "no such table")  # 1.0 has no error for it: an empty answer
    return table, match.to_bytes(m10.LENGTH, "big"), _FlowFilter(None if out_port == v10.NONE else out_port)


def _parse13(session: NorthSession, message: bytes) -> tuple[int, bytes, _FlowFilter]:
    table, out_port, out_group, cookie, mask = stats.parse_flow_request13(message)
    if table >= session.datapath.grant.n_tables and table != v13.ALL_TABLES:
        raise Refused(errors.STATS_TABLE, f"table {table}")
    virtual, after = oxm.parse(message, stats.FLOW13_MATCH_AT, len(message))
    if after != len(message):
        raise Refused(errors.BAD_LENGTH, "bytes after the match")
    match = oxm.pack(narrow13(session.datapath.grant, virtual))
    port = None if out_port == v13.ANY else out_port
    group = None if out_group == v13.ANY_GROUP else out_group
    if table != v13.ALL_TABLES:
        table += session.datapath.grant.first_table
    return table, match, _FlowFilter(port, group, cookie, mask)


def _own_entries(session: NorthSession, keep: _FlowFilter, reply: bytes) -> list[tuple[Entry, bytes]]:
    version, table = session.version, session.datapath.flows
    parse = f10.parse_entries if version == OF10 else f13.parse_entries
    found = []
    for each in parse(reply, stats.BODY[version]):
        entry = table.find(each.cookie)
        if entry is not None and entry.alive and keep.passes(version, entry):
            found.append((entry, each.raw))
    return found


def _relay_flows(session: NorthSession, message: bytes, keep: _FlowFilter, reply: bytes) -> None:
    version = session.version
    items = []
    for entry, raw in _own_entries(session, keep, reply):
        data = entry.data
        match, body = virtualform.virtual_match(version, data), virtualform.virtual_body(version, data)
        priority, cookie = virtualform.virtual_priority(version, data), virtualform.virtual_cookie(version, data)
        if version == OF10:
            items.append(f10.rewrite_entry(raw, match, priority, cookie, body))
        else:
            given, table = virtualform.virtual_flags(version, data), virtualform.virtual_table(data)
            items.append(f13.rewrite_entry(raw, table, match, priority, given, cookie, body))
    _relay_items(session, message, stats.FLOW, items, reply)


class _Total:
    """An AGGREGATE computed from a FLOW reply, fragment by fragment."""

    def __init__(self, session: NorthSession, message: bytes, keep: _FlowFilter) -> None:
        self._session = session
        self._message = message
        self._keep = keep
        self._counts = [0, 0, 0]

    def add(self, reply: bytes) -> None:
        """Count one fragment; answer at the last."""
        version = self._session.version
        for _, raw in _own_entries(self._session, self._keep, reply):
            packets, octets = _COUNTS[version].unpack_from(raw)
            self._counts[0] += packets
            self._counts[1] += octets
            self._counts[2] += 1
        if not stats.head(reply)[1] & 1:
            packets, octets, count = self._counts
            body = stats.aggregate_body(packets & stats.UNAVAILABLE, octets & stats.UNAVAILABLE, count)
            xid = header.xid_of(self._message)
            self._session.relay(stats.reply(version, xid, stats.AGGREGATE, body))


# -- ports and queues ------------------------------------------------------------------------------


def _port_request(session: NorthSession, message: bytes, now: float) -> None:
    layout = _PORT_REQUEST[session.version]
    if len(message) != stats.BODY[session.version] + layout.size:
        raise Refused(errors.BAD_LENGTH, f"port statistics request of {len(message)} bytes")
    (port,) = layout.unpack_from(message, stats.BODY[session.version])
    every = v10.NONE if session.version == OF10 else v13.ANY
    if port != every and port not in session.datapath.grant.ports:
        _answer(session, message, stats.PORT, [])
        return
    _forward(
        session, message, stats.PORT, layout.pack(port), lambda reply, when: _relay_ports(session, message, reply), now
    )


def _relay_ports(session: NorthSession, message: bytes, reply: bytes) -> None:
    version, datapath = session.version, session.datapath
    counters = session.hub.policy.port_counters
    items: dict[int, bytes] = {}
    for item in stats.fixed_items(reply, stats.PORT_STATS_LENGTH[version]):
        port = stats.item_port(version, item)
        if port not in datapath.grant.ports or port in items:
            continue  # not again, whatever the switch says: each is looked up among all slices
        shared = counters == "hidden" or (counters == "auto" and session.switch.is_shared(port, datapath))
        items[port] = stats.masked_port_item(version, item) if shared else item
    _relay_items(session, message, stats.PORT, list(items.values()), reply)


def _queue_request(session: NorthSession, message: bytes, now: float) -> None:
    version, grant = session.version, session.datapath.grant
    layout = _QUEUE_REQUEST[version]
    if len(message) != stats.BODY[version] + layout.size:
        raise Refused(errors.BAD_LENGTH, f"queue statistics request of {len(message)} bytes")
    port, queue = layout.unpack_from(message, stats.BODY[version])
    every = v10.ALL if version == OF10 else v13.ANY
    if port != every and port not in grant.ports:
        raise Refused(errors.QUEUE_PORT, f"port {port:#x}")
    ports = grant.ports if port == every else {port}
    if queue != _EVERY_QUEUE and not any(queue in grant.queues.get(each, ()) for each in ports):
        raise Refused(errors.QUEUE_UNKNOWN, f"queue {queue}")
    body = layout.pack(port, queue)
    _forward(session, message, stats.QUEUE, body, lambda reply, when: _relay_queues(session, message, reply), now)


def _relay_queues(session: NorthSession, message: bytes, reply: bytes) -> None:
    version, queues = session.version, session.datapath.grant.queues
    items = [
        item
        for item in stats.fixed_items(reply, stats.QUEUE_STATS_LENGTH[version])
        if int.from_bytes(item[4:8], "big") in queues.get(stats.item_port(version, item), ())
    ]
    _relay_items(session, message, stats.QUEUE, items, reply)


def relay_queue_config(session: NorthSession, message: bytes, reply: bytes) -> None:
    """QUEUE_GET_CONFIG_REPLY with the granted queues only.

    1.0: port 2, pad 6, queues (id 4, length 2, pad 2, properties); 1.3: port 4,
    pad 4, queues (id 4, port 4, length 2, pad 6, properties).
    """
    version, queues = session.version, session.datapath.grant.queues
    fixed, at_length = (8, 4) if version == OF10 else (16, 8)
    if len(reply) < 16:
        raise Refused(errors.BAD_LENGTH, "queue configuration cut short")
    reply_port = int.from_bytes(reply[8 : 10 if version == OF10 else 12], "big")
    kept, position = [], 16
    while position < len(reply):
        if len(reply) - position < fixed:
            raise Refused(errors.BAD_LENGTH, "queue description cut short")
        length = int.from_bytes(reply[position + at_length : position + at_length + 2], "big")
        if length < fixed or position + length > len(reply):
            raise Refused(errors.BAD_LENGTH, f"queue description of length {length}")
        item = reply[position : position + length]
        port = reply_port if version == OF10 else int.from_bytes(item[4:8], "big")
        if int.from_bytes(item[:4], "big") in queues.get(port, ()):
            kept.append(item)
        position += length
    body = reply[8:16] + b"".join(kept)
    session.relay(header.message(version, reply[1], header.xid_of(message), body))


# -- passing on ------------------------------------------------------------------------------------


def _forward(session: NorthSession, message: bytes, kind: int, body: bytes, done: _Done, now: float) -> None:
    def checked(reply: bytes, when: float) -> None:
        if stats.head(reply)[0] != kind:
            raise Refused(errors.BAD_LENGTH, "the answer is of another kind than the request")
        session.datapath.stats.charge(len(reply) // _ONE_TOKEN)
        done(reply, when)

    sent = Request(Expected.STATISTICS, session, message, at=now, done=checked)
    session.switch.send(stats.request(session.version, 0, kind, body), sent, session.datapath, now)


def _relay(session: NorthSession, message: bytes, reply: bytes) -> None:
    session.relay(header.with_xid(reply, header.xid_of(message)))


def _relay_items(session: NorthSession, message: bytes, kind: int, items: list[bytes], reply: bytes) -> None:
    more = bool(stats.head(reply)[1] & 1)
    if more and not items:
        return
    for part in stats.replies(session.version, header.xid_of(message), kind, items, more=more):
        session.relay(part)


if TYPE_CHECKING:
    from collections.abc import Callable

    _Done = Callable[[bytes, float], None]
