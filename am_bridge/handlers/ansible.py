"""The handler whose verbs are playbooks: ``ansible-playbook`` as a child process, once per call.

Ansible's Python interface is not meant for others, cannot be stopped, and is
under the GPL; a process is none of that. The playbook gets ``vmoc`` (see
docs/handlers.md) and answers with ``set_stats``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.decode import DecodeError, decode, encode
from am_bridge.handlers.difference import Difference
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Progress,
    Run,
    SliverKey,
    SliverSpec,
    Verb,
)
from am_bridge.handlers.subtree import Ending, end_marked, plain, run_subtree
from am_bridge.handlers.variables import to_unsafe_yaml

HERE: Final = Path(__file__).parent
TARGET: Final = "vmoc_target"
"""The inventory group that holds the sliver's host, and nothing else."""
_PREFIX: Final = "vmoc-run-"
_PROGRESS: Final = frozenset({"play", "task", "ok", "changed", "skipped", "failed", "ignored", "unreachable", "log"})
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_folder() -> Path:
    """Where runs keep their files: in memory where the system has such a place."""
    for place in ("/run/vmoc", os.environ.get("XDG_RUNTIME_DIR", "")):
        if place:
            with contextlib.suppress(OSError):
                Path(place).mkdir(mode=0o700, exist_ok=True)
                if os.access(place, os.W_OK):
                    return Path(place)
    return Path(tempfile.gettempdir())


class AnsibleHandler:
    """Runs the playbooks of one entry of ``handlers.yaml``."""

    def __init__(self, config: HandlerConfig, folder: Path | None = None) -> None:
        self._config = config
        self._folder = folder or run_folder()

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return self._play(run, Verb.CREATE, spec)

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        """See ``Handler``."""
        return self._play(run, Verb.MODIFY, new, previous=encode(old), difference=difference)

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return self._play(run, Verb.DELETE, spec)

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        return self._play(run, Verb.PROBE, spec)

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        """See ``Handler``."""
        return self._play(run, Verb.ACTION, spec, action=name, parameters=dict(parameters))

    def inventory(self, run: Run, known: Sequence[SliverKey], remove: Sequence[str]) -> HandlerResult:
        """See ``TakesInventory``."""
        keys = [{"slice_id": key.slice_id, "sliver_id": key.sliver_id} for key in known]
        return self._play(run, Verb.INVENTORY, None, parameters={"known": keys, "remove": list(remove)})

    def clean(self, operation: str) -> None:
        """See ``Handler``."""
        end_marked(operation)
        for left in self._folder.glob(f"{_PREFIX}{operation}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _play(self, run: Run, verb: Verb, spec: SliverSpec | None, **more: Any) -> HandlerResult:
        word = more.get("action") or verb.value
        playbook = self._config.playbooks.get(word)
        if playbook is None:
            raise _error(FailureKind.UNSUPPORTED, f"{self._config.resource_type} has no playbook for {word}")
        subject: dict[str, Any] = {"verb": verb.value, "operation": run.operation, "attempt": run.attempt}
        subject |= {"installation": run.installation, "networks": list(run.networks)}
        subject["spec"] = {} if spec is None else encode(spec)
        story = _Story(run, playbook.name)
        try:
            directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{run.operation}-", dir=self._folder))
        except OSError as error:
            raise _error(FailureKind.CRASHED, f"no run can be prepared in {self._folder}: {error.strerror}") from None
        try:
            nothing: dict[str, Any] = {"action": "", "parameters": {}, "previous": None, "difference": {}}
            _write(directory / "vars.yml", to_unsafe_yaml({"vmoc": {**nothing, **subject, **more}}))
            _write(directory / "inventory.yml", self._inventory(run))
            _write(directory / "ansible.cfg", "")
            ending = run_subtree(
                self._command(directory, playbook),
                _environment(directory),
                directory,
                operation=run.operation,
                stop=run.stop,
                grace=run.grace,
                weight=run.cpu_weight,
                line=story.hear,
            )
        except (OSError, ValueError) as error:
            raise _error(FailureKind.CRASHED, f"the playbook cannot be started: {error}") from None
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return story.judge(ending)

    def _command(self, directory: Path, playbook: Path) -> list[str]:
        inventories = [str(self._config.inventory)] if self._config.inventory is not None else []
        words = [sys.executable, "-I", "-B", "-m", "ansible", "playbook"]
        for inventory in [*inventories, str(directory / "inventory.yml")]:
            words += ["-i", inventory]
        return [*words, "-e", f"@{directory / 'vars.yml'}", str(playbook)]

    def _inventory(self, run: Run) -> str:
        """Our part of the inventory: the target and the operator's variables, who may use templates in them."""
        host = run.host
        variables: dict[str, Any] = {**self._config.variables, **host.variables}
        if host.address:
            variables.setdefault("ansible_host", host.address)
        elif self._config.inventory is None:
            variables.setdefault("ansible_connection", "local")
            variables.setdefault("ansible_python_interpreter", sys.executable)
        return yaml.safe_dump({TARGET: {"hosts": {host.name: _plain_values(variables)}}})


class _Story:
    """What a run told, and what to make of it."""

    def __init__(self, run: Run, playbook: str) -> None:
        self._run = run
        self._playbook = playbook
        self._failed: dict[str, Any] | None = None
        self._result: object = None
        self._leftovers: tuple[str, ...] = ()

    def hear(self, line: bytes) -> None:
        """One event. What is no event is ignored: a module may have found the pipe."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        kind = event.get("event")
        if kind == "stats":
            self._result = event.get("result")
        elif kind in _PROGRESS:
            text, task, host = (plain(str(event.get(name) or "")) for name in ("text", "task", "host"))
            if kind in ("failed", "unreachable"):
                self._failed = {"kind": kind, "text": text, "task": task, "host": host, "rc": event.get("rc")}
                left = event.get("leftovers")
                if isinstance(left, list):
                    self._leftovers = tuple(plain(str(one))[:256] for one in left[:256])
            self._run.report(Progress(str(kind), text, task, host))

    def judge(self, ending: Ending) -> HandlerResult:
        """The result, or the reason why there is none."""
        if ending.status == 0:
            return self._accept(ending)
        if self._run.stop.asked:
            asked = self._run.stop.kind
            limit = f"it took longer than {self._run.time_limit:g} s"
            raise self._error(asked, limit if asked is FailureKind.TIMEOUT else "it was stopped", ending)
        if ending.flooded:
            raise self._error(FailureKind.CRASHED, "it printed too much and was stopped", ending)
        if self._failed is not None:
            unreachable = self._failed["kind"] == "unreachable"
            kind = FailureKind.UNREACHABLE if unreachable else FailureKind.TASK
            raise self._error(kind, self._failed["text"] or "the task failed", ending)
        last = ending.output[-1] if ending.output else f"exit status {ending.status}"
        raise self._error(FailureKind.CRASHED, f"ansible-playbook failed: {last}", ending)

    def _accept(self, ending: Ending) -> HandlerResult:
        if self._result is None:
            raise self._error(FailureKind.CRASHED, "the playbook ended without set_stats of vmoc_result", ending)
        try:
            return decode(HandlerResult, self._result, "vmoc_result")
        except DecodeError as error:
            raise self._error(FailureKind.CRASHED, f"the playbook's answer is wrong: {error}"[:1000], ending) from None

    def _error(self, kind: FailureKind, message: str, ending: Ending) -> HandlerError:
        failed = self._failed or {}
        rc = failed.get("rc") or ending.status
        return HandlerError(
            HandlerFailure(
                kind,
                message,
                playbook=self._playbook,
                task=failed.get("task", ""),
                host=failed.get("host", ""),
                rc=rc if isinstance(rc, int) else ending.status,
                output=ending.output,
            ),
            self._leftovers,
        )


def _environment(directory: Path) -> dict[str, str]:
    """All that Ansible sees of the world: nothing of the user's, nothing of the service's."""
    place = str(directory)
    return {
        "PATH": _SYSTEM_PATH,
        "HOME": place,
        "TMPDIR": place,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_CONFIG": f"{place}/ansible.cfg",
        "ANSIBLE_HOME": f"{place}/home",
        "ANSIBLE_LOCAL_TEMP": f"{place}/local",
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
        "ANSIBLE_STDOUT_CALLBACK": "vmoc_events",
        "ANSIBLE_LIBRARY": str(HERE / "playbooks" / "library"),
        "ANSIBLE_MODULE_UTILS": str(HERE / "playbooks" / "module_utils"),
        "ANSIBLE_COLLECTIONS_PATH": f"{place}/home/collections",
        "ANSIBLE_INVENTORY_ENABLED": "yaml,ini",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_PIPELINING": "1",
        # A connection is kept for a run's next task; the next run has another folder and would not find it.
        "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=5s",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)


def _plain_values(value: Any) -> Any:
    """Without the subclasses that remember where the file had them."""
    if isinstance(value, Mapping):
        return {str(key): _plain_values(one) for key, one in value.items()}
    return [_plain_values(one) for one in value] if isinstance(value, (list, tuple)) else value


def _error(kind: FailureKind, message: str) -> HandlerError:
    return HandlerError(HandlerFailure(kind, message))
