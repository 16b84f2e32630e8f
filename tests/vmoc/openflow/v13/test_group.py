"""Group-mods, meter-mods and the records of their statistics."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13

OUTPUT = "00000010 00000002 0000 000000000000"
BUCKET = "0020 0005 00000007 ffffffff 00000000" + OUTPUT
EMPTY = "0010 0000 ffffffff ffffffff 00000000"
GROUP = "040f00{:02x} 00000009 0001 02 00 00000063"
METER = "041d00{:02x} 00000009 0000 0005 00000063"
DROP = "0001 0010 000003e8 00000064 00000000"
REMARK = "0002 0010 000003e8 00000064 02000000"


def group(buckets: str) -> bytes:
    body = bytes.fromhex(buckets)
    return bytes.fromhex(GROUP.format(16 + len(body))) + body


def meter(bands: str) -> bytes:
    body = bytes.fromhex(bands)
    return bytes.fromhex(METER.format(16 + len(body))) + body


BUCKETS = [g13.Bucket(5, 7, 0xFFFFFFFF, [(a13.OUTPUT, 2, 0)]), g13.Bucket(0, 0xFFFFFFFF, 0xFFFFFFFF, [])]


def test_a_group_mod() -> None:
    data = group(BUCKET + EMPTY)
    assert g13.parse_group_mod(data) == g13.GroupMod(1, 2, 99, BUCKETS)
    assert g13.group_mod(9, 1, 2, 99, g13.pack_buckets(BUCKETS)) == data
    assert g13.parse_group_mod(group("")) == (1, 2, 99, [])
    assert g13.group_mod(9, 1, 2, 99) == group("")


def test_buckets_may_be_left_alone() -> None:
    assert g13.parse_group_mod(group("ff" * 7), with_buckets=False) == (1, 2, 99, [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (group("")[:-1], errors.BAD_LENGTH),
        (group("00" * 15), errors.BUCKET_LENGTH),
        (group(BUCKET + "00" * 4), errors.BUCKET_LENGTH),
        (group("0000" + EMPTY[4:]), errors.BUCKET_LENGTH),
        (group("0008" + EMPTY[4:]), errors.BUCKET_LENGTH),
        (group("0014" + EMPTY[4:] + "00000000"), errors.BUCKET_LENGTH),
        (group("0018" + EMPTY[4:]), errors.BUCKET_LENGTH),
        (group("0018" + EMPTY[4:] + "0012001000000000"), errors.ACTION_LENGTH),
        (group("0018" + EMPTY[4:] + "0001000800650000"), errors.ACTION_TYPE),
    ],
)
def test_refused_groups(data: bytes, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        g13.parse_group_mod(data)
    assert caught.value.reason is reason


BANDS = [g13.Band(g13.BAND_DROP, 1000, 100, 0), g13.Band(g13.BAND_DSCP_REMARK, 1000, 100, 2)]


def test_a_meter_mod() -> None:
    data = meter(DROP + REMARK)
    assert g13.parse_meter_mod(data) == g13.MeterMod(0, 5, 99, BANDS)
    assert g13.meter_mod(9, 0, 5, 99, BANDS) == data
    assert g13.parse_meter_mod(meter("")) == (0, 5, 99, [])
    assert g13.meter_mod(9, 0, 5, 99) == meter("")


def test_padding_of_a_drop_band_is_ignored() -> None:
    assert g13.parse_meter_mod(meter(DROP[:-8] + "01020304")).bands == BANDS[:1]


def test_bands_may_be_left_alone() -> None:
    assert g13.parse_meter_mod(meter("ff" * 7), with_bands=False) == (0, 5, 99, [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (meter("")[:-1], errors.BAD_LENGTH),
        (meter("00" * 15), errors.BAD_LENGTH),
        (meter(DROP + "0001"), errors.BAD_LENGTH),
        (meter("0001 0000" + DROP[9:]), errors.BAD_LENGTH),
        (meter("0001 0020" + DROP[9:]), errors.BAD_LENGTH),
        (meter("0003" + DROP[4:]), errors.METER_BAND),
        (meter("ffff" + DROP[4:]), errors.METER_BAND),
    ],
)
def test_refused_meters(data: bytes, reason: errors.Reason) -> None:
    with pytest.raises(Refused) as caught:
        g13.parse_meter_mod(data)
    assert caught.value.reason is reason


def test_records() -> None:
    first, second = b"\0\x06abcd", b"\0\x04xy"
    assert g13.records(b"head" + first + second, 4, 4) == [first, second]
    assert g13.records(b"head", 4, 4) == []


@pytest.mark.parametrize("broken", [b"\0\0ab", b"\0\x03a", b"\0\x05ab", b"\0", b"\0\x04xy\0"])
def test_records_that_do_not_fit(broken: bytes) -> None:
    with pytest.raises(Refused) as caught:
        g13.records(broken, 0, 4)
    assert caught.value.reason is errors.BAD_LENGTH
