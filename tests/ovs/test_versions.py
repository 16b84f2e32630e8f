"""OpenFlow version negotiation with a real switch, on both legs."""

from __future__ import annotations

import pytest

from mininet_scenarios.openvswitch import BOTH
from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.ovs.lab import NORTH, Lab, a_slice, established

A = 101
ALICE = f"tcp:127.0.0.1:{NORTH}"


@pytest.mark.parametrize(
    ("protocols", "offered", "spoken"),
    [
        (["OpenFlow10"], [1.0, 1.3], of.V10),
        (["OpenFlow13"], [1.0, 1.3], of.V13),
        (BOTH, [1.0, 1.3], of.V13),
        (BOTH, [1.0], of.V10),
        (BOTH, [1.3], of.V13),
        (["OpenFlow10", "OpenFlow12", "OpenFlow14"], [1.0, 1.3], of.V10),
    ],
    ids=["1.0", "1.3", "both", "both-but-vmoc-1.0", "both-but-vmoc-1.3", "no-1.3"],
)
def test_the_controller_is_offered_what_the_switch_speaks(
    lab: Lab, protocols: list[str], offered: list[float], spoken: int
) -> None:
    controller = lab.controller(of.V13, versions=(of.V10, of.V13)) if spoken == of.V13 else lab.controller(of.V10)
    lab.run_vmoc(
        a_slice("alice", A, ALICE),
        openflow={"listen": [{"address": "127.0.0.1", "port": 6653}], "versions": offered},
    )
    lab.bridge(protocols=protocols)
    (connection,) = established(controller)
    assert connection.dpid == A << 48 | 1
    assert {message.version for message in connection.log} == {spoken}
    assert sorted(port.number for port in connection.ports) == [1, 2, 3]


def test_a_switch_without_a_common_version_is_refused(lab: Lab) -> None:
    lab.run_vmoc(
        a_slice("alice", A, ALICE),
        openflow={"listen": [{"address": "127.0.0.1", "port": 6653}], "versions": [1.0]},
    )
    lab.bridge(protocols=["OpenFlow13"], controllers=[])
    lab.ovs.vsctl("set-controller", "br0", "tcp:127.0.0.1:6653")
    wait_until(lambda: "version negotiation failed" in lab.ovs.log, "the switch to give up")
    assert not lab.ovs.connected("br0")
    assert lab.vmoc.alive


def test_a_controller_without_the_switchs_version_harms_nobody(lab: Lab) -> None:
    old, new = lab.controller(of.V10), lab.controller(of.V13, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", 102, f"tcp:127.0.0.1:{NORTH + 1}"))
    lab.bridge(protocols=["OpenFlow13"])
    established(new)
    wait_until(lambda: len(old.connections) >= 2, "VMOC to try again")
    assert not any(connection.up for connection in old.connections)
    new.connections[0].barrier()
