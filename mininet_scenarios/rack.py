"""The scene of the stories: a small rack under two VMOC-controlled switches.

::

      a1 b1   a2 b2                a3 b3   a4 b4      hosts: slice a in VLAN 101, slice b in VLAN 102
        |       |                    |       |
       n1      n2                   n3      n4        compute nodes: plain bridges, they put the VLAN tag on
         \\     /                      \\     /
          \\1  2/3 ----------------- 3\\1  2/
            s1                         s2             core switches: OpenFlow, controlled by VMOC

``aN`` and ``bN`` have the *same* MAC and IP address (10.0.0.N), which is
normal between slices. Each host also has one address of its own slice alone
(10.0.101.N, 10.0.102.N), so that there is something to reach for across.

Hosts send untagged frames and know no VLAN; the compute node's bridge has one
access port per host and a trunk upwards, as a rack's hypervisors do.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

from mininet_scenarios import nodes
from mininet_scenarios.frames import BROADCAST, Wire, frame
from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.pings import Attempt, KeptPing, Pinged, ping_all

VLANS: Final = {"a": 101, "b": 102}
HOSTS: Final = 4  # per slice
SWITCHES: Final = {"s1": 1, "s2": 2}  # and their DPIDs
_PATTERN: Final = {"a": "aa", "b": "bb"}  # what a slice's pings are filled with


class Rack:
    """The network, built by Mininet on a private Open vSwitch. Use as a context manager, in a namespace of its own."""

    def __init__(self, ovs: PrivateOvs, *, controller: tuple[str, int]) -> None:
        self.ovs = ovs
        self._classes = nodes.nodes()
        self.net: Any = nodes.empty_net(ovs, self._classes, controller)
        self._wires: dict[str, Wire] = {}
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        classes, link = self._classes, self._classes.package.link
        switches = {name: nodes.add_core_switch(self.net, classes, name, dpid) for name, dpid in SWITCHES.items()}
        for number in range(1, HOSTS + 1):
            edge = nodes.add_compute_node(self.net, classes, f"n{number}", 0x100 + number)
            core = switches["s1" if number <= HOSTS // 2 else "s2"]
            core_port = (number - 1) % (HOSTS // 2) + 1
            link.Link(edge, core, port1=1, port2=core_port)
            for position, (slice_name, vlan) in enumerate(VLANS.items()):
                guest = self.net.addHost(f"{slice_name}{number}", ip=None, mac=mac(number))
                link.Link(guest, edge, port2=2 + position, params2={"tag": vlan})
        link.Link(switches["s1"], switches["s2"], port1=3, port2=3)
        self.net.build()
        self.net.start()
        for name in self.hosts():
            self._configure(name)

    def _configure(self, name: str) -> None:
        guest, number = self.net[name], int(name[1:])
        device = guest.defaultIntf().name
        for command in (
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
            f"ip addr add {address(number)}/16 dev {device}",
            f"ip addr add {own_address(name)}/16 dev {device}",
            f"ip link set {device} address {mac(number)} up",
        ):
            guest.cmd(command)
        self._wires[name] = Wire(device, NetworkNamespace.of_process(guest.pid))

    # hosts

    def hosts(self, slice_name: str = "ab") -> list[str]:
        """Host names, of both slices or one."""
        return [f"{letter}{number}" for letter in slice_name for number in range(1, HOSTS + 1)]

    def command(self, host: str, *argv: str) -> list[str]:
        """How to run a command inside a host."""
        return ["mnexec", "-a", str(self.net[host].pid), *argv]

    def ping_all(self, pairs: Iterable[tuple[str, str]], *, count: int = 2, wait: float = 2.0) -> list[Pinged]:
        """Ping from a host to an address, all pairs at the same time."""
        return ping_all([self._attempt(source, target) for source, target in pairs], count=count, wait=wait)

    def _attempt(self, source: str, target: str) -> Attempt:
        return Attempt(source, target, tuple(self.command(source, *ping_words(source, target))))

    def ping_slice(self, slice_name: str, **options: Any) -> list[Pinged]:
        """Every host of a slice pings every other one, on the addresses both slices use."""
        numbers = range(1, HOSTS + 1)
        return self.ping_all([(f"{slice_name}{n}", address(m)) for n in numbers for m in numbers if n != m], **options)

    def ping_across(self, **options: Any) -> list[Pinged]:
        """Every host pings the own addresses of every host of the other slice."""
        return self.ping_all(
            [
                (source, own_address(target))
                for source in self.hosts()
                for target in self.hosts()
                if source[0] != target[0]
            ],
            **options,
        )

    def keep_pinging(self, slice_name: str) -> list[KeptPing]:
        """Every host pings the next ones, ten times a second, until stopped."""
        numbers = range(1, HOSTS + 1)
        return [
            KeptPing(self._attempt(f"{slice_name}{n}", address(m)), self.ovs.directory)
            for n in numbers
            for m in numbers
            if n < m
        ]

    def shout(self, host: str) -> None:
        """Broadcast one frame that says who it is from."""
        self._wires[host].send(frame(BROADCAST, mac(int(host[1:])), cry(host)))

    def heard(self, host: str) -> list[bytes]:
        """Every frame a host has been sent since ``forget``."""
        return self._wires[host].listen()

    def heard_from(self, slice_name: str, host: str) -> int:
        """How many frames of a slice have reached a host."""
        return sum(is_from(slice_name, data) for data in self.heard(host))

    def forget(self) -> None:
        """Start listening anew."""
        for wire in self._wires.values():
            wire.clear()

    def stop(self) -> None:
        """Take it all down; what Mininet leaves goes with the namespace."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()
        nodes.stop(self.net)

    def __enter__(self) -> Rack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def mac(number: int) -> str:
    """The MAC address of the hosts of that number, the same in both slices."""
    return f"02:00:00:00:00:{number:02x}"


def address(number: int) -> str:
    """The IP address of the hosts of that number, the same in both slices."""
    return f"10.0.0.{number}"


def own_address(host: str) -> str:
    """The address only that host has."""
    return f"10.0.{VLANS[host[0]]}.{host[1:]}"


def cry(host: str) -> bytes:
    """What ``Rack.shout`` puts into its frame."""
    return f"slice {host[0]}: this is {host}".encode()


def is_from(slice_name: str, data: bytes) -> bool:
    """Whether a frame can only come from that slice: by its cry, its ping pattern or its own addresses."""
    if f"slice {slice_name}: ".encode() in data or bytes.fromhex(_PATTERN[slice_name]) * 16 in data:
        return True
    return data[12:14] == b"\x08\x06" and data[28:31] == bytes([10, 0, VLANS[slice_name]])


def ping_words(source: str, target: str) -> list[str]:
    """``ping`` with the slice's pattern, from its own address when it goes for one of the other slice's."""
    across = ["-I", own_address(source)] if target.startswith(tuple(f"10.0.{vlan}." for vlan in VLANS.values())) else []
    return ["ping", "-n", "-p", _PATTERN[source[0]], *across, target]
