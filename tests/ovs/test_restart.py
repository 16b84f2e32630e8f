"""VMOC is killed and started again: Open vSwitch goes on with all flows, and no controller has to repeat itself."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator

import pytest

from mininet_scenarios.processes import Process, wait_until
from tests.emulation import wire as of
from tests.emulation.controller import Connection
from tests.emulation.process import journal_of
from tests.ovs.lab import NORTH, Lab, a_slice, configuration, established
from tests.ovs.stream import lossless
from tests.ovs.test_groups_meters import (
    ALL,
    DROP,
    FAST_FAILOVER,
    INDIRECT,
    SELECT,
    bucket,
    group_mod,
    ids,
    meter_mod,
    out,
    request,
)

A, B = 101, 102
ALICE, BOB, CAROL = (f"tcp:127.0.0.1:{NORTH + number}" for number in range(3))
V10, V13 = of.V10, of.V13
SEND_FLOW_REM = 1
BOTH = pytest.mark.parametrize("version", [V10, V13], ids=["1.0", "1.3"])
PORTS = [{"dpid": "0x0000000000000001", "ports": [1, 2]}]
BOOT_AT, HEADER = 12, 60
"""Where the journal's header has the id of the boot, and where its checksum is."""


def slices() -> list[dict[str, object]]:
    """Bob has all ports, Alice two of three: the third is guarded."""
    return [a_slice("alice", A, ALICE, attachments=PORTS), a_slice("bob", B, BOB)]


def state(lab: Lab) -> dict[str, str]:
    """Where the journal is."""
    return {"path": str(lab.directory / "vmoc.db")}


class Pair:
    """Both controllers, over restarts."""

    def __init__(self, lab: Lab, version: int) -> None:
        self.lab = lab
        self.version = version
        self.controllers = [lab.controller(version, NORTH + number) for number in range(2)]

    def up(self) -> tuple[Connection, Connection]:
        """Both, connected."""
        a, b = (established(controller, timeout=25)[-1] for controller in self.controllers)
        return a, b


def start(lab: Lab, version: int) -> Pair:
    """Two slices, a journal, a bridge that speaks one version."""
    pair = Pair(lab, version)
    lab.run_vmoc(*slices(), state=state(lab))
    lab.bridge(protocols=["OpenFlow10" if version == V10 else "OpenFlow13"])
    return pair


def install10(end: Connection, ports: tuple[int, int]) -> None:
    """Flows of every kind a 1.0 switch has."""
    one, two = ports
    rewrite = b"".join(
        (
            struct.pack("!HH6s6x", 4, 16, bytes.fromhex("020000000a01")),
            struct.pack("!HHI", 6, 8, 0x0A000001),
            struct.pack("!HHB3x", 8, 8, 0x28),
            struct.pack("!HHH2x", 9, 8, 4000),
            of.set_pcp(V10, 3),
            of.output(V10, two),
        )
    )
    end.flow_mod("add", of.match(V10, in_port=one), of.output(V10, "flood"), cookie=0x51, priority=5)
    end.flow_mod("add", of.match(V10, in_port=two), of.output(V10, "controller", 77), cookie=0x52, priority=6)
    tcp = of.match(V10, eth_type=0x800, ip_proto=6, ipv4_src="10.0.0.9")
    end.flow_mod("add", tcp, rewrite, cookie=0x53, priority=7, flags=SEND_FLOW_REM, hard=3000)
    end.flow_mod("add", of.match(V10, eth_dst="02:00:00:00:00:77"), b"", cookie=0x54, priority=8)
    end.flow_mod("add", of.match(V10, eth_src="02:00:00:00:00:78"), of.output(V10, "in_port"), cookie=0x55)
    end.flow_mod("modify_strict", of.match(V10, eth_src="02:00:00:00:00:78"), of.output(V10, two), cookie=0x56)
    end.barrier()
    end.expect_nothing("error")


def install13(end: Connection, ports: tuple[int, int]) -> None:
    """Flows of every kind, groups of every kind, meters with and without bursts."""
    one, two = ports
    group_mod(end, 1, bucket(out(two)) + bucket(of.set_field("eth_src", "02:00:00:00:0a:01") + out(one)))
    group_mod(end, 2, bucket(out(two), weight=3) + bucket(out(one), weight=1), kind=SELECT)
    group_mod(end, 3, bucket(out(two)), kind=INDIRECT)
    group_mod(end, 4, bucket(out(two), watch_port=two) + bucket(out(one), watch_port=one), kind=FAST_FAILOVER)
    group_mod(end, 5, bucket(of.group(3)) + bucket(of.group(1)), kind=ALL)
    group_mod(end, 6, kind=ALL)
    meter_mod(end, 1)
    kbps, packets, burst, stats = 1, 2, 4, 8
    request(end, "meter_mod", struct.pack("!HHI", 0, kbps | burst | stats, 2) + struct.pack("!HHII4x", 1, 16, 9000, 50))
    request(end, "meter_mod", struct.pack("!HHI", 0, packets, 3) + DROP)
    metered = of.instruction(6, struct.pack("!I", 1))
    end.flow_mod("add", of.match(V13, in_port=one), of.output(V13, "flood"), cookie=0x51, priority=5)
    end.flow_mod("add", of.match(V13, in_port=two), of.output(V13, "controller", 77), cookie=0x52, priority=6)
    rewrite = b"".join(
        (
            of.set_field("eth_src", "02:00:00:00:0a:02"),
            of.set_field("ipv4_src", "10.0.0.1"),
            of.set_field("vlan_pcp", 3),
            of.set_field("tcp_dst", 4000),
            out(two),
            of.group(5),
        )
    )
    tcp = of.match(V13, eth_type=0x800, ip_proto=6, ipv4_src="10.0.0.9")
    end.flow_mod("add", tcp, rewrite, cookie=0x53, priority=7, flags=SEND_FLOW_REM, hard=3000)
    end.flow_mod("add", of.match(V13, eth_dst="02:00:00:00:00:77"), b"", cookie=0x54, priority=8)
    end.flow_mod(
        "add",
        of.match(V13, eth_src="02:00:00:00:00:78"),
        instructions=metered + of.apply_actions(of.group(1)) + of.goto_table(3),
        cookie=0x55,
    )
    end.flow_mod("add", of.match(V13), instructions=of.write_actions(of.group(2)), cookie=0x56, table=3)
    end.flow_mod("add", of.match(V13, eth_src="02:00:00:00:00:79"), of.output(V13, "in_port"), cookie=0x57, table=3)
    end.flow_mod(
        "modify", of.match(V13, eth_src="02:00:00:00:00:79"), instructions=of.apply_actions(of.group(4)), table=3
    )
    end.flow_mod("add", of.match(V13), of.output(V13, "controller"), cookie=0x58, priority=0)
    end.barrier()
    end.expect_nothing("error")


def install(pair: Pair) -> None:
    """What both have, each on ports of its own choice."""
    work = install10 if pair.version == V10 else install13
    a, b = pair.up()
    work(a, (1, 2))
    work(b, (3, 2))


def physical(lab: Lab) -> dict[str, list[str]]:
    """Everything the switch holds."""
    found = {"flows": lab.flows()}
    if "OpenFlow13" in lab.ovs.vsctl("get", "bridge", "br0", "protocols"):
        for what in ("groups", "meters"):
            text = lab.ovs.ofctl(f"dump-{what}", "br0")
            found[what] = sorted(line.strip() for line in text.splitlines()[1:])
    return found


def shown(end: Connection) -> list[tuple[object, ...]]:
    """A slice's flows as it sees them."""
    return sorted((f.table, f.priority, str(sorted(f.match.items())), f.cookie, f.actions) for f in end.flow_stats())


@contextlib.contextmanager
def snooping(lab: Lab) -> Iterator[Process]:
    """All OpenFlow messages between the bridge and VMOC, as text."""
    version = "OpenFlow10" if "OpenFlow13" not in lab.ovs.vsctl("get", "bridge", "br0", "protocols") else "OpenFlow13"
    process = lab.process("snoop", "ovs-ofctl", "-O", version, "snoop", "br0")
    yield process
    process.stop()


def writes(snoop: Process) -> list[str]:
    """Messages that change the switch."""
    return [line for line in snoop.output().splitlines() if re.match(r"OFPT_(FLOW|GROUP|METER)_MOD", line)]


@BOTH
def test_nothing_changes_on_the_switch_and_no_packet_is_lost(lab: Lab, version: int) -> None:
    pair = start(lab, version)
    install(pair)
    a, b = pair.up()
    before, seen = physical(lab), [shown(a), shown(b)]
    assert len(before["flows"]) >= 12
    with (
        lossless(A, "br0p1", "br0p2", pace=0.002, broadcast=True) as alices,
        lossless(B, "br0p3", "br0p2", pace=0.002, broadcast=True) as bobs,
        snooping(lab) as snoop,
    ):
        lab.vmoc.kill()
        a.expect_closed()
        wait_until(lambda: not lab.ovs.connected("br0"), "the switch to notice")
        lab.vmoc.start()
        a, b = pair.up()
        assert [shown(a), shown(b)] == seen
        lab.ovs.appctl("revalidator/wait")
        assert alices.sent > 500 and bobs.sent > 500
    assert physical(lab) == before
    assert writes(snoop) and all(is_guard(line) for line in writes(snoop)), "only guards are written again"
    check_ownership(lab, a, b)


def is_guard(line: str) -> bool:
    """Whether a message, as ``ovs-ofctl`` prints it, adds an entry that drops."""
    return " ADD priority=65535,in_port=" in line and line.endswith("actions=drop")


def check_ownership(lab: Lab, a: Connection, b: Connection) -> None:
    """What came back is its owner's, to be deleted by its own names; what Bob has is not touched."""
    bobs, version = shown(b), a.version
    a.forget()
    tcp = of.match(version, eth_type=0x800, ip_proto=6, ipv4_src="10.0.0.9")
    a.flow_mod("delete_strict", tcp, priority=7)
    removed = of.parse_flow_removed(a.expect("flow_removed"))
    assert (removed.cookie, removed.priority) == (0x53, 7)
    if version == V13:
        a.flow_mod("delete", cookie=0x54, cookie_mask=0xFF, table=0xFF)
        assert 0x54 not in {flow.cookie for flow in a.flow_stats()}
        for number in (5, 1):
            group_mod(a, number, command=2)
        group_mod(a, 7, bucket(out(2)))
        meter_mod(a, 1, b"", command=2)
        meter_mod(a, 4)
        a.barrier()
        a.expect_nothing("error")
        assert (len(ids(lab, "groups")), len(ids(lab, "meters"))) == (6 + 5, 3 + 3)
    a.flow_mod("delete", table=0xFF)
    a.barrier()
    assert a.flow_stats() == []
    assert [flow for flow in lab.flows(A) if not flow.endswith("actions=drop")] == []
    assert shown(b) == bobs
    b.expect_nothing("flow_removed")


@BOTH
def test_flows_of_a_slice_that_went_meanwhile_are_gone_before_its_vlan_is_anothers(lab: Lab, version: int) -> None:
    pair = start(lab, version)
    install(pair)
    _, b = pair.up()
    bobs, of_bob = shown(b), lab.flows(B)
    lab.vmoc.kill()
    carol = lab.controller(version, NORTH + 2)
    lab.vmoc.write(configuration(a_slice("carol", A, CAROL), slices()[1], state=state(lab)))
    lab.vmoc.start()
    (c,) = established(carol, timeout=25)
    assert c.flow_stats() == []
    assert lab.flows(B) == of_bob
    assert all(flow.endswith("actions=drop") for flow in lab.flows(A))
    assert shown(pair.controllers[1].wait_up()) == bobs
    if version == V13:
        assert (len(ids(lab, "groups")), len(ids(lab, "meters"))) == (6, 3)
        group_mod(c, 1, bucket(out(2)))
        c.barrier()
        c.expect_nothing("error")
    c.flow_mod("add", of.match(version, in_port=3), of.output(version, 1))
    c.barrier()
    lab.unicast(A, "br0p3", "br0p1")


@BOTH
def test_what_a_switch_lost_meanwhile_is_not_believed(lab: Lab, version: int) -> None:
    pair = start(lab, version)
    install(pair)
    lab.vmoc.kill()
    lab.ovs.kill_switch()
    lab.ovs.start_switch()
    lab.vmoc.start()
    for end, port in zip(pair.up(), (1, 3), strict=True):
        assert end.flow_stats() == []
        if version == V13:
            assert end.stats("group_desc") == b""
            group_mod(end, 1, bucket(out(2)))
            meter_mod(end, 1)
        end.flow_mod("add", of.match(version, in_port=port), of.output(version, 2))
        end.barrier()
        end.expect_nothing("error")
    lab.passes(A, "br0p1", "br0p2")
    lab.passes(B, "br0p3", "br0p2")


def test_a_journal_of_before_a_crash_of_the_machine_is_not_believed(lab: Lab) -> None:
    pair = start(lab, V13)
    install(pair)
    lab.vmoc.kill()
    boot_again(lab)
    lab.vmoc.start()
    assert "was not closed before the machine stopped, and may be incomplete" in lab.vmoc.output()
    for end in pair.up():
        assert end.flow_stats() == []
        assert end.stats("group_desc") == b""
    assert ids(lab, "groups") + ids(lab, "meters") == []
    assert all(flow.endswith("actions=drop") for flow in lab.flows())


def test_a_journal_that_was_closed_counts_after_a_boot(lab: Lab) -> None:
    pair = start(lab, V13)
    install(pair)
    before = physical(lab)
    lab.vmoc.stop()
    boot_again(lab)
    lab.vmoc.start()
    a, b = pair.up()
    assert physical(lab) == before
    assert len(a.flow_stats()) == len(b.flow_stats()) == 8


def boot_again(lab: Lab) -> None:
    """Let the journal be of another boot of the machine."""
    path = journal_of(lab.directory / "vmoc.db")
    data = bytearray(path.read_bytes())
    data[BOOT_AT] ^= 1
    data[HEADER : HEADER + 4] = zlib.crc32(data[:HEADER]).to_bytes(4, "big")
    path.write_bytes(data)
