"""Tables: with rich for people, plain aligned columns for everything else; and JSON or YAML in their place."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from vmoc.cli.document import to_document, to_json, to_yaml
from vmoc.cli.terminal import printable

OUTPUTS: Final = ("table", "json", "yaml")
Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T", bound=Any)
_GOOD: Final = frozenset({"active", "up", "enabled", "ready", "ok", "live", "reachable", "serving", "done"})
_BAD: Final = frozenset(
    {"failed", "tainted", "disconnected", "delete_failed", "unreachable", "colliding", "not_serving", "error"}
)
_BUSY: Final = frozenset(
    {"pending", "connecting", "flushing", "draining", "backoff", "creating", "deleting", "warning"}
)


def output_option(command: Command) -> Command:
    """Add ``-o table|json|yaml``, passed as ``output``."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        default="table",
        show_default=True,
        help="How to print it.",
    )
    return option(command)


def show_document(output: str, document: object) -> None:
    """``document`` as JSON or YAML."""
    if output == "json":
        click.echo(to_json(document))
    else:
        click.echo(to_yaml(document), nl=False)


def show_list(
    output: str,
    found: Iterable[T],
    titles: Sequence[str],
    row: Callable[[T], Sequence[object]],
    *,
    empty: str,
    document: Callable[[T], object] = to_document,
) -> None:
    """Everything found, as JSON, YAML or a table."""
    if output == "table":
        show_table(titles, map(row, found), empty=empty)
    else:
        show_document(output, [document(one) for one in found])


def show_table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """One line per row; ``empty`` on standard error where there is none, so that pipes get nothing."""
    cells = [[printable(_text(cell)) for cell in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
    elif sys.stdout.isatty():
        _show_richly(titles, cells)
    else:
        click.echo("\n".join(_aligned([list(titles), *cells])))


def show_facts(facts: Mapping[str, object]) -> None:
    """Name and value, one a line; those without a value are left out."""
    given = {name: _text(value) for name, value in facts.items() if value not in (None, "", [], ())}
    shown = {name: printable(text, lines=True) for name, text in given.items()}
    width = max(map(len, shown), default=0) + 1
    for name, text in shown.items():
        lines = text.split("\n")
        click.echo(f"{click.style(name + ':', dim=True)}{' ' * (width - len(name))}{_painted(lines[0])}")
        for line in lines[1:]:
            click.echo(f"{' ' * (width + 1)}{line}")


def ago(seconds_since_epoch: float, now: float | None = None) -> str:
    """How long ago, or in how long, in the two largest units: ``3m12s``, ``in 5d``; empty for 0."""
    if not seconds_since_epoch:
        return ""
    distance = (time.time() if now is None else now) - seconds_since_epoch
    text = span(abs(distance))
    return f"in {text}" if distance < -0.5 else text


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _painted(text: str) -> str:
    colour = "green" if text in _GOOD else "red" if text in _BAD else "yellow" if text in _BUSY else None
    return click.style(text, fg=colour) if colour else text


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _show_richly(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, _style(cell)) for cell in row))
    Console(highlight=False).print(table)


def _style(cell: str) -> str:
    return "green" if cell in _GOOD else "red" if cell in _BAD else "yellow" if cell in _BUSY else ""
