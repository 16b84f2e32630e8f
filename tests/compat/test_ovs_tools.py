"""Open vSwitch's own programs on the controller's side: its test controller, and ``ovs-ofctl``."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import pytest

from mininet_scenarios.frames import BROADCAST, frame
from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import wait_until
from tests.compat.hosts import A, B, Rack
from tests.ovs.lab import NORTH, Lab, a_slice

pytestmark = pytest.mark.ovs

BUILTIN = {"default_controller": {"mode": "builtin"}}
MEETING: Final = NORTH + 1  # where ovs-ofctl finds the virtual switch
SWITCHES: Final = (NORTH, NORTH + 2)
VIRTUAL, PRIVATE = f"tcp:127.0.0.1:{MEETING}", "private"
FRAMES: Final = {
    "tagged": f"ffffffffffff0200000000018100{A:04x}88b5" + "00" * 46,
    "transparent": "ffffffffffff02000000000188b5" + "00" * 46,
}
_NOISE: Final = re.compile(
    r"\s*\(xid=0x[0-9a-f]+\)|\b(duration|idle_age|hard_age)=[^ ,]*,? ?|time=[0-9.]+ ms|xid=[0-9a-f]{8}"
)
_ERROR: Final = re.compile(r"OFPT_ERROR.*")

# The target comes after the command's name.
BOTH_VERSIONS: Final = (
    ("probe",),
    ("ping",),
    ("dump-flows",),
    ("add-flow", "in_port=1,dl_dst=02:00:00:00:00:02,cookie=7,priority=5,actions=output:2"),
    ("add-flow", "in_port=1,dl_dst=02:00:00:00:00:02,cookie=8,priority=5,actions=output:3"),
    ("add-flow", "dl_type=0x800,nw_dst=10.0.0.0/8,idle_timeout=60,actions=mod_dl_src:02:00:00:00:00:09,output:1"),
    ("add-flow", "arp,send_flow_rem,actions=FLOOD"),
    ("add-flow", "dl_type=0x806,arp_op=1,priority=77,actions=CONTROLLER:65535"),
    ("add-flow", "priority=0,actions=drop"),
    ("add-flow", "check_overlap,priority=5,in_port=1,actions=drop"),
    ("dump-flows",),
    ("dump-flows", "out_port=3"),
    ("dump-flows", "in_port=1"),
    ("dump-aggregate",),
    ("dump-aggregate", "dl_type=0x800"),
    ("mod-flows", "in_port=1,actions=output:2"),
    ("--strict", "mod-flows", "priority=0,actions=output:3"),
    ("dump-flows",),
    ("del-flows", "out_port=3"),
    ("--strict", "del-flows", "priority=77,arp,arp_op=1"),
    ("dump-flows",),
    ("packet-out", "in_port=1 packet=FRAME actions=output:2"),
    ("packet-out", "in_port=CONTROLLER packet=FRAME actions=FLOOD"),
    ("get-frags",),
    ("set-frags", "normal"),
    ("queue-get-config", "1"),
    ("queue-stats",),
    ("mod-port", "1", "no-flood"),
    ("del-flows",),
    ("dump-flows",),
)
ONLY_13: Final = (
    ("add-flow", "table=0,in_port=1,cookie=0x21,actions=write_metadata:0x5/0xf,goto_table:7"),
    ("add-flow", "table=7,metadata=5/0xf,cookie=0x22,priority=3,actions=write_actions(output:2)"),
    ("add-flow", "table=9,cookie=0x23,dl_type=0x86dd,ipv6_dst=2001:db8::/32,actions=clear_actions,output:1"),
    ("dump-flows",),
    ("dump-flows", "table=7"),
    ("dump-flows", "cookie=0x22/-1"),
    ("del-flows", "cookie=0x20/0xfffffffffffffffe"),
    ("dump-flows",),
    ("add-group", "group_id=5,type=all,bucket=output:1,bucket=output:2"),
    ("add-group", "group_id=5,type=all,bucket=output:1"),
    ("add-group", "group_id=6,type=select,bucket=weight:10,actions=output:1,bucket=weight:20,actions=output:3"),
    ("add-flow", "table=1,cookie=0x24,actions=group:5"),
    ("add-flow", "table=1,priority=9,actions=group:99"),
    ("dump-groups",),
    ("dump-groups", "6"),
    ("mod-group", "group_id=6,type=indirect,bucket=output:2"),
    ("dump-groups",),
    ("add-meter", "meter=3,kbps,band=type=drop,rate=1000"),
    ("add-meter", "meter=3,kbps,band=type=drop,rate=1000"),
    ("add-flow", "table=1,priority=8,cookie=0x25,actions=meter:3,output:1"),
    ("dump-meters",),
    ("del-groups", "group_id=5"),
    ("dump-flows",),
    ("del-meter", "meter=3"),
    ("del-groups",),
    ("dump-groups",),
    ("dump-meters",),
    ("dump-flows",),
    ("del-flows",),
)


@dataclass(frozen=True)
class Said:
    """What a run of ``ovs-ofctl`` came to, without times and numbers that never repeat."""

    status: int
    text: str


class OfCtl:
    """``ovs-ofctl`` in one OpenFlow version, within a lab."""

    def __init__(self, lab: Lab, protocol: str) -> None:
        self.lab = lab
        self.protocol = protocol
        words = [sys.executable, "-m", "tests.compat.rendezvous", str(MEETING), *map(str, SWITCHES)]
        lab.process("rendezvous", *words)
        wait_until(lambda: all(listening(port) for port in (MEETING, *SWITCHES)), "the rendezvous to listen")

    def run(self, target: str, *words: str) -> Said:
        """Run one command; ``target`` is the switch."""
        at = 2 if words[0].startswith("-") else 1
        command = ["ovs-ofctl", "-t", "10", "--no-names", "-O", self.protocol, *words[:at], target, *words[at:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=self._environment)
        text = _NOISE.sub("", (done.stdout + done.stderr).replace(target, "SWITCH")).replace("NXST_", "OFPST_")
        if error := _ERROR.search(text):  # after it comes the request: all of it from a bridge, 64 bytes from VMOC
            text = error[0]
        return Said(done.returncode, "\n".join(sorted(line.strip() for line in text.splitlines() if line.strip())))

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.lab.ovs.env}


@pytest.mark.parametrize("presentation", ["tagged", "transparent"])
@pytest.mark.parametrize("protocol", ["OpenFlow10", "OpenFlow13"])
def test_its_test_controller(lab: Lab, protocol: str, presentation: str) -> None:
    lab.process("ovs-testcontroller", "ovs-testcontroller", "-O", protocol, f"ptcp:{NORTH}:127.0.0.1")
    alice = a_slice("alice", A, f"tcp:127.0.0.1:{NORTH}", presentation=presentation)
    lab.run_vmoc(alice, a_slice("bob", B), **BUILTIN)
    Rack(lab, protocol).both_work_apart()
    lab.only_vlans(A, B)


@pytest.mark.parametrize("presentation", ["tagged", "transparent"])
@pytest.mark.parametrize("protocol", ["OpenFlow10", "OpenFlow13"])
def test_ovs_ofctl_sees_a_private_switch(lab: Lab, protocol: str, presentation: str) -> None:
    """Every command has the outcome it has on a bridge of its own, errors and exit status included."""
    ofctl = OfCtl(lab, protocol)
    controllers = [f"tcp:127.0.0.1:{port}" for port in SWITCHES]
    alice = a_slice("alice", A, *controllers, presentation=presentation)
    lab.run_vmoc(alice, a_slice("bob", B), **BUILTIN)
    rack = Rack(lab, protocol)
    lab.bridge(PRIVATE, 9, protocols=[protocol], controllers=[])
    lab.ovs.ofctl("del-flows", PRIVATE, version=protocol)
    rack.slice_works("b")
    bobs = lab.flows(B)
    differences, everything = [], ""
    for command in BOTH_VERSIONS + (ONLY_13 if protocol == "OpenFlow13" else ()):
        words = [word.replace("FRAME", FRAMES[presentation]) for word in command]
        private, virtual = ofctl.run(PRIVATE, *words), ofctl.run(VIRTUAL, *words)
        everything += virtual.text
        if private != virtual:
            differences.append(f"{' '.join(words)}\nprivate: {private}\nvirtual: {virtual}")
    assert not differences, "\n\n".join(differences)
    for part in ("OFPFMFC_OVERLAP", "actions=FLOOD", *(("group_id=6", "meter=3") if protocol == "OpenFlow13" else ())):
        assert part in everything
    assert lab.flows(B) == bobs
    rack.slice_works("b")


@pytest.mark.parametrize("protocol", ["OpenFlow10", "OpenFlow13"])
def test_ovs_ofctl_is_shown_the_slices_ports_and_packets(lab: Lab, protocol: str) -> None:
    ofctl = OfCtl(lab, protocol)
    controllers = [f"tcp:127.0.0.1:{port}" for port in SWITCHES]
    attachments = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
    alice = a_slice("alice", A, *controllers, presentation="transparent", attachments=attachments)
    lab.run_vmoc(alice, a_slice("bob", B), **BUILTIN)
    lab.bridge(protocols=[protocol])
    shown = ofctl.run(VIRTUAL, "show").text
    assert f"dpid:{A << 48 | 1:016x}" in shown
    assert re.findall(r"^(\w+)\(br0", shown, re.MULTILINE) == ["1", "2"]
    if protocol == "OpenFlow13":
        features = ofctl.run(VIRTUAL, "dump-table-features")
        assert features.status == 0
        assert "table 0:" in features.text
        assert "push_vlan" not in features.text
        miss = ofctl.run(VIRTUAL, "add-flow", "priority=0,actions=CONTROLLER:65535")
        assert miss.status == 0, miss
    words = ("ovs-ofctl", "--no-names", "-O", protocol, "monitor", VIRTUAL, "65535")
    monitor = lab.process("monitor", *words)

    def reported(mark: bytes) -> bool:
        lab.wire("br0p1").send(frame(BROADCAST, "02:00:00:00:00:01", mark, vlan=A))
        return "PACKET_IN" in monitor.output()

    wait_until(lambda: reported(b"for the monitor"), "the monitor to print a packet-in")
    assert "dl_vlan" not in monitor.output(), "a transparent slice's frames have no tag"
    assert "in_port=1" in monitor.output()
    lab.talk(B, "br0p1", "br0p3")
