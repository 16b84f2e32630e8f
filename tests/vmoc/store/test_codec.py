"""A slice's JSON: everything comes back, and foreign text is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmoc.model import Attachment, DpidScheme, Endpoint, FailMode, Limits, Origin, Presentation, Segment, Slice
from vmoc.store import codec

TEXT = st.text(max_size=12)
PORTS = st.integers(1, 0xFFFFFFFE)
ATTACHMENTS = st.builds(
    Attachment,
    st.integers(0, 2**64 - 1),
    st.none() | st.frozensets(PORTS, max_size=3),
    st.dictionaries(PORTS, st.frozensets(st.integers(0, 0xFFFFFFFE), max_size=2), max_size=2),
)
ENDPOINTS = st.builds(
    Endpoint, st.sampled_from(["tcp", "ssl"]), st.sampled_from(["h", "192.0.2.1", "2001:db8::1"]), st.integers(1, 65535)
)
SEGMENTS = st.builds(
    Segment,
    st.integers(1, 4094),
    st.lists(ENDPOINTS, max_size=3).map(tuple),
    st.sampled_from(Presentation),
    st.sampled_from(DpidScheme),
    st.none() | st.lists(ATTACHMENTS, max_size=2).map(tuple),
    st.sampled_from(FailMode),
)
SLICES = st.builds(
    Slice,
    st.just("x"),
    st.lists(SEGMENTS, max_size=3).map(tuple),
    st.builds(Limits, *[st.integers(0, 10**9)] * len(fields(Limits))),
    st.dictionaries(TEXT, TEXT, max_size=3),
    TEXT,
    st.just(Origin.API),
    st.booleans(),
    TEXT,
    st.none() | st.floats(0, 1e12),
)
BODY = json.loads(codec.encode(Slice("x", (Segment(1, attachments=(Attachment(1),)),))))


@given(SLICES)
def test_everything_comes_back(one: Slice) -> None:
    assert codec.decode("x", codec.encode(one)) == one


def test_every_field_of_the_model_is_written() -> None:
    """Whoever adds a field to the model has to decide how it is stored, and in which schema version."""
    assert set(BODY) | {"id", "origin"} == {field.name for field in fields(Slice)}
    assert set(BODY["segments"][0]) == {field.name for field in fields(Segment)}
    assert set(BODY["segments"][0]["attachments"][0]) == {field.name for field in fields(Attachment)}
    assert set(BODY["limits"]) == {field.name for field in fields(Limits)}


@pytest.mark.parametrize(
    "change",
    [
        {"manager": 5},
        {"enabled": 1},
        {"labels": {"a": 1}},
        {"limits": {"nonsense": 1}},
        {"limits": {"max_flows": "1"}},
        {"segments": [{"vlan": 1}]},
        {"segments": [BODY["segments"][0] | {"vlan": True}]},
        {"segments": [BODY["segments"][0] | {"presentation": "upside down"}]},
        {"segments": [BODY["segments"][0] | {"controllers": ["nowhere"]}]},
        {"more": 1},
    ],
)
def test_foreign_text_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        codec.decode("x", json.dumps(BODY | change))


def test_a_missing_field_is_not_guessed() -> None:
    for key in BODY:
        with pytest.raises((ValueError, TypeError, LookupError)):
            codec.decode("x", json.dumps({k: v for k, v in BODY.items() if k != key}))
