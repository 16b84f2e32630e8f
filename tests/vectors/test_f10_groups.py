"""F.10 groups, meters, ports, tables, roles."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vectors.lab import Lab, X, Y

ANY = 0xFFFFFFFF
GROUP_ALL = 0xFFFFFFFC
ALL, SELECT, INDIRECT, FAST_FAILOVER = range(4)
ADD, MODIFY, DELETE = range(3)
DROP = struct.pack("!HHII4x", 1, 16, 100, 0)
OFPM_CONTROLLER = 0xFFFFFFFE
OFPM_ALL = 0xFFFFFFFF
PORT_DOWN, NO_FLOOD10, NO_FWD = 1, 1 << 4, 1 << 5
MASTER = 2


def bucket(actions: bytes, *, watch_port: int = ANY, watch_group: int = ANY) -> bytes:
    """One bucket without weight."""
    return struct.pack("!HHII4x", 16 + len(actions), 0, watch_port, watch_group) + actions


def group_mod(lab: Lab, number: int, buckets: bytes = b"", *, command: int = ADD, kind: int = ALL) -> bytes:
    """GROUP_MOD."""
    return lab.message("group_mod", struct.pack("!HBxI", command, kind, number) + buckets)


def meter_mod(lab: Lab, number: int, bands: bytes = DROP, *, command: int = ADD) -> bytes:
    """METER_MOD in kbit/s."""
    return lab.message("meter_mod", struct.pack("!HHI", command, 1, number) + bands)


def id_of(message: Message) -> int:
    """The group or meter id of a GROUP_MOD or METER_MOD."""
    return int(struct.unpack_from("!I", message.raw, 12)[0])


def command_of(message: Message) -> int:
    """Its command."""
    return int(struct.unpack_from("!H", message.raw, 8)[0])


def one(lab: Lab, name: str, raw: bytes, kind: str) -> Message:
    """Send what becomes one message of that kind."""
    (sent,) = lab.send(name, raw)
    assert sent.name == kind
    assert sent.xid != int.from_bytes(raw[4:8], "big")
    return sent


def add_group(lab: Lab, name: str, number: int, buckets: bytes) -> int:
    """Add a group; its physical id."""
    sent = one(lab, name, group_mod(lab, number, buckets), "group_mod")
    assert command_of(sent) == ADD
    assert id_of(sent) <= 0xFFFFFF00
    return id_of(sent)


def add_meter(lab: Lab, name: str, number: int) -> int:
    """Add a meter; its physical id."""
    sent = one(lab, name, meter_mod(lab, number), "meter_mod")
    assert command_of(sent) == ADD
    assert sent.raw[16:] == DROP
    assert 1 <= id_of(sent) <= 100
    return id_of(sent)


def test_v246(v13: Lab) -> None:
    """The same group id in two slices is two groups."""
    buckets = bucket(v13.out(2)) + bucket(v13.out(3))
    a, b = (add_group(v13, name, 1, buckets) for name in "AB")
    assert a != b


def test_v248(v13: Lab) -> None:
    """A bucket to a port that is not its own is BAD_OUT_PORT."""
    v13.refused("A", group_mod(v13, 1, bucket(v13.out(4))), 2, 4)


def test_v249(v13: Lab) -> None:
    """A bucket that changes the VLAN is EPERM."""
    v13.refused("A", group_mod(v13, 1, bucket(of.set_field("vlan_vid", 0x10C8) + v13.out(2))), 2, 6)


def test_v252(v13: Lab) -> None:
    """Watching a foreign port or an unknown group is BAD_WATCH."""
    v13.refused("A", group_mod(v13, 1, bucket(v13.out(2), watch_port=4), kind=FAST_FAILOVER), 6, 13)
    v13.refused("A", group_mod(v13, 1, bucket(v13.out(2), watch_group=9), kind=FAST_FAILOVER), 6, 13)


def test_v253(v13: Lab) -> None:
    """A chain leads to a group of its own, or nowhere."""
    first = add_group(v13, "A", 1, bucket(v13.out(2)))
    sent = one(v13, "A", group_mod(v13, 2, bucket(of.group(1))), "group_mod")
    assert sent.raw[16:] == bucket(of.group(first))
    v13.refused("A", group_mod(v13, 3, bucket(of.group(9))), 2, 9)


def test_v254(v13: Lab) -> None:
    """A loop of groups is LOOP."""
    add_group(v13, "A", 1, bucket(v13.out(2)))
    add_group(v13, "A", 2, bucket(of.group(1)))
    v13.refused("A", group_mod(v13, 1, bucket(of.group(2)), command=MODIFY), 6, 7)


def test_v256(v13: Lab) -> None:
    """DELETE of all groups is of its own ones, dependents first."""
    first = add_group(v13, "A", 1, bucket(v13.out(2)))
    second = add_group(v13, "A", 2, bucket(of.group(1)))
    theirs = add_group(v13, "B", 1, bucket(v13.out(2)))
    sent = v13.send("A", group_mod(v13, GROUP_ALL, command=DELETE))
    assert {m.name for m in sent} == {"group_mod"}
    assert [(command_of(m), id_of(m)) for m in sent] == [(DELETE, second), (DELETE, first)]
    assert v13.switch.groups.keys() == {theirs}


def test_v257(v13: Lab) -> None:
    """The fifth group is OUT_OF_GROUPS."""
    for number in range(4):
        add_group(v13, "A", number, bucket(v13.out(2)))
    v13.refused("A", group_mod(v13, 4, bucket(v13.out(2))), 6, 3)


def test_v259(v13: Lab) -> None:
    """FLOOD, NORMAL and TABLE in a bucket are BAD_OUT_PORT."""
    for port in ("flood", "normal", "table"):
        v13.refused("A", group_mod(v13, 1, bucket(v13.out(port))), 2, 4)


def test_v261(v13: Lab) -> None:
    """The same meter id in two slices is two meters."""
    a, b = (add_meter(v13, name, 1) for name in "AB")
    assert a != b


def test_v262(v13: Lab) -> None:
    """The meter of the controller connections is INVALID_METER."""
    v13.refused("A", meter_mod(v13, OFPM_CONTROLLER, struct.pack("!HHII4x", 1, 16, 1, 0)), 12, 2)


def test_v264(v13: Lab) -> None:
    """DELETE of all meters is of its own ones."""
    own = [add_meter(v13, "A", number) for number in (1, 2)]
    theirs = add_meter(v13, "B", 1)
    sent = v13.send("A", meter_mod(v13, OFPM_ALL, b"", command=DELETE))
    assert {m.name for m in sent} == {"meter_mod"}
    assert sorted((command_of(m), id_of(m)) for m in sent) == sorted((DELETE, number) for number in own)
    assert v13.switch.meters.keys() == {theirs}


def test_v266(v13: Lab) -> None:
    """Another slice's meter does not exist."""
    add_meter(v13, "B", 1)
    v13.refused("A", v13.stats("meter", struct.pack("!I4x", 1)), 12, 3)


def test_v268(v13: Lab) -> None:
    """TABLE_MOD is EPERM, of a table that is not there BAD_TABLE."""
    v13.refused("A", v13.message("table_mod", struct.pack("!B3xI", 0, 0)), 8, 2)
    v13.refused("A", v13.message("table_mod", struct.pack("!B3xI", 9, 0)), 8, 0)


def port_mod(lab: Lab, port: int, config: int, mask: int) -> bytes:
    """PORT_MOD of a port with its real MAC."""
    hw = lab.switch.ports[port].hw
    if lab.version == of.V10:
        return lab.message("port_mod", struct.pack("!H6sIII4x", port, hw, config, mask, 0))
    return lab.message("port_mod", struct.pack("!I4x6s2xIII4x", port, hw, config, mask, 0))


def test_v269(v10: Lab) -> None:
    """1.0: taking a port down is EPERM."""
    v10.refused("A", port_mod(v10, 2, PORT_DOWN, PORT_DOWN), 1, 5)


def test_v270(v13: Lab) -> None:
    """1.3: NO_FWD is EPERM, a port that is not its own BAD_PORT."""
    v13.refused("A", port_mod(v13, 2, NO_FWD, NO_FWD), 7, 4)
    v13.refused("A", port_mod(v13, 4, 0, 0), 7, 0)


def test_v272(v10: Lab) -> None:
    """NO_FLOOD is virtual: it changes the slice's own floods and nothing else."""
    first = v10.added("A", v10.mod(v10.out("flood"), match={"eth_dst": X}))
    v10.is_flow(first, v10.out(1, 2, 3), vlan_vid=100, eth_dst=X)
    (again,) = v10.sent("A", port_mod(v10, 3, NO_FLOOD10, NO_FLOOD10))
    assert again.command in ("add", "modify_strict")
    assert (again.priority, again.cookie) == (first.priority, first.cookie)
    v10.is_flow(again, v10.out(1, 2), vlan_vid=100, eth_dst=X)
    status = of.parse_port_status(v10.A.expect("port_status"))
    assert (status.reason, status.port.number, status.port.config) == (2, 3, NO_FLOOD10)
    mod = v10.added("A", v10.mod(v10.out("flood"), match={"eth_dst": Y}))
    v10.is_flow(mod, v10.out(1, 2), vlan_vid=100, eth_dst=Y)
    mod = v10.added("B", v10.mod(v10.out("flood")))
    v10.is_flow(mod, v10.out(2, 3, 4), vlan_vid=200)
    assert v10.switch.log("port_mod") == []


def role_request(lab: Lab, role: int, generation: int) -> bytes:
    """ROLE_REQUEST."""
    return lab.message("role_request", struct.pack("!I4xQ", role, generation))


def test_v273(private: Callable[..., Lab]) -> None:
    """Roles are among the controllers of one virtual datapath; the switch never hears of them."""
    lab = private(of.V13, twice=True)
    reply = lab.ask("A", role_request(lab, MASTER, 1))
    assert (reply.name, struct.unpack("!I4xQ", reply.body)) == ("role_reply", (MASTER, 1))
    stale = role_request(lab, MASTER, 0)
    assert lab.ask("A2", stale).raw[8:] == struct.pack("!HH", 11, 0) + stale[:64]
    reply = lab.ask("A2", role_request(lab, MASTER, 2))
    assert (reply.name, struct.unpack("!I4xQ", reply.body)) == ("role_reply", (MASTER, 2))
    lab.refused("A", lab.mod(lab.out(2)), 1, 10)
    assert lab.switch.log("role_request") == []


def test_v275(v13: Lab) -> None:
    """An unknown role is BAD_ROLE."""
    v13.refused("A", role_request(v13, 9, 0), 11, 2)
