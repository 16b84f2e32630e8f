"""An aggregate manager, VMOC, a switch and a controller: whoever starts first, whoever is killed, the slice works."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from am_bridge.client import (
    Attachment,
    Drifted,
    DriftKind,
    Endpoint,
    Event,
    Gap,
    Report,
    Segment,
    Slice,
    UnreachableError,
    VmocClientSync,
)
from tests.emulation import E, EmulatedController, EmulatedSwitch, VmocProcess
from tests.emulation import wire as of
from tests.emulation.process import vmoc_command
from tests.emulation.waiting import wait_until
from tests.loopback.scene import presented

DPID, VLAN = 0xAB, 101
PARTS = ("manager", "vmoc", "switch", "controller")
pytestmark = pytest.mark.slow  # each test starts a VMOC of its own


class Scene:
    """The four parts; none runs until ``start``."""

    def __init__(self, directory: Path, version: int) -> None:
        self.version = version
        self.vmoc = VmocProcess(directory, {"state": {"path": str(directory / "vmoc.db")}})
        self.switch = EmulatedSwitch(self.vmoc.address, DPID, version)
        self.controller = EmulatedController(version)
        self.controller.stop()  # its address stays
        self.manager: VmocClientSync | None = None
        self.drifts: list[DriftKind] = []
        where = Endpoint("tcp", *self.controller.there)
        segment = Segment(VLAN, (where,), attachments=(Attachment(DPID, frozenset((1, 2))),))
        self.slice = Slice("exp-1", (segment,), manager="am", owner="alice")

    def start(self, part: str) -> None:
        """Start it, and wait for nobody."""
        match part:
            case "manager":
                self.manager = VmocClientSync(
                    self.vmoc.config["grpc"]["listen"],
                    manager="am",
                    desired=[self.slice],
                    longest_wait=0.5,
                    on_report=self.report,
                )
                self.manager.__enter__()
            case "vmoc":
                self.vmoc.start()
            case "switch":
                self.switch.start()
            case "controller":
                self.controller.listen()

    def report(self, report: Report) -> None:
        """What the manager's client tells."""
        if isinstance(report, Drifted):
            self.drifts.append(report.kind)

    def kill(self, part: str) -> None:
        """End it without a farewell; whoever that cuts off from the switch has noticed when this returns."""
        match part:
            case "manager":
                assert self.manager is not None
                self.manager.close()
            case "vmoc":
                self.vmoc.kill()
            case "switch":
                self.switch.kill()
            case "controller":
                self.controller.kill()
        if part in ("vmoc", "switch"):
            wait_until(lambda: not self.controller.live(), "the controller's connection to end", 30)

    def check_works(self) -> None:
        """The manager's slice is there, and its controller controls VLAN 101 of the switch."""
        assert self.manager is not None
        self.manager.settled(30)
        wait_until(lambda: self.listed() == ["exp-1"], "the slice to be registered", 30)
        connection = self.controller.wait_up(presented(VLAN, DPID), timeout=30)
        connection.forget()
        self.switch.packet_in(1, E(VLAN))
        assert connection.expect_packet_in().data == E(VLAN)
        connection.flow_mod(match=of.match(self.version), actions=of.output(self.version, 2), priority=7)
        connection.barrier()
        assert [entry.outputs(self.version) for entry in self.switch.flows(VLAN) if entry.actions] == [[2]]

    def check_ends(self) -> None:
        """The manager takes the slice away, and nothing is left of it."""
        assert self.manager is not None
        assert self.manager.remove("exp-1").result(30) is None
        wait_until(lambda: not self.switch.flows(VLAN), "the slice's flows to go", 30)
        wait_until(lambda: not self.controller.live(), "its controller to be let go", 30)
        assert self.listed() == []

    def listed(self) -> list[str] | None:
        """The ids of the slices; None while nobody answers."""
        assert self.manager is not None
        try:
            return [one.slice.id for one in self.manager.slices(manager="am", owner="alice")]
        except UnreachableError:
            return None

    def close(self) -> None:
        if self.manager is not None:
            self.manager.close()
        self.switch.stop()
        self.controller.stop()
        self.vmoc.stop()


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    one = Scene(tmp_path, getattr(request, "param", of.V13))
    yield one
    one.close()


@pytest.mark.parametrize("order", list(permutations(PARTS)), ids="-".join)
def test_every_start_order(scene: Scene, order: tuple[str, ...]) -> None:
    for part in order:
        scene.start(part)
    scene.check_works()


@pytest.mark.parametrize("scene", [of.V10, of.V13], indirect=True, ids=["1.0", "1.3"])
def test_each_killed_and_restarted(scene: Scene) -> None:
    for part in PARTS:
        scene.start(part)
    scene.check_works()
    for part in PARTS:
        scene.kill(part)
        scene.start(part)
        scene.check_works()
    scene.check_ends()


@pytest.mark.parametrize("order", [PARTS, PARTS[::-1]], ids="-".join)
def test_all_killed_and_restarted(scene: Scene, order: tuple[str, ...]) -> None:
    for part in order:
        scene.start(part)
    scene.check_works()
    for part in order:
        scene.kill(part)
    for part in order:
        scene.start(part)
    scene.check_works()
    scene.check_ends()


def test_what_the_manager_wants_meanwhile_is_made_when_vmoc_is_back(scene: Scene) -> None:
    for part in PARTS:
        scene.start(part)
    scene.check_works()
    assert scene.manager is not None
    scene.kill("vmoc")
    gone = scene.manager.remove("exp-1")
    other = Slice("exp-2", (Segment(VLAN + 1, scene.slice.segments[0].controllers),), manager="am", owner="alice")
    made = scene.manager.put(other)
    assert not gone.done and not made.done
    scene.start("vmoc")
    assert gone.result(30) is None
    assert made.result(30) is not None
    scene.controller.wait_up(presented(VLAN + 1, DPID), timeout=30)
    wait_until(lambda: not scene.switch.flows(VLAN), "the removed slice's flows to go", 30)
    assert scene.listed() == ["exp-2"]


def test_what_an_operator_takes_away_is_put_back(scene: Scene) -> None:
    for part in PARTS:
        scene.start(part)
    scene.check_works()
    command = [*vmoc_command(), "slice", "unregister", "exp-1", "--server", scene.vmoc.config["grpc"]["listen"]]
    subprocess.run(command, check=True, timeout=30, capture_output=True)
    wait_until(lambda: DriftKind.REMOVED in scene.drifts, "the manager to notice", 30)
    scene.check_works()


def test_an_end_that_is_near_is_told_and_when_it_comes_the_slice_goes(scene: Scene) -> None:
    for part in PARTS:
        scene.start(part)
    scene.check_works()
    assert scene.manager is not None
    events = scene.manager.events(kinds=("slice",), slices=("exp-1",), resume_token="earliest")
    near = replace(scene.slice, expire_time=time.time() + 601)  # ten minutes before the end one is told
    assert scene.manager.put(near).result(30) is not None
    assert names(events, "slice-expiring") == ["slice-added", "slice-changed", "slice-expiring"]
    assert scene.manager.put(replace(near, expire_time=time.time() + 2)).result(30) is not None
    assert names(events, "slice-expired") == ["slice-changed", "slice-removed", "slice-expired"]
    events.close()  # type: ignore[attr-defined]
    wait_until(lambda: not scene.switch.flows(VLAN), "the slice's flows to go", 30)
    wait_until(lambda: not scene.controller.live(), "its controller to be let go", 30)
    assert VLAN in scene.manager.free_vlans(dpid=DPID)
    manager = scene.manager
    wait_until(lambda: not manager.desired, "the manager to desire it no more", 30)
    scene.manager.settled(30)
    assert scene.listed() == [], "nobody puts it back"


def names(events: Iterator[Event | Gap], last: str) -> list[str]:
    """The names of events up to one."""
    found: list[str] = []
    while last not in found:
        event = next(events)
        assert isinstance(event, Event)
        found.append(event.name)
    return found
