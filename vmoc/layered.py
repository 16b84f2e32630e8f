"""A dictionary that is cheap to copy, for snapshots that differ in little."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_ABSENT: Final = object()


class Layered(MutableMapping[K, V]):
    """A large shared layer that never changes, and a small one of its own on top.

    A copy shares the lower layer and copies the upper one; when that has grown
    beyond about the square root of the whole, the copy starts with a merged
    lower layer. So a copy with a few changes costs about the square root of
    the size, all told. Order is that of setting, as in a dictionary, except
    that a key set again after its removal may come back to its old place.
    """

    __slots__ = ("_base", "_size", "_top")

    def __init__(self) -> None:
        self._base: dict[K, V] = {}
        self._top: dict[K, object] = {}  # _ABSENT hides a key of the base
        self._size = 0

    def copy(self) -> Layered[K, V]:
        """An independent copy."""
        twin: Layered[K, V] = Layered()
        twin._size = self._size
        if len(self._top) ** 2 > len(self._base) + 64:
            merged = self._base.copy()
            for key, value in self._top.items():
                if value is _ABSENT:
                    del merged[key]
                else:
                    merged[key] = cast(V, value)
            twin._base = merged
        else:
            twin._base, twin._top = self._base, self._top.copy()
        return twin

    def __getitem__(self, key: K) -> V:
        value = self._top.get(key, self)
        if value is self:
            return self._base[key]
        if value is _ABSENT:
            raise KeyError(key)
        return cast(V, value)

    @overload
    def get(self, key: K, /) -> V | None: ...

    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...

    def get(self, key: K, /, default: object = None) -> object:
        """As of any mapping; the inherited one raises and catches an exception for each key that is not there."""
        value = self._top.get(key, self)
        if value is self:
            return self._base.get(key, cast(V, default))
        return default if value is _ABSENT else value

    def __contains__(self, key: object) -> bool:
        value = self._top.get(cast(K, key), self)
        return key in self._base if value is self else value is not _ABSENT

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._size += 1
        self._top[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._size -= 1
        if key in self._base:
            self._top[key] = _ABSENT
        else:
            del self._top[key]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        top = self._top
        for key in self._base:
            if top.get(key) is not _ABSENT:
                yield key
        for key in top:
            if key not in self._base:
                yield key
