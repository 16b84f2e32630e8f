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

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mininet_scenarios.frames import BROADCAST, Wire, frame
from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.processes import Process

VLANS: Final = {"a": 101, "b": 102}
HOSTS: Final = 4  # per slice
SWITCHES: Final = {"s1": 1, "s2": 2}  # and their DPIDs
DEBIAN_PACKAGES: Final = Path("/usr/lib/python3/dist-packages")
_PATTERN: Final = {"a": "aa", "b": "bb"}  # what a slice's pings are filled with


class MininetUnavailableError(RuntimeError):
    """Mininet is not installed here; the message says what to install."""


def mininet() -> Any:
    """Mininet's Python package, Debian's one when this environment has none of its own.

    Raises ``MininetUnavailableError``.
    """
    if DEBIAN_PACKAGES.is_dir() and str(DEBIAN_PACKAGES) not in sys.path:
        sys.path.append(str(DEBIAN_PACKAGES))
    try:
        for module in ("link", "net", "node", "log", "cli"):
            importlib.import_module(f"mininet.{module}")
    except ImportError as error:
        raise MininetUnavailableError(
            f"Mininet cannot be imported here ({error}); install it with: apt-get install mininet"
        ) from error
    return sys.modules["mininet"]


@dataclass(frozen=True)
class Pinged:
    """The outcome of one ``ping``."""

    source: str
    target: str
    sent: int
    received: int

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.sent - self.received


class Rack:
    """The network, built by Mininet on a private Open vSwitch. Use as a context manager, in a namespace of its own."""

    def __init__(self, ovs: PrivateOvs, *, controller: tuple[str, int], protocols: str = "OpenFlow13") -> None:
        self.ovs = ovs
        self._package = mininet()
        os.environ.update(ovs.env)  # Mininet's own ovs-vsctl calls
        self._package.log.setLogLevel("warning")
        network_class = self._package.net.Mininet
        network_class.inited = True  # its initialisation would only change sysctls of the whole machine
        self.net: Any = network_class(controller=None, build=False)
        self._wires: dict[str, Wire] = {}
        try:
            self._build(controller, protocols)
        except BaseException:
            self.stop()
            raise

    def _build(self, controller: tuple[str, int], protocols: str) -> None:
        node, link = self._package.node, self._package.link

        class CoreSwitch(node.OVSSwitch):  # type: ignore[misc, name-defined]
            """Under the controller, waits for it for ever."""

            def start(self, controllers: Sequence[Any]) -> None:
                super().start(controllers)
                self.cmd("ip link set", self.name, "up")

        class ComputeNode(node.OVSSwitch):  # type: ignore[misc, name-defined]
            """A plain learning bridge; ports given a ``tag`` are access ports of that VLAN."""

            def start(self, controllers: Sequence[Any]) -> None:
                super().start([])

            def intfOpts(self, intf: Any) -> str:
                tag = intf.params.get("tag")
                return str(super().intfOpts(intf)) + (f" -- set Port {intf} tag={tag}" if tag else "")

        class Vmoc(node.RemoteController):  # type: ignore[misc, name-defined]
            """Whatever listens there; no probing connection."""

            def checkListening(self) -> None:
                return

        host, port = controller
        self.net.addController("vmoc", controller=Vmoc, ip=host, port=port)
        switches = {
            name: self.net.addSwitch(
                name, cls=CoreSwitch, dpid=f"{dpid:016x}", datapath="user", failMode="secure", protocols=protocols
            )
            for name, dpid in SWITCHES.items()
        }
        for number in range(1, HOSTS + 1):
            edge = self.net.addSwitch(
                f"n{number}", cls=ComputeNode, dpid=f"{0x100 + number:016x}", datapath="user", failMode="standalone"
            )
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
        running = [
            (
                source,
                target,
                subprocess.Popen(
                    self.command(source, *ping_words(source, target, "-c", str(count), "-W", f"{wait:g}", "-i", "0.2")),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                ),
            )
            for source, target in pairs
        ]
        outcomes = []
        for source, target, process in running:
            output, _ = process.communicate(timeout=count + wait + 20)
            outcomes.append(Pinged(source, target, count, replies(output)))
        return outcomes

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
        return [KeptPing(self, f"{slice_name}{n}", address(m)) for n in numbers for m in numbers if n < m]

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
        self.net.stop()
        for controller in self.net.controllers:
            controller.terminate()  # the shell that Mininet gives even a remote controller

    def __enter__(self) -> Rack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


class KeptPing:
    """A ping that runs until ``stop``."""

    def __init__(self, rack: Rack, source: str, target: str) -> None:
        self.source, self.target = source, target
        log = rack.ovs.directory / f"ping-{source}-{target}.log"
        log.unlink(missing_ok=True)
        self._process = Process(
            f"ping {source}", rack.command(source, *ping_words(source, target, "-i", "0.1", "-O")), log=log
        )

    @property
    def answered(self) -> int:
        """Answers so far."""
        return replies(self._process.output())

    def stop(self) -> Pinged:
        """Stop and count. The request still under way counts for nothing."""
        self._process.stop()
        seen = [int(n) for n in re.findall(r"bytes from .* icmp_seq=(\d+)", self._process.output())]
        missed = [int(n) for n in re.findall(r"no answer yet for icmp_seq=(\d+)", self._process.output())]
        return Pinged(self.source, self.target, max([*seen, *missed], default=0), len(set(seen)))


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


def ping_words(source: str, target: str, *options: str) -> list[str]:
    """``ping`` with the slice's pattern, from its own address when it goes for one of the other slice's."""
    across = ["-I", own_address(source)] if target.startswith(tuple(f"10.0.{vlan}." for vlan in VLANS.values())) else []
    return ["ping", "-n", "-p", _PATTERN[source[0]], *across, *options, target]


def replies(output: str) -> int:
    """How many echo replies ``ping`` has printed."""
    return len(re.findall(r"bytes from .* icmp_seq=\d+", output))
