"""``vmoc run`` as a process: starting, refusing to start, signals, what it shows, and what it leaves behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from tests.emulation.process import children
from tests.emulation.waiting import wait_until
from tests.vmoc.net.stage import Authority
from vmoc.model import Origin, Segment, Slice
from vmoc.store import SqliteStore, StoredSlice
from vmoc.v1 import server_pb2, server_pb2_grpc, slivers_pb2, slivers_pb2_grpc

PROGRAM = [sys.executable, "-c", "import sys; from vmoc.cli import main; sys.exit(main())"]
HELLO = bytes.fromhex("0400000800000001")
NEEDY = [{"id": "alice", "segments": [{"vlan": 101}]}]


class Run:
    """One ``vmoc run`` on ports of the system's choosing, its JSON log read as it comes."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None, **config: Any) -> None:
        self.file = folder / "vmoc.yaml"
        self.config: dict[str, Any] = {
            "openflow": {"listen": [{"address": "127.0.0.1", "port": 0}]},
            "grpc": {"listen": "127.0.0.1:0"},
            "metrics": {"listen": "127.0.0.1:0"},
            "state": {"path": ":memory:"},
            "default_controller": {"mode": "none"},
        } | config
        self.write()
        self.entries: list[dict[str, Any]] = []
        self.others: list[str] = []
        self.process = subprocess.Popen(
            [*PROGRAM, "run", "-c", str(self.file), "--log-format", "json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, **config: Any) -> None:
        self.config |= config
        self.file.write_text(yaml.safe_dump(self.config))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.entries.append(json.loads(line))
            except ValueError:
                self.others.append(line.rstrip("\n"))

    def wait_for(self, words: str, count: int = 1) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            hits = [entry for entry in list(self.entries) if words in str(entry["event"])]
            if len(hits) >= count:
                return hits[count - 1]
            assert self.process.poll() is None or self._reader.is_alive(), f"it ended: {self.others} {self.entries}"
            return None

        hit = wait_until(found, f"{words!r} in {self.others} {self.entries}", timeout=30)
        assert hit is not None
        return hit

    def port(self, which: int = 1) -> int:
        return int(self.wait_for("switches connect to", which)["address"].rpartition(":")[2])

    def get(self, path: str) -> tuple[int, str]:
        port = int(self.wait_for("metrics are at")["address"].rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def ready(self) -> None:
        self.wait_for("experimenters' controllers are dialled")
        wait_until(lambda: self.get("/readyz")[0] == 200, "readiness")

    def end(self, number: int = signal.SIGTERM, timeout: float = 15) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()
        assert not [line for line in self.others if "Traceback" in line], self.others
        return code


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[Run] = []

    def start(*arguments: str, **config: Any) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, *arguments, **config))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _controllers(pid: int) -> list[int]:
    """The built-in default controller, which is a child as the workers are."""
    return children(pid, "learning_switch")


def test_it_serves_says_so_and_drains(start: Start) -> None:
    run = start()
    run.ready()
    with socket.create_connection(("127.0.0.1", run.port())) as switch:
        switch.settimeout(10)
        switch.sendall(HELLO)
        assert switch.recv(2)[1] == 0  # OFPT_HELLO comes back
        status, text = run.get("/metrics")
        assert status == 200
        assert "vmoc_up 1.0" in text
        assert 'vmoc_connections{side="south"} 1.0' in text
        began = time.monotonic()
        assert run.end() == 0
        assert time.monotonic() - began < 5
    assert run.entries[-1]["event"] == "stopped"
    assert not run.others


def test_ctrl_c_drains_too(start: Start) -> None:
    run = start()
    run.ready()
    assert run.end(signal.SIGINT) == 0


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    run = start()
    run.ready()
    # A switch that neither reads nor closes holds the drain up to its limit.
    with socket.create_connection(("127.0.0.1", run.port())):
        wait_until(lambda: 'vmoc_connections{side="south"} 1.0' in run.get("/metrics")[1], "the switch")
        run.process.send_signal(signal.SIGTERM)
        run.wait_for("draining")
        assert run.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_systemd_hears_of_readiness_and_of_the_end(tmp_path: Path, start: Start) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        run = start(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert systemd.recv(100) == b"READY=1"
        run.process.send_signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"
        assert run.process.wait(15) == 0


@pytest.mark.parametrize("key", ["openflow.listen", "grpc.listen", "metrics.listen"])
def test_a_port_in_use_is_one_sentence_and_exit_code_1(start: Start, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = {
            "openflow.listen": {"openflow": {"listen": [{"address": "127.0.0.1", "port": port}]}},
            "grpc.listen": {"grpc": {"listen": f"127.0.0.1:{port}"}},
            "metrics.listen": {"metrics": {"listen": f"127.0.0.1:{port}"}},
        }[key]
        run = start(**config)
        assert run.process.wait(30) == 1
        run.end()
        assert len(run.others) == 1
        assert run.others[0].startswith(
            f"vmoc: cannot listen on 127.0.0.1:{port}: the port is in use by process {os.getpid()} ("
        )
        assert run.others[0].endswith(f"change {key}")


def test_the_api_answers_while_it_runs_and_goes_with_it(start: Start) -> None:
    run = start(slices=NEEDY)
    address = run.wait_for("the API is at ")["address"]
    with grpc.insecure_channel(address) as channel:
        info = server_pb2_grpc.ServerServiceStub(channel).GetServerInfo(
            server_pb2.GetServerInfoRequest(), wait_for_ready=True, timeout=10
        )
        assert info.counts.slice_count == 1 and info.caller.name == "local"
        assert run.end() == 0
        with pytest.raises(grpc.RpcError) as caught:
            server_pb2_grpc.ServerServiceStub(channel).GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_unusable_certificates_are_one_sentence_and_exit_code_2(start: Start, authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    files = {"cert": one.cert, "key": two.key, "ca": one.ca}
    run = start(openflow={"listen": [{"address": "127.0.0.1", "port": 0, "tls": True}], "tls": files})
    assert run.process.wait(30) == 2
    run.end()
    assert len(run.others) == 1
    assert "is not the key of" in run.others[0]


def test_an_application_that_cannot_be_loaded_ends_it_with_1(start: Start) -> None:
    run = start("--app", "no.such.application")
    assert run.process.wait(30) == 1
    run.end()
    assert any("no.such.application" in entry["event"] for entry in run.entries)


def test_a_wrong_log_level_is_exit_code_2(start: Start) -> None:
    run = start("--log-level", "loud")
    assert run.process.wait(30) == 2
    run.end()
    assert run.others == ["vmoc: 'loud' is not a log level; choose one of debug, info, warning, error"]


def test_a_reload_applies_the_difference_and_survives_mistakes(start: Start) -> None:
    run = start(slices=[])
    run.ready()
    run.write(slices=NEEDY, metrics={"listen": "127.0.0.1:1"})
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("configuration reloaded: slices: 1 added, 0 changed, 0 removed")
    run.wait_for("metrics.listen changed in the configuration: that needs a restart")
    run.file.write_text("slices: [{id: alice, segments: [{vlan: 9999}, {vlan: 0}]}]\n")
    run.process.send_signal(signal.SIGHUP)
    rejected = run.wait_for("configuration rejected")
    assert rejected["problems"] == 2
    assert run.wait_for("segments[0].vlan")["level"] == "error"
    text = run.get("/metrics")[1]
    assert "vmoc_slices 1.0" in text
    assert 'vmoc_config_reloads_total{result="applied"} 1.0' in text
    assert 'vmoc_config_reloads_total{result="rejected"} 1.0' in text


def test_a_reload_reads_the_handlers_too_and_takes_up_all_or_nothing(start: Start, tmp_path: Path) -> None:
    state, handlers = tmp_path / "vmoc.db", tmp_path / "handlers.yaml"
    store = SqliteStore(str(state))
    store.commit([StoredSlice(Slice("stored", (Segment(101),), origin=Origin.API), 1.0, 1.0, 1)], [], generation=1)
    store.close()
    handlers.write_text("handlers: {first: {backend: noop}}\n")
    run = start(handlers={"config": str(handlers)}, state={"path": str(state)})
    run.ready()
    handlers.write_text("handlers: {second: {backend: noop}}\n")
    run.process.send_signal(signal.SIGHUP)
    assert run.wait_for("handlers.yaml was read again")["types"] == 1

    handlers.write_text("handlers: {third: {backend: magic}}\n")
    run.write(slices=[{"id": "fine", "segments": [{"vlan": 102}]}])
    run.process.send_signal(signal.SIGHUP)
    assert "must be one of ansible, l2bridge, noop" in run.wait_for("handlers.yaml:1:")["event"]
    run.wait_for("configuration rejected")
    assert "vmoc_slices 1.0" in run.get("/metrics")[1], "the slices that came with it are not taken up"

    handlers.write_text("handlers: {third: {backend: noop}}\n")
    run.write(slices=NEEDY)
    run.process.send_signal(signal.SIGHUP)
    assert "(slice stored)" in run.wait_for("configuration rejected", 2)["event"]
    with grpc.insecure_channel(run.wait_for("the API is at ")["address"]) as channel:
        stub = slivers_pb2_grpc.SliverServiceStub(channel)
        found = stub.ListHandlers(slivers_pb2.ListHandlersRequest(), timeout=10).handlers
    assert [one.resource_type for one in found] == ["second"], "nor the handlers that came with a clash"


def test_several_listeners_with_vlans_and_tls(start: Start, authority: Authority) -> None:
    identity = authority.issue("vmoc")
    listen = [
        {"address": "127.0.0.1", "port": 0},
        {"address": "127.0.0.1", "port": 0, "vlan": 1001},
        {"address": "127.0.0.1", "port": 0, "tls": True},
    ]
    files = {"cert": identity.cert, "key": identity.key, "ca": identity.ca}
    run = start(openflow={"listen": listen, "tls": files})
    run.ready()
    assert run.wait_for("switches connect to", 2)["vlan"] == 1001
    assert run.wait_for("switches connect to", 3)["event"].startswith("switches connect to ssl:")
    with socket.create_connection(("127.0.0.1", run.port(3))) as plain:
        plain.sendall(HELLO)
        entry = run.wait_for("switch refused")
    assert "does not speak TLS" in entry["event"]
    assert entry["reason"] == "tls"


def test_the_default_controller_runs_while_needed_and_is_restarted(start: Start) -> None:
    run = start(slices=[], default_controller={"mode": "builtin"})
    run.ready()
    assert not _controllers(run.process.pid)
    run.write(slices=NEEDY)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("the default controller is running")
    (child,) = _controllers(run.process.pid)
    os.kill(child, signal.SIGKILL)
    run.wait_for("the default controller is gone: it was killed by SIGKILL; restarting in 1 s")
    run.wait_for("the default controller is running", 2)
    (child,) = _controllers(run.process.pid)
    assert "vmoc_default_controller_restarts_total 1.0" in run.get("/metrics")[1]
    run.write(slices=[])
    run.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not _controllers(run.process.pid), "the default controller to be stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_it(start: Start, number: int) -> None:
    run = start(slices=NEEDY, default_controller={"mode": "builtin"})
    run.wait_for("the default controller is running")
    there = children(run.process.pid)
    assert len(there) == 1 + int(os.environ["VMOC_WORKERS"])
    code = run.end(number)
    assert code == (0 if number == signal.SIGTERM else -number)
    wait_until(lambda: not any(map(_alive, there)), "the default controller and the workers to end")


def test_no_file_at_all_means_the_defaults(tmp_path: Path) -> None:
    """Only what can be seen without taking the well-known ports: the settings, and that they are acceptable."""
    from vmoc.config import load

    settings = load(None)
    assert [(listener.address, listener.port) for listener in settings.listeners] == [("0.0.0.0", 6653)]
    assert settings.metrics_listen == ("127.0.0.1", 9310)
    assert settings.default_controller.mode == "builtin"


def test_slices_of_the_store_are_there_after_a_start_and_a_reload(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "vmoc.db"
    store = SqliteStore(str(path))
    needy = Slice("stored", (Segment(101),), origin=Origin.API)
    store.commit([StoredSlice(needy, 1.0, 1.0, 1)], [], generation=1)
    store.close()
    run = start(state={"path": str(path)})
    run.ready()
    assert run.wait_for("experimenters' controllers are dialled")["slices"] == 1
    run.write(slices=[{"id": "f", "segments": [{"vlan": 102}]}])
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("configuration reloaded")
    assert run.wait_for("slice added")["origin"] == "file"
    run.write(slices=[{"id": "g", "segments": [{"vlan": 101}]}])
    run.process.send_signal(signal.SIGHUP)
    assert "(slice stored)" in run.wait_for("configuration rejected")["event"]
    second = start(state={"path": str(path)})
    second.process.wait(15)
    assert second.end() == 1
    assert any("in use by another process" in line for line in second.others)
    assert run.end() == 0
    assert path.stat().st_mode & 0o777 == 0o600 and not Path(f"{path}-wal").exists()
