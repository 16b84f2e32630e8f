"""``vmoc run`` is killed under load, again and again: what a controller had confirmed is there afterwards, and no more.

Two controllers add, change and delete flows all the time, each on matches of
its own choice, both on the same ones. Kill -9 comes while messages are on
their way. A barrier that was answered is a promise; what came after it may
have happened or not, message by message in the order it was sent.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulation import Connection, process, wait_until
from tests.emulation import wire as of
from tests.emulation.process import journal_of
from tests.loopback.scene import VLAN_A, VLAN_B, Scene

pytestmark = pytest.mark.slow

ROUNDS = 4
MATCHES = 24
Make = Callable[..., Scene]
Flows = dict[int, tuple[int, int]]
"""Number of the match -> (cookie, output)."""


class Load:
    """One controller's flow-mods, and what they come to."""

    def __init__(self, name: str, mark: int, ports: tuple[int, ...], version: int) -> None:
        self.random = random.Random(name)
        self.mark = mark
        self.ports = ports
        self.version = version
        self.confirmed: Flows = {}
        self.steps: list[Flows] = []
        """What it comes to after each message since the last barrier that was answered."""
        self._count = 0

    def send(self, end: Connection, count: int) -> None:
        """So many flow-mods, in one write."""
        now = dict(self.steps[-1] if self.steps else self.confirmed)
        data = []
        for _ in range(count):
            self._count += 1
            number, port = self.random.randrange(MATCHES), self.random.choice(self.ports)
            what = self.random.choice(("add", "add", "modify_strict", "delete_strict"))
            cookie = self.mark << 32 | self._count
            match = of.match(self.version, eth_dst=0x020000000000 | number)
            data.append(of.flow_mod(self.version, what, match, of.output(self.version, port), cookie=cookie))
            if what == "delete_strict":
                now.pop(number, None)
            elif what == "add":
                now[number] = cookie, port
            elif number in now:
                # Its cookie changes in 1.0 (and there it would be added), and stays in 1.3 (6.4).
                now[number] = (cookie if self.version == of.V10 else now[number][0]), port
            elif self.version == of.V10:
                now[number] = cookie, port
            self.steps.append(dict(now))
        end.send(b"".join(data))

    def confirm(self, end: Connection) -> None:
        """All of it has happened."""
        end.barrier()
        self.confirmed, self.steps = self.steps[-1], []

    def compare(self, end: Connection) -> None:
        """What the controller is shown is what was confirmed, and of what came after it some; that is the truth now."""
        stats = end.flow_stats()
        shown = {stat.match["eth_dst"][0] & 0xFF: (stat.cookie, self._output(stat)) for stat in stats}
        assert len(shown) == len(stats)
        assert all(cookie >> 32 == self.mark for cookie, _ in shown.values()), "somebody else's"
        for number in range(MATCHES):
            possible = [step.get(number) for step in (self.confirmed, *self.steps)]
            assert shown.get(number) in possible, (number, shown.get(number), possible)
        self.confirmed, self.steps = shown, []

    def _output(self, stat: of.FlowStat) -> int:
        (actions,) = of.action_lists(self.version, stat.actions)
        (port,) = of.output_ports(self.version, actions)
        return port


def loads(version: int) -> tuple[Load, Load]:
    return Load("alice", 0xA, (1, 2, 3), version), Load("bob", 0xB, (2, 3, 4), version)


def check_switch(scene: Scene, *every: Load) -> None:
    """Every entry on the switch is one that a controller is shown, under its own tag."""
    tags = set()
    for vlan, load in zip((VLAN_A, VLAN_B), every, strict=True):
        entries = [entry for entry in scene.switch.flows(vlan) if entry.cookie >> 48 != 0xFFFE]
        found = {entry.match["eth_dst"][0] & 0xFF: entry.outputs(load.version) for entry in entries}
        assert found == {number: [port] for number, (_, port) in load.confirmed.items()}
        assert len(found) == len(entries)
        tags |= {entry.cookie >> 48 for entry in entries}
    assert len(tags) <= 2


def wait_for_more(scene: Scene) -> None:
    """Until the switch has got another flow-mod."""
    seen = len(scene.switch.log("flow_mod"))
    scene.switch.wait_for(lambda: len(scene.switch.log("flow_mod")) > seen, "a flow-mod")


def test_whatever_was_confirmed_is_known_after_every_kill(make_scene: Make, tmp_path: Path, version: int) -> None:
    scene = make_scene(version, state={"path": str(tmp_path / "vmoc.db")}).up()
    alice, bob = loads(version)
    for round_ in range(ROUNDS):
        a, b = scene.wait_up()
        for load, end in ((alice, a), (bob, b)):
            load.compare(end)
        check_switch(scene, alice, bob)
        for _ in range(3):
            for load, end in ((alice, a), (bob, b)):
                load.send(end, 40)
                load.confirm(end)
        for load, end in ((alice, a), (bob, b)):
            load.send(end, 60 + 30 * round_)  # on their way
        if round_ % 2:
            wait_for_more(scene)
        scene.kill("vmoc")
        scene.start("vmoc")
    a, b = scene.wait_up()
    alice.compare(a)
    bob.compare(b)
    check_switch(scene, alice, bob)
    a.flow_mod("delete", None, table=0xFF)
    a.barrier()
    assert a.flow_stats() == [] and len(b.flow_stats()) == len(bob.confirmed) > 0
    assert len(scene.slice_flows(VLAN_B)) == len(bob.confirmed)


def test_what_was_deleted_does_not_rise_again(make_scene: Make, tmp_path: Path, version: int) -> None:
    """Deleted and confirmed, then killed; also when the slice itself was deleted, or its VLAN given to another."""
    scene = make_scene(version, state={"path": str(tmp_path / "vmoc.db")}).up()
    alice, bob = loads(version)
    for load, end in ((alice, scene.A), (bob, scene.B)):
        load.send(end, 80)
        load.confirm(end)
    scene.A.flow_mod("delete", None, table=0xFF)
    scene.A.barrier()
    scene.kill("vmoc")
    scene.start("vmoc")
    assert scene.A.flow_stats() == [] and scene.slice_flows(VLAN_A) == []
    bob.compare(scene.B)
    alice.confirmed = {}
    alice.send(scene.A, 80)
    alice.confirm(scene.A)
    scene.kill("vmoc")
    scene.vmoc.config["slices"] = [scene.bob()]
    scene.start("vmoc")
    bob.compare(scene.B)
    scene.switch.wait_for(lambda: not scene.switch.flows(VLAN_A), "the end of alice's flows, guards included")
    scene.kill("vmoc")
    scene.vmoc.config["slices"] = [scene.alice(), scene.bob()]
    scene.start("vmoc")
    assert scene.A.flow_stats() == []
    bob.compare(scene.B)


def test_the_file_does_not_grow_without_end(make_scene: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of records about two dozen flows; the file is written anew meanwhile, and says the same.

    In a single process, whose limit can be set: the real one takes a minute to reach.
    """
    limit = 1 << 20
    program = f"import vmoc.store.journal; vmoc.store.journal.SMALLEST = {limit}; {process.vmoc_command()[-1]}"
    monkeypatch.setattr(process, "vmoc_command", lambda: [sys.executable, "-c", program])
    monkeypatch.setattr(process.VmocProcess, "forked", False)
    monkeypatch.setenv("VMOC_WORKERS", "0")
    scene = make_scene(of.V13, state={"path": str(tmp_path / "vmoc.db")}).up()
    alice, bob = loads(of.V13)
    bob.send(scene.B, 40)
    bob.confirm(scene.B)
    journal = journal_of(tmp_path / "vmoc.db")
    files = [journal, journal.with_name(journal.name + ".next")]
    sizes, first = [], files[0].stat().st_ino
    while files[0].stat().st_ino == first:
        alice.steps = alice.steps[-1:]
        alice.send(scene.A, 1000)
        alice.confirm(scene.A)
        sizes.append(sum(file.stat().st_size for file in files if file.exists()))
        assert sizes[-1] < 5 * limit // 2, "it is never written anew"
    assert max(sizes) > limit // 2, sizes
    scene.kill("vmoc")
    scene.start("vmoc")
    alice.compare(scene.A)
    bob.compare(scene.B)
    assert files[0].stat().st_size < 1 << 16, "a start writes what there is, and no history"


def test_a_journal_that_is_useless_costs_the_flows_and_nothing_else(make_scene: Make, tmp_path: Path) -> None:
    """Every other kind of damage: tests/vmoc/daemon/test_journaling.py."""
    scene = make_scene(of.V10, state={"path": str(tmp_path / "vmoc.db")}).up()
    alice, bob = loads(of.V10)
    for load, end in ((alice, scene.A), (bob, scene.B)):
        load.send(end, 40)
        load.confirm(end)
    scene.kill("vmoc")
    file = journal_of(tmp_path / "vmoc.db")
    data = file.read_bytes()
    file.write_bytes(data[:200] + bytes(byte ^ 0x55 for byte in data[200:]))
    scene.start("vmoc")
    scene.vmoc.wait_log("the flow journal is not used, the slices' flows are flushed")
    assert scene.A.flow_stats() == scene.B.flow_stats() == []
    assert scene.slice_flows() == []
    scene.check_works()
    scene.kill("vmoc")
    scene.start("vmoc")
    assert len(scene.A.flow_stats()) == len(scene.B.flow_stats()) == 1, "the new journal is a good one"


def test_one_that_is_cut_short_counts_as_far_as_it_goes(make_scene: Make, tmp_path: Path) -> None:
    """What the missing part was about is nobody's: deleted, and shown to nobody."""
    scene = make_scene(of.V10, state={"path": str(tmp_path / "vmoc.db")}).up()
    alice, bob = loads(of.V10)
    bob.send(scene.B, 40)
    bob.confirm(scene.B)
    scene.fence()
    size = journal_of(tmp_path / "vmoc.db").stat().st_size
    alice.send(scene.A, 40)
    alice.confirm(scene.A)
    scene.kill("vmoc")
    with journal_of(tmp_path / "vmoc.db").open("r+b") as file:
        file.truncate(size + 7)
    scene.start("vmoc")
    bob.compare(scene.B)
    assert scene.A.flow_stats() == [] and scene.slice_flows(VLAN_A) == []


def test_a_second_vmoc_on_the_same_journal_does_not_start(make_scene: Make, tmp_path: Path) -> None:
    state = {"path": str(tmp_path / "vmoc.db")}
    scene = make_scene(of.V10, state=state).up()
    other = make_scene(of.V10, state=state)
    other.vmoc.launch()
    wait_until(lambda: not other.vmoc.running, "its end")
    assert other.vmoc.returncode == 1
    assert "vmoc.db" in other.vmoc.log() and "Traceback" not in other.vmoc.log()
    scene.check_works()
