"""How every benchmark is asked and how it answers: the same options, a table for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.table import Table

from bench import machine, tools

VERSIONS = ("1.0", "1.3")
DISTURBED = 0.2
"""CPUs that others, programs or guests of the hypervisor, may use before a line counts as disturbed."""
Line = TypeVar("Line")
Found_co = TypeVar("Found_co", covariant=True)


class Turning(Protocol[Found_co]):
    """A line that is measured a little at a time."""

    def turn(self) -> None: ...
    def cost(self) -> Found_co: ...


def parser(
    doc: str | None, *, seconds: float | None = None, runs: int | None = None, versions: bool = False
) -> argparse.ArgumentParser:
    """``--json``; if wanted ``--seconds``, ``--runs`` and ``--version``.

    ``doc`` is the module's docstring, which begins with the command and what it is about.
    """
    found = re.match(r"``(.+?)``: (.+?)\n\n", f"{doc}\n\n", re.DOTALL)
    assert found is not None
    made = argparse.ArgumentParser(prog=found[1], description=found[2])
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    if seconds is not None:
        made.add_argument("--seconds", type=float, default=seconds, help=f"per run or line ({seconds:g})")
    if runs is not None:
        made.add_argument("--runs", type=int, default=runs, help=f"per figure; the median is shown ({runs})")
    if versions:
        made.add_argument("--version", choices=VERSIONS, help="one OpenFlow version only")
    return made


def versions(options: argparse.Namespace) -> Sequence[str]:
    """Those to measure."""
    return (options.version,) if options.version else VERSIONS


def console() -> Console:
    """Where tables go."""
    return Console(width=None if sys.stdout.isatty() else 150, highlight=False)


def measured(
    measure: Callable[[], Iterable[Line]], table: Callable[[Sequence[Line]], Table], file: Path | None
) -> list[Line] | None:
    """Measure, show and write; None, after a sentence about it, if it could not be measured."""
    out, facts = console(), machine.describe()
    out.print("  ".join(f"{name}: {value}" for name, value in facts.items()))
    lines: list[Line] = []
    try:
        for line in measure():
            lines.append(line)
            out.print(f"  {len(lines)}: {line}", markup=False, style="dim")
    except tools.ToolError as error:
        out.print(str(error), markup=False)
        return None
    except KeyboardInterrupt:
        out.print("interrupted")
        return None
    out.print(table(lines))
    if remark := disturbance(lines):
        out.print(f"note: {remark}", markup=False)
    if file:
        write(file, facts, lines=[asdict(line) for line in lines])  # type: ignore[call-overload]
    return lines


def disturbance(lines: Sequence[Any]) -> str | None:
    """A sentence when others were busy meanwhile (``other_cpu`` of a line: how many CPUs they used)."""
    used = [line.other_cpu for line in lines if (getattr(line, "other_cpu", None) or 0) > DISTURBED]
    if not used:
        return None
    return (
        f"other programs or guests of the hypervisor used up to {max(used):.1f} CPUs"
        f" during {len(used)} of {len(lines)} lines:"
        " measure again on a quiet machine before you believe the figures"
    )


def write(file: Path, facts: machine.Facts, **everything: Any) -> None:
    """As JSON, with what else the hypervisor did meanwhile among the facts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = facts | {"stolen_percent": machine.stolen_percent()}
    file.write_text(json.dumps({"machine": facts} | everything, indent=1) + "\n")


def number(value: float | None, digits: int = 0) -> str:
    """With spaces between the thousands; nothing for None."""
    return "" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def by_turns(lines: Sequence[Turning[Line]], seconds: float, least: int) -> list[Line]:
    """Every line, ``seconds`` each and ``least`` turns. They take turns, so that what disturbs the machine hits all."""
    end, turns = time.perf_counter() + seconds * len(lines), 0
    while time.perf_counter() < end or turns < least:
        for line in lines:
            line.turn()
        turns += 1
    return [line.cost() for line in lines]
