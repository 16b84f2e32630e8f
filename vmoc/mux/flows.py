"""The shadow of one virtual datapath's flows: what the controller meant, and what the switch holds.

Rules of this file:
- The virtual form of an entry is the controller's own message; nothing is
  reconstructed from what a switch reports.
- The identity of an entry is what a switch takes for it: table 1, priority 2,
  physical match. Two virtual flows of one identity are one entry.
- The physical cookie is the datapath's tag and the entry's serial, so that an
  entry is recognised whatever the switch does to its match.
- An entry a delete has selected is *dying*: it counts no more, but is still
  known by its serial until the switch has said FLOW_REMOVED or answered a
  later barrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.openflow import v10, v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange
from vmoc.policy.recipes import Recipe, identity_of, middle13, tail10
from vmoc.policy.verdict import Refusal

SERIAL_BITS: Final = 48
SERIAL_MASK: Final = (1 << SERIAL_BITS) - 1
TAG_MASK: Final = 0xFFFF << SERIAL_BITS


class Entry:
    """One flow. ``data`` is the controller's FLOW_MOD (after a modify: with the new actions in place)."""

    __slots__ = ("alive", "data", "floods", "identity", "serial")

    def __init__(self, serial: int, identity: bytes, data: bytes, floods: bool) -> None:
        self.serial = serial
        self.identity = identity
        self.data = data
        self.floods = floods
        self.alive = True

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


class Plan(NamedTuple):
    """What a flow-mod comes to: physical messages (xid 0), and how to take it back if the switch refuses."""

    messages: list[bytes]
    added: Entry | None = None
    replaced: Entry | None = None
    dying: tuple[Entry, ...] = ()
    reguard: bool = False


class FlowTable:
    """All entries of one virtual datapath."""

    __slots__ = ("_serial", "by_identity", "by_serial", "flooding", "quota", "tag", "version")

    def __init__(self, version: int, tag: int, quota: int) -> None:
        self.version = version
        self.tag = tag << SERIAL_BITS
        self.quota = quota
        self.by_identity: dict[bytes, Entry] = {}
        self.by_serial: dict[int, Entry] = {}
        self.flooding: dict[int, Entry] = {}
        self._serial = 0

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

    def add(self, identity: bytes, data: bytes, floods: bool) -> tuple[Entry, Entry | None] | None:
        """Enter a flow; (entry, the one it replaces), or None when the quota is used up."""
        known = self.by_identity
        replaced = known.get(identity)
        if replaced is None:
            if self.quota and len(known) >= self.quota:
                return None
        else:
            self.by_serial.pop(replaced.serial, None)
            replaced.alive = False
            if replaced.floods:
                self.flooding.pop(replaced.serial, None)
        serial = self._serial = self._serial + 1 & SERIAL_MASK or 1
        entry = Entry(serial, identity, data, floods)
        known[identity] = entry
        self.by_serial[serial] = entry
        if floods:
            self.flooding[serial] = entry
        return entry, replaced

    def kill(self, entry: Entry) -> None:
        """The entry no longer counts; it stays known by its serial until ``forget``."""
        if entry.alive:
            entry.alive = False
            self.flooding.pop(entry.serial, None)
            if self.by_identity.get(entry.identity) is entry:
                del self.by_identity[entry.identity]

    def forget(self, entry: Entry) -> None:
        """The entry is gone from the switch."""
        self.kill(entry)
        self.by_serial.pop(entry.serial, None)

    def take_back(self, added: Entry, replaced: Entry | None) -> None:
        """The switch refused an ADD: what it would have replaced is still there."""
        self.forget(added)
        if replaced is not None and replaced.identity not in self.by_identity:
            replaced.alive = True
            self.by_identity[replaced.identity] = replaced
            self.by_serial[replaced.serial] = replaced
            if replaced.floods:
                self.flooding[replaced.serial] = replaced

    def clear(self) -> None:
        """The switch's table is known to hold nothing of ours."""
        self.by_identity.clear()
        self.by_serial.clear()
        self.flooding.clear()

    # -- fast path ---------------------------------------------------------------------------------

    def quick_add(self, recipe: Recipe, data: bytes, xid: int) -> tuple[bytes, Entry, Entry | None] | None:
        """An ADD of a known shape: (message, entry, replaced); None when the full plan must decide."""
        identity = recipe.identity(data)
        known = self.by_identity.get(identity)
        if known is not None and virtual_priority(self.version, known.data) != virtual_priority(self.version, data):
            return None
        made = self.add(identity, data, recipe.floods)
        if made is None:
            return None
        entry, replaced = made
        return recipe.message(data, identity, xid, self.tag | entry.serial), entry, replaced

    # -- every other flow-mod ----------------------------------------------------------------------

    def plan(self, change: FlowChange) -> Plan | Refusal:
        """What ``change`` comes to on the switch (vetting A.4), with the shadow already updated."""
        if change.command == v10.ADD:
            return self._plan_add(change)
        if change.deletes:
            return self._plan_delete(change)
        return self._plan_modify(change)

    def _plan_add(self, change: FlowChange) -> Plan | Refusal:
        identity = identity_of(change)
        known = self.by_identity.get(identity)
        if known is not None and virtual_priority(self.version, known.data) != change.virtual_priority:
            return Refusal("quota", errors.PRIORITY_TAKEN, errors.PRIORITY_TAKEN.summary)
        made = self.add(identity, _as_add(self.version, change.data), change.floods)
        if made is None:
            return Refusal("quota", errors.FLOW_QUOTA, f"{self.quota} flows are all this slice may have here")
        entry, replaced = made
        return Plan([self._write(change, v10.ADD, self.cookie(entry))], entry, replaced)

    def _plan_modify(self, change: FlowChange) -> Plan | Refusal:
        selected = list(self._select(change, strict=change.command == v10.MODIFY_STRICT))
        if self.version == 1:
            if not selected:
                return self._plan_add(change)  # 1.0 only: modify adds when there is nothing to modify
        elif not selected and change.cookie_mask:
            return Plan([])
        for entry in selected:
            self._take_actions(entry, change)
        if self.version == 4 and not change.cookie_mask:
            return Plan([self._write(change, change.command, self.tag, TAG_MASK)])
        return Plan([self._modify_strict(entry, change) for entry in selected])

    def _plan_delete(self, change: FlowChange) -> Plan:
        strict = change.command == v10.DELETE_STRICT
        selected = tuple(self._select(change, strict=strict))
        for entry in selected:
            self.kill(entry)
        if change.cookie_mask or change.out_port is not None or change.out_group is not None:
            return Plan([self.delete_strict(entry) for entry in selected], dying=selected)
        message = self._write(change, change.command, self.tag, TAG_MASK)
        return Plan([message], dying=selected, reguard=self.version == 1 and not strict and _all_of_it(change))

    def _select(self, change: FlowChange, *, strict: bool) -> Iterator[Entry]:
        if strict and change.table != v13.ALL_TABLES:
            entry = self.by_identity.get(identity_of(change))
            candidates: Iterable[Entry] = () if entry is None else (entry,)
        elif strict:
            tail = identity_of(change)[1:]
            candidates = [entry for entry in self.by_identity.values() if entry.identity[1:] == tail]
        elif _all_of_it(change):
            candidates = list(self.by_identity.values())
        else:
            covers = _coverage(self.version, change)
            candidates = [entry for entry in self.by_identity.values() if covers(entry.match)]
        for entry in candidates:
            if self.version == 4:
                if change.table not in (entry.table, v13.ALL_TABLES):
                    continue
                if change.cookie_mask and (virtual_cookie(4, entry.data) ^ change.cookie) & change.cookie_mask:
                    continue
            if change.deletes and not outputs_to(self.version, entry.data, change.out_port, change.out_group):
                continue
            yield entry

    def _take_actions(self, entry: Entry, change: FlowChange) -> None:
        old, new = entry.data, change.data
        if self.version == 1:
            # 1.0 replaces the cookie too; match, timeouts, priority and flags stay.
            entry.data = old[:48] + new[48:56] + old[56:72] + new[72:]
        else:
            entry.data = old[: _body13(old)] + new[_body13(new) :]
        entry.floods = change.floods
        if change.floods:
            self.flooding[entry.serial] = entry
        else:
            self.flooding.pop(entry.serial, None)

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

    def reissue(self, entry: Entry, body: bytes) -> bytes:
        """New physical actions for an entry whose FLOOD now leads elsewhere; counters stay."""
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


# -- the virtual form of an entry, read from the controller's message --------------------------------


def virtual_priority(version: int, data: bytes) -> int:
    """The priority the controller gave."""
    return data[62] << 8 | data[63] if version == 1 else data[30] << 8 | data[31]


def virtual_cookie(version: int, data: bytes) -> int:
    """The cookie the controller gave."""
    return int.from_bytes(data[48:56] if version == 1 else data[8:16], "big")


def virtual_flags(version: int, data: bytes) -> int:
    """The flags the controller gave."""
    return data[70] << 8 | data[71] if version == 1 else data[44] << 8 | data[45]


def virtual_match(version: int, data: bytes) -> bytes:
    """The match the controller gave, canonical."""
    if version == 1:
        return m10.canonical(int.from_bytes(data[8:48], "big")).to_bytes(m10.LENGTH, "big")
    return oxm.pack(oxm.parse(data, f13.MATCH_AT, len(data))[0])


def virtual_body(version: int, data: bytes) -> bytes:
    """The actions (1.0) or instructions (1.3) the controller gave, canonical."""
    if version == 1:
        return a10.pack(a10.parse(data, f10.FIXED, len(data)))
    return a13.pack_instructions(a13.parse_instructions(data, _body13(data), len(data)))


def is_table_miss(data: bytes) -> bool:
    """1.3: priority 0 and an empty match."""
    return data[30] == 0 and data[31] == 0 and data[50] == 0 and data[51] == 4


def _body13(data: bytes) -> int:
    return f13.MATCH_AT + ((data[50] << 8 | data[51]) + 7 & ~7)


def _as_add(version: int, data: bytes) -> bytes:
    """A 1.0 MODIFY that adds is remembered as the ADD it became."""
    return data[:56] + b"\x00\x00" + data[58:] if version == 1 else data


def _all_of_it(change: FlowChange) -> bool:
    if isinstance(change.virtual_match, tuple):
        return not [number for number, _, _ in change.virtual_match if number != oxm.VLAN_VID]
    mask = m10.field_mask(m10.wildcards_of(change.virtual_match))
    return mask & ~m10.F_DL_VLAN == 0


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


def outputs_to(version: int, data: bytes, port: int | None, group: int | None) -> bool:
    """Whether the virtual actions name ``port`` (and ``group``); None means "any"."""
    if port is None and group is None:
        return True
    if version == 1:
        return any(
            action[0] in (a10.OUTPUT, a10.ENQUEUE) and action[1] == port
            for action in a10.parse(data, f10.FIXED, len(data))
        )
    ports, groups = set(), set()
    for instruction in a13.parse_instructions(data, _body13(data), len(data)):
        if instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
            for action in instruction[1]:
                if action[0] == a13.OUTPUT:
                    ports.add(action[1])
                elif action[0] == a13.GROUP:
                    groups.add(action[1])
    return (port is None or port in ports) and (group is None or group in groups)
