"""Groups and meters that a switch holds, and the proof that they are gone (vetting D.3, D.4).

As with flows, what the switch tells is the only truth: GROUP_DESC and
METER_CONFIG show what is there, what nobody knows is deleted, and an id is
given to somebody else only when its group or meter is seen to be gone.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc.mux import objects
from vmoc.mux.groups import SLOT_SHIFT
from vmoc.openflow import header, stats, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v13 import group as g13
from vmoc.policy.groups import DELETE

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.switch import Switch

_LEAST: Final = 8
"""Bytes of a group's description, and of a meter's configuration."""
MOST: Final = 1 << 18
"""Groups, or meters, of a switch; one that tells of more is not served."""
_GROUPS_REQUEST: Final = stats.request(4, 0, v13.MP_GROUP_DESC)
_METERS_REQUEST: Final = stats.request(4, 0, v13.MP_METER_CONFIG, Struct("!I4x").pack(g13.METER_ALL))


def delete_group(physical: int) -> bytes:
    """Remove one group."""
    return g13.group_mod(0, DELETE, 0, physical)


def delete_meter(physical: int) -> bytes:
    """Remove one meter."""
    return g13.meter_mod(0, DELETE, 0, physical)


def described(reply: bytes) -> list[int]:
    """The ids in a GROUP_DESC or METER_CONFIG reply: both have them behind 4 bytes."""
    return [int.from_bytes(record[4:8], "big") for record in g13.records(reply, 16, _LEAST)]


def look(
    switch: Switch,
    done: Callable[[set[int] | None, set[int] | None, float], None],
    now: float,
    keep: Callable[[int, bytes], None] | None = None,
) -> None:
    """Ask for all groups, then for all meters; ``done`` gets their ids, None where the switch gave an error.

    A switch that has neither says so. ``keep`` gets each part: its multipart type and the message.
    """
    found: dict[int, set[int] | None] = {v13.MP_GROUP_DESC: set(), v13.MP_METER_CONFIG: set()}

    def part(kind: int, message: bytes, when: float) -> None:
        ids = found[kind]
        if message[1] == header.ERROR:
            found[kind] = None
        else:
            assert ids is not None
            ids.update(described(message))
            if len(ids) > MOST and switch.session is not None:
                switch.session.fail(f"has more than {MOST} groups or meters", when)
                return
            if keep is not None:
                keep(kind, message)
            if stats.head(message)[1] & 1:
                return
        if kind == v13.MP_GROUP_DESC:
            switch.ask(_METERS_REQUEST, partial(part, v13.MP_METER_CONFIG), when)
        else:
            done(found[v13.MP_GROUP_DESC], found[v13.MP_METER_CONFIG], when)

    switch.ask(_GROUPS_REQUEST, partial(part, v13.MP_GROUP_DESC), now)


def delete_all(switch: Switch, datapath: VirtualDatapath, now: float) -> None:
    """Delete every group and meter of one virtual datapath, groups that lead to others first."""
    for message in datapath.groups.all_deletes():
        switch.send_own(message, now)
    for physical in datapath.meters.ids.values():
        switch.send_own(delete_meter(physical), now)


def prove_gone(switch: Switch, datapath: VirtualDatapath, done: Callable[[bool, float], None], now: float) -> None:
    """See that the switch holds no group or meter of the datapath's any more, and give the slot and ids back.

    What is still there is deleted once more, and ``done`` called with False.
    """
    table, meters = datapath.groups, datapath.meters
    if switch.version == OF10 or not (table.slot or meters.ids):
        done(True, now)
        return

    def judge(groups: set[int] | None, configured: set[int] | None, when: float) -> None:
        # A switch that will not tell has none, if none of ours was ever accepted.
        left = set(table.ids.values())
        if groups is not None:
            left = {physical for physical in groups if physical >> SLOT_SHIFT == table.slot}
        still = set(meters.ids.values())
        if configured is not None:
            still &= configured
        for physical in sorted(left):
            switch.send_own(delete_group(physical), when)
        for physical in sorted(still):
            switch.send_own(delete_meter(physical), when)
        if not left:
            table.clear()
            switch.slots.pop(table.slot, None)
            if table.slot:
                table.take_slot(0)
        meters.keep_only(still)
        done(not left and not still, when)

    look(switch, judge, now)


def reconcile(switch: Switch, done: Callable[[float], None], now: float) -> None:
    """After a connect: delete groups and meters nobody knows, forget those the switch lost; then ``done``."""
    _Reconcile(switch, done).begin(now)


class _Reconcile:
    """Look, delete, and look again; what cannot be deleted keeps its ids from being given to anybody."""

    TRIES: Final = 3

    def __init__(self, switch: Switch, done: Callable[[float], None]) -> None:
        self._switch = switch
        self._done = done
        self._tries = 0

    def begin(self, now: float) -> None:
        self._tries += 1
        self._shown: dict[int, dict[int, bytes]] = {v13.MP_GROUP_DESC: {}, v13.MP_METER_CONFIG: {}}
        restored = [datapath for datapath in self._switch.datapaths.values() if datapath.restored]
        self._wanted = {
            v13.MP_GROUP_DESC: {physical for datapath in restored for physical in datapath.groups.ids.values()},
            v13.MP_METER_CONFIG: {physical for datapath in restored for physical in datapath.meters.contents},
        }
        look(self._switch, self._judge, now, self._keep)

    def _keep(self, kind: int, message: bytes) -> None:
        for record in g13.records(message, 16, _LEAST):
            physical = int.from_bytes(record[4:8], "big")
            if physical in self._wanted[kind]:
                self._shown[kind][physical] = record

    def _judge(self, groups: set[int] | None, meters: set[int] | None, now: float) -> None:
        switch = self._switch
        datapaths = list(switch.datapaths.values())
        groups, meters = groups or set(), meters or set()
        for datapath in datapaths:
            datapath.groups.keep_only(groups)
            datapath.meters.keep_only(meters)
        strays = groups - {physical for datapath in datapaths for physical in datapath.groups.ids.values()}
        loose = meters - {physical for datapath in datapaths for physical in datapath.meters.ids.values()}
        messages = []
        if switch.hub.policy.foreign_flows != "keep":
            messages = [delete_group(physical) for physical in sorted(strays)]
            messages += [delete_meter(physical) for physical in sorted(loose) if physical <= g13.METER_MAX]
        else:
            # Those in a slot of ours were a slice's, of before; nobody else's ids look like that.
            ours = switch.slots.keys() | switch.left_slots
            messages = [delete_group(physical) for physical in sorted(strays) if physical >> SLOT_SHIFT in ours]
            messages += [delete_meter(physical) for physical in sorted(loose & switch.left_meters)]
        if messages and self._tries < self.TRIES:
            for message in messages:
                switch.send_own(message, now)
            switch.barrier(switch, None, b"", now)
            self.begin(now)
            return
        switch.left_slots.clear()
        switch.left_meters.clear()
        switch.slots = {datapath.groups.slot: datapath for datapath in datapaths if datapath.groups.slot}
        switch.taken_slots = {physical >> SLOT_SHIFT for physical in strays}
        switch.meter_pool.taken = set(meters)
        for datapath in datapaths:
            if datapath.restored:
                shown = self._shown
                objects.correct(switch, datapath, shown[v13.MP_GROUP_DESC], shown[v13.MP_METER_CONFIG], now)
        self._done(now)
