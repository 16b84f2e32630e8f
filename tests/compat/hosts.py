"""Hosts that ping: real IP stacks in namespaces of their own, behind compute nodes which put the VLAN tag on.

::

      a1 b1      a2 b2      a3 b3       hosts: one per slice and node; aN and bN share MAC and IP address
        |          |          |
       n1         n2         n3         compute nodes: plain learning bridges, one access port per host
        1\\         |2        /3
          --------br0--------           the switch under VMOC

No host knows its VLAN, as in a rack.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.processes import run, wait_until
from tests.ovs.lab import VMOC_ADDRESS, Lab

A: Final = 101  # alice's VLAN: the controller under test
B: Final = 102  # bob's: VMOC's own learning switch
_NUMBERS: Final = itertools.count(1)
"""Identifiers of echo requests."""


@dataclass(frozen=True)
class Host:
    """One host: its name, its address and where it lives."""

    name: str
    address: str
    namespace: NetworkNamespace

    def ping(self, address: str, count: int = 1, patience: float = 1.0) -> int:
        """How many of ``count`` echo requests, 20 ms apart, were answered within ``patience`` seconds of the last one.

        (``ping`` waits only twice as long as the slowest answer took so far: on a busy machine it gives up too soon.)
        """
        number = next(_NUMBERS) & 0xFFFF
        waiting = set(range(count))
        with self.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
            for sequence in range(count):
                with contextlib.suppress(OSError):  # no such host, the kernel says
                    icmp.sendto(_echo_request(number, sequence), (address, 0))
                _collect(icmp, number, waiting, patience if sequence == count - 1 else 0.02)
        return count - len(waiting)


def _echo_request(number: int, sequence: int) -> bytes:
    """ICMP type 8 (RFC 792)."""
    words = (0x0800, 0, number, sequence)
    total = sum(words)
    return struct.pack("!4H", words[0], ~(total + (total >> 16)) & 0xFFFF, number, sequence)


def _collect(icmp: socket.socket, number: int, waiting: set[int], seconds: float) -> None:
    """Take the answers to our requests off ``waiting``, for so long or until there are none left."""
    end = time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        icmp.settimeout(left)
        try:
            packet = icmp.recv(2048)
        except TimeoutError:
            return
        kind, identifier, sequence = struct.unpack_from("!B3xHH", packet, (packet[0] & 15) * 4)
        if (kind, identifier) == (0, number):
            waiting.discard(sequence)


class Rack:
    """The picture above, made in a lab. ``hosts["a1"]`` is alice's host on node 1."""

    def __init__(self, lab: Lab, *protocols: str, nodes: int = 3, dpid: int = 1) -> None:
        self.lab = lab
        self.nodes = nodes
        self.hosts: dict[str, Host] = {}
        lab.bridge("br0", dpid, ports=0, protocols=protocols, controllers=[])
        for number in range(1, nodes + 1):
            node = f"n{number}"
            lab.ovs.add_bridge(node, 0xC0 + number, fail_mode="standalone")
            lab.ovs.add_patch("br0", number, node, 9)
            for slice_, vlan in (("a", A), ("b", B)):
                self._host(node, slice_, number, vlan)
        lab.ovs.set_controller("br0", VMOC_ADDRESS)
        lab.ovs.wait_connected("br0")

    def _host(self, node: str, slice_: str, number: int, vlan: int) -> None:
        name, mac = f"{slice_}{number}", f"02:00:00:00:00:{number:02x}"
        namespace = self.lab.stack.enter_context(NetworkNamespace.create())
        run(["ip", "link", "add", f"{node}-{name}", "type", "veth", "peer", "name", "eth0", "address", mac,
             "netns", namespace.path])  # fmt: skip
        with namespace.entered():
            run(["ip", "address", "add", f"10.0.0.{number}/24", "dev", "eth0"])
            run(["ip", "address", "add", f"10.0.{vlan}.{number}/24", "dev", "eth0"])  # this slice's alone
            run(["ip", "link", "set", "eth0", "up"])
        run(["ip", "link", "set", f"{node}-{name}", "up"])
        self.lab.ovs.vsctl("add-port", node, f"{node}-{name}", f"tag={vlan}")
        self.hosts[name] = Host(name, f"10.0.0.{number}", namespace)

    def slice_works(self, slice_: str, timeout: float = 20.0) -> None:
        """Every host of a slice reaches every other one, at last without losing anything."""
        numbers = range(1, self.nodes + 1)
        pairs = [(f"{slice_}{one}", f"{slice_}{two}") for one in numbers for two in numbers if one != two]
        for one, two in pairs:
            source, target = self.hosts[one], self.hosts[two]
            wait_until(lambda s=source, t=target: s.ping(t.address), f"{one} to reach {two}", timeout=timeout)  # type: ignore[misc]
        for one, two in pairs:
            received = self.hosts[one].ping(self.hosts[two].address, 3, patience=5)
            assert received == 3, f"{one} had {received} of 3 answers from {two}\n{self.state()}"

    def state(self) -> str:
        """What there is to see when something fails: the flows and VMOC's last words."""
        return "\n".join([*self.lab.flows(counters=True), self.lab.vmoc.output()[-3000:]])

    def both_work_apart(self) -> None:
        """Both slices work, and no host reaches one of the other slice."""
        self.slice_works("b")
        self.slice_works("a")
        self.slice_works("b")
        assert self.hosts["a1"].ping(f"10.0.{A}.2") == 1
        for source, address in (("a1", f"10.0.{B}.2"), ("b1", f"10.0.{A}.2")):
            assert self.hosts[source].ping(address) == 0, f"{source} reached {address}"
