"""VMOC's story in one command: two experimenters on the same switches, one of them hostile.

``python -m mininet_scenarios.demo`` (as root; ``make demo``) builds a small
rack of Open vSwitch switches, starts VMOC, gives slice *a* a controller of its
own and slice *b* VMOC's default controller, and checks line by line that
neither can reach, see or harm the other. Exit code 0 only if every line held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console

from mininet_scenarios import nodes, rack, vmoc
from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.pings import KeptPing, counted
from mininet_scenarios.processes import Process, WaitedTooLongError, descendants, wait_until
from mininet_scenarios.rack import HOSTS, SWITCHES, VLANS, Rack
from mininet_scenarios.story import Story

OPENFLOW_PORT: Final = 6653  # fixed ports are fine: the story has a network namespace of its own
CONTROLLER_PORT: Final = 6640
TOKEN: Final = "VMOC_STORY"

# What the switch's side must answer to each attack of controllers/hostile_13.py: an error, or none because the
# message is narrowed to what is slice a's own.
REFUSED: Final = {
    "drop every frame of VLAN 102",
    "rewrite own frames into VLAN 102",
    "take the VLAN tag off",
    "send a frame into VLAN 102",
    "send an untagged frame",
    "switch port 1 off",
}
NARROWED: Final = {
    "drop every tagged frame",
    "send every frame out of every port",
    "storm of frames out of every port",
    "delete every flow of every table",
}


def configuration(*slices: str) -> dict[str, Any]:
    """The story's configuration with these slices: *a* has its own controller, *b* the default one."""
    segments: dict[str, dict[str, Any]] = {
        "a": {"vlan": VLANS["a"], "controllers": [f"tcp:127.0.0.1:{CONTROLLER_PORT}"]},
        "b": {"vlan": VLANS["b"]},
    }
    return {
        "openflow": {"listen": [{"address": "127.0.0.1", "port": OPENFLOW_PORT}]},
        "state": {"path": ":memory:"},
        "timers": {"reconnect_max": 2},
        "slices": [{"id": name, "segments": [segments[name]]} for name in slices],
    }


class Scene:
    """Everything that runs: Open vSwitch, VMOC, slice a's controller, the rack."""

    def __init__(self, story: Story, stack: contextlib.ExitStack) -> None:
        self.story = story
        self._stack = stack
        namespace = stack.enter_context(NetworkNamespace.create())
        stack.enter_context(namespace.entered())
        self.ovs = stack.enter_context(PrivateOvs())
        self.directory = self.ovs.directory
        story.tell("A private Open vSwitch runs, in a network namespace of its own.")
        self.vmoc_log = ""
        stack.callback(self._keep_log)  # when VMOC has ended, before the directory goes
        self.vmoc = stack.enter_context(vmoc.Vmoc(self.directory, configuration("a", "b")))
        story.tell(f"VMOC runs: vmoc run -c {self.vmoc.file}")
        self.controller = self.start_controller("simple_switch_13")
        story.tell("Slice a's controller runs: an os-ken learning switch that knows nothing of VMOC.")
        self.rack = stack.enter_context(Rack(self.ovs, controller=("127.0.0.1", OPENFLOW_PORT)))
        story.tell(f"The rack stands: {len(SWITCHES)} switches, {HOSTS} compute nodes, {HOSTS} hosts in each slice.")

    def _keep_log(self) -> None:
        self.vmoc_log = self.vmoc.output()

    def start_controller(self, app: str) -> Process:
        """Start one of the controllers on slice a's port."""
        log = self.directory / f"{app}.log"
        words = [sys.executable, "-m", "mininet_scenarios.controllers", app, "--port", str(CONTROLLER_PORT)]
        self.controller = Process(app, words, log=log)
        self._stack.callback(self.controller.stop)
        return self.controller

    def flows(self, slice_name: str) -> dict[str, list[str]]:
        """A slice's flows on every switch, without counters."""
        return {switch: self.ovs.flows(switch, f"dl_vlan={VLANS[slice_name]}") for switch in SWITCHES}

    def foreign_flows(self) -> list[str]:
        """Flows of any switch that name neither slice's VLAN."""
        wanted = tuple(f"dl_vlan={vlan}" for vlan in VLANS.values())
        return [
            flow
            for switch in SWITCHES
            for flow in self.ovs.flows(switch)
            if not set(wanted) & set(flow.replace(" ", ",").split(","))
        ]

    def wait_for_control(self, slice_name: str, timeout: float = 30.0) -> None:
        """Wait until a slice's controller has asked every switch for the frames no flow matches."""
        wait_until(
            lambda: all(any("CONTROLLER" in flow for flow in flows) for flows in self.flows(slice_name).values()),
            f"the controller of slice {slice_name} on both switches",
            timeout=timeout,
        )

    def leaked(self) -> int:
        """Frames of one slice that have reached hosts of the other one since the rack stands."""
        return sum(
            self.rack.heard_from(other, host) for host in self.rack.hosts() for other in VLANS if other != host[0]
        )


def tell(story: Story, scene: Scene) -> None:
    """The story proper."""
    both_work(story, scene)
    nothing_crosses(story, scene)
    a_turns_hostile(story, scene)
    a_dies_and_comes_back(story, scene)
    a_is_removed(story, scene)
    heard = sum(len(scene.rack.heard(host)) for host in scene.rack.hosts())
    leaked = scene.leaked()
    story.check("Nothing of one slice ever reached a host of the other", f"{leaked} of {heard} frames", leaked == 0)


def both_work(story: Story, scene: Scene) -> None:
    """Both slices have a network."""
    with contextlib.suppress(WaitedTooLongError):
        scene.ovs.wait_connected(*SWITCHES)
    connected = sum(map(scene.ovs.connected, SWITCHES))
    seen = f"{connected} of {len(SWITCHES)}, over OpenFlow 1.3"  # the switches are set to speak nothing else
    story.check("Both switches are connected to VMOC", seen, connected == len(SWITCHES))
    for name in VLANS:
        scene.wait_for_control(name)
    story.tell("Each slice's controller is connected to a virtual switch of its own on either switch.")
    same = all(
        addresses(scene, f"a{n}") & addresses(scene, f"b{n}") == {rack.mac(n), rack.address(n)}
        for n in range(1, HOSTS + 1)
    )
    seen = f"a1 and b1 are both {rack.mac(1)}, {rack.address(1)}"
    story.check("Both slices use the same MAC and IP addresses", seen, same)
    for name, who in (("a", "its own controller"), ("b", "the default controller")):
        answered, sent = counted(scene.rack.ping_slice(name))
        story.check(
            f"Slice {name} ({who}): every host reaches every other", f"{answered} of {sent} pings", answered == sent
        )
    story.check(
        "Every flow on the switches names a slice's VLAN",
        f"{len(scene.foreign_flows())} others",
        not scene.foreign_flows(),
    )


def nothing_crosses(story: Story, scene: Scene) -> None:
    """Pings and broadcasts stay in their slice."""
    answered, sent = counted(scene.rack.ping_across(count=1, wait=1.0))
    story.check("Across slices nobody reaches anybody", f"{answered} of {sent} pings", answered == 0)
    for host in scene.rack.hosts():
        scene.rack.shout(host)
    hosts = scene.rack.hosts()

    def shouts(host: str, own: bool) -> int:
        heard = scene.rack.heard(host)
        return sum(
            any(rack.cry(other) in data for data in heard)
            for other in hosts
            if other != host and (other[0] == host[0]) == own
        )

    expected = HOSTS - 1
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: all(shouts(host, True) == expected for host in hosts), "every shout to be heard", timeout=5)
    own, foreign = sum(shouts(host, True) for host in hosts), sum(shouts(host, False) for host in hosts)
    story.check(
        "A broadcast is heard in its own slice only",
        f"{own} of {expected * len(hosts)} times there, {foreign} times in the other",
        own == expected * len(hosts) and foreign == 0,
    )


def a_turns_hostile(story: Story, scene: Scene) -> None:
    """Slice a's controller is replaced by one that attacks everything it can think of."""
    story.tell("Slice a's controller turns hostile, while slice b's hosts ping each other all the time.")
    pings = steady(scene, "b")
    before = scene.flows("b")
    scene.controller.stop()
    attacker = scene.start_controller("hostile_13")
    wait_until(lambda: attacker.output().count('"done"') == len(SWITCHES), "the attacks to end", timeout=45)
    reports = [json.loads(line) for line in attacker.output().splitlines() if line.startswith("{")]
    for attack in dict.fromkeys(report["attack"] for report in reports if report["attack"] != "done"):
        answers = [report["errors"] for report in reports if report["attack"] == attack]
        story.check(f"Attack: {attack}", *judged(attack, answers))
    after = scene.flows("b")
    flows = sum(map(len, before.values()))
    changed = sum(len(set(before[switch]) ^ set(after[switch])) for switch in SWITCHES)
    story.check("Slice b's flows are what they were", f"{changed} of {flows} changed", before == after and flows > 0)
    story.check(
        "Still every flow names a slice's VLAN", f"{len(scene.foreign_flows())} others", not scene.foreign_flows()
    )
    no_loss(story, "Slice b lost no ping during the attacks", pings)


def a_dies_and_comes_back(story: Story, scene: Scene) -> None:
    """Slice a's controller is killed and restarted."""
    pings = steady(scene, "b")
    scene.controller.kill()
    story.tell("kill -9 for slice a's controller.")
    answered, sent = counted(scene.rack.ping_slice("a", count=1, wait=1.0))
    story.check("Slice a has only itself harmed: its own flows are gone", f"{answered} of {sent} pings", answered == 0)
    no_loss(story, "Slice b lost no ping while a's controller was dead", pings)
    began = time.monotonic()
    scene.start_controller("simple_switch_13")
    story.tell("Slice a's own controller is started again.")
    scene.wait_for_control("a")
    took = time.monotonic() - began
    answered, sent = counted(scene.rack.ping_slice("a"))
    story.check(
        "Slice a works again", f"{answered} of {sent} pings, controlled {took:.1f} s after the start", answered == sent
    )


def a_is_removed(story: Story, scene: Scene) -> None:
    """Slice a is taken out of the configuration."""
    pings = steady(scene, "b")
    before = sum(map(len, scene.flows("a").values()))
    scene.vmoc.reload(configuration("b"))
    story.tell("Slice a is taken out of the configuration: kill -HUP.")
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: not any(scene.flows("a").values()), "slice a's flows to go", timeout=10)
    left = sum(map(len, scene.flows("a").values()))
    story.check("A removed slice leaves no flow", f"{left} of {before} left", left == 0 and before > 0)
    no_loss(story, "Slice b lost no ping meanwhile", pings)


def judged(attack: str, answers: list[Any]) -> tuple[str, bool]:
    """What the switches' sides answered to an attack, in words, and whether it is as it must be."""
    if len(answers) != len(SWITCHES) or any(isinstance(errors, str) for errors in answers):
        return "no answer", False
    refusals = sorted({f"({kind},{code})" for errors in answers for kind, code in errors})
    if attack in REFUSED:
        everywhere = all(answers)
        return (f"refused with error {', '.join(refusals)}" if everywhere else "accepted"), everywhere
    return (f"refused with error {', '.join(refusals)}" if refusals else "kept inside VLAN 101"), attack in NARROWED


def steady(scene: Scene, slice_name: str) -> list[KeptPing]:
    """Pings that run on, all of them answered already."""
    pings = scene.rack.keep_pinging(slice_name)
    wait_until(lambda: all(ping.answered >= 3 for ping in pings), f"slice {slice_name} to ping")
    return pings


def no_loss(story: Story, claim: str, pings: list[KeptPing]) -> None:
    """Stop the pings; none may have been lost."""
    enough = {ping: ping.answered + 5 for ping in pings}
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: all(ping.answered >= count for ping, count in enough.items()), "more answers", timeout=5)
    outcomes = [ping.stop() for ping in pings]
    answered, sent = counted(outcomes)
    story.check(claim, f"{sent - answered} of {sent} lost", answered == sent)


def addresses(scene: Scene, host: str) -> set[str]:
    """A host's MAC and IPv4 addresses, asked of the host."""
    guest = scene.rack.net[host]
    link = json.loads(guest.cmd("ip -j addr show dev", guest.defaultIntf().name))[0]
    return {link["address"], *(entry["local"] for entry in link["addr_info"])}


def explore(story: Story, scene: Scene) -> None:
    """Leave everything up, with Mininet's command line."""
    scene.vmoc.reload(configuration("a", "b"))
    scene.wait_for_control("a")
    story.console.print(
        "\nAll is up again for you. This is Mininet's command line; for example:\n"
        "  a1 ping -c1 10.0.0.3                             inside slice a, across both switches\n"
        "  a1 ping -c1 -W1 10.0.102.3                       towards slice b: no answer\n"
        "  sh ovs-ofctl -O OpenFlow13 dump-flows s1\n"
        f"  sh tail {scene.vmoc.log}\n"
        "  exit                                             ends it and cleans up\n",
        highlight=False,
        markup=False,
    )
    nodes.mininet().cli.CLI(scene.rack.net)


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP unwind the stack; while it unwinds they are ignored."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def end(number: int, _: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    """Tell the story; 0 if every line held."""
    parser = argparse.ArgumentParser(prog="python -m mininet_scenarios.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--json", action="store_true", help="print the lines as JSON on standard output, progress on standard error"
    )
    parser.add_argument(
        "--keep", action="store_true", help="afterwards stay, with Mininet's command line, for exploring"
    )
    options = parser.parse_args(argv)
    console = Console(stderr=options.json, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120  # a log is not as narrow as what Rich assumes
    problem = vmoc.unavailable("The demo makes")
    if problem:
        console.print(problem, markup=False, highlight=False)
        return 1

    story = Story(console)
    os.environ[TOKEN] = secrets.token_hex(8)
    scene: Scene | None = None
    with _signals_end_it():
        with contextlib.ExitStack() as stack:
            try:
                scene = Scene(story, stack)
                tell(story, scene)
                if options.keep:
                    explore(story, scene)
            except (WaitedTooLongError, RuntimeError) as error:
                story.check("The story could be told to its end", str(error), False)
            story.tell("Taking everything down.")
        token = f"{TOKEN}={os.environ[TOKEN]}"
        with contextlib.suppress(WaitedTooLongError):
            wait_until(lambda: not descendants(token), "every process to end", timeout=5)
        left = len(descendants(token)) + (scene is not None and scene.directory.exists())
        log = scene.vmoc_log if scene is not None else ""
        story.check_log(log)
        story.check("Nothing is left behind", f"{left} processes, namespaces or files", left == 0)

    return story.end("Two experimenters on the same two switches", log, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
