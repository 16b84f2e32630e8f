"""How the API names things: the protobuf style guide, and what matters of google.aip.dev and buf's STANDARD rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

Path = tuple[int, ...]
PACKAGE: Final = "vmoc.v1"
READS: Final = ("Get", "List", "Watch", "Stream", "Lookup", "Probe")
# Repeated fields are plural; these words speak of more than one as they are.
PLURALS: Final = {"added", "changed", "removed", "used", "capacity", "output_tail"}
OPERATION: Final = ".google.longrunning.Operation"
_SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*")
_PASCAL: Final = re.compile(r"([A-Z][a-z0-9]+)+")
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6  # fields of FileDescriptorProto, as in SourceCodeInfo paths
_FIELD, _NESTED, _NESTED_ENUM, _ONEOF = 2, 3, 4, 8  # of DescriptorProto
_VALUE, _RPC = 2, 2  # of EnumDescriptorProto and ServiceDescriptorProto


def complaints(files: FileDescriptorSet) -> list[str]:
    """What is named, or left out, against the rules; each begins with the name of the element."""
    messages = {f".{file.package}.{one.name}": one for file in files.file for one in file.message_type}
    return [each for file in files.file for each in _file(file, messages)]


def _file(file: FileDescriptorProto, messages: dict[str, DescriptorProto]) -> Iterator[str]:
    commented = {tuple(one.path) for one in file.source_code_info.location if one.leading_comments.strip()}
    if file.package != PACKAGE:
        yield f"{file.name}: the package must be {PACKAGE}"
    folder, _, name = file.name.rpartition("/")
    if folder != file.package.replace(".", "/") or not _SNAKE.fullmatch(name.removesuffix(".proto")):
        yield f"{file.name}: must be named lower_snake_case, in the folder of its package"
    if file.syntax != "proto3":
        yield f"{file.name}: must be proto3"
    # 12 is the syntax statement.
    if not any(list(one.path) == [12] and one.leading_comments for one in file.source_code_info.location):
        yield f"{file.name}: must begin with a comment"
    for number, message in enumerate(file.message_type):
        yield from _message(message, (_MESSAGE, number), commented)
    for number, enum in enumerate(file.enum_type):
        yield from _enum(enum, (_ENUM, number), commented)
    for number, service in enumerate(file.service):
        yield from _service(service, (_SERVICE, number), commented, messages)


def _message(message: DescriptorProto, path: Path, commented: set[Path]) -> Iterator[str]:
    yield from _element(message.name, message.name, _PASCAL, path, commented)
    for number, field in enumerate(message.field):
        yield from _field(f"{message.name}.{field.name}", field, (*path, _FIELD, number), commented)
    synthetic = {one.oneof_index for one in message.field if one.proto3_optional}
    for number, oneof in enumerate(message.oneof_decl):
        if number not in synthetic:
            where = f"{message.name}.{oneof.name}"
            yield from _element(where, oneof.name, _SNAKE, (*path, _ONEOF, number), commented)
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(nested, (*path, _NESTED, number), commented)
    for number, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, _NESTED_ENUM, number), commented)


def _field(where: str, field: FieldDescriptorProto, path: Path, commented: set[Path]) -> Iterator[str]:
    yield from _element(where, field.name, _SNAKE, path, commented)
    if field.label == field.LABEL_REPEATED:
        if not field.name.endswith("s") and field.name not in PLURALS:
            yield f"{where}: a repeated field must be plural"
    elif field.type_name == ".google.protobuf.Timestamp" and not field.name.endswith("_time"):
        yield f"{where}: a Timestamp must be named ..._time"
    elif field.type_name == ".google.protobuf.FieldMask" and field.name != "update_mask":
        yield f"{where}: a FieldMask must be named update_mask"
    if field.type == field.TYPE_BOOL and field.name.startswith("is_"):
        yield f"{where}: a bool must not be named is_..."
    if field.name.endswith("count") and field.type not in (field.TYPE_INT32, field.TYPE_INT64):
        yield f"{where}: a count must be int32 or int64"


def _enum(enum: EnumDescriptorProto, path: Path, commented: set[Path]) -> Iterator[str]:
    yield from _element(enum.name, enum.name, _PASCAL, path, commented)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    upper = re.compile(rf"{prefix}[A-Z0-9]+(_[A-Z0-9]+)*")
    for number, value in enumerate(enum.value):
        yield from _element(f"{enum.name}.{value.name}", value.name, upper, (*path, _VALUE, number), commented)
    if (enum.value[0].name, enum.value[0].number) != (f"{prefix}UNSPECIFIED", 0):
        yield f"{enum.name}: the first value must be {prefix}UNSPECIFIED = 0"


def _service(
    service: ServiceDescriptorProto, path: Path, commented: set[Path], messages: dict[str, DescriptorProto]
) -> Iterator[str]:
    yield from _element(service.name, service.name, _PASCAL, path, commented)
    if not service.name.endswith("Service"):
        yield f"{service.name}: must be named ...Service"
    for number, rpc in enumerate(service.method):
        where = f"{service.name}.{rpc.name}"
        yield from _element(where, rpc.name, _PASCAL, (*path, _RPC, number), commented)
        if rpc.input_type != f".{PACKAGE}.{rpc.name}Request" or rpc.input_type not in messages:
            yield f"{where}: must take a {rpc.name}Request"
            continue
        answer = rpc.output_type.removeprefix(f".{PACKAGE}.")
        # Reads of one thing, and what changes one thing in place, answer with that thing (AIP-131, AIP-134, AIP-136).
        plain = rpc.output_type in messages and not answer.endswith(("Request", "Response"))
        if answer != f"{rpc.name}Response" and rpc.output_type != OPERATION and not plain:
            yield f"{where}: must answer {rpc.name}Response, a resource, or an Operation"
        if rpc.server_streaming and answer != f"{rpc.name}Response":
            yield f"{where}: a stream must be of {rpc.name}Response"
        request = {one.name: one.type for one in messages[rpc.input_type].field}
        if not rpc.name.startswith(READS):
            yield from _has(where, request, request_id="string", validate_only="bool")
        if rpc.name.startswith(("Update", "Modify")):
            yield from _has(where, request, update_mask="message")
        if rpc.name.startswith("List"):
            yield from _has(where, request, page_size="int32", page_token="string")
            answered = messages[rpc.output_type]
            yield from _has(where, {one.name: one.type for one in answered.field}, next_page_token="string")
            if not answered.field or answered.field[0].label != FieldDescriptorProto.LABEL_REPEATED:
                yield f"{where}: what it lists must be the first field of the answer, and repeated"


def _has(where: str, there: dict[str, FieldDescriptorProto.Type], **wanted: str) -> Iterator[str]:
    for name, kind in wanted.items():
        if there.get(name) != FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}"):
            yield f"{where}: must have {kind} {name}"


def _element(where: str, name: str, form: re.Pattern[str], path: Path, commented: set[Path]) -> Iterator[str]:
    if not form.fullmatch(name):
        yield f"{where}: is not named after the style guide"
    if path not in commented:
        yield f"{where}: must have a comment"
