"""YAML text to plain values that remember where they were written.

Built on the parser's events, not on PyYAML's composer: the composer recurses
in C, so some hundred kilobytes of ``[`` would kill the process, and it
resolves YAML 1.1's surprises (``12:30:00`` is a number in base 60, ``0010``
is eight) that turn a DPID into something else.

Scalars are resolved like this: ``null ~`` and nothing are null; ``true false
on off yes no`` are booleans; decimal digits without leading zeros, up to 15,
and ``0x`` hex, up to 16 digits, are whole numbers; decimal fractions are
numbers; everything else is text. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

import yaml

MAX_DEPTH: Final = 32
MAX_EXPANDED: Final = 4_000_000
"""Values that aliases may repeat; the rest is bounded by the size of the file."""

Mark = tuple[int, int]
"""(line, column), both from 1."""
Scalar = None | bool | int | float | str
Path = tuple[str | int, ...]
"""The way to a value: keys and indices from the top."""

_CORE: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {
    spelling: value
    for word, value in (("true", True), ("on", True), ("yes", True), ("false", False), ("off", False), ("no", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})")
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+)")
_WRONG: Final = object()


class YamlError(Exception):
    """The text is not the YAML we read; ``mark`` is where."""

    def __init__(self, text: str, mark: Mark) -> None:
        super().__init__(text)
        self.text = text
        self.mark = mark


class Table(dict[str, object]):
    """A mapping; ``marks`` has, for each key, where the key and where its value are."""

    __slots__ = ("mark", "marks", "merged", "size")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: dict[str, tuple[Mark, Mark]] = {}
        self.merged: set[str] = set()  # keys that came by <<: they may be overridden, written ones not repeated
        self.size = 1


class Sequence(list[object]):
    """A list; ``marks`` has where each item is."""

    __slots__ = ("mark", "marks", "size")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: list[Mark] = []
        self.size = 1


Value = Scalar | Table | Sequence


def parse(text: str) -> tuple[Value, Mark]:
    """The one document in ``text`` and where it starts (nothing at all is null).

    Raises ``YamlError`` on a syntax error, duplicate keys, a second document,
    foreign tags, more than ``MAX_DEPTH`` levels or too many repeated values.
    """
    events = iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    try:
        return _Builder().build(events)
    except yaml.MarkedYAMLError as error:
        raise YamlError(f"not valid YAML: {_sentence(error)}", _mark(error)) from None
    except yaml.reader.ReaderError as error:
        raise YamlError("not valid YAML: control characters are not allowed", _offset(text, error.position)) from None


def locate(root: Value, start: Mark, path: Path) -> Mark:
    """Where the value at ``path`` is written; for what is not there, the nearest thing around it that is."""
    value, mark = cast(object, root), start
    for step in path:
        if isinstance(value, Table) and isinstance(step, str) and step in value:
            mark, value = value.marks[step][1], value[step]
        elif isinstance(value, Sequence) and isinstance(step, int) and step < len(value):
            mark, value = value.marks[step], value[step]
        else:
            break
    return mark


def locate_key(root: Value, start: Mark, path: Path) -> Mark:
    """Where the last key of ``path`` itself is written, not its value."""
    value = cast(object, root)
    for step in path[:-1]:
        if isinstance(value, (Table, Sequence)):
            value = value[step]  # type: ignore[index]
    if isinstance(value, Table) and path and (marks := value.marks.get(str(path[-1]))):
        return marks[0]
    return locate(root, start, path)


def dotted(path: Path) -> str:
    """``("slices", 2, "id")`` as ``slices[2].id``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class _Builder:
    """Builds the values of one document without recursion."""

    def __init__(self) -> None:
        self.anchors: dict[str, tuple[Value, Mark]] = {}
        self.expanded = 0

    def build(self, events: Iterator[yaml.Event]) -> tuple[Value, Mark]:
        root: Value = None
        root_mark: Mark = (1, 1)
        documents = 0
        stack: list[Frame] = []
        for event in events:
            kind = type(event)
            start = event.start_mark
            mark = (start.line + 1, start.column + 1) if start is not None else (1, 1)
            as_key = bool(stack) and _wants_key(stack[-1])
            value: Value
            if kind is yaml.ScalarEvent:
                value = self._scalar(cast(yaml.ScalarEvent, event), mark, as_key)
                anchor = cast(yaml.ScalarEvent, event).anchor
                if anchor is not None:
                    self.anchors[anchor] = (value, mark)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                opened = cast(yaml.CollectionStartEvent, event)
                self._check_collection(opened, mark, len(stack), as_key)
                stack.append((Table(mark) if kind is yaml.MappingStartEvent else Sequence(mark), [], opened.anchor))
                if opened.anchor is not None:
                    self.anchors.pop(opened.anchor, None)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                value, _, anchor = stack.pop()
                mark = value.mark
                if anchor is not None:
                    self.anchors[anchor] = (value, mark)
            elif kind is yaml.AliasEvent:
                name = cast(yaml.AliasEvent, event).anchor
                value = self._alias(str(name), mark, as_key)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise YamlError("only one YAML document is read; remove everything from this line on", mark)
                continue
            else:
                continue
            if stack:
                self._attach(stack[-1][0], stack[-1][1], value, mark)
            else:
                root, root_mark = value, mark
        return root, root_mark

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, as_key: bool) -> Value:
        text, tag = event.value, event.tag
        if tag is None or tag == "!":
            if as_key or tag == "!" or not event.implicit[0]:
                return text
            return resolve(text)
        value = _tagged(tag, text)
        if value is _WRONG:
            raise YamlError(f"the tag {_tag_name(tag)} does not fit here; write the plain value", mark)
        return text if as_key else cast(Scalar, value)

    def _check_collection(self, event: yaml.CollectionStartEvent, mark: Mark, depth: int, as_key: bool) -> None:
        if as_key:
            raise YamlError("a key must be plain text, not a list or mapping", mark)
        if depth >= MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", mark)
        expected = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _CORE + expected):
            raise YamlError(f"the tag {_tag_name(str(event.tag))} does not fit here; write the plain value", mark)

    def _alias(self, name: str, mark: Mark, as_key: bool) -> Value:
        if as_key:
            raise YamlError("a key must be plain text, not an alias", mark)
        if name not in self.anchors:
            raise YamlError(f"the alias *{name} has no anchor &{name} that is complete before it", mark)
        value, _ = self.anchors[name]
        self.expanded += value.size if isinstance(value, (Table, Sequence)) else 1
        if self.expanded > MAX_EXPANDED:
            raise YamlError(f"aliases repeat more than {MAX_EXPANDED} values", mark)
        return value

    def _attach(self, parent: Table | Sequence, waiting: list[tuple[str, Mark]], value: Value, mark: Mark) -> None:
        parent.size += value.size if isinstance(value, (Table, Sequence)) else 1
        if isinstance(parent, Sequence):
            parent.append(value)
            parent.marks.append(mark)
        elif not waiting:
            waiting.append((str(value), mark))
        else:
            key, key_mark = waiting.pop()
            if key == "<<":
                self._merge(parent, value, mark)
            elif key in parent and key not in parent.merged:
                line, column = parent.marks[key][0]
                raise YamlError(f"the key {key!r} is already given at line {line}, column {column}", key_mark)
            else:
                parent.merged.discard(key)
                parent[key] = value
                parent.marks[key] = (key_mark, mark)

    def _merge(self, parent: Table, value: Value, mark: Mark) -> None:
        for source in value if isinstance(value, Sequence) else [value]:
            if not isinstance(source, Table):
                raise YamlError("<< takes a mapping or a list of mappings", mark)
            for key, item in source.items():
                if key not in parent:
                    parent.merged.add(key)
                    parent[key] = item
                    parent.marks[key] = source.marks[key]


Frame = tuple[Table | Sequence, list[tuple[str, Mark]], str | None]
"""An open collection, the key that waits for its value, the collection's anchor."""


def _wants_key(frame: Frame) -> bool:
    return isinstance(frame[0], Table) and not frame[1]


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar; see the top of this module."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] in "+-.0123456789":
        if _INT.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text):
            return int(text, 16)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _tagged(tag: str, text: str) -> object:
    """The value of a scalar with an explicit core tag, ``_WRONG`` if it isn't one or does not fit."""
    if tag == _CORE + "str":
        return text
    value = resolve(text)
    fits = {
        _CORE + "null": value is None,
        _CORE + "bool": isinstance(value, bool),
        _CORE + "int": isinstance(value, int) and not isinstance(value, bool),
        _CORE + "float": isinstance(value, (int, float)) and not isinstance(value, bool),
    }
    return value if fits.get(tag, False) else _WRONG


def _tag_name(tag: str) -> str:
    return "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag


def _mark(error: yaml.MarkedYAMLError) -> Mark:
    mark = error.problem_mark or error.context_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it can't be read"
    if problem == "found character that cannot start any token":
        return "a tab, or a character that needs quotes, starts this value; indent with spaces"
    if problem == "mapping values are not allowed in this context":
        return "a second ': ' in one value; check the indentation, or put the value in quotes"
    return f"{problem} {error.context}" if error.context else problem


def _offset(text: str, position: int) -> Mark:
    """Where the byte ``position`` of the text's UTF-8 form is."""
    before = text.encode()[:position].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - before.rfind("\n")
