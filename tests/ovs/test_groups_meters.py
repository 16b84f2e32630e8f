"""Groups, meters and table features of slices on Open vSwitch: each slice its own, whatever the numbers."""

from __future__ import annotations

import re
import struct

import pytest

from mininet_scenarios.processes import wait_until
from tests.emulation import wire as of
from tests.emulation.controller import Connection
from tests.ovs.lab import NORTH, Lab, a_slice, established

A, B = 101, 102
ALICE, BOB = f"tcp:127.0.0.1:{NORTH}", f"tcp:127.0.0.1:{NORTH + 1}"
V13 = of.V13
ADD, MODIFY, DELETE = range(3)
ALL, SELECT, INDIRECT, FAST_FAILOVER = range(4)
ANY, EVERY_GROUP, EVERY_METER = 0xFFFFFFFF, 0xFFFFFFFC, 0xFFFFFFFF
SEND_FLOW_REM, GROUP_DELETE = 1, 3
DROP = struct.pack("!HHII4x", 1, 16, 1_000_000, 0)
KBPS = 1


def bucket(actions: bytes, *, weight: int = 0, watch_port: int = ANY) -> bytes:
    return struct.pack("!HHII4x", 16 + len(actions), weight, watch_port, ANY) + actions


def out(port: int) -> bytes:
    return of.output(V13, port)


def request(end: Connection, name: str, body: bytes) -> int:
    xid = end.next_xid()
    end.send(of.message(V13, name, body, xid))
    return xid


def group_mod(end: Connection, number: int, buckets: bytes = b"", command: int = ADD, kind: int = ALL) -> int:
    return request(end, "group_mod", struct.pack("!HBxI", command, kind, number) + buckets)


def meter_mod(end: Connection, number: int, bands: bytes = DROP, command: int = ADD) -> int:
    return request(end, "meter_mod", struct.pack("!HHI", command, KBPS, number) + bands)


def through_group(lab: Lab, end: Connection, number: int) -> None:
    """All frames of port 1 go to the group."""
    end.flow_mod("add", of.match(V13, in_port=1), of.group(number))
    end.barrier()
    lab.ovs.appctl("revalidator/wait")  # until then frames may go by what the switch remembers


def ids(lab: Lab, what: str) -> list[int]:
    """The switch's own groups or meters, by its own tool."""
    word = "group_id" if what == "groups" else "meter"
    return [int(number) for number in re.findall(rf"\b{word}=(\d+)", lab.ovs.ofctl(f"dump-{what}", "br0"))]


@pytest.fixture
def two(lab: Lab) -> tuple[Connection, Connection]:
    """Alice in VLAN A and Bob in VLAN B, on all three ports."""
    alice, bob = lab.controller(V13), lab.controller(V13, NORTH + 1)
    lab.run_vmoc(a_slice("alice", A, ALICE), a_slice("bob", B, BOB))
    lab.bridge(protocols=["OpenFlow13"])
    for port in ("br0p1", "br0p2", "br0p3"):
        lab.wire(port)
    return established(alice)[0], established(bob)[0]


def test_groups_forward_within_their_slice(lab: Lab, two: tuple[Connection, Connection]) -> None:
    a, b = two
    kinds = {
        1: (ALL, bucket(out(2)) + bucket(out(3)), ("br0p2", "br0p3")),
        2: (SELECT, bucket(out(2), weight=1), ("br0p2",)),
        3: (INDIRECT, bucket(out(3)), ("br0p3",)),
        4: (FAST_FAILOVER, bucket(out(2), watch_port=2) + bucket(out(3), watch_port=3), ("br0p2",)),
        5: (ALL, bucket(of.group(3)) + bucket(of.group(2)), ("br0p2", "br0p3")),
    }
    for number, (kind, buckets, _) in kinds.items():
        group_mod(a, number, buckets, kind=kind)
        group_mod(b, number, bucket(out(3)), kind=INDIRECT)
    through_group(lab, b, 1)
    for number, (_, _, targets) in kinds.items():
        through_group(lab, a, number)
        lab.passes(A, "br0p1", *targets)
        lab.passes(B, "br0p1", "br0p3")
    group_mod(a, 1, bucket(out(2)), MODIFY)
    through_group(lab, a, 1)
    lab.passes(A, "br0p1", "br0p2")
    a.send(of.packet_out(V13, lab.marked(A, "br0p1")[1], of.group(3)))
    assert len(ids(lab, "groups")) == len(set(ids(lab, "groups"))) == 10
    a.expect_nothing("error")
    b.expect_nothing("error")


def test_deleting_all_groups_deletes_ones_own(lab: Lab, two: tuple[Connection, Connection]) -> None:
    a, b = two
    for end in two:
        group_mod(end, 1, bucket(out(2)))
        group_mod(end, 2, bucket(of.group(1)))
        end.flow_mod("add", of.match(V13, in_port=1), of.group(2), cookie=7, flags=SEND_FLOW_REM)
        end.flow_mod("add", of.match(V13, in_port=2), out(1), cookie=8, flags=SEND_FLOW_REM)
        end.barrier()
    before = set(ids(lab, "groups"))
    group_mod(a, EVERY_GROUP, command=DELETE)
    a.barrier()
    removed = of.parse_flow_removed(a.expect("flow_removed"))
    assert (removed.cookie, removed.reason) == (7, GROUP_DELETE)
    assert [flow.cookie for flow in a.flow_stats()] == [8]
    after = set(ids(lab, "groups"))
    assert after < before
    assert len(after) == 2
    b.expect_nothing("flow_removed")
    assert sorted(flow.cookie for flow in b.flow_stats()) == [7, 8]
    lab.passes(B, "br0p1", "br0p2")
    assert a.stats("group_desc") == b""
    assert len(b.stats("group_desc")) == 2 * (8 + 16 + 16) - 8  # a group action is half an output


def test_meters_are_ones_own(lab: Lab, two: tuple[Connection, Connection]) -> None:
    a, b = two
    for end in two:
        for number in (1, 2):
            meter_mod(end, number)
        metered = of.instruction(6, struct.pack("!I", 1)) + of.apply_actions(out(2))
        end.flow_mod("add", of.match(V13, in_port=1), instructions=metered, cookie=7, flags=SEND_FLOW_REM)
        end.barrier()
    assert len(ids(lab, "meters")) == len(set(ids(lab, "meters"))) == 4
    for vlan in (A, B):
        lab.passes(vlan, "br0p1", "br0p2")
    body = a.stats("meter", struct.pack("!I4x", EVERY_METER))
    assert struct.unpack_from("!I8xI", body) == (1, 1)
    unknown = request(b, "stats_request", struct.pack("!HH4xI4x", of.STATS[V13]["meter"], 0, 9))
    b.expect_error(unknown, 12, 3)
    meter_mod(a, EVERY_METER, b"", DELETE)
    a.barrier()
    assert a.flow_stats() == []
    a.expect_nothing("flow_removed")
    assert [flow.cookie for flow in b.flow_stats()] == [7]
    lab.passes(B, "br0p1", "br0p2")
    assert len(ids(lab, "meters")) == 2
    meter_mod(a, 1)
    a.barrier()
    a.expect_nothing("error")


def test_nothing_is_left_of_a_slice(lab: Lab, two: tuple[Connection, Connection]) -> None:
    for end in two:
        group_mod(end, 1, bucket(out(2)))
        group_mod(end, 2, bucket(of.group(1)))
        meter_mod(end, 1)
        through_group(lab, end, 2)
    lab.reload(a_slice("bob", B, BOB))
    wait_until(lambda: len(ids(lab, "groups")) == 2 and len(ids(lab, "meters")) == 1, "alice's to be gone")
    assert not lab.flows(A)
    lab.passes(B, "br0p1", "br0p2")
    lab.reload()
    wait_until(lambda: not ids(lab, "groups") + ids(lab, "meters"), "bob's to be gone")


def test_strangers_are_deleted_when_the_switch_comes_back(lab: Lab, two: tuple[Connection, Connection]) -> None:
    a, _ = two
    group_mod(a, 1, bucket(out(2)))
    meter_mod(a, 1)
    through_group(lab, a, 1)
    own = ids(lab, "groups"), ids(lab, "meters")
    lab.disconnect()
    lab.ovs.ofctl("add-group", "br0", "group_id=9,type=all,bucket=output:3")
    lab.ovs.ofctl("add-meter", "br0", "meter=9,kbps,band=type=drop,rate=1000")
    lab.ovs.set_controller("br0", "tcp:127.0.0.1:6653")
    lab.ovs.wait_connected("br0")
    wait_until(lambda: (ids(lab, "groups"), ids(lab, "meters")) == own, "only alice's to be left")
    lab.passes(A, "br0p1", "br0p2")


def test_table_features_of_a_slice(lab: Lab, two: tuple[Connection, Connection]) -> None:
    a, b = two
    real = lab.ovs.ofctl("dump-table-features", "br0")
    assert "push_vlan" in real
    for end in (a, b):
        body = end.stats("table_features")
        tables = []
        while body:
            length, table = struct.unpack_from("!HB", body)
            tables.append(table)
            kinds = properties(body[:length])
            assert not {17, 18, 19, 20, 26, 27} & set(kinds[6])
            assert 22 in kinds[6]
            body = body[length:]
        assert tables == list(range(254))


def properties(record: bytes) -> dict[int, list[int]]:
    """Action types by property, of one record."""
    found, position = {}, 64
    while position < len(record):
        kind, length = struct.unpack_from("!HH", record, position)
        if kind in (4, 5, 6, 7):
            found[kind] = [each for each, _ in struct.iter_unpack("!HH", record[position + 4 : position + length])]
        position += length + 7 & ~7
    return found
