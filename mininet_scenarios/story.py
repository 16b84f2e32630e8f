"""A story told on the console: progress as it goes, and one line per claim for the table at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """One claim, and what became of it."""

    claim: str
    seen: str
    held: bool


class Story:
    """The story as it is told: progress as it goes, lines for the table at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: list[Line] = []
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def tell(self, text: str) -> None:
        """One line of progress."""
        self.console.print(f"[dim]{self.seconds:5.1f} s[/]  {escape(text)}", highlight=False)

    def check(self, claim: str, seen: str, held: bool) -> None:
        """One line of the table."""
        self.lines.append(Line(claim, seen, held))
        self.console.print(
            f"         {'[green]yes[/]' if held else '[red]NO [/]'}  {escape(claim)}: {escape(seen)}", highlight=False
        )

    @property
    def held(self) -> bool:
        """Whether every line held."""
        return bool(self.lines) and all(line.held for line in self.lines)

    def table(self, title: str) -> Table:
        """All lines for a newcomer."""
        table = Table(title=title, title_justify="left", show_lines=False)
        table.add_column("What VMOC promises")
        table.add_column("What was seen")
        table.add_column("Held")
        for line in self.lines:
            table.add_row(escape(line.claim), escape(line.seen), "[green]yes[/]" if line.held else "[bold red]NO[/]")
        return table
