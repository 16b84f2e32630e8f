"""Plain JSON-like documents to frozen dataclasses and back, strictly: what is unknown or of another type is refused."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class DecodeError(ValueError):
    """A document does not fit; ``problems`` are (path, sentence) pairs, a path like ``interfaces[1].mac``."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path or 'the document'} {text}" for path, text in problems))
        self.problems = problems


def decode(kind: type[T], document: object, path: str = "") -> T:
    """``document`` as a ``kind``. Raises ``DecodeError`` with every problem found."""
    problems: list[tuple[str, str]] = []
    value = _value(kind, document, path, problems)
    if problems:
        raise DecodeError(problems)
    return cast(T, value)


def encode(value: Any) -> Any:
    """A dataclass as mappings, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in value]
    return value.value if isinstance(value, Enum) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, value: object, path: str, problems: list[tuple[str, str]]) -> object:
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(one for one in get_args(kind) if one is not type(None)), value, path, problems)
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast(type, kind), value, path, problems)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            problems.append((path, f"must be a list, not {_name(value)}"))
            return ()
        return tuple(_value(get_args(kind)[0], one, f"{path}[{index}]", problems) for index, one in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            problems.append((path, f"must be a mapping, not {_name(value)}"))
            return {}
        inner = get_args(kind)[1]
        return {key: _value(inner, one, f"{path}.{key}", problems) for key, one in value.items()}
    return _scalar(kind, value, path, problems)


def _dataclass(kind: type, value: object, path: str, problems: list[tuple[str, str]]) -> object:
    if not isinstance(value, Mapping):
        problems.append((path, f"must be a mapping, not {_name(value)}"))
        return None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    dot = f"{path}." if path else ""
    for key in value:
        if key not in fields:
            problems.append((f"{dot}{key!s:.80}", f"is unknown; {kind.__name__} has {', '.join(fields)}"))
    arguments: dict[str, object] = {}
    before = len(problems)
    for name, field in fields.items():
        if name in value:
            arguments[name] = _value(_hints(kind)[name], value[name], dot + name, problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append((dot + name, "is required"))
    return kind(**arguments) if len(problems) == before else None


def _scalar(kind: Any, value: object, path: str, problems: list[tuple[str, str]]) -> object:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            problems.append((path, f"must be one of {', '.join(str(one.value) for one in kind)}"))
            return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON by way of protobuf's Struct knows no whole numbers
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        problems.append((path, f"must be {_NAMES.get(kind, kind.__name__)}, not {_name(value)}"))
        return None
    return value


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _name(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else _NAMES.get(type(value), type(value).__name__)
