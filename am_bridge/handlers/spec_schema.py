"""The JSON Schema of what a caller may put into a specification, made from the dataclasses that read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin, get_type_hints

from am_bridge.handlers.spec import SliverSpec

_IDENTITY: Final = frozenset({"slice_id", "sliver_id", "resource_type", "host"})
_SCALARS: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def spec_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``Sliver.spec``, with ``properties`` as the schema of the type's own."""
    schema = _of(SliverSpec)
    for name in _IDENTITY:
        del schema["properties"][name]
    schema.pop("required", None)
    schema["properties"]["properties"] = dict(properties) or {"type": "object", "maxProperties": 0}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _of(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = dataclasses.fields(kind)
        missing = dataclasses.MISSING
        required = [one.name for one in fields if one.default is missing and one.default_factory is missing]
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
        if required:
            schema["required"] = required
        return {**schema, "properties": {one.name: _of(hints[one.name]) for one in fields}}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _of(get_args(kind)[0])}
    return {"type": _SCALARS.get(kind, "object")}
