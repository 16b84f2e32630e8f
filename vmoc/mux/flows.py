"""The shadow of one virtual datapath's flows: what the controller meant, and what the switch holds.

Rules of this file:
- The virtual form of an entry is the controller's own message; nothing is
  reconstructed from what a switch reports.
- The identity of an entry is what a switch takes for it: table 1, priority 2,
  physical match. Two virtual flows of one identity are one entry.
- The physical cookie is the datapath's tag and the entry's serial, so that an
  entry is recognised whatever the switch does to its match.
- An entry a delete has selected, or an ADD has replaced, counts no more, but
  is still known by its serial until the switch has said FLOW_REMOVED, or for a
  while after it answered a later barrier: it may have expired before, may stay
  after all, and Open vSwitch says FLOW_REMOVED some time after the barrier.
- What an ADD or MODIFY made of an entry counts at once, though the switch may
  refuse it yet. A MODIFY, or a DELETE that is narrower than a match, whose
  choice would rest on that waits for a barrier: ``Unsettled``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.mux.journal import Notes, flow_head
from vmoc.mux.virtualform import body13, outputs_to, virtual_cookie, virtual_priority
from vmoc.openflow import v10, v13
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange
from vmoc.policy.match import everything13
from vmoc.policy.recipes import Recipe, identity_of, middle13, tail10
from vmoc.policy.verdict import Refusal

SERIAL_BITS: Final = 48
SERIAL_MASK: Final = (1 << SERIAL_BITS) - 1
TAG_MASK: Final = 0xFFFF << SERIAL_BITS
PROXY_TAG: Final = 0xFFFE << SERIAL_BITS
"""The tag of VMOC's own entries; what they are, ``Own`` says in the low bits of the cookie."""
LINGER: Final = 10.0
"""Seconds after the barrier for which a deleted entry's FLOW_REMOVED is still understood."""
_JUST_BELOW_GUARDS: Final = 0xFFFE
"""The priority to which entries of the guards' priority are moved: two virtual priorities can meet there."""


class Own(IntEnum):
    """VMOC's own entries."""

    GUARD = 0
    OPERATOR = 1
    STANDALONE = 2
    SUPPRESS = 3
    ADMISSION = 4


class Entry:
    """One flow. ``data`` is the controller's FLOW_MOD (after a modify: with the new actions in place)."""

    __slots__ = ("alive", "data", "floods", "identity", "previous", "rewritten", "serial")

    def __init__(self, serial: int, identity: bytes, data: bytes, floods: bool, previous: Entry | None = None) -> None:
        self.serial = serial
        self.identity = identity
        self.data = data
        self.floods = floods
        self.previous = previous
        """What it replaces, until the switch is known to have accepted it."""
        self.alive = True
        self.rewritten = 0
        """When it was last modified, counted as serials are; 0: never. A 1.0 MODIFY_STRICT adds what is not there."""

    @property
    def table(self) -> int:
        """Table id."""
        return self.identity[0]

    @property
    def priority(self) -> int:
        """Physical priority."""
        return self.identity[1] << 8 | self.identity[2]

    @property
    def match(self) -> bytes:
        """Physical match."""
        return self.identity[3:]


class Change(NamedTuple):
    """One entry a modify gave other actions: what it was before, and what it is now."""

    entry: Entry
    data: bytes
    floods: bool
    now: bytes


class Unsettled(Exception):
    """A message is about something the switch has not confirmed: it is to be judged after a barrier."""


class Plan(NamedTuple):
    """What a flow-mod comes to: physical messages (xid 0), and how to take it back if the switch refuses.

    Either one message is about all of ``dying`` and ``changed``, or there is one for each of them, in order.
    """

    messages: list[bytes]
    added: Entry | None = None
    dying: tuple[Entry, ...] = ()
    changed: tuple[Change, ...] = ()
    reguard: bool = False


class FlowTable:
    """All entries of one virtual datapath."""

    __slots__ = (
        "_flow_head",
        "_lingering",
        "_note",
        "_notes",
        "_tag",
        "by_identity",
        "by_serial",
        "flooding",
        "quota",
        "serial",
        "settled",
        "tag",
        "version",
    )

    def __init__(self, version: int, tag: int, quota: int, notes: Notes | None = None) -> None:
        self.version = version
        self.tag = tag << SERIAL_BITS
        self._tag = tag.to_bytes(2, "big")
        self.quota = quota
        self.by_identity: dict[bytes, Entry] = {}
        self.by_serial: dict[int, Entry] = {}
        self.flooding: dict[int, Entry] = {}
        self._lingering: deque[tuple[float, Entry]] = deque()
        self.serial = 0
        """The last one given to an entry or to a change of one."""
        self.settled = 0
        """The last one of which the switch has confirmed what it stands for."""
        self._notes = notes
        self._note = None if notes is None else notes.extend
        self._flow_head = b"" if notes is None else flow_head(notes.handle)

    def __len__(self) -> int:
        return len(self.by_identity)

    def cookie(self, entry: Entry) -> int:
        """The physical cookie of ``entry``."""
        return self.tag | entry.serial

    def find(self, cookie: int) -> Entry | None:
        """The entry of a physical cookie, if it is one of ours."""
        if cookie & TAG_MASK != self.tag:
            return None
        return self.by_serial.get(cookie & SERIAL_MASK)

    def add(self, identity: bytes, data: bytes, floods: bool) -> Entry | None:
        """Enter a flow, in the place of one of the same identity; None when the quota is used up."""
        known = self.by_identity
        replaced = known.get(identity)
        if replaced is None:
            if self.quota and len(known) >= self.quota:
                return None
        else:
            replaced.alive = False
            if replaced.floods:
                self.flooding.pop(replaced.serial, None)
        serial = self.serial = self.serial + 1 & SERIAL_MASK or 1
        entry = Entry(serial, identity, data, floods, replaced)
        known[identity] = entry
        self.by_serial[serial] = entry
        if floods:
            self.flooding[serial] = entry
        if self._note is not None:
            lengths = (floods << 32 | len(identity) << 16 | len(data)).to_bytes(5, "big")
            self._note((self._flow_head, serial.to_bytes(8, "big"), lengths, identity, data))
        return entry

    def kill(self, entry: Entry) -> None:
        """The entry no longer counts; it stays known by its serial until ``forget``."""
        if entry.alive:
            entry.alive = False
            self.flooding.pop(entry.serial, None)
            if self.by_identity.get(entry.identity) is entry:
                del self.by_identity[entry.identity]

    def forget(self, *entries: Entry) -> None:
        """The entries are gone from the switch."""
        self._forget(list(entries))

    def _forget(self, entries: list[Entry]) -> None:
        gone = []
        for entry in entries:
            self.kill(entry)
            if self.by_serial.pop(entry.serial, None) is not None:
                gone.append(entry.serial)
        if gone and self._notes is not None:
            self._notes.forget(*gone)

    def accepted(self, added: Iterable[Entry]) -> None:
        """The switch has processed some ADDs: what they replaced is gone."""
        replaced = []
        for entry in added:
            previous, entry.previous = entry.previous, None
            while previous is not None:
                replaced.append(previous)
                previous = previous.previous
        self._forget(replaced)  # in the journal, too: a start would write all that was ever replaced

    def take_back(self, added: Entry) -> None:
        """The switch refused an ADD: what it would have replaced is still there."""
        self.forget(added)
        previous = added.previous
        while previous is not None and previous.serial not in self.by_serial:
            previous = previous.previous  # refused as well, or expired
        if previous is not None:
            self.revive(previous)

    def undo(self, plan: Plan, part: int) -> None:
        """The switch refused one message of a plan: what that was about is as before."""
        if plan.added is not None:
            self.take_back(plan.added)
        every = len(plan.messages) == 1
        for entry in plan.dying if every else plan.dying[part : part + 1]:
            if entry.serial in self.by_serial:
                self.revive(entry)
        for entry, data, floods, now in plan.changed if every else plan.changed[part : part + 1]:
            if entry.data is now:
                self._set(entry, data, floods)

    def forget_dead(self, entries: Iterable[Entry], now: float) -> None:
        """The switch has processed the deletion of ``entries``; its FLOW_REMOVED may still be on the way."""
        lingering, over = self._lingering, []
        while lingering and lingering[0][0] <= now:
            over.append(lingering.popleft()[1])
        self.forget(*(entry for entry in over if not entry.alive))
        lingering.extend((now + LINGER, entry) for entry in entries if not entry.alive)

    def revive(self, entry: Entry) -> None:
        """The entry is on the switch after all."""
        if entry.identity not in self.by_identity:
            entry.alive = True
            self.by_identity[entry.identity] = entry
            self._set(entry, entry.data, entry.floods)

    def _set(self, entry: Entry, data: bytes, floods: bool) -> None:
        if self._notes is not None and data is not entry.data:
            self._notes.actions(entry.serial, floods, data)
        entry.data, entry.floods = data, floods
        if floods and entry.alive:
            self.flooding[entry.serial] = entry
        else:
            self.flooding.pop(entry.serial, None)

    def clear(self) -> None:
        """The switch's table is known to hold nothing of ours."""
        if self._notes is not None and self.by_serial:
            self._notes.empty()
        self.by_identity.clear()
        self.by_serial.clear()
        self.flooding.clear()
        self._lingering.clear()

    # -- the journal -------------------------------------------------------------------------------

    def restore(self, serial: int, flows: Mapping[int, tuple[bytes, bytes, bool]]) -> None:
        """Know the entries of before a restart again: none of them counts until the switch shows it."""
        self.serial = self.settled = serial
        for number, (identity, data, floods) in flows.items():
            entry = self.by_serial[number] = Entry(number, identity, data, floods)
            entry.alive = False

    # -- fast path ---------------------------------------------------------------------------------

    def quick_add(self, recipe: Recipe, data: bytes, xid: int) -> tuple[bytes, Entry] | None:
        """An ADD of a known shape: (message, entry); None when the full plan must decide."""
        identity = recipe.identity(data)
        if recipe.priority == _JUST_BELOW_GUARDS and self._moved(identity, virtual_priority(self.version, data)):
            return None
        entry = self.add(identity, data, recipe.floods)
        if entry is None:
            return None
        return recipe.message(data, identity, xid, self._tag + entry.serial.to_bytes(6, "big")), entry

    # -- every other flow-mod ----------------------------------------------------------------------

    def plan(self, change: FlowChange, *, unsure: bool = False) -> Plan | Refusal:
        """What ``change`` comes to on the switch (vetting A.4), with the shadow already updated.

        ``Unsettled`` if ``unsure`` and it would rest on what the switch may refuse yet; the shadow is as it was then.
        """
        if change.command == v10.ADD:
            return self._plan_add(change)
        if change.deletes:
            return self._plan_delete(change, unsure)
        return self._plan_modify(change, unsure)

    def _plan_add(self, change: FlowChange) -> Plan | Refusal:
        identity = identity_of(change)
        if change.priority == _JUST_BELOW_GUARDS and self._moved(identity, change.virtual_priority):
            return Refusal("quota", errors.PRIORITY_TAKEN, errors.PRIORITY_TAKEN.summary)
        entry = self.add(identity, _as_add(self.version, change.data), change.floods)
        if entry is None:
            return Refusal("quota", errors.FLOW_QUOTA, f"{self.quota} flows are all this slice may have here")
        return Plan([self._write(change, v10.ADD, self.cookie(entry))], entry)

    def _moved(self, identity: bytes, priority: int) -> bool:
        """Whether the entry of that identity came to its priority from another one."""
        known = self.by_identity.get(identity)
        return known is not None and virtual_priority(self.version, known.data) != priority

    def _plan_modify(self, change: FlowChange, unsure: bool) -> Plan | Refusal:
        candidates = self._candidates(change, strict=change.command == v10.MODIFY_STRICT)
        if unsure:
            self._be_sure(candidates)
        selected = list(self._select(candidates, change))
        if self.version == 1:
            if not selected:
                return self._plan_add(change)  # 1.0 only: modify adds when there is nothing to modify
        elif not selected and change.cookie_mask:
            return Plan([])
        changed = tuple([self._take_actions(entry, change) for entry in selected])
        if self.version == 4 and not change.cookie_mask:
            return Plan([self._write(change, change.command, self.tag, TAG_MASK)], changed=changed)
        return Plan([self._modify_strict(entry, change) for entry in selected], changed=changed)

    def _plan_delete(self, change: FlowChange, unsure: bool) -> Plan:
        strict = change.command == v10.DELETE_STRICT
        everywhere = strict and change.table == v13.ALL_TABLES  # the priority may differ from table to table
        narrow = change.cookie_mask or change.out_port is not None or change.out_group is not None
        candidates = self._candidates(change, strict=strict)
        if unsure and narrow:
            self._be_sure(candidates)
        selected = tuple(self._select(candidates, change))
        for entry in selected:
            self.kill(entry)
        if narrow or everywhere:
            return Plan([self.delete_strict(entry) for entry in selected], dying=selected)
        message = self._write(change, change.command, self.tag, TAG_MASK)
        return Plan([message], dying=selected, reguard=self.version == 1 and not strict and _all_of_it(change))

    def _be_sure(self, entries: Iterable[Entry]) -> None:
        settled = self.settled
        if any(entry.serial > settled or entry.rewritten > settled for entry in entries):
            raise Unsettled

    def _candidates(self, change: FlowChange, *, strict: bool) -> list[Entry]:
        """The entries of its match."""
        if strict and change.table != v13.ALL_TABLES:
            entry = self.by_identity.get(identity_of(change))
            return [] if entry is None else [entry]
        if strict:
            return [
                entry
                for entry in self.by_identity.values()
                if entry.match == change.match and virtual_priority(4, entry.data) == change.virtual_priority
            ]
        if _all_of_it(change):
            return list(self.by_identity.values())
        covers = _coverage(self.version, change)
        return [entry for entry in self.by_identity.values() if covers(entry.match)]

    def _select(self, candidates: list[Entry], change: FlowChange) -> Iterator[Entry]:
        for entry in candidates:
            if self.version == 4:
                if change.table not in (entry.table, v13.ALL_TABLES):
                    continue
                if change.cookie_mask and (virtual_cookie(4, entry.data) ^ change.cookie) & change.cookie_mask:
                    continue
            if change.deletes and not outputs_to(self.version, entry.data, change.out_port, change.out_group):
                continue
            yield entry

    def _take_actions(self, entry: Entry, change: FlowChange) -> Change:
        old, floods, new = entry.data, entry.floods, change.data
        if self.version == 1:
            # 1.0 replaces the cookie too; match, timeouts, priority and flags stay.
            data = old[:48] + new[48:56] + old[56:72] + new[72:]
        else:
            data = old[: body13(old)] + new[body13(new) :]
        self._set(entry, data, change.floods)
        self._note_rewrite(entry)
        return Change(entry, old, floods, data)

    def _write(self, change: FlowChange, command: int, cookie: int, mask: int = 0) -> bytes:
        if self.version == 1:
            tail = tail10(change) if not change.deletes else b""
            if change.deletes:
                return f10.flow_mod(0, change.match, command, cookie=cookie, priority=change.priority)
            head = change.match + cookie.to_bytes(8, "big") + command.to_bytes(2, "big")
            times = change.idle_timeout.to_bytes(2, "big") + change.hard_timeout.to_bytes(2, "big")
            return (0x010E0000 | 72 + len(change.body)).to_bytes(4, "big") + bytes(4) + head + times + tail
        if change.deletes:
            return f13.flow_mod(
                0, change.match, command, table=change.table, cookie=cookie, cookie_mask=mask, priority=change.priority
            )
        head = cookie.to_bytes(8, "big") + mask.to_bytes(8, "big") + bytes((change.table, command))
        times = change.idle_timeout.to_bytes(2, "big") + change.hard_timeout.to_bytes(2, "big")
        length = 48 + len(change.match) + len(change.body)
        word = (0x040E0000 | length).to_bytes(4, "big") + bytes(4)
        return b"".join((word, head, times, middle13(change), change.match, change.body))

    def _modify_strict(self, entry: Entry, change: FlowChange) -> bytes:
        if self.version == 1:
            return f10.flow_mod(
                0,
                entry.match,
                v10.MODIFY_STRICT,
                cookie=self.cookie(entry),
                priority=entry.priority,
                flags=v10.SEND_FLOW_REM,
                actions=change.body,
            )
        return f13.flow_mod(
            0,
            entry.match,
            v10.MODIFY_STRICT,
            table=entry.table,
            cookie=self.cookie(entry),
            cookie_mask=(1 << 64) - 1,
            priority=entry.priority,
            flags=change.flags,
            instructions=change.body,
        )

    def _note_rewrite(self, entry: Entry) -> None:
        entry.rewritten = self.serial = self.serial + 1 & SERIAL_MASK or 1

    def reissue(self, entry: Entry, body: bytes) -> bytes:
        """New physical actions for an entry whose FLOOD now leads elsewhere; counters stay."""
        self._note_rewrite(entry)
        common = {"cookie": self.cookie(entry), "priority": entry.priority}
        if self.version == 1:
            return f10.flow_mod(0, entry.match, v10.MODIFY_STRICT, flags=v10.SEND_FLOW_REM, actions=body, **common)
        return f13.flow_mod(
            0,
            entry.match,
            v10.MODIFY_STRICT,
            table=entry.table,
            cookie_mask=(1 << 64) - 1,
            instructions=body,
            **common,
        )

    def delete_strict(self, entry: Entry) -> bytes:
        """Remove exactly this entry."""
        if self.version == 1:
            return f10.flow_mod(0, entry.match, v10.DELETE_STRICT, cookie=self.cookie(entry), priority=entry.priority)
        return f13.flow_mod(
            0,
            entry.match,
            v10.DELETE_STRICT,
            table=entry.table,
            cookie=self.cookie(entry),
            cookie_mask=(1 << 64) - 1,
            priority=entry.priority,
        )


def port_of(version: int, match: bytes) -> int:
    """The in_port of a match that begins with it, as those of guards and admissions do."""
    return int.from_bytes(match[4:6] if version == 1 else match[8:12], "big")


def _as_add(version: int, data: bytes) -> bytes:
    """A 1.0 MODIFY that adds is remembered as the ADD it became."""
    return data[:56] + b"\x00\x00" + data[58:] if version == 1 else data


def _all_of_it(change: FlowChange) -> bool:
    """Whether the physical match is the VLAN alone: then a 1.0 delete takes the guards along."""
    native = change.grant.native
    if change.grant.version == 4:
        if change.grant.slot:
            return change.match == everything13(change.grant)
        return (change.match[2] << 8 | change.match[3]) == (4 if native else 10)
    mask = m10.field_mask(m10.wildcards_of(int.from_bytes(change.match, "big")))
    return mask & ~(0 if native else m10.F_DL_VLAN) == 0


def _coverage(version: int, change: FlowChange):  # type: ignore[no-untyped-def]
    if version == 1:
        general = int.from_bytes(change.match, "big")
        mask = m10.field_mask(m10.wildcards_of(general))

        def covers10(match: bytes) -> bool:
            special = int.from_bytes(match, "big")
            return (general ^ special) & mask == 0 and m10.covers(general, special)

        return covers10
    wanted, _ = oxm.parse(change.match, 0, len(change.match))
    return lambda match: oxm.covers(wanted, oxm.parse(match, 0, len(match))[0])
