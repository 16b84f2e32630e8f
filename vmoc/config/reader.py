"""One configuration file being read: its values, where they are, and the problems found so far."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from vmoc.config import document as doc
from vmoc.config.settings import ConfigError, Problem
from vmoc.config.values import OURS, found, near

MAX_BYTES: Final = 64 << 20
Model = TypeVar("Model", bound=BaseModel)


class Reader:
    """Reads sections of ``path`` and collects what is wrong with them."""

    def __init__(self, path: Path) -> None:
        """Raises ``ConfigError`` when there is nothing to read at all."""
        self.file = str(path)
        # Certificates and the like are named relative to the file, whatever the working directory is later.
        self.folder = Path(os.path.abspath(path)).parent
        self.problems: list[Problem] = []
        text = self._text(path)
        try:
            self.root, self.start = doc.parse(text)
        except doc.YamlError as error:
            raise self._fatal(error.text, error.mark) from None
        if self.root is None:
            raise self._fatal("the file is empty; write {} for a configuration that is all defaults", (1, 1))
        if not isinstance(self.root, doc.Table):
            raise self._fatal(f"the file must be a mapping of sections, not {found(self.root)}", self.start)

    def _text(self, path: Path) -> str:
        try:
            with open(path, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._fatal(f"cannot be read: {reason(error)}", (0, 0)) from None
        except ValueError:
            raise self._fatal("cannot be read: this is not a file name", (0, 0)) from None
        if len(raw) > MAX_BYTES:
            raise self._fatal(f"is larger than {MAX_BYTES >> 20} MiB", (0, 0))
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8-sig")
            mark = (before.count("\n") + 1, len(before) - before.rfind("\n"))
            raise self._fatal("is not UTF-8 text; save it as UTF-8", mark) from None

    def _fatal(self, text: str, mark: doc.Mark) -> ConfigError:
        return ConfigError((Problem(self.file, *mark, "", _plain(text)),))

    # -- problems ------------------------------------------------------------------------------------------------------

    def problem(self, path: doc.Path, text: str, *, at_key: bool = False) -> None:
        """Note a problem with the value at ``path``, or with its key."""
        place = doc.locate_key if at_key else doc.locate
        mark = place(self.root, self.start, path)
        self.problems.append(Problem(self.file, *mark, _plain(doc.dotted(path)), _plain(text)))

    def line(self, path: doc.Path) -> int:
        """The line of the value at ``path``."""
        return doc.locate(self.root, self.start, path)[0]

    def get(self, path: doc.Path) -> object:
        """The raw value at ``path``, None when there is none."""
        value: object = self.root
        for step in path:
            try:
                value = value[step]  # type: ignore[index]
            except (LookupError, TypeError):
                return None
        return value

    # -- sections ------------------------------------------------------------------------------------------------------

    def section(self, model: type[Model], path: doc.Path, *, without: str = "") -> Model | None:
        """The section at ``path``, or None after noting what is wrong; a missing one is all defaults.

        The key ``without`` is left to the caller.
        """
        value = self.get(path)
        if value is None:
            value = {}
        elif without and isinstance(value, dict):
            value = {key: one for key, one in value.items() if key != without}
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                self._translate(model, path, one["loc"], one)
            return None

    def items(self, path: doc.Path) -> range:
        """The indices of the list at ``path``; none, after noting it, when it is something else."""
        value = self.get(path)
        if isinstance(value, list):
            return range(len(value))
        if value is not None:
            self.problem(path, f"must be a list, not {found(value)}")
        return range(0)

    def unknown_keys(self, path: doc.Path, allowed: Iterable[str]) -> None:
        """Note every key of the mapping at ``path`` that is not allowed."""
        value = self.get(path)
        for key in value if isinstance(value, dict) else ():
            if key not in allowed:
                self.problem((*path, key), _unknown(key, allowed), at_key=True)

    def _translate(self, model: type[BaseModel], base: doc.Path, loc: tuple[int | str, ...], error: Any) -> None:
        at_key = bool(loc) and loc[-1] == "[key]"
        inner = loc[:-1] if at_key else loc
        path = (*base, *inner)
        kind = error["type"]
        if kind == OURS:
            self.problem(path, error["ctx"]["text"], at_key=at_key)
        elif kind == "extra_forbidden":
            self.problem(path, _unknown(str(inner[-1]), _keys(model, inner[:-1])), at_key=True)
        elif kind == "missing":
            self.problem(path, "is required")
        elif kind == "list_type":
            self.problem(path, f"must be a list, not {found(error['input'])}")
        elif kind in ("model_type", "dict_type"):
            self.problem(path, f"must be a mapping, not {found(error['input'])}")
        elif kind == "too_short":
            self.problem(path, "must not be an empty list; leave the key out for the default")
        else:
            self.problem(path, str(error["msg"]), at_key=at_key)


def reason(error: OSError) -> str:
    """What the system says, as the end of a sentence."""
    return (error.strerror or str(error)).lower()


def _plain(text: str) -> str:
    """Names from the file may hold anything; a terminal must get one line of it, and no escape sequences."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _unknown(key: str, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    return f"unknown key{near(key, allowed) or '; allowed are ' + ', '.join(allowed)}"


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys allowed where ``loc`` leads from ``model``."""
    for step in loc:
        if isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (inner := _model_in(argument)) is not None:
            return inner
    return None
