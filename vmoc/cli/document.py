"""API messages as plain documents: what ``-o json`` and ``-o yaml`` print. Stable, whatever protobuf's own form does.

Names are those of the API's fields. Numbers are numbers, enum values are
lower-case words without their prefix, times are RFC 3339 in UTC, durations
are seconds. Fields that have no value are there with an empty one, except
messages and optional fields, which are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import any_pb2, duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


def to_document(message: Message) -> dict[str, Any]:
    """The message with all its fields, in the order of its definition."""
    return {
        field.name: _field(message, field)
        for field in message.DESCRIPTOR.fields
        if field.containing_oneof is None or _is_optional(field) or message.HasField(field.name)
    }


def to_json(document: object) -> str:
    """Indented, and readable for people who do not write in ASCII."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def to_yaml(document: object) -> str:
    """The same as YAML; ends with a line end."""
    import yaml

    text: str = yaml.dump(
        document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, width=100, allow_unicode=True
    )
    return text


def word(descriptor: EnumDescriptor, number: int) -> str:
    """An enum value as a word: ``ADMIN_STATE_ENABLED`` is ``enabled``; one this version does not know is its number."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = _prefix(descriptor)
    name = value.name.removeprefix(prefix).lower()
    return "" if name == "unspecified" else name


def number_of(descriptor: EnumDescriptor, name: str) -> int:
    """The inverse of ``word``. Raises ``ValueError`` naming the words there are."""
    for value in descriptor.values:
        if value.number and word(descriptor, value.number) == name.lower().replace("-", "_"):
            return int(value.number)
    raise ValueError(f"{name!r} is none of {', '.join(words(descriptor))}")


def words(descriptor: EnumDescriptor) -> list[str]:
    """Every value's word."""
    return [word(descriptor, value.number) for value in descriptor.values if value.number]


def moment(stamp: timestamp_pb2.Timestamp) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    when = datetime.fromtimestamp(stamp.seconds, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{stamp.nanos // 1_000_000:03d}Z"


def _prefix(descriptor: EnumDescriptor) -> str:
    zero = descriptor.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


def _is_optional(field: Any) -> bool:
    """Whether its only oneof is the one that ``optional`` makes."""
    oneof = field.containing_oneof
    return oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{field.name}"


def _field(message: Message, field: Any) -> Any:
    if field.is_repeated:
        values = getattr(message, field.name)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            value_field = entry.fields_by_name["value"]
            return {str(key): _value(value, value_field) for key, value in sorted(values.items())}
        return [_value(value, field) for value in values]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(getattr(message, field.name), field)


def _value(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return word(field.enum_type, value)
    if isinstance(value, bytes):
        return value.hex()
    if not isinstance(value, Message):
        return value
    if isinstance(value, timestamp_pb2.Timestamp):
        return moment(value)
    if isinstance(value, duration_pb2.Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, struct_pb2.Struct | struct_pb2.Value | struct_pb2.ListValue):
        return _whole(MessageToDict(value))
    if isinstance(value, any_pb2.Any):
        return MessageToDict(value, preserving_proto_field_name=True)
    return to_document(value)


def _whole(value: Any) -> Any:
    """Struct knows no integers: 4.0 was a 4."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value
