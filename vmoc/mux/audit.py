"""The regular look at what a switch really holds (vetting D.7).

Flows can vanish without a word (a meter's deletion takes its flows along, a
switch may evict) and entries can appear that nobody here installed. Every
``timers.audit`` seconds the switch is dumped: own flows, groups and meters it
lost are dropped from the shadow and their quota given back, strays are
deleted, missing guards are put back.

Rules of this file:
- The dump is preceded by a barrier, so that what was written before it counts
  as installed; what was written after the request is not judged at all.
- A stray is deleted by its cookie where the version allows it, and never under
  an identity that a slice's flow, or a guard, has by the end of the dump.
- What is being emptied or proven empty is ``proving``'s and left alone.
- Whatever the switch answers, or does not, there is a next audit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import admission, holdings, proving, suppress
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, SERIAL_MASK, Entry
from vmoc.mux.groups import SLOT_SHIFT, GroupTable, MeterTable
from vmoc.openflow import header, stats
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

_PROXY: Final = PROXY_TAG >> SERIAL_BITS
_LIVE: Final = (State.READY, State.COLLIDING)


def schedule(switch: Switch, now: float, patience: float = 0.0) -> None:
    """The next audit, one interval (and ``patience``) from now, instead of one that was due; 0 turns audits off."""
    interval = switch.hub.timers.audit
    if not interval:
        return
    if switch.audit_alarm is not None:
        switch.audit_alarm.cancel()
    switch.audit_alarm = switch.hub.clock.at(now + interval + patience, lambda when: _Audit(switch).begin(when))


class _Audit:
    """One dump and its consequences."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._flows: dict[tuple[int, int], tuple[VirtualDatapath, Entry]] = {}
        self._guards: dict[bytes, tuple[VirtualDatapath, int]] = {}
        self._standalone: set[bytes] = set()
        self._groups: dict[int, VirtualDatapath] = {}
        self._meters: dict[int, VirtualDatapath] = {}
        self._taken: set[int] = set()
        self._suspects: list[proving.FlowEntry] = []
        self._findings: list[str] = []
        self._over = False

    def begin(self, now: float) -> None:
        switch = self._switch
        schedule(switch, now, 3 * switch.hub.timers.request)  # should this one never come to its end
        for tag, datapath in switch.by_tag.items():
            if datapath.state not in _LIVE:
                continue
            for entry in datapath.flows.by_identity.values():
                self._flows[tag, entry.serial] = datapath, entry
            for port in datapath.guards:
                self._guards[datapath.guard_identity(port)] = datapath, port
            for port in datapath.let_in:
                self._guards[admission.identity(datapath, port)] = datapath, port
            if datapath.standalone_identity is not None:
                self._standalone.add(datapath.standalone_identity)
            self._groups.update(dict.fromkeys(datapath.groups.ids.values(), datapath))
            self._meters.update(dict.fromkeys(datapath.meters.ids.values(), datapath))
        self._taken = set(switch.meter_pool.taken)
        switch.barrier(switch, None, b"", now)
        proving.dump(switch, self._part, now)

    # -- flows -------------------------------------------------------------------------------------

    def _part(self, message: bytes, now: float) -> None:
        switch = self._switch
        if self._over:
            return
        if message[1] == header.ERROR:
            self._end(now)
            return
        try:
            entries = proving.entries(switch, message)
        except Refused:
            self._over = True  # half a dump proves nothing
            raise
        for found in entries:
            self._judge(found)
        if not stats.head(message)[1] & 1:
            self._settle_flows(now)

    def _judge(self, found: proving.FlowEntry) -> None:
        switch, tag = self._switch, found.cookie >> SERIAL_BITS
        if tag == _PROXY:
            if not self._is_proxys(found):
                self._suspects.append(found)
            return
        datapath = switch.by_tag.get(tag)
        if datapath is not None and datapath.state is State.GONE:
            return
        key = tag, found.cookie & SERIAL_MASK
        # A switch may write a match its own way; another VLAN is another matter.
        if datapath is None or self._vlan(found) != datapath.vlan:
            self._suspects.append(found)
        elif self._flows.pop(key, None) is None and datapath.flows.find(found.cookie) is None:
            self._suspects.append(found)  # neither there now nor when the audit began

    def _is_proxys(self, found: proving.FlowEntry) -> bool:
        """Whether an entry with our own tag is one we want, or wanted when the audit began."""
        switch = self._switch
        identity = proving.identity(switch, found)
        if isinstance(found, f13.Entry) and admission.is_admission(found.cookie):
            return self._is_admission(found, identity)
        if self._guards.pop(identity, None) is not None or identity in self._standalone:
            return True
        if suppress.is_drop(found):
            return True
        # The operator's applications have the untagged frames.
        return not switch.native and proving.exact_vid(switch, found.match) == m10.VLAN_NONE

    def _is_admission(self, found: f13.Entry, identity: bytes) -> bool:
        owner = admission.cookie_owner(self._switch, found.cookie)
        if owner is not None and owner.state is State.GONE:
            return True  # on its way out
        expected = self._guards.get(identity)
        if expected is not None and admission.is_as_wanted(expected[0], found):
            del self._guards[identity]
            return True
        return admission.is_known(self._switch, found, identity)

    def _vlan(self, found: proving.FlowEntry) -> int:
        return self._switch.native_vlan or proving.exact_vid(self._switch, found.match) or 0

    def _settle_flows(self, now: float) -> None:
        switch = self._switch
        vanished = 0
        for datapath, entry in self._flows.values():
            if datapath.state in _LIVE and entry.alive:
                datapath.flows.forget(entry)
                vanished += 1
        self._note(vanished, "flow(s) had vanished")
        strays = [found for found in self._suspects if self._is_stray(found)]
        for found in strays:
            switch.send_own(proving.delete_entry(switch, found), now)
        self._note(len(strays), "stray(s) deleted")
        guards = admissions = 0
        for datapath, port in self._guards.values():
            if datapath.state in _LIVE and port in datapath.guards:
                switch.send_own(datapath.guard(port), now, datapath)
                guards += 1
            elif datapath.state in _LIVE and port in datapath.let_in:
                switch.send_own(admission.entry(datapath, port), now, datapath)
                admissions += 1
        self._note(guards, "guard(s) put back")
        self._note(admissions, "admission(s) put back")
        if self._groups or self._meters:
            holdings.look(switch, self._judge_objects, now)
        else:
            self._end(now)

    def _is_stray(self, found: proving.FlowEntry) -> bool:
        switch, tag = self._switch, found.cookie >> SERIAL_BITS
        owners = switch.datapaths.on_vlan(self._vlan(found))
        if not owners:
            return switch.hub.policy.foreign_flows == "delete" or tag == _PROXY or tag in switch.by_tag
        # An identity in use means that the entry has been replaced since, or is about to be.
        identity = proving.identity(switch, found)
        return all(
            owner.state in _LIVE
            and identity not in owner.flows.by_identity
            and identity != owner.standalone_identity
            and not owner.guards_with(identity)
            for owner in owners
        )

    # -- groups and meters -------------------------------------------------------------------------

    def _judge_objects(self, groups: set[int] | None, meters: set[int] | None, now: float) -> None:
        switch = self._switch
        messages: list[bytes] = []
        vanished = 0
        foreign = switch.hub.policy.foreign_flows == "delete"
        if groups is not None:
            vanished += _drop_lost(self._groups, groups, lambda datapath: datapath.groups)
            known = {physical for datapath in switch.datapaths.values() for physical in datapath.groups.ids.values()}
            for physical in sorted(groups - known - self._groups.keys()):
                holder = switch.slots.get(physical >> SLOT_SHIFT)
                if foreign if holder is None else holder.state in _LIVE:
                    messages.append(holdings.delete_group(physical))
        if meters is not None:
            vanished += _drop_lost(self._meters, meters, lambda datapath: datapath.meters)
            loose = meters - switch.meter_pool.taken - self._taken if foreign else ()
            messages += [holdings.delete_meter(physical) for physical in sorted(loose) if physical <= g13.METER_MAX]
        for message in messages:
            switch.send_own(message, now)
        self._note(vanished, "group(s) or meter(s) had vanished")
        self._note(len(messages), "stray group(s) or meter(s) deleted")
        self._end(now)

    # -- the end -----------------------------------------------------------------------------------

    def _note(self, count: int, what: str) -> None:
        if count:
            self._findings.append(f"{count} {what}")

    def _end(self, now: float) -> None:
        self._over = True
        if self._findings and self._switch.session is not None:
            self._switch.session.report(Kind.FOREIGN_FLOW, f"audit: {', '.join(self._findings)}", "audit")
        schedule(self._switch, now)


def _drop_lost(
    expected: dict[int, VirtualDatapath],
    there: set[int],
    table_of: Callable[[VirtualDatapath], GroupTable | MeterTable],
) -> int:
    """Drop what was expected, is still meant to be there, and is not; how many that were."""
    count = 0
    for datapath in {datapath for datapath in expected.values() if datapath.state in _LIVE}:
        table = table_of(datapath)
        ids = set(table.ids.values())
        lost = {physical for physical in ids - there if expected.get(physical) is datapath}
        table.keep_only(ids - lost)
        count += len(lost)
    return count
