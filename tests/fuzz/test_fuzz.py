"""The fuzzer for a while, what it found before, and that it would find something.

``FUZZ_SECONDS`` (20) and ``FUZZ_SEED`` (fixed, so that a run can be repeated) change how long and where it looks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from fuzz import hunt, judges, plot, text, watch
from tests.emulation import E
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux import playbook
from tests.vmoc.mux.tenants import piece
from vmoc.model import Policy
from vmoc.mux import upward
from vmoc.mux.datapath import VirtualDatapath
from vmoc.mux.north import NorthSession
from vmoc.policy import flowmod, match, outputs

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
FOUND = Path(__file__).parent / "regressions"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_nothing_is_found(tmp_path: Path) -> None:
    tally = hunt.hunt(SEED, SECONDS, tmp_path)
    print(tally)
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.episodes and tally.calls


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_before(path: Path) -> None:
    result = plot.play(plot.Episode.load(path))
    assert not result.failure


def test_an_episode_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = plot.write(7, 30), plot.write(7, 30)
    assert one == other
    one.save(tmp_path / "it.json")
    assert plot.Episode.load(tmp_path / "it.json") == one
    first, again = plot.play(one), plot.play(other)
    assert (first.step, first.calls) == (again.step, again.calls)


@pytest.mark.interpreted
def test_episodes_can_be_guided_by_what_they_reach(tmp_path: Path) -> None:
    for seconds in (1.0, 5.0, 20.0):  # on a busy machine the first second holds too few episodes
        tally = hunt.hunt(SEED, seconds, tmp_path, guided=True)
        assert not tally.findings
        if tally.kept:
            break
    assert tally.kept


# -- it would find something ---------------------------------------------------------------------------


def finds(patch: pytest.MonkeyPatch, tmp_path: Path, first: int = 1) -> str:
    """The first finding, replayed from its file by the program of its own and gone when the mistake is."""
    tally = hunt.hunt(first, 25.0, tmp_path)
    assert tally.findings, tally
    (path,) = tmp_path.glob("seed-*.json")
    assert plot.play(plot.Episode.load(path)).failure, "the smaller episode shows it, too"
    patch.undo()
    assert not plot.play(plot.Episode.load(path)).failure
    return tally.findings[0]


@pytest.mark.interpreted
def test_a_port_that_is_not_checked_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs.Outputs, "_ports", lambda self, port: [port])
    assert "foreign port" in finds(monkeypatch, tmp_path)


@pytest.mark.interpreted
def test_a_vlan_that_is_not_narrowed_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flowmod, "narrow13", lambda grant, match: match)
    monkeypatch.setattr(flowmod, "narrow10", lambda grant, match: match)
    assert "VLAN" in finds(monkeypatch, tmp_path)


@pytest.mark.interpreted
def test_a_flow_without_its_slot_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(match, "_in_slot", lambda grant, fields: fields)
    assert "without a slot" in finds(monkeypatch, tmp_path, first=9)


@pytest.mark.interpreted
def test_a_port_let_in_to_a_neighbours_slot_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    regrant = VirtualDatapath.regrant

    def lets_everybody_in(self: VirtualDatapath) -> None:
        regrant(self)
        if self.slot:
            self.admitted = frozenset(number for number, port in self.switch.ports.items() if port.is_physical)

    monkeypatch.setattr(VirtualDatapath, "regrant", lets_everybody_in)
    assert re.search("is admitted|was .*'s", finds(monkeypatch, tmp_path, first=9))


def test_a_journal_that_says_nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(playbook, "replay", lambda batches: [])
    assert "bystander" in finds(monkeypatch, tmp_path, first=11)


@pytest.mark.interpreted
def test_a_packet_for_somebody_else_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deliver = upward._deliver

    def to_all(datapath, *rest):  # type: ignore[no-untyped-def]
        for each in datapath.switch.datapaths.values():
            deliver(each, *rest)

    monkeypatch.setattr(upward, "_deliver", to_all)
    found = finds(monkeypatch, tmp_path)
    assert "frame" in found or "is told something of" in found


@pytest.mark.interpreted
def test_an_exception_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(self: NorthSession, message: bytes, now: float) -> None:
        raise KeyError(len(message))

    handlers = {version: {**all_, 18 if version == 1 else 20: broken} for version, all_ in _handlers().items()}
    monkeypatch.setattr("vmoc.mux.downward.HANDLERS", handlers)
    assert "mistake" in finds(monkeypatch, tmp_path)


def _handlers():  # type: ignore[no-untyped-def]
    from vmoc.mux.downward import HANDLERS

    return HANDLERS


STRIP, PCP = of.strip_vlan(of.V10), of.set_pcp(of.V10, 3)
OUT = of.output(of.V10, 2)


@pytest.mark.parametrize(
    ("inner", "actions", "wrong"),
    [
        (100, STRIP + OUT, False),
        (200, STRIP + OUT, True),
        (200, STRIP + of.set_vlan(of.V10, 100) + OUT, False),
        (100, STRIP + PCP + OUT, True),  # where one tag is seen, in front of it one of VID 0
        (100, STRIP + STRIP + of.set_vlan(of.V10, 100) + OUT, False),
        (None, STRIP + OUT, True),
        (None, STRIP + PCP + of.set_vlan(of.V10, 100) + OUT, False),
    ],
)
def test_the_judge_follows_the_tags_a_frame_brings(inner: int | None, actions: bytes, wrong: bool) -> None:
    judge = judges.SouthJudge(of.V10, 0xAA, 0, operator=False, honest=True)
    rights = judges.Rights([piece("alice", 100)], Policy(qinq=True))
    message = Message(of.packet_out(of.V10, E(100, inner=inner), actions))
    with pytest.raises(judges.Breach, match="visible") if wrong else nullcontext():
        judge.message(rights, message, True)


def test_a_loop_without_end_is_found() -> None:
    def forever() -> None:
        while True:
            pass

    with pytest.raises(watch.Hang), watch.guarded(0.2):
        forever()


def test_memory_is_weighed_through_closures() -> None:
    small = piece("a", 1)
    block = bytes(100_000)
    assert watch.weight([small, lambda: block]) > 100_000 > watch.weight([small])


def test_lines_of_text_are_tried() -> None:
    assert all(not text.attempt(seed) for seed in (*range(200), 35905478080002491))


def test_the_program_replays_a_file(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    plot.write(3, 5).save(path)
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "replay", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing wrong" in done.stdout
