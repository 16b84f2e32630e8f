"""SliverService and Operations over loopback, with a real book and processor, and a handler the test conducts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.handlers.handler import FailureKind, HandlerResult, Host, NicStatus, Run, SliverState
from am_bridge.status import from_status
from tests.am_bridge.api import NOW, refused
from tests.am_bridge.handlers.scripted import WAIT, Gate, fail
from tests.am_bridge.sliver_api import SliverApi, metadata, result, sliver, spec
from vmoc.v1 import resources_pb2, slices_pb2
from vmoc.v1 import slivers_pb2 as v

READY = HandlerResult(SliverState.READY, instance="i-1")
SPEC = "sliver.spec"
CARD = {"name": "e", "network": "n"}


@pytest.fixture
def api() -> Iterator[SliverApi]:
    running = SliverApi()
    running.register("one", 101, manager="am1")
    running.register("two", 102, manager="am2")
    yield running
    running.close()


def test_a_life_from_create_to_delete(api: SliverApi) -> None:
    cards = (NicStatus("eth1", "02:00:00:00:00:01", 101, "0x000000000000000a", 7, ("10.0.0.1/24",)),)
    api.handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, "i-1", cards, facts={"x": 1})]}
    asked = api.create()
    assert not asked.done or asked.HasField("response")
    assert metadata(asked).sliver_id == "vm1" and metadata(asked).slice_id == "one"
    made = result(api.wait(asked))
    assert made.status.state == v.SLIVER_STATE_ACTIVE and made.host == "h1" and made.generation == 1
    assert made.status.interfaces[0].dpid == "0x000000000000000a" and made.status.interfaces[0].port == 7
    assert made.status.facts["x"] == 1 and api.handler.specs[0].vcpus == 2
    assert made.spec["vcpus"] == 2 and made == api.get()

    changed = v.Sliver(sliver_id="vm1", spec=spec(vcpus=4), etag=made.etag)
    asked = api.slivers.ModifySliver(v.ModifySliverRequest(sliver=changed, update_mask=FieldMask(paths=["spec.vcpus"])))
    after = result(api.wait(asked))
    assert after.spec["vcpus"] == 4 and after.spec["interfaces"][0]["vlan"] == 101, "the rest stays"
    assert after.generation == 2 and after.etag != made.etag
    with refused("ETAG_MISMATCH") as found:
        api.slivers.ModifySliver(v.ModifySliverRequest(sliver=changed))
    assert found[0].metadata["etag"] == after.etag

    done = api.wait(api.slivers.PerformAction(v.PerformActionRequest(sliver_id="vm1", action="reboot")))
    assert result(done, v.PerformActionResponse).sliver.sliver_id == "vm1" and metadata(done).action == "reboot"
    api.handler.steps = {"probe": [lambda run: HandlerResult(SliverState.STOPPED, "i-1")]}
    probed = api.slivers.ProbeSliver(v.ProbeSliverRequest(sliver_id="vm1"))
    assert probed.status.state == v.SLIVER_STATE_STOPPED and probed.status.probe_time.seconds == NOW
    gone = api.wait(api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1")))
    result(gone, v.DeleteSliverResponse)
    with refused("SLIVER_NOT_FOUND"):
        api.get()
    assert api.handler.verbs() == ["create", "modify", "reboot", "probe", "delete"]
    audited = [one for one in api.rack.audited if one["method"] == "DeleteSliver"]
    assert audited[0]["slice"] == "one" and audited[0]["sliver"] == "vm1"


@pytest.mark.parametrize(
    ("wanted", "reason", "field"),
    [
        (sliver("v", "none"), "SLICE_NOT_FOUND", ""),
        (sliver("no name", "one"), "FIELD_INVALID", "sliver.sliver_id"),
        (v.Sliver(sliver_id="v", slice_id="one", resource_type="Toaster"), "HANDLER_NOT_FOUND", ""),
        (sliver("v", "one", host="h9"), "HOST_NOT_FOUND", ""),
        (sliver("v", "one", spec=spec(vcpus=1.5)), "FIELD_INVALID", "sliver.spec.vcpus"),
        (sliver("v", "one", spec=spec(colour="red")), "FIELD_INVALID", "sliver.spec.colour"),
        (sliver("v", "one", spec=spec(slice_id="two")), "FIELD_INVALID", "sliver.spec.slice_id"),
        (sliver("v", spec=spec(properties={"colour": "green"})), "SCHEMA_VIOLATION", f"{SPEC}.properties.colour"),
        (sliver("v", spec=spec(interfaces=[{**CARD, "vlan": 102}])), "FIELD_INVALID", f"{SPEC}.interfaces[0].vlan"),
        (sliver("v", spec=spec(interfaces=[CARD])), "FIELD_INVALID", f"{SPEC}.interfaces[0].network"),
        (sliver("v", "one", expire_time=Timestamp(seconds=int(NOW) - 1)), "FIELD_INVALID", "sliver.expire_time"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(api: SliverApi, wanted: v.Sliver, reason: str, field: str) -> None:
    with refused(reason) as found:
        api.slivers.CreateSliver(v.CreateSliverRequest(sliver=wanted))
    assert [path for path, _ in found[0].violations] == ([field] if field else [])
    assert api.handler.verbs() == [] and api.processor.operations() == []


def test_whole_numbers_stay_whole_on_the_way_through_a_struct(api: SliverApi) -> None:
    api.wait(api.create())
    assert api.handler.specs[0].vcpus == 2 and isinstance(api.handler.specs[0].vcpus, int)


def test_a_request_is_done_once_and_a_dry_run_never(api: SliverApi) -> None:
    planned = api.create(validate_only=True, request_id="r")
    assert planned.done and planned.name == "" and result(planned).sliver_id == "vm1"
    assert api.handler.verbs() == []
    first = api.create(request_id="r")
    assert api.create(request_id="r").name == first.name
    api.wait(first)
    with refused("REQUEST_ID_REUSED"):
        api.create("vm2", request_id="r")
    removal = v.DeleteSliverRequest(sliver_id="vm1", request_id="d")
    gone = api.wait(api.slivers.DeleteSliver(removal))
    assert api.slivers.DeleteSliver(removal).name == gone.name, "also when the sliver is gone"
    with refused("SLIVER_NOT_FOUND"):
        api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1"))
    nothing = api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1", allow_missing=True))
    assert nothing.done and nothing.HasField("response")
    assert api.handler.verbs() == ["create", "delete"]


def test_a_request_is_answered_as_before_whatever_has_become_of_its_sliver(api: SliverApi) -> None:
    asked = {"sliver_id": "vm1", "request_id": "m"}
    first = api.create(request_id="c")
    api.wait(first)
    change = v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1", spec=spec(vcpus=8)), request_id="s")
    modified = api.slivers.ModifySliver(change)
    api.wait(modified)
    action = v.PerformActionRequest(action="reboot", **asked)  # type: ignore[arg-type]
    acted = api.slivers.PerformAction(action)
    api.wait(acted)
    api.wait(api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1")))
    api.slices.UnregisterSlice(unregister("one"))
    assert api.create(request_id="c").name == first.name
    assert api.slivers.ModifySliver(change).name == modified.name
    assert api.slivers.PerformAction(action).name == acted.name
    api.become("am1")  # another caller's names are its own
    with refused("SLICE_NOT_FOUND"):
        api.create(request_id="c")


def test_a_name_belongs_to_one_sliver_of_one_manager(api: SliverApi) -> None:
    api.become("am1")
    made = api.wait(api.create())
    with refused("NAME_TAKEN"):
        api.create()
    api.become("am2")
    with refused("NAME_TAKEN") as found:
        api.create("vm1", "two")
    assert "one" not in str(found[0].metadata), "whose it is, is not the other's to know"
    with refused("NOT_OWNER"):
        api.create("vm2", "one")
    for call in (
        lambda: api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1")),
        lambda: api.slivers.ModifySliver(v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1", spec=spec(vcpus=8)))),
        lambda: api.slivers.PerformAction(v.PerformActionRequest(sliver_id="vm1", action="reboot")),
    ):
        with refused("NOT_OWNER"):
            call()
    for read in (
        api.get,
        lambda: api.slivers.ProbeSliver(v.ProbeSliverRequest(sliver_id="vm1")),
    ):
        with refused("SLIVER_NOT_FOUND"):
            read()
    for method in (api.operations.GetOperation, api.operations.CancelOperation, api.operations.DeleteOperation):
        kind = {"GetOperation": lro.GetOperationRequest, "CancelOperation": lro.CancelOperationRequest}
        with refused("OPERATION_NOT_FOUND"):
            method(kind.get(method._method.decode().rpartition("/")[2], lro.DeleteOperationRequest)(name=made.name))
    with refused("OPERATION_NOT_FOUND"):
        list(api.slivers.WatchOperation(v.WatchOperationRequest(name=made.name)))
    assert not api.slivers.ListSlivers(v.ListSliversRequest()).slivers
    assert not api.operations.ListOperations(lro.ListOperationsRequest()).operations
    for forbidden in (
        lambda: api.slivers.ForgetSliver(v.ForgetSliverRequest(sliver_id="vm1")),
        lambda: api.slivers.ReconcileHost(v.ReconcileHostRequest(host="h1")),
    ):
        with refused("ADMIN_ONLY"):
            forbidden()
    assert api.handler.verbs() == ["create"]


def test_two_managers_at_once_and_one_gets_it(api: SliverApi) -> None:
    gate = Gate(READY)
    api.handler.steps = {"create": [gate]}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(api.create, "vm1", slice_id) for slice_id in ("one", "two")]
        errors = [one.exception() for one in asked]
        gate.go.set()
    (refusal,) = [one for one in errors if one is not None]
    assert isinstance(refusal, grpc.RpcError) and refusal.code() is grpc.StatusCode.ALREADY_EXISTS
    assert len(api.processor.slivers()) == 1


def test_a_watcher_sees_every_task_and_the_end(api: SliverApi) -> None:
    gate = Gate(READY)
    api.handler.steps = {"create": [gate]}
    asked = api.create()
    answers = api.slivers.WatchOperation(v.WatchOperationRequest(name=asked.name))
    assert gate.began.wait(WAIT)
    seen = [next(answers) for _ in range(4)]
    gate.go.set()
    seen += answers
    kinds = [one.task.state if one.HasField("task") else "operation" for one in seen]
    assert kinds == ["operation", "operation", v.TASK_STATE_STARTED, v.TASK_STATE_OK, "operation"]
    assert seen[2].task.task == "create "
    assert [one.operation.done for one in seen if one.HasField("operation")] == [False, False, True]
    numbers = [one.sequence for one in seen]
    assert numbers == sorted(set(numbers))
    again = list(api.slivers.WatchOperation(v.WatchOperationRequest(name=asked.name, after_sequence=numbers[3])))
    assert [one.operation.done for one in again] == [True]


def test_a_failure_says_where_and_why(api: SliverApi) -> None:
    api.handler.steps = {"create": [fail("disk is full", leftovers=("port:v1",))], "delete": [fail("no"), fail("no")]}
    failed = api.wait(api.create())
    error = from_status(failed.error)
    assert error.reason.code == "HANDLER_FAILED" and error.message == "disk is full"
    told = v.HandlerFailure()
    assert any(detail.Unpack(told) for detail in failed.error.details) and told.task == "t"
    left = api.get()
    assert left.status.state == v.SLIVER_STATE_FAILED and left.status.failure.message == "disk is full"
    with refused("WRONG_STATE"):
        api.slivers.ModifySliver(v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1", spec=spec(vcpus=8))))
    request = v.ForgetSliverRequest(sliver_id="vm1", request_id="f")
    answer = api.slivers.ForgetSliver(request)
    assert answer.sliver.sliver_id == "vm1" and api.slivers.ForgetSliver(request) == answer
    with refused("SLIVER_NOT_FOUND"):
        api.get()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FailureKind.UNREACHABLE, "HOST_UNREACHABLE"),
        (FailureKind.TASK, "HANDLER_FAILED"),
        (FailureKind.TIMEOUT, "HANDLER_TIMEOUT"),
    ],
)
def test_a_probe_that_fails_says_so(api: SliverApi, kind: FailureKind, reason: str) -> None:
    api.wait(api.create())
    api.handler.steps = {"probe": [fail("no", kind)] * 5}
    with refused(reason):
        api.slivers.ProbeSliver(v.ProbeSliverRequest(sliver_id="vm1"))


def test_what_is_under_way_is_named_and_a_delete_ends_it(api: SliverApi) -> None:
    gate = Gate(READY)
    api.handler.steps = {"create": [gate]}
    asked = api.create()
    assert gate.began.wait(WAIT)
    assert api.get().status.state == v.SLIVER_STATE_CREATING and api.get().status.operation_name == asked.name
    with refused("OPERATION_IN_PROGRESS") as found:
        api.slivers.PerformAction(v.PerformActionRequest(sliver_id="vm1", action="reboot"))
    assert found[0].metadata["operation"] == asked.name and found[0].retry is not None
    with refused("WRONG_STATE"):
        api.operations.DeleteOperation(lro.DeleteOperationRequest(name=asked.name))
    running = api.operations.ListOperations(lro.ListOperationsRequest(filter="done=false"))
    assert [one.name for one in running.operations] == [asked.name]
    gone = api.wait(api.slivers.DeleteSliver(v.DeleteSliverRequest(sliver_id="vm1")))
    assert from_status(api.wait(asked).error).reason.code == "CANCELLED"
    assert not api.operations.ListOperations(lro.ListOperationsRequest(filter="done=false")).operations
    api.operations.DeleteOperation(lro.DeleteOperationRequest(name=gone.name))
    with refused("OPERATION_NOT_FOUND"):
        api.operations.GetOperation(lro.GetOperationRequest(name=gone.name))
    with refused("FIELD_INVALID"):
        api.operations.ListOperations(lro.ListOperationsRequest(filter="colour=red"))


def test_a_cancelled_operation_is_undone(api: SliverApi) -> None:
    gate = Gate(READY)
    api.handler.steps = {"create": [gate]}
    asked = api.create()
    assert gate.began.wait(WAIT)
    api.operations.CancelOperation(lro.CancelOperationRequest(name=asked.name))
    assert from_status(api.wait(asked).error).reason.code == "CANCELLED"
    assert api.handler.verbs() == ["create", "delete"]


def test_pages(api: SliverApi) -> None:
    names = [f"vm{number}" for number in range(5)]
    for name in names:
        api.wait(api.create(name))
    api.wait(api.create("other", "two"))
    request, found = v.ListSliversRequest(page_size=2, slice_id="one"), []
    while True:
        page = api.slivers.ListSlivers(request)
        found += [one.sliver_id for one in page.slivers]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == names
    assert not api.slivers.ListSlivers(v.ListSliversRequest(states=[v.SLIVER_STATE_FAILED])).slivers
    listing, seen = lro.ListOperationsRequest(name="operations", page_size=4), []
    while True:
        some = api.operations.ListOperations(listing)
        seen += [metadata(one).sliver_id for one in some.operations]
        if not some.next_page_token:
            break
        listing.page_token = some.next_page_token
    assert sorted(seen) == sorted([*names, "other"])


def test_handlers_and_hosts_are_told(api: SliverApi) -> None:
    _, one = api.slivers.ListHandlers(v.ListHandlersRequest()).handlers
    assert one.resource_type == "Scripted" and [action.name for action in one.actions] == ["reboot"]
    assert one.spec_schema["properties"]["vcpus"]["type"] == "integer"
    assert one.spec_schema["properties"]["properties"]["properties"]["colour"]["enum"][0] == "red"
    api.wait(api.create("vm1"))
    api.wait(api.create("vm2"))
    hosts = api.slivers.ListHosts(v.ListHostsRequest()).hosts
    assert [(host.host, host.sliver_count, host.used["vcpus"]) for host in hosts] == [("h1", 1, 2), ("h2", 1, 2)]


def test_slivers_go_with_their_slice_and_at_their_time(api: SliverApi) -> None:
    api.wait(api.create("vm1"))
    late = sliver("vm2", "two", expire_time=Timestamp(seconds=int(NOW) + 60))
    made = result(api.wait(api.slivers.CreateSliver(v.CreateSliverRequest(sliver=late))))
    assert made.expire_time.seconds == NOW + 60
    api.sweeper.sweep()
    assert len(api.processor.slivers()) == 2
    api.now += 61
    api.sweeper.sweep()
    assert api.settle() == ["vm1"]
    api.book.unregister(["one"])
    with refused("VLAN_TAINTED") as found:
        api.register("three", 101)
    assert found[0].retry is not None
    api.now += 1
    api.register("one", 103, manager="am2")  # another slice of that name, and not the sliver's
    api.become("am2")
    with refused("SLIVER_NOT_FOUND"):
        api.get()
    api.sweeper.sweep()
    assert api.settle() == []
    api.register("three", 101)


def test_an_expiry_is_put_off_without_work(api: SliverApi) -> None:
    api.wait(api.create())
    later = v.Sliver(sliver_id="vm1", expire_time=Timestamp(seconds=int(NOW) + 99))
    done = api.slivers.ModifySliver(v.ModifySliverRequest(sliver=later))
    assert done.done and result(done).expire_time.seconds == NOW + 99
    never = v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1"), update_mask=FieldMask(paths=["expire_time"]))
    assert not result(api.slivers.ModifySliver(never)).HasField("expire_time")
    assert api.handler.verbs() == ["create"]


def test_a_sliver_on_anothers_vlan_is_undone(api: SliverApi) -> None:
    """The VLAN is its slice's, but not on the switch that its host turns out to be at."""
    api.slices.UnregisterSlice(unregister("one"))
    api.slices.UnregisterSlice(unregister("two"))
    api.slices.RegisterSlice(attached("one", 101, "0xa"))
    api.slices.RegisterSlice(attached("two", 101, "0xb"))
    card = NicStatus("eth1", "", 101, "0x000000000000000b", 3)
    api.handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, "i", (card,))]}
    failed = api.wait(api.create())
    error = from_status(failed.error)
    assert error.reason.code == "WRONG_STATE" and "belongs to another slice" in error.message
    assert api.handler.verbs() == ["create", "delete"] and api.processor.slivers() == []


def test_a_card_goes_when_its_vlan_does(api: SliverApi) -> None:
    api.register("one", 101, 103, manager="am1")
    both = spec(interfaces=[{"name": "eth1", "vlan": 101}, {"name": "eth2", "vlan": 103}])
    api.wait(api.slivers.CreateSliver(v.CreateSliverRequest(sliver=sliver(spec=both))))
    api.register("one", 103, manager="am1")
    api.sweeper.sweep()
    api.settle()
    assert [card.name for card in api.processor.find("vm1").spec.interfaces] == ["eth2"]
    assert api.handler.verbs() == ["create", "modify"]


def unregister(slice_id: str) -> Any:
    return slices_pb2.UnregisterSliceRequest(slice_id=slice_id)


def attached(slice_id: str, vlan: int, dpid: str) -> Any:
    segment = resources_pb2.Segment(vlan_id=vlan, attachments=[resources_pb2.Attachment(dpid=dpid)])
    return slices_pb2.RegisterSliceRequest(slice=resources_pb2.Slice(slice_id=slice_id, segments=[segment]))


def test_an_owner_is_found_by_what_handlers_said_of_its_cards(api: SliverApi) -> None:
    cards = (NicStatus("eth1", "02:00:00:00:00:01", 101, "0x000000000000000a", 7, ("10.0.0.1/24",)),)
    api.handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, "i", cards)]}
    api.wait(api.create())

    def look(**subject: Any) -> list[tuple[str, str, int]]:
        request = ParseDict(subject, slices_pb2.LookupOwnerRequest())
        return [(one.sliver_id, one.dpid, one.port) for one in api.slices.LookupOwner(request).owners if one.sliver_id]

    found = [("vm1", "0x000000000000000a", 7)]
    assert look(mac_address="02:00:00:00:00:01") == look(ip_address="10.0.0.1") == found
    assert look(port={"dpid": "0xa", "port": 7}) == found and look(port={"dpid": "0xb", "port": 7}) == []
    for nobody in ({"ip_address": "10.0.0.2"}, {"mac_address": "02:00:00:00:00:02"}):
        with refused("NOT_LEARNT"):
            look(**nobody)
    api.become("am2")
    with refused("NOT_LEARNT"):
        look(ip_address="10.0.0.1")


def test_a_console_is_read_and_followed(api: SliverApi, tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"before\nnow\n")
    facts = {"console": str(path)}
    api.handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, "i", facts=facts)]}
    api.wait(api.create())
    whole = v.StreamConsoleRequest(sliver_id="vm1", tail_bytes=1 << 20)
    assert b"".join(one.data for one in api.slivers.StreamConsole(whole)) == b"before\nnow\n"
    stream = api.slivers.StreamConsole(v.StreamConsoleRequest(sliver_id="vm1", tail_bytes=4, follow=True))
    assert next(stream).data == b"now\n"
    with path.open("ab") as file:
        file.write(b"later\n")
    assert next(stream).data == b"later\n"
    stream.cancel()
    with refused("FIELD_INVALID"):
        list(api.slivers.StreamConsole(v.StreamConsoleRequest(sliver_id="vm1", tail_bytes=-1)))
    path.unlink()
    path.symlink_to("/etc/passwd")
    with refused("ACTION_UNSUPPORTED"):
        list(api.slivers.StreamConsole(whole))
    api.become("am2")
    with refused("NOT_OWNER"):
        list(api.slivers.StreamConsole(whole))


def test_a_host_that_is_full_says_so(api: SliverApi) -> None:
    hosts: Any = api.processor.catalogue.hosts
    for name in ("h1", "h2"):
        hosts[name] = Host(name, capacity={"vcpus": 3})
    for name in ("vm1", "vm2"):
        api.wait(api.create(name))
    with refused("NO_CAPACITY") as found:
        api.create("vm3")
    assert "host h1 has vcpus for 3, of which 2 are in use" in found[0].message
    shown = api.slivers.ListHosts(v.ListHostsRequest()).hosts
    assert [(dict(one.capacity), one.used["vcpus"]) for one in shown] == [({"vcpus": 3}, 2)] * 2
    with refused("NO_CAPACITY"):
        api.slivers.ModifySliver(v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1", spec=spec(vcpus=4))))
    api.wait(api.slivers.ModifySliver(v.ModifySliverRequest(sliver=v.Sliver(sliver_id="vm1", spec=spec(vcpus=3)))))


def test_handlers_get_what_networks_say(api: SliverApi) -> None:
    network = v.Sliver(sliver_id="lan", slice_id="one", resource_type="L2Bridge")
    network.spec.update({"properties": {"vlan": 101, "subnet": "10.0.0.0/24"}})
    api.wait(api.slivers.CreateSliver(v.CreateSliverRequest(sliver=network)))
    seen: list[Any] = []

    def create(run: Run) -> HandlerResult:
        seen.extend(run.networks)
        return READY

    api.handler.steps = {"create": [create]}
    wanted = sliver(spec=spec(interfaces=[{"name": "eth1", "network": "lan"}]))
    made = result(api.wait(api.slivers.CreateSliver(v.CreateSliverRequest(sliver=wanted))))
    assert seen == [{"name": "lan", "vlan": 101, "subnet": "10.0.0.0/24"}]
    assert made.spec["interfaces"][0]["addresses"][0] == "10.0.0.1/24"
