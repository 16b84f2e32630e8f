"""Field masks: which fields of a resource an update sets.

What may be set is written in the .proto file: output-only fields are passed over, as if the caller had sent back an
answer; immutable ones cannot be set at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from google.api import field_behavior_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from am_bridge.violations import Violations

if TYPE_CHECKING:
    from google._upb import _message as upb
    from google.protobuf import descriptor

    # The C implementation's classes are alike, and no subclasses.
    Descriptor: TypeAlias = descriptor.Descriptor | upb.Descriptor
    FieldDescriptor: TypeAlias = descriptor.FieldDescriptor | upb.FieldDescriptor

M = TypeVar("M", bound=Message)
MOST_PATHS: Final = 256
_OUTPUT_ONLY: Final = field_behavior_pb2.OUTPUT_ONLY
_IMMUTABLE: Final = field_behavior_pb2.IMMUTABLE


def apply_mask(mask: FieldMask | None, current: M, wanted: M, fixed: Collection[str] = ("etag",)) -> M:
    """``current`` with the fields that ``mask`` names as they are in ``wanted``.

    No mask, or an empty one: the fields that are not empty in ``wanted``. ``*``: every field that can be set.
    Repeated fields and maps are replaced whole; of messages and Structs single fields can be named, like
    ``limits.max_flows``. ``fixed`` cannot be set, beside what the .proto file says. Raises ``ApiError`` for paths
    that lead nowhere.
    """
    result = type(current)()
    result.CopyFrom(current)
    paths = list(mask.paths) if mask is not None else []
    if paths in ([], ["*"]):
        for field in _settable(wanted.DESCRIPTOR, fixed):
            if paths or _is_set(wanted, field):
                _set(result, wanted, field)
        return result
    problems = Violations()
    if len(paths) > MOST_PATHS:
        problems.add("update_mask.paths", f"must be at most {MOST_PATHS}, not {len(paths)}")
        problems.check()
    for index, path in enumerate(paths):
        complaint = _apply(path, result, wanted, fixed)
        if complaint:
            problems.add(f"update_mask.paths[{index}]", complaint)
    problems.check()
    return result


def _apply(path: str, result: Message, wanted: Message, fixed: Collection[str]) -> str:
    """Set what one path names; returns what is wrong with the path."""
    shown = repr(path[:80])
    if path == "*":
        return "must be the only path if it is *"
    head, _, rest = path.partition(".")
    field = wanted.DESCRIPTOR.fields_by_name.get(head)
    if field is None:
        return f"must name fields of {wanted.DESCRIPTOR.name}, not {shown}"
    behaviour = _behaviour(field)
    if _OUTPUT_ONLY in behaviour:
        return ""
    if _IMMUTABLE in behaviour or head in fixed:
        return f"must not name {head}, which cannot be changed"
    if not rest:
        _set(result, wanted, field)
        return ""
    if field.is_repeated or field.message_type is None:
        return f"must not go into {head}, which is set as a whole: {shown}"
    if field.message_type.full_name == Struct.DESCRIPTOR.full_name:
        _set_entry(getattr(result, head), getattr(wanted, head), rest)
        return ""
    return _apply(rest, getattr(result, head), getattr(wanted, head), ())


def _set_entry(result: Struct, wanted: Struct, name: str) -> None:
    """One field of a Struct; names in it may contain dots, and go no deeper."""
    if name in wanted.fields:
        result.fields[name].CopyFrom(wanted.fields[name])
    elif name in result.fields:
        del result.fields[name]


def _settable(kind: Descriptor, fixed: Collection[str]) -> Iterator[FieldDescriptor]:
    for field in kind.fields:
        if field.name not in fixed and not _behaviour(field) & {_OUTPUT_ONLY, _IMMUTABLE}:
            yield field


def _behaviour(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    return bool(getattr(message, field.name))


def _set(result: Message, wanted: Message, field: FieldDescriptor) -> None:
    """One whole field, empty if it is empty in ``wanted``."""
    result.ClearField(field.name)
    if not _is_set(wanted, field):
        return
    if field.is_repeated or field.message_type is not None:
        getattr(result, field.name).MergeFrom(getattr(wanted, field.name))
    else:
        setattr(result, field.name, getattr(wanted, field.name))
