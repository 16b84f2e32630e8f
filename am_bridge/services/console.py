"""What a sliver writes on its console: a file of this machine, which its handler names in the fact ``console``."""

from __future__ import annotations

import os
import stat
from typing import Final

from am_bridge import reasons
from am_bridge.handlers.handler import Host
from am_bridge.handlers.operations import Sliver
from am_bridge.status import ApiError
from am_bridge.violations import violation

MOST_TAIL: Final = 1 << 20
PIECE: Final = 64 << 10
PAUSE: Final = 0.25
"""Seconds between two looks at a file that has not grown."""


class Console:
    """An open console; methods block a little."""

    def __init__(self, sliver: Sliver, host: Host, tail: int) -> None:
        """``tail``: how much of what was written before to begin with, in bytes. Raises ``ApiError``."""
        if not 0 <= tail <= MOST_TAIL:
            raise violation("tail_bytes", f"must be 0 to {MOST_TAIL}, not {tail}")
        path = sliver.result.facts.get("console") if sliver.result is not None else None
        if not isinstance(path, str) or not path.startswith("/"):
            raise _none(f"sliver {sliver.spec.sliver_id} has no console")
        if host.address:
            raise _none(
                f"the console of {sliver.spec.sliver_id} is on host {host.name}, and only this machine's are read"
            )
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise _none(f"the console of {sliver.spec.sliver_id} cannot be read: {error.strerror}") from None
        about = os.fstat(self._file)
        if not stat.S_ISREG(about.st_mode):
            os.close(self._file)
            raise _none(f"the console of {sliver.spec.sliver_id} is not a file")
        self._place = max(0, about.st_size - tail)

    def read(self) -> bytes:
        """The next piece; empty if there is none now. A file that was cut is read from its beginning."""
        if os.fstat(self._file).st_size < self._place:
            self._place = 0
        data = os.pread(self._file, PIECE, self._place)
        self._place += len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _none(text: str) -> ApiError:
    return ApiError(reasons.ACTION_UNSUPPORTED, text)
