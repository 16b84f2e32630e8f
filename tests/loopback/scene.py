"""The usual scene: two experimenters, two controllers, one switch, and VMOC in a process of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.emulation import Connection, E, EmulatedController, EmulatedSwitch, VmocProcess, free_port
from tests.emulation import wire as of
from tests.emulation.table import Entry

DPID = 0xAA
VLAN_A, VLAN_B = 101, 102
PORTS_A, PORTS_B = [1, 2, 3], [2, 3, 4]
DEBUG = ("--log-level", "debug")
NO_RATES = {"flow_mod_rate": 0, "packet_out_rate": 0, "packet_in_rate": 0, "stats_rate": 0, "barrier_rate": 0}


def presented(vlan: int, dpid: int = DPID) -> int:
    """The datapath id a slice's controller is shown."""
    return vlan << 48 | dpid & 0xFFFFFFFFFFFF


def slice_of(name: str, vlan: int, controllers: list[str], ports: list[int] | None = None, *,
             dpids: Iterable[int] = (DPID,), **segment: Any) -> dict[str, Any]:  # fmt: skip
    """One slice with one segment; ``ports`` None attaches it to every port of every switch."""
    one: dict[str, Any] = {"vlan": vlan, "controllers": controllers} | segment
    if ports is not None:
        one["attachments"] = [{"dpid": f"0x{dpid:016x}", "ports": ports} for dpid in dpids]
    return {"id": name, "segments": [one]}


class Scene:
    """Slice alice (VLAN 101, ports 1 to 3) and bob (VLAN 102, ports 2 to 4) on one switch.

    Nothing runs until ``up`` or the parts' own ``start``. At the end everything
    is stopped and VMOC's log is checked. With a ``vmoc`` that is shared by
    several tests, each scene brings a switch of its own ``dpid``.
    """

    def __init__(
        self,
        directory: Path,
        version: int = of.V10,
        *,
        shared: VmocProcess | None = None,
        dpid: int = DPID,
        ports: tuple[int, int] | None = None,
        **config: Any,
    ) -> None:
        self.version = version
        self.dpid = dpid
        port_a, port_b = ports or (free_port(), free_port())
        self.a = EmulatedController(version, port_a, name="controller A")
        self.b = EmulatedController(version, port_b, name="controller B")
        self.shared = shared is not None
        self.vmoc = shared or VmocProcess(directory, {"limits": dict(NO_RATES)} | config, options=DEBUG)
        self._log_starts = len(self.vmoc.log())
        self.vmoc.config.setdefault("slices", [self.alice(), self.bob()])
        self.switch = EmulatedSwitch(self.vmoc.address, dpid, version)
        self.others: list[EmulatedSwitch | EmulatedController] = []

    def alice(self, **segment: Any) -> dict[str, Any]:
        """Slice A as configured."""
        return slice_of("alice", VLAN_A, [self.a.address], PORTS_A, dpids=[self.dpid], **segment)

    def bob(self, **segment: Any) -> dict[str, Any]:
        """Slice B as configured."""
        return slice_of("bob", VLAN_B, [self.b.address], PORTS_B, dpids=[self.dpid], **segment)

    def start(self, part: str) -> None:
        """Start ``vmoc``, ``switch`` or ``controllers``."""
        if part == "vmoc":
            if not self.shared:
                self.vmoc.start()
        elif part == "switch":
            self.switch.start()
        else:
            self.a.listen()
            self.b.listen()

    def kill(self, part: str) -> None:
        """End it as by kill -9, and wait until the controllers have seen the consequences."""
        if part == "vmoc":
            assert not self.shared, "that VMOC is not this test's own"
            self.vmoc.kill()
        elif part == "switch":
            self.switch.kill()
        else:
            self.a.kill()
            self.b.kill()
        for connection in (*self.a.live(), *self.b.live()):
            connection.expect_closed()

    def launch(self) -> Scene:
        """Start everything and wait for nothing more."""
        for part in ("controllers", "vmoc", "switch"):
            self.start(part)
        return self

    def up(self) -> Scene:
        """Start everything and wait until both controllers are connected."""
        self.launch()
        self.wait_up()
        return self

    def presented(self, vlan: int) -> int:
        """The switch's datapath id as a slice's controller is shown it."""
        return presented(vlan, self.dpid)

    def wait_up(self) -> tuple[Connection, Connection]:
        """Both controllers' connections, once both are up."""
        return self.A, self.B

    @property
    def A(self) -> Connection:
        """Alice's connection."""
        return self.a.wait_up(self.presented(VLAN_A))

    @property
    def B(self) -> Connection:
        """Bob's connection."""
        return self.b.wait_up(self.presented(VLAN_B))

    def fence(self) -> None:
        """All the switch sent has been handled, and what came of it has reached both controllers."""
        self.switch.echo()
        for controller in (self.a, self.b):
            for connection in controller.live():
                connection.echo()

    def check_works(self) -> None:
        """Packet-ins reach their owner only, and each owner's flow reaches the switch in its own VLAN."""
        a, b = self.wait_up()
        for connection in (a, b):
            connection.forget()
        self.switch.packet_in(2, E(VLAN_A))
        self.switch.packet_in(3, E(VLAN_B))
        assert a.expect_packet_in().data == E(VLAN_A)
        assert b.expect_packet_in().data == E(VLAN_B)
        for connection, port in ((a, 1), (b, 4)):
            connection.flow_mod(match=of.match(self.version), actions=of.output(self.version, port), priority=7)
            connection.barrier()
        assert [e.outputs(self.version) for e in self.slice_flows(VLAN_A)] == [[1]]
        assert [e.outputs(self.version) for e in self.slice_flows(VLAN_B)] == [[4]]
        self.fence()
        a.expect_nothing()
        b.expect_nothing()

    def bob_is_fine(self, connection: Connection) -> None:
        """The very same connection of B still works, end to end."""
        probe = E(VLAN_B, src="02:00:00:00:00:77")
        self.switch.packet_in(2, probe)
        connection.expect_packet_in(lambda p: p.data == probe)
        connection.barrier()
        assert connection.closed is None

    def slice_flows(self, vlan: int | None = None) -> list[Entry]:
        """The switch's entries that do something, guards (entries without actions) left out."""
        return [e for e in self.switch.flows(vlan) if e.actions]

    def close(self) -> None:
        """Stop everything; VMOC last, so that its log holds the consequences."""
        for part in (self.switch, self.a, self.b, *self.others):
            part.stop()
        if self.shared:
            assert self.vmoc.running, f"vmoc ended with {self.vmoc.returncode}:\n{self.vmoc.log()[-4000:]}"
            self.vmoc.check_log(self._log_starts)
        else:
            self.vmoc.stop()
