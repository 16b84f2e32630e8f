"""An Ansible callback plugin: tells the handler, one JSON object per line, what its playbook does.

It replaces Ansible's own output. What a ``no_log`` task did arrives here
censored already, and stays so.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: vmoc_events
    type: stdout
    short_description: JSON events on an inherited file descriptor
    description: Writes to the descriptor in VMOC_EVENTS_FD.
"""

_TEXT = 4096


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """See the module."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "vmoc_events"

    def __init__(self) -> None:
        """Open the pipe; without one, be silent."""
        super().__init__()
        number = os.environ.get("VMOC_EVENTS_FD", "")
        self._pipe = int(number) if number.isdigit() else None
        if self._pipe is not None:
            os.set_inheritable(self._pipe, False)

    def _tell(self, kind: str, **more: Any) -> None:
        if self._pipe is not None:
            data = json.dumps({"event": kind, **more}, default=str).encode() + b"\n"
            while data:
                data = data[os.write(self._pipe, data) :]

    def _result(self, kind: str, result: Any, **more: Any) -> None:
        values = result._result if isinstance(result._result, dict) else {}
        secret = bool(result._task.no_log) or "censored" in values
        texts = "" if secret else _message(values)
        self._tell(
            kind,
            host=result._host.get_name(),
            task=result._task.get_name()[:_TEXT],
            text=texts[:_TEXT],
            changed=values.get("changed") is True,
            rc=values.get("rc") if isinstance(values.get("rc"), int) else 0,
            leftovers=values.get("vmoc_leftovers") or [],
            **more,
        )

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins."""
        self._tell("play", text=str(play.get_name())[:_TEXT])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task begins."""
        self._tell("task", task=task.get_name()[:_TEXT])

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler, in Ansible's sense, begins."""
        self._tell("task", task=task.get_name()[:_TEXT])

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task succeeded on a host."""
        self._result("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A condition did not hold."""
        self._result("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host cannot be reached."""
        self._result("unreachable", result)

    def v2_runner_retry(self, result: Any) -> None:
        """A task with ``until`` is tried again."""
        self._result("log", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end: what ``set_stats`` collected."""
        custom = stats.custom.get("_run", {})
        self._tell("stats", result=custom.get("vmoc_result"))


def _message(values: dict[str, Any]) -> str:
    """The most telling text in a result."""
    parts = [str(values.get(name) or "").strip() for name in ("msg", "stderr", "module_stderr", "exception")]
    return next((part for part in parts if part), "") if not parts[1] else f"{parts[0]}: {parts[1]}".strip(": ")
