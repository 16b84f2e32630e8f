"""Playbooks that fail at any task, hang, flood, lie and die, run by the processor: nothing of them is left unlisted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.ansible import AnsibleHandler, run_folder
from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.handler import FailureKind, Host, SliverState
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.spec import SliverKey
from am_bridge.handlers.subtree import find_marked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WAIT = 200.0
KEY = SliverKey("alice", "vm1")
DOCUMENT = {"slice_id": "alice", "sliver_id": "vm1", "resource_type": "T"}
HEAD = "- name: A play\n  hosts: vmoc_target\n  gather_facts: false\n  tasks:\n"
BOOK = (
    HEAD
    + """
    - name: Make the parts
      ansible.builtin.command:
        argv: "{{ ['false'] if item == breaks else ['touch', place ~ '/' ~ item] }}"
      loop: [one, two, three]
      when: vmoc.verb == 'create'
    - name: Remove
      ansible.builtin.file: {path: "{{ place }}/{{ item }}", state: absent}
      loop: "{{ [] if vmoc.verb == 'create' else ['one', 'two', 'three'] | difference(stuck) }}"
    - name: Answer
      ansible.builtin.set_stats:
        per_host: false
        data:
          vmoc_result:
            state: "{{ 'ready' if vmoc.verb == 'create' else 'failed' if stuck else 'absent' }}"
            leftovers: "{{ [] if vmoc.verb == 'create' else stuck | map('regex_replace', '^', 'file:') | list }}"
"""
)
"""A create makes three files, but ``breaks`` fails; a delete removes all but those that are ``stuck``."""
DELETED = """
    - name: Answer
      ansible.builtin.set_stats: {per_host: false, data: {vmoc_result: {state: absent}}}
"""


class World:
    """A processor with one type, whose create is the test's playbook, and its delete as well or one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "place"
        self.place.mkdir()
        self.processor: Processor | None = None

    def start(self, create: str, delete: str = "", time_limit: float = 150.0, **variables: Any) -> Processor:
        for name, text in (("create.yml", create), ("delete.yml", delete or create)):
            (self.folder / name).write_text(text)
        playbooks = {verb: self.folder / f"{verb}.yml" for verb in ("create", "delete")}
        limits = Limits({"default": 150.0, "create": time_limit}, {})
        config = HandlerConfig("T", "ansible", limits, playbooks, variables={"place": str(self.place), **variables})
        catalogue = Catalogue({"T": config}, {"h1": Host("h1")}, workers=1, queue=10, stop_grace=0.5)
        factory = {"ansible": AnsibleHandler}
        self.processor = Processor(catalogue, SqliteJournal(":memory:"), factory)
        self.processor.start()
        return self.processor

    def create(self) -> Operation:
        assert self.processor is not None
        return self.processor.wait(self.processor.create(DOCUMENT).id, WAIT)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    assert one.processor is not None
    one.processor.close()
    for operation in one.processor.operations():
        assert find_marked(operation.id) == [], "a process of it lives"
        assert list(run_folder().glob(f"vmoc-run-{operation.id}-*")) == [], "a file of it is left"


def test_a_task_that_fails_half_way_is_undone(world: World) -> None:
    processor = world.start(BOOK, breaks="two", stuck=[])
    ended = world.create()
    assert ended.state is OperationState.FAILED and ended.failure is not None
    assert (ended.failure.kind, ended.failure.host) == (FailureKind.TASK, "h1")
    assert ended.failure.task == "Make the parts"
    assert processor.slivers() == [] and list(world.place.iterdir()) == []


def test_what_an_undo_cannot_remove_is_listed(world: World) -> None:
    processor = world.start(BOOK, breaks="three", stuck=["two"])
    ended = world.create()
    assert ended.state is OperationState.FAILED
    assert ended.leftovers == ("file:two",)
    sliver = processor.sliver(KEY)
    assert sliver.state is SliverState.FAILED and sliver.leftovers == ("file:two",)
    assert [one.name for one in world.place.iterdir()] == ["two"]


def test_one_that_hangs_is_ended_at_its_time_limit(world: World) -> None:
    tasks = "    - name: Hang\n      ansible.builtin.command: {argv: [sleep, '600']}\n"
    world.start(HEAD + tasks + DELETED, HEAD + DELETED, time_limit=3.0)
    ended = world.create()
    assert ended.failure is not None and ended.failure.kind is FailureKind.TIMEOUT
    assert ended.failure.message == "it took longer than 3 s"


FLOODS = {
    "a module": "ansible.builtin.command: {argv: [sh, -c, 'head -c 3000000 /dev/zero | tr \"\\\\0\" x; exit 3']}",
    "a debug task": "ansible.builtin.debug: {msg: \"{{ 'x' * 3000000 }}\"}\n      failed_when: true",
    "an answer": "ansible.builtin.set_stats: {per_host: false, data: {vmoc_result: \"{{ 'x' * 3000000 }}\"}}",
}


@pytest.mark.parametrize("what", sorted(FLOODS))
def test_megabytes_are_not_kept(world: World, what: str) -> None:
    processor = world.start(HEAD + f"    - name: Flood\n      {FLOODS[what]}\n", HEAD + DELETED)
    ended = world.create()
    assert ended.state is OperationState.FAILED and ended.failure is not None
    kept = len(str(ended)) + sum(len(str(event)) for event in processor.events(ended.id)[0])
    assert kept < 200_000 and ended.failure.message


def when_it_runs(mark: Path, then: Callable[[], None]) -> None:
    deadline = time.monotonic() + WAIT
    while not mark.exists():
        assert time.monotonic() < deadline, "the playbook did not get there"
        time.sleep(0.02)
    then()


def part_of_a_run(words: list[bytes]) -> str:
    if any(one.endswith(b"warden.py") for one in words):
        return "warden"
    return "ansible" if b"playbook" in words else "module" if words[0] in (b"sh", b"sleep") else ""


@pytest.mark.parametrize("victim", ["ansible", "module", "warden"])
def test_one_that_is_killed_is_undone(world: World, victim: str) -> None:
    mark = world.folder / "began"
    tasks = f"    - name: Hang\n      ansible.builtin.command: {{argv: [sh, -c, 'touch {mark}; sleep 600 & wait']}}\n"
    processor = world.start(HEAD + tasks, HEAD + DELETED)
    operation = processor.create(DOCUMENT).id

    def kill() -> None:
        for pid in find_marked(operation):
            with suppress(OSError):
                if part_of_a_run(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")) == victim:
                    os.kill(pid, signal.SIGKILL)

    when_it_runs(mark, kill)
    ended = processor.wait(operation, WAIT)
    assert ended.state is OperationState.FAILED and ended.failure is not None
    kinds = {"module": FailureKind.TASK}
    assert ended.failure.kind is kinds.get(victim, FailureKind.CRASHED), ended.failure
    assert processor.slivers() == []


def test_a_full_disk_under_the_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for a run's files: that is said, and the next one does not suffer."""
    processor = world.start(HEAD + DELETED.replace("absent", "ready"), HEAD + DELETED)
    real = Path("/dev/full")
    opened = os.open

    def full(path: Any, *more: Any, **keys: Any) -> int:
        return opened(real, os.O_WRONLY) if str(path).endswith("vars.yml") else opened(path, *more, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        ended = world.create()
    assert ended.failure is not None and "No space left" in ended.failure.message
    assert processor.sliver(KEY).state is SliverState.FAILED, "its undo had no room either, so it stays to be deleted"
    assert processor.wait(processor.delete(KEY).id, WAIT).state is OperationState.SUCCEEDED
    assert processor.slivers() == [] and world.create().state is OperationState.SUCCEEDED


def test_an_unreachable_host_is_said_to_be(world: World) -> None:
    processor = world.start(
        HEAD + "    - ansible.builtin.ping:\n",
        ansible_connection="ssh",
        ansible_host="127.0.0.1",
        ansible_port=1,
    )
    ended = world.create()
    assert ended.failure is not None and ended.failure.kind is FailureKind.UNREACHABLE and ended.failure.host == "h1"
    # Whether anything was made nobody can know: the sliver stays, to be deleted when the host is back.
    sliver = processor.sliver(KEY)
    assert sliver.state is SliverState.FAILED
