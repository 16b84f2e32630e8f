"""Flow entries for people: what the shadow knows and what the switch has told, side by side, in ``ovs-ofctl`` syntax.

``sources`` belongs to the loop's thread and copies references only. The rest
is pure and is meant to run elsewhere: text costs more than forwarding does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmoc.errors import Refused
from vmoc.mux import admission
from vmoc.mux.admission import OWNER_SHIFT
from vmoc.mux.datapath import GUARD_PRIORITY, VirtualDatapath
from vmoc.mux.flowdump import Dump
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, Entry, Own
from vmoc.mux.virtualform import virtual_cookie
from vmoc.openflow import stats, v10
from vmoc.openflow.header import OF10
from vmoc.openflow.text.flow import format_flow
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.status import FlowCounts, FlowStatus

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

_PROXY: Final = PROXY_TAG >> SERIAL_BITS
_OWN: Final[dict[int, str]] = {kind: kind.name.lower() for kind in Own}


@dataclass(frozen=True, slots=True)
class Source:
    """What one virtual datapath is known to have."""

    slice: str
    vlan: int
    tag: int
    grant: Grant
    entries: tuple[Entry, ...]
    guards: tuple[bytes, ...]
    """Identities (table 1, priority 2, match) of its guards, sent so far or about to be."""
    admissions: tuple[bytes, ...] = ()
    """Whole FLOW_MODs of its admission entries."""


def sources(switch: Switch, vlans: Iterable[int]) -> list[Source]:
    """What is known of the virtual datapaths of ``vlans``; cheap, and consistent at this moment."""
    return [_source(datapath) for vlan in vlans for datapath in switch.datapaths.on_vlan(vlan)]


def _source(datapath: VirtualDatapath) -> Source:
    return Source(
        datapath.owner.id,
        datapath.vlan,
        datapath.tag,
        datapath.grant,
        tuple(datapath.flows.by_identity.values()),
        tuple(datapath.guard_identity(port) for port in datapath.guards),
        tuple(admission.entry(datapath, port) for port in sorted(datapath.let_in)),
    )


# -- on any thread ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """One entry before it is written out. ``place`` orders entries by table, falling priority and match."""

    place: bytes
    kind: str
    source: Source | None
    vlan: int | None
    cookie: int
    entry: Entry | None = None
    told: f10.Entry | f13.Entry | None = None
    identity: bytes = b""
    """Of a guard that is only known; of an admission the whole FLOW_MOD."""


def place_of(table: int, priority: int, match: bytes, cookie: int) -> bytes:
    """Where an entry comes in a list; unique on a switch."""
    return bytes((table,)) + (0xFFFF - priority).to_bytes(2, "big") + match + cookie.to_bytes(8, "big")


def known(found: Iterable[Source]) -> list[Found]:
    """What the shadow has, guards and admissions included, in order."""
    every = []
    for source in found:
        for entry in source.entries:
            cookie = source.tag << SERIAL_BITS | entry.serial
            place = place_of(entry.table, entry.priority, entry.match, cookie)
            every.append(Found(place, "slice", source, source.vlan, cookie, entry))
        for identity in source.guards:
            place = place_of(identity[0], GUARD_PRIORITY, identity[3:], PROXY_TAG)
            every.append(Found(place, "guard", source, source.vlan, PROXY_TAG, identity=identity))
        for data in source.admissions:
            mod = f13.parse_flow_mod(data)
            place = place_of(mod.table, mod.priority, oxm.pack(mod.match), mod.cookie)
            every.append(Found(place, "admission", source, source.vlan, mod.cookie, identity=data))
    every.sort(key=lambda one: one.place)
    return every


def merge(
    found: Collection[Source],
    dump: Dump,
    native_vlan: int = 0,
    *,
    strangers: bool = True,
    expected: Collection[int] | None = None,
) -> list[Found]:
    """What the switch has told, each entry with its owner, and what it ought to have and has not; in order.

    Without ``strangers`` only what belongs to ``found``. ``expected`` are the
    cookies of entries that were known before the switch was asked (None: all
    of ``found``); no other can be missing. Raises ``Refused`` when the dump is
    malformed.
    """
    by_cookie = {(source.tag << SERIAL_BITS | e.serial): (source, e) for source in found for e in source.entries}
    by_tag = {source.tag: source for source in found}
    by_vlan: dict[int, Source | None] = {}
    for source in found:  # of a VLAN that is shared, an entry does not say by its VLAN whose it is
        by_vlan[source.vlan] = None if source.vlan in by_vlan else source
    seen: set[int] = set()
    every: list[Found] = []
    for told in _told(dump):
        place = place_of(told.table, told.priority, told.match, told.cookie)
        owner, entry = by_cookie.get(told.cookie, (None, None))
        vlan = native_vlan or _vlan(dump.version, told.match)
        if owner is not None:
            seen.add(told.cookie)
            every.append(Found(place, "slice", owner, owner.vlan, told.cookie, entry, told))
            continue
        own = told.cookie >> SERIAL_BITS == _PROXY
        named = told.cookie >> OWNER_SHIFT & 0xFFFF if own else 0
        owner = by_tag.get(named) if named else by_vlan.get(vlan) if vlan is not None else None
        if strangers or (own and owner is not None):  # whose a foreign entry is nobody can tell
            kind = _OWN.get(told.cookie & 0xFFFF, "own") if own else "foreign"
            every.append(Found(place, kind, owner if own else None, vlan, told.cookie, None, told))
    for cookie, (source, entry) in by_cookie.items():
        if cookie not in seen and entry.alive and (expected is None or cookie in expected):
            place = place_of(entry.table, entry.priority, entry.match, cookie)
            every.append(Found(place, "missing", source, source.vlan, cookie, entry))
    every.sort(key=lambda one: one.place)
    return every


def _told(dump: Dump) -> Iterator[f10.Entry | f13.Entry]:
    for part in dump.parts:
        if dump.version == OF10:
            yield from f10.parse_entries(part, stats.BODY[1])
        else:
            yield from f13.parse_entries(part, stats.BODY[4])


def _vlan(version: int, match: bytes) -> int | None:
    if version == OF10:
        number = int.from_bytes(match, "big")
        if m10.wildcards_of(number) & m10.W_DL_VLAN:
            return None
        vid = m10.vlan_of(number)
        return None if vid == m10.VLAN_NONE else vid
    try:
        fields, _ = oxm.parse(match, 0, len(match))
    except Refused:
        return None
    for number, value, mask in fields:
        if number == oxm.VLAN_VID and mask in (None, 0x1FFF) and value & oxm.VID_PRESENT:
            return value & 0xFFF
    return None


def write_out(one: Found, version: int, dpid: int, native_vlan: int) -> FlowStatus:
    """The entry in words and numbers."""
    entry, told, source = one.entry, one.told, one.source
    table, priority = one.place[0], 0xFFFF - int.from_bytes(one.place[1:3], "big")
    if told is not None:
        physical = _line(_as_flow_mod(version, told))
    elif entry is not None:
        assert source is not None
        physical = _line(_intended(version, source.grant, entry, one.cookie))
    else:
        whole = one.kind == "admission"
        physical = _line(one.identity if whole else _add(version, one.identity, one.cookie))
    return FlowStatus(
        dpid=dpid,
        native_vlan=native_vlan,
        vlan=one.vlan,
        slice=source.slice if source is not None else None,
        kind=one.kind,
        table=table,
        priority=priority,
        cookie=one.cookie,
        physical=physical,
        virtual=_line(entry.data) if entry is not None else "",
        virtual_cookie=virtual_cookie(version, entry.data) if entry is not None else None,
        confirmed=told is not None,
        counts=_counts(version, told.raw) if told is not None else None,
    )


def _line(data: bytes) -> str:
    try:
        return format_flow(data).partition(" ")[2]
    except Refused as refused:
        # What a switch was given by others may be beyond plain OpenFlow.
        return f"(not shown: {refused.detail})"


def _as_flow_mod(version: int, told: f10.Entry | f13.Entry) -> bytes:
    raw = told.raw
    times, at = (54, f10.ENTRY_FIXED) if version == OF10 else (14, f13.ENTRY_MATCH + len(told.match))
    idle, hard = (int.from_bytes(raw[start : start + 2], "big") for start in (times, times + 2))
    flags = 0 if version == OF10 else int.from_bytes(raw[18:20], "big")
    identity = bytes((told.table,)) + told.priority.to_bytes(2, "big") + told.match
    return _add(version, identity, told.cookie, idle, hard, flags, raw[at:])


def _intended(version: int, grant: Grant, entry: Entry, cookie: int) -> bytes:
    """What was sent for an entry, vetted anew; one that names a port which is away leads nowhere for now."""
    change = vet_flow_mod(grant, entry.data)
    if not isinstance(change, FlowChange):
        return _add(version, entry.identity, cookie, flags=v10.SEND_FLOW_REM)
    flags = v10.SEND_FLOW_REM | change.flags
    return _add(version, entry.identity, cookie, change.idle_timeout, change.hard_timeout, flags, change.body)


def _add(
    version: int, identity: bytes, cookie: int, idle: int = 0, hard: int = 0, flags: int = 0, body: bytes = b""
) -> bytes:
    table, priority, match = identity[0], int.from_bytes(identity[1:3], "big"), identity[3:]
    common = {"cookie": cookie, "idle": idle, "hard": hard, "priority": priority, "flags": flags}
    if version == OF10:
        return f10.flow_mod(0, match, v10.ADD, actions=body, **common)
    return f13.flow_mod(0, match, v10.ADD, table=table, instructions=body, **common)


def _counts(version: int, raw: bytes) -> FlowCounts:
    duration, counts = (44, 72) if version == OF10 else (4, 32)
    seconds, nanos = (int.from_bytes(raw[at : at + 4], "big") for at in (duration, duration + 4))
    packets, octets = (int.from_bytes(raw[at : at + 8], "big") for at in (counts, counts + 8))
    return FlowCounts(packets, octets, seconds + nanos / 1e9)
