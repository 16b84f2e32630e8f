"""Verdicts on flow-mods remembered by shape, so that the usual ones cost a look-up.

The *shape* of an ADD is the message with the bytes no rule looks at set to
zero: xid, cookie, timeouts, and the values of addresses and ports in the
match. Two ADDs of one shape get the same verdict, and their physical forms
differ in just those bytes. A recipe is made by vetting one of them in full,
and is kept only if it rebuilds that message exactly.

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


class Recipe10:
    """How to write every 1.0 ADD of one shape."""

    __slots__ = ("_given", "_keep", "_tail", "_word", "floods", "priority")

    def __init__(self, change: FlowChange) -> None:
        grant = change.grant
        physical = int.from_bytes(change.match, "big")
        keep = m10.field_mask(m10.wildcards_of(physical))
        if not grant.native:
            keep &= ~m10.F_DL_VLAN
        self._keep = keep
        self._given = physical & (m10.F_WILDCARDS | (0 if grant.native else m10.F_DL_VLAN))
        self._word = 0x010E0000 | 72 + len(change.body)
        self._tail = tail10(change)
        self.priority = change.priority.to_bytes(2, "big")
        self.floods = change.floods

    def identity(self, data: bytes) -> bytes:
        """Table 1, priority 2, physical match: what makes the entry the same entry."""
        match = int.from_bytes(data[8:48], "big") & self._keep | self._given
        return b"\x00" + self.priority + match.to_bytes(40, "big")

    def message(self, data: bytes, identity: bytes, xid: int, cookie: int) -> bytes:
        """The physical FLOW_MOD."""
        word = self._word
        return b"".join(
            (
                word.to_bytes(4, "big"),
                xid.to_bytes(4, "big"),
                identity[3:],
                cookie.to_bytes(8, "big"),
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

    __slots__ = ("_body", "_middle", "_parts", "_table", "_whole", "_word", "floods", "prefix")

    def __init__(self, change: FlowChange) -> None:
        # A controller that names its VLAN in a canonical match wrote the physical match itself.
        end = 48 + len(change.match)
        self._whole = end if change.data[48:end] == change.match else 0
        self._parts = _match_parts(change)
        self._middle = middle13(change)
        self._table = bytes((0, 0, 0, 0, 0, 0, 0, 0, change.table, v10.ADD))
        self._body = change.body
        self._word = (0x040E0000 | 48 + len(change.match) + len(change.body)).to_bytes(4, "big")
        self.prefix = bytes((change.table,)) + change.priority.to_bytes(2, "big")
        self.floods = change.floods

    def identity(self, data: bytes) -> bytes:
        """Table 1, priority 2, physical match: what makes the entry the same entry."""
        if self._whole:
            return self.prefix + data[48 : self._whole]
        pieces = [self.prefix]
        for part in self._parts:
            pieces.append(part if isinstance(part, bytes) else data[part[0] : part[1]])
        return b"".join(pieces)

    def message(self, data: bytes, identity: bytes, xid: int, cookie: int) -> bytes:
        """The physical FLOW_MOD."""
        return b"".join(
            (
                self._word,
                xid.to_bytes(4, "big"),
                cookie.to_bytes(8, "big"),
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


Span = tuple[int, int]
"""A piece of the controller's own message, from here to there."""


def _match_parts(change: FlowChange) -> list[bytes | Span]:
    """The physical match as pieces: constants, and spans of the controller's own message."""
    data = change.data
    where = {number: (start, end) for number, start, end in _tlvs(data)}
    physical, _ = oxm.parse(change.match, 0, len(change.match))
    pieces: list[bytes | Span] = [change.match[:4]]
    for field in physical:
        piece, at = oxm.pack_one(field), where.get(field[0])
        # A mask of all ones is not copied: it is left out of the physical form.
        if at is not None and field[0] in _ANY_VALUE and data[at[0] : at[1]] == piece:
            pieces.append(at)
        else:
            pieces.append(piece)
    length = change.match[2] << 8 | change.match[3]
    pieces.append(b"\x00" * (len(change.match) - length))
    return _merge(pieces)


def _merge(pieces: list[bytes | Span]) -> list[bytes | Span]:
    merged: list[bytes | Span] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, bytes):
            if not piece:
                continue
            if isinstance(last, bytes):
                merged[-1] = last + piece
                continue
        elif isinstance(last, tuple) and last[1] == piece[0]:
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
        # By message length (and, in 1.3, match length): masks of the bytes rules look at, and recipes by shape.
        self._layouts: dict[int, list[tuple[int, dict[int, Recipe]]]] = {}
        self._count = 0

    def recipe(self, data: bytes) -> Recipe | None:
        """The recipe for ``data``, if an ADD of its shape was allowed before."""
        key = len(data)
        if self._version == 4 and key >= 56:
            key = key << 16 | data[50] << 8 | data[51]
        layouts = self._layouts.get(key)
        if layouts is not None:
            number = int.from_bytes(data, "big")
            for mask, shapes in layouts:
                found = shapes.get(number & mask)
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
        key, mask = (len(data), _mask10(len(data))) if self._version == 1 else _key_mask13(data, change.grant)
        layouts = self._layouts.setdefault(key, [])
        shape = int.from_bytes(data, "big") & mask
        for known, shapes in layouts:
            if known == mask:
                shapes[shape] = recipe
                break
        else:
            if len(layouts) >= self.LAYOUTS:
                layouts.pop(0)
            layouts.append((mask, {shape: recipe}))
        self._count += 1


def identity_of(change: FlowChange) -> bytes:
    """Table 1, priority 2, physical match."""
    return bytes((change.table,)) + change.priority.to_bytes(2, "big") + change.match


def _blank(length: int, free: list[tuple[int, int]]) -> int:
    mask = bytearray(b"\xff" * length)
    for start, end in free:
        mask[start:end] = bytes(end - start)
    return int.from_bytes(mask, "big")


# xid; dl_src, dl_dst; nw_tos; nw_src..tp_dst; cookie; timeouts
_FREE10: Final = [(4, 8), (14, 26), (32, 33), (36, 48), (48, 56), (58, 62)]
_MASKS10: Final[dict[int, int]] = {}


def _mask10(length: int) -> int:
    mask = _MASKS10.get(length)
    if mask is None:
        mask = _MASKS10[length] = _blank(length, _FREE10)
    return mask


def _key_mask13(data: bytes, grant: Grant) -> tuple[int, int]:
    free = [(4, 8), (8, 24), (26, 30)]  # xid; cookie and its mask, unused in ADD; timeouts
    for number, start, end in _tlvs(data):
        if number == oxm.METADATA and grant.slot:
            continue  # judged, and written anew with the slot
        if number in _ANY_VALUE and not data[start + 2] & 1:
            free.append((start + 4, end))
    return len(data) << 16 | data[50] << 8 | data[51], _blank(len(data), free)
