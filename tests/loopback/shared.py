"""One running VMOC for many tests."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.emulation import VmocProcess, free_port
from tests.loopback.scene import DEBUG, NO_RATES, PORTS_A, PORTS_B, VLAN_A, VLAN_B, Scene, slice_of

DPIDS = range(0x100, 0x300)


class Shared:
    """A VMOC for many tests, started when first needed, and again should a test have broken it."""

    def __init__(self, directory: Path, timers: dict[str, float]) -> None:
        self._directory = directory
        self._timers = timers
        self._ports = (free_port(), free_port())
        self._dpids = itertools.cycle(DPIDS)
        self.vmoc: VmocProcess | None = None

    def scene(self, version: int) -> Scene:
        """A scene on a datapath id no other test has."""
        if self.vmoc is None or not self.vmoc.running:
            a, b = (f"tcp:127.0.0.1:{port}" for port in self._ports)
            slices = [
                slice_of("alice", VLAN_A, [a], PORTS_A, dpids=DPIDS),
                slice_of("bob", VLAN_B, [b], PORTS_B, dpids=DPIDS),
            ]
            config = {"limits": dict(NO_RATES), "timers": self._timers, "slices": slices}
            self.vmoc = VmocProcess(self._directory, config, options=DEBUG)
            self.vmoc.start()
        return Scene(self._directory, version, shared=self.vmoc, dpid=next(self._dpids), ports=self._ports)
