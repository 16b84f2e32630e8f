"""Actions of OpenFlow 1.0 (5.2.4): strict reading, canonical writing.

An action is a tuple (type, argument...). Padding is ignored when read and
zero when written.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from vmoc import errors
from vmoc.errors import Refused

OUTPUT: Final = 0
SET_VLAN_VID: Final = 1
SET_VLAN_PCP: Final = 2
STRIP_VLAN: Final = 3
SET_DL_SRC: Final = 4
SET_DL_DST: Final = 5
SET_NW_SRC: Final = 6
SET_NW_DST: Final = 7
SET_NW_TOS: Final = 8
SET_TP_SRC: Final = 9
SET_TP_DST: Final = 10
ENQUEUE: Final = 11
VENDOR: Final = 0xFFFF

Action = tuple[Any, ...]
MAX_ACTIONS: Final = 8192

_HEAD: Final = Struct("!HH")
_FORM: Final = {
    OUTPUT: Struct("!HHHH"),  # port, max_len
    SET_VLAN_VID: Struct("!HHH2x"),
    SET_VLAN_PCP: Struct("!HHB3x"),
    STRIP_VLAN: Struct("!HH4x"),
    SET_DL_SRC: Struct("!HH6s6x"),
    SET_DL_DST: Struct("!HH6s6x"),
    SET_NW_SRC: Struct("!HHI"),
    SET_NW_DST: Struct("!HHI"),
    SET_NW_TOS: Struct("!HHB3x"),
    SET_TP_SRC: Struct("!HHH2x"),
    SET_TP_DST: Struct("!HHH2x"),
    ENQUEUE: Struct("!HHH6xI"),  # port, queue
}


def parse(data: bytes, start: int, end: int) -> list[Action]:
    """The actions in ``data[start:end]``.

    Raises ``ACTION_LENGTH`` for a length below 8, odd, overrunning or wrong for
    its type, ``ACTION_EXPERIMENTER`` and ``ACTION_TYPE`` for what 1.0 does not offer,
    ``BAD_LENGTH`` for bytes after the last one.
    """
    actions: list[Action] = []
    position = start
    while position < end:
        if end - position < 8:
            raise Refused(errors.BAD_LENGTH, f"{end - position} bytes after the last action")
        kind, length = _HEAD.unpack_from(data, position)
        if length < 8 or length & 7 or position + length > end:
            raise Refused(errors.ACTION_LENGTH, f"action of type {kind} states length {length}")
        form = _FORM.get(kind)
        if form is None:
            reason = errors.ACTION_EXPERIMENTER if kind == VENDOR else errors.ACTION_TYPE
            raise Refused(reason, f"action type {kind}")
        if form.size != length:
            raise Refused(errors.ACTION_LENGTH, f"action of type {kind} states length {length}, not {form.size}")
        fields = form.unpack_from(data, position)
        actions.append((kind, *fields[2:]))
        position += length
        if len(actions) > MAX_ACTIONS:
            raise Refused(errors.TOO_MANY_ACTIONS)
    return actions


def pack(actions: Iterable[Action]) -> bytes:
    """Canonical bytes of ``actions``."""
    parts = []
    for kind, *arguments in actions:
        form = _FORM[kind]
        parts.append(form.pack(kind, form.size, *arguments))
    return b"".join(parts)
