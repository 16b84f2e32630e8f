"""Reads ``handlers.yaml``, with file, line, column and key for everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import jsonschema
from jsonschema import Draft202012Validator
from pydantic import Field

from am_bridge.handlers import l2bridge
from am_bridge.handlers.catalogue import OPTIONAL, WORDS, Catalogue, HandlerConfig
from am_bridge.handlers.handler import Host
from am_bridge.handlers.placement import RESOURCES
from am_bridge.handlers.queue import Limits
from vmoc.config import values as v
from vmoc.config.reader import Reader
from vmoc.config.schema import Section
from vmoc.config.settings import ConfigError

SHIPPED: Final = Path(__file__).parent / "playbooks"
DEFAULT: Final = Path(__file__).parent / "handlers.yaml"
BACKENDS: Final = frozenset({"ansible", "noop", "l2bridge"})
"""Those every processor has; ``read_catalogue`` is told of others."""
_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {"l2bridge": l2bridge.SCHEMA}
TIMEOUTS: Final[Mapping[str, float]] = {"default": 300.0, "probe": 60.0}
RETRIES: Final[Mapping[str, int]] = {"delete": 2, "probe": 1}
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}(-[A-Za-z0-9._-]{1,64})?")
_ACTION: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253})?")
_LOCK: Final = re.compile(r"([A-Za-z0-9._:/-]|\{(host|slice|sliver|type)\}){1,200}")
_SECTIONS: Final = ("processor", "playbooks", "hosts", "handlers")


class ProcessorSection(Section):
    """How operations are run."""

    workers: Annotated[int, v.whole(1, 256)] = Field(default=2, description="runs at the same time")
    queue: Annotated[int, v.whole(1, 1_000_000)] = Field(default=1000, description="operations that may wait")
    stop_grace: Annotated[float, v.seconds(0, 600)] = Field(default=10.0, description="from SIGTERM to SIGKILL")
    cpu_weight: Annotated[int, v.whole(1, 100)] = Field(default=5, description="of runs, against 100 of anything else")


class HostSection(Section):
    """A machine that slivers live on."""

    address: str = Field(default="", description="how Ansible reaches it; empty: this machine")
    variables: dict[str, Any] = Field(default={}, description="for playbooks")
    capacity: dict[str, Annotated[int, v.whole(0, 1_000_000_000)]] = Field(
        default={}, description="how much it has for slivers, by resource; what is not named is not limited"
    )


class HandlerSection(Section):
    """A resource type."""

    backend: str = "ansible"
    description: str = Field(default="", description="one sentence for people")
    playbooks: dict[str, str] = Field(default={}, description="by verb or action")
    actions: list[str] = []
    timeouts: dict[str, Annotated[float, v.seconds(0.1, 86_400)]] = {}
    retries: dict[str, Annotated[int, v.whole(0, 100)]] = {}
    max_concurrency: Annotated[int, v.whole(0, 256)] = 0
    locks: list[str] = []
    properties: dict[str, Any] = Field(default={}, description="JSON Schema of the type's own properties")
    variables: dict[str, Any] = Field(default={}, description="for playbooks")


def read_catalogue(path: Path | None = None, backends: Iterable[str] = ()) -> Catalogue:
    """The catalogue of that file; without one, of the file that comes with VMOC. Raises ``ConfigError``."""
    reader = Reader(path or DEFAULT)
    reader.unknown_keys((), _SECTIONS)
    processor = reader.section(ProcessorSection, ("processor",))
    playbooks = _Playbooks(reader)
    hosts = _hosts(reader)
    known = BACKENDS | frozenset(backends)
    handlers: dict[str, HandlerConfig] = {}
    for name in [*_names(reader, "handlers"), *playbooks.types]:
        if name not in handlers and (config := _handler(reader, name, playbooks, known)) is not None:
            handlers[name] = config
    if reader.problems or processor is None:
        raise ConfigError(tuple(sorted(reader.problems, key=lambda one: (one.line, one.column))))
    return Catalogue(
        handlers,
        hosts or {"local": Host("local")},
        processor.workers,
        processor.queue,
        processor.stop_grace,
        processor.cpu_weight,
    )


class _Playbooks:
    """The section an AMHandlers operator knows: places, a playbook per type (or type and model), per operation."""

    def __init__(self, reader: Reader) -> None:
        self.types: dict[str, Path] = {}
        self.operations: dict[str, Path] = {}
        self.inventory: Path | None = None
        self._reader = reader
        location = reader.get(("playbooks", "location"))
        self.folder = reader.folder / location if isinstance(location, str) else SHIPPED
        for name in _names(reader, "playbooks"):
            path = ("playbooks", name)
            if name == "inventory_location":
                file = reader.get(path)
                if isinstance(file, str) and (reader.folder / file).exists():
                    self.inventory = reader.folder / file
                else:
                    reader.problem(path, "must be a file or folder that exists")
            elif name == "operation":
                operations = reader.get(path)
                for word in operations if isinstance(operations, dict) else ():
                    if (found := self.find((*path, word), word)) is not None:
                        self.operations[word] = found
            elif name in ("config", "cleanup"):
                reader.problem(path, "is not read; import these playbooks in the type's own playbook", at_key=True)
            elif name != "location":
                if not _TYPE.fullmatch(name):
                    reader.problem(path, "must be a resource type, such as VM or SharedNIC-MODEL", at_key=True)
                elif (found := self.find(path, "")) is not None:
                    self.types[name] = found

    def find(self, path: tuple[str, ...], word: str) -> Path | None:
        """The playbook named there, looked for beside the file, in the location and among ours."""
        name = self._reader.get(path)
        if word and not _ACTION.fullmatch(word):
            self._reader.problem(path, "must be a verb or an action of a-z 0-9 _", at_key=True)
        elif not isinstance(name, str):
            self._reader.problem(path, "must be the name of a playbook")
        else:
            for folder in (self.folder, self._reader.folder, SHIPPED):
                if (folder / name).is_file():
                    return (folder / name).resolve()
            self._reader.problem(path, f"{name} is not in {self.folder}")
        return None


def _handler(reader: Reader, name: str, playbooks: _Playbooks, backends: frozenset[str]) -> HandlerConfig | None:
    path = ("handlers", name)
    if not _TYPE.fullmatch(name):
        reader.problem(path, "must be a resource type, such as VM or SharedNIC-MODEL", at_key=True)
        return None
    section = reader.section(HandlerSection, path)
    if section is None:
        return None
    if section.backend not in backends:
        reader.problem((*path, "backend"), f"must be one of {', '.join(sorted(backends))}")
    books = {word: found for word in section.playbooks if (found := playbooks.find((*path, "playbooks", word), word))}
    general = playbooks.types.get(name)
    words = WORDS | set(section.actions)
    if section.backend == "ansible":
        for word in words - set(books):
            found = general or playbooks.operations.get(word)
            if found is not None:
                books[word] = playbooks.operations.get(word, found)
            elif word not in section.playbooks:
                reader.problem(path, f"has no playbook for {word}; give playbooks.{name} or one for each verb")
    actions = (set(section.actions) | set(section.playbooks)) - WORDS - OPTIONAL
    for index, action in enumerate(section.actions):
        if not _ACTION.fullmatch(action) or action in WORDS | OPTIONAL:
            reader.problem((*path, "actions", index), "must be a name of a-z 0-9 _ that is no verb")
    for index, lock in enumerate(section.locks):
        if not _LOCK.fullmatch(lock):
            reader.problem((*path, "locks", index), "must be plain text with {host}, {slice}, {sliver} or {type}")
    for key, allowed in (("timeouts", {"default", *OPTIONAL}), ("retries", set())):
        for word in getattr(section, key):
            if word not in WORDS | actions | allowed:
                known = ", ".join(sorted(WORDS | actions | allowed))
                reader.problem((*path, key, word), f"is no verb or action; there are {known}", at_key=True)
    if section.retries.get("create"):
        reader.problem((*path, "retries", "create"), "must be 0: a failed create is undone, not tried again")
    attempts = {word: 1 + count for word, count in {**RETRIES, **section.retries}.items()}
    return HandlerConfig(
        resource_type=name,
        backend=section.backend,
        limits=Limits({**TIMEOUTS, **section.timeouts}, attempts, section.max_concurrency),
        playbooks=books,
        inventory=playbooks.inventory,
        actions=frozenset(actions),
        locks=tuple(section.locks),
        schema=_schema(reader, (*path, "properties"), section.properties or dict(_SCHEMAS.get(section.backend, {}))),
        variables=section.variables,
        description=section.description,
    )


def _schema(reader: Reader, path: tuple[str, ...], properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the whole: what is written is an object's, and what it does not name is refused."""
    schema = {"type": "object", "additionalProperties": False, **properties}
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        reader.problem((*path, *error.absolute_path), f"is no JSON Schema: {error.message}"[:400])
    return schema


def _hosts(reader: Reader) -> dict[str, Host]:
    hosts = {}
    for name in _names(reader, "hosts"):
        if not _HOST.fullmatch(name):
            reader.problem(("hosts", name), "must be a host name", at_key=True)
        elif (section := reader.section(HostSection, ("hosts", name))) is not None:
            for resource in section.capacity.keys() - set(RESOURCES):
                path = ("hosts", name, "capacity", resource)
                reader.problem(path, f"must be one of {', '.join(RESOURCES)}", at_key=True)
            hosts[name] = Host(name, section.address, section.variables, section.capacity)
    return hosts


def _names(reader: Reader, section: str) -> list[str]:
    value = reader.get((section,))
    if value is not None and not isinstance(value, dict):
        reader.problem((section,), "must be a mapping")
    return list(value) if isinstance(value, dict) else []
