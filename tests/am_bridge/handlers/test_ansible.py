"""Playbooks as a handler's verbs: what they are told, what they may say, and that text stays text."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from am_bridge.handlers.ansible import AnsibleHandler
from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerResult,
    Host,
    Progress,
    Run,
    SliverState,
    Stop,
)
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.spec import SliverSpec
from am_bridge.handlers.subtree import end_marked
from am_bridge.handlers.variables import quote, to_unsafe_yaml

HEAD = "- name: A play\n  hosts: vmoc_target\n  gather_facts: false\n  tasks:\n"
ANSWER = """
    - name: Answer
      ansible.builtin.set_stats:
        per_host: false
        data:
          vmoc_result: {state: ready, instance: i-1, facts: {echo: "{{ vmoc }}", place: "{{ place | default('') }}"}}
"""
OPERATION = uuid.uuid4().hex  # each test process has its own


class World:
    """A handler for one playbook, and what it reported."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "runs"
        self.folder.mkdir()
        self.path = tmp_path / "book.yml"
        self.progress: list[Progress] = []
        self.stop = Stop()

    def create(self, tasks: str, spec: SliverSpec | None = None, **host: Any) -> HandlerResult:
        self.path.write_text(HEAD + tasks)
        config = HandlerConfig("T", "ansible", Limits({"default": 60.0}, {}), {"create": self.path})
        run = Run(OPERATION, 1, 60.0, Host("node1", "", host), self.stop, self.progress.append, grace=0.3)
        try:
            return AnsibleHandler(config, self.folder).create(run, spec or SliverSpec("alice", "vm1", "T"))
        finally:
            assert list(self.folder.iterdir()) == [], "the run's files are removed"
            assert end_marked(OPERATION) == [], "the run's processes are gone"

    def fails(self, tasks: str) -> HandlerError:
        with pytest.raises(HandlerError) as caught:
            self.create(tasks)
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def hostile(path: Path) -> dict[str, str]:
    """Texts that want to be more than texts; each would make the file ``path``."""
    touch = f"touch {path}"
    return {
        "jinja": "{{ lookup('pipe', '" + touch + "') }}",
        "statement": "{% for x in [1] %}{{ lookup('ansible.builtin.pipe', '" + touch + "') }}{% endfor %}",
        "shell": f"'; {touch}; echo \"$({touch})` {touch}`\n{touch}",
        "yaml": f'x: !!python/object/apply:os.system ["{touch}"]\n- !unsafe {{}}\n"\\',
        "tag": "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3030",
        "ansi": "\x1b]0;title\x07\x1b[2J\r\b",
        "unicode": "ü 漢字 \U0001f600 \u202e\u2028\ufeff\x85",
        "nul": "a\0b",
        "long": "x" * 65536,
        "boolean": "true",
        "number": "0012",
        "nothing": "",
        "null": "null",
        "date": "2026-01-01",
        "list": "[1, 2]",
        "json": '{"a": 1}',
        "{{ lookup('pipe', '" + touch + "') }}": "as a key",
        "': {a: b}, ? \n": "another key",
    }


def test_hostile_texts_arrive_as_they_are(world: World, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    texts = hostile(trap)
    properties = {"texts": texts, "list": list(texts.values()), "numbers": [1, 2.5, True, None]}
    spec = SliverSpec("alice", "vm1", "T", commands=tuple(texts.values()), properties=properties)
    result = world.create(ANSWER, spec, place="{{ 6 * 7 }}")
    told = result.facts["echo"]["spec"]
    assert told["properties"] == properties
    assert told["commands"] == list(texts.values())
    assert result.facts["place"] == 42, "the operator's own variables may be templates"
    assert not trap.exists()
    assert (result.state, result.instance) == (SliverState.READY, "i-1")


def test_hostile_texts_in_every_sort_of_task(world: World, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    tasks = """
    - name: "{{ item }}"
      ansible.builtin.command: {argv: [printf, "%s", "{{ item }}"]}
      loop: "{{ vmoc.spec.commands }}"
      loop_control: {label: "{{ item }}"}
    - name: Debug
      ansible.builtin.debug: {msg: "{{ vmoc.spec.commands | join(' ') }}"}
    - name: Keep
      ansible.builtin.set_fact: {again: "{{ vmoc.spec.commands }}"}
    - name: Use what was kept
      ansible.builtin.debug: {msg: "{{ again[0] }}"}
"""
    texts = [text for name, text in hostile(trap).items() if name in ("jinja", "statement", "shell", "ansi", "yaml")]
    world.create(tasks + ANSWER, SliverSpec("alice", "vm1", "T", commands=tuple(texts)))
    assert not trap.exists()
    assert all(one.text.isprintable() and one.task.isprintable() for one in world.progress)


@pytest.mark.parametrize(
    "text", ["", "a", "{{ x }}", '"\\', "\0\x1b\x85\u2028\ufeff\U0001f600", "!unsafe", "\n  - a: b"]
)
def test_a_quoted_text_is_read_back(text: str) -> None:
    assert yaml.safe_load(quote(text)) == text
    assert to_unsafe_yaml({"v": text}).startswith("v: !unsafe ")


def test_events_are_told_as_they_happen(world: World) -> None:
    tasks = """
    - name: One
      ansible.builtin.command: "true"
    - name: Skipped
      ansible.builtin.command: "true"
      when: false
    - name: Ignored
      ansible.builtin.command: "false"
      ignore_errors: true
"""
    world.create(tasks + ANSWER)
    told = [(one.kind, one.task) for one in world.progress if one.kind != "task"]
    assert told == [
        ("play", ""),
        ("changed", "One"),
        ("skipped", "Skipped"),
        ("ignored", "Ignored"),
        ("ok", "Answer"),
    ]


def test_a_failing_task_is_named(world: World) -> None:
    error = world.fails("    - name: Break\n      ansible.builtin.command: {argv: [sh, -c, 'echo why >&2; exit 7']}\n")
    failure = error.failure
    assert (failure.kind, failure.task, failure.host, failure.rc) == (FailureKind.TASK, "Break", "node1", 7)
    assert failure.playbook == "book.yml" and "why" in failure.message


def test_what_no_log_hides_stays_hidden(world: World) -> None:
    tasks = """
    - name: Quiet
      ansible.builtin.command: {argv: [sh, -c, 'echo hunter2 >&2; exit 1']}
      no_log: true
"""
    error = world.fails(tasks)
    assert error.failure.task == "Quiet"
    assert "hunter2" not in f"{error.failure} {world.progress}"


@pytest.mark.parametrize(
    ("tasks", "kind", "message"),
    [
        ("    - name: x\n      no.such.module: {}\n", FailureKind.CRASHED, "ansible-playbook failed"),
        ("    - name: x\n   broken", FailureKind.CRASHED, "ansible-playbook failed"),
        ("    - ansible.builtin.debug: {msg: fine}\n", FailureKind.CRASHED, "without set_stats"),
        (ANSWER.replace("state: ready", "state: happy"), FailureKind.CRASHED, r"vmoc_result\.state must be one of"),
        (ANSWER.replace("instance: i-1", "wibble: 1"), FailureKind.CRASHED, r"vmoc_result\.wibble is unknown"),
    ],
)
def test_a_playbook_that_is_wrong(world: World, tasks: str, kind: FailureKind, message: str) -> None:
    failure = world.fails(tasks).failure
    assert failure.kind is kind
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failure.message)


def test_an_unreachable_host(world: World) -> None:
    with pytest.raises(HandlerError) as caught:
        world.create(
            "    - ansible.builtin.ping:\n", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1
        )
    assert caught.value.failure.kind in (FailureKind.UNREACHABLE, FailureKind.CRASHED)
    assert caught.value.failure.host == "node1"


def test_a_stopped_playbook_leaves_neither_module_nor_daemon(world: World, tmp_path: Path) -> None:
    began = tmp_path / "began"
    tasks = f"""
    - name: Hang
      ansible.builtin.shell: "(setsid sh -c 'trap : TERM; touch {began}; while :; do sleep 1; done' &) ; sleep 300"
"""
    threading.Thread(target=until(began.exists, lambda: world.stop.set(FailureKind.TIMEOUT))).start()
    failure = world.fails(tasks).failure
    assert failure.kind is FailureKind.TIMEOUT and failure.message == "it took longer than 60 s"


def until(condition: Callable[[], bool], then: Callable[[], None]) -> Callable[[], None]:
    def watch() -> None:
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        then()

    return watch


def test_the_users_configuration_and_environment_play_no_part(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/nonexistent/ansible.cfg")
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("HUNTER", "hunter2")
    tasks = "    - name: Look\n      ansible.builtin.command: env\n      register: seen\n"
    answer = ANSWER.replace("{{ vmoc }}", "{{ seen.stdout_lines }}")
    seen = world.create(tasks + answer).facts["echo"]
    assert "HUNTER=hunter2" not in seen and f"VMOC_OPERATION={OPERATION}" in seen
    assert not any(one.startswith("HOME=" + os.environ["HOME"]) for one in seen)
