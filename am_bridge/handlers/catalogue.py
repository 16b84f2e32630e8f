"""Which handler makes a resource type, within which limits: ``handlers.yaml`` once it is read.

``catalogue_file`` reads it; docs/handlers.md describes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import referencing
from jsonschema import Draft202012Validator

from am_bridge.handlers.handler import Host, Verb
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.redact import mask, split_values
from am_bridge.handlers.spec import SliverSpec

MAX_PROPERTIES: Final = 256 * 1024
"""Characters of all properties of a sliver, as JSON."""
MAX_DEPTH: Final = 16
_FIELD: Final = re.compile(r"\{(host|slice|sliver|type)\}")


class UnsupportedError(Exception):
    """There is no handler for that type, no such host, or no such action; the text says what there is."""

    def __init__(self, what: str, text: str) -> None:
        """``what`` is ``type``, ``host`` or ``action``."""
        super().__init__(text)
        self.what = what


@dataclass(frozen=True, slots=True)
class HandlerConfig:
    """One entry of ``handlers:``. ``playbooks`` are by verb or action."""

    resource_type: str
    backend: str
    limits: Limits
    playbooks: Mapping[str, Path] = field(default_factory=dict)
    inventory: Path | None = None
    actions: frozenset[str] = frozenset()
    locks: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    """The operator's own, for the playbooks; beneath those of the host."""
    description: str = ""

    @property
    def placed(self) -> bool:
        """Whether its slivers take room on a host."""
        return self.backend != "l2bridge"

    def lock_names(self, spec: SliverSpec, host: Host) -> frozenset[str]:
        """The named locks a sliver's operations hold."""
        words = {"host": host.name, "slice": spec.slice_id, "sliver": spec.sliver_id, "type": spec.resource_type}
        return frozenset(_FIELD.sub(lambda found: words[found[1]], lock) for lock in self.locks)

    def find_problems(self, properties: Mapping[str, Any], path: str = "properties") -> Iterator[tuple[str, str]]:
        """What the schema has against them: (path, sentence), never with a secret in it."""
        try:
            size = len(json.dumps(properties, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            yield path, "must be JSON values"
            return
        if size > MAX_PROPERTIES or _depth(properties) > MAX_DEPTH:
            yield path, f"must be at most {MAX_PROPERTIES} characters of JSON, nested at most {MAX_DEPTH} deep"
            return
        if any(0xD800 <= ord(one) <= 0xDFFF for text in _texts(properties) for one in text):
            yield path, "must be valid Unicode"
            return
        public, secrets = split_values(properties, self.schema)
        # An empty registry: a $ref never makes us fetch anything.
        validator = Draft202012Validator(self.schema, registry=referencing.Registry())
        for error in validator.iter_errors(properties):
            steps = list(error.absolute_path)
            place = path + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
            text = error.message if _reaches(public, steps) else f"does not meet the schema's {error.validator}"
            yield place, mask(text, secrets)[:400]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All handlers and hosts, and how the processor runs them."""

    handlers: Mapping[str, HandlerConfig]
    hosts: Mapping[str, Host]
    workers: int = 2
    queue: int = 1000
    stop_grace: float = 10.0
    cpu_weight: int = 100

    def find(self, resource_type: str, model: str = "") -> HandlerConfig:
        """The handler of that type, one of its model (``TYPE-MODEL``) first. Raises ``UnsupportedError``."""
        for name in (f"{resource_type}-{model}", resource_type):
            if name in self.handlers:
                return self.handlers[name]
        known = ", ".join(sorted(self.handlers)) or "none"
        raise UnsupportedError("type", f"no handler makes {resource_type}; handlers.yaml has {known}")

    def host(self, name: str) -> Host:
        """The host of that name, the first one for "". Raises ``UnsupportedError``."""
        if not name:
            return next(iter(self.hosts.values()))
        if name not in self.hosts:
            raise UnsupportedError("host", f"there is no host {name}; handlers.yaml has {', '.join(self.hosts)}")
        return self.hosts[name]


def check_action(config: HandlerConfig, action: str) -> None:
    """Raises ``UnsupportedError`` for an action the handler does not have."""
    if action not in config.actions:
        known = ", ".join(sorted(config.actions)) or "none"
        raise UnsupportedError("action", f"{config.resource_type} has no action {action!r:.80}; it has {known}")


WORDS: Final = frozenset(verb.value for verb in Verb) - {"action", "inventory"}
"""Verbs that every handler has; actions are named by the operator."""
OPTIONAL: Final = frozenset({Verb.INVENTORY.value})
"""Verbs that a handler may have."""


def _reaches(value: object, steps: list[Any]) -> bool:
    for step in steps:
        try:
            value = value[step]  # type: ignore[index]
        except (LookupError, TypeError):
            return False
    return True


def _depth(value: object) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        one, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(one, dict):
            stack += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            stack += [(inner, depth + 1) for inner in one]
    return deepest


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
