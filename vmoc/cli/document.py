"""API messages as plain documents: what ``-o json`` and ``-o yaml`` print. Stable, whatever protobuf's own form does.

Names are those of the API's fields. Numbers are numbers, enum values are
lower-case words without their prefix, times are RFC 3339 in UTC, durations
are seconds. Fields that have no value are there with an empty one, except
messages and optional fields, which are null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

LONG: Final = 100
"""Elements; Python indents slowly."""
_OBEYED: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What JSON leaves as it is, and a terminal obeys: further controls, and those that turn the direction of writing."""
_line: Final = json.JSONEncoder(ensure_ascii=False).encode


def to_document(message: Message) -> dict[str, Any]:
    """The message with all its fields, in the order of its definition."""
    return {
        name: value(message) for name, chosen, value in _plan(message.DESCRIPTOR) if chosen is None or chosen(message)
    }


def to_json(document: object) -> str:
    """Indented, and readable for people who do not write in ASCII; of a long list each element is one line."""
    if isinstance(document, list) and len(document) > LONG:
        return "[\n" + ",\n".join(map(to_line, document)) + "\n]"
    return _tamed(json.dumps(document, indent=2, ensure_ascii=False))


def to_line(document: object) -> str:
    """The same in one line."""
    return _tamed(_line(document))


def _tamed(text: str) -> str:
    return text.translate(_OBEYED)


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


Value = Callable[[Any], Any]
"""What becomes of a message's field, or of one value."""


@lru_cache(512)
def _plan(descriptor: Descriptor) -> tuple[tuple[str, Callable[[Message], bool] | None, Value], ...]:
    """For every field of a message: its name, whether this message has it (None: always), and its value.

    Worked out once for a kind of message, as there may be tens of thousands of them.
    """
    return tuple((field.name, _chosen(field), _of_field(field)) for field in descriptor.fields)


def _chosen(field: Any) -> Callable[[Message], bool] | None:
    """Fields of a oneof are there if they are what was chosen."""
    if field.containing_oneof is None or _is_optional(field):
        return None
    name = field.name
    return lambda message: message.HasField(name)


def _of_field(field: Any) -> Value:
    name, get = field.name, attrgetter(field.name)
    entry = field.message_type
    if field.is_repeated and entry is not None and entry.GetOptions().map_entry:
        in_map = _of_value(entry.fields_by_name["value"]) or _same
        return lambda message: {str(key): in_map(value) for key, value in sorted(get(message).items())}
    one = _of_value(field)
    if field.is_repeated:
        if one is None:
            return lambda message: list(get(message))
        return lambda message: [one(value) for value in get(message)]
    if field.has_presence:
        write = one or _same
        return lambda message: write(get(message)) if message.HasField(name) else None
    return get if one is None else lambda message: one(get(message))


def _of_value(field: Any) -> Value | None:
    """None: the value itself."""
    if field.enum_type is not None:
        words = {value.number: word(field.enum_type, value.number) for value in field.enum_type.values}
        return lambda number: words[number] if number in words else str(number)
    if field.type == field.TYPE_BYTES:
        return lambda value: value.hex()
    if field.message_type is None:
        return None
    special: Value = _SPECIAL.get(field.message_type.full_name, to_document)
    return special


def _same(value: Any) -> Any:
    return value


def _whole(value: Any) -> Any:
    """Struct knows no integers: 4.0 was a 4."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value


def struct_document(value: Message) -> Any:
    """A Struct, or a value in one."""
    return _whole(MessageToDict(value))


_SPECIAL: Final[Mapping[str, Value]] = {
    "google.protobuf.Timestamp": moment,
    "google.protobuf.Duration": lambda value: value.seconds + value.nanos / 1e9,
    "google.protobuf.Struct": struct_document,
    "google.protobuf.Value": struct_document,
    "google.protobuf.ListValue": struct_document,
    "google.protobuf.Any": lambda value: MessageToDict(value, preserving_proto_field_name=True),
}
