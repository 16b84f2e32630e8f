"""Slices from a file: as the configuration writes them, or as ``vmoc slice show -o yaml`` printed them.

What a slice may say is the server's to judge; here only the shape is checked,
and every mistake is reported with its place, such as
``slices[0].segments[1].vlan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vmoc.cli.document import number_of
from vmoc.cli.moments import read_time
from vmoc.cli.ports import port_number
from vmoc.cli.reading import InputError, read_file
from vmoc.model import format_dpid, parse_dpid
from vmoc.v1 import resources_pb2

# The configuration's names of what the API calls otherwise.
_ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "Slice": {"id": "slice_id", "expires": "expire_time"},
    "Segment": {"vlan": "vlan_id", "dpid": "dpid_scheme"},
}
_ALL_IF_EMPTY: Final = frozenset({"ports", "attachments"})
_WHOLE: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
}


def read_slices(path: Path) -> list[resources_pb2.Slice]:
    """The slices of a YAML or JSON file; ``-`` is standard input. Raises ``InputError``."""
    name, document = read_file(path)
    try:
        return list(_slices(document))
    except _MistakeError as mistake:
        raise InputError(f"{name}: {mistake}") from mistake


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
        where = f"{place}.{key}" if place else key
        name = _ALIASES.get(kind, {}).get(key, key)
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is not None and _is_answer(field):
            continue
        if value is None:
            if name in _ALL_IF_EMPTY:  # nothing under "ports:" must not silently grant all of them
                raise _MistakeError(where, "must not be empty; leave it out for all of them")
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
            target[key] = _text(one, f"{place}.{key}")
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
    if field.name == "dpid" and isinstance(value, int):
        try:
            return format_dpid(parse_dpid(value))
        except ValueError as error:
            raise _MistakeError(place, str(error)) from None
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _text(value, place)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise _MistakeError(place, f"must be true or false, not {value!r:.40}")
        return value
    if field.name in ("port", "ports") and isinstance(value, str):  # also a key of queues, and keys are texts
        try:
            return port_number(value)
        except ValueError as error:
            raise _MistakeError(place, str(error)) from None
    lowest, highest = _WHOLE[field.cpp_type]
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise _MistakeError(place, f"must be a number from {lowest} to {highest}, not {value!r:.40}")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _MistakeError(place, f"must be a text, not {value!r:.40}; put it in quotes")
    return value


def _time(value: object, place: str) -> timestamp_pb2.Timestamp:
    try:
        return read_time(str(value))
    except ValueError:
        raise _MistakeError(place, f"must be a time like 2030-01-31T12:00:00Z, not {value!r:.40}") from None
