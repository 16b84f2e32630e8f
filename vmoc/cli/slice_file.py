"""Slices from a file: as the configuration writes them, or as ``vmoc slice show -o yaml`` printed them.

What a slice may say is the server's to judge; here only the shape is checked,
and every mistake is reported with its place, such as
``slices[0].segments[1].vlan``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import yaml
from google.api import field_behavior_pb2
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vmoc.cli.document import number_of
from vmoc.v1 import resources_pb2

# The configuration's names of what the API calls otherwise.
_ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "Slice": {"id": "slice_id", "expires": "expire_time"},
    "Segment": {"vlan": "vlan_id", "dpid": "dpid_scheme"},
}
_LARGEST: Final = 64 << 20
_WHOLE: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
}


class SliceFileError(click.ClickException):
    """The file cannot be read, or is not about slices."""

    exit_code = 2


def read_slices(path: Path) -> list[resources_pb2.Slice]:
    """The slices of a YAML or JSON file; ``-`` is standard input. Raises ``SliceFileError``."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        raw = sys.stdin.buffer.read(_LARGEST + 1) if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise SliceFileError(f"{name} cannot be read: {error.strerror}") from error
    if len(raw) > _LARGEST:
        raise SliceFileError(f"{name} is larger than {_LARGEST >> 20} MiB")
    try:
        document = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f":{place.line + 1}:{place.column + 1}" if place is not None else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise SliceFileError(f"{name}{where}: {problem}") from error
    try:
        return list(_slices(document))
    except _MistakeError as mistake:
        raise SliceFileError(f"{name}: {mistake}") from mistake


class _MistakeError(Exception):
    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}" if place else text)


def _slices(document: object) -> Iterator[resources_pb2.Slice]:
    if isinstance(document, dict) and "slices" in document:
        entries, place = document["slices"], "slices"
    elif isinstance(document, dict):
        entries, place = [document], ""
    else:
        entries, place = document, "slices"
    if not isinstance(entries, list):
        raise _MistakeError(place, "must be a list of slices")
    for index, entry in enumerate(entries):
        one = resources_pb2.Slice()
        _fill(one, entry, f"{place}[{index}]" if place else "")
        yield one


def _fill(message: Message, given: object, place: str) -> None:
    kind = message.DESCRIPTOR.name
    if not isinstance(given, dict):
        raise _MistakeError(place, f"must be a mapping, not {given!r:.40}")
    for key, value in given.items():
        where = f"{place}.{key}" if place else str(key)
        name = _ALIASES.get(kind, {}).get(str(key), str(key))
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if value is None or (field is not None and _is_answer(field)):
            continue
        if kind == "Slice" and name == "enabled":
            name, value = "admin_state", "enabled" if value else "disabled"
        if kind == "Segment" and name == "vlan_id" and value == "any":
            value = 0
        if kind == "Attachment" and name == "queues" and isinstance(value, dict):
            value = [{"port": port, "queue_ids": ids} for port, ids in value.items()]
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise _MistakeError(where, f"is not a key here; there are {', '.join(_keys(kind, message))}")
        _set(message, field, value, where)


def _keys(kind: str, message: Message) -> list[str]:
    shown = {name: alias for alias, name in _ALIASES.get(kind, {}).items()}
    return [shown.get(field.name, field.name) for field in message.DESCRIPTOR.fields if not _is_answer(field)]


def _is_answer(field: Any) -> bool:
    """Whether only the server sets it. A slice's etag is left out too: a file says how it shall be, whatever it is."""
    behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field.name == "etag" or field_behavior_pb2.OUTPUT_ONLY in behaviour


def _set(message: Message, field: Any, value: object, place: str) -> None:
    target = getattr(message, field.name)
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, dict):
            raise _MistakeError(place, "must be a mapping of texts")
        for key, one in value.items():
            target[str(key)] = str(one)
    elif field.is_repeated:
        if not isinstance(value, list):
            raise _MistakeError(place, "must be a list")
        for index, one in enumerate(value):
            where = f"{place}[{index}]"
            if field.message_type is not None:
                _fill(target.add(), one, where)
            else:
                target.append(_scalar(field, one, where))
    elif isinstance(target, timestamp_pb2.Timestamp):
        target.CopyFrom(_time(value, place))
    elif field.message_type is not None:
        target.SetInParent()
        _fill(target, value, place)
    else:
        setattr(message, field.name, _scalar(field, value, place))


def _scalar(field: Any, value: object, place: str) -> Any:
    if field.enum_type is not None:
        if value == "":
            return 0
        try:
            return number_of(field.enum_type, str(value))
        except ValueError as error:
            raise _MistakeError(place, str(error)) from None
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.name == "dpid" and isinstance(value, int):
            return f"0x{value:016x}"
        if not isinstance(value, str):
            raise _MistakeError(place, f"must be a text, not {value!r:.40}; put it in quotes")
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise _MistakeError(place, f"must be true or false, not {value!r:.40}")
        return value
    lowest, highest = _WHOLE[field.cpp_type]
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise _MistakeError(place, f"must be a number from {lowest} to {highest}, not {value!r:.40}")
    return value


def _time(value: object, place: str) -> timestamp_pb2.Timestamp:
    when = value if isinstance(value, datetime) else None
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            when = None
    if when is None:
        raise _MistakeError(place, f"must be a time like 2030-01-31T12:00:00Z, not {value!r:.40}")
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(when if when.tzinfo is not None else when.replace(tzinfo=UTC))
    return stamp
