"""A network drawn in a few words: switches under VMOC, cables between them, and hosts of slices.

Where a switch has hosts it has a compute node on its port 1: a plain bridge
that puts each host's VLAN tag on, as a rack's hypervisors do. Cables take the
next free ports on either side, in the order they are named.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mininet_scenarios import nodes
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.pings import Attempt, KeptPing, Pinged, ping_all


@dataclass(frozen=True)
class Drawing:
    """``switches``: name to DPID. ``cables``: pairs of switches. ``hosts``: name to (switch, VLAN)."""

    switches: Mapping[str, int]
    hosts: Mapping[str, tuple[str, int]]
    cables: Sequence[tuple[str, str]] = ()

    def ports(self) -> dict[str, int]:
        """The last port of each switch: the compute node's, then the cables'."""
        found = dict.fromkeys(self.switches, 1)
        for end in itertools.chain.from_iterable(self.cables):
            found[end] += 1
        return found


class Network:
    """The drawing, built by Mininet on a private Open vSwitch. A context manager, in a namespace of its own.

    The nth host of a VLAN is 10.0.0.n, whatever the VLAN.
    """

    def __init__(self, ovs: PrivateOvs, drawing: Drawing, *, controller: tuple[str, int]) -> None:
        self.ovs = ovs
        self.drawing = drawing
        self._classes = nodes.nodes()
        self.addresses: dict[str, str] = {}
        self.net: Any = nodes.empty_net(ovs, self._classes, controller)
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        classes, link = self._classes, self._classes.package.link
        core = {
            name: nodes.add_core_switch(self.net, classes, name, dpid) for name, dpid in self.drawing.switches.items()
        }
        edges: dict[str, Any] = {}
        for at in dict.fromkeys(where for where, _ in self.drawing.hosts.values()):
            edges[at] = nodes.add_compute_node(self.net, classes, f"n{at}", 0x1000 + self.drawing.switches[at])
            link.Link(edges[at], core[at], port1=1, port2=1)
        free = {name: itertools.count(2) for name in self.drawing.switches}
        for one, other in self.drawing.cables:
            link.Link(core[one], core[other], port1=next(free[one]), port2=next(free[other]))
        seats = {name: itertools.count(2) for name in edges}
        numbers: dict[int, itertools.count[int]] = {}
        for number, (name, (at, vlan)) in enumerate(self.drawing.hosts.items(), 1):
            host = self.net.addHost(name, ip=None, mac=f"02:00:00:00:{vlan & 0xFF:02x}:{number:02x}")
            link.Link(host, edges[at], port2=next(seats[at]), params2={"tag": vlan})
            self.addresses[name] = f"10.0.0.{next(numbers.setdefault(vlan, itertools.count(1)))}"
        self.net.build()
        self.net.start()
        for name, address in self.addresses.items():
            host = self.net[name]
            host.cmd("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
            host.cmd(f"ip addr add {address}/24 dev {host.defaultIntf().name}")

    def command(self, host: str, *argv: str) -> list[str]:
        """How to run a command inside a host."""
        return ["mnexec", "-a", str(self.net[host].pid), *argv]

    def attempt(self, source: str, target: str) -> Attempt:
        """A ping between two hosts."""
        return Attempt(source, target, tuple(self.command(source, "ping", "-n", self.addresses[target])))

    def ping(self, pairs: Iterable[tuple[str, str]], *, count: int = 2, wait: float = 2.0) -> list[Pinged]:
        """Pings between hosts, all pairs at the same time."""
        return ping_all([self.attempt(*pair) for pair in pairs], count=count, wait=wait)

    def keep_pinging(self, source: str, target: str) -> KeptPing:
        """A ping that goes on until it is stopped."""
        return KeptPing(self.attempt(source, target), self.ovs.directory)

    def neighbours(self, vlan: int) -> list[tuple[str, str]]:
        """Each host of a VLAN with each other one."""
        names = [name for name, (_, theirs) in self.drawing.hosts.items() if theirs == vlan]
        return list(itertools.permutations(names, 2))

    def cut(self, one: str, other: str) -> None:
        """Pull the cables between two switches."""
        self.net.configLinkStatus(one, other, "down")

    def mend(self, one: str, other: str) -> None:
        """Put them in again."""
        self.net.configLinkStatus(one, other, "up")

    def flows(self, vlan: int) -> dict[str, list[str]]:
        """The flows of a VLAN on every switch, without counters."""
        return {switch: self.ovs.flows(switch, f"dl_vlan={vlan}") for switch in self.drawing.switches}

    def stop(self) -> None:
        """Take it all down."""
        nodes.stop(self.net)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
