"""Nothing that clients rely on changes: every frozen line of the API is still true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from tests.api import listing as freezing
from tests.api.listing import FROZEN, api, broken, listing
from vmoc.v1 import events_pb2, resources_pb2, server_pb2, slices_pb2, slivers_pb2, switches_pb2

CONTRACT = {
    "SliceService": "RegisterSlice BatchRegisterSlices SyncSlices UpdateSlice UnregisterSlice GetSlice ListSlices "
    "RenewSlice EnableSlice DisableSlice ListVlans LookupOwner",
    "SwitchService": "ListSwitches GetSwitch ListFlows GetTopology ListControllerConnections",
    "EventService": "WatchEvents",
    "SliverService": "CreateSliver ModifySliver DeleteSliver PerformAction ProbeSliver GetSliver ListSlivers "
    "ForgetSliver WatchOperation StreamConsole ListHandlers ListHosts ReconcileHost",
    "ServerService": "GetServerInfo",
}


def frozen() -> list[str]:
    return FROZEN.read_text().splitlines()


def test_nothing_that_clients_rely_on_has_changed() -> None:
    assert not broken(frozen(), listing(api())), "this breaks clients; put it back, or make a vmoc.v2 of it"


def test_what_is_new_is_frozen_too() -> None:
    assert frozen() == listing(api()), "run scripts/freeze-api"


def test_the_contracts_services_and_rpcs_are_there() -> None:
    rpcs = {line.split("(")[0] for line in frozen() if line.startswith("rpc ")}
    for service, names in CONTRACT.items():
        assert {f"rpc vmoc.v1.{service}.{name}" for name in names.split()} <= rpcs


def test_the_generated_code_is_that_of_these_files() -> None:
    modules = (events_pb2, resources_pb2, server_pb2, slices_pb2, slivers_pb2, switches_pb2)
    generated = FileDescriptorSet()
    for module in modules:
        module.DESCRIPTOR.CopyToProto(generated.file.add())
    assert listing(generated) == frozen(), "run make proto"


# -- the check itself --------------------------------------------------------------------------------------------------


def file(files: FileDescriptorSet, name: str) -> FileDescriptorProto:
    return next(one for one in files.file if one.name == f"vmoc/v1/{name}.proto")


def message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(one for one in file(files, "resources").message_type if one.name == name)


def field(files: FileDescriptorSet, of: str, name: str) -> FieldDescriptorProto:
    return next(one for one in message(files, of).field if one.name == name)


def enum(files: FileDescriptorSet, name: str) -> EnumDescriptorProto:
    return next(one for one in file(files, "resources").enum_type if one.name == name)


def service(files: FileDescriptorSet, where: str) -> ServiceDescriptorProto:
    return file(files, where).service[0]


def drop_field(files: FileDescriptorSet) -> None:
    message(files, "Slice").field.remove(field(files, "Slice", "owner"))


def drop_message(files: FileDescriptorSet) -> None:
    file(files, "server").message_type.pop()


def drop_rpc(files: FileDescriptorSet) -> None:
    service(files, "slices").method.pop()


def drop_service(files: FileDescriptorSet) -> None:
    file(files, "events").service.pop()


def drop_value(files: FileDescriptorSet) -> None:
    enum(files, "FailMode").value.pop()


def change_stream(files: FileDescriptorSet) -> None:
    service(files, "events").method[0].server_streaming = False


def change_answer(files: FileDescriptorSet) -> None:
    service(files, "slivers").method[0].output_type = ".vmoc.v1.Sliver"


def rename_field(files: FileDescriptorSet) -> None:
    field(files, "Slice", "owner").name = "contact"


def renumber_field(files: FileDescriptorSet) -> None:
    field(files, "Slice", "owner").number = 99


def retype_field(files: FileDescriptorSet) -> None:
    field(files, "Segment", "vlan_id").type = FieldDescriptorProto.TYPE_INT32


def retype_message_field(files: FileDescriptorSet) -> None:
    field(files, "Slice", "limits").type_name = ".vmoc.v1.ResourceUsage"


def retype_map(files: FileDescriptorSet) -> None:
    [entry] = message(files, "Slice").nested_type
    entry.field[1].type = FieldDescriptorProto.TYPE_BYTES


def make_repeated(files: FileDescriptorSet) -> None:
    field(files, "Slice", "owner").label = FieldDescriptorProto.LABEL_REPEATED


def drop_presence(files: FileDescriptorSet) -> None:
    one = field(files, "Limits", "max_flows")
    one.proto3_optional = False
    one.ClearField("oneof_index")


def leave_oneof(files: FileDescriptorSet) -> None:
    [one] = [one for one in file(files, "events").message_type if one.name == "WatchEventsResponse"]
    one.field[1].ClearField("oneof_index")


def renumber_value(files: FileDescriptorSet) -> None:
    enum(files, "FailMode").value[1].number = 7


def rename_value(files: FileDescriptorSet) -> None:
    enum(files, "FailMode").value[1].name = "FAIL_MODE_SAFE"


def rename_package(files: FileDescriptorSet) -> None:
    file(files, "server").package = "vmoc.v2"


BREAKS = (
    *(drop_field, drop_message, drop_rpc, drop_service, drop_value, change_stream, change_answer, rename_field),
    *(renumber_field, retype_field, retype_message_field, retype_map, make_repeated, drop_presence, leave_oneof),
    *(renumber_value, rename_value, rename_package),
)


@pytest.mark.parametrize("change", BREAKS)
def test_a_breaking_change_is_noticed(change: Callable[[FileDescriptorSet], None]) -> None:
    files = api()
    change(files)
    assert broken(listing(api()), listing(files))


def test_an_addition_breaks_nothing() -> None:
    files = api()
    message(files, "Slice").field.add(name="new", number=99, type=FieldDescriptorProto.TYPE_STRING, label=1)
    enum(files, "FailMode").value.add(name="FAIL_MODE_NEW", number=9)
    service(files, "slices").method.add(name="New", input_type=".a.B", output_type=".a.C")
    file(files, "slices").message_type.add(name="New")
    assert not broken(listing(api()), listing(files))
    assert len(listing(files)) == len(listing(api())) + 4


def test_freezing_adds_and_never_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = listing(api())
    target = tmp_path / "frozen.txt"
    monkeypatch.setattr(freezing, "FROZEN", target)
    target.write_text("\n".join(now[:-5]))
    assert freezing.main([]) == 0
    assert target.read_text().splitlines() == now
    target.write_text("field vmoc.v1.Gone.name = 1: string\n")
    assert freezing.main([]) == 1
    assert target.read_text() == "field vmoc.v1.Gone.name = 1: string\n"
    assert freezing.main(["--break"]) == 0
    assert target.read_text().splitlines() == now
