"""Groups and meters of a slice, between its controllers and the switch: changes, statistics, clean-up (vetting A.8).

A controller's ids are its own; what a switch sees is in ``groups``. A deleted
group takes the flows that use it along and the switch says so; a deleted meter
does the same silently, so those flows are forgotten when a barrier has
confirmed the delete.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import flows
from vmoc.mux.buckets import Bucket
from vmoc.mux.flows import Entry
from vmoc.mux.groups import SLOT_SHIFT
from vmoc.mux.pending import Expected, Request, Unit
from vmoc.mux.roles import Role
from vmoc.openflow import header, stats, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13
from vmoc.policy.groups import DELETE, vet_group_mod, vet_meter_mod
from vmoc.policy.verdict import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.north import NorthSession
    from vmoc.mux.switch import Switch

_ID: Final = Struct("!I4x")
_GROUP_STATS_LEAST: Final = 40
_GROUP_DESC_LEAST: Final = 8
_METER_STATS_LEAST: Final = 40
_METER_CONFIG_LEAST: Final = 8
_FEATURES_GROUP: Final = Struct("!II4I4I")
_FEATURES_METER: Final = Struct("!IIIBB2x")
_OFFERED_ACTIONS: Final = sum(
    1 << kind
    for kind in (
        a13.OUTPUT,
        a13.COPY_TTL_OUT,
        a13.COPY_TTL_IN,
        a13.SET_MPLS_TTL,
        a13.DEC_MPLS_TTL,
        a13.SET_QUEUE,
        a13.GROUP,
        a13.SET_NW_TTL,
        a13.DEC_NW_TTL,
        a13.SET_FIELD,
    )
)


# -- changes -----------------------------------------------------------------------------------------


def group_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """GROUP_MOD: vetted, translated to physical ids, and written."""
    datapath = session.datapath
    bucket = datapath.flow_mods
    if not bucket.take(now):
        return bucket
    if session.role is Role.SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    change = vet_group_mod(datapath.grant, message)
    if isinstance(change, Refusal):
        session.refuse(message, change, now)
        return None
    table = datapath.groups
    if not table.slot:
        table.slot = session.switch.allocate_slot(datapath)
    plan = table.plan(change)
    if isinstance(plan, Refusal):
        _report_quota(session, plan)
        session.refuse(message, plan, now)
        return None
    doomed = _using(datapath, a13.GROUP, plan.gone)
    for entry in doomed:
        datapath.flows.kill(entry)
    undo = (lambda found=plan.undo: table.take_back(found)) if plan.undo is not None else None
    _write(session, message, plan.messages, undo, lambda: datapath.flows.forget_dead(doomed), now)
    return None


def meter_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """METER_MOD: vetted, translated to physical ids, and written."""
    datapath = session.datapath
    bucket = datapath.flow_mods
    if not bucket.take(now):
        return bucket
    if session.role is Role.SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    change = vet_meter_mod(datapath.grant, message)
    if isinstance(change, Refusal):
        session.refuse(message, change, now)
        return None
    plan = datapath.meters.plan(change)
    if isinstance(plan, Refusal):
        _report_quota(session, plan)
        session.refuse(message, plan, now)
        return None
    doomed = _using(datapath, v13.METER, plan.gone_virtual)

    def settled() -> None:
        for physical in plan.gone:
            session.switch.meter_pool.free(physical)
        for entry in doomed:
            if entry.alive:
                datapath.flows.forget(entry)

    undo = (lambda added=plan.added: datapath.meters.take_back(added)) if plan.added is not None else None
    _write(session, message, plan.messages, undo, settled, now)
    return None


def _write(
    session: NorthSession,
    message: bytes,
    messages: list[bytes],
    undo: Callable[[], None] | None,
    settled: Callable[[], None],
    now: float,
) -> None:
    if not messages:
        return
    unit = Unit()
    last = len(messages) - 1
    for index, data in enumerate(messages):
        request = Request(Expected.NOTHING, session, message, at=now, unit=unit)
        request.undo = undo
        request.settled = settled if index == last else None
        session.switch.send(data, request, session.datapath, now)


def _report_quota(session: NorthSession, refusal: Refusal) -> None:
    if refusal.reason in (errors.GROUP_QUOTA, errors.METER_QUOTA):
        datapath = session.datapath
        session.hub.report(
            Kind.QUOTA,
            slice=datapath.owner.id,
            vlan=datapath.vlan,
            dpid=session.switch.dpid,
            reason=refusal.reason.code,
            message=refusal.detail,
        )


def _using(datapath: VirtualDatapath, kind: int, ids: tuple[int, ...]) -> list[Entry]:
    """The live flows that name one of the groups (in their actions) or meters (as instruction)."""
    if not ids:
        return []
    wanted = set(ids)
    found = []
    for entry in datapath.flows.by_identity.values():
        for instruction in flows.virtual_instructions(entry.data):
            if kind == v13.METER:
                hit = instruction[0] == v13.METER and instruction[1] in wanted
            else:
                hit = instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS) and any(
                    action[0] == a13.GROUP and action[1] in wanted for action in instruction[1]
                )
            if hit:
                found.append(entry)
                break
    return found


# -- statistics --------------------------------------------------------------------------------------


def statistics(session: NorthSession, message: bytes, kind: int, forward: Forward, answer: Answer, now: float) -> None:
    """A multipart request about groups or meters; ``forward`` and ``answer`` are the statistics module's."""
    if kind in (v13.MP_GROUP_FEATURES, v13.MP_METER_FEATURES):
        if len(message) != 16:
            raise Refused(errors.BAD_LENGTH, "a request without body has one")
        answer(
            session,
            message,
            kind,
            [_group_features(session) if kind == v13.MP_GROUP_FEATURES else _meter_features(session)],
        )
    elif kind in (v13.MP_GROUP, v13.MP_GROUP_DESC):
        _groups(session, message, kind, forward, answer, now)
    else:
        _meters(session, message, kind, forward, answer, now)


def _groups(session: NorthSession, message: bytes, kind: int, forward: Forward, answer: Answer, now: float) -> None:
    table = session.datapath.groups
    body = b""
    if kind == v13.MP_GROUP:
        if len(message) != 24:
            raise Refused(errors.BAD_LENGTH, f"group statistics request of {len(message)} bytes")
        (wanted,) = _ID.unpack_from(message, 16)
        if wanted != g13.GROUP_ALL and wanted not in table.ids:
            answer(session, message, kind, [])
            return
        body = _ID.pack(table.ids.get(wanted, g13.GROUP_ALL))
    elif len(message) != 16:
        raise Refused(errors.BAD_LENGTH, "a request without body has one")
    if not table.ids:
        answer(session, message, kind, [])
        return

    def keep(reply: bytes) -> list[bytes]:
        least = _GROUP_STATS_LEAST if kind == v13.MP_GROUP else _GROUP_DESC_LEAST
        found = []
        for record in g13.records(reply, 16, least):
            virtual = table.virtual_of(int.from_bytes(record[4:8], "big"))
            if virtual is None:
                continue
            if kind == v13.MP_GROUP:
                found.append(record[:4] + virtual.to_bytes(4, "big") + record[8:])
            else:
                # The buckets as the controller gave them: its own ports, its own group ids.
                given = table.groups[virtual].data
                buckets = g13.pack_buckets(g13.parse_buckets(given, 16, len(given)))
                length = (8 + len(buckets)).to_bytes(2, "big")
                found.append(length + given[10:11] + b"\0" + virtual.to_bytes(4, "big") + buckets)
        return found

    forward(session, message, kind, body, keep, now)


def _meters(session: NorthSession, message: bytes, kind: int, forward: Forward, answer: Answer, now: float) -> None:
    table = session.datapath.meters
    if len(message) != 24:
        raise Refused(errors.BAD_LENGTH, "a meter request has a body of 8 bytes")
    (wanted,) = _ID.unpack_from(message, 16)
    if wanted != g13.METER_ALL and wanted not in table.ids:
        raise Refused(errors.METER_UNKNOWN, f"meter {wanted:#x}")
    if not table.ids:
        answer(session, message, kind, [])
        return
    at = 0 if kind == v13.MP_METER else 4
    least = _METER_STATS_LEAST if kind == v13.MP_METER else _METER_CONFIG_LEAST

    def keep(reply: bytes) -> list[bytes]:
        found = []
        for record in _meter_records(reply, kind, least):
            virtual = table.virtual_of(int.from_bytes(record[at : at + 4], "big"))
            if virtual is None:
                continue
            record = record[:at] + virtual.to_bytes(4, "big") + record[at + 4 :]
            if kind == v13.MP_METER:
                count = len(_using(session.datapath, v13.METER, (virtual,)))
                record = record[:12] + count.to_bytes(4, "big") + record[16:]
            found.append(record)
        return found

    forward(session, message, kind, _ID.pack(table.ids.get(wanted, g13.METER_ALL)), keep, now)


def _meter_records(reply: bytes, kind: int, least: int) -> list[bytes]:
    """Statistics: meter 4, length 2, ...; configuration: length 2, flags 2, meter 4, bands."""
    at_length = 4 if kind == v13.MP_METER else 0
    found, position = [], 16
    while position < len(reply):
        length = int.from_bytes(reply[position + at_length : position + at_length + 2], "big")
        if length < least or position + length > len(reply):
            raise Refused(errors.BAD_LENGTH, f"meter record of length {length}")
        found.append(reply[position : position + length])
        position += length
    return found


def _group_features(session: NorthSession) -> bytes:
    """Types 4, capabilities 4, most groups of each type 4x4, actions of each type 4x4."""
    real = session.switch.group_features
    types, capabilities = (real[0], real[1]) if real is not None else (0, 0)
    most = session.datapath.groups.quota or g13.GROUP_MAX
    actions = tuple(bits & _OFFERED_ACTIONS for bits in real[6:10]) if real is not None else (0, 0, 0, 0)
    return _FEATURES_GROUP.pack(types, capabilities, *(4 * (most,)), *actions)


def _meter_features(session: NorthSession) -> bytes:
    """Most meters 4, band types 4, capabilities 4, most bands 1, most colours 1, pad 2."""
    real = session.switch.meter_features
    if real is None:
        return bytes(16)
    most = min(session.datapath.meters.quota or real[0], real[0])
    return _FEATURES_METER.pack(most, *real[1:])


def parse_group_features(message: bytes) -> tuple[int, ...] | None:
    """The ten words of a GROUP_FEATURES reply; None when it is an error or cut short."""
    if message[1] == header.ERROR or len(message) < 16 + _FEATURES_GROUP.size:
        return None
    return _FEATURES_GROUP.unpack_from(message, 16)


def parse_meter_features(message: bytes) -> tuple[int, ...] | None:
    """(most meters, band types, capabilities, most bands, most colours); None when it is an error or cut short."""
    if message[1] == header.ERROR or len(message) < 16 + _FEATURES_METER.size:
        return None
    return _FEATURES_METER.unpack_from(message, 16)


# -- what a switch holds -----------------------------------------------------------------------------


def delete_group(physical: int) -> bytes:
    """Remove one group."""
    return g13.group_mod(0, DELETE, 0, physical)


def delete_meter(physical: int) -> bytes:
    """Remove one meter."""
    return g13.meter_mod(0, DELETE, 0, physical)


def described_groups(reply: bytes) -> list[int]:
    """The ids in a GROUP_DESC reply."""
    return [int.from_bytes(record[4:8], "big") for record in g13.records(reply, 16, _GROUP_DESC_LEAST)]


def configured_meters(reply: bytes) -> list[int]:
    """The ids in a METER_CONFIG reply."""
    records = _meter_records(reply, v13.MP_METER_CONFIG, _METER_CONFIG_LEAST)
    return [int.from_bytes(record[4:8], "big") for record in records]


def delete_all(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """Delete every group and meter of one virtual datapath, groups that lead to others first."""
    for message in datapath.groups.all_deletes():
        switch.send_own(message, now)
    for physical in datapath.meters.ids.values():
        switch.send_own(delete_meter(physical), now)


def prove_gone(switch: Switch, datapath: VirtualDatapath, done: Callable[[bool, float], None], now: float) -> None:
    """See that the switch holds no group of the datapath's slot any more, and give the slot and meters back."""
    slot = datapath.groups.slot

    def freed(clean: bool, when: float) -> None:
        if clean:
            datapath.groups.clear()
            datapath.groups.slot = 0
            switch.slots.pop(slot, None)
            datapath.meters.clear()
        done(clean, when)

    if switch.version == OF10 or not slot:
        freed(True, now)
        return
    found: list[int] = []

    def part(message: bytes, when: float) -> None:
        if message[1] == header.ERROR:
            freed(False, when)
            return
        found.extend(described_groups(message))
        if not stats.head(message)[1] & 1:
            freed(not any(physical >> SLOT_SHIFT == slot for physical in found), when)

    switch.ask(_GROUPS_REQUEST, part, now)


def reconcile(switch: Switch, done: Callable[[float], None], now: float) -> None:
    """After a connect: delete groups and meters nobody knows, forget those the switch lost; then ``done``."""
    _Reconcile(switch, done).begin(now)


class _Reconcile:
    """GROUP_DESC, then METER_CONFIG; a switch that has neither says so, and that is that."""

    def __init__(self, switch: Switch, done: Callable[[float], None]) -> None:
        self._switch = switch
        self._done = done
        self._found: set[int] = set()

    def begin(self, now: float) -> None:
        self._switch.ask(_GROUPS_REQUEST, self._groups, now)

    def _groups(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] != header.ERROR:
            self._found.update(described_groups(message))
            if stats.head(message)[1] & 1:
                return
        datapaths = list(switch.datapaths.values())
        known = {physical for datapath in datapaths for physical in datapath.groups.ids.values()}
        keep = switch.hub.policy.foreign_flows == "keep"
        for physical in sorted(self._found - known):
            if not keep or physical >> SLOT_SHIFT in switch.slots:
                switch.send_own(delete_group(physical), now)
        for datapath in datapaths:
            datapath.groups.keep_only(self._found)
        for slot, datapath in list(switch.slots.items()):
            if switch.datapaths.get(datapath.vlan) is not datapath:
                del switch.slots[slot]
        self._found = set()
        switch.ask(_METERS_REQUEST, self._meters, now)

    def _meters(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] != header.ERROR:
            self._found.update(configured_meters(message))
            if stats.head(message)[1] & 1:
                return
        datapaths = list(switch.datapaths.values())
        known = {physical for datapath in datapaths for physical in datapath.meters.ids.values()}
        for datapath in datapaths:
            datapath.meters.keep_only(self._found)
        for physical in sorted(self._found - known):
            if physical <= g13.METER_MAX and switch.hub.policy.foreign_flows != "keep":
                switch.send_own(delete_meter(physical), now)
        switch.meter_pool.taken = known & self._found
        self._done(now)


_GROUPS_REQUEST: Final = stats.request(4, 0, v13.MP_GROUP_DESC)
_METERS_REQUEST: Final = stats.request(4, 0, v13.MP_METER_CONFIG, _ID.pack(g13.METER_ALL))

if TYPE_CHECKING:
    Keep = Callable[[bytes], list[bytes]]
    Forward = Callable[[NorthSession, bytes, int, bytes, Keep, float], None]
    Answer = Callable[[NorthSession, bytes, int, list[bytes]], None]
