"""Groups and meters of OpenFlow 1.3: GROUP_MOD (7.3.4.2), METER_MOD (7.3.4.4) and their multipart records (7.3.5).

Group-mod: command 2, type 1, pad 1, group 4, buckets. Bucket: length 2,
weight 2, watch_port 4, watch_group 4, pad 4, actions. Meter-mod: command 2,
flags 2, meter 4, bands. Band: type 2, length 2, rate 4, burst 4, and 4 bytes by type.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.header import OF13, message
from vmoc.openflow.v13 import GROUP_MOD, METER_MOD
from vmoc.openflow.v13.actions import Action, pack, parse

GROUP_MAX: Final = 0xFFFFFF00
GROUP_ALL: Final = 0xFFFFFFFC
METER_MAX: Final = 0xFFFF0000
METER_SLOWPATH: Final = 0xFFFFFFFD
METER_CONTROLLER: Final = 0xFFFFFFFE
METER_ALL: Final = 0xFFFFFFFF

TYPE_ALL: Final = 0
TYPE_SELECT: Final = 1
TYPE_INDIRECT: Final = 2
TYPE_FAST_FAILOVER: Final = 3

BAND_DROP: Final = 1
BAND_DSCP_REMARK: Final = 2

_GROUP: Final = Struct("!HBxI")
_BUCKET: Final = Struct("!HHII4x")
_METER: Final = Struct("!HHI")
_BAND: Final = Struct("!HHII")


class Bucket(NamedTuple):
    """One bucket, decoded."""

    weight: int
    watch_port: int
    watch_group: int
    actions: list[Action]


class GroupMod(NamedTuple):
    """A GROUP_MOD, decoded."""

    command: int
    kind: int
    group: int
    buckets: list[Bucket]


class Band(NamedTuple):
    """One meter band; ``extra`` is prec_level for DSCP_REMARK, else 0."""

    kind: int
    rate: int
    burst: int
    extra: int


class MeterMod(NamedTuple):
    """A METER_MOD, decoded."""

    command: int
    flags: int
    meter: int
    bands: list[Band]


def parse_group_mod(data: bytes, *, with_buckets: bool = True) -> GroupMod:
    """Decode; ``BAD_LENGTH`` below 16 bytes, ``BUCKET_LENGTH`` for a bad bucket, and what actions raise."""
    if len(data) < 16:
        raise Refused(errors.BAD_LENGTH, f"GROUP_MOD of {len(data)} bytes")
    command, kind, group = _GROUP.unpack_from(data, 8)
    buckets = parse_buckets(data, 16, len(data)) if with_buckets else []
    return GroupMod(command, kind, group, buckets)


def parse_buckets(data: bytes, start: int, end: int) -> list[Bucket]:
    """The buckets in ``data[start:end]``."""
    buckets: list[Bucket] = []
    position = start
    while position < end:
        if end - position < _BUCKET.size:
            raise Refused(errors.BUCKET_LENGTH, f"{end - position} bytes left where a bucket should be")
        length, weight, port, group = _BUCKET.unpack_from(data, position)
        if length < _BUCKET.size or length & 7 or position + length > end:
            raise Refused(errors.BUCKET_LENGTH, f"bucket states length {length}")
        actions = parse(data, position + _BUCKET.size, position + length)
        buckets.append(Bucket(weight, port, group, actions))
        position += length
    return buckets


def pack_buckets(buckets: Iterable[Bucket]) -> bytes:
    """Canonical bytes of ``buckets``."""
    parts = []
    for bucket in buckets:
        body = pack(bucket.actions)
        head = _BUCKET.pack(_BUCKET.size + len(body), bucket.weight, bucket.watch_port, bucket.watch_group)
        parts.append(head + body)
    return b"".join(parts)


def group_mod(xid: int, command: int, kind: int, group: int, buckets: bytes = b"") -> bytes:
    """A whole GROUP_MOD."""
    return message(OF13, GROUP_MOD, xid, _GROUP.pack(command, kind, group) + buckets)


def parse_meter_mod(data: bytes, *, with_bands: bool = True) -> MeterMod:
    """Decode; ``BAD_LENGTH`` for a bad band, ``METER_BAND`` for an unknown one."""
    if len(data) < 16:
        raise Refused(errors.BAD_LENGTH, f"METER_MOD of {len(data)} bytes")
    command, flags, meter = _METER.unpack_from(data, 8)
    bands: list[Band] = []
    position = 16
    while with_bands and position < len(data):
        if len(data) - position < 16:
            raise Refused(errors.BAD_LENGTH, "meter band cut short")
        kind, length, rate, burst = _BAND.unpack_from(data, position)
        if kind not in (BAND_DROP, BAND_DSCP_REMARK):
            raise Refused(errors.METER_BAND, f"meter band of type {kind}")
        if length != 16:
            raise Refused(errors.BAD_LENGTH, f"meter band states length {length}")
        bands.append(Band(kind, rate, burst, data[position + 12] if kind == BAND_DSCP_REMARK else 0))
        position += length
    return MeterMod(command, flags, meter, bands)


def meter_mod(xid: int, command: int, flags: int, meter: int, bands: Iterable[Band] = ()) -> bytes:
    """A whole METER_MOD."""
    body = b"".join(_BAND.pack(band.kind, 16, band.rate, band.burst) + bytes((band.extra, 0, 0, 0)) for band in bands)
    return message(OF13, METER_MOD, xid, _METER.pack(command, flags, meter) + body)


def records(data: bytes, start: int, least: int, at: int = 0) -> list[bytes]:
    """The records of a GROUP, GROUP_DESC, METER_CONFIG or (``at`` 4) METER reply; ``BAD_LENGTH`` when one does not fit.

    ``at``: where in a record its length stands.
    """
    found = []
    position, end = start, len(data)
    while position < end:
        length = int.from_bytes(data[position + at : position + at + 2], "big")
        if length < least or position + length > end:
            raise Refused(errors.BAD_LENGTH, f"record of length {length}")
        found.append(data[position : position + length])
        position += length
    return found
