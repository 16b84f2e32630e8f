"""Packet-ins and flow-removed on their way to their one owner (vetting B.1, B.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import buffered, operator, suppress
from vmoc.mux.classify import UNTAGGED, classify13, delivered_match, frame_vid
from vmoc.mux.flows import SERIAL_BITS, Entry
from vmoc.mux.virtualform import is_table_miss, virtual_cookie, virtual_match, virtual_priority, virtual_table
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import OF10

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.switch import Switch

_NO_BUFFER: Final = b"\xff\xff\xff\xff"
_NO_COOKIE: Final = b"\xff" * 8
_PLAIN13: Final = b"\x00\x01\x00\x0c\x80\x00\x00\x04"
"""A 1.3 match of just in_port: the usual packet-in, with the frame at byte 42."""


def packet_in10(switch: Switch, message: bytes, now: float) -> None:
    """Route a 1.0 PACKET_IN: buffer_id 4, total_len 2, in_port 2, reason 1, pad 1, frame."""
    counters = switch.hub.counters
    if len(message) < 32:
        if len(message) < 18:
            raise Refused(errors.BAD_LENGTH)
        counters.dropped_packet_ins["malformed"] += 1
        return
    in_port = message[14] << 8 | message[15]
    # The usual tag first; frame_vid knows the others.
    if message[30] == 0x81 and message[31] == 0 and len(message) >= 36:
        vid = (message[32] & 0xF) << 8 | message[33] or UNTAGGED
    else:
        vid = frame_vid(message, 18)
    datapath = switch.datapaths.get(switch.native_vlan or vid)
    if datapath is None:
        _nobody(switch, message, in_port, vid, now)
        return
    if in_port not in datapath.grant.ports and not (in_port in (v10.NONE, v10.CONTROLLER) and message[16] == 1):
        counters.dropped_packet_ins["foreign-port"] += 1
        return
    if message[8:12] != _NO_BUFFER:
        message = message[:8] + _NO_BUFFER + message[12:]
    if datapath.hides_tag and not switch.native:
        total = max((message[12] << 8 | message[13]) - 4, 0)
        message = b"".join(
            (
                message[:2],
                (len(message) - 4).to_bytes(2, "big"),
                message[4:12],
                total.to_bytes(2, "big"),
                message[14:30],
                message[34:],
            )
        )
    _deliver(datapath, message, message[16], in_port, now)


def packet_in13(switch: Switch, message: bytes, now: float) -> None:
    """Route a 1.3 PACKET_IN: buffer_id 4, total_len 2, reason 1, table 1, cookie 8, match, pad 2, frame."""
    counters = switch.hub.counters
    if (
        message[24:32] == _PLAIN13
        and len(message) >= 60
        and message[54] == 0x81
        and message[55] == 0
        and not switch.native
    ):
        vid = (message[56] & 0xF) << 8 | message[57] or UNTAGGED
        in_port = message[32] << 24 | message[33] << 16 | message[34] << 8 | message[35]
        datapath = switch.datapaths.get(vid)
        if datapath is not None and in_port in datapath.grant.ports and not datapath.hides_tag:
            reason, table, cookie = message[14], message[15], message[16:24]
            as_it_is = message[8:12] == _NO_BUFFER
            if cookie != _NO_COOKIE:
                told = _cookie(switch, datapath, message)
                if told is None:
                    counters.dropped_packet_ins["foreign-cookie"] += 1
                    return
                as_it_is = as_it_is and told == (reason, cookie)
                reason, cookie = told
            if table and datapath.grant.first_table:  # packets of packet-outs come from no table
                table -= datapath.grant.first_table
                as_it_is = False
            if not as_it_is:
                message = b"".join(
                    (message[:8], _NO_BUFFER, message[12:14], bytes((reason, table)), cookie, message[24:])
                )
            _deliver(datapath, message, reason, in_port, now)
            return
    _packet_in13_any(switch, message, now)


def _packet_in13_any(switch: Switch, message: bytes, now: float) -> None:
    counters = switch.hub.counters
    found = classify13(message)
    if found is None:
        if len(message) < 34:
            raise Refused(errors.BAD_LENGTH)
        counters.dropped_packet_ins["malformed"] += 1
        return
    vlan = switch.native_vlan or found.vid
    datapath = switch.datapaths.owner(vlan, found.in_port)
    if datapath is None:
        if switch.datapaths.on_vlan(vlan):  # shared, but not at this port
            counters.dropped_packet_ins["foreign-port"] += 1
            return
        _nobody(switch, message, found.in_port, found.vid, now)
        return
    echoed = found.in_port in (v13.CONTROLLER, v13.ANY) and message[14] == v13.REASON_ACTION
    if found.in_port not in datapath.grant.ports and not echoed:
        counters.dropped_packet_ins["foreign-port"] += 1
        return
    told = _cookie(switch, datapath, message)
    if told is None:
        counters.dropped_packet_ins["foreign-cookie"] += 1
        return
    reason, cookie = told
    frame, total = message[found.frame_at :], int.from_bytes(message[12:14], "big")
    if found.stripped and not datapath.hides_tag:
        pcp = next((value for number, value, _ in found.match if number == 7), 0)
        tci = pcp << 13 | found.vid
        frame, total = frame[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + frame[12:], total + 4
    elif datapath.hides_tag and not switch.native and not found.stripped:
        frame, total = frame[:12] + frame[16:], max(total - 4, 0)
    grant, table = datapath.grant, message[15]
    if table:
        table -= grant.first_table
    match = delivered_match(found.match, grant.ports, hide_tag=datapath.hides_tag, hide_slot=bool(grant.slot))
    body = b"".join(
        (
            _NO_BUFFER,
            min(total, 0xFFFF).to_bytes(2, "big"),
            bytes((reason, table)),
            cookie,
            match,
            b"\x00\x00",
            frame,
        )
    )
    if len(body) > header.MAX_LENGTH - 8:
        counters.dropped_packet_ins["malformed"] += 1
        return
    _deliver(datapath, header.message(4, header.PACKET_IN, header.xid_of(message), body), reason, found.in_port, now)


def _cookie(switch: Switch, datapath: VirtualDatapath, message: bytes) -> tuple[int, bytes] | None:
    """(reason, cookie) as the controller shall see them; None when another slice's entry sent the packet."""
    reason = message[14]
    cookie = int.from_bytes(message[16:24], "big")
    entry = datapath.flows.find(cookie)
    if entry is not None:
        if reason == v13.REASON_ACTION and is_table_miss(entry.data):
            reason = v13.REASON_NO_MATCH  # with a VLAN in its match the switch no longer knows it as one
        return reason, virtual_cookie(4, entry.data).to_bytes(8, "big")
    tag = cookie >> SERIAL_BITS
    if tag not in (0xFFFF, datapath.tag) and (tag == 0xFFFE or tag in switch.by_tag):
        return None
    return reason, _NO_COOKIE


def _nobody(switch: Switch, message: bytes, in_port: int, vid: int, now: float) -> None:
    suppress.nobody(switch, in_port, vid, now)
    switch.hub.counters.count_unclassified(switch.dpid, in_port, vid)
    operator.packet_in(switch, message)


def _deliver(datapath: VirtualDatapath, message: bytes, reason: int, in_port: int, now: float) -> None:
    hub = datapath.hub
    counters = hub.counters
    if not datapath.ready:
        counters.dropped_packet_ins["down"] += 1
        return
    bucket = datapath.packet_ins
    if bucket.rate and not bucket.take(now):
        counters.dropped_packet_ins["rate"] += 1
        datapath.packet_ins_over += 1
        text = "packet-ins come faster than the slice's rate"
        datapath.say(Kind.DROPPED, now, text, None, "packet_in_rate", bucket.rate)
        suppress.excess(datapath, in_port, now)
        return
    counters.packet_ins += 1
    datapath.packet_ins_in += 1
    if datapath.buffers is not None:
        message = buffered.offer(datapath, message, in_port)
        _deliver_filtered(datapath, message, reason, in_port, now)
        return
    cids = datapath.packet_in_cids
    if len(cids) == len(datapath.sessions) and cids and reason < 2:
        writes = hub.writes
        for cid in cids:
            writes[cid].append(message)
        return
    _deliver_filtered(datapath, message, reason, in_port, now)


def _deliver_filtered(datapath: VirtualDatapath, message: bytes, reason: int, in_port: int, now: float) -> None:
    """One controller at a time: its masks, its role, whether it keeps up, how much of a packet it wants."""
    counters = datapath.hub.counters
    if in_port in datapath.no_packet_in:
        counters.dropped_packet_ins["down"] += 1
        return
    taken = False
    for session in datapath.sessions:
        if not session.masks.wants(session.masks.packet_in, session.role, reason):
            taken = True
        elif session.behind:
            counters.dropped_packet_ins["backlog"] += 1
            session.link.dropped += 1
            text = "a controller does not read as fast as packet-ins come"
            datapath.say(Kind.DROPPED, now, text, str(session.link.endpoint))
            taken = True
        else:
            session.relay(message if datapath.buffers is None else buffered.cut(session, message, reason))
            taken = True
    if not taken:
        counters.dropped_packet_ins["down"] += 1


def flow_removed(version: int, message: bytes, entry: Entry) -> bytes:
    """A FLOW_REMOVED in the controller's own terms; timeouts, counters, reason and duration as the switch said.

    1.0 (5.4.3): match 40, cookie 8, priority 2, then the rest. 1.3 (7.4.2):
    cookie 8, priority 2, reason 1, table 1, duration 8, timeouts 4, counters 16, match.
    """
    cookie = virtual_cookie(version, entry.data).to_bytes(8, "big")
    priority = virtual_priority(version, entry.data).to_bytes(2, "big")
    match = virtual_match(version, entry.data)
    if version == OF10:
        return header.message(version, header.FLOW_REMOVED, 0, match + cookie + priority + message[58:88])
    body = b"".join((cookie, priority, message[18:19], bytes((virtual_table(entry.data),)), message[20:48], match))
    return header.message(version, header.FLOW_REMOVED, 0, body)
