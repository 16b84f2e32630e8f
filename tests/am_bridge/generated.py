"""Requests that nobody would write: every field of a message, in and far out of its range."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

F = FieldDescriptor
DEPTH = 4
_BOUNDS: dict[int, tuple[int, int]] = {
    F.TYPE_INT32: (-(2**31), 2**31 - 1),
    F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    F.TYPE_ENUM: (-(2**31), 2**31 - 1),
    F.TYPE_UINT32: (0, 2**32 - 1),
    F.TYPE_FIXED32: (0, 2**32 - 1),
    F.TYPE_INT64: (-(2**63), 2**63 - 1),
    F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    F.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    F.TYPE_UINT64: (0, 2**64 - 1),
    F.TYPE_FIXED64: (0, 2**64 - 1),
}
_PLAUSIBLE = [0, 1, 2, 3, 101, 102, 4094, 4095, 4096, 1000, 0xFFFFFEFF, 0xFFFFFFFE, 253_402_300_799]
_WORDS = [
    "",
    "alice",
    "fuzz",
    "urn:publicid:IDN+a+slice+b",
    "0x00000000000000aa",
    "aa",
    "tcp:127.0.0.1:6640",
    "ssl:[::1]:65536",
    "10.0.0.1",
    "fe80::1%eth0",
    "02:00:00:00:00:01",
    "*",
    "segments",
    "limits.max_flows",
    "spec.x",
    "default",
    "earliest",
    "operations/0a",
    "vm",
    "x" * 65,
    "x" * 5000,
    "a\0b",
    "../../etc/passwd",
    "\u202e\u0000\U0001f4a9",
    "'; DROP TABLE slices; --",
]


def messages(descriptor: Descriptor, depth: int = DEPTH) -> st.SearchStrategy[Message]:
    """Messages of that type; about half of the fields are there."""
    return st.builds(
        lambda fields: _built(descriptor, fields),
        st.fixed_dictionaries({}, optional={field.name: _values(field, depth) for field in _told(descriptor, depth)}),
    )


def _told(descriptor: Descriptor, depth: int) -> list[FieldDescriptor]:
    return [field for field in descriptor.fields if depth or field.type != F.TYPE_MESSAGE]


def _built(descriptor: Descriptor, fields: dict[str, Any]) -> Message:
    message = GetMessageClass(descriptor)()
    for name, value in fields.items():
        field = descriptor.fields_by_name[name]
        if _is_map(field):
            target = getattr(message, name)
            for key, one in value.items():
                if field.message_type.fields_by_name["value"].type == F.TYPE_MESSAGE:
                    target[key].CopyFrom(one)
                else:
                    target[key] = one
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif field.type == F.TYPE_MESSAGE:
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _is_map(field: FieldDescriptor) -> bool:
    return field.type == F.TYPE_MESSAGE and bool(field.message_type.GetOptions().map_entry)


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if _is_map(field):
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_one(key, depth - 1), _one(value, depth - 1), max_size=3)
    one = _one(field, depth - 1)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.type
    if kind == F.TYPE_MESSAGE:
        return messages(field.message_type, max(0, depth))
    if kind == F.TYPE_BOOL:
        return st.booleans()
    if kind == F.TYPE_STRING:
        # Surrogates cannot be in a protobuf string.
        return st.sampled_from(_WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if kind == F.TYPE_BYTES:
        return st.binary(max_size=20)
    if kind in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        return st.sampled_from([0.0, -1.0, 1e300 if kind == F.TYPE_DOUBLE else 1e30, math.inf, math.nan])
    low, high = _BOUNDS[kind]
    near = [number for number in [*_PLAUSIBLE, low, high, -1] if low <= number <= high]
    if kind == F.TYPE_ENUM:
        near += [value.number for value in field.enum_type.values] * 3
    return st.sampled_from(near) | st.integers(low, high)
