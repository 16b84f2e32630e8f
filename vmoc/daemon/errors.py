"""Why the service cannot start."""

from __future__ import annotations

from collections.abc import Sequence

from vmoc.errors import VmocError


class StartError(VmocError):
    """The service cannot start; each line is one sentence for the operator."""

    def __init__(self, lines: Sequence[str], exit_code: int) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)
        self.exit_code = exit_code
