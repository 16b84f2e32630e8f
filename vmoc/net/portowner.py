"""Who holds a TCP port on this machine, as far as /proc lets us see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"


def holder(port: int) -> str | None:
    """``process PID (NAME)`` listening on ``port``, or None when it cannot be known (another user's process)."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                name = "unknown"
            return f"process {process.name} ({name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode ...
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            return any(os.readlink(entry.path) in wanted for entry in entries)
    except OSError:
        return False
