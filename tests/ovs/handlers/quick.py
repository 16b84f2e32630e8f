"""A handler that runs our module without Ansible around it: for back-ends whose way through Ansible is tested once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from am_bridge.handlers.decode import decode, encode
from am_bridge.handlers.difference import Difference
from am_bridge.handlers.handler import FailureKind, HandlerError, HandlerFailure, HandlerResult, Run
from am_bridge.handlers.spec import SliverSpec

PATIENCE = 280
"""Seconds for one verb: a machine boots in software, beside whatever else this one has to do."""
DIRECT = Path(__file__).with_name("direct.py")
PLAYBOOKS = Path(__file__).resolve().parents[3] / "am_bridge" / "handlers" / "playbooks"


class QuickHandler:
    """The module with fixed arguments, besides the verb and its subject."""

    def __init__(self, module: str, arguments: Mapping[str, Any]) -> None:
        self._module = module
        self._arguments = arguments

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call(run, "create", spec)

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        return self._call(run, "modify", new)

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call(run, "delete", spec)

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call(run, "probe", spec)

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        return self._call(run, name, spec, parameters=dict(parameters))

    def clean(self, operation: str) -> None:
        pass

    def _call(self, run: Run, verb: str, spec: SliverSpec, **more: Any) -> HandlerResult:
        words = json.dumps({**self._arguments, "verb": verb, "spec": encode(spec), **more})
        pipe = subprocess.PIPE
        command = [sys.executable, str(DIRECT), self._module, words]
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True) as child:
            done = threading.Event()
            threading.Thread(target=_end_when_asked, args=(child, run, done)).start()
            out, err = child.communicate()
            done.set()
        if run.stop.asked:
            raise HandlerError(HandlerFailure(FailureKind.STOPPED, "it was stopped"))
        assert out, err.decode()
        answer = json.loads(out)
        if answer.get("failed"):
            host = run.host.name
            raise HandlerError(HandlerFailure(FailureKind.TASK, answer["msg"], host=host, rc=answer.get("rc", 1)))
        return decode(HandlerResult, answer["vmoc_result"])


def _end_when_asked(child: subprocess.Popen[bytes], run: Run, done: threading.Event) -> None:
    while not done.wait(0.01):
        if run.stop.asked:
            child.kill()


def call_module(module: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the module answers."""
    command = [sys.executable, str(DIRECT), module, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
