"""TABLE_FEATURES of a virtual switch: the real ones without what a slice may not use (vetting A.7).

Record (OF1.3 7.3.5.5.2): length 2, table 1, pad 5, name 32, metadata_match 8,
metadata_write 8, config 4, max_entries 4, properties. A property: type 2,
length 2 (without padding), ids, padded to 8; instructions and actions are
(type 2, length 2), next tables are bytes, match and set-field lists are OXM
headers of 4 bytes (experimenters' of 8).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import header, stats, v13
from vmoc.openflow.v13 import oxm
from vmoc.policy import actions13
from vmoc.policy.grant import SLOT_BITS, Grant

if TYPE_CHECKING:
    from vmoc.mux.switch import Switch

Known = Callable[[list[bytes] | None, float], None]

FIXED: Final = 64
_INSTRUCTIONS: Final = (0, 1)
_NEXT_TABLES: Final = (2, 3)
_MATCH: Final = (8, 10)
_SET_FIELD: Final = (12, 13, 14, 15)
_KNOWN_INSTRUCTIONS: Final = frozenset(range(1, 7))


class Trimmer:
    """What one virtual datapath may be told. ``max_entries`` is its flow quota, 0 for none."""

    def __init__(self, grant: Grant, max_entries: int) -> None:
        self._first, self._end = grant.first_table, grant.first_table + grant.n_tables
        self._metadata = ~SLOT_BITS if grant.slot else -1
        self._max_entries = max_entries
        self._known: dict[tuple[int, bytes], bytes] = {}
        in_set, in_list = (actions13.offered(grant, in_set=one) for one in (True, False))
        self._actions = {4: in_set, 5: in_set, 6: in_list, 7: in_list}
        settable = actions13.settable(grant)
        matchable = frozenset(oxm.FIELDS.keys() - ({oxm.VLAN_PCP} if grant.hides_tag else set()))
        self._fields = dict.fromkeys(_MATCH, matchable) | dict.fromkeys(_SET_FIELD, settable)

    def trim(self, record: bytes) -> bytes | None:
        """One record as the slice sees it; None for a table it does not have. ``BAD_LENGTH`` when malformed."""
        table = record[2]
        if not self._first <= table < self._end:
            return None
        parts = [
            self._remembered(kind, record[start:end])
            for kind, start, end in _properties(record)
            if kind < 0xFFFE  # experimenters' are not offered
        ]
        body = b"".join(parts)
        capacity = int.from_bytes(record[60:64], "big")
        room = min(capacity, self._max_entries) if self._max_entries else capacity
        head = (FIXED + len(body)).to_bytes(2, "big")
        metadata = b"".join(
            (int.from_bytes(record[at : at + 8], "big") & self._metadata).to_bytes(8, "big") for at in (40, 48)
        )
        table -= self._first
        return b"".join((head, bytes((table,)), record[3:40], metadata, record[56:60], room.to_bytes(4, "big"), body))

    def _remembered(self, kind: int, data: bytes) -> bytes:
        # Most of what a switch says of one table it says of the others, too.
        found = self._known.get((kind, data))
        if found is None:
            found = self._known[kind, data] = self._property(kind, data)
        return found

    def _property(self, kind: int, data: bytes) -> bytes:
        if kind in _INSTRUCTIONS:
            data = _keep_typed(data, _KNOWN_INSTRUCTIONS)
        elif kind in self._actions:
            data = _keep_typed(data, self._actions[kind])
        elif kind in _NEXT_TABLES:
            data = bytes(table - self._first for table in data if self._first <= table < self._end)
        elif kind in self._fields:
            data = _keep_fields(data, self._fields[kind])
        length = 4 + len(data)
        return kind.to_bytes(2, "big") + length.to_bytes(2, "big") + data + b"\0" * (-length % 8)


@dataclass(frozen=True, slots=True)
class TableRecord:
    """What decides how a table can be used; types of actions and the like are the ``Trimmer``'s."""

    instructions: frozenset[int]
    next_tables: frozenset[int]
    matchable: frozenset[int]
    metadata_match: int
    metadata_write: int

    @classmethod
    def parse(cls, record: bytes) -> TableRecord:
        """Read one record; ``BAD_LENGTH`` when malformed."""
        lists = {kind: record[start:end] for kind, start, end in _properties(record)}
        ids = _keep_typed(lists.get(_INSTRUCTIONS[0], b""), _KNOWN_INSTRUCTIONS)
        fields = _keep_fields(lists.get(_MATCH[0], b""), frozenset(oxm.FIELDS))
        return cls(
            frozenset(int.from_bytes(ids[at : at + 2], "big") for at in range(0, len(ids), 4)),
            frozenset(lists.get(_NEXT_TABLES[0], b"")),
            frozenset(fields[at] >> 1 for at in range(2, len(fields), 4)),
            int.from_bytes(record[40:48], "big"),
            int.from_bytes(record[48:56], "big"),
        )


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


def _keep_typed(data: bytes, wanted: frozenset[int]) -> bytes:
    kept, position = [], 0
    while position + 4 <= len(data):
        kind = int.from_bytes(data[position : position + 2], "big")
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 4 or position + length > len(data):
            raise Refused(errors.BAD_LENGTH, f"table feature id of length {length}")
        if kind in wanted:
            kept.append(data[position : position + length])
        position += length
    return b"".join(kept)


def _keep_fields(data: bytes, wanted: frozenset[int]) -> bytes:
    kept, position = [], 0
    while position + 4 <= len(data):
        head = data[position : position + 4]
        if head[:2] == b"\x80\x00" and head[2] >> 1 in wanted:
            kept.append(head)
        position += 8 if head[:2] == b"\xff\xff" else 4
    return b"".join(kept)


def split_records(data: bytes, position: int = 0) -> list[bytes]:
    """The records from ``position`` on; ``BAD_LENGTH`` when one does not fit."""
    found = []
    while position < len(data):
        length = int.from_bytes(data[position : position + 2], "big")
        if length < FIXED or position + length > len(data):
            raise Refused(errors.BAD_LENGTH, f"table features of length {length}")
        found.append(data[position : position + length])
        position += length
    return found


class TableCache:
    """A switch's own table features, asked for once.

    Kept compressed: they are a megabyte of much the same on some switches.
    """

    def __init__(self) -> None:
        self._packed: bytes | None = None
        self._asked = self._failed = False
        self._waiting: list[Known] = []

    def forget(self) -> None:
        """The switch is another one, perhaps: ask again."""
        self._packed = None
        self._asked = self._failed = False
        self._waiting.clear()

    def get(self, switch: Switch, known: Known, now: float) -> None:
        """Call ``known`` with the records, now or when the switch has answered; None if it will not."""
        if self._packed is not None or self._failed:
            known(self._records(), now)
        else:
            self._waiting.append(known)
            self.fetch(switch, now)

    def fetch(self, switch: Switch, now: float) -> None:
        """Ask the switch, unless that has been done."""
        if self._asked:
            return
        self._asked = True
        packer = zlib.compressobj(1)
        packed: list[bytes] = []
        told: set[int] = set()

        def part(message: bytes, when: float) -> None:
            try:
                if message[1] == header.ERROR:
                    self._failed = True
                elif not self._failed:
                    for record in split_records(message, 16):
                        if record[2] in told:  # each controller that asks gets all of them looked through
                            raise Refused(errors.BAD_LENGTH, f"table {record[2]} is told twice")
                        told.add(record[2])
                    packed.append(packer.compress(message[16:]))
                    if not stats.head(message)[1] & 1:
                        self._packed = b"".join((*packed, packer.flush()))
            except Refused:
                self._failed = True  # what it says of itself cannot be read: nobody can be told
                raise
            finally:
                if self._failed or self._packed is not None:
                    waiting, self._waiting = self._waiting, []
                    records = self._records() if waiting else None
                    for each in waiting:
                        each(records, when)

        switch.ask(stats.request(4, 0, v13.MP_TABLE_FEATURES), part, now)

    def _records(self) -> list[bytes] | None:
        return None if self._packed is None else split_records(zlib.decompress(self._packed))
