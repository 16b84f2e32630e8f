"""One test's network: a namespace, an Open vSwitch and a ``vmoc run`` of its own, with frames in and out of ports."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mininet_scenarios.frames import BROADCAST, Wire, frame, vlan_of
from mininet_scenarios.namespaces import listening
from mininet_scenarios.openvswitch import BOTH, PrivateOvs
from mininet_scenarios.processes import Process, wait_until
from mininet_scenarios.vmoc import Vmoc
from tests.emulation.controller import Connection, EmulatedController
from tests.emulation.nursery import fork_vmoc

SOUTH = 6653  # fixed ports: nobody else is in the namespace
NORTH = 6640
VMOC_ADDRESS = f"tcp:127.0.0.1:{SOUTH}"
QUICK = {"reconnect_first": 0.1, "reconnect_max": 0.5}


def a_slice(name: str, vlan: int, *controllers: str, **segment: Any) -> dict[str, Any]:
    """A slice of one segment, as the configuration file has it."""
    return {"id": name, "segments": [{"vlan": vlan, "controllers": list(controllers), **segment}]}


def configuration(*slices: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A configuration for the lab: loopback listeners, quick reconnects, no default controller unless asked for."""
    return {
        "openflow": {"listen": [{"address": "127.0.0.1", "port": SOUTH}]},
        "state": {"path": ":memory:"},
        "default_controller": {"mode": "none"},
        "timers": QUICK,
        "slices": list(slices),
    } | more


class ForkedVmoc(Vmoc):
    """The same, started from a nursery."""

    def _launch(self) -> Process:
        with self.log.open("ab") as sink:
            started = fork_vmoc(["run", "-c", str(self.file)], output=sink.fileno(), env=os.environ)
        return Process.around("vmoc", started, self.log)


class Lab:
    """See the module. ``directory`` gets the configuration and all logs."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.ovs = stack.enter_context(PrivateOvs())
        self.vmoc: Vmoc
        self.program: list[str] = []  # what to run for ``vmoc``, if something else
        self.alice: Process  # a controller that a test kills
        self._wires: dict[str, Wire] = {}
        self._numbers = itertools.count(1)

    # what runs

    def run_vmoc(self, *slices: Mapping[str, Any], **more: Any) -> Vmoc:
        """Start VMOC with these slices."""
        settings = configuration(*slices, **more)
        one = Vmoc(self.directory, settings, self.program) if self.program else ForkedVmoc(self.directory, settings)
        self.vmoc = self.stack.enter_context(one)
        return self.vmoc

    def reload(self, *slices: Mapping[str, Any], **more: Any) -> None:
        """SIGHUP with these slices."""
        self.vmoc.reload(configuration(*slices, **more))

    def reloads(self) -> int:
        """How often VMOC has said that it applied a new configuration."""
        return self.vmoc.output().count("config-reloaded")

    def app(self, name: str, port: int = NORTH) -> Process:
        """Run an os-ken application of ``mininet_scenarios.controllers`` as a process."""
        words = [sys.executable, "-m", "mininet_scenarios.controllers", name, "--port", str(port)]
        process = self.process(name, *words)
        wait_until(lambda: listening(port) or not process.alive, f"{name} to listen")
        assert process.alive, process.output()
        return process

    def process(self, name: str, *words: str) -> Process:
        """Run any command until the end of the test; it talks to this lab's Open vSwitch if to any."""
        process = Process(name, words, log=self.directory / f"{name}-{next(self._numbers)}.log", env=self.ovs.env)
        self.stack.callback(process.stop)
        return process

    def controller(self, version: int, port: int = NORTH, **options: Any) -> EmulatedController:
        """A scripted controller in this process."""
        controller = EmulatedController(version, port, **options).listen()
        self.stack.callback(controller.stop)
        return controller

    def bridge(
        self,
        bridge: str = "br0",
        dpid: int = 1,
        *,
        ports: int = 3,
        protocols: Iterable[str] = BOTH,
        controllers: Iterable[str] = (VMOC_ADDRESS,),
    ) -> str:
        """A bridge under VMOC with taps ``<bridge>p1``..., connected when this returns."""
        self.ovs.add_bridge(bridge, dpid, protocols=protocols)
        for number in range(1, ports + 1):
            self.ovs.add_port(bridge, f"{bridge}p{number}", number)
        if controllers := list(controllers):
            self.ovs.set_controller(bridge, *controllers)
            self.ovs.wait_connected(bridge)
        return bridge

    def disconnect(self, bridge: str = "br0") -> None:
        """Cut a bridge off from VMOC and leave its flows: it calls where nobody listens.

        (``del-controller`` would flush them: Open vSwitch does when the last controller goes.)
        """
        self.ovs.set_controller(bridge, "tcp:127.0.0.1:1")

    # frames

    def wire(self, port: str) -> Wire:
        """The far end of a port."""
        if port not in self._wires:
            self._wires[port] = Wire(port)
            self.stack.callback(self._wires[port].close)
        return self._wires[port]

    def rewire(self) -> None:
        """After the taps were made anew."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    def passes(self, vlan: int | None, source: str, *targets: str, timeout: float = 15.0, only: bool = True) -> bytes:
        """Frames broadcast into ``source`` come out of every target with the same tag; their mark is returned.

        With ``only`` no other wire of the test may hear them, in any VLAN.

        The frame is sent again until it does: a controller may still be on its way.
        """
        mark, data = self.marked(vlan, source)
        wires = {target: self.wire(target) for target in targets}

        def heard() -> bool:
            self.wire(source).send(data)
            return all(any(mark in one and vlan_of(one) == vlan for one in wire.listen()) for wire in wires.values())

        wait_until(heard, f"VLAN {vlan} to pass from {source} to {', '.join(targets)}", timeout=timeout, every=0.1)
        for port, wire in self._wires.items():
            strays = [one for one in wire.listen() if mark in one and vlan_of(one) != vlan]
            assert not strays, f"{port} heard a frame of VLAN {vlan} as VLAN {vlan_of(strays[0])}"
            assert not only or port in (*targets, source) or not any(mark in one for one in wire.heard), (
                f"{port} heard it too"
            )
        return mark

    def stays_out(self, vlan: int | None, source: str, *targets: str, fence: tuple[int, str]) -> None:
        """Frames broadcast into ``source`` come out nowhere; ``fence`` is a (VLAN, port) that does pass to ``targets``.

        What was sent before the fence would have come out before it: one switch
        and one control connection keep the order. Flows that are gone are gone
        from what the switch remembers of them, too, before anything is sent.
        """
        self.ovs.appctl("revalidator/wait")
        mark, data = self.marked(vlan, source)
        wires = [self.wire(target) for target in targets]
        for _ in range(3):
            self.wire(source).send(data)
        self.passes(fence[0], fence[1], *(target for target in targets if target != fence[1]), only=False)
        self.passes(fence[0], fence[1], *(target for target in targets if target != fence[1]), only=False)
        for wire in wires:
            assert not any(mark in one for one in wire.listen()), f"{wire.interface} heard VLAN {vlan}"

    def marked(self, vlan: int | None, source: str) -> tuple[bytes, bytes]:
        """A mark no other frame has, and a broadcast frame with it."""
        number = next(self._numbers)
        mark = b"frame %d of %s." % (number, source.encode())
        return mark, frame(BROADCAST, address(source), mark, vlan=vlan)

    def talk_all(self, vlan: int | None, *ports: str) -> None:
        """Every station hears every other one."""
        for one, other in itertools.combinations(ports, 2):
            self.talk(vlan, one, other)

    def talk(self, vlan: int | None, one: str, other: str, timeout: float = 15.0) -> None:
        """Two stations exchange unicast frames until both hear each other: what a learning controller learns from."""
        self.passes(vlan, one, other, timeout=timeout, only=False)
        for source, target in ((other, one), (one, other)):
            self.unicast(vlan, source, target, timeout=timeout)

    def unicast(self, vlan: int | None, source: str, target: str, timeout: float = 15.0) -> None:
        """One station's frame reaches another one's address."""
        self.reaches(vlan, source, target, address(target), timeout=timeout)

    def reaches(self, vlan: int | None, source: str, target: str, mac: str, timeout: float = 15.0) -> None:
        """A frame to ``mac`` comes out of ``target``."""
        mark = b"unicast %d." % next(self._numbers)
        data = frame(mac, address(source), mark, vlan=vlan)
        wire = self.wire(target)

        def heard() -> bool:
            self.wire(source).send(data)
            return any(mark in one and vlan_of(one) == vlan for one in wire.listen())

        wait_until(heard, f"{target} to hear {source} in VLAN {vlan}", timeout=timeout, every=0.1)

    def station(self, vlan: int | None, port: str, mac: str) -> None:
        """Let the network hear a station of that address behind a port."""
        number = next(self._numbers)
        self.wire(port).send(frame(BROADCAST, mac, b"station %d." % number, vlan=vlan))

    # flows

    def flows(self, vlan: int | None = None, bridge: str = "br0", *, counters: bool = False) -> list[str]:
        """The bridge's flows (of one VLAN), in the newest version it speaks."""
        protocols = self.ovs.vsctl("get", "bridge", bridge, "protocols")
        version = "OpenFlow13" if "OpenFlow13" in protocols else "OpenFlow10"
        match = "" if vlan is None else f"dl_vlan={vlan}"
        return self.ovs.flows(bridge, match, version=version, counters=counters)

    def only_vlans(self, *vlans: int, bridge: str = "br0") -> None:
        """Every flow names one of these VLANs."""
        wanted = {f"dl_vlan={vlan}" for vlan in vlans}
        others = [flow for flow in self.flows(bridge=bridge) if not wanted & set(flow.replace(" ", ",").split(","))]
        assert not others, f"flows outside VLANs {vlans}: {others}"


def address(port: str) -> str:
    """The MAC address of the station behind a port: from its number alone, so stations of all VLANs share it."""
    return f"02:00:00:00:00:{int(port.rpartition('p')[2]):02x}"


def established(controller: EmulatedController, count: int = 1, timeout: float = 15.0) -> list[Connection]:
    """Wait for that many live, complete connections."""
    return wait_until(
        lambda: live if len(live := [one for one in controller.connections if one.up]) >= count else [],
        f"{count} connections at {controller.name}",
        timeout=timeout,
    )


def cookies(flows: Iterable[str]) -> Iterator[int]:
    """The cookies of dumped flows."""
    for flow in flows:
        yield int(flow.partition("cookie=")[2].partition(",")[0], 16)
