"""Runs a program so that nothing it ever started outlives it: a script of its own, standard library only.

``python warden.py GRACE WEIGHT DIRECTORY PROGRAM ARGUMENT...``

As a child subreaper it inherits whatever daemonises below it, so that even a
process that left the session and forked twice is found. It ends everything
(SIGTERM, after GRACE seconds SIGKILL) when its standard input ends, which it
also does when the service is killed, on SIGTERM, and when the program fails.
After a success, daemons live on: a sliver may be made of them. DIRECTORY, which
holds the run's secrets, is removed in any case. The exit status is the
program's, or 128 and the signal that ended it.

All of it together has WEIGHT of 100 of a busy CPU, in a control group where the
host has them for processors. Being nice alone is not enough: Linux groups
processes by session (autogroup), and who begins a new one, as Ansible does, is
in a group that is as heavy as any other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_NICE = 10
_GROUP = "vmoc-runs"


def main(arguments: list[str]) -> int:
    """See the module."""
    grace, weight, directory, command = float(arguments[0]), int(arguments[1]), arguments[2], arguments[3:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.stderr.write("warden: cannot become a subreaper\n")
        return 125
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    home = _enter_group(weight)
    try:
        status = _run(command, grace, wake, stops)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if home:
            _leave_group(home)
    return status


def _enter_group(weight: int) -> tuple[str, str] | None:
    """(our group, the one we were in); None where there are none for us, or nothing to gain."""
    if weight >= 100:
        return None
    for root, limit, amount in _hierarchies(weight):
        group = os.path.join(root, _GROUP)
        for _ in range(3):  # whoever ends meanwhile removes it
            with contextlib.suppress(OSError):
                home = os.path.join(root, _home(root).lstrip("/"))
                os.makedirs(group, exist_ok=True)
                _write(os.path.join(group, limit), amount)
                _write(os.path.join(group, "cgroup.procs"), "0")
                return group, home
        with contextlib.suppress(OSError):
            os.rmdir(group)
    return None


def _hierarchies(weight: int) -> list[tuple[str, str, str]]:
    """Where processors are shared out: the mounted root, the file of a group's weight, and what is to be in it."""
    found = []
    with contextlib.suppress(OSError), open("/proc/self/mounts") as file:
        for line in file:
            _, root, kind, options, *_ = line.split()
            if kind == "cgroup" and "cpu" in options.split(","):
                found.append((root, "cpu.shares", str(max(2, weight * 1024 // 100))))
            elif kind == "cgroup2":
                with contextlib.suppress(OSError):
                    _write(os.path.join(root, "cgroup.subtree_control"), "+cpu")
                    found.append((root, "cpu.weight", str(weight)))
    return found


def _home(root: str) -> str:
    """The group of this process in the hierarchy of that root."""
    old = os.path.exists(os.path.join(root, "cpu.shares"))
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if ("cpu" in controllers.split(",")) if old else controllers == "":
                return path
    raise FileNotFoundError(root)


def _leave_group(home: tuple[str, str]) -> None:
    """What lives on, a sliver's daemons, has its CPU as anybody; an empty group goes."""
    group, before = home
    with contextlib.suppress(OSError), open(os.path.join(group, "cgroup.procs")) as file:
        ours = {os.getpid(), *descendants(os.getpid())}
        for pid in ours & {int(line) for line in file}:
            with contextlib.suppress(OSError):
                _write(os.path.join(before, "cgroup.procs"), str(pid))
    with contextlib.suppress(OSError):
        os.rmdir(group)


def _write(path: str, text: str) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(number, text.encode())
    finally:
        os.close(number)


def _run(command: list[str], grace: float, wake: int, stops: list[int]) -> int:
    child = os.fork()
    if child == 0:
        _become(command)
    status: int | None = None
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while status is None:
        ready = {fd for fd, _ in poll.poll()}
        if wake in ready:
            os.read(wake, 4096)
        status = _reap().get(child)
        if stops or (0 in ready and not os.read(0, 4096)):
            break
    if status != 0:
        _end(grace)
    if status is None:
        return 128 + signal.SIGTERM
    return status if status >= 0 else 128 - status


def _become(command: list[str]) -> None:
    """In the child: a session of its own, nothing to read, then the program."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode())
    os._exit(127)


def _reap() -> dict[int, int]:
    """Exit statuses of the children that ended, negative for signals."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def _end(grace: float) -> None:
    """End every descendant, however it hid."""
    killing = time.monotonic() + grace
    asked: set[int] = set()
    while True:
        _reap()
        left = descendants(os.getpid())
        if not left:
            return
        late = time.monotonic() >= killing
        for pid in left:
            if late or pid not in asked:
                asked.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                    os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def descendants(root: int) -> list[int]:
    """Living processes below ``root``, zombies excepted."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                children.setdefault(int(parent), []).append(int(name))
                if state in (b"Z", b"X"):
                    zombies.add(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found += [pid for pid in below if pid not in zombies]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
