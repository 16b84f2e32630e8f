"""The load tools: they agree with each other, and they notice what they are there to notice."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import spread, tools
from tests.emulation import Connection, EmulatedController, free_port
from tests.emulation import wire as of

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: run make test")
VERSIONS = pytest.mark.parametrize("version", ["1.0", "1.3"])


@VERSIONS
@pytest.mark.parametrize("mode", ["throughput", "latency"])
@pytest.mark.parametrize("answer", ["fm", "po"])
def test_directly_every_packet_in_is_answered(version: str, mode: str, answer: str) -> None:
    with tools.Controllers(["101,102"], answer=answer) as controllers:
        report = tools.switches(
            controllers.ports[0], version=version, count=3, mode=mode, seconds=0.1, runs=2, warm_up=0.05, answer=answer
        )
    assert (report["ready"], report["silent"]) == (3, 0)
    assert len(report["runs"]) == 2
    for run in report["runs"]:
        assert run["answers"] > 100
        assert run["cross"] == run["wild"] == run["lost"] == run["late"] == run["errors"] == 0
        assert 0 < run["p50_us"] <= run["p99_us"] <= run["max_us"]
    assert controllers.counters["foreign"] == 0
    assert controllers.counters["packet_ins"] >= sum(run["answers"] for run in report["runs"])


@VERSIONS
def test_the_ceiling_of_many_connections(version: str) -> None:
    line = spread.measure(spread.Case(spread.ALONE, 40, 1, alone=True), version, 0.2, 1)
    assert line.per_second > 1000 and (line.lost, line.cross) == (0, 0)
    assert (line.cpu_us, line.resident_mb, line.ready) == (None, None, None), "there is no VMOC"


def test_controllers_count_foreign_packet_ins() -> None:
    with tools.Controllers(["101"]) as controllers:
        report = tools.switches(controllers.ports[0], version="1.0", seconds=0.05, runs=1, warm_up=0)
    assert report["runs"][0]["cross"] == 0
    assert controllers.counters["foreign"] > 0


Answer = Callable[[of.PacketIn], bytes]


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        (lambda p: of.match(1, vlan=102 if _vlan(p) == 101 else 101, eth_src=p.data[6:12]), "cross"),
        (lambda p: of.match(1, eth_src=p.data[6:12]), "wild"),
        (lambda p: of.match(1, vlan=_vlan(p)), "unmatched"),
        (lambda p: of.match(1, vlan=_vlan(p), eth_src=b"\x02\x00\x63" + p.data[9:12]), "cross"),
    ],
    ids=["another-vlan", "no-vlan", "no-source", "another-switch"],
)
def test_wrong_answers_are_noticed(change: Answer, counter: str) -> None:
    def react(connection: Connection, msg: of.Message) -> None:
        if msg.name == "packet_in":
            seen = of.parse_packet_in(msg)
            connection.send(of.flow_mod(1, match_=change(seen), actions=of.output(1, 2)))

    with EmulatedController(of.V10, react=react) as controller:
        report = _switches(controller.port, "-w 4 -M 16 -t 0.1 -W 0 -H 0.4 -T 50")
    assert report["runs"][0][counter] + report.get(f"early_{counter}", 0) > 0


def _vlan(seen: of.PacketIn) -> int:
    return int(struct.unpack_from("!H", seen.data, 14)[0]) & 0xFFF


def test_hosts_are_bounded() -> None:
    sources: set[bytes] = set()

    def react(connection: Connection, msg: of.Message) -> None:
        if msg.name == "packet_in":
            seen = of.parse_packet_in(msg)
            sources.add(seen.data[6:12])
            match = of.match(1, vlan=_vlan(seen), eth_src=seen.data[6:12])
            connection.send(of.flow_mod(1, match_=match, actions=of.output(1, 2)))

    with EmulatedController(of.V10, react=react) as controller:
        report = tools.switches(
            controller.port, version="1.0", window=64, hosts=10, seconds=0.2, runs=1, warm_up=0, vlans="101,102,103"
        )
    assert len(sources) == 10
    assert report["runs"][0]["answers"] > 10
    assert report["runs"][0]["cross"] == 0


@pytest.mark.parametrize("rate", [None, 400.0], ids=["throughput", "paced"])
def test_each_answer_that_does_not_come_is_lost(rate: float | None) -> None:
    """Not only when none comes at all: one station never gets an answer, the others at once."""
    unlucky = bytes.fromhex("020001000003")

    def react(connection: Connection, msg: of.Message) -> None:
        if msg.name == "packet_in" and (seen := of.parse_packet_in(msg)).data[6:12] != unlucky:
            match = of.match(1, vlan=_vlan(seen), eth_src=seen.data[6:12])
            connection.send(of.flow_mod(1, match_=match, actions=of.output(1, 2)))

    with EmulatedController(of.V10, react=react) as controller:
        report = _switches(controller.port, f"-w 4 -M 16 -t 0.5 -W 0 -T 50 {f'-q {rate}' if rate else ''}")
    (run,) = report["runs"]
    assert run["answers"] > 30
    assert 2 <= run["lost"] < run["answers"] / 2
    assert report["silent"] == 0, "each VLAN has other stations"


def test_an_answer_that_comes_late_is_an_answer_of_its_vlan() -> None:
    """On a busy machine the first ones may all come later than the tool waits."""
    waiting: list[tuple[Connection, bytes]] = []

    def react(connection: Connection, msg: of.Message) -> None:
        if msg.name == "packet_in":
            seen = of.parse_packet_in(msg)
            match = of.match(1, vlan=_vlan(seen), eth_src=seen.data[6:12])
            waiting.append((connection, of.flow_mod(1, match_=match, actions=of.output(1, 2))))
            if len(waiting) > 2:  # when it has been given up, and two others have been sent
                late, answer = waiting.pop(0)
                late.send(answer)

    with EmulatedController(of.V10, react=react) as controller:
        report = _switches(controller.port, "-w 1 -M 16 -t 0.1 -W 0 -T 50 -H 3")
    assert report["silent"] == 0


def _switches(port: int, words: str) -> dict[str, Any]:
    command = [str(tools.build() / "switches"), "-p", str(port), "-r", "1", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_nobody_there() -> None:
    command = [str(tools.build() / "switches"), "-p", str(free_port()), "-H", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no handshake" in done.stderr


def test_help_names_the_options() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    for option in ("--quick", "--json", "--hosts"):
        assert option in done.stdout
