"""Slices from protobuf to the model and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from am_bridge import convert
from am_bridge.convert import Choice
from am_bridge.reasons import FIELD_INVALID
from am_bridge.status import ApiError
from am_bridge.violations import Violations
from tests.am_bridge.slice_strategies import MESSAGES, SLICES
from vmoc.model import Attachment, Endpoint, Limits, Origin, Segment, Slice
from vmoc.v1 import resources_pb2 as pb

DEFAULTS = Limits(max_flows=77, stats_rate=3)


def message(**changes: object) -> pb.Slice:
    one = pb.Slice(slice_id="alice", segments=[pb.Segment(vlan_id=101)])
    for name, value in changes.items():
        one.ClearField(name)  # type: ignore[arg-type]
        one.MergeFrom(pb.Slice(**{name: value}))  # type: ignore[arg-type]
    return one


def segment(**changes: object) -> pb.Slice:
    return message(segments=[pb.Segment(**({"vlan_id": 101} | changes))])  # type: ignore[arg-type]


def attached(**changes: object) -> pb.Slice:
    return segment(attachments=[pb.Attachment(**({"dpid": "0x1"} | changes))])  # type: ignore[arg-type]


def complaints(one: pb.Slice) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        convert.asked_slice(one, DEFAULTS)
    assert caught.value.reason is FIELD_INVALID
    assert len(dict(caught.value.violations)) == len(caught.value.violations)
    return dict(caught.value.violations)


@given(SLICES)
def test_a_slice_comes_back_as_it_went(one: Slice) -> None:
    wire = convert.slice_message(one, etag="e", create_time=1.0).SerializeToString()
    asked = convert.asked_slice(pb.Slice.FromString(wire), DEFAULTS)
    assert asked.slice == one
    assert not asked.choices


@given(MESSAGES)
def test_a_message_is_a_slice_or_has_violations_and_nothing_else(one: pb.Slice) -> None:
    problems = Violations()
    asked = convert.read_slice(one, DEFAULTS, "slice", problems)
    if problems.count:
        assert all(re.match(r"slice\.\w+", path) for path, _ in problems.found)
        return
    # What was taken is in range, and is understood the same when it is sent back.
    assert asked.slice.id == one.slice_id
    chosen = [replace(one, vlan=one.vlan or 4000 + index) for index, one in enumerate(asked.slice.segments)]
    settled = replace(asked.slice, segments=tuple(chosen))
    vlans = {segment.vlan for segment in settled.segments}
    assert all(1 <= vlan <= 4094 for vlan in vlans)
    if len(vlans) == len(settled.segments):
        assert convert.asked_slice(convert.slice_message(settled), Limits()).slice == settled


@given(MESSAGES, st.data())
def test_bytes_that_were_damaged_on_the_way(one: pb.Slice, data: st.DataObject) -> None:
    wire = bytearray(one.SerializeToString())
    for where in data.draw(st.lists(st.integers(0, max(len(wire) - 1, 0)), max_size=3 if wire else 0)):
        wire[where] = data.draw(st.integers(0, 255))
    # Whatever it says now, it is taken, or refused by one of these two.
    with suppress(DecodeError, ApiError):
        convert.asked_slice(pb.Slice.FromString(bytes(wire)), DEFAULTS)


def test_what_is_not_given_has_the_documented_defaults() -> None:
    one = convert.asked_slice(message(), DEFAULTS).slice
    assert one == Slice("alice", (Segment(101),), limits=DEFAULTS, origin=Origin.API)
    assert one.segments[0].attachments is None


def test_some_limits_may_be_given() -> None:
    one = convert.asked_slice(message(limits=pb.Limits(max_flows=0, max_groups=5)), DEFAULTS).slice
    assert one.limits == Limits(max_flows=0, max_groups=5, stats_rate=3)


def test_nowhere_everywhere_and_no_port_are_three_things() -> None:
    assert convert.asked_slice(segment(unattached=True), DEFAULTS).slice.segments[0].attachments == ()
    assert convert.asked_slice(segment(), DEFAULTS).slice.segments[0].attachments is None
    every, none = (convert.asked_slice(attached(no_ports=no), DEFAULTS).slice.segments[0] for no in (False, True))
    assert every.attachments == (Attachment(1),)
    assert none.attachments == (Attachment(1, frozenset()),)


def test_a_dpid_may_be_written_in_each_of_its_forms() -> None:
    forms = ["0x1", "0000000000000001", "00:00:00:00:00:00:00:01"]
    assert {convert.asked_slice(attached(dpid=one), DEFAULTS).slice.segments[0] for one in forms} == {
        Segment(101, attachments=(Attachment(1),))
    }
    assert convert.segment_message(Segment(1, attachments=(Attachment(255),))).attachments[0].dpid == (
        "0x00000000000000ff"
    )


def test_a_few_bytes_of_ports_do_not_become_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MOST_PLACES", 100)
    queues = [pb.PortQueues(port=port, queue_ids=range(4)) for port in range(1, 6)]
    place = pb.Attachment(dpid="0x1", ports=range(1, 25), queues=queues)  # 1 + 24 + 5 * (1 + 4)
    one = message(segments=[pb.Segment(vlan_id=vlan, attachments=[place]) for vlan in (1, 2)])
    assert len(convert.asked_slice(one, DEFAULTS).slice.segments) == 2
    one.segments[0].attachments[0].queues[0].queue_ids.append(9)
    with pytest.raises(ApiError) as caught:
        convert.asked_slice(one, DEFAULTS)
    assert caught.value.violations[0][0] == "slice"
    assert "at most 100 attachments, ports and queues together, not 101" in caught.value.message
    with pytest.raises(ApiError) as caught:
        convert.asked_slices([one], DEFAULTS)
    assert caught.value.violations[0][0] == "slices"


def test_any_free_vlan() -> None:
    choice = pb.VlanChoice(ranges=[pb.VlanRange(first=5, last=9)], avoided_ranges=[pb.VlanRange(first=7, last=7)])
    asked = convert.asked_slice(
        message(segments=[pb.Segment(vlan_id=101), pb.Segment(), pb.Segment(vlan_choice=choice)]), DEFAULTS
    )
    assert asked.choices == {1: Choice(), 2: Choice(ranges=((5, 9),), avoided=((7, 7),))}
    assert [vlan for vlan in range(1, 12) if asked.choices[2].allows(vlan)] == [5, 6, 8, 9]
    assert asked.choices[1].allows(4094)
    assert [one.vlan for one in asked.slice.segments] == [101, 0, 0]


CASES: dict[str, tuple[Callable[[], pb.Slice], str, str]] = {
    "no id": (lambda: message(slice_id=""), "slice.slice_id", "must be given"),
    "id": (lambda: message(slice_id="a b"), "slice.slice_id", "must be 1 to 128 of"),
    "long id": (lambda: message(slice_id="a" * 129), "slice.slice_id", "must be 1 to 128 of"),
    "newline in id": (lambda: message(slice_id="a\n"), "slice.slice_id", "must be 1 to 128 of"),
    "manager": (lambda: message(manager="é"), "slice.manager", "must be 1 to 128 of"),
    "owner": (lambda: message(owner="x" * 257), "slice.owner", "must have at most 256 characters, not 257"),
    "terminal codes": (lambda: message(owner="\x1b[2J"), "slice.owner", "must be one line of printable"),
    "labels": (lambda: message(labels={str(i): "" for i in range(65)}), "slice.labels", "must be at most 64, not 65"),
    "label key": (lambda: message(labels={"": ""}), "slice.labels['']", "must have a key of 1 to 63"),
    "label value": (lambda: message(labels={"a": "x" * 257}), "slice.labels['a']", "must have at most 256"),
    "state": (lambda: message(admin_state=9), "slice.admin_state", "must be one of AdminState, not 9"),
    "time": (lambda: message(expire_time=Timestamp(seconds=-1)), "slice.expire_time", "must be a time between"),
    "nanos": (lambda: message(expire_time=Timestamp(nanos=10**9)), "slice.expire_time", "must be a time between"),
    "limit": (lambda: message(limits=pb.Limits(stats_rate=-1)), "slice.limits.stats_rate", "must be 0 (unlimited)"),
    "segments": (
        lambda: message(segments=[pb.Segment(vlan_id=1)] * 4095),
        "slice.segments",
        "must be at most 4094, not 4095",
    ),
    "vlan": (lambda: segment(vlan_id=4095), "slice.segments[0].vlan_id", "must be a VLAN 1 to 4094, not 4095"),
    "vlan twice": (
        lambda: message(segments=[pb.Segment(vlan_id=7), pb.Segment(vlan_id=7)]),
        "slice.segments[1].vlan_id",
        "is given twice, VLAN 7 is that of segments[0] too",
    ),
    "needless choice": (
        lambda: segment(vlan_choice=pb.VlanChoice()),
        "slice.segments[0].vlan_choice",
        "must be absent if vlan_id is given",
    ),
    "range": (
        lambda: segment(vlan_id=0, vlan_choice=pb.VlanChoice(ranges=[pb.VlanRange(first=9, last=8)])),
        "slice.segments[0].vlan_choice.ranges[0].last",
        "must not be below first, 9; it is 8",
    ),
    "range of 0": (
        lambda: segment(vlan_id=0, vlan_choice=pb.VlanChoice(avoided_ranges=[pb.VlanRange(first=0, last=8)])),
        "slice.segments[0].vlan_choice.avoided_ranges[0].first",
        "must be a VLAN",
    ),
    "presentation": (lambda: segment(presentation=3), "slice.segments[0].presentation", "this server knows, not 3"),
    "scheme": (lambda: segment(dpid_scheme=-1), "slice.segments[0].dpid_scheme", "this server knows, not -1"),
    "fail mode": (lambda: segment(fail_mode=4), "slice.segments[0].fail_mode", "this server knows, not 4"),
    "controller": (lambda: segment(controllers=["udp:h:1"]), "slice.segments[0].controllers[0]", "tcp:HOST:PORT"),
    "controller port": (lambda: segment(controllers=["tcp:h:65536"]), "slice.segments[0].controllers[0]", "1 to 65535"),
    "long controller": (
        lambda: segment(controllers=[f"tcp:{'h' * 300}:1"]),
        "slice.segments[0].controllers[0]",
        "tcp:HOST:PORT",
    ),
    "controller twice": (
        lambda: segment(controllers=["tcp:h:1", "tcp:h:01"]),
        "slice.segments[0].controllers[1]",
        "is given twice, in controllers[0] too",
    ),
    "controllers": (
        lambda: segment(controllers=[f"tcp:h:{port}" for port in range(1, 18)]),
        "slice.segments[0].controllers",
        "must be at most 16, not 17",
    ),
    "both": (
        lambda: segment(unattached=True, attachments=[pb.Attachment(dpid="0x1")]),
        "slice.segments[0].attachments",
        "must be empty if unattached is set",
    ),
    "no dpid": (lambda: attached(dpid=""), "slice.segments[0].attachments[0].dpid", "must be given"),
    "dpid": (lambda: attached(dpid="0x" + "1" * 17), "slice.segments[0].attachments[0].dpid", "must be a DPID"),
    "long dpid": (lambda: attached(dpid="0x" + "0" * 100), "slice.segments[0].attachments[0].dpid", "must be a DPID"),
    "dpid twice": (
        lambda: segment(attachments=[pb.Attachment(dpid="0x1"), pb.Attachment(dpid="00:01")]),
        "slice.segments[0].attachments[1].dpid",
        "is given twice, 0x0000000000000001 is that of attachments[0] too",
    ),
    "attachments": (
        lambda: segment(attachments=[pb.Attachment(dpid="0x1")] * 4097),
        "slice.segments[0].attachments",
        "must be at most 4096, not 4097",
    ),
    "port 0": (lambda: attached(ports=[0]), "slice.segments[0].attachments[0].ports[0]", "must be a port 1 to"),
    "flood": (
        lambda: attached(ports=[0xFFFFFFFB]),
        "slice.segments[0].attachments[0].ports[0]",
        "must be a port 1 to",
    ),
    "port twice": (lambda: attached(ports=[3, 3]), "slice.segments[0].attachments[0].ports[1]", "is given twice"),
    "ports": (
        lambda: attached(ports=list(range(1, 4098))),
        "slice.segments[0].attachments[0].ports",
        "must be at most 4096, not 4097",
    ),
    "ports and none": (
        lambda: attached(ports=[3], no_ports=True),
        "slice.segments[0].attachments[0].ports",
        "must be empty if no_ports is set",
    ),
    "queue of another port": (
        lambda: attached(ports=[3], queues=[pb.PortQueues(port=4)]),
        "slice.segments[0].attachments[0].queues[0].port",
        "must be one of the attachment's ports, not 4",
    ),
    "queues twice": (
        lambda: attached(queues=[pb.PortQueues(port=4), pb.PortQueues(port=4)]),
        "slice.segments[0].attachments[0].queues[1].port",
        "is given twice, port 4",
    ),
    "all queues": (
        lambda: attached(queues=[pb.PortQueues(port=4, queue_ids=[0xFFFFFFFF])]),
        "slice.segments[0].attachments[0].queues[0].queue_ids",
        "must be 0 to 4294967294",
    ),
    "queues": (
        lambda: attached(queues=[pb.PortQueues(port=4, queue_ids=range(257))]),
        "slice.segments[0].attachments[0].queues[0].queue_ids",
        "must be at most 256, not 257",
    ),
}


@pytest.mark.parametrize(("make", "path", "text"), CASES.values(), ids=CASES)
def test_what_is_out_of_range_is_named(make: Callable[[], pb.Slice], path: str, text: str) -> None:
    found = complaints(make())
    assert list(found) == [path]
    assert text in found[path]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    batch = [
        message(slice_id="a"),
        message(slice_id="b", owner="\n", segments=[pb.Segment(vlan_id=1), pb.Segment(vlan_id=9000)]),
        message(slice_id="a"),
    ]
    with pytest.raises(ApiError) as caught:
        convert.asked_slices(batch, DEFAULTS)
    assert [path for path, _ in caught.value.violations] == [
        "slices[1].segments[1].vlan_id",
        "slices[1].owner",
        "slices[2].slice_id",
    ]
    assert "and 2 more" in str(caught.value)


def test_a_hostile_batch_costs_little() -> None:
    with pytest.raises(ApiError) as caught:
        convert.asked_slices([message(slice_id="")] * 1000, DEFAULTS)
    assert (len(caught.value.violations), caught.value.violation_count) == (100, 1000)
    with pytest.raises(ApiError, match="slices: must be at most 1000, not 1001"):
        convert.asked_slices([message()] * 1001, DEFAULTS)


def test_a_batch_keeps_its_order() -> None:
    names = [f"s{index}" for index in (3, 1, 2)]
    asked = convert.asked_slices([message(slice_id=name) for name in names], DEFAULTS)
    assert [one.slice.id for one in asked] == names


def test_what_answers_have() -> None:
    one = Slice("a", (Segment(5, (Endpoint("tcp", "::1", 6653),)),), enabled=False, origin=Origin.FILE)
    answer = convert.slice_message(one, etag="x", create_time=2.5, update_time=3.0)
    assert answer.segments[0].controllers == ["tcp:[::1]:6653"]
    assert answer.segments[0].presentation == pb.PRESENTATION_TAGGED
    assert answer.segments[0].dpid_scheme == pb.DPID_SCHEME_VLAN
    assert answer.segments[0].fail_mode == pb.FAIL_MODE_SECURE
    assert (answer.origin, answer.admin_state) == (pb.SLICE_ORIGIN_FILE, pb.ADMIN_STATE_DISABLED)
    assert (answer.create_time.seconds, answer.create_time.nanos) == (2, 500_000_000)
    assert not answer.HasField("expire_time")
    assert not answer.HasField("status")
    assert answer.limits.HasField("max_flows")
