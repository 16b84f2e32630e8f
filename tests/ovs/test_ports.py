"""Ports that come, go and change on a running bridge."""

from __future__ import annotations

import pytest

from mininet_scenarios.namespaces import set_down, set_up
from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.emulation.controller import Connection
from tests.ovs.lab import NORTH, Lab, a_slice, established

A, B = 101, 102
ALICE, BOB = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"
ADD, DELETE, MODIFY = 0, 1, 2
VERSIONS = pytest.mark.parametrize(
    ("version", "protocol"), [(of.V10, "OpenFlow10"), (of.V13, "OpenFlow13")], ids=["1.0", "1.3"]
)


def expect_port(connection: Connection, reason: int, number: int) -> None:
    """A PORT_STATUS about that port arrives."""

    def matches(message: object) -> bool:
        status = of.parse_port_status(message)
        return (status.reason, status.port.number) == (reason, number)

    connection.expect("port_status", matches)


@VERSIONS
def test_a_new_port_appears_and_joins_the_flood(lab: Lab, version: int, protocol: str) -> None:
    alice, bob = lab.controller(version), lab.controller(version, NORTH + 1)
    two_ports = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB, attachments=two_ports))
    lab.bridge(protocols=[protocol])
    (a,), (b,) = established(alice), established(bob)
    a.flow_mod("add", of.match(version), of.output(version, "flood"))
    a.barrier()
    lab.ovs.add_port("br0", "br0p4", 4)
    expect_port(a, ADD, 4)
    lab.passes(A, "br0p1", "br0p2", "br0p3", "br0p4")
    # For bob the port does not exist: nothing is said, and what comes in there is stopped.
    b.expect_nothing("port_status")
    assert any("in_port=4" in flow and "actions=drop" in flow for flow in lab.flows(B))
    lab.ovs.vsctl("del-port", "br0", "br0p4")
    expect_port(a, DELETE, 4)
    lab.passes(A, "br0p1", "br0p2", "br0p3")
    b.expect_nothing("port_status")


@VERSIONS
def test_a_port_that_goes_down_is_reported_to_who_has_it(lab: Lab, version: int, protocol: str) -> None:
    alice, bob = lab.controller(version), lab.controller(version, NORTH + 1)
    first, others = ([{"dpid": "0x0000000000000001", "ports": ports}] for ports in ([3], [1, 2]))
    lab.run_vmoc(
        a_slice("alice", A, ALICE, attachments=first),
        a_slice("bob", B, BOB, attachments=others),
    )
    lab.bridge(protocols=[protocol])
    (a,), (b,) = established(alice), established(bob)
    for one in (a, b):
        one.forget()
    set_down("br0p3")
    expect_port(a, MODIFY, 3)
    set_up("br0p3")
    expect_port(a, MODIFY, 3)
    b.expect_nothing("port_status")


def test_os_ken_sees_the_port_of_a_running_switch(lab: Lab) -> None:
    controller = lab.app("simple_switch_13")
    lab.run_vmoc(a_slice("alice", A, ALICE))
    lab.bridge()
    lab.talk(A, "br0p1", "br0p2")
    lab.ovs.add_port("br0", "br0p4", 4)
    wait_until(lambda: "port added 4" in controller.output(), "the controller to hear of the port")
    lab.talk(A, "br0p1", "br0p4")
