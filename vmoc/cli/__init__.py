"""The command line: ``vmoc NOUN VERB``, one module per noun, each imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 refused or failed, 2 usage, 3 unreachable, 4 timed out.

    ``arguments`` default to those of the process.
    """
    from vmoc.cli.program import run_program

    return run_program(arguments)
