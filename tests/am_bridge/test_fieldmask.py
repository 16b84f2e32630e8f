"""What a field mask sets, and what it leaves alone."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given

from am_bridge.fieldmask import apply_mask
from am_bridge.status import ApiError
from tests.am_bridge.slice_strategies import MESSAGES
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1.slivers_pb2 import Sliver

CURRENT = pb.Slice(
    slice_id="a",
    manager="m",
    owner="o",
    labels={"x": "1"},
    segments=[pb.Segment(vlan_id=1), pb.Segment(vlan_id=2)],
    limits=pb.Limits(max_flows=10, max_groups=20),
    expire_time=Timestamp(seconds=5),
    etag="e1",
    create_time=Timestamp(seconds=1),
)


def masked(*paths: str, **wanted: object) -> pb.Slice:
    return apply_mask(FieldMask(paths=paths), CURRENT, pb.Slice(slice_id="a", **wanted))  # type: ignore[arg-type]


def changed(**fields: object) -> pb.Slice:
    result = pb.Slice()
    result.CopyFrom(CURRENT)
    for name, value in fields.items():
        result.ClearField(name)  # type: ignore[arg-type]
        result.MergeFrom(pb.Slice(**{name: value}))  # type: ignore[arg-type]
    return result


def test_only_what_is_named_changes() -> None:
    assert masked("owner", owner="n", manager="other") == changed(owner="n")


def test_what_is_named_and_empty_is_emptied() -> None:
    assert masked("owner", "labels", "segments", "expire_time") == changed(
        owner="", labels={}, segments=[], expire_time=None
    )


def test_lists_and_maps_are_replaced_whole() -> None:
    new = [pb.Segment(vlan_id=9)]
    assert masked("segments", "labels", segments=new, labels={"y": "2"}) == changed(segments=new, labels={"y": "2"})


def test_one_field_of_a_message() -> None:
    limits = pb.Limits(max_flows=0, max_meters=7)
    assert masked("limits.max_flows", limits=limits) == changed(limits=pb.Limits(max_flows=0, max_groups=20))
    assert masked("limits.max_flows") == changed(limits=pb.Limits(max_groups=20))
    assert masked("limits", limits=limits) == changed(limits=limits)


@pytest.mark.parametrize("mask", [None, FieldMask()])
def test_without_a_mask_what_is_given_counts(mask: FieldMask | None) -> None:
    wanted = pb.Slice(slice_id="zz", owner="n", etag="e2", create_time=Timestamp(seconds=9), status=pb.SliceStatus())
    assert apply_mask(mask, CURRENT, wanted) == changed(owner="n")


def test_a_star_is_everything_that_can_be_set() -> None:
    assert masked("*", owner="n", etag="zz") == pb.Slice(
        slice_id="a", owner="n", etag="e1", create_time=Timestamp(seconds=1)
    )


def test_output_only_fields_are_passed_over() -> None:
    assert masked("create_time", "status", "origin", create_time=Timestamp(seconds=9)) == CURRENT


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("slice_id", "must not name slice_id, which cannot be changed"),
        ("etag", "must not name etag, which cannot be changed"),
        ("nothing", "must name fields of Slice, not 'nothing'"),
        ("", "must name fields of Slice, not ''"),
        ("limits.nothing", "must name fields of Limits, not 'nothing'"),
        ("limits.max_flows.x", "must not go into max_flows"),
        ("segments.vlan_id", "must not go into segments, which is set as a whole"),
        ("labels.x", "must not go into labels, which is set as a whole"),
        ("owner.x", "must not go into owner"),
        ("Owner", "must name fields of Slice"),
    ],
)
def test_paths_that_lead_nowhere(path: str, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        masked("owner", path)
    [(where, what)] = caught.value.violations
    assert where == "update_mask.paths[1]"
    assert text in what


def test_a_star_stands_alone() -> None:
    with pytest.raises(ApiError, match="must be the only path"):
        masked("owner", "*")


def test_too_many_paths() -> None:
    with pytest.raises(ApiError, match="must be at most 256, not 257"):
        masked(*["owner"] * 257)


def test_fields_of_a_struct() -> None:
    current, wanted = Struct(), Struct()
    current.update({"image": "old", "vcpus": 2, "a.b": 1})
    wanted.update({"image": "new", "disk": 5, "a.b": 2})
    mask = FieldMask(paths=["spec.image", "spec.vcpus", "spec.a.b", "spec.not_there"])
    result = apply_mask(mask, Sliver(sliver_id="s", spec=current), Sliver(spec=wanted))
    assert dict(result.spec) == {"image": "new", "a.b": 2}
    assert result.sliver_id == "s"


@given(MESSAGES, MESSAGES)
def test_neither_side_is_touched_and_a_mask_is_idempotent(current: pb.Slice, wanted: pb.Slice) -> None:
    before = current.SerializeToString(deterministic=True), wanted.SerializeToString(deterministic=True)
    for mask in (None, FieldMask(paths=["*"]), FieldMask(paths=["segments", "limits", "owner"])):
        once = apply_mask(mask, current, wanted)
        assert apply_mask(mask, once, wanted) == once
        assert once.slice_id == current.slice_id
    assert (current.SerializeToString(deterministic=True), wanted.SerializeToString(deterministic=True)) == before
