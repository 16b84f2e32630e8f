"""What a switch holds, and the proof that it holds nothing else (vetting D.3, D.4).

A flow dump is the only truth. A switch that has just connected is dumped and
whatever is not known to be a slice's is deleted; a VLAN that changes hands is
deleted whole. Then comes another dump, until nothing is left or the tries are
used up: a VLAN that cannot be proven clean is not given to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.mux import admission, holdings
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, Entry
from vmoc.openflow import header, stats, v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import SLOT_SHIFT

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

TRIES: Final = 3
_PROXY: Final = PROXY_TAG >> SERIAL_BITS
FlowEntry = f10.Entry | f13.Entry


def exact_vid(switch: Switch, match: bytes) -> int | None:
    """The one VID a physical match is about (0xffff in 1.0: untagged); None when it is about others too."""
    if switch.version == OF10:
        number = int.from_bytes(match, "big")
        return None if m10.wildcards_of(number) & m10.W_DL_VLAN else m10.vlan_of(number)
    try:
        fields, _ = oxm.parse(match, 0, len(match))
    except Refused:
        return None
    for number, value, mask in fields:
        if number == oxm.VLAN_VID and (mask is None or mask & 0x1FFF == 0x1FFF):
            return value & 0xFFF if value & oxm.VID_PRESENT else m10.VLAN_NONE
    return None


def delete_entry(switch: Switch, entry: FlowEntry) -> bytes:
    """DELETE_STRICT of an entry as the switch reported it; in 1.3 not of one that has taken its place since."""
    if switch.version == OF10:
        return f10.flow_mod(0, entry.match, v10.DELETE_STRICT, priority=entry.priority)
    return f13.flow_mod(
        0,
        entry.match,
        v10.DELETE_STRICT,
        table=entry.table,
        cookie=entry.cookie,
        cookie_mask=(1 << 64) - 1,
        priority=entry.priority,
    )


def identity(switch: Switch, entry: FlowEntry) -> bytes:
    """Table, priority and canonical match of an entry as the switch reported it."""
    match = entry.match
    if switch.version == OF10:
        match = m10.canonical(int.from_bytes(match, "big")).to_bytes(m10.LENGTH, "big")
    else:
        with suppress(Refused):  # fields no slice can have: compared as it is, equal to nothing of ours
            match = oxm.pack(oxm.parse(match, 0, len(match))[0])
    return bytes((entry.table,)) + entry.priority.to_bytes(2, "big") + match


def dump(switch: Switch, part: Callable[[bytes, float], None], now: float) -> None:
    """Ask for every flow; ``part`` gets each part of the answer."""
    dump_match(switch, m10.pack() if switch.version == OF10 else oxm.pack(()), part, now)


def dump_match(switch: Switch, match: bytes, part: Callable[[bytes, float], None], now: float) -> None:
    """The same of what falls under a physical match."""
    if switch.version == OF10:
        body = stats.flow_request_body10(match, v13.ALL_TABLES, v10.NONE)
    else:
        body = stats.flow_request_body13(match, v13.ALL_TABLES, v13.ANY, v13.ANY_GROUP, 0, 0)
    switch.ask(stats.request(switch.version, 0, stats.FLOW, body), part, now)


def entries(switch: Switch, message: bytes) -> list[FlowEntry]:
    """The entries of one part of a flow dump."""
    if switch.version == OF10:
        return list(f10.parse_entries(message, stats.BODY[1]))
    return list(f13.parse_entries(message, stats.BODY[4]))


# -- a switch that has just connected ----------------------------------------------------------------

Unclean = frozenset[int]
"""VLANs that still hold what could not be deleted."""


def reconcile(switch: Switch, done: Callable[[Unclean, float], None], now: float) -> None:
    """Delete whatever is not known to be a slice's, and look again; then ``done`` with the VLANs still unclean.

    Entries the shadow knows but the switch lost are dropped from the shadow
    too, and not re-installed (the controller sees a reconnect).
    """
    _Reconcile(switch, done).begin(now)


class _Reconcile:
    def __init__(self, switch: Switch, done: Callable[[Unclean, float], None]) -> None:
        self._switch = switch
        self._done = done
        self._tries = 0

    def begin(self, now: float) -> None:
        self._tries += 1
        self._seen: set[tuple[int, int]] = set()
        self._foreign = 0
        self._unclean: set[int] = set()
        self._deleted = 0
        dump(self._switch, self._part, now)

    def _part(self, message: bytes, now: float) -> None:
        switch = self._switch
        if message[1] == header.ERROR:
            # It will not tell what it holds: then nothing it holds can be trusted.
            if switch.version == OF10:
                switch.send_own(f10.flow_mod(0, m10.pack(), v10.DELETE), now)
            else:
                switch.send_own(f13.flow_mod(0, oxm.pack(()), v10.DELETE, table=v13.ALL_TABLES), now)
            self._deleted += 1
            self._finish(now)
            return
        for entry in entries(switch, message):
            if not self._known(entry):
                self._delete(entry, now)
        if stats.head(message)[1] & 1:
            return
        if self._tries == 1:
            self._report_foreign()
        if not self._deleted or self._tries == TRIES:
            self._finish(now)
        else:
            switch.barrier(switch, None, b"", now)
            self.begin(now)

    def _known(self, entry: FlowEntry) -> bool:
        switch, tag = self._switch, entry.cookie >> SERIAL_BITS
        if tag == _PROXY:
            found = identity(switch, entry)
            if isinstance(entry, f13.Entry) and admission.is_admission(entry.cookie):
                return admission.is_known(switch, entry, found)
            datapath = switch.datapaths.get(switch.native_vlan or exact_vid(switch, entry.match) or 0)
            if datapath is None:
                return False
            return datapath.guards_with(found)
        datapath = switch.by_tag.get(tag)
        known = datapath.flows.find(entry.cookie) if datapath else None
        if datapath is None or known is None or known.identity != identity(switch, entry):
            return False
        if not _is_in_place(datapath, known):
            return False
        if datapath.restored:
            datapath.flows.revive(known)
            datapath.check(known, entry.raw)
        if not known.alive:
            return False
        self._seen.add((tag, known.serial))
        return True

    def _delete(self, entry: FlowEntry, now: float) -> None:
        switch, tag = self._switch, entry.cookie >> SERIAL_BITS
        vid = exact_vid(switch, entry.match)
        ours = switch.native or switch.datapaths.on_vlan(vid) or tag in switch.by_tag or tag == _PROXY
        if not ours and vid not in switch.left:
            self._foreign += 1
            if switch.hub.policy.foreign_flows == "keep":
                return
        self._deleted += 1
        if switch.native or vid is None:
            self._unclean.update(datapath.vlan for datapath in switch.datapaths.values())
        else:
            self._unclean.add(vid)
        switch.send_own(delete_entry(switch, entry), now)

    def _report_foreign(self) -> None:
        switch = self._switch
        if self._foreign and switch.session is not None:
            kept = switch.hub.policy.foreign_flows == "keep"
            text = f"{self._foreign} flow(s) of nobody's on the switch were {'kept' if kept else 'deleted'}"
            switch.session.report(Kind.FOREIGN_FLOW, text)

    def _finish(self, now: float) -> None:
        if not self._deleted:  # no slot is left behind in what the switch holds
            slots = {datapath.slot for datapath in self._switch.by_tag.values()}
            self._switch.metadata_slots.taken = slots - {0}
        self._forget_left()
        for tag, datapath in self._switch.by_tag.items():
            for entry in list(datapath.flows.by_serial.values()):
                if (tag, entry.serial) not in self._seen:
                    datapath.flows.forget(entry)
        unclean = frozenset(self._unclean)
        if self._switch.version == OF10:
            self._done(unclean, now)
        else:
            holdings.reconcile(self._switch, lambda when: self._done(unclean, when), now)

    def _forget_left(self) -> None:
        """VLANs of slices that are no more are clean now, unless something in them cannot be deleted."""
        switch, journal = self._switch, self._switch.hub.journal
        for one in journal.left(switch.key):
            if one.vlan not in self._unclean and one.tag not in switch.by_tag:
                journal.gone(one.handle)
        switch.left.clear()
        switch.reserved_tags.clear()


def _is_in_place(datapath: VirtualDatapath, known: Entry) -> bool:
    """Whether an entry is where the datapath's entries are now: behind the admission table, in its own slot."""
    if known.table < datapath.grant.first_table:
        return False
    if not datapath.slot:
        return True
    fields, _ = oxm.parse(known.match, 0, len(known.match))
    return any(number == oxm.METADATA and value >> SLOT_SHIFT == datapath.slot for number, value, _ in fields)


# -- one VLAN ----------------------------------------------------------------------------------------


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
        if switch.pipeline.first_table:
            admission.switch_off(datapath, now)
        switch.send_own(datapath.scope_delete(own_only=False), now)
        holdings.delete_all(switch, datapath, now)
        switch.barrier(switch, None, b"", now)
        dump_match(switch, datapath.vlan_match(), self._part, now)

    def _part(self, message: bytes, now: float) -> None:
        switch, datapath = self._switch, self._datapath
        if message[1] == header.ERROR:
            self._done(False, now)
            return
        for entry in entries(switch, message):
            # A sloppy switch may answer with more than was asked for.
            if switch.native or exact_vid(switch, entry.match) == datapath.vlan:
                if datapath.slot:
                    if self._is_anothers(entry):
                        continue
                    switch.send_own(delete_entry(switch, entry), now)
                self._left += 1
        if stats.head(message)[1] & 1:
            return
        if not self._left:
            holdings.prove_gone(switch, datapath, self._proven, now)
        elif self._has_successor():
            # The next owner proves the VLAN for itself; another delete would hit what is its own.
            holdings.prove_gone(switch, datapath, lambda clean, when: self._done(True, when), now)
        else:
            self._proven(False, now)

    def _has_successor(self) -> bool:
        # Where a VLAN may be shared, nobody else's entries are touched, or judged.
        return self._datapath.state is State.GONE and self._datapath.place in self._switch.datapaths

    def _is_anothers(self, entry: FlowEntry) -> bool:
        """Whether an entry in a VLAN that may be shared belongs to somebody else who has it."""
        switch, tag = self._switch, entry.cookie >> SERIAL_BITS
        if tag == _PROXY:
            other = admission.cookie_owner(switch, entry.cookie)
        else:
            other = switch.by_tag.get(tag)
        return other is not None and other is not self._datapath and other.vlan == self._datapath.vlan

    def _proven(self, clean: bool, now: float) -> None:
        if clean or self._tries >= TRIES:
            self._done(clean, now)
        elif self._has_successor():
            self._done(False, now)
        else:
            self.begin(now)
