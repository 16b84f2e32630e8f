"""The API keeps to its rules for names; and the rules notice who does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tests.api.listing import ROOT, api
from tests.api.naming import complaints

GOOD = """\
// Things.
syntax = "proto3";

package vmoc.v1;

// Service.
service ThingService {
  // Changes one.
  rpc UpdateThing(UpdateThingRequest) returns (Thing);
  // Lists.
  rpc ListThings(ListThingsRequest) returns (ListThingsResponse);
  // Watches.
  rpc WatchThings(WatchThingsRequest) returns (stream WatchThingsResponse);
}

// Thing.
message Thing {
  // Name.
  string name = 1;
  // Names.
  repeated string names = 2;
  // State.
  ThingState state = 3;
  // How many.
  optional int32 thing_count = 4;
  // Which.
  oneof either {
    // On.
    bool on = 5;
  }
  // Labels.
  map<string, string> labels = 6;
}

// State.
enum ThingState {
  // None.
  THING_STATE_UNSPECIFIED = 0;
  // On.
  THING_STATE_ON = 1;
}

// Request.
message UpdateThingRequest {
  // Thing.
  Thing thing = 1;
  // Mask.
  Thing update_mask = 2;
  // Id.
  string request_id = 3;
  // Check.
  bool validate_only = 4;
}

// Request.
message ListThingsRequest {
  // Size.
  int32 page_size = 1;
  // Token.
  string page_token = 2;
}

// Answer.
message ListThingsResponse {
  // Things.
  repeated Thing things = 1;
  // Token.
  string next_page_token = 2;
}

// Request.
message WatchThingsRequest {}

// Answer.
message WatchThingsResponse {}
"""


def compiled(folder: Path, text: str, name: str = "vmoc/v1/things.proto") -> FileDescriptorSet:
    source, target = folder / name, folder / "out"
    source.parent.mkdir(parents=True)
    source.write_text(text)
    arguments = ["protoc", f"-I{folder}", "--include_source_info", f"--descriptor_set_out={target}", str(source)]
    assert protoc.main(arguments) == 0
    return FileDescriptorSet.FromString(target.read_bytes())


def test_the_api_keeps_to_the_rules() -> None:
    assert not complaints(api())


def test_every_mutating_request_says_the_same_of_what_all_have() -> None:
    texts = [path.read_text() for path in (ROOT / "proto").rglob("*.proto")]
    for field in ("string request_id", "bool validate_only", "string next_page_token"):
        said = {re.sub(r"\s+", " ", one) for text in texts for one in _comments(text, field)}
        assert len(said) == 1, (field, said)


def _comments(text: str, field: str) -> list[str]:
    """Comments before that field, those of requests and answers only."""
    found = re.findall(rf"((?:^ *//.*\n)+) *{field} = \d+", text, re.MULTILINE)
    return [one for one in found if "The request's id." not in one]


def test_the_rules_do_not_mind_what_keeps_to_them(tmp_path: Path) -> None:
    assert not complaints(compiled(tmp_path, GOOD))


OFFENCES = [
    ("package vmoc.v1;", "package vmoc.v2;", "the package must be vmoc.v1"),
    ("// Things.\nsyntax", "syntax", "must begin with a comment"),
    (
        "message WatchThingsResponse {}",
        "message WatchThingsResponse {}\n\n// A.\nmessage thing {}",
        "thing: is not named after the style guide",
    ),
    ("service ThingService", "service Things", "Things: must be named ...Service"),
    ("string name = 1", "string Name = 1", "Thing.Name: is not named after the style guide"),
    ("string name = 1", "string thingName = 1", "Thing.thingName: is not named after the style guide"),
    ("repeated string names", "repeated string name_list", "Thing.name_list: a repeated field must be plural"),
    ("map<string, string> labels", "map<string, string> label", "Thing.label: a repeated field must be plural"),
    ("THING_STATE_ON", "STATE_ON", "ThingState.STATE_ON: is not named after the style guide"),
    ("THING_STATE_ON", "THING_STATE_On", "ThingState.THING_STATE_On: is not named after the style guide"),
    ("THING_STATE_UNSPECIFIED", "THING_STATE_NONE", "the first value must be THING_STATE_UNSPECIFIED = 0"),
    ("optional int32 thing_count", "optional uint32 thing_count", "Thing.thing_count: a count must be int32 or int64"),
    ("bool on = 5", "bool is_on = 5", "Thing.is_on: a bool must not be named is_..."),
    ("string request_id", "bytes request_id", "UpdateThing: must have string request_id"),
    ("bool validate_only", "bool dry_run", "UpdateThing: must have bool validate_only"),
    ("Thing update_mask", "Thing mask", "UpdateThing: must have message update_mask"),
    ("string page_token", "string token", "ListThings: must have string page_token"),
    ("int32 page_size", "int64 page_size", "ListThings: must have int32 page_size"),
    ("string next_page_token", "string next_token", "ListThings: must have string next_page_token"),
    ("repeated Thing things", "Thing thing", "what it lists must be the first field of the answer"),
    ("UpdateThing(UpdateThingRequest)", "UpdateThing(WatchThingsRequest)", "must take a UpdateThingRequest"),
    ("returns (Thing);", "returns (ListThingsResponse);", "must answer UpdateThingResponse, a resource"),
    ("returns (stream WatchThingsResponse)", "returns (stream Thing)", "a stream must be of WatchThingsResponse"),
    ("  // Changes one.\n", "", "ThingService.UpdateThing: must have a comment"),
    ("// Service.\n", "", "ThingService: must have a comment"),
    ("// Thing.\nmessage", "message", "Thing: must have a comment"),
    ("  // Name.\n", "", "Thing.name: must have a comment"),
    ("  // Which.\n", "", "Thing.either: must have a comment"),
    ("    // On.\n", "", "Thing.on: must have a comment"),
    ("// State.\nenum", "enum", "ThingState: must have a comment"),
    ("  // None.\n", "", "ThingState.THING_STATE_UNSPECIFIED: must have a comment"),
]


@pytest.mark.parametrize(("good", "bad", "complaint"), OFFENCES)
def test_an_offence_is_noticed(tmp_path: Path, good: str, bad: str, complaint: str) -> None:
    assert good in GOOD
    found = complaints(compiled(tmp_path, GOOD.replace(good, bad)))
    assert any(complaint in one for one in found), found


def test_times_and_masks_have_their_names(tmp_path: Path) -> None:
    text = GOOD.replace("package vmoc.v1;", 'package vmoc.v1;\nimport "google/protobuf/timestamp.proto";').replace(
        "string name = 1", "google.protobuf.Timestamp name = 1"
    )
    folder = Path(protoc.__file__).parent / "_proto"
    (tmp_path / "google").symlink_to(folder / "google")
    assert complaints(compiled(tmp_path, text)) == ["Thing.name: a Timestamp must be named ..._time"]


def test_another_syntax_is_noticed(tmp_path: Path) -> None:
    text = 'edition = "2023";\n\npackage vmoc.v1;\n'
    assert "vmoc/v1/things.proto: must be proto3" in complaints(compiled(tmp_path, text))


@pytest.mark.parametrize("name", ["vmoc/things.proto", "vmoc/v1/Things.proto"])
def test_files_have_their_place(tmp_path: Path, name: str) -> None:
    assert complaints(compiled(tmp_path, GOOD, name)) == [
        f"{name}: must be named lower_snake_case, in the folder of its package"
    ]
