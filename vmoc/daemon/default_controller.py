"""The built-in controller: a child process, there exactly while some slice needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from vmoc.config import DefaultController
from vmoc.model import Endpoint, Slice
from vmoc.net.supervise import Supervisor
from vmoc.registry import Plan, Snapshot
from vmoc.telemetry import logs

COMMAND: Final = (sys.executable, "-m", "vmoc.apps.learning_switch", "--port", "0", "--follow-stdin")


def needs(one: Slice | None) -> bool:
    """Whether some segment of the slice, if it is enabled, names no controller."""
    return one is not None and one.enabled and any(not segment.controllers for segment in one.segments)


class Need:
    """Counts the slices that need a default controller, plan by plan: looking at all of them would take its time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._count = sum(map(needs, snapshot.slices.values()))

    def follow(self, plan: Plan) -> None:
        """The plan was adopted."""
        before, after = plan.base.slices, plan.snapshot.slices
        self._count += sum(needs(after.get(name)) for name in (*plan.added, *plan.changed))
        self._count -= sum(needs(before.get(name)) for name in (*plan.changed, *plan.removed))

    def __bool__(self) -> bool:
        return self._count > 0


class Keeper:
    """Starts and stops the child; ``use`` is told who the default controller is, None while there is none."""

    def __init__(self, use: Callable[[Endpoint | None], None], command: Sequence[str] = COMMAND) -> None:
        self._use = use
        self._log = logs.get("daemon")
        self._supervisor = Supervisor(
            command, ready=self._ready, gone=self._gone, log=logs.get("default_controller").info
        )

    @property
    def restarts(self) -> int:
        """How often the child ended unasked."""
        return self._supervisor.restarts

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._supervisor.pid

    async def arrange(self, wanted: DefaultController, needed: bool) -> None:
        """Make it so: the built-in one while it is needed, the configured one, or none."""
        if wanted.mode == "builtin" and needed:
            self._supervisor.start()
            return
        await self.stop()
        self._use(wanted.url)

    async def stop(self) -> None:
        """End the child, if there is one."""
        await self._supervisor.stop()

    def _ready(self, endpoint: Endpoint) -> None:
        self._log.info("the default controller is running", controller=str(endpoint))
        self._use(endpoint)

    def _gone(self, why: str) -> None:
        self._log.warning(f"the default controller is gone: {why}")
        self._use(None)
