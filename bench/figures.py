"""The figures that the benchmarks have written, read back: what the page and the plots are made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import fairness, flow_statistics, journal, load, micro, registration, scale, spread

FOLDER: Final = Path("build/bench")
"""Where ``make bench`` leaves them."""
KINDS: Final[dict[str, tuple[Callable[..., Any], Callable[[Any], Table]]]] = {
    "trips": (load.Result, load.table),
    "spread": (spread.Line, spread.table),
    "fairness": (fairness.Line, fairness.table),
    "micro": (micro.Cost, micro.table),
    "scale": (scale.Cost, scale.table),
    "flow_statistics": (flow_statistics.Cost, flow_statistics.table),
    "journal": (journal.Cost, journal.table),
    "registration": (registration.Figure, registration.table),
}
"""How a line of a kind is made again, and the table of them."""


@dataclass(frozen=True)
class Figures:
    """All of one kind, and what they were measured on."""

    kind: str
    lines: Sequence[Any]
    machine: dict[str, Any]

    def table(self) -> Table:
        """For people."""
        return KINDS[self.kind][1](self.lines)


All = dict[str, Figures]
"""By kind."""


def read(folder: Path) -> All:
    """``KIND.json``, or ``KIND-VERSION.json`` for each OpenFlow version."""
    found = {}
    for kind, (make, _) in KINDS.items():
        files = [file for file in sorted(folder.glob(f"{kind}*.json")) if file.stem.partition("-")[0] == kind]
        documents = [json.loads(file.read_text()) for file in files]
        if documents:
            lines = [make(**line) for document in documents for line in document["lines"]]
            stolen = [document["machine"].get("stolen_percent") for document in documents]
            machine = documents[-1]["machine"]
            found[kind] = Figures(kind, lines, machine if None in stolen else machine | {"stolen_percent": max(stolen)})
    return found


def markdown(table: Table) -> str:
    """A table as a page has it."""
    rows = [[str(column.header) for column in table.columns], ["---"] * len(table.columns)]
    rows += zip(*(map(str, column.cells) for column in table.columns), strict=True)  # type: ignore[arg-type]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
