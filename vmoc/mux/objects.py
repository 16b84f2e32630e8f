"""Groups and meters of a slice, between its controllers and the switch: changes and statistics (vetting A.8).

A controller's ids are its own; what a switch sees is in ``groups``. A deleted
group takes the flows that use it along and the switch says so; a deleted meter
does the same silently, so those flows are forgotten when a barrier has
confirmed the delete.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import flows, virtualform
from vmoc.mux.buckets import Bucket
from vmoc.mux.flows import Entry
from vmoc.mux.groups import Group, GroupStep, MeterStep
from vmoc.mux.likeness import group_alike, meter_alike
from vmoc.mux.pending import Expected, Request, Unit
from vmoc.mux.roles import Role
from vmoc.openflow import header, v10, v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13
from vmoc.policy import actions13
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
_BANDS: Final = 1 << g13.BAND_DROP | 1 << g13.BAND_DSCP_REMARK


_OF_THE_SHADOW: Final = (errors.GROUP_EXISTS, errors.METER_EXISTS)
"""Refusals for what there is already, which the switch may not have accepted yet."""


# -- changes -----------------------------------------------------------------------------------------


def group_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """GROUP_MOD: vetted, translated to physical ids, and written."""
    datapath, table = session.datapath, session.datapath.groups
    bucket = datapath.flow_mods
    if not bucket.take(now):
        return bucket
    if session.role is Role.SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    change = vet_group_mod(datapath.grant, message)
    if isinstance(change, Refusal):
        if change.reason in _OF_THE_SHADOW or datapath.doubtful:
            _be_sure(session, message)
        session.refuse(message, change, now)
        return None
    if not table.slot and change.command == v10.ADD:
        slot = session.switch.allocate_slot(datapath)
        if slot:
            table.take_slot(slot)
        else:
            _over(session, message, Refusal("quota", errors.GROUP_QUOTA, "the switch has no group ids left"), now)
            return None
    if not change.refers.isdisjoint(table.doubtful):
        _be_sure(session, message)
    steps = table.plan(change)
    if isinstance(steps, Refusal):
        _be_sure(session, message)
        _over(session, message, steps, now)
        return None
    unit = Unit()
    doomed = _flows_of(datapath, steps)
    for step in steps:
        dying = tuple(entry for entry in doomed.get(step.virtual, ()) if entry.alive)
        for entry in dying:
            datapath.flows.kill(entry)
        plan = flows.Plan([step.message], dying=dying)
        request = Request(Expected.NOTHING, session, message, at=now, unit=unit, plan=plan)
        request.undo = lambda when, step=step: table.take_back(step)
        request.settled = lambda step=step: table.accepted(step)
        session.switch.send(step.message, request, datapath, now)
    return None


def _flows_of(datapath: VirtualDatapath, steps: list[GroupStep]) -> dict[int, list[Entry]]:
    """The flows a switch deletes along with the groups that ``steps`` delete."""
    if not any(step.deleted for step in steps):
        return {}
    datapath.charge_search()
    return _users(datapath, a13.GROUP)


def meter_mod(session: NorthSession, message: bytes, now: float) -> Bucket | None:
    """METER_MOD: vetted, translated to physical ids, and written."""
    datapath, switch = session.datapath, session.switch
    bucket = datapath.flow_mods
    if not bucket.take(now):
        return bucket
    if session.role is Role.SLAVE:
        raise Refused(errors.ROLE_SLAVE)
    change = vet_meter_mod(datapath.grant, message)
    if isinstance(change, Refusal):
        if change.reason in _OF_THE_SHADOW or datapath.doubtful:
            _be_sure(session, message)
        session.refuse(message, change, now)
        return None
    steps = datapath.meters.plan(change)
    if isinstance(steps, Refusal):
        _be_sure(session, message)
        _over(session, message, steps, now)
        return None
    doomed: dict[int, list[Entry]] = {}
    if change.command == DELETE and steps:
        datapath.charge_search()
        doomed = _users(datapath, v13.METER)

    def settled(step: MeterStep) -> None:
        datapath.meters.doubtful.discard(step.physical)
        if step.command == DELETE:
            switch.meter_pool.free(step.physical)
            datapath.meters.forget(step.physical)
            for entry in doomed.get(step.virtual, ()):
                datapath.flows.forget(entry)

    def undo(step: MeterStep, when: float) -> None:
        if datapath.meters.take_back(step):
            switch.after_barrier(lambda _, later: switch.meter_pool.free(step.physical), when)

    unit = Unit()
    for step in steps:
        request = Request(Expected.NOTHING, session, message, at=now, unit=unit)
        request.undo = partial(undo, step)
        request.settled = partial(settled, step)
        switch.send(step.message, request, datapath, now)
    return None


def _be_sure(session: NorthSession, message: bytes) -> None:
    if session.unsure(message):
        session.datapath.flow_mods.charge(-1)
        raise flows.Unsettled


def _over(session: NorthSession, message: bytes, refusal: Refusal, now: float) -> None:
    session.refuse(message, refusal, now)
    if refusal.reason in (errors.GROUP_QUOTA, errors.METER_QUOTA):
        datapath = session.datapath
        limit = ("max_groups", datapath.groups.quota)
        if refusal.reason is errors.METER_QUOTA:
            limit = ("max_meters", datapath.meters.quota)
        datapath.say(Kind.QUOTA, now, refusal.detail, str(session.link.endpoint), *limit)


def _users(datapath: VirtualDatapath, kind: int) -> dict[int, list[Entry]]:
    """The live flows that name each group (in their actions) or meter (as instruction), by virtual id."""
    found: dict[int, list[Entry]] = {}
    for entry in datapath.flows.by_identity.values():
        for number in _named(entry.data, kind):
            found.setdefault(number, []).append(entry)
    return found


def _named(data: bytes, kind: int) -> set[int]:
    if kind == a13.GROUP:
        return virtualform.outputs(header.OF13, data)[1]
    return {each[1] for each in virtualform.virtual_instructions(data) if each[0] == v13.METER}


def revet(switch: Switch, datapath: VirtualDatapath, now: float) -> list[Entry]:
    """Judge every group anew under the present grant; what it refuses is deleted, with what leads there.

    Returns the flows that go along.
    """
    table = datapath.groups
    refused = {virtual for virtual, group in table.groups.items() if not _fits(datapath, group)}
    steps = table.remove(table.leading_to(refused))
    doomed = _flows_of(datapath, steps)
    gone = [entry for step in steps for entry in doomed.get(step.virtual, ())]
    for entry in gone:
        datapath.flows.kill(entry)
    for step in steps:
        switch.send_own(step.message, now, datapath)
    return gone


def clear(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """Delete every group, those that lead to others first, and every meter. The flows have been deleted before."""

    def send(message: bytes, refused: Callable[[bytes, float], None]) -> None:
        switch.send(message, Request(Expected.NOTHING, None, message, at=now, done=refused), datapath, now)

    def exists(step: GroupStep, error: bytes, when: float) -> None:
        datapath.groups.take_back(step)

    for step in datapath.groups.remove(list(datapath.groups.groups)):
        send(step.message, partial(exists, step))
    meters = datapath.meters.remove(list(datapath.meters.ids))
    deleted = {step.physical for step in meters}

    def stays(step: MeterStep, error: bytes, when: float) -> None:
        datapath.meters.take_back(step)
        deleted.discard(step.physical)

    def confirmed(_: bytes, when: float) -> None:
        for physical in deleted:
            switch.meter_pool.free(physical)

    for each in meters:
        send(each.message, partial(stays, each))
    if meters:
        switch.after_barrier(confirmed, now, datapath)


def _fits(datapath: VirtualDatapath, group: Group) -> bool:
    change = group.data[:8] + v10.MODIFY.to_bytes(2, "big") + group.data[10:]
    if not isinstance(vet_group_mod(datapath.grant, change), Refusal):
        return True
    # A port the slice has and the switch does not, at present, is no reason: on a real switch the group stays.
    absent = {port for port in _ports_of(group) if port not in datapath.switch.ports and datapath.attached(port)}
    lenient = replace(datapath.grant, ports=datapath.grant.ports | absent)
    return bool(absent) and not isinstance(vet_group_mod(lenient, change), Refusal)


def correct(
    switch: Switch, datapath: VirtualDatapath, groups: dict[int, bytes], meters: dict[int, bytes], now: float
) -> None:
    """Write anew what came back from a journal and is not so on the switch.

    ``groups`` and ``meters`` are the switch's own descriptions, by physical id.
    """
    for virtual, group in list(datapath.groups.groups.items()):
        change = vet_group_mod(datapath.grant, group.data[:8] + v10.MODIFY.to_bytes(2, "big") + group.data[10:])
        shown = groups.get(group.physical)
        if shown is None or isinstance(change, Refusal) or group_alike(shown, change.kind, change.buckets):
            continue  # what is refused is ``revet``'s
        message = g13.group_mod(0, v10.MODIFY, change.kind, group.physical, g13.pack_buckets(change.buckets))

        def refused(_: bytes, when: float, virtual: int = virtual) -> None:
            if virtual in datapath.groups.groups:
                for step in datapath.groups.remove(datapath.groups.leading_to((virtual,))):
                    switch.send_own(step.message, when, datapath)

        switch.send(message, Request(Expected.NOTHING, None, message, at=now, done=refused), datapath, now)
    for physical, content in datapath.meters.contents.items():
        shown = meters.get(physical)
        if shown is not None and content and not meter_alike(shown, content):
            body = v10.MODIFY.to_bytes(2, "big") + content[:2] + physical.to_bytes(4, "big") + content[2:]
            switch.send_own(header.message(header.OF13, v13.METER_MOD, 0, body), now, datapath)


def _ports_of(group: Group) -> set[int]:
    ports: set[int] = set()
    for each in g13.parse_buckets(group.data, 16, len(group.data)):
        ports.add(each.watch_port)
        ports.update(action[1] for action in each.actions if action[0] == a13.OUTPUT)
    return ports


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

    told: set[int] = set()

    def keep(reply: bytes) -> list[bytes]:
        least = _GROUP_STATS_LEAST if kind == v13.MP_GROUP else _GROUP_DESC_LEAST
        found = []
        for record in g13.records(reply, 16, least):
            virtual = table.virtual_of(int.from_bytes(record[4:8], "big"))
            if virtual is None or virtual in told:
                continue  # told once; the switch's eight bytes are a kilobyte of ours
            told.add(virtual)
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

    users: dict[int, list[Entry]] = {}
    told: set[int] = set()

    def keep(reply: bytes) -> list[bytes]:
        found = []
        virtuals = {physical: virtual for virtual, physical in table.ids.items()} if len(reply) > 16 else {}
        for record in g13.records(reply, 16, least, 4 - at):
            virtual = virtuals.get(int.from_bytes(record[at : at + 4], "big"))
            if virtual is None or virtual in told:
                continue
            if kind == v13.MP_METER and not told:
                users.update(_users(session.datapath, v13.METER))
            told.add(virtual)
            record = record[:at] + virtual.to_bytes(4, "big") + record[at + 4 :]
            if kind == v13.MP_METER:
                count = len(users.get(virtual, ()))
                record = record[:12] + count.to_bytes(4, "big") + record[16:]
            found.append(record)
        return found

    forward(session, message, kind, _ID.pack(table.ids.get(wanted, g13.METER_ALL)), keep, now)


def _group_features(session: NorthSession) -> bytes:
    """Types 4, capabilities 4, most groups of each type 4x4, actions of each type 4x4."""
    real = session.switch.group_features
    if real is None:
        return bytes(_FEATURES_GROUP.size)
    quota = session.datapath.groups.quota
    most = (min(quota, number) if quota else number for number in real[2:6])
    offered = sum(1 << kind for kind in actions13.offered(session.datapath.grant, in_set=True))
    return _FEATURES_GROUP.pack(real[0], real[1], *most, *(bits & offered for bits in real[6:10]))


def _meter_features(session: NorthSession) -> bytes:
    """Most meters 4, band types 4, capabilities 4, most bands 1, most colours 1, pad 2."""
    real = session.switch.meter_features
    if real is None:
        return bytes(_FEATURES_METER.size)
    most, bands, *others = real
    quota = session.datapath.meters.quota
    return _FEATURES_METER.pack(min(quota, most) if quota else most, bands & _BANDS, *others)


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


if TYPE_CHECKING:
    Keep = Callable[[bytes], list[bytes]]
    Forward = Callable[[NorthSession, bytes, int, bytes, Keep, float], None]
    Answer = Callable[[NorthSession, bytes, int, list[bytes]], None]
