"""A real ``vmoc run`` in a process of its own, on ports of its own, gone without trace afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tests.emulation.nursery import Child, fork_vmoc
from tests.emulation.waiting import wait_until

QUICK_TIMERS = {"reconnect_first": 0.1, "reconnect_max": 0.5}
_given: deque[int] = deque(maxlen=100)
"""The ports that ``free_port`` has returned last."""


def free_port() -> int:
    """A loopback TCP port nobody uses, below the range the kernel gives to outgoing connections.

    Until somebody listens there it looks free to others too, so jobs that run side by side have ports of their own.
    """
    job = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    jobs = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for _ in range(1000):
        port = random.randrange(10000 + job, 32000, jobs)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.append(port)
                return port
    raise RuntimeError("no free port found")


def is_listening(port: int) -> bool:
    """Whether some process listens on that TCP port of this machine; asks the kernel, disturbs nobody."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def vmoc_command() -> list[str]:
    """The ``vmoc`` program that belongs to the Python that runs the tests."""
    return [sys.executable, "-c", "import sys; from vmoc.cli import main; sys.argv[0] = 'vmoc'; sys.exit(main())"]


def family(leader: int) -> list[int]:
    """The processes of a session and its leader's children in sessions of their own, the leader first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if leader in (int(entry), int(fields[1]), int(fields[3])):
                found.append(int(entry))
    return sorted(found, key=lambda pid: pid != leader)


def children(parent: int, naming: str = "") -> list[int]:
    """Children of a process, zombies too; only those whose command line has ``naming`` in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it is gone
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent and naming in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
    return sorted(found)


def resident(pid: int) -> int:
    """Proportional resident bytes: what processes share counts once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def journal_of(state: Path) -> Path:
    """The flow journal of whichever process serves the only switch: the one with something in it."""
    return max(state.parent.glob(f"{state.name}*.flows"), key=lambda path: path.stat().st_size)


class VmocProcess:
    """``config`` is merged over quiet, quick defaults; ``slices`` and further listeners come from the test.

    As a context manager it starts, and at the end terminates the process and
    asserts that its log holds no traceback.
    """

    forked: ClassVar[bool] = False
    """Start it from a nursery: the same service, half a second of CPU earlier."""

    def __init__(
        self, directory: Path, config: Mapping[str, Any] | None = None, *, options: tuple[str, ...] = ()
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.file = directory / "vmoc.yaml"
        self.log_file = directory / "vmoc.log"
        self.config: dict[str, Any] = {
            "openflow": {"listen": [{"address": "127.0.0.1", "port": self.port}]},
            "grpc": {"listen": f"127.0.0.1:{free_port()}"},
            "metrics": {"listen": f"127.0.0.1:{free_port()}"},
            "state": {"path": ":memory:"},
            "default_controller": {"mode": "none"},
            "timers": dict(QUICK_TIMERS),
        } | dict(config or {})
        self._options = options
        self._process: subprocess.Popen[bytes] | Child | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where switches dial."""
        return ("127.0.0.1", self.port)

    @property
    def metrics_port(self) -> int:
        """Where ``/metrics`` is served."""
        return int(self.config["metrics"]["listen"].rsplit(":", 1)[1])

    def write_config(self, **changes: Any) -> None:
        """Write the configuration file, with top-level keys changed."""
        self.config |= changes
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def start(self, timeout: float = 20.0) -> VmocProcess:
        """Start, and wait until every OpenFlow listener is there."""
        self.launch()
        self.wait_listening(timeout)
        return self

    def launch(self) -> None:
        """Start without waiting."""
        assert self._process is None or self._process.poll() is not None, "it is running already"
        self.write_config()
        words = ["run", "-c", str(self.file), *self._options]
        env = os.environ | {"PYTHONUNBUFFERED": "1", "HOME": str(self.directory)}
        with self.log_file.open("ab") as log:
            if self.forked:
                self._process = fork_vmoc(words, output=log.fileno(), cwd=self.directory, env=env)
                return
            self._process = subprocess.Popen(
                [*vmoc_command(), *words],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # so that its children can be found and ended with it
            )

    def wait_listening(self, timeout: float = 20.0) -> None:
        """Wait until every OpenFlow listener is there."""
        ports = [listener["port"] for listener in self.config["openflow"]["listen"]]

        def ready() -> bool:
            assert self.running, f"vmoc ended with {self.returncode}:\n{self.log()[-4000:]}"
            return all(is_listening(port) for port in ports)

        wait_until(ready, f"listeners on {ports}", timeout)

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9, and wait for the end."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, timeout: float = 15.0) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM, timeout)

    def _end(self, number: int, timeout: float) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self.signal(number)
        try:
            return self._process.wait(timeout)
        finally:
            self._sweep()

    def reload(self, **changes: Any) -> None:
        """Write a changed configuration and send SIGHUP."""
        self.write_config(**changes)
        self.signal(signal.SIGHUP)

    def _sweep(self) -> None:
        """Kill whatever is left of the session (the built-in controller, when vmoc itself was killed)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def stop(self) -> None:
        """End it, whatever its state, and check its log."""
        try:
            if self.running:
                self.terminate()
        except subprocess.TimeoutExpired:
            self._sweep()
            raise AssertionError(f"vmoc did not end within 15 s of SIGTERM:\n{self.log()[-4000:]}") from None
        finally:
            self._sweep()
        self.check_log()

    def check_log(self, start: int = 0) -> None:
        """Assert that what was logged from ``start`` on holds no traceback and no mistake of VMOC's own."""
        log = self.log()[start:]
        for sign in ("Traceback (most recent call last)", "internal error", "codec-bug"):
            assert sign not in log, f"{sign!r} in vmoc's log:\n{log}"

    def __enter__(self) -> VmocProcess:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.stop()
        except AssertionError:
            if kind is None:
                raise

    # --- looking -----------------------------------------------------------------------------------------------------

    def log(self) -> str:
        """All it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_log(self, text: str, timeout: float = 10.0) -> None:
        """Wait until the log holds ``text``."""
        wait_until(lambda: text in self.log(), f"{text!r} in the log:\n{self.log()[-2000:]}", timeout)

    def resident(self) -> int:
        """Resident memory in bytes, of all its processes."""
        return sum(map(resident, family(self.pid)))

    def cpu(self) -> float:
        """CPU seconds used so far (user and system), by all its processes."""
        every = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in family(self.pid)]
        return sum(int(fields[11]) + int(fields[12]) for fields in every) / os.sysconf("SC_CLK_TCK")
