"""Secrets: which of a sliver's properties are, and how to keep them out of everything that is kept or shown.

A property whose schema says ``writeOnly: true`` (JSON Schema's own keyword) is
a secret, at any depth. Only the run that was asked for with it ever gets it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from am_bridge.handlers.decode import decode, encode
from am_bridge.handlers.spec import SliverSpec

MASK: Final = "********"
SHORTEST: Final = 4
"""Characters; what is shorter is not looked for in texts, only left out where it was given."""

T = TypeVar("T")


def split_secrets(spec: SliverSpec, schema: Mapping[str, Any]) -> tuple[SliverSpec, tuple[str, ...]]:
    """The specification without its secrets, and their texts."""
    properties, found = split_values(spec.properties, schema)
    return dataclasses.replace(spec, properties=properties), found


def split_values(values: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Those values that are no secrets, and the texts of those that are."""
    found: list[str] = []
    kept = _without(dict(values), schema, found)
    return kept if isinstance(kept, dict) else {}, tuple(sorted(set(found), key=len, reverse=True))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it masked, also as JSON or a Python literal would write it."""
    for secret in secrets:
        if len(secret) >= SHORTEST:
            for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}:
                text = text.replace(form, MASK)
    return text


def mask_all(value: T, secrets: tuple[str, ...]) -> T:
    """The same dataclass with every text in it masked."""
    return decode(type(value), _masked(encode(value), secrets)) if secrets else value


def _masked(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, dict):
        return {mask(key, secrets): _masked(one, secrets) for key, one in value.items()}
    return [_masked(one, secrets) for one in value] if isinstance(value, list) else value


def _without(value: Any, schema: Mapping[str, Any], found: list[str]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties")
        kept = {}
        for key, one in value.items():
            inner = properties.get(key, others if isinstance(others, dict) else {})
            if isinstance(inner, dict) and inner.get("writeOnly") is True:
                _texts(one, found)
            else:
                kept[key] = _without(one, inner if isinstance(inner, dict) else {}, found)
        return kept
    if isinstance(value, list):
        items = schema.get("items")
        inner = items if isinstance(items, dict) else {}
        if inner.get("writeOnly") is True:
            _texts(value, found)
            return []
        return [_without(one, inner, found) for one in value]
    return value


def _texts(value: Any, found: list[str]) -> None:
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            _texts(one, found)
    elif value is not None and not isinstance(value, bool):
        found.append(str(value))
