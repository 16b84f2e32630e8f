"""The rack's story: an aggregate manager allocates, provisions, changes, reboots, probes, renews and ends two slices.

``python -m mininet_scenarios.gram`` (as root; ``make demo-rack``) builds a
GRAM rack, lets the manager do all of it over gRPC, and checks line by line
from outside what it says. Exit code 0 only if every line held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mininet_scenarios import vmoc
from mininet_scenarios.gram import rack
from mininet_scenarios.gram.manager import KEYS
from mininet_scenarios.gram.rack import COMPUTE, DATA_DPID, UPLINK, GramRack
from mininet_scenarios.pings import Attempt, KeptPing, counted, ping_all
from mininet_scenarios.processes import WaitedTooLongError, run, wait_until
from mininet_scenarios.story import Story

Sliver = dict[str, Any]


class Manager:
    """The other end of the manager's program."""

    def __init__(self, process: Any, log: Path) -> None:
        self._process = process
        self._log = log

    def step(self) -> Any:
        """What came of the next step. Raises ``RuntimeError`` with its last words."""
        line = self._process.stdout.readline()
        if not line:
            words = self._log.read_text().strip().splitlines() or ["it ended"]
            raise RuntimeError(f"The aggregate manager failed: {words[-1]}")
        return json.loads(line)

    def go_on(self) -> None:
        """Let it take the next step."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()


def inside(sliver: Sliver, *argv: str) -> list[str]:
    """A command in a sliver's network namespace."""
    return ["ip", "netns", "exec", sliver["status"]["instance"], *argv]


def address(sliver: Sliver, card: str = "eth1") -> str:
    """The address of a card, from what the sliver's status says."""
    (found,) = (one for one in sliver["status"]["interfaces"] if one["guest_name"] == card)
    return str(found["ip_addresses"][0]).partition("/")[0]


def attempt(source: Sliver, target: str) -> Attempt:
    """A ping from a sliver."""
    return Attempt(source["sliver_id"], target, tuple(inside(source, "ping", "-n", target)))


def both_ways(pair: Sequence[Sliver], card: str = "eth1") -> list[Attempt]:
    """Each of two slivers pings the other."""
    one, other = pair
    return [attempt(one, address(other, card)), attempt(other, address(one, card))]


def tell(story: Story, scene: GramRack) -> None:
    """The story proper."""
    the_rack(story, scene)
    scene.start_controller("simple_switch_13")
    story.tell("Alice's controller runs in the lab: an os-ken learning switch. Bob has none.")
    with scene.manager() as process:
        manager = Manager(process, scene.directory / "am.log")
        vlans = {name.partition("-")[0]: vlan for name, vlan in manager.step().items()}
        scene.wait_controlled(*vlans.values())
        seen = ", ".join(f"{name}: VLAN {vlan}" for name, vlan in vlans.items())
        story.check("Two slices are allocated, each a VLAN of the pool", seen, len(set(vlans.values())) == 2)
        manager.go_on()
        slivers = provisioned(story, scene, manager)
        story.tell("Alice's slivers get a second card, on a second network; alice-vm1 another key.")
        manager.go_on()
        slivers = modified(story, scene, manager, slivers)
        rebooted(story, manager, slivers)
        manager.go_on()
        probed(story, manager)
        manager.go_on()
        renewed = manager.step()
        story.check("Bob's slice is renewed", f"until {renewed['expire_time']}", bool(renewed["expire_time"]))
        ended(story, scene, manager, slivers, vlans)


def the_rack(story: Story, scene: GramRack) -> None:
    """The bridges are those of a GRAM installation."""
    wanted = {"br-int", "br-eth1", "br-eth3"}
    for name, node in scene.nodes.items():
        bridges = set(node.ovs.vsctl("list-br").split())
        patches = {"int-br-eth1", "int-br-eth3"} <= node.ports("br-int")
        plugged = "eth1" in node.ports("br-eth1") and "eth3" in node.ports("br-eth3")
        right = bridges == wanted | ({"br-ex"} if name == "control" else set()) and patches and plugged
        story.check(f"{name} has GRAM's bridges, patched and plugged", ", ".join(sorted(bridges)), right)
    story.check("The data switch is under VMOC", f"DPID {DATA_DPID:#x}", scene.ovs.connected("data"))


def provisioned(story: Story, scene: GramRack, manager: Manager) -> dict[str, Sliver]:
    """Four slivers, one of each slice on each compute node."""
    made = manager.step()
    slivers = {one["sliver_id"]: one for one in made["slivers"]}
    where = sorted({(one["slice_id"].partition(".")[0], one["host"]) for one in slivers.values()})
    ready = all(one["status"]["state"] == "SLIVER_STATE_ACTIVE" for one in slivers.values())
    story.check(
        "Four slivers are provisioned, of both slices on both compute nodes",
        f"{len(slivers)} in {made['seconds']} s",
        ready and where == [(name, host) for name in ("alice", "bob") for host in COMPUTE],
    )
    alice, bob = (pair_of(slivers, name) for name in ("alice", "bob"))
    for name, pair in (("alice", alice), ("bob", bob)):
        answered, sent = counted(ping_all(both_ways(pair)))
        seen = f"{answered} of {sent} pings"
        story.check(f"{name}'s two reach each other across the data network", seen, answered == sent)
    same = {address(one) for one in alice} == {address(one) for one in bob}
    story.check("At the same addresses in both slices", ", ".join(sorted({address(one) for one in bob})), same)
    lone = ping_all([attempt(alice[0], f"10.3.0.{node.number}") for node in scene.nodes.values()], count=1, wait=1.0)
    answered, sent = counted(lone)
    story.check("No sliver reaches the management network", f"{answered} of {sent} pings", answered == 0)
    used = {alice[0]["status"]["interfaces"][0]["vlan_id"], bob[0]["status"]["interfaces"][0]["vlan_id"]}
    others = [flow for flow in scene.flows() if not any(f"dl_vlan={vlan}" in flow for vlan in used)]
    story.check("Every flow on the data switch names a slice's VLAN", f"{len(others)} others", not others)
    return slivers


def pair_of(slivers: dict[str, Sliver], name: str) -> list[Sliver]:
    """A slice's two slivers."""
    return [slivers[f"{name}-vm{number}"] for number in (1, 2)]


def modified(story: Story, scene: GramRack, manager: Manager, slivers: dict[str, Sliver]) -> dict[str, Sliver]:
    """A second network, while the first one is in use."""
    answer = manager.step()
    slivers = slivers | {one["sliver_id"]: one for one in answer["slivers"]}
    scene.wait_controlled(answer["vlan"])
    pair = pair_of(slivers, "alice")
    answered, sent = counted(ping_all([*both_ways(pair), *both_ways(pair, "eth2")]))
    story.check("Alice's two reach each other on either network", f"{answered} of {sent} pings", answered == sent)
    keys = Path("/var/lib/vmoc/netns", pair[0]["status"]["instance"], "root/home/alice/.ssh/authorized_keys")
    text = keys.read_text() if keys.exists() else ""
    story.check("The new key is in, the old one out", "authorized_keys", KEYS[1] in text and KEYS[0] not in text)
    return slivers


def rebooted(story: Story, manager: Manager, slivers: dict[str, Sliver]) -> None:
    """One sliver begins anew, and comes back where it was."""
    before = first_process(slivers["alice-vm1"])
    manager.go_on()
    after_action = manager.step()
    after = first_process(slivers["alice-vm1"])
    state = after_action["sliver"]["status"]["state"]
    story.check("alice-vm1 is rebooted", f"first process {before}, then {after}", before != after and "ACTIVE" in state)
    answered, sent = counted(ping_all(both_ways(pair_of(slivers, "alice"))))
    story.check("And is reached as before", f"{answered} of {sent} pings", answered == sent)


def first_process(sliver: Sliver) -> str:
    """What tells one life of a sliver's processes from the next."""
    pids = run(["ip", "netns", "pids", sliver["status"]["instance"]]).split()
    return min(pids, key=int, default="none")


def probed(story: Story, manager: Manager) -> None:
    """What the slivers' interfaces are attached to."""
    found = manager.step()
    attached = {(one["host"], card["dpid"], card["port"]) for one in found for card in one["status"]["interfaces"]}
    wanted = {(host, f"{DATA_DPID:#018x}", UPLINK[host]) for host in COMPUTE}
    story.check("A probe names the data switch and the port of every card", f"{sorted(attached)}", attached == wanted)


def ended(story: Story, scene: GramRack, manager: Manager, slivers: dict[str, Sliver], vlans: dict[str, int]) -> None:
    """Alice is deleted, bob expires."""
    bob = pair_of(slivers, "bob")
    ping = KeptPing(attempt(bob[0], address(bob[1])), scene.directory)
    wait_until(lambda: ping.answered >= 3, "bob to ping")
    manager.go_on()
    left = manager.step()
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: not scene.flows_of(vlans["alice"]), "alice's flows to go", timeout=10)
    gone = not scene.flows_of(vlans["alice"]) and left["slices"] == [f"bob.{scene.token}"]
    story.check("Alice is deleted: no sliver, no flow of hers", f"{', '.join(left['slivers'])} are left", gone)
    outcome = ping.stop()
    story.check(
        "Bob lost no ping meanwhile", f"{outcome.lost} of {outcome.sent} lost", outcome.lost == 0 < outcome.sent
    )
    manager.go_on()
    left = manager.step()
    with contextlib.suppress(WaitedTooLongError):
        wait_until(lambda: not scene.flows(), "the last flows to go", timeout=10)
    cards, flows, machines = scene.cards(), scene.flows(), scene.instances()
    nothing = not (left["slices"] or left["slivers"] or cards or flows or machines)
    seen = f"{len(machines)} slivers, {len(cards)} cards, {len(flows)} flows"
    story.check("Bob's slice expires, and its slivers with it", seen, nothing)


def main(argv: list[str] | None = None) -> int:
    """Tell the story; 0 if every line held."""
    parser = argparse.ArgumentParser(prog="python -m mininet_scenarios.gram", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="the lines as JSON, progress on standard error")
    options = parser.parse_args(argv)
    console = Console(stderr=options.json, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120
    problem = vmoc.unavailable("The rack makes") or rack.missing()
    if problem:
        console.print(problem, markup=False, highlight=False)
        return 1
    story = Story(console)
    scene: GramRack | None = None
    try:
        with GramRack() as scene:
            story.tell("The rack stands: a control node, two compute nodes, four networks, and the lab outside.")
            tell(story, scene)
            story.tell("Taking everything down.")
    except (WaitedTooLongError, RuntimeError) as error:
        story.check("The story could be told to its end", str(error), False)
    log = scene.vmoc_log if scene is not None else ""
    story.check_log(log)
    left = scene is not None and scene.directory.exists()
    story.check("Nothing is left behind", str(scene.directory) if left and scene else "nothing", not left)
    return story.end("A GRAM rack, and what an aggregate manager does with it", log, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
