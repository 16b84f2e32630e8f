"""A handler that does what the test says, and a small world to run it in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.difference import Difference
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Host,
    Progress,
    Run,
    SliverState,
)
from am_bridge.handlers.journal import Journal, SqliteJournal
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.spec import SliverSpec

WAIT = 10.0
Step = Callable[[Run], HandlerResult]


def document(sliver: str = "vm1", slice_id: str = "alice", **more: Any) -> dict[str, Any]:
    """A specification of the scripted type."""
    return {"slice_id": slice_id, "sliver_id": sliver, "resource_type": "Scripted", **more}


def fail(message: str = "no", kind: FailureKind = FailureKind.TASK, leftovers: tuple[str, ...] = ()) -> Step:
    """A step that fails like that."""

    def step(run: Run) -> HandlerResult:
        raise HandlerError(HandlerFailure(kind, message, task="t"), leftovers)

    return step


class Gate:
    """A step that says it began, and goes on when told to, or fails when asked to stop."""

    def __init__(self, result: HandlerResult) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.result = result

    def __call__(self, run: Run) -> HandlerResult:
        self.began.set()
        while not self.go.wait(0.005):
            if run.stop.asked:
                raise HandlerError(HandlerFailure(run.stop.kind, "stopped"))
        return self.result


class ScriptedHandler:
    """Answers with ``steps[verb]`` in turn, and as specified when there are none left; notes its calls."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = {}
        self.calls: list[tuple[str, str]] = []
        self.specs: list[SliverSpec] = []
        self.runs: list[Run] = []
        self.cleaned: list[str] = []
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def _call(self, verb: str, run: Run, spec: SliverSpec, otherwise: SliverState) -> HandlerResult:
        with self._lock:
            self.calls.append((verb, spec.sliver_id))
            self.specs.append(spec)
            self.runs.append(run)
            self.running += 1
            self.most = max(self.most, self.running)
            step = self.steps[verb].pop(0) if self.steps.get(verb) else None
        try:
            run.report(Progress("task", task=f"{verb} {spec.properties.get('password', '')}"))
            run.report(Progress("ok"))
            return step(run) if step is not None else HandlerResult(otherwise, instance=spec.sliver_id)
        finally:
            with self._lock:
                self.running -= 1

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call("create", run, spec, SliverState.READY)

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        return self._call("modify", run, new, SliverState.READY)

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call("delete", run, spec, SliverState.ABSENT)

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        return self._call("probe", run, spec, SliverState.READY)

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        return self._call(name, run, spec, SliverState.READY)

    def clean(self, operation: str) -> None:
        self.cleaned.append(operation)

    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.calls]


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"password": {"type": "string", "writeOnly": True}, "colour": {"enum": ["red", "blue"]}},
}


def catalogue(workers: int = 4, queue: int = 100, **limits: Any) -> Catalogue:
    """One type, ``Scripted``, on two hosts."""
    timeouts = {"default": 30.0, **limits.pop("timeouts", {})}
    attempts = {"delete": 2, **limits.pop("attempts", {})}
    config = HandlerConfig(
        "Scripted",
        "scripted",
        Limits(timeouts, attempts, limits.pop("concurrency", 0)),
        actions=frozenset({"reboot"}),
        locks=limits.pop("locks", ()),
        schema=SCHEMA,
    )
    return Catalogue({"Scripted": config}, {"h1": Host("h1"), "h2": Host("h2")}, workers, queue, stop_grace=0.2)


def processor(handler: ScriptedHandler, journal: Journal | None = None, **more: Any) -> Processor:
    """A started processor; its back-off is as short as it gets."""
    one = Processor(
        more.pop("catalogue", None) or catalogue(**more),
        journal or SqliteJournal(":memory:"),
        {"scripted": lambda config: handler},
        jitter=lambda: -0.999,
    )
    one.start()
    return one
