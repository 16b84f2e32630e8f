"""Actions and instructions of OpenFlow 1.3 (7.2.4, 7.2.5): strict reading, canonical writing.

An action is a tuple (type, argument...); SET_FIELD is (25, field, value) for a
field of the basic class. An instruction is (type, argument...); write- and
apply-actions carry their list of actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.v13 import oxm

OUTPUT: Final = 0
COPY_TTL_OUT: Final = 11
COPY_TTL_IN: Final = 12
SET_MPLS_TTL: Final = 15
DEC_MPLS_TTL: Final = 16
PUSH_VLAN: Final = 17
POP_VLAN: Final = 18
PUSH_MPLS: Final = 19
POP_MPLS: Final = 20
SET_QUEUE: Final = 21
GROUP: Final = 22
SET_NW_TTL: Final = 23
DEC_NW_TTL: Final = 24
SET_FIELD: Final = 25
PUSH_PBB: Final = 26
POP_PBB: Final = 27
EXPERIMENTER: Final = 0xFFFF

Action = tuple[Any, ...]
Instruction = tuple[Any, ...]
MAX_ACTIONS: Final = 8192

_HEAD: Final = Struct("!HH")
_BARE: Final = Struct("!HH4x")
_TTL: Final = Struct("!HHB3x")
_ETHERTYPE: Final = Struct("!HHH2x")
_WORD: Final = Struct("!HHI")
_FORM: Final = {
    OUTPUT: Struct("!HHIH6x"),  # port, max_len
    COPY_TTL_OUT: _BARE,
    COPY_TTL_IN: _BARE,
    SET_MPLS_TTL: _TTL,
    DEC_MPLS_TTL: _BARE,
    PUSH_VLAN: _ETHERTYPE,
    POP_VLAN: _BARE,
    PUSH_MPLS: _ETHERTYPE,
    POP_MPLS: _ETHERTYPE,
    SET_QUEUE: _WORD,
    GROUP: _WORD,
    SET_NW_TTL: _TTL,
    DEC_NW_TTL: _BARE,
    PUSH_PBB: _ETHERTYPE,
    POP_PBB: _BARE,
}


def parse(data: bytes, start: int, end: int) -> list[Action]:
    """The actions in ``data[start:end]``.

    Raises ``ACTION_LENGTH``, ``ACTION_TYPE`` (the 1.1 types 1..10, 13, 14 too,
    although Open vSwitch takes them), ``ACTION_EXPERIMENTER``,
    ``SET_FIELD_FORM``, ``SET_FIELD_TYPE``, ``BAD_LENGTH`` for bytes after the last one.
    """
    actions: list[Action] = []
    position = start
    while position < end:
        if end - position < 8:
            raise Refused(errors.BAD_LENGTH, f"{end - position} bytes after the last action")
        kind, length = _HEAD.unpack_from(data, position)
        if length < 8 or length & 7 or position + length > end:
            raise Refused(errors.ACTION_LENGTH, f"action of type {kind} states length {length}")
        if kind == SET_FIELD:
            actions.append(_parse_set_field(data, position, length))
        else:
            form = _FORM.get(kind)
            if form is None:
                reason = errors.ACTION_EXPERIMENTER if kind == EXPERIMENTER else errors.ACTION_TYPE
                raise Refused(reason, f"action type {kind}")
            if form.size != length:
                raise Refused(errors.ACTION_LENGTH, f"action of type {kind} states length {length}, not {form.size}")
            fields = form.unpack_from(data, position)
            actions.append((kind, *fields[2:]))
        position += length
        if len(actions) > MAX_ACTIONS:
            raise Refused(errors.TOO_MANY_ACTIONS)
    return actions


def _parse_set_field(data: bytes, position: int, length: int) -> Action:
    end = position + length
    if data[position + 4] != 0x80 or data[position + 5] != 0 or data[position + 6] >> 1 not in oxm.FIELDS:
        raise Refused(errors.SET_FIELD_TYPE, f"field {data[position + 4 : position + 7].hex()} cannot be set")
    field = oxm.FIELDS[data[position + 6] >> 1]
    if data[position + 6] & 1 or data[position + 7] != field.size:
        raise Refused(errors.SET_FIELD_FORM, f"set_field of {field.name} with a mask or a wrong length")
    after = position + 8 + field.size
    if length != (8 + field.size + 7) & ~7 or any(data[after:end]):
        raise Refused(errors.SET_FIELD_FORM, f"set_field of {field.name} carries more than its one field")
    value = int.from_bytes(data[position + 8 : after], "big")
    return SET_FIELD, data[position + 6] >> 1, value


def pack(actions: Iterable[Action]) -> bytes:
    """Canonical bytes of ``actions``."""
    parts = []
    for kind, *arguments in actions:
        if kind == SET_FIELD:
            body = oxm.pack_one((arguments[0], arguments[1], None))
            length = (4 + len(body) + 7) & ~7
            parts.append(_HEAD.pack(kind, length) + body + b"\x00" * (length - 4 - len(body)))
        else:
            form = _FORM[kind]
            parts.append(form.pack(kind, form.size, *arguments))
    return b"".join(parts)


_GOTO: Final = Struct("!HHB3x")
_METADATA: Final = Struct("!HH4xQQ")
_LIST: Final = Struct("!HH4x")


def parse_instructions(data: bytes, start: int, end: int) -> list[Instruction]:
    """The instructions in ``data[start:end]``, in the order of the message.

    Raises ``INSTRUCTION_LENGTH``, ``INSTRUCTION_TYPE``, ``INSTRUCTION_EXPERIMENTER``,
    ``INSTRUCTION_DUPLICATE``, ``BAD_LENGTH`` for bytes after the last one, and what ``parse`` raises.
    """
    found: list[Instruction] = []
    seen = 0
    position = start
    while position < end:
        if end - position < 8:
            raise Refused(errors.BAD_LENGTH, f"{end - position} bytes after the last instruction")
        kind, length = _HEAD.unpack_from(data, position)
        if length < 8 or length & 7 or position + length > end:
            raise Refused(errors.INSTRUCTION_LENGTH, f"instruction of type {kind} states length {length}")
        if not v13.GOTO_TABLE <= kind <= v13.METER:
            reason = errors.INSTRUCTION_EXPERIMENTER if kind == 0xFFFF else errors.INSTRUCTION_TYPE
            raise Refused(reason, f"instruction type {kind}")
        if seen >> kind & 1:
            raise Refused(errors.INSTRUCTION_DUPLICATE, f"instruction type {kind} appears twice")
        seen |= 1 << kind
        if kind in (v13.WRITE_ACTIONS, v13.APPLY_ACTIONS):
            found.append((kind, parse(data, position + 8, position + length)))
        elif length != (24 if kind == v13.WRITE_METADATA else 8):
            raise Refused(errors.INSTRUCTION_LENGTH, f"instruction of type {kind} states length {length}")
        elif kind == v13.GOTO_TABLE:
            found.append((kind, data[position + 4]))
        elif kind == v13.WRITE_METADATA:
            found.append((kind, *_METADATA.unpack_from(data, position)[2:]))
        elif kind == v13.METER:
            found.append((kind, _WORD.unpack_from(data, position)[2]))
        else:
            found.append((kind,))
        position += length
    return found


def pack_instructions(instructions: Iterable[Instruction]) -> bytes:
    """Canonical bytes of ``instructions``."""
    parts = []
    for instruction in instructions:
        kind = instruction[0]
        if kind == v13.GOTO_TABLE:
            parts.append(_GOTO.pack(kind, 8, instruction[1]))
        elif kind == v13.WRITE_METADATA:
            parts.append(_METADATA.pack(kind, 24, instruction[1], instruction[2]))
        elif kind == v13.METER:
            parts.append(_WORD.pack(kind, 8, instruction[1]))
        elif kind == v13.CLEAR_ACTIONS:
            parts.append(_LIST.pack(kind, 8))
        else:
            body = pack(instruction[1])
            parts.append(_LIST.pack(kind, 8 + len(body)) + body)
    return b"".join(parts)
