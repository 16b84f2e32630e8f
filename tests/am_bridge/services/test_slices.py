"""SliceService over loopback, with a real book."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.am_bridge.api import NOW, Api, a_slice, refused
from vmoc.config import Vlans
from vmoc.model import Origin, Segment, Slice
from vmoc.status import DatapathStatus, Lifecycle, Owner, SliceStatus
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m

VLANS = Vlans(reserved=frozenset({99, 2000}), pool=frozenset(range(2, 20)) | {2000})


@pytest.fixture
def api() -> Iterator[Api]:
    running = Api(VLANS, [Slice("file", (Segment(50),), origin=Origin.FILE)])
    yield running
    running.close()


def test_register_answers_the_slice_and_what_became_of_it(api: Api) -> None:
    first = api.register("one", 100, owner="ann", labels={"a": "b"})
    assert first.change == pb.CHANGE_KIND_ADDED
    assert first.slice.owner == "ann" and first.slice.etag and first.slice.create_time.seconds == NOW
    assert not first.slice.HasField("status")
    api.now += 5
    assert api.register("one", 100, owner="ann", labels={"a": "b"}).change == pb.CHANGE_KIND_UNCHANGED
    changed = api.register("one", 101)
    assert changed.change == pb.CHANGE_KIND_CHANGED
    assert changed.slice.create_time.seconds == NOW and changed.slice.update_time.seconds == NOW + 5
    assert [one["method"] for one in api.rack.audited] == ["RegisterSlice"] * 3
    assert api.rack.audited[0] == {
        "identity": "local",
        "method": "RegisterSlice",
        "slice": "one",
        "outcome": "OK",
        "message": "",
    }


def test_an_answer_can_be_sent_back_as_it_came(api: Api) -> None:
    answer = api.register("one", 100).slice
    again = api.slices.RegisterSlice(m.RegisterSliceRequest(slice=answer))
    assert again.change == pb.CHANGE_KIND_UNCHANGED and again.slice == answer


def test_a_change_is_made_only_to_the_state_that_was_seen(api: Api) -> None:
    old = api.register("one", 100).slice.etag
    new = api.register("one", 101).slice.etag
    with refused("ETAG_MISMATCH") as found:
        api.register("one", 102, etag=old)
    assert found[0].metadata["etag"] == new
    with refused("ETAG_MISMATCH"):
        api.slices.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one", etag=old))
    api.slices.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one", etag=new))


def test_validate_only_changes_nothing(api: Api) -> None:
    answer = api.slices.RegisterSlice(m.RegisterSliceRequest(slice=a_slice("one", 0), validate_only=True))
    assert answer.change == pb.CHANGE_KIND_ADDED and answer.slice.segments[0].vlan_id == 2
    with refused("SLICE_NOT_FOUND"):
        api.slices.GetSlice(m.GetSliceRequest(slice_id="one"))
    with refused("VLAN_OWNED_ELSEWHERE"):
        api.slices.RegisterSlice(m.RegisterSliceRequest(slice=a_slice("one", 50), validate_only=True))


def test_the_same_request_id_gets_the_first_answer(api: Api) -> None:
    request = m.RegisterSliceRequest(slice=a_slice("one", 0), request_id="r")
    first = api.slices.RegisterSlice(request)
    api.slices.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one"))
    assert api.slices.RegisterSlice(request) == first
    with refused("SLICE_NOT_FOUND"):
        api.slices.GetSlice(m.GetSliceRequest(slice_id="one"))
    with refused("REQUEST_ID_REUSED"):
        api.slices.RegisterSlice(m.RegisterSliceRequest(slice=a_slice("two", 0), request_id="r"))
    with refused("REQUEST_ID_REUSED"):  # the same bytes of another method are another request
        api.slices.UpdateSlice(m.UpdateSliceRequest(slice=a_slice("one", 0), request_id="r"))
    with refused("FIELD_INVALID"):
        api.slices.RegisterSlice(m.RegisterSliceRequest(slice=a_slice("one", 0), request_id="r" * 65))


def test_a_clash_names_both_sides_and_what_is_free(api: Api) -> None:
    api.register("one", 5)
    with refused("VLAN_OWNED_ELSEWHERE") as found:
        api.register("two", 5)
    assert found[0].metadata["other_slice"] == "one" and found[0].metadata["vlan"] == "5"
    assert found[0].metadata["free_vlans"] == "6,7,8"
    with refused("VLAN_RESERVED"):
        api.register("two", 99)
    with refused("SLICE_FROM_FILE"):
        api.register("file", 51)


def test_a_batch_is_all_or_nothing_and_says_where(api: Api) -> None:
    batch = m.BatchRegisterSlicesRequest(slices=[a_slice("one", 100), a_slice("two", 5000)])
    with refused("FIELD_INVALID") as found:
        api.slices.BatchRegisterSlices(batch)
    assert found[0].violations[0][0] == "slices[1].segments[0].vlan_id"
    with refused("VLAN_OWNED_ELSEWHERE"):
        api.slices.BatchRegisterSlices(m.BatchRegisterSlicesRequest(slices=[a_slice("one", 100), a_slice("two", 50)]))
    past = a_slice("two", 101, expire_time=Timestamp(seconds=5))
    with refused("FIELD_INVALID") as found:
        api.slices.BatchRegisterSlices(m.BatchRegisterSlicesRequest(slices=[a_slice("one", 100), past]))
    assert found[0].violations == (("slices[1].expire_time", "must be to come"),)
    assert len(api.book) == 1
    good = m.BatchRegisterSlicesRequest(slices=[a_slice("two", 101), a_slice("one", 100)])
    results = api.slices.BatchRegisterSlices(good).results
    assert [one.slice.slice_id for one in results] == ["two", "one"]


def test_sync_makes_a_managers_slices_these(api: Api) -> None:
    api.register("mine", 100, manager="am")
    api.register("stays", 101, manager="am")
    api.register("other", 102, manager="else")
    wanted = [a_slice("stays", 101, manager="am"), a_slice("new", 100)]
    answer = api.slices.SyncSlices(m.SyncSlicesRequest(manager="am", slices=wanted))
    assert [one.slice_id for one in answer.added] == ["new"] and answer.added[0].manager == "am"
    assert list(answer.removed_slice_ids) == ["mine"] and list(answer.unchanged_slice_ids) == ["stays"]
    assert [one.slice_id for one in api.slices.ListSlices(m.ListSlicesRequest()).slices] == [
        "file",
        "new",
        "other",
        "stays",
    ]
    with refused("FIELD_INVALID"):
        api.slices.SyncSlices(m.SyncSlicesRequest())


def test_update_sets_what_the_mask_names(api: Api) -> None:
    api.register("one", 100, owner="ann", manager="am")
    request = m.UpdateSliceRequest(
        slice=pb.Slice(slice_id="one", owner="bob", limits=pb.Limits(max_flows=7)),
        update_mask=FieldMask(paths=["limits.max_flows"]),
    )
    answer = api.slices.UpdateSlice(request)
    assert answer.owner == "ann" and answer.limits.max_flows == 7 and answer.limits.max_groups
    request = m.UpdateSliceRequest(
        slice=pb.Slice(slice_id="one", manager="next"), update_mask=FieldMask(paths=["manager"])
    )
    assert api.slices.UpdateSlice(request).manager == "next"
    request = m.UpdateSliceRequest(slice=pb.Slice(slice_id="one"), update_mask=FieldMask(paths=["slice_id", "nope"]))
    with refused("FIELD_INVALID") as found:
        api.slices.UpdateSlice(request)
    assert [path for path, _ in found[0].violations] == ["update_mask.paths[0]", "update_mask.paths[1]"]
    segments = [
        pb.Segment(vlan_id=0),
        pb.Segment(vlan_id=0, vlan_choice=pb.VlanChoice(ranges=[{"first": 9, "last": 9}])),
    ]
    answer = api.slices.UpdateSlice(m.UpdateSliceRequest(slice=pb.Slice(slice_id="one", segments=segments)))
    assert [one.vlan_id for one in answer.segments] == [100, 9]


def test_renew_disable_enable_unregister(api: Api) -> None:
    api.register("one", 100)
    assert api.slices.RenewSlice(m.RenewSliceRequest(slice_id="one", ttl=Duration(seconds=60))).expire_time.seconds == (
        NOW + 60
    )
    with refused("FIELD_INVALID"):
        api.slices.RenewSlice(m.RenewSliceRequest(slice_id="one"))
    with refused("FIELD_INVALID"):
        api.slices.RenewSlice(m.RenewSliceRequest(slice_id="one", expire_time=Timestamp(seconds=1)))
    with refused("FIELD_INVALID"):
        api.slices.RenewSlice(m.RenewSliceRequest(slice_id="one", ttl=Duration(seconds=300_000_000_000)))
    off = api.slices.DisableSlice(m.DisableSliceRequest(slice_id="one"))
    assert off.admin_state == pb.ADMIN_STATE_DISABLED
    assert api.slices.EnableSlice(m.EnableSliceRequest(slice_id="one")).admin_state == pb.ADMIN_STATE_ENABLED
    gone = api.slices.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one")).slice
    assert gone.slice_id == "one" and gone.expire_time.seconds == NOW + 60
    with refused("SLICE_NOT_FOUND"):
        api.slices.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one"))
    missing = m.UnregisterSliceRequest(slice_id="one", allow_missing=True, etag="1")
    assert not api.slices.UnregisterSlice(missing).HasField("slice")
    with refused("SLICE_FROM_FILE"):
        api.slices.DisableSlice(m.DisableSliceRequest(slice_id="file"))


def test_a_choice_of_vlans_narrows_what_is_given(api: Api) -> None:
    choice = pb.VlanChoice(ranges=[{"first": 10, "last": 12}], avoided_ranges=[{"first": 10, "last": 10}])
    wanted = pb.Slice(slice_id="one", segments=[pb.Segment(vlan_choice=choice), pb.Segment()])
    request = m.RegisterSliceRequest(slice=wanted)
    assert [one.vlan_id for one in api.slices.RegisterSlice(request).slice.segments] == [11, 2]
    assert api.slices.RegisterSlice(request).change == pb.CHANGE_KIND_UNCHANGED
    choice.pool = "nope"
    with refused("FIELD_INVALID"):
        api.slices.RegisterSlice(
            m.RegisterSliceRequest(slice=pb.Slice(slice_id="two", segments=[pb.Segment(vlan_choice=choice)]))
        )
    narrow = pb.VlanChoice(ranges=[{"first": 11, "last": 11}], pool="default")
    with refused("VLAN_POOL_EMPTY"):
        api.slices.RegisterSlice(
            m.RegisterSliceRequest(slice=pb.Slice(slice_id="two", segments=[pb.Segment(vlan_choice=narrow)]))
        )


def test_slices_come_in_pages_and_by_condition(api: Api) -> None:
    for number in range(7):
        api.register(f"s{number}", 100 + number, owner="even" if number % 2 == 0 else "odd", labels={"n": str(number)})
    ids: list[str] = []
    request = m.ListSlicesRequest(page_size=2, owner="even")
    while True:
        answer = api.slices.ListSlices(request)
        ids += [one.slice_id for one in answer.slices]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert ids == ["s0", "s2", "s4", "s6"]
    with refused("PAGE_TOKEN_INVALID"):
        api.slices.ListSlices(m.ListSlicesRequest(page_token="AAAA"))
    for condition, expected in (
        ({"vlan_id": 103}, ["s3"]),
        ({"labels": {"n": "2"}}, ["s2"]),
        ({"labels": {"n": ""}, "owner": "odd"}, ["s1", "s3", "s5"]),
        ({"origin": pb.SLICE_ORIGIN_FILE}, ["file"]),
        ({"dpid": "0x1", "vlan_id": 104}, ["s4"]),
        ({"admin_state": pb.ADMIN_STATE_DISABLED}, []),
        ({"manager": "nobody"}, []),
    ):
        found = api.slices.ListSlices(m.ListSlicesRequest(**condition)).slices
        assert [one.slice_id for one in found] == expected, condition


def test_status_is_in_the_full_view(api: Api) -> None:
    api.register("one", 100)
    datapath = DatapathStatus("one", 100, 1, 0, 0x64 << 48 | 1, Lifecycle.ACTIVE, "ready", "", NOW, (1, 2))
    api.rack.statuses["one"] = SliceStatus("one", True, (datapath,), {})
    status = api.slices.GetSlice(m.GetSliceRequest(slice_id="one")).status
    assert status.virtual_datapaths[0].state == pb.VIRTUAL_DATAPATH_STATE_ACTIVE
    assert status.virtual_datapaths[0].presented_dpid == "0x0064000000000001"
    basic = m.GetSliceRequest(slice_id="one", view=m.SLICE_VIEW_BASIC)
    assert not api.slices.GetSlice(basic).HasField("status")
    listed = api.slices.ListSlices(m.ListSlicesRequest(view=m.SLICE_VIEW_FULL)).slices
    assert [len(one.status.virtual_datapaths) for one in listed] == [0, 1]


def test_vlans_by_state_pool_and_range(api: Api) -> None:
    api.register("one", 5)
    answer = api.slices.ListVlans(m.ListVlansRequest(range={"first": 4, "last": 6}))
    assert [(one.vlan_id, one.state, one.pool) for one in answer.vlans] == [
        (4, m.VLAN_STATE_FREE, "default"),
        (5, m.VLAN_STATE_USED, "default"),
        (6, m.VLAN_STATE_FREE, "default"),
    ]
    assert answer.vlans[1].holders[0].slice_id == "one" and not answer.vlans[1].holders[0].dpids
    pool = answer.pools[0]
    assert (pool.free_count, pool.used_count) == (17, 1) and [(one.first, one.last) for one in pool.ranges] == [(2, 19)]
    reserved = api.slices.ListVlans(m.ListVlansRequest(states=[m.VLAN_STATE_RESERVED]))
    assert [one.vlan_id for one in reserved.vlans] == [99, 2000]
    first = api.slices.ListVlans(m.ListVlansRequest(page_size=3))
    second = api.slices.ListVlans(m.ListVlansRequest(page_size=3, page_token=first.next_page_token))
    assert [one.vlan_id for one in second.vlans] == [4, 5, 6]
    with refused("FIELD_INVALID"):
        api.slices.ListVlans(m.ListVlansRequest(range={"first": 6, "last": 4}))


def test_who_has_a_vlan(api: Api) -> None:
    api.register("one", 100, owner="ann", manager="am")
    api.rack.owners = [Owner("one", 100, 1, (3,), True)]
    (found,) = api.slices.LookupOwner(m.LookupOwnerRequest(vlan_id=100)).owners
    assert (found.slice_id, found.manager, found.owner, found.dpid) == ("one", "am", "ann", "0x0000000000000001")
    (found,) = api.slices.LookupOwner(m.LookupOwnerRequest(port={"dpid": "0x1", "port": 3})).owners
    assert found.port == 3
    with refused("NOT_LEARNT"):
        api.slices.LookupOwner(m.LookupOwnerRequest(mac_address="00:00:00:00:00:01"))
    with refused("FIELD_INVALID"):
        api.slices.LookupOwner(m.LookupOwnerRequest())
