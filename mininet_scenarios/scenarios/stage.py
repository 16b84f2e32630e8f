"""What every scenario stands on: a namespace, Open vSwitch, VMOC, a network, and controllers that come and go."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.network import Drawing, Network
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.pings import KeptPing, counted
from mininet_scenarios.processes import Process, WaitedTooLongError, wait_until
from mininet_scenarios.story import Story
from mininet_scenarios.vmoc import Vmoc

SOUTH: Final = 6653  # fixed ports: a scenario has a network namespace of its own
NORTH: Final = 6640


def segment(name: str, vlan: int, *, own: bool = False, **limits: int) -> dict[str, Any]:
    """A slice of one VLAN; ``own``: with the controller at ``NORTH``, else the default one."""
    controllers = {"controllers": [f"tcp:127.0.0.1:{NORTH}"]} if own else {}
    return {"id": name, "segments": [{"vlan": vlan, **controllers}], **({"limits": limits} if limits else {})}


class Stage:
    """Use as a context manager; ``slices`` as in the configuration. ``durable``: VMOC keeps its state over a kill."""

    def __init__(
        self, story: Story, drawing: Drawing, slices: Sequence[Mapping[str, Any]], *, durable: bool = False
    ) -> None:
        self.story = story
        self.drawing = drawing
        self._stack = contextlib.ExitStack()
        try:
            self._stack.enter_context(self._stack.enter_context(NetworkNamespace.create()).entered())
            self.ovs = self._stack.enter_context(PrivateOvs())
            self._state = {"state": {"path": str(self.ovs.directory / "vmoc.db")}} if durable else {}
            self.vmoc = self._stack.enter_context(Vmoc(self.ovs.directory, self._configuration(slices)))
            self.network = self._stack.enter_context(Network(self.ovs, drawing, controller=("127.0.0.1", SOUTH)))
            self.ovs.wait_connected(*drawing.switches)
        except BaseException:
            self._stack.close()
            raise
        story.tell(
            f"{len(drawing.switches)} switches, {len(drawing.cables)} cables, {len(drawing.hosts)} hosts, VMOC: all up."
        )

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def reload(self, *slices: Mapping[str, Any]) -> None:
        """Other slices from now on."""
        self.vmoc.reload(self._configuration(slices))

    def _configuration(self, slices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        return configuration(slices) | self._state

    def start_controller(self, app: str = "simple_switch_13") -> Process:
        """One of the experimenters' controllers, at ``NORTH``."""
        words = [sys.executable, "-m", "mininet_scenarios.controllers", app, "--port", str(NORTH)]
        process = Process(app, words, log=self.ovs.directory / f"{app}.log")
        self._stack.callback(process.stop)
        return process

    def wait_for_control(self, vlan: int) -> None:
        """Wait until the slice's controller has a table-miss flow on every switch."""
        wait_until(
            lambda: all(any("CONTROLLER" in flow for flow in flows) for flows in self.network.flows(vlan).values()),
            f"the controller of VLAN {vlan} on every switch",
            timeout=30,
        )

    def all_reach_all(self, claim: str, vlan: int, *, count: int = 2) -> None:
        """A line of the table: every host of a VLAN reaches every other one."""
        answered, sent = counted(self.network.ping(self.network.neighbours(vlan), count=count))
        self.story.check(claim, f"{answered} of {sent} pings", answered == sent > 0)

    def nobody_reaches(self, claim: str, pairs: Iterable[tuple[str, str]]) -> None:
        """A line of the table: no ping gets through."""
        answered, sent = counted(self.network.ping(pairs, count=1, wait=1.0))
        self.story.check(claim, f"{answered} of {sent} pings", answered == 0 < sent)

    def steady(self, source: str, target: str) -> KeptPing:
        """A ping that goes on, answered already."""
        ping = self.network.keep_pinging(source, target)
        wait_until(lambda: ping.answered >= 3, f"{source} to ping {target}", timeout=30)
        return ping

    def none_lost(self, claim: str, ping: KeptPing) -> None:
        """Stop it; a line of the table."""
        enough = ping.answered + 5
        with contextlib.suppress(WaitedTooLongError):
            wait_until(lambda: ping.answered >= enough, "more answers", timeout=5)
        outcome = ping.stop()
        self.story.check(claim, f"{outcome.lost} of {outcome.sent} lost", outcome.lost == 0 < outcome.sent)


def configuration(slices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """VMOC's configuration for a scenario."""
    return {
        "openflow": {"listen": [{"address": "127.0.0.1", "port": SOUTH}]},
        "timers": {"reconnect_first": 0.2, "reconnect_max": 1},
        "slices": list(slices),
    }
