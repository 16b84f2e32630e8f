"""The API as lines of text, one for everything a client relies on: what was frozen once must be there for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parent.parent.parent
FROZEN = Path(__file__).with_name("frozen.txt")
_REPEATED = FieldDescriptorProto.LABEL_REPEATED


@cache
def compiled() -> bytes:
    """proto/ as a FileDescriptorSet with comments, in wire form."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "api.binpb"
        subprocess.run(
            [ROOT / "scripts/generate-proto", "--descriptor", target],
            env=os.environ | {"PYTHON": sys.executable},
            check=True,
            timeout=50,
        )
        return target.read_bytes()


def api() -> FileDescriptorSet:
    """A fresh copy of what proto/ says now."""
    return FileDescriptorSet.FromString(compiled())


def listing(files: FileDescriptorSet) -> list[str]:
    """Every rpc, field and enum value, with all that a change of it would break on the wire or in generated code."""
    lines: list[str] = []
    for file in files.file:
        for service in file.service:
            lines += _service(file.package, service)
        for message in file.message_type:
            lines += _message(file.package, message)
        for enum in file.enum_type:
            lines += _enum(file.package, enum)
    return sorted(lines)


def broken(frozen: list[str], now: list[str]) -> list[str]:
    """The lines that clients rely on and that are gone, or are no longer what they were."""
    there = set(now)
    return [line for line in frozen if line not in there]


def _service(scope: str, service: ServiceDescriptorProto) -> Iterator[str]:
    for rpc in service.method:
        asked = ("stream " if rpc.client_streaming else "") + rpc.input_type.removeprefix(".")
        answered = ("stream " if rpc.server_streaming else "") + rpc.output_type.removeprefix(".")
        yield f"rpc {scope}.{service.name}.{rpc.name}({asked}) returns ({answered})"


def _message(scope: str, message: DescriptorProto) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield f"message {name}"
    for field in message.field:
        yield f"field {name}.{field.name} = {field.number}: {_type(message, field)}"
    for nested in message.nested_type:
        if not nested.options.map_entry:
            yield from _message(name, nested)
    for enum in message.enum_type:
        yield from _enum(name, enum)


def _enum(scope: str, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {scope}.{enum.name}"
    for value in enum.value:
        yield f"value {scope}.{enum.name}.{value.name} = {value.number}"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        kind = f"{kind} {field.type_name.removeprefix('.')}"
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = (_type(nested, one) for one in nested.field)
            return f"map<{key}, {value}>"
    if field.label == _REPEATED:
        kind = f"repeated {kind}"
    if field.proto3_optional:
        kind = f"optional {kind}"
    elif field.HasField("oneof_index"):
        kind = f"{kind} in {message.oneof_decl[field.oneof_index].name}"
    return kind


def main(arguments: list[str]) -> int:
    """Bring frozen.txt up to date; refuses to drop a line unless told ``--break``."""
    now = listing(api())
    gone = broken(FROZEN.read_text().splitlines(), now) if FROZEN.exists() else []
    if gone and arguments != ["--break"]:
        print("freeze-api: these would break clients, so put them back:", *gone, sep="\n  ", file=sys.stderr)
        return 1
    FROZEN.write_text("\n".join(now) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
