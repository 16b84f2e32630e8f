"""An aggregate manager registers a slice over gRPC and takes it away; it and VMOC are killed meanwhile."""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from mininet_scenarios.network import Drawing
from mininet_scenarios.processes import Process, WaitedTooLongError, wait_until
from mininet_scenarios.scenarios.stage import NORTH, Stage, segment
from mininet_scenarios.story import Story

EXPERIMENT, OTHER = 101, 102
DRAWING = Drawing(
    {"s1": 1, "s2": 2},
    {"e1": ("s1", EXPERIMENT), "e2": ("s2", EXPERIMENT), "o1": ("s1", OTHER), "o2": ("s2", OTHER)},
    [("s1", "s2")],
)
WANTED = {"exp-1": {"vlan": EXPERIMENT, "controller": f"127.0.0.1:{NORTH}"}}


class Manager:
    """The aggregate manager's process and its file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "slices.json"
        self._runs = 0
        self.want({})

    def want(self, slices: dict[str, Any]) -> None:
        """What there shall be from now on."""
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(slices))
        draft.replace(self._file)

    def start(self) -> None:
        """Start it; wait for nothing."""
        self._runs += 1
        words = [sys.executable, "-m", "mininet_scenarios.aggregate_manager", str(self._file)]
        self.process = Process("am", words, log=self._directory / f"am-{self._runs}.log")

    def end(self) -> None:
        """At the end of the story."""
        self.process.stop()

    def said(self, what: str, **more: object) -> bool:
        """Whether this run of it has said so."""
        lines = (json.loads(line) for line in self.process.output().splitlines() if line.startswith("{"))
        return any({"what": what, **more}.items() <= line.items() for line in lines)

    def wait(self, what: str, **more: object) -> None:
        """Until it says so."""
        wait_until(lambda: self.said(what, **more), f"the aggregate manager to say {what} {more}", timeout=30)


def tell(story: Story) -> None:
    """Slices are live state: they come and go with the manager's wishes, and outlive everybody's death."""
    with Stage(story, DRAWING, [segment("other", OTHER)], durable=True) as stage, contextlib.ExitStack() as stack:
        manager = Manager(stage.ovs.directory)
        manager.start()
        stack.callback(manager.end)
        stage.start_controller()
        stage.wait_for_control(OTHER)
        beside = stage.steady("o1", "o2")
        stage.nobody_reaches("Without a slice nobody reaches anybody", [("e1", "e2")])
        manager.want(WANTED)
        manager.wait("made", slice="exp-1")
        stage.wait_for_control(EXPERIMENT)
        stage.all_reach_all("The manager has registered it: it works", EXPERIMENT)
        manager.wait("controller-connected", slice="exp-1")
        _kill_vmoc(story, stage, manager)
        _take_away(story, stage, manager)
        manager.process.kill()
        story.tell("kill -9 for the manager; while it is dead it promises the slice again.")
        manager.want(WANTED)
        manager.start()
        manager.wait("settled")
        stage.wait_for_control(EXPERIMENT)
        stage.all_reach_all("It registers when it is back what it promised", EXPERIMENT)
        stage.none_lost("The slice beside it lost no ping all the time", beside)


def _kill_vmoc(story: Story, stage: Stage, manager: Manager) -> None:
    ping = stage.steady("e1", "e2")
    stage.vmoc.kill()
    story.tell("kill -9 for VMOC.")
    stage.vmoc.start()
    stage.ovs.wait_connected(*DRAWING.switches)
    manager.wait("connected", restarted=True)
    stage.wait_for_control(EXPERIMENT)
    stage.none_lost("VMOC was killed and is back: the slice lost no ping", ping)


def _take_away(story: Story, stage: Stage, manager: Manager) -> None:
    ping = stage.steady("e1", "e2")
    manager.want({})
    manager.wait("removed", slice="exp-1")
    removed = time.monotonic()
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: not any(map(_flows_of(stage), DRAWING.switches)), "the slice's flows to go", timeout=15)
    took = time.monotonic() - removed
    left = sum(len(_flows_of(stage)(switch)) for switch in DRAWING.switches)
    story.check("It is taken away: no flow of it stays", f"{left} flows, after {took:.1f} s", left == 0)
    time.sleep(max(0.0, removed + 1.0 - time.monotonic()))
    answered = ping.answered
    time.sleep(1.0)
    later = ping.answered - answered
    story.check("A second later its ping has stopped", f"{later} answers after that", later == 0)
    ping.stop()


def _flows_of(stage: Stage) -> Any:
    """A switch's flows of the VLAN, but those that keep frames of nobody's VLAN away for five seconds."""
    return lambda switch: [
        flow for flow in stage.network.flows(EXPERIMENT)[switch] if "hard_timeout=5, priority=0" not in flow
    ]
