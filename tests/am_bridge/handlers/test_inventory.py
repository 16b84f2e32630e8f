"""Reconciling a host: strays, what is missing, and what is kept from getting into the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from am_bridge.handlers import handler as where
from am_bridge.handlers.catalogue import UnsupportedError
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Run,
    SliverState,
    Stop,
)
from am_bridge.handlers.inventory import HOST_KEY, take
from am_bridge.handlers.operations import OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.queue import BusyError
from am_bridge.handlers.spec import SliverKey
from tests.am_bridge.handlers.scripted import WAIT, Gate, ScriptedHandler, document, processor


class Host(ScriptedHandler):
    """What is on the host: instances by name, and whose they are."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[str, SliverKey | None] = {}
        self.stuck: set[str] = set()
        self.gate: Gate | None = None

    def inventory(self, run: Run, known: Sequence[SliverKey], remove: Sequence[str]) -> HandlerResult:
        if self.gate is not None:
            self.gate(run)
        for name in set(remove) - self.stuck:
            if self.there[name] not in known:  # as our modules do
                del self.there[name]
        found: list[dict[str, Any]] = []
        for name, key in self.there.items():
            ours = {"slice_id": key.slice_id, "sliver_id": key.sliver_id} if key in known and key is not None else {}
            found.append({"name": name, **ours})
        left = tuple(f"netns:{name}" for name in remove if name in self.stuck)
        return HandlerResult(SliverState.READY, facts={"instances": found}, leftovers=left)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def one(host: Host) -> Iterator[Processor]:
    made = processor(host)
    yield made
    made.close()


def reconcile(one: Processor, **more: Any) -> dict[str, Any]:
    ended = one.wait(one.reconcile("h1", **more).id, WAIT)
    assert ended.state is OperationState.SUCCEEDED and ended.result is not None, ended
    return ended.result.facts


def make(one: Processor, host: Host, *names: str) -> None:
    for name in names:
        one.wait(one.create(document(name, host="h1")).id, WAIT)
        host.there[f"i-{name}"] = SliverKey("alice", name)


def test_strays_are_found_and_removed_and_what_is_missing_is_named(one: Processor, host: Host) -> None:
    make(one, host, "vm1", "vm2")
    del host.there["i-vm2"]
    host.there["i-stray"] = SliverKey("alice", "forgotten")
    host.there["vm1"] = None  # what the handler called an instance of ours
    expected = {"strays": ["i-stray"], "missing": ["vm2"], "removed": []}
    assert reconcile(one) == expected and "i-stray" in host.there
    assert reconcile(one, remove=True) == {**expected, "removed": ["i-stray"]}
    assert set(host.there) == {"i-vm1", "vm1"}
    assert [each.sliver.slice_id for each in one.operations()][:2] == [HOST_KEY] * 2


def test_who_is_on_another_host_of_the_same_machine_is_no_stray(one: Processor, host: Host) -> None:
    make(one, host, "vm1")
    one.wait(one.create(document("vm2", host="h2")).id, WAIT)
    one.wait(one.create(document("vm3", host="h2")).id, WAIT)
    host.there |= {"i-vm2": SliverKey("alice", "vm2"), "vm3": None, "i-stray": None}
    assert reconcile(one, remove=True) == {"strays": ["i-stray"], "missing": [], "removed": ["i-stray"]}
    assert set(host.there) == {"i-vm1", "i-vm2", "vm3"}


def test_who_comes_to_another_host_of_the_machine_meanwhile_is_known_to_whoever_removes(
    one: Processor, host: Host
) -> None:
    host.there = {"i-vm2": SliverKey("alice", "vm2"), "i-stray": None}

    def gate(run: Run) -> HandlerResult:
        if not one.slivers():
            one.wait(one.create(document("vm2", host="h2")).id, WAIT)
        return HandlerResult(SliverState.READY)

    host.gate = gate  # type: ignore[assignment]
    assert reconcile(one, remove=True)["removed"] == ["i-stray"] and "i-vm2" in host.there


def test_what_cannot_be_removed_is_left_over(one: Processor, host: Host) -> None:
    host.there["i-stray"] = None
    host.stuck.add("i-stray")
    ended = one.wait(one.reconcile("h1", remove=True).id, WAIT)
    assert ended.leftovers == ("netns:i-stray",)


def test_a_handler_that_cannot_be_asked_does_not_keep_the_others_from_it() -> None:
    class Broken:
        def inventory(self, run: Run, known: Sequence[SliverKey], remove: Sequence[str]) -> HandlerResult:
            raise HandlerError(HandlerFailure(FailureKind.TASK, "no libvirt here", playbook="vm.yml"))

    host = Host()
    host.there["i-stray"] = None
    run = Run("1", 1, 10.0, where.Host("h1"), Stop(), lambda progress: None)
    handlers = [(frozenset({"VM"}), Broken()), (frozenset({"Scripted"}), host)]
    with pytest.raises(HandlerError) as caught:
        take(run, handlers, [], list, remove=True)
    assert caught.value.failure.playbook == "vm.yml" and not host.there
    text = "1 of 2 handlers failed: no libvirt here; the others found strays: i-stray; removed: i-stray"
    assert str(caught.value.failure.message) == text


def test_nothing_new_comes_to_a_host_while_strays_are_removed(one: Processor, host: Host) -> None:
    make(one, host, "vm1")
    host.gate = gate = Gate(HandlerResult(SliverState.READY))
    operation = one.reconcile("h1", remove=True)
    assert gate.began.wait(WAIT)
    calls: list[Callable[[], object]] = [
        lambda: one.create(document("vm2", host="h1")),
        lambda: one.modify(document("vm1", vcpus=2)),
        lambda: one.reconcile("h1"),
    ]
    for call in calls:
        with pytest.raises(BusyError, match=operation.id):
            call()
    one.wait(one.create(document("vm3", host="h2")).id, WAIT)
    gate.go.set()
    assert one.wait(operation.id, WAIT).state is OperationState.SUCCEEDED


def test_a_host_that_is_not_there(one: Processor) -> None:
    with pytest.raises(UnsupportedError, match="no host h9"):
        one.reconcile("h9")
