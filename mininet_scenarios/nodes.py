"""Mininet's own classes, told how VMOC's scenarios want them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mininet_scenarios.openvswitch import PrivateOvs

DEBIAN_PACKAGES: Final = Path("/usr/lib/python3/dist-packages")


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
class Nodes:
    """Node classes: a switch under VMOC, a bridge of a compute node, and VMOC as their controller."""

    package: Any
    core_switch: Any
    compute_node: Any
    vmoc: Any


def nodes() -> Nodes:
    """The classes. Raises ``MininetUnavailableError``."""
    package = mininet()
    node = package.node

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

    return Nodes(package, CoreSwitch, ComputeNode, Vmoc)


def empty_net(ovs: PrivateOvs, classes: Nodes, controller: tuple[str, int]) -> Any:
    """A Mininet without nodes but the controller, on a private Open vSwitch."""
    os.environ.update(ovs.env)  # Mininet's own ovs-vsctl calls
    classes.package.log.setLogLevel("warning")
    network_class = classes.package.net.Mininet
    network_class.inited = True  # its initialisation would only change sysctls of the whole machine
    net = network_class(controller=None, build=False)
    net.addController("vmoc", controller=classes.vmoc, ip=controller[0], port=controller[1])
    return net


def add_core_switch(net: Any, classes: Nodes, name: str, dpid: int) -> Any:
    """A switch that forwards nothing but what its controller has it forward."""
    return net.addSwitch(
        name, cls=classes.core_switch, dpid=f"{dpid:016x}", datapath="user", failMode="secure", protocols="OpenFlow13"
    )


def add_compute_node(net: Any, classes: Nodes, name: str, dpid: int) -> Any:
    """A plain learning bridge."""
    return net.addSwitch(name, cls=classes.compute_node, dpid=f"{dpid:016x}", datapath="user", failMode="standalone")


def stop(net: Any) -> None:
    """Take it all down; what Mininet leaves goes with the namespace."""
    net.stop()
    for controller in net.controllers:
        controller.terminate()  # the shell that Mininet gives even a remote controller
