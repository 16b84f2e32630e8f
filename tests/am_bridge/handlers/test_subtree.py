"""A program and all that it starts end together, whatever they do to hide."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from am_bridge.handlers.handler import FailureKind, Stop
from am_bridge.handlers.subtree import Ending, end_marked, find_marked, run_subtree

ROOT = Path(__file__).resolve().parents[3]
DAEMON = (  # leaves the session, forks twice, ignores SIGTERM, changes its directory
    "import os, signal, sys, time\n"
    "if os.fork(): os.wait(); sys.stdout.flush(); {after}\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.chdir('/')\n"
    "open({pid!r}, 'w').write(str(os.getpid()))\n"
    "time.sleep(300)\n"
)


@pytest.fixture
def mark() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    assert end_marked(name) == [], "something was left running"


def run(
    tmp_path: Path,
    mark: str,
    program: str,
    stop: Stop | None = None,
    lines: list[bytes] | None = None,
    weight: int = 100,
) -> Ending:
    directory = tmp_path / "run"
    directory.mkdir()
    command = [sys.executable, "-c", program]
    heard = [] if lines is None else lines
    try:
        return run_subtree(
            command,
            {"PATH": "/bin"},
            directory,
            operation=mark,
            stop=stop or Stop(),
            grace=0.2,
            weight=weight,
            line=heard.append,
        )
    finally:
        assert not directory.exists(), "its files are gone"


def read(path: Path) -> int:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return int(path.read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_its_events_and_its_output(tmp_path: Path, mark: str) -> None:
    lines: list[bytes] = []
    program = (
        "import os, sys; os.write(int(os.environ['VMOC_EVENTS_FD']), b'one\\ntwo\\n');"
        "print('out \\x1b[2J'); sys.stdout.flush(); print('err', file=sys.stderr); sys.exit(3)"
    )
    ending = run(tmp_path, mark, program, lines=lines)
    assert ending == Ending(3, ("out \\x1b[2J", "err"), False)
    assert lines == [b"one", b"two"]


def test_what_it_started_dies_with_a_failure(tmp_path: Path, mark: str) -> None:
    pid = tmp_path / "pid"
    after = f"import time\n    while not os.path.exists({str(pid)!r}): time.sleep(0.01)\n    sys.exit(1)"
    program = DAEMON.format(pid=str(pid), after="pass").replace(
        "if os.fork(): os.wait(); sys.stdout.flush(); pass", f"if os.fork():\n    os.wait(); {after}"
    )
    assert run(tmp_path, mark, program).status == 1
    assert not alive(read(pid))


def test_a_daemon_outlives_a_success_and_keeps_nobody_waiting(tmp_path: Path, mark: str) -> None:
    pid = tmp_path / "pid"
    assert run(tmp_path, mark, DAEMON.format(pid=str(pid), after="sys.exit(0)")).status == 0
    daemon = read(pid)
    assert alive(daemon), "it holds our pipes open, too"
    assert end_marked(mark) == [daemon]


def test_a_stop_ends_everything(tmp_path: Path, mark: str) -> None:
    pid, stop = tmp_path / "pid", Stop()
    after = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    program = DAEMON.format(pid=str(pid), after=after)
    threading.Thread(target=lambda: (read(pid), stop.set(FailureKind.STOPPED))).start()
    ending = run(tmp_path, mark, program, stop)
    assert ending.status == 128 + signal.SIGTERM
    assert not alive(read(pid))


def test_a_flood_is_stopped_and_not_kept(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("am_bridge.handlers.subtree.MAX_OUTPUT", 1 << 20)
    ending = run(tmp_path, mark, "while True: print('x' * 10000)")
    assert ending.flooded and ending.status != 0
    assert len(ending.output) <= 41 and max(map(len, ending.output)) <= 2000


def test_an_endless_event_is_dropped(tmp_path: Path, mark: str) -> None:
    lines: list[bytes] = []
    program = (
        "import os; fd = int(os.environ['VMOC_EVENTS_FD'])\n"
        "for _ in range(64): os.write(fd, b'x' * 65536)\n"
        "os.write(fd, b'\\nshort\\n')"
    )
    assert run(tmp_path, mark, program, lines=lines).status == 0
    assert lines == [b"short"]


def test_a_program_that_is_not_there(tmp_path: Path, mark: str) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    ending = run_subtree(
        ["/no/such"], {}, directory, operation=mark, stop=Stop(), grace=0.1, weight=100, line=lambda line: None
    )
    assert ending.status == 127 and "cannot be run" in ending.output[0]


def test_when_the_service_is_killed_nothing_is_left(tmp_path: Path, mark: str) -> None:
    pid, directory = tmp_path / "pid", tmp_path / "run"
    directory.mkdir()
    (directory / "secret").write_text("x")
    program = DAEMON.format(pid=str(pid), after="time.sleep(300)")
    service = (
        "import sys; from pathlib import Path\n"
        "from am_bridge.handlers.handler import Stop\nfrom am_bridge.handlers.subtree import run_subtree\n"
        f"run_subtree([sys.executable, '-c', {program!r}], {{}}, Path({str(directory)!r}), operation={mark!r},"
        " stop=Stop(), grace=0.2, weight=100, line=print)\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", service], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    daemon = read(pid)
    victim.kill()
    victim.wait()
    deadline = time.monotonic() + 10
    while alive(daemon) or directory.exists() or find_marked(mark):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_when_the_warden_is_killed_too_the_mark_finds_the_rest(tmp_path: Path, mark: str) -> None:
    pid = tmp_path / "pid"
    program = DAEMON.format(pid=str(pid), after="pass").replace(
        "os.wait(); sys.stdout.flush(); pass",
        f"""
    while not os.path.exists({str(pid)!r}): time.sleep(0.01)
    os.kill(os.getppid(), signal.SIGKILL); time.sleep(300)""",
    )
    directory = tmp_path / "run"
    directory.mkdir()
    ending = run_subtree(
        [sys.executable, "-c", program],
        {},
        directory,
        operation=mark,
        stop=Stop(),
        grace=0.1,
        weight=100,
        line=lambda line: None,
    )
    assert ending.status == 128 + signal.SIGKILL
    assert not alive(read(pid))


def test_it_makes_way_for_others_and_what_it_leaves_does_not(tmp_path: Path, mark: str) -> None:
    """Where the host has control groups for processors, and lets us; else there is nothing to see but niceness."""
    pid, seen = tmp_path / "pid", tmp_path / "seen"
    look = f"import shutil; shutil.copy('/proc/self/cgroup', {str(seen)!r}); assert os.nice(0) == 10"
    assert run(tmp_path, mark, DAEMON.format(pid=str(pid), after=f"{look}; sys.exit(0)"), weight=50).status == 0
    ours = Path("/proc/self/cgroup").read_text().splitlines()
    inside = [line for line in seen.read_text().splitlines() if line not in ours]
    assert all(line.endswith(":/vmoc-runs") for line in inside) and len(inside) <= 1
    assert Path(f"/proc/{read(pid)}/cgroup").read_text().splitlines() == ours
    if os.geteuid() == 0 and os.access("/sys/fs/cgroup/cpu/cgroup.procs", os.W_OK):
        assert len(inside) == 1
    assert end_marked(mark) == [read(pid)]
