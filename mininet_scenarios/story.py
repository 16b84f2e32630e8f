"""A story told on the console: progress as it goes, and one line per claim for the table at the end."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

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

    def check_log(self, log: str) -> None:
        """One line about VMOC's own log."""
        lines, faults = log.splitlines(), _faults(log)
        self.check(
            "VMOC logged no error of its own", f"{len(faults)} in {len(lines)} lines", not faults and bool(lines)
        )

    def end(self, title: str, log: str, *, as_json: bool) -> int:
        """The table, or on standard output JSON; if not every line held VMOC's last words too. The exit status."""
        if as_json:
            lines = [asdict(line) for line in self.lines]
            print(json.dumps({"held": self.held, "seconds": round(self.seconds, 1), "lines": lines}, indent=2))
        else:
            self.console.print()
            self.console.print(self.table(title))
            outcome = "Every line held" if self.held else "NOT every line held"
            self.console.print(f"{outcome}, in {self.seconds:.0f} s.", highlight=False)
        if log and not self.held:
            words = (_faults(log) or log.splitlines())[-15:]
            self.console.print("\nFrom VMOC's log:", *words, sep="\n", markup=False, highlight=False)
        return 0 if self.held else 1

    def table(self, title: str) -> Table:
        """All lines for a newcomer."""
        table = Table(title=title, title_justify="left", show_lines=False)
        table.add_column("What VMOC promises")
        table.add_column("What was seen")
        table.add_column("Held")
        for line in self.lines:
            table.add_row(escape(line.claim), escape(line.seen), "[green]yes[/]" if line.held else "[bold red]NO[/]")
        return table


def _faults(log: str) -> list[str]:
    return [line for line in log.splitlines() if "level=error" in line or "Traceback" in line]
