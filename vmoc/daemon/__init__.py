"""The composition root: builds everything from the settings, wires it, and keeps it until a signal says stop.

``service`` is the whole; ``reloading`` applies a changed file,
``default_controller`` runs the built-in one while it is needed, ``watched``
is what the metrics and health checks see.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmoc.daemon.errors import StartError

if TYPE_CHECKING:
    from vmoc.config import Settings

__all__ = ["StartError", "run"]


def run(
    settings: Settings,
    config_path: Path | None = None,
    apps: Sequence[str] = (),
    log_level: str = "info",
    log_format: str = "auto",
    workers: int = 0,
) -> int:
    """Run the service in the foreground; switches are served by ``workers`` processes, or (0) by this one.

    Returns the exit code: 0 after a drain, 1 when an address cannot be listened on or an application
    of ``apps`` (os-ken module names) cannot be loaded, 2 for settings that
    contradict each other or name unusable files.
    """
    from vmoc.daemon.service import Service
    from vmoc.telemetry import logs

    try:
        writer = logs.configure(log_level, log_format)
    except logs.LogOptionError as exc:
        print(f"vmoc: {exc}", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(Service(settings, config_path, apps, writer, workers).serve())
    except StartError as exc:
        writer.close()
        for line in exc.lines:
            print(f"vmoc: {line}", file=sys.stderr)
        return exc.exit_code
    finally:
        writer.close()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
