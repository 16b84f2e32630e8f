"""API messages as documents: the stable form of ``-o json``."""

from __future__ import annotations

import json

import pytest
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from vmoc.cli.document import LONG, moment, number_of, to_document, to_json, to_yaml, word, words
from vmoc.v1 import events_pb2, resources_pb2, slices_pb2, slivers_pb2, switches_pb2


def test_every_field_is_there_and_absent_messages_are_null() -> None:
    document = to_document(resources_pb2.Slice(slice_id="a"))
    assert list(document) == [field.name for field in resources_pb2.Slice.DESCRIPTOR.fields]
    assert document["slice_id"] == "a"
    assert document["segments"] == [] and document["labels"] == {}
    assert document["limits"] is None and document["expire_time"] is None
    assert document["admin_state"] == ""


def test_optional_numbers_tell_zero_from_nothing() -> None:
    document = to_document(resources_pb2.Limits(max_flows=0, max_groups=7))
    assert (document["max_flows"], document["max_groups"], document["max_meters"]) == (0, 7, None)


def test_enums_are_words_times_are_rfc3339_numbers_are_numbers() -> None:
    flow = switches_pb2.Flow(cookie=1 << 63, packet_count=1 << 40, kind=switches_pb2.FLOW_KIND_GUARD)
    flow.age.CopyFrom(duration_pb2.Duration(seconds=3, nanos=500_000_000))
    document = to_document(flow)
    assert (document["cookie"], document["packet_count"]) == (1 << 63, 1 << 40)
    assert (document["kind"], document["age"]) == ("guard", 3.5)
    stamp = timestamp_pb2.Timestamp(seconds=1_700_000_000, nanos=120_000_000)
    assert to_document(resources_pb2.Slice(create_time=stamp))["create_time"] == "2023-11-14T22:13:20.120Z"


def test_maps_lists_and_structs() -> None:
    one = resources_pb2.Slice(labels={"b": "2", "a": "1"}, segments=[{"vlan_id": 5}])
    document = to_document(one)
    assert list(document["labels"].items()) == [("a", "1"), ("b", "2")]
    assert document["segments"][0]["vlan_id"] == 5
    spec = struct_pb2.Struct()
    spec.update({"cores": 2, "share": 0.5, "names": ["x", 3]})
    assert to_document(slivers_pb2.Sliver(spec=spec))["spec"] == {"cores": 2, "share": 0.5, "names": ["x", 3]}


def test_of_a_oneof_only_what_is_set_is_there() -> None:
    event = to_document(events_pb2.Event(quota={"limit": "max_flows"}))
    assert event["quota"]["limit"] == "max_flows"
    assert "refusal" not in event


def test_words_and_back() -> None:
    states = resources_pb2.VirtualDatapathState.DESCRIPTOR
    assert word(states, resources_pb2.VIRTUAL_DATAPATH_STATE_TAINTED) == "tainted"
    assert word(states, 0) == ""
    assert word(states, 999) == "999"
    assert {number_of(states, name) for name in words(states)} == set(states.values_by_number) - {0}
    assert number_of(slivers_pb2.SliverState.DESCRIPTOR, "delete-failed") == slivers_pb2.SLIVER_STATE_DELETE_FAILED
    with pytest.raises(ValueError, match="'nonsense' is none of pending"):
        number_of(states, "nonsense")


def test_printed_forms_agree() -> None:
    import json

    import yaml

    document = to_document(slices_pb2.RegisterSliceResponse(slice={"slice_id": "ä", "owner": "o"}))
    assert json.loads(to_json(document)) == yaml.safe_load(to_yaml(document)) == document
    assert "ä" in to_json(document)


def test_moment_is_utc() -> None:
    assert moment(timestamp_pb2.Timestamp(seconds=0)) == "1970-01-01T00:00:00.000Z"


def test_a_long_list_has_one_element_per_line() -> None:
    document = [{"id": number, "name": "ü"} for number in range(101)]
    lines = to_json(document).splitlines()
    assert (lines[0], lines[1], lines[-1], len(lines)) == ("[", '{"id": 0, "name": "ü"},', "]", 103)
    assert json.loads(to_json(document)) == document
    assert to_json(document[:100]).splitlines()[1:3] == ["  {", '    "id": 0,']


def test_json_has_nothing_a_terminal_obeys() -> None:
    nasty = "é \x1b[2J \x9b2J \x7f \u202e \u2066"
    for document in ({"name": nasty}, [nasty] * (LONG + 1)):
        text = to_json(document)
        assert json.loads(text) == document
        assert "é" in text and all(one.isprintable() or one == "\n" for one in text)
