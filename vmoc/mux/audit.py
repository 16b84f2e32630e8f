"""The regular look at what a switch really holds (vetting D.7).

Flows can vanish without a word (a meter's deletion takes its flows along, a
switch may evict) and entries can appear that nobody here installed. Every
``timers.audit`` seconds the switch is dumped: own flows it lost are dropped
from the shadow and their quota given back, strays are deleted, missing guards
are put back.

Rules of this file:
- The dump is preceded by a barrier, so that what was written before it counts
  as installed; what was written after the request is not judged at all.
- A stray is deleted by its cookie where the version allows it, and never under
  an identity that a slice's flow has meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmoc.events import Kind
from vmoc.mux import proving
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.flows import SERIAL_BITS, Entry
from vmoc.openflow import header, stats, v10
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v13 import flow as f13

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

_PROXY = 0xFFFE


def schedule(switch: Switch, now: float) -> None:
    """The next audit, one interval from now; 0 turns audits off."""
    interval = switch.hub.timers.audit
    if not interval:
        return
    switch.audit_alarm = switch.hub.clock.at(now + interval, lambda when: _Audit(switch).begin(when))


class _Audit:
    """One dump and its consequences."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._expected: dict[tuple[int, int], tuple[VirtualDatapath, Entry]] = {}
        self._guards: dict[bytes, tuple[VirtualDatapath, int]] = {}
        self._strays = 0

    def begin(self, now: float) -> None:
        switch = self._switch
        for tag, datapath in switch.by_tag.items():
            if datapath.state not in (State.READY, State.COLLIDING):
                continue
            for entry in datapath.flows.by_identity.values():
                self._expected[tag, entry.serial] = datapath, entry
            for port in datapath.guards:
                self._guards[datapath.guard_identity(port)] = datapath, port
        switch.barrier(switch, None, b"", now)
        proving.dump(switch, self._part, now)

    def _part(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] == header.ERROR:
            schedule(switch, now)
            return
        for found in proving.entries(switch, message):
            self._judge(found, now)
        if not stats.head(message)[1] & 1:
            self._finish(now)

    def _judge(self, found: proving.FlowEntry, now: float) -> None:
        switch, tag = self._switch, found.cookie >> SERIAL_BITS
        identity = proving.identity(switch, found)
        if tag == _PROXY:
            self._guards.pop(identity, None)
            return
        datapath = switch.by_tag.get(tag)
        known = datapath.flows.find(found.cookie) if datapath is not None else None
        if known is not None:
            self._expected.pop((tag, known.serial), None)
            return
        owner = switch.datapaths.get(switch.native_vlan or proving.exact_vid(switch, found.match) or 0)
        if owner is not None and owner.state in (State.READY, State.COLLIDING):
            # An identity in use means the slice has replaced this entry since.
            stray = identity not in owner.flows.by_identity and identity != owner.standalone_identity
        else:
            stray = owner is None and switch.hub.policy.foreign_flows == "delete"
        if stray:
            self._strays += 1
            switch.send_own(_delete(switch, found), now)

    def _finish(self, now: float) -> None:
        switch = self._switch
        ghosts = 0
        for datapath, entry in self._expected.values():
            if entry.alive:
                datapath.flows.forget(entry)
                ghosts += 1
        lost = 0
        for datapath, port in self._guards.values():
            if datapath.state in (State.READY, State.COLLIDING) and port in datapath.guards:
                switch.send_own(datapath.guard(port), now, datapath)
                lost += 1
        if (ghosts or lost or self._strays) and switch.session is not None:
            text = f"audit: {ghosts} flow(s) had vanished, {self._strays} stray(s) deleted, {lost} guard(s) put back"
            switch.session.report(Kind.FOREIGN_FLOW, text, "audit")
        schedule(switch, now)


def _delete(switch: Switch, found: proving.FlowEntry) -> bytes:
    if switch.version == OF10:
        return f10.flow_mod(0, found.match, v10.DELETE_STRICT, priority=found.priority)
    return f13.flow_mod(
        0,
        found.match,
        v10.DELETE_STRICT,
        table=found.table,
        cookie=found.cookie,
        cookie_mask=(1 << 64) - 1,
        priority=found.priority,
    )
