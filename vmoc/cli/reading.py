"""YAML and JSON that a command is given, read as the configuration is: no tags, no surprises, bounded depth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from vmoc.config.document import Value, YamlError, parse

LARGEST: Final = 64 << 20


class InputError(click.ClickException):
    """What was given cannot be read, or is not what it should be."""

    exit_code = 2


def read_file(path: Path) -> tuple[str, Value]:
    """What to call the file, and its value; ``-`` is standard input. Raises ``InputError``."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    if len(raw) > LARGEST:
        raise InputError(f"{name} is larger than {LARGEST >> 20} MiB")
    try:
        return name, read_text(raw.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text; save it as UTF-8") from error


def read_text(text: str, name: str) -> Value:
    """The value of a text that errors call ``name``. Raises ``InputError``."""
    try:
        value, _ = parse(text)
    except YamlError as error:
        line, column = error.mark
        raise InputError(f"{name}:{line}:{column}: {error.text}") from error
    return value
