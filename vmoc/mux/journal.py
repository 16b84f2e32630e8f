"""The flow journal: what of the virtual datapaths a restart must not forget, as small records (vetting D.6).

Rules of this file:
- A record is made when the shadow changes, and leaves with the same ``Output``
  as the bytes that change the switch. The edge writes it first, so the journal
  may know of an entry the switch never got, and never the other way round.
- It holds what the switch *may* have. What it has, its dump tells.
- A virtual datapath is in it from its creation until its VLAN is proven clean,
  also when its slice is long gone: that is how a restart knows of VLANs nobody
  may get yet.
- No record is needed to understand those of another virtual datapath, and
  ``DATAPATH`` starts one anew. So a journal can be rewritten one by one while
  it goes on being written.

Every record: kind 1, handle 4 (the virtual datapath), then by kind

    DATAPATH  dpid 8, native VLAN 2, VLAN 2, tag 2, version 1, hides tag 1, presented dpid 8, last serial 8,
              slot 2, last group number 4, slot in the metadata 2, length 2, slice id
    FLOW      serial 8, floods 1, length 2, length 2, identity, FLOW_MOD    | EMPTY
    ACTIONS   serial 8, floods 1, length 2, FLOW_MOD                        | FORGET count 4, serials 8 each
    SLOT      slot 2
    GROUP     physical 4, virtual 4, length 2, GROUP_MOD                    | NO_GROUP physical 4
    METER     physical 4, virtual 4, length 2, flags and bands              | NO_METER physical 4
    PORTS     count 2, ports without flood 4 each, count 2, ports without packet-in 4 each
    DISOWNED, GONE
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct, iter_unpack, pack
from struct import error as StructError
from typing import Final, Protocol

_HEAD: Final = Struct("!BI")
_DATAPATH: Final = Struct("!BIQHHHBBQQHIHH")
FLOW: Final = Struct("!BIQBHH")
_ACTIONS: Final = Struct("!BIQBH")
_MANY: Final = Struct("!BII")
_SLOT: Final = Struct("!BIH")
_OBJECT: Final = Struct("!BIIIH")
_PHYSICAL: Final = Struct("!BII")
_COUNT: Final = Struct("!H")

(DATAPATH, FLOW_KIND, ACTIONS, FORGET, EMPTY, SLOT, GROUP, NO_GROUP, METER, NO_METER, PORTS, DISOWNED, GONE) = range(
    1, 14
)
_NUMBER: Final = 0xFFFFF
"""The part of a physical group id that counts up."""


class JournalError(ValueError):
    """A journal that is not what this version writes."""


@dataclass(slots=True)
class Kept:
    """One virtual datapath as the journal tells it: what its switch may hold of it."""

    handle: int
    dpid: int
    native_vlan: int
    vlan: int
    tag: int
    version: int
    hides_tag: bool
    presented_dpid: int
    serial: int
    slot: int
    number: int
    metadata_slot: int
    owner: str
    flows: dict[int, tuple[bytes, bytes, bool]] = field(default_factory=dict)
    """Serial -> identity, the controller's FLOW_MOD, whether it floods; the latest last."""
    groups: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Physical id -> virtual id, the controller's GROUP_MOD."""
    meters: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Physical id -> virtual id, flags and bands."""
    no_flood: frozenset[int] = frozenset()
    no_packet_in: frozenset[int] = frozenset()
    disowned: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """The switch's."""
        return self.dpid, self.native_vlan

    def kept(self) -> Kept:
        """Itself: what was kept and not claimed yet is kept on."""
        return self

    def records(self) -> list[bytes]:
        """All of it, in pieces."""
        handle, owner = self.handle, self.owner.encode()
        pieces = [
            _DATAPATH.pack(
                DATAPATH,
                handle,
                self.dpid,
                self.native_vlan,
                self.vlan,
                self.tag,
                self.version,
                self.hides_tag,
                self.presented_dpid,
                self.serial,
                self.slot,
                self.number,
                self.metadata_slot,
                len(owner),
            ),
            owner,
        ]
        for serial, (identity, data, floods) in self.flows.items():
            pieces += (FLOW.pack(FLOW_KIND, handle, serial, floods, len(identity), len(data)), identity, data)
        for kind, objects in ((GROUP, self.groups), (METER, self.meters)):
            for physical, (virtual, data) in objects.items():
                pieces += (_OBJECT.pack(kind, handle, physical, virtual, len(data)), data)
        if self.no_flood or self.no_packet_in:
            pieces.append(_ports(handle, self.no_flood, self.no_packet_in))
        if self.disowned:
            pieces.append(_HEAD.pack(DISOWNED, handle))
        return pieces


def flow_head(handle: int) -> bytes:
    """How the records of its flows begin."""
    return _HEAD.pack(FLOW_KIND, handle)


class Holder(Protocol):
    """Whoever knows what belongs in the journal under one handle."""

    def kept(self) -> Kept:
        """All of it."""


class Notes:
    """Writes the records of one virtual datapath."""

    __slots__ = ("extend", "handle")

    def __init__(self, handle: int, extend: Callable[[Iterable[bytes]], None]) -> None:
        self.handle = handle
        self.extend = extend
        """Adds the pieces of a record."""

    def actions(self, serial: int, floods: bool, data: bytes) -> None:
        """An entry has other actions."""
        self.extend((_ACTIONS.pack(ACTIONS, self.handle, serial, floods, len(data)), data))

    def forget(self, *serials: int) -> None:
        """Entries are gone from the switch."""
        self.extend((pack(f"!BII{len(serials)}Q", FORGET, self.handle, len(serials), *serials),))

    def empty(self) -> None:
        """All entries are."""
        self.extend((_HEAD.pack(EMPTY, self.handle),))

    def slot(self, slot: int) -> None:
        """The slot of the groups; 0: none."""
        self.extend((_SLOT.pack(SLOT, self.handle, slot),))

    def group(self, physical: int, virtual: int, data: bytes) -> None:
        """A group is there, or changed."""
        self.extend((_OBJECT.pack(GROUP, self.handle, physical, virtual, len(data)), data))

    def no_group(self, physical: int) -> None:
        """A group is no more."""
        self.extend((_PHYSICAL.pack(NO_GROUP, self.handle, physical),))

    def meter(self, physical: int, virtual: int, data: bytes) -> None:
        """A meter is there, or changed."""
        self.extend((_OBJECT.pack(METER, self.handle, physical, virtual, len(data)), data))

    def no_meter(self, physical: int) -> None:
        """A meter is no more."""
        self.extend((_PHYSICAL.pack(NO_METER, self.handle, physical),))

    def ports(self, no_flood: frozenset[int], no_packet_in: frozenset[int]) -> None:
        """What the slice's controllers configured on its ports."""
        self.extend((_ports(self.handle, no_flood, no_packet_in),))


class Journal:
    """All records since the last ``take``, and who could write everything anew. ``on=False``: none are made."""

    def __init__(self, on: bool = False) -> None:
        self.on = on
        self.records: list[bytes] = []
        """In pieces; joined they are whole records. Always this same list."""
        self.holders: dict[int, Holder] = {}
        """By handle: whatever is in the journal and not gone."""
        self._last = 0
        self._rewriting: Iterator[int] | None = None

    def restore(self, kept: Iterable[Kept]) -> None:
        """Go on with what an earlier journal told."""
        for one in kept:
            self.holders[one.handle] = one
            self._last = max(self._last, one.handle)

    def notes(self, handle: int = 0) -> Notes | None:
        """For a virtual datapath, under a new handle or the one it had; None: nothing is to be written."""
        if not self.on:
            return None
        if not handle:
            handle = self._last = self._last + 1
        return Notes(handle, self.records.extend)

    def hold(self, handle: int, holder: Holder, *, write: bool = True) -> None:
        """From now on ``holder`` answers for ``handle``; ``write``: from nothing."""
        self.holders[handle] = holder
        if write:
            self.records += holder.kept().records()

    def disown(self, handle: int) -> None:
        """Its slice is gone, or has it no more; the VLAN is not clean yet."""
        holder = self.holders.get(handle)
        if holder is None:
            return
        kept = holder.kept()
        if kept.disowned and kept is holder:
            return
        kept.disowned = True
        kept.flows = {}  # nobody's: none of them is looked for any more
        self.holders[handle] = kept
        self.records += (_HEAD.pack(EMPTY, handle), _HEAD.pack(DISOWNED, handle))

    def gone(self, handle: int) -> None:
        """Its VLAN is clean."""
        if self.holders.pop(handle, None) is not None:
            self.records.append(_HEAD.pack(GONE, handle))

    def left(self, key: tuple[int, int]) -> list[Kept]:
        """What is nobody's any more on a switch, and not proven gone."""
        return [one for one in self.holders.values() if isinstance(one, Kept) and one.disowned and one.key == key]

    # -- writing it anew ---------------------------------------------------------------------------

    def rewrite(self) -> None:
        """Begin anew: ``rewrite_some`` until it returns False makes earlier records superfluous."""
        self._rewriting = iter(list(self.holders))

    def rewrite_some(self) -> bool:
        """One virtual datapath more; whether there may be another."""
        if self._rewriting is not None:
            for handle in self._rewriting:
                holder = self.holders.get(handle)
                if holder is not None:
                    self.records += holder.kept().records()
                    return True
        self._rewriting = None
        return False


def _ports(handle: int, no_flood: Iterable[int], no_packet_in: Iterable[int]) -> bytes:
    pieces = [_HEAD.pack(PORTS, handle)]
    for ports in (sorted(no_flood), sorted(no_packet_in)):
        pieces.append(_COUNT.pack(len(ports)))
        pieces += [port.to_bytes(4, "big") for port in ports]
    return b"".join(pieces)


# -- reading it --------------------------------------------------------------------------------------


def replay(batches: Iterable[bytes]) -> list[Kept]:
    """What whole batches of records come to. Raises ``JournalError``."""
    found: dict[int, Kept] = {}
    try:
        for batch in batches:
            at = 0
            while at < len(batch):
                at = _replay(found, batch, at)
    except (StructError, UnicodeDecodeError, IndexError) as exc:
        raise JournalError(f"a record is not as it should be ({exc})") from exc
    return list(found.values())


def _replay(found: dict[int, Kept], batch: bytes, at: int) -> int:
    kind, handle = _HEAD.unpack_from(batch, at)
    if kind == DATAPATH:
        fields = _DATAPATH.unpack_from(batch, at)
        _, _, dpid, native, vlan, tag, version, hides, shown, serial, slot, number, metadata_slot, length = fields
        at += _DATAPATH.size
        owner = _piece(batch, at, length).decode()
        found.pop(handle, None)
        found[handle] = Kept(
            handle, dpid, native, vlan, tag, version, bool(hides), shown, serial, slot, number, metadata_slot, owner
        )
        return at + int(length)
    if kind == GONE:
        found.pop(handle, None)
        return at + _HEAD.size
    # A handle that is unknown is one that has gone in a part of the journal that was written anew.
    kept = found.get(handle) or _nobody()
    if kind == FLOW_KIND:
        _, _, serial, floods, first, second = FLOW.unpack_from(batch, at)
        at += FLOW.size
        identity, data = _piece(batch, at, first), _piece(batch, at + first, second)
        kept.flows[serial] = (identity, data, bool(floods))
        kept.serial = max(kept.serial, serial)
        return at + int(first) + int(second)
    if kind == ACTIONS:
        _, _, serial, floods, length = _ACTIONS.unpack_from(batch, at)
        at += _ACTIONS.size
        if serial in kept.flows:
            kept.flows[serial] = (kept.flows[serial][0], _piece(batch, at, length), bool(floods))
        return at + int(length)
    if kind in (GROUP, METER):
        _, _, physical, virtual, length = _OBJECT.unpack_from(batch, at)
        at += _OBJECT.size
        if kind == GROUP:
            kept.groups[physical] = (virtual, _piece(batch, at, length))
            kept.number = physical & _NUMBER
        else:
            kept.meters[physical] = (virtual, _piece(batch, at, length))
        return at + int(length)
    if kind == FORGET:
        count, at = _MANY.unpack_from(batch, at)[2], at + _MANY.size
        piece = _piece(batch, at, 8 * count)
        for (serial,) in iter_unpack("!Q", piece):
            kept.flows.pop(serial, None)
        return at + len(piece)
    if kind in (NO_GROUP, NO_METER):
        (kept.groups if kind == NO_GROUP else kept.meters).pop(_PHYSICAL.unpack_from(batch, at)[2], None)
        return at + _PHYSICAL.size
    if kind == SLOT:
        kept.slot = _SLOT.unpack_from(batch, at)[2]
        return at + _SLOT.size
    if kind == PORTS:
        kept.no_flood, at = _numbers(batch, at + _HEAD.size)
        kept.no_packet_in, at = _numbers(batch, at)
        return at
    if kind == EMPTY:
        kept.flows.clear()
    elif kind == DISOWNED:
        kept.disowned = True
    else:
        raise JournalError(f"a record is of kind {kind}")
    return at + _HEAD.size


def _piece(batch: bytes, at: int, length: int) -> bytes:
    if at + length > len(batch):
        raise JournalError("a record is cut short")
    return batch[at : at + length]


def _numbers(batch: bytes, at: int) -> tuple[frozenset[int], int]:
    (count,) = _COUNT.unpack_from(batch, at)
    piece = _piece(batch, at + _COUNT.size, 4 * count)
    numbers = frozenset(int.from_bytes(piece[i : i + 4], "big") for i in range(0, len(piece), 4))
    return numbers, at + _COUNT.size + len(piece)


def _nobody() -> Kept:
    return Kept(0, 0, 0, 0, 0, 0, False, 0, 0, 0, 0, 0, "")
