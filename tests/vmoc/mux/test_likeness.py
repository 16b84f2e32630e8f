"""What a switch may put its own way, and what is something else."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.groupwire import bucket, out
from vmoc.mux.likeness import actions_alike, group_alike, meter_alike
from vmoc.openflow.v13 import group as g13

V10, V13 = of.V10, of.V13
ALL, SELECT, INDIRECT, FAST_FAILOVER = range(4)
ETH = of.set_field("eth_src", "02:00:00:00:00:01")
OTHER_ETH = of.set_field("eth_src", "02:00:00:00:00:02")
PCP = of.set_field("vlan_pcp", 3)
OUT = of.output(V10, 1)
METER = of.instruction(6, struct.pack("!I", 1))
GOTO = of.goto_table(3)
CLEAR = of.instruction(5, bytes(4))


def metadata(value: int, mask: int) -> bytes:
    return struct.pack("!HH4xQQ", 2, 24, value, mask)


def to(version: int, port: int | str, length: int) -> bytes:
    return of.output(version, port, length)


@pytest.mark.parametrize(
    ("version", "one", "other"),
    [
        (V10, OUT, OUT),
        (V10, to(V10, 1, 0), to(V10, 1, 99)),
        (V13, of.apply_actions(to(V13, 1, 0)), of.apply_actions(to(V13, 1, 99))),
        (V13, METER + GOTO, GOTO + METER),
        (V13, of.write_actions(ETH + PCP), of.write_actions(PCP + ETH)),
        (V13, of.write_actions(OTHER_ETH + ETH), of.write_actions(ETH)),
        (V13, of.write_actions(to(V13, 2, 0)), of.write_actions(to(V13, 2, 99))),
        (V13, of.apply_actions(b"") + of.write_actions(b"") + GOTO, GOTO),
        (V13, metadata(0x105, 0xFF), metadata(0x5, 0xFF)),
    ],
)
def test_actions_put_another_way_are_alike(version: int, one: bytes, other: bytes) -> None:
    assert actions_alike(version, one, other)
    assert actions_alike(version, other, one)


@pytest.mark.parametrize(
    ("version", "one", "other"),
    [
        (V10, of.output(V10, 1), of.output(V10, 2)),
        (V10, of.output(V10, 1), b""),
        (V10, of.set_pcp(V10, 1) + of.output(V10, 1), of.output(V10, 1) + of.set_pcp(V10, 1)),
        (V10, to(V10, "controller", 10), to(V10, "controller", 20)),
        (V13, of.apply_actions(to(V13, "controller", 10)), of.apply_actions(to(V13, "controller", 20))),
        (V13, of.write_actions(to(V13, "controller", 10)), of.write_actions(to(V13, "controller", 20))),
        (V13, of.apply_actions(ETH + PCP), of.apply_actions(PCP + ETH)),
        (V13, of.apply_actions(ETH), of.write_actions(ETH)),
        (V13, of.write_actions(ETH), of.write_actions(OTHER_ETH)),
        (V13, of.write_actions(ETH + OTHER_ETH), of.write_actions(ETH)),
        (V13, GOTO, of.goto_table(4)),
        (V13, METER + GOTO, GOTO),
        (V13, CLEAR + GOTO, GOTO),
        (V13, metadata(5, 0xFF), metadata(5, 0x0F)),
        (V13, GOTO, GOTO[:6]),
        (V10, OUT, OUT[:6]),
    ],
)
def test_other_actions_are_not(version: int, one: bytes, other: bytes) -> None:
    assert not actions_alike(version, one, other)
    assert not actions_alike(version, other, one)


def described(kind: int, buckets: bytes) -> bytes:
    """A GROUP_DESC record."""
    return struct.pack("!HBxI", 8 + len(buckets), kind, 1) + buckets


def parsed(buckets: bytes) -> list[g13.Bucket]:
    return g13.parse_buckets(buckets, 0, len(buckets))


TWO = bucket(out(2), weight=3, watch_port=2) + bucket(out(3), weight=1, watch_port=3)


@pytest.mark.parametrize("kind", range(4))
def test_a_group_is_like_itself(kind: int) -> None:
    assert group_alike(described(kind, TWO), kind, parsed(TWO))
    assert not group_alike(described(kind, TWO), (kind + 1) % 4, parsed(TWO))
    assert not group_alike(described(kind, TWO), kind, parsed(TWO)[:1])
    assert not group_alike(described(kind, TWO), kind, parsed(TWO)[::-1])
    assert not group_alike(described(kind, TWO[:-4]), kind, parsed(TWO))


@pytest.mark.parametrize("kind", range(4))
def test_weights_and_watched_ports_count_where_they_work(kind: int) -> None:
    heavier = bucket(out(2), weight=4, watch_port=2) + bucket(out(3), weight=1, watch_port=3)
    assert group_alike(described(kind, TWO), kind, parsed(heavier)) is (kind != SELECT)
    watched = bucket(out(2), weight=3, watch_port=2) + bucket(out(3), weight=1, watch_port=2)
    assert group_alike(described(kind, TWO), kind, parsed(watched)) is (kind != FAST_FAILOVER)


def test_a_bucket_is_an_action_set() -> None:
    assert group_alike(described(INDIRECT, bucket(ETH + PCP)), INDIRECT, parsed(bucket(PCP + ETH)))
    assert not group_alike(described(INDIRECT, bucket(ETH)), INDIRECT, parsed(bucket(ETH + PCP)))


def config(flags: int, bands: bytes) -> bytes:
    """A METER_CONFIG record."""
    return struct.pack("!HHI", 8 + len(bands), flags, 1) + bands


def band(rate: int = 1000, burst: int = 0, kind: int = 1) -> bytes:
    return struct.pack("!HHII4x", kind, 16, rate, burst)


@pytest.mark.parametrize(
    ("flags", "shown", "wanted", "alike"),
    [
        (1, band(), band(), True),
        (1, band(burst=1000), band(), True),
        (5, band(burst=1000), band(), False),
        (1, band(rate=999), band(), False),
        (1, band(kind=2), band(), False),
        (1, band() + band(burst=7), band() + band(), True),
        (1, band() + band(), band(), False),
        (1, b"", b"", True),
    ],
)
def test_a_meters_bursts_count_if_it_has_any(flags: int, shown: bytes, wanted: bytes, alike: bool) -> None:
    assert meter_alike(config(flags, shown), flags.to_bytes(2, "big") + wanted) is alike
    assert not meter_alike(config(flags ^ 2, shown), flags.to_bytes(2, "big") + wanted)
