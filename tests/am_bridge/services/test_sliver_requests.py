"""Specifications out of Structs: what JSON would have said, and what is too much."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from am_bridge.services.sliver_messages import to_struct
from am_bridge.services.sliver_requests import MOST_DEPTH, MOST_VALUES, document_of, operation_id_of, plain_struct
from am_bridge.status import ApiError
from am_bridge.violations import Violations
from vmoc.v1 import slivers_pb2 as v


def plain(struct: Struct) -> tuple[dict[str, Any], list[str]]:
    problems = Violations()
    found = plain_struct(struct, "spec", problems)
    try:
        problems.check()
    except ApiError as error:
        return found, [path for path, _ in error.violations]
    return found, []


def test_values_are_as_json_would_have_them() -> None:
    values = {"a": 1, "b": 1.5, "c": [True, None, "x", {"d": -3}], "e": 2**40, "f": {}, "g": []}
    found, wrong = plain(ParseDict(values, Struct()))
    assert found == values and not wrong
    assert type(found["a"]) is int and type(found["e"]) is int and found["c"][0] is True
    assert plain(to_struct(values))[0] == values


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_none(number: float) -> None:
    struct = Struct()
    struct.fields["a"].list_value.values.add().number_value = number
    assert plain(struct)[1] == ["spec.a[0]"]


def test_a_value_that_says_nothing_is_nothing() -> None:
    struct = Struct()
    struct.fields["a"].SetInParent()
    assert plain(struct) == ({"a": None}, [])


def test_what_is_too_deep_or_too_much_is_refused_once() -> None:
    deep: Any = "bottom"
    for _ in range(MOST_DEPTH + 1):
        deep = [deep]
    assert len(plain(ParseDict({"a": deep}, Struct()))[1]) == 1
    many = {f"k{number}": [0] * 100 for number in range(MOST_VALUES // 100 + 50)}
    assert len(plain(ParseDict(many, Struct()))[1]) == 1


@pytest.mark.parametrize(
    ("sliver_id", "hostname"),
    [("vm-1", None), ("VM_1", "vm-1"), ("a:b+c", "a-b-c"), ("...", "sliver"), ("X" * 100, "x" * 63)],
)
def test_a_name_that_is_no_host_name_gets_one(sliver_id: str, hostname: str | None) -> None:
    assert document_of(v.Sliver(sliver_id=sliver_id)).get("hostname") == hostname
    named = v.Sliver(sliver_id=sliver_id, spec=ParseDict({"hostname": "own"}, Struct()))
    assert document_of(named)["hostname"] == "own"


@pytest.mark.parametrize("name", ["", "operations", "operation/1", "x" * 1000])
def test_names_of_operations(name: str) -> None:
    assert operation_id_of("operations/0a1b") == "0a1b"
    with pytest.raises(ApiError) as caught:
        operation_id_of(name)
    assert caught.value.reason.code == "FIELD_INVALID"
    with pytest.raises(ApiError) as caught:
        operation_id_of("operations/../../etc")
    assert caught.value.reason.code == "OPERATION_NOT_FOUND"
