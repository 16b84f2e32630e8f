"""The handler of docs/handlers.md, "A handler in ten minutes", as it stands there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.handler import FailureKind, SliverState
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.spec import SliverKey, SpecError

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "handlers.md"
KEY = SliverKey("alice", "space")
WAIT = 120.0


def document(note: str) -> dict[str, object]:
    return {"slice_id": "alice", "sliver_id": "space", "resource_type": "Scratch", "properties": {"note": note}}


@pytest.fixture
def processor(tmp_path: Path) -> Iterator[Processor]:
    (tmp_path / "root").mkdir()
    section = GUIDE.read_text().partition("## A handler in ten minutes")[2].partition("\n## ")[0]
    files = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", section, re.DOTALL))
    assert set(files) == {"scratch.yml", "handlers.yaml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("/srv/scratch", str(tmp_path / "root")))
    # Runs give way to everything else; here that is the other tests.
    catalogue = replace(read_catalogue(tmp_path / "handlers.yaml"), cpu_weight=100)
    one = Processor(catalogue, SqliteJournal(":memory:"))
    one.start()
    yield one
    one.close()


def ended(processor: Processor, operation: Operation) -> Operation:
    done = processor.wait(operation.id, WAIT)
    assert done.state is OperationState.SUCCEEDED, done.failure
    return done


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_its_life(processor: Processor, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    note = "{{ lookup('pipe', 'touch " + str(trap) + "') }} $(touch " + str(trap) + ")"
    ended(processor, processor.create(document(note)))
    sliver = processor.sliver(KEY)
    assert sliver.result is not None and sliver.result.state is SliverState.READY
    (folder,) = (tmp_path / "root").iterdir()
    assert sliver.result.instance == str(folder) and (folder / "note").read_text() == note and not trap.exists()

    ended(processor, processor.modify(document("another")))
    assert (folder / "note").read_text() == "another"
    ended(processor, processor.delete(KEY))
    assert list((tmp_path / "root").iterdir()) == [] and processor.slivers() == []


def test_what_its_schema_refuses(processor: Processor) -> None:
    with pytest.raises(SpecError, match="note"):
        processor.create(document("x" * 1001))
    with pytest.raises(SpecError, match="note"):
        processor.create({**document(""), "properties": {}})


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_failing_task_is_named_and_nothing_is_left(processor: Processor, tmp_path: Path) -> None:
    in_the_way = tmp_path / "root" / hashlib.sha256(b"alice/space").hexdigest()[:16]
    in_the_way.write_text("")
    done = processor.wait(processor.create(document("x")).id, WAIT)
    assert done.state is OperationState.FAILED and done.failure is not None
    assert done.failure.kind is FailureKind.TASK and done.failure.task == "Make the folder"
    assert (done.failure.playbook, done.failure.host) == ("scratch.yml", "here")
    assert processor.slivers() == [] and not in_the_way.exists()
