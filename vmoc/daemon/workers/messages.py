"""What a parent and its workers tell each other, and how it is written.

Values are pickled: both ends are of one program, started from one another,
over a socket pair nobody else can open. Reading makes nothing but what is
VMOC's own or a plain container.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import methodcaller
from types import MappingProxyType
from typing import Any, Final

from vmoc.errors import VmocError
from vmoc.events import Event
from vmoc.model import Endpoint, Policy, Slice, Timers
from vmoc.mux.effects import HandOver, OperatorInput, SwitchAppeared, SwitchVanished
from vmoc.net.tls import Identity

Key = tuple[int, int]
PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
PART: Final = 500
"""Slices in one message."""
PIECE: Final = 2
"""Slices that are read at a time, in as long as a few packets take."""


class MessageError(VmocError):
    """What came over a channel is none of these."""


# -- to a worker -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Charter:
    """First of all: who the worker is, and everything it needs to begin.

    ``journal``: its own flow journal is named after this path; None: it keeps none.
    """

    number: int
    versions: frozenset[int]
    policy: Policy
    timers: Timers
    default_controller: Endpoint | None
    identity: Identity | None
    journal: str | None
    packet_ins: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """The slices to know differ: ``drop``, then ``put``; ``more``: the change goes on.

    Its end is answered with ``Adopted``.

    ``put`` is in pieces as ``pack`` writes them, each a tuple of slices: reading all at once would hold up packets.
    """

    number: int
    put: tuple[bytes, ...]
    drop: tuple[str, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Handed:
    """A switch to serve; its connection comes along. ``number``: of all hand-overs of this service."""

    number: int
    peer: str
    secured: bool
    switch: HandOver


@dataclass(frozen=True, slots=True)
class DefaultController:
    """Who it is from now on."""

    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class PacketInsWanted:
    """Whether some os-ken application listens to packet-ins that are nobody's."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class OperatorOutput:
    """Messages of os-ken applications."""

    batch: tuple[tuple[Key, bytes], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, to be answered with ``Answered``: a method of the worker's, and what to call it with.

    ``timeout`` is in seconds.
    """

    number: int
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    timeout: float


@dataclass(frozen=True, slots=True)
class Drain:
    """Let everybody go, and end."""


# -- to the parent -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """``keys``: the switches whose flows the worker's journal tells. It waits for the slices that concern them."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """Switches may come."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """``Changed`` of that number has taken effect."""

    number: int


@dataclass(frozen=True, slots=True)
class Happened:
    """Facts, in order. ``lost``: how many were left out before these because the parent did not keep up."""

    facts: tuple[Event | SwitchAppeared | SwitchVanished | OperatorInput, ...]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Nothing is kept of these switches. ``seen``: the last hand-over that had come."""

    keys: tuple[Key, ...]
    seen: int


@dataclass(frozen=True, slots=True)
class Load:
    """About once a second: the share of a CPU that was used, and switches connected."""

    busy: float
    switches: int


@dataclass(frozen=True, slots=True)
class Answered:
    """``body``: a value as ``pack`` writes it, or what was raised as ``Raised``; read by whoever asked."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Raised:
    """An error of VMOC's: its class, its text, and what else it carries."""

    module: str
    name: str
    text: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: VmocError) -> Raised:
        """What ``error`` is."""
        kind = type(error)
        return cls(kind.__module__, kind.__qualname__, str(error), dict(vars(error)))

    def error(self) -> VmocError:
        """It, anew. Raises ``MessageError`` for what is no error of VMOC's."""
        if not _is_ours(self.module):
            raise MessageError(f"{self.module} is not VMOC's")
        kind = getattr(importlib.import_module(self.module), self.name, None)
        if not (isinstance(kind, type) and issubclass(kind, VmocError)):
            raise MessageError(f"{self.module}.{self.name} is no error of VMOC's")
        error = kind.__new__(kind)
        error.args = (self.text,)
        vars(error).update(self.fields)
        return error


@dataclass(frozen=True, slots=True)
class Noted:
    """For the log; ``trace`` of a failure that is ours, ``text`` then says where."""

    level: str
    text: str
    trace: str = ""


def changes(number: int, put: Sequence[Slice], drop: Sequence[str]) -> Iterator[Changed]:
    """A change in messages of a bounded size."""
    steps = max(len(put), len(drop), 1)
    for start in range(0, steps, PART):
        end = start + PART
        pieces = tuple(pack(tuple(put[at : min(at + PIECE, end)])) for at in range(start, min(end, len(put)), PIECE))
        yield Changed(number, pieces, tuple(drop[start:end]), more=end < steps)


# -- writing and reading -----------------------------------------------------------------------------


def read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """A view nobody can change."""
    return MappingProxyType(mapping)


def _as_dict(proxy: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return read_only, (dict(proxy),)


def _by_value(member: Enum) -> tuple[Any, ...]:
    return type(member), (member.value,)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How to write what; enums by value, as Python's own way differs: in 3.11.2 it is a call of ``getattr``."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if issubclass(kind, type):
            raise KeyError(kind)
        self[kind] = how = _by_value if issubclass(kind, Enum) else methodcaller("__reduce_ex__", PROTOCOL)
        return how


class _Pickler(pickle.Pickler):
    dispatch_table = _Reducers(copyreg.dispatch_table | {MappingProxyType: _as_dict})


_PLAIN: Final = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "bytearray"),
    ("collections", "Counter"),
    ("collections", "deque"),
    ("copyreg", "_reconstructor"),
    ("builtins", "object"),
}


def _is_ours(module: str) -> bool:
    return module == "vmoc" or module.startswith("vmoc.")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _is_ours(module) or (module, name) in _PLAIN:
            return super().find_class(module, name)
        raise MessageError(f"{module}.{name} is no part of a message")


def pack(value: object) -> bytes:
    """Write a message, or any value that consists of VMOC's and plain ones."""
    out = io.BytesIO()
    _Pickler(out, PROTOCOL).dump(value)
    return out.getvalue()


def unpack(data: bytes) -> Any:
    """Read it. Raises ``MessageError``."""
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except MessageError:
        raise
    except Exception as exc:
        raise MessageError(f"a message cannot be read: {type(exc).__name__}: {exc}") from exc
