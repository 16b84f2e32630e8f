"""The compute side as the service has it: its journal's place, its events and metrics, what keeps it from starting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from vmoc.config import Settings
from vmoc.daemon.compute import Compute, journal_path
from vmoc.daemon.compute_metrics import ComputeCollector
from vmoc.daemon.errors import StartError
from vmoc.events import Event, Kind
from vmoc.ledger import SliceBook
from vmoc.ledger.errors import OccupiedVlanError
from vmoc.model import Origin, Segment, Slice
from vmoc.registry import Registry
from vmoc.store import SqliteStore

WAIT = 10.0
ALICE = Slice("alice", (Segment(101),), origin=Origin.API)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.book = SliceBook(Registry(), SqliteStore(":memory:"))
        self.book.open([])
        self.book.register([ALICE])
        (folder / "handlers.yaml").write_text("handlers: {noop: {backend: noop, actions: [reboot]}}\n")
        self.compute = self.start()

    def start(self) -> Compute:
        settings = Settings(state_path=str(self.folder / "vmoc.db"), handlers=self.folder / "handlers.yaml")
        self.compute = Compute(settings, self.book, self.events.append)
        self.compute.start()
        return self.compute

    def create(self, name: str, **more: Any) -> None:
        document = {"slice_id": "alice", "sliver_id": name, "resource_type": "noop", **more}
        operation = self.compute.processor.create(document, slice_time=self.book.get("alice").create_time)
        assert self.compute.processor.wait(operation.id, WAIT).over


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.compute.close()
    one.book.close()


def test_its_journal_lies_beside_the_state_file() -> None:
    assert journal_path("/var/lib/vmoc/vmoc.db") == "/var/lib/vmoc/vmoc-slivers.db"
    assert journal_path(":memory:") == ":memory:"


def test_slivers_are_there_in_the_next_life(scene: Scene) -> None:
    scene.create("vm1")
    scene.compute.close()
    assert (scene.folder / "vmoc-slivers.db").stat().st_mode & 0o777 == 0o600
    scene.start()
    assert [one.spec.sliver_id for one in scene.compute.processor.slivers()] == ["vm1"]


def test_what_happens_is_told(scene: Scene) -> None:
    scene.create("vm1")
    told = [(one.kind, one.slice, one.detail["state"]) for one in scene.events]
    assert told == [
        (Kind.OPERATION_GOES_ON, "alice", "queued"),
        (Kind.OPERATION_GOES_ON, "alice", "running"),
        (Kind.OPERATION_ENDED, "alice", "succeeded"),
    ]
    assert scene.events[-1].detail["sliver"] == "vm1" and scene.events[-1].detail["verb"] == "create"
    assert all(type(value) in (str, int, float, bool) for one in scene.events for value in one.detail.values())
    host = scene.compute.processor.reconcile("")
    scene.compute.processor.wait(host.id, WAIT)
    assert scene.events[-1].slice is None and scene.events[-1].detail["verb"] == "reconcile"


def test_metrics_count_slivers_and_operations(scene: Scene) -> None:
    registry = CollectorRegistry()
    registry.register(ComputeCollector(lambda: scene.compute))
    scene.create("vm1")
    scene.create("vm2", interfaces=[{"name": "eth1", "vlan": 102}])
    value = registry.get_sample_value
    assert value("vmoc_slivers", {"type": "noop", "state": "ready"}) == 1
    done = {"type": "noop", "verb": "create"}
    assert value("vmoc_operations_total", {**done, "state": "succeeded"}) == 1
    assert value("vmoc_operations_total", {**done, "state": "failed"}) == 1
    assert value("vmoc_operation_failures_total", {"type": "noop", "reason": "invalid"}) == 1
    assert value("vmoc_operation_seconds_count", done) == 2
    assert value("vmoc_operation_seconds_bucket", {**done, "le": "+Inf"}) == 2


def test_a_card_keeps_its_vlan_from_others_and_goes_with_its_slice(scene: Scene) -> None:
    scene.create("vm1", interfaces=[{"name": "eth1", "vlan": 101}])
    scene.compute._sweeper.close()  # its thread: this test looks itself
    scene.book.unregister(["alice"])
    with pytest.raises(OccupiedVlanError):
        scene.book.register([Slice("bob", (Segment(101),))])
    scene.compute._sweeper.sweep()
    for one in scene.compute.processor.running():
        scene.compute.processor.wait(one.id, WAIT)
    scene.book.register([Slice("bob", (Segment(101),))])


@pytest.mark.parametrize("text", ["handlers: {VM: {backend: magic}}", "nonsense: 1"])
def test_a_bad_handlers_file_keeps_it_from_starting_and_is_named(scene: Scene, text: str) -> None:
    scene.compute.close()
    (scene.folder / "handlers.yaml").write_text(text)
    with pytest.raises(StartError) as caught:
        scene.start()
    assert "handlers.yaml:1:" in str(caught.value) and caught.value.exit_code == 2


def test_a_journal_that_cannot_be_opened_keeps_it_from_starting(scene: Scene) -> None:
    scene.compute.close()
    (scene.folder / "vmoc-slivers.db").write_text("this is not a database, and long enough to be taken for one" * 20)
    with pytest.raises(StartError, match=r"vmoc-slivers\.db cannot be opened"):
        scene.start()


def test_another_handlers_file_is_used_and_what_it_orphans_is_named(scene: Scene) -> None:
    scene.create("vm1")
    path = scene.folder / "handlers.yaml"
    settings = Settings(handlers=path)
    before = scene.compute.processor.catalogue
    scene.compute.use(scene.compute.read(settings))
    assert scene.compute.processor.catalogue is before, "nothing has changed"
    path.write_text("handlers: {other: {backend: noop}}\n")
    with capture_logs() as logged:
        scene.compute.use(scene.compute.read(settings))
    assert set(scene.compute.processor.catalogue.handlers) == {"other"}
    (warning,) = [one for one in logged if one["log_level"] == "warning"]
    assert "no handler makes noop; handlers.yaml has other" in warning["event"] and warning["slivers"] == 1
