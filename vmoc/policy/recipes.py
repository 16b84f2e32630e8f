"""Verdicts on flow-mods remembered by shape, so that the usual ones cost a look-up.

The *shape* of an ADD is the message without the bytes no rule looks at: xid,
cookie, timeouts, and the values of addresses and ports in the match. Two ADDs
of one shape get the same verdict, and their physical forms differ in just those
bytes. A recipe is made by vetting one of them in full, and is kept only if it
rebuilds that message exactly.

Rules of this file: a cache belongs to one grant and dies with it; it is
bounded; refusals are never remembered; only ADD is (a controller that
modifies or deletes in bulk pays for the full chain).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from vmoc.openflow import v10, v13
from vmoc.openflow.header import NO_BUFFER
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.verdict import Refusal

_TAIL10: Final = Struct("!HIHH")
_TAIL13: Final = Struct("!HIIIHH")
_OUT10: Final = Struct("!IIQ")
_ANY_VALUE: Final = frozenset(number for number, f in oxm.FIELDS.items() if f.bits == 8 * f.size) - {
    oxm.IN_PORT,
    oxm.IN_PHY_PORT,
    oxm.ETH_TYPE,
    oxm.IP_PROTO,
    oxm.ICMPV6_TYPE,
}
"""Fields no rule judges by value: not ports, not VLAN, nothing other fields depend on."""


Span = tuple[int, int]
"""A piece of the controller's own message, from here to there."""


class Bits:
    """One byte of which some bits are the controller's."""

    __slots__ = ("at", "given", "keep")

    def __init__(self, at: int, keep: int, given: int) -> None:
        self.at = at
        self.keep = keep
        self.given = given


Part = bytes | Span | Bits
_BYTES: Final = [bytes((value,)) for value in range(256)]


def _assemble(parts: list[Part], data: bytes) -> bytes:
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            pieces.append(part)
        elif isinstance(part, Bits):
            pieces.append(_BYTES[data[part.at] & part.keep | part.given])
        else:
            pieces.append(data[part[0] : part[1]])
    return b"".join(pieces)


class Recipe10:
    """How to write every 1.0 ADD of one shape."""

    __slots__ = ("_head", "_parts", "_tail", "floods", "priority")

    def __init__(self, change: FlowChange) -> None:
        self._head = (0x010E0000 | 72 + len(change.body)) << 32
        self._tail = tail10(change)
        self.priority = change.priority
        self.floods = change.floods
        self._parts = _merge([b"\x00" + change.priority.to_bytes(2, "big"), *_match_parts10(change)])

    def identity(self, data: bytes) -> bytes:
        """Table 1, priority 2, physical match: what makes the entry the same entry."""
        return _assemble(self._parts, data)

    def message(self, data: bytes, identity: bytes, xid: int, cookie: bytes) -> bytes:
        """The physical FLOW_MOD."""
        return b"".join(
            (
                (self._head | xid).to_bytes(8, "big"),
                identity[3:],
                cookie,
                data[56:62],
                self._tail,
            )
        )


def tail10(change: FlowChange) -> bytes:
    """Everything from the priority on, with SEND_FLOW_REM forced: removals are how the shadow stays true."""
    tail = _TAIL10.pack(change.priority, NO_BUFFER, v10.NONE, change.flags | v10.SEND_FLOW_REM)
    return tail + change.body


class Recipe13:
    """How to write every 1.3 ADD of one shape."""

    __slots__ = ("_body", "_head", "_middle", "_parts", "_prefix", "_table", "_whole", "floods", "priority")

    def __init__(self, change: FlowChange) -> None:
        # A controller that names its VLAN in a canonical match wrote the physical match itself.
        end = 48 + len(change.match)
        self._whole = end if change.data[48:end] == change.match else 0
        self._middle = middle13(change)
        self._table = bytes((0, 0, 0, 0, 0, 0, 0, 0, change.table, v10.ADD))
        self._body = change.body
        self._head = (0x040E0000 | 48 + len(change.match) + len(change.body)) << 32
        self.priority = change.priority
        self._prefix = bytes((change.table,)) + change.priority.to_bytes(2, "big")
        self.floods = change.floods
        self._parts = _merge([self._prefix, *_match_parts13(change)])

    def identity(self, data: bytes) -> bytes:
        """Table 1, priority 2, physical match: what makes the entry the same entry."""
        if self._whole:
            return self._prefix + data[48 : self._whole]
        return _assemble(self._parts, data)

    def message(self, data: bytes, identity: bytes, xid: int, cookie: bytes) -> bytes:
        """The physical FLOW_MOD."""
        return b"".join(
            (
                (self._head | xid).to_bytes(8, "big"),
                cookie,
                self._table,
                data[26:30],
                self._middle,
                identity[3:],
                self._body,
            )
        )


def middle13(change: FlowChange) -> bytes:
    """Priority to padding, with SEND_FLOW_REM forced."""
    return _TAIL13.pack(change.priority, NO_BUFFER, v13.ANY, v13.ANY_GROUP, change.flags | v13.SEND_FLOW_REM, 0)


def _tlvs(data: bytes) -> list[tuple[int, int, int]]:
    """(field, start, end) of each OXM of a vetted flow-mod, in message order."""
    found = []
    position, end = 52, 48 + (data[50] << 8 | data[51])
    while position < end:
        after = position + 4 + data[position + 3]
        found.append((data[position + 2] >> 1, position, after))
        position = after
    return found


def _match_parts10(change: FlowChange) -> list[Part]:
    """The physical match, byte by byte."""
    grant = change.grant
    physical = int.from_bytes(change.match, "big")
    keep = m10.field_mask(m10.wildcards_of(physical))
    given = physical & m10.F_WILDCARDS
    if not grant.native:
        keep &= ~m10.F_DL_VLAN
        given |= physical & m10.F_DL_VLAN
    parts: list[Part] = []
    for at, (bits, value) in enumerate(zip(keep.to_bytes(40, "big"), given.to_bytes(40, "big"), strict=True), 8):
        if bits == 0xFF:
            parts.append((at, at + 1))
        else:
            parts.append(Bits(at, bits, value) if bits else _BYTES[value])
    return parts


def _match_parts13(change: FlowChange) -> list[Part]:
    """The physical match, field by field."""
    data = change.data
    where = {number: (start, end) for number, start, end in _tlvs(data)}
    physical, _ = oxm.parse(change.match, 0, len(change.match))
    pieces: list[Part] = [change.match[:4]]
    for field in physical:
        piece, at = oxm.pack_one(field), where.get(field[0])
        # A mask of all ones is not copied: it is left out of the physical form.
        if at is not None and field[0] in _ANY_VALUE and data[at[0] : at[1]] == piece:
            pieces.append(at)
        else:
            pieces.append(piece)
    length = change.match[2] << 8 | change.match[3]
    pieces.append(b"\x00" * (len(change.match) - length))
    return pieces


def _merge(pieces: list[Part]) -> list[Part]:
    merged: list[Part] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, bytes):
            if not piece:
                continue
            if isinstance(last, bytes):
                merged[-1] = last + piece
                continue
        elif isinstance(piece, tuple) and isinstance(last, tuple) and last[1] == piece[0]:
            merged[-1] = last[0], piece[1]
            continue
        merged.append(piece)
    return merged


Recipe = Recipe10 | Recipe13


class FlowModPolicy:
    """Vets the flow-mods of one grant. ``recipe`` is the fast form, ``vet`` the full chain."""

    CAPACITY: Final = 256
    LAYOUTS: Final = 8
    LONGEST: Final = 1024  # bytes of a message; longer ones are rare, and would let a slice hoard memory

    __slots__ = ("_count", "_grant", "_layouts", "_version")

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._version = grant.version
        # By message length (and, in 1.3, match length): where the bytes are that rules look at, and recipes by shape.
        self._layouts: dict[int, list[tuple[list[Span], dict[bytes, Recipe]]]] = {}
        self._count = 0

    def recipe(self, data: bytes) -> Recipe | None:
        """The recipe for ``data``, if an ADD of its shape was allowed before."""
        key = len(data)
        if self._version == 4 and key >= 56:
            key = key << 16 | data[50] << 8 | data[51]
        layouts = self._layouts.get(key)
        if layouts is not None:
            for spans, shapes in layouts:
                found = shapes.get(_shape(data, spans))
                if found is not None:
                    return found
        return None

    def vet(self, data: bytes) -> FlowChange | Refusal:
        """The full verdict; an allowed ADD leaves its recipe behind."""
        verdict = vet_flow_mod(self._grant, data)
        if isinstance(verdict, FlowChange) and verdict.command == v10.ADD and len(data) <= self.LONGEST:
            self._remember(verdict)
        return verdict

    def _remember(self, change: FlowChange) -> None:
        if change.names_objects:
            return  # the slice's groups and meters come and go without a new grant
        data = change.data
        recipe: Recipe = Recipe10(change) if self._version == 1 else Recipe13(change)
        if recipe.identity(data) != identity_of(change):
            return  # never seen; a recipe that does not rebuild its own example is worth nothing
        if self._count >= self.CAPACITY:
            self._layouts.clear()
            self._count = 0
        key, spans = _layout10(data) if self._version == 1 else _layout13(data, change.grant)
        layouts = self._layouts.setdefault(key, [])
        shape = _shape(data, spans)
        for known, shapes in layouts:
            if known == spans:
                shapes[shape] = recipe
                break
        else:
            if len(layouts) >= self.LAYOUTS:
                layouts.pop(0)
            layouts.append((spans, {shape: recipe}))
        self._count += 1


def identity_of(change: FlowChange) -> bytes:
    """Table 1, priority 2, physical match."""
    return bytes((change.table,)) + change.priority.to_bytes(2, "big") + change.match


def _shape(data: bytes, spans: list[Span]) -> bytes:
    pieces: list[bytes] = []
    for span in spans:
        pieces.append(data[span[0] : span[1]])
    return b"".join(pieces)


def _others(length: int, free: list[Span]) -> list[Span]:
    """All but those, which are in order."""
    spans, at = [], 0
    for start, end in [*free, (length, length)]:
        if start > at:
            spans.append((at, start))
        at = end
    return spans


# xid; dl_src, dl_dst; nw_tos; nw_src..cookie; timeouts
_FREE10: Final = [(4, 8), (14, 26), (32, 33), (36, 56), (58, 62)]


def _layout10(data: bytes) -> tuple[int, list[Span]]:
    return len(data), _others(len(data), _FREE10)


def _layout13(data: bytes, grant: Grant) -> tuple[int, list[Span]]:
    free = [(4, 8), (8, 24), (26, 30)]  # xid; cookie and its mask, unused in ADD; timeouts
    for number, start, end in _tlvs(data):
        if number == oxm.METADATA and grant.slot:
            continue  # judged, and written anew with the slot
        if number in _ANY_VALUE and not data[start + 2] & 1:
            free.append((start + 4, end))
    return len(data) << 16 | data[50] << 8 | data[51], _others(len(data), free)
