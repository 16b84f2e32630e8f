"""kill -9 of ``vmoc run`` under changes over gRPC: what was answered is there, what was removed stays removed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from am_bridge.channel import open_channel
from tests.emulation import free_port
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m
from vmoc.v1 import slices_pb2_grpc

KILLS = 100
WRITERS = 3
NAMES = 12
# Forks instead of a hundred interpreters that import the same; what runs in the child is ``vmoc run``, and all of it.
PARENT = """
import os, sys
import vmoc.apps.multiplexer, vmoc.daemon.api, vmoc.daemon.service
from vmoc.cli import main
for _ in sys.stdin:
    child = os.fork()
    if not child:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(main(["run", "-c", sys.argv[1], "--workers", "0"]))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Lives:
    """One state file, and one VMOC after the other on it."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.log, file = folder / "vmoc.log", folder / "vmoc.yaml"
        config = {
            "openflow": {"listen": [{"address": "127.0.0.1", "port": 0}]},
            "grpc": {"listen": self.address},
            "metrics": {"listen": False},
            "state": {"path": str(folder / "vmoc.db")},
            "default_controller": "none",
        }
        file.write_text(yaml.safe_dump(config))
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(file), str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd(), "GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"},
        )
        self.pid = 0

    def start(self) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        self.pid = self._line()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self._line() == -signal.SIGKILL, f"it had ended by itself: {self.log.read_text()[-4000:]}"
        self.pid = 0

    def _line(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self._parent.kill()
        self._parent.communicate()


@contextmanager
def connected(address: str) -> Iterator[slices_pb2_grpc.SliceServiceStub]:
    with open_channel(address) as channel:
        yield slices_pb2_grpc.SliceServiceStub(channel)


@dataclass
class Change:
    """Sent, and not answered so far: the slices it makes (by their owner field) or, with None, removes."""

    method: str
    request: Any
    makes: dict[str, str | None]


@dataclass
class Writer:
    """One caller with slices of its own; ``known`` is what it has been told is so."""

    number: int
    chance: random.Random
    known: dict[str, str] = field(default_factory=dict)
    pending: Change | None = None
    answers: int = 0
    bad: list[str] = field(default_factory=list)

    def run(self, address: str, stop: threading.Event) -> None:
        with connected(address) as stub:
            while not stop.is_set():
                self.pending = self.pending or self._next()
                try:
                    getattr(stub, self.pending.method)(self.pending.request, timeout=20)
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                        self.bad.append(f"{error.code()}: {error.details()}")
                    return
                self.answers += 1
                self._learn(self.pending)

    def _next(self) -> Change:
        stamp, request_id = f"v{self.chance.random()}", f"{self.chance.random()}"
        names = [f"w{self.number}-{place}" for place in range(NAMES)]
        name = self.chance.choice(names)
        what = self.chance.random()
        if what < 0.3 and name in self.known:
            removal = m.UnregisterSliceRequest(slice_id=name, request_id=request_id)
            return Change("UnregisterSlice", removal, {name: None})
        if what < 0.6:
            chosen = sorted(self.chance.sample(names, 4))
            batch = m.BatchRegisterSlicesRequest(
                request_id=request_id, slices=[self._slice(one, stamp) for one in chosen]
            )
            return Change("BatchRegisterSlices", batch, dict.fromkeys(chosen, stamp))
        one = m.RegisterSliceRequest(slice=self._slice(name, stamp), request_id=request_id)
        return Change("RegisterSlice", one, {name: stamp})

    def _slice(self, name: str, stamp: str) -> pb.Slice:
        vlan = 100 * (self.number + 1) + int(name.rpartition("-")[2])
        return pb.Slice(slice_id=name, owner=stamp, segments=[pb.Segment(vlan_id=vlan, unattached=True)])

    def _learn(self, change: Change) -> None:
        for name, stamp in change.makes.items():
            if stamp is None:
                self.known.pop(name, None)
            else:
                self.known[name] = stamp
        self.pending = None

    def compare(self, found: dict[str, str]) -> None:
        """What is there is what was answered, with or without all of what was not answered."""
        own = {name: stamp for name, stamp in found.items() if name.startswith(f"w{self.number}-")}
        after = dict(self.known)
        if self.pending is not None:
            for name, stamp in self.pending.makes.items():
                after.pop(name, None)
                if stamp is not None:
                    after[name] = stamp
        assert own in (self.known, after), f"writer {self.number}: {self.known} and {self.pending}, but there is {own}"
        if own == after and self.chance.random() < 0.5:
            self.pending, self.known = None, after  # else it is sent again, and is the same request still


def listed(address: str) -> dict[str, str]:
    """Everything there is, once VMOC answers; the library may first try a connection to the one that was killed."""
    end = time.monotonic() + 60
    while True:
        try:
            return _list(address)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                raise


def _list(address: str) -> dict[str, str]:
    found: dict[str, str] = {}
    with connected(address) as stub:
        request = m.ListSlicesRequest(page_size=1000)
        while True:
            answer = stub.ListSlices(request, timeout=30, wait_for_ready=True)
            found |= {one.slice_id: one.owner for one in answer.slices}
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found


@pytest.mark.slow
@pytest.mark.timeout(300)  # the machine may be busy with other tests
def test_a_hundred_kills_lose_nothing_and_bring_nothing_back(tmp_path: Path) -> None:
    lives, chance = Lives(tmp_path), random.Random(4)
    writers = [Writer(number, random.Random(number)) for number in range(WRITERS)]
    try:
        for turn in range(KILLS):
            lives.start()
            if turn % 10 == 9:  # also while it starts
                time.sleep(chance.uniform(0, 0.3))
                lives.kill()
                continue
            found = listed(lives.address)
            for writer in writers:
                writer.compare(found)
            stop = threading.Event()
            threads = [threading.Thread(target=writer.run, args=(lives.address, stop)) for writer in writers]
            for thread in threads:
                thread.start()
            before = sum(writer.answers for writer in writers)
            while sum(writer.answers for writer in writers) == before:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
            lives.kill()
            stop.set()
            for thread in threads:
                thread.join(30)
            assert not [bad for writer in writers for bad in writer.bad]
        lives.start()
        found = listed(lives.address)
        for writer in writers:
            writer.compare(found)
    finally:
        lives.close()
    answers = sum(writer.answers for writer in writers)
    assert answers >= KILLS * 9 // 10, "the kills came too early to prove anything"
    assert "Traceback" not in lives.log.read_text()
