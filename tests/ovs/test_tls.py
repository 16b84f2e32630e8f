"""A real switch over TLS: certificates of both sides are checked against the CA."""

from __future__ import annotations

from mininet_scenarios.processes import wait_until
from tests.ovs.lab import SOUTH, Lab, a_slice
from tests.vmoc.net.stage import Authority

A = 101
TLS = f"ssl:127.0.0.1:{SOUTH}"


def start(lab: Lab, authority: Authority) -> None:
    """VMOC with a listener that requires TLS."""
    own = authority.issue("vmoc", hosts=("127.0.0.1",))
    listener = {"address": "127.0.0.1", "port": SOUTH, "tls": True}
    lab.run_vmoc(
        a_slice("alice", A),
        openflow={"listen": [listener], "tls": {"cert": own.cert, "key": own.key, "ca": own.ca}},
        default_controller={"mode": "builtin"},
    )


def test_a_switch_with_a_certificate_of_the_ca(lab: Lab) -> None:
    authority = Authority(lab.directory, "ours")
    start(lab, authority)
    switch = authority.issue("switch")
    lab.ovs.vsctl("set-ssl", switch.key, switch.cert, switch.ca)
    lab.bridge(controllers=[TLS])
    lab.passes(A, "br0p1", "br0p2", "br0p3")


def test_a_switch_of_another_ca_is_one_line_in_the_log(lab: Lab) -> None:
    authority = Authority(lab.directory, "ours")
    start(lab, authority)
    stranger = Authority(lab.directory, "theirs").issue("switch")
    lab.ovs.vsctl("set-ssl", stranger.key, stranger.cert, authority.issue("unused").ca)
    lab.bridge(controllers=[])
    lab.ovs.vsctl("set-controller", "br0", TLS)
    complaints = wait_until(lambda: [line for line in lab.vmoc.output().splitlines() if "certificate" in line], "it")
    assert len(complaints) == 1, complaints
    assert lab.vmoc.alive and not lab.flows(A)
    # The same switch, with a certificate that is ours, is let in.
    switch = authority.issue("switch")
    lab.ovs.vsctl("set-ssl", switch.key, switch.cert, switch.ca)
    lab.passes(A, "br0p1", "br0p2", "br0p3", timeout=25)


def test_a_switch_without_tls_is_refused(lab: Lab) -> None:
    start(lab, Authority(lab.directory, "ours"))
    lab.bridge(controllers=[])
    lab.ovs.vsctl("set-controller", "br0", f"tcp:127.0.0.1:{SOUTH}")
    wait_until(lambda: "TLS" in lab.vmoc.output(), "VMOC to say so")
    assert lab.vmoc.alive and not lab.flows(A)
