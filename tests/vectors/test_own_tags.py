"""Vectors of our own: ``qinq: on`` (Q), the tags a packet-out brings, against the process over sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulation import EmulatedController, VmocProcess, free_port
from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vectors.mock import MockSwitch

VLAN, DPID = 100, 0xAA


class Stage:
    """One process, one switch, one slice that sees its tags."""

    def __init__(self, directory: Path, version: int) -> None:
        self.version = version
        self.controller = EmulatedController(version, free_port(), name="anna").listen()
        attachment = {"dpid": f"0x{DPID:016x}", "ports": [1, 2]}
        segment = {"vlan": VLAN, "controllers": [self.controller.address], "attachments": [attachment]}
        slices = [{"id": "anna", "segments": [segment]}]
        self.vmoc = VmocProcess(directory, {"policy": {"qinq": True}, "slices": slices})
        self.vmoc.start()
        self.switch = MockSwitch(self.vmoc.address, DPID, version)
        self.switch.start()
        self.switch.wait_connected()
        self.anna = self.controller.wait_up(VLAN << 48 | DPID)

    def close(self) -> None:
        self.switch.stop()
        self.controller.stop()
        self.vmoc.stop()

    def passes(self, frame: bytes, *actions: bytes) -> None:
        self.switch.mark()
        self.anna.packet_out(frame, b"".join(actions) + of.output(self.version, 2))
        self.anna.barrier()
        (sent,) = (of.parse_packet_out(each) for each in self.switch.derived() if each.name == "packet_out")
        assert (sent.data, sent.actions) == (frame, b"".join(actions) + of.output(self.version, 2))

    def refused(self, frame: bytes, *actions: bytes) -> None:
        self.switch.mark()
        xid = self.anna.packet_out(frame, b"".join(actions) + of.output(self.version, 2))
        self.anna.expect_error(xid, 2, 6)
        self.anna.barrier()
        assert not [each for each in self.switch.derived() if each.name == "packet_out"]


@pytest.fixture(params=[of.V10, of.V13], ids=["1.0", "1.3"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path, request.param)
    yield one
    one.close()


def test_q01_an_inner_tag_may_come_to_light_if_it_is_the_slices(stage: Stage) -> None:
    strip = of.strip_vlan(stage.version)
    stage.passes(E(VLAN, inner=VLAN), strip)
    stage.refused(E(VLAN, inner=200), strip)
    stage.refused(E(VLAN), strip)


def test_q02_an_inner_tag_may_be_made_the_slices(stage: Stage) -> None:
    version = stage.version
    stage.passes(E(VLAN, inner=200), of.strip_vlan(version), of.set_vlan(version, VLAN))
    stage.refused(E(VLAN, inner=VLAN), of.strip_vlan(version), of.set_vlan(version, 200))


def test_q03_no_priority_for_a_tag_that_not_every_switch_sees(stage: Stage) -> None:
    version = stage.version
    strip, pcp = of.strip_vlan(version), of.set_pcp(version, 3)
    stage.refused(E(VLAN, inner=VLAN), strip, pcp)
    stage.passes(E(VLAN, inner=VLAN), pcp, strip)
    stage.passes(E(VLAN, inner=VLAN), strip, of.set_vlan(version, VLAN), pcp)
