"""A forked ``vmoc`` is what one started as a program would be, and outlives nobody."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.emulation import VmocProcess
from tests.emulation.forking import MOST
from tests.emulation.nursery import Child, Nursery, fork_vmoc
from tests.emulation.process import free_port, is_listening
from tests.emulation.waiting import wait_until
from vmoc import native


@pytest.fixture
def own() -> Iterator[Nursery]:
    nursery = Nursery(None)
    yield nursery
    nursery.close()


def said(words: list[str], log: Path, **env: str) -> tuple[int, str]:
    """Its exit status and what it said, run in the log's folder."""
    with log.open("wb") as sink:
        child = fork_vmoc(words, output=sink.fileno(), cwd=log.parent, env=os.environ | env)
    return child.wait(30), log.read_text()


def running(nursery: Nursery, folder: Path) -> Child:
    """A service that serves."""
    port = free_port()
    settings = {"openflow": {"listen": [{"address": "127.0.0.1", "port": port}]}, "state": {"path": ":memory:"}}
    (folder / "vmoc.yaml").write_text(json.dumps(settings | {"grpc": {"listen": f"127.0.0.1:{free_port()}"}}))
    env: Mapping[str, str] = os.environ | {"VMOC_WORKERS": "1"}
    with (folder / "vmoc.log").open("wb") as log:
        child = nursery.start(["run", "-c", "vmoc.yaml"], output=log.fileno(), cwd=folder, env=env)
    wait_until(lambda: is_listening(port) or child.poll() is not None, "it to listen", timeout=30)
    assert child.poll() is None, (folder / "vmoc.log").read_text()
    return child


def ends(descriptor: int) -> bool:
    """Whether the process behind it ends, within 10 s."""
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    ended = bool(watch.poll(10_000))
    os.close(descriptor)
    return ended


def test_its_exit_status_and_words_are_vmocs(tmp_path: Path) -> None:
    status, text = said(["config", "nonsense"], tmp_path / "log")
    assert status == 2 and "No such command 'nonsense'" in text


def test_it_has_the_folder_and_the_environment_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text("{}")
    assert said(["config", "check", "here.yaml"], tmp_path / "log")[0] == 0
    assert said(["config", "check", "elsewhere.yaml"], tmp_path / "log")[0] != 0
    status, text = said(["run", "-c", "here.yaml"], tmp_path / "log", VMOC_WORKERS="nonsense")
    assert status == 2 and "nonsense is neither" in text


@pytest.mark.parametrize("form", ["0", "1"])
def test_it_runs_in_the_form_that_is_asked_for(tmp_path: Path, form: str) -> None:
    env = {**os.environ, native.SWITCH: form}
    installed = Path(sys.executable).with_name("vmoc")
    program = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True, env=env)
    assert said(["--version"], tmp_path / "log", **{native.SWITCH: form}) == (0, program.stdout)


def test_signals_reach_it_and_its_end_is_told(own: Nursery, tmp_path: Path) -> None:
    child = running(own, tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    child.terminate()
    assert child.wait(20) == 0
    child.kill()  # harmless
    assert child.returncode == child.poll() == 0
    other = running(own, tmp_path)
    other.kill()
    assert other.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("way", ["asked to", "killed"])
def test_it_goes_when_its_nursery_does(own: Nursery, tmp_path: Path, way: str) -> None:
    """What a killed pytest leaves: the nursery reads that nobody asks any more, and the kernel ends its children."""
    descriptor = os.pidfd_open(running(own, tmp_path).pid)
    if way == "killed":
        os.kill(own.pid, signal.SIGKILL)
    else:
        own.close()
    assert ends(descriptor)
    with pytest.raises((AssertionError, OSError)):
        own.ask(reap=1)


def test_a_request_that_does_not_fit_harms_nobody(own: Nursery, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as sink, pytest.raises(ValueError, match="environment is too large"):
        own.start(["--version"], output=sink.fileno(), cwd=None, env={"LONG": "x" * MOST})
    with (tmp_path / "log").open("wb") as sink:
        assert own.start(["--version"], output=sink.fileno(), cwd=None, env=os.environ).wait(10) == 0


def test_tests_start_theirs_so() -> None:
    assert VmocProcess.forked
