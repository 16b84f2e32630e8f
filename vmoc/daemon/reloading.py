"""Applying a changed configuration file to the running service: only the difference, and all of it or nothing."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from vmoc.config import ConfigError, Settings, load
from vmoc.events import Event, Kind
from vmoc.net.threads import in_thread
from vmoc.registry import Conflict, Plan
from vmoc.telemetry import logs

LIVE: Final = frozenset({"slices", "limits", "default_controller", "vlans", "grpc_roles", "handlers"})
"""Settings a reload applies; the others need a restart. (Limits arrive merged into the slices.)"""


class Reloader:
    """Reads the file again when ``wanted`` is set.

    ``change`` makes the file's slices and handlers those of the settings, or
    changes nothing if they clash with others or raises ``ConfigError``; it
    blocks, and is called from a thread.
    ``applied`` is called on the loop with what runs from now on.
    """

    def __init__(
        self,
        started_with: Settings,
        path: Path | None,
        *,
        change: Callable[[Settings], Plan],
        applied: Callable[[Settings], Awaitable[None]],
        report: Callable[[Event], None],
        bug: Callable[[str, BaseException], None],
    ) -> None:
        self.wanted = asyncio.Event()
        self.results: Counter[str] = Counter()
        self._started_with = started_with
        self._path = path
        self._change = change
        self._applied = applied
        self._report = report
        self._bug = bug
        self._log = logs.get("daemon")

    async def run(self) -> None:
        """Reload whenever it is wanted, for ever."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                await self.reload()
            except Exception as exc:
                self._bug("reload", exc)

    async def reload(self) -> None:
        """Apply what changed in the file; if anything is wrong with it, nothing changes."""
        if self._path is None:
            self._log.warning("there is nothing to reload: VMOC was started without a configuration file")
            return
        try:
            # Reading and planning many thousand slices takes seconds: not on the loop.
            settings = await in_thread(load, self._path)
            plan = await in_thread(self._change, settings)
        except ConfigError as exc:
            self._reject([str(problem) for problem in exc.problems])
            return
        if plan.conflicts:
            self._reject([words(conflict) for conflict in plan.conflicts])
            return
        await self._applied(settings)
        counts = {"added": len(plan.added), "changed": len(plan.changed), "removed": len(plan.removed)}
        self.results["applied"] += 1
        summary = ", ".join(f"{count} {what}" for what, count in counts.items())
        self._report(Event(Kind.CONFIG_RELOADED, message=f"slices: {summary}", detail=counts))
        for name in needs_restart(self._started_with, settings):
            self._log.warning(f"{name} changed in the configuration: that needs a restart and is not applied now")
        gc.freeze()  # slices live long; the collector need not look at them again

    def _reject(self, problems: Sequence[str]) -> None:
        self.results["rejected"] += 1
        for problem in problems:
            self._log.error(problem)
        self._report(
            Event(Kind.CONFIG_REJECTED, message=problems[0] if problems else "", detail={"problems": len(problems)})
        )


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """Settings that differ and cannot be changed while running, by their keys in the file."""
    return [
        _KEYS.get(field.name, field.name)
        for field in fields(Settings)
        if field.name not in LIVE and getattr(old, field.name) != getattr(new, field.name)
    ]


_KEYS: Final = {
    "listeners": "openflow.listen",
    "tls": "openflow.tls",
    "versions": "openflow.versions",
    "grpc_listen": "grpc.listen",
    "grpc_tls": "grpc.tls",
    "grpc_insecure": "grpc.insecure",
    "metrics_listen": "metrics.listen",
    "state_path": "state.path",
}


def words(conflict: Conflict) -> str:
    """A conflict as the operator should read it; who clashes with whom is the operator's to know."""
    return f"slice {conflict.slice}: {conflict.text} (slice {conflict.other_slice})"
