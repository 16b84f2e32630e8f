"""Single fields: what is in range comes through, what is not is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from am_bridge import fields
from am_bridge.violations import Violations


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (fields.read_name, "urn:publicid:IDN+a+slice+b", "urn:publicid:IDN+a+slice+b"),
        (fields.read_vlan, 4094, 4094),
        (fields.read_dpid, "00:00:00:00:00:00:00:ff", 255),
        (fields.read_port, 0xFFFFFFFE, 0xFFFFFFFE),
        (fields.read_port, 0xFFFFFEFF, 0xFFFFFEFF),
        (fields.read_mac, "00:1B:44:11:3A:B7", "00:1b:44:11:3a:b7"),
        (fields.read_ip, "2001:DB8:0::1", "2001:db8::1"),
        (fields.read_ip, "10.0.0.1", "10.0.0.1"),
        (fields.read_time, Timestamp(seconds=5, nanos=500_000_000), 5.5),
        (fields.read_duration, Duration(seconds=60), 60.0),
        (fields.read_duration, Duration(nanos=1), 1e-9),
    ],
)
def test_in_range(read: Callable[..., object], value: object, expected: object) -> None:
    problems = Violations()
    assert read(value, "f", problems) == expected
    assert not problems.count


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (fields.read_name, ""),
        (fields.read_name, "a/b"),
        (fields.read_vlan, 0),
        (fields.read_vlan, 4095),
        (fields.read_dpid, ""),
        (fields.read_dpid, "1"),
        (fields.read_dpid, "0x" + "0" * 1000 + "1"),
        (fields.read_port, 0),
        (fields.read_port, 0xFFFFFF00),
        (fields.read_port, 0xFFFFFFFF),
        (fields.read_mac, "00:1b:44:11:3a"),
        (fields.read_mac, "00-1b-44-11-3a-b7"),
        (fields.read_mac, "00:1b:44:11:3a:b7\n"),
        (fields.read_ip, "10.0.0"),
        (fields.read_ip, "10.0.0.1/8"),
        (fields.read_controller, "tcp:a b:1"),
        (fields.read_time, Timestamp(seconds=253_402_300_800)),
        (fields.read_time, Timestamp(nanos=-1)),
        (fields.read_duration, Duration()),
        (fields.read_duration, Duration(seconds=-1)),
        (fields.read_duration, Duration(seconds=1, nanos=-1)),
        (fields.read_duration, Duration(seconds=2**62)),
    ],
)
def test_out_of_range(read: Callable[..., object], value: Any) -> None:
    problems = Violations()
    read(value, "some.field", problems)
    [(path, description)] = problems.found
    assert path == "some.field"
    assert description.startswith("must be")
    assert len(description) < 200


def test_some_may_be_left_out() -> None:
    problems = Violations()
    assert fields.read_name("", "f", problems, optional=True) == ""
    assert fields.read_vlan(0, "f", problems, optional=True) == 0
    assert fields.read_request_id("", problems) == ""
    assert not problems.count
    fields.read_request_id("x" * 65, problems)
    assert problems.found == [("request_id", "must have at most 64 characters, not 65")]


@given(st.floats(0, 253_402_300_799))
def test_times_are_kept_to_the_nanosecond(seconds: float) -> None:
    message = fields.to_timestamp(seconds)
    assert 0 <= message.nanos < 10**9
    assert abs(fields.read_time(message, "f", Violations()) - seconds) <= 1e-9


@given(st.floats(allow_nan=False))
def test_any_time_becomes_a_legal_timestamp(seconds: float) -> None:
    problems = Violations()
    fields.read_time(fields.to_timestamp(seconds), "f", problems)
    assert not problems.count


def test_a_nanosecond_short_of_a_second_is_that_second() -> None:
    assert fields.to_timestamp(1.9999999999) == Timestamp(seconds=2)
