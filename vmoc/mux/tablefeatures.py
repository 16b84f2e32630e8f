"""TABLE_FEATURES of a virtual switch: the real ones without what a slice may not use (vetting A.7).

Record (OF1.3 7.3.5.5.2): length 2, table 1, pad 5, name 32, metadata_match 8,
metadata_write 8, config 4, max_entries 4, properties. A property: type 2,
length 2 (without padding), ids, padded to 8; instructions and actions are
(type 2, length 2), next tables are bytes, match and set-field lists are OXM
headers of 4 bytes (experimenters' of 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import header, stats, v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

FIXED: Final = 64
_INSTRUCTIONS: Final = (0, 1)
_NEXT_TABLES: Final = (2, 3)
_ACTIONS: Final = (4, 5, 6, 7)
_MATCH: Final = (8, 10)
_SET_FIELD: Final = (12, 13, 14, 15)
_KNOWN_INSTRUCTIONS: Final = frozenset(range(1, 7))
_OFFERED: Final = frozenset(
    (
        a13.OUTPUT,
        a13.COPY_TTL_OUT,
        a13.COPY_TTL_IN,
        a13.SET_MPLS_TTL,
        a13.DEC_MPLS_TTL,
        a13.SET_QUEUE,
        a13.GROUP,
        a13.SET_NW_TTL,
        a13.DEC_NW_TTL,
        a13.SET_FIELD,
    )
)
_QINQ: Final = frozenset((a13.PUSH_VLAN, a13.POP_VLAN))
_MPLS: Final = frozenset((a13.PUSH_MPLS, a13.POP_MPLS))
_UNSETTABLE: Final = frozenset((0, 1, 2, 5, 10, 37, 38, 39))
_VLAN: Final = frozenset((oxm.VLAN_VID, oxm.VLAN_PCP))


class Trimmer:
    """What one virtual datapath may be told."""

    def __init__(
        self, n_tables: int, max_entries: int, *, hides_tag: bool, groups: bool, queues: bool, qinq: bool, mpls: bool
    ) -> None:
        self._n_tables = n_tables
        self._max_entries = max_entries
        self._hides_tag = hides_tag
        actions = set(_OFFERED)
        if not groups:
            actions.discard(a13.GROUP)
        if not queues:
            actions.discard(a13.SET_QUEUE)
        if qinq and not hides_tag:
            actions |= _QINQ
        if mpls:
            actions |= _MPLS
        self._actions = actions

    def trim(self, record: bytes) -> bytes | None:
        """One record as the slice sees it; None for a table it does not have. ``BAD_LENGTH`` when malformed."""
        table = record[2]
        if table >= self._n_tables:
            return None
        parts = [
            self._property(kind, record[start:end])
            for kind, start, end in _properties(record)
            if kind < 0xFFFE  # experimenters' are not offered
        ]
        body = b"".join(parts)
        capacity = int.from_bytes(record[60:64], "big")
        room = min(capacity, self._max_entries) if self._max_entries else capacity
        head = (FIXED + len(body)).to_bytes(2, "big")
        return head + record[2:60] + room.to_bytes(4, "big") + body

    def _property(self, kind: int, data: bytes) -> bytes:
        if kind in _INSTRUCTIONS:
            data = _keep_typed(data, _KNOWN_INSTRUCTIONS)
        elif kind in _ACTIONS:
            data = _keep_typed(data, self._actions)
        elif kind in _NEXT_TABLES:
            data = bytes(table for table in data if table < self._n_tables)
        elif kind in _MATCH:
            data = _keep_fields(data, frozenset((oxm.VLAN_PCP,)) if self._hides_tag else frozenset())
        elif kind in _SET_FIELD:
            data = _keep_fields(data, _UNSETTABLE | _VLAN if self._hides_tag else _UNSETTABLE)
        length = 4 + len(data)
        return kind.to_bytes(2, "big") + length.to_bytes(2, "big") + data + b"\0" * (-length % 8)


def _properties(record: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each property's ids."""
    position, end = FIXED, len(record)
    while position < end:
        if end - position < 4:
            raise Refused(errors.BAD_LENGTH, "table feature property cut short")
        kind = int.from_bytes(record[position : position + 2], "big")
        length = int.from_bytes(record[position + 2 : position + 4], "big")
        if length < 4 or position + length > end:
            raise Refused(errors.BAD_LENGTH, f"table feature property of length {length}")
        yield kind, position + 4, position + length
        position += length + 7 & ~7


def _keep_typed(data: bytes, wanted: frozenset[int] | set[int]) -> bytes:
    kept, position = [], 0
    while position + 4 <= len(data):
        kind = int.from_bytes(data[position : position + 2], "big")
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 4:
            raise Refused(errors.BAD_LENGTH, f"table feature id of length {length}")
        if kind in wanted:
            kept.append(data[position : position + length])
        position += length
    return b"".join(kept)


def _keep_fields(data: bytes, unwanted: frozenset[int]) -> bytes:
    kept, position = [], 0
    while position + 4 <= len(data):
        header = data[position : position + 4]
        if header[:2] == b"\xff\xff":
            position += 8
            continue
        number = header[2] >> 1
        if header[:2] == b"\x80\x00" and number in oxm.FIELDS and number not in unwanted:
            kept.append(header)
        position += 4
    return b"".join(kept)


def split_records(data: bytes) -> list[bytes]:
    """The records of one TABLE_FEATURES reply; ``BAD_LENGTH`` when one does not fit."""
    found, position = [], 16
    while position < len(data):
        length = int.from_bytes(data[position : position + 2], "big")
        if length < FIXED or position + length > len(data):
            raise Refused(errors.BAD_LENGTH, f"table features of length {length}")
        found.append(data[position : position + length])
        position += length
    return found


class TableCache:
    """A switch's own table features, asked for once, when somebody first wants them."""

    def __init__(self) -> None:
        self._records: list[bytes] | None = None
        self._failed = False
        self._waiting: list[Callable[[list[bytes] | None], None]] = []

    def forget(self) -> None:
        """The switch is another one, perhaps: ask again."""
        self._records, self._failed = None, False
        self._waiting.clear()

    def get(self, switch: Switch, known: Callable[[list[bytes] | None], None], now: float) -> None:
        """Call ``known`` with the records, now or when the switch has answered; None if it will not."""
        if self._records is not None or self._failed:
            known(self._records)
            return
        self._waiting.append(known)
        if len(self._waiting) > 1:
            return
        found: list[bytes] = []

        def part(message: bytes, when: float) -> None:
            if message[1] == header.ERROR:
                self._failed = True
            else:
                found.extend(split_records(message))
                if stats.head(message)[1] & 1:
                    return
                self._records = found
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each(self._records)

        switch.ask(stats.request(4, 0, v13.MP_TABLE_FEATURES), part, now)
