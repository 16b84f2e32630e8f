"""An explanation on the terminal: colours for people, plain lines for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import click

Style = Literal["title", "passed", "failed", "allowed", "refused", "fact"]
_MARKS: Final = {"passed": ("✓", "ok"), "failed": ("✗", "NO")}
_COLOURS: Final = {"passed": "green", "failed": "bold red", "allowed": "bold green", "refused": "bold red"}
_WIDEST: Final = 14


class Line(NamedTuple):
    """One line: what it is, its name, and what it says."""

    style: Style
    name: str
    text: str


def show(lines: Sequence[Line]) -> None:
    """Print ``lines`` on standard output: a rich table on a terminal, else one line each, never wrapped."""
    if sys.stdout.isatty():
        _show_richly(lines)
        return
    for line in lines:
        click.echo(_plain(line))


def _plain(line: Line) -> str:
    if line.style == "title":
        return f"{line.name}: {line.text}"
    if line.style in _MARKS:
        return f"{_mark(line.style)} {line.name:<{_WIDEST}}{line.text}".rstrip()
    if line.style == "fact":
        return f"  {line.name:<9}{line.text}".rstrip()
    return f"{line.name}: {line.text}" if line.text else line.name


def _mark(style: str) -> str:
    """A tick or a cross, or a word where the output's encoding has none."""
    mark, word = _MARKS[style]
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return f"{word:<2}"
    return mark


def _show_richly(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rules, facts = (Table.grid(padding=(0, 2)) for _ in range(2))
    verdict = Text("")
    for line in lines:
        colour = _COLOURS.get(line.style, "")
        if line.style == "title":
            console.print(Text(line.name, "bold"))
            console.print(Text(line.text, "dim"))
        elif line.style in _MARKS:
            rules.add_row(Text(_mark(line.style), colour), Text(line.name), Text(line.text))
        elif line.style == "fact":
            facts.add_row(Text(""), Text(line.name, "dim"), Text(line.text))
        else:
            verdict = Text(f"{line.name}: {line.text}" if line.text else line.name, colour)
    for part in (rules, verdict, facts):
        console.print(part)
