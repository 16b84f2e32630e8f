"""A container's control groups: what it may use, and out of the service's own group.

The second is there on any host with control groups: systemd ends all that is in
a service's group when it restarts the service. Limits are set where the
controller is to be had. Groups are ``vmoc/INSTANCE`` of each hierarchy, whether
it is one for all (version 2) or one per controller (version 1).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

PERIOD = 100_000
"""Microseconds over which processor time is shared out."""
_FILES = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "cpu": ("cpu.max", "cpu.cfs_quota_us"),
    "pids": ("pids.max", "pids.max"),
}
_NONE = ("-1", "max", f"max {PERIOD}")


class Group:
    """The groups of one container. Hosts without control groups have none, and no limits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paths: set[str] = set()
        self.limiting: dict[str, tuple[str, bool]] = {}
        """By controller: its group, and whether that is of version 1."""
        for root, old, options in hierarchies():
            path = os.path.join(root, "vmoc", name)
            limited = options & set(_FILES) if old else controllers(root)
            self.limiting |= dict.fromkeys(limited, (path, old))
            if limited or not old or "name=systemd" in options:
                self.paths.add(path)

    def wanted(self, memory_mib: int, vcpus: int, processes: int) -> dict[str, dict[str, str]]:
        """Of each controller that is there: its file, and the text to be in it. 0: no limit."""
        found: dict[str, dict[str, str]] = {}
        for controller, amount in (("memory", memory_mib << 20), ("cpu", vcpus * PERIOD), ("pids", processes)):
            if controller not in self.limiting:
                continue
            path, old = self.limiting[controller]
            text = str(amount) if amount else ("-1" if old and controller != "pids" else "max")
            if controller == "cpu" and not old:
                text += f" {PERIOD}"
            found[controller] = {os.path.join(path, _FILES[controller][old]): text}
        return found

    def set(self, limits: dict[str, dict[str, str]]) -> bool:
        """Make the groups and write the limits; whether anything changed. What the host refuses has no limit."""
        changed = False
        for path in self.paths:
            if not os.path.isdir(path):
                with suppress(OSError):
                    self._make(path)
                    changed = True
        for files in limits.values():
            for file, text in files.items():
                if not holds(file, text):
                    with suppress(OSError):
                        write(file, text)
                        changed = True
        return changed

    def _make(self, path: str) -> None:
        parent = os.path.dirname(path)
        os.makedirs(parent, exist_ok=True)
        for above in (os.path.dirname(parent), parent):
            for controller in controllers(above) & set(_FILES):
                with suppress(OSError):
                    write(os.path.join(above, "cgroup.subtree_control"), f"+{controller}")
        os.makedirs(path, exist_ok=True)

    def in_force(self, limits: dict[str, dict[str, str]]) -> list[str]:
        """The controllers that hold the container to its limits."""
        return sorted(
            controller
            for controller, files in limits.items()
            if all(holds(file, text) and text not in _NONE for file, text in files.items())
        )

    def join(self) -> None:
        """Take this process, and so its children, into them."""
        for path in self.paths:
            with suppress(OSError):
                write(os.path.join(path, "cgroup.procs"), "0")

    def left(self) -> list[str]:
        """Those that are there."""
        return sorted(path for path in self.paths if os.path.isdir(path))

    def remove(self, patience: float) -> bool:
        """Remove them; they stay busy for a moment after their last process. Whether there were any."""
        there = self.left()
        deadline = time.monotonic() + patience
        for path in there:
            while os.path.isdir(path):
                with suppress(OSError):
                    os.rmdir(path)
                    continue
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            with suppress(OSError):
                os.rmdir(os.path.dirname(path))  # the last one
        return bool(there)


def hierarchies() -> list[tuple[str, bool, set[str]]]:
    """Those mounted: (path, whether it is of version 1, its mount options)."""
    found = []
    with suppress(OSError), open("/proc/self/mounts") as file:
        for line in file:
            _, place, kind, options, *_ = line.split()
            if kind in ("cgroup", "cgroup2"):
                found.append((place, kind == "cgroup", set(options.split(","))))
    return found


def controllers(path: str) -> set[str]:
    """Those that a group of version 2 may hand to the groups in it."""
    return set((read(os.path.join(path, "cgroup.controllers")) or "").split()) & set(_FILES)


def holds(path: str, text: str) -> bool:
    """Whether a limit is what it should be; without one, version 1 says so with a large number."""
    have = read(path)
    return have == text or (text in _NONE and have is not None and have.isdecimal() and int(have) >> 60 > 0)


def read(path: str) -> str | None:
    """A file's text without the end of its line; None when it cannot be read."""
    with suppress(OSError), open(path) as file:
        return file.read().strip()
    return None


def write(path: str, text: str) -> None:
    """Write to a file that is there."""
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(number, text.encode())
    finally:
        os.close(number)
