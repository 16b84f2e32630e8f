"""F.8 packet-in and other asynchronous messages."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.emulation import E
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vectors.lab import GUARDED, Lab, guard_ports
from tests.vectors.mock import is_guard

ALL_ONES = 2**64 - 1


def port_statuses(lab: Lab, name: str) -> list[tuple[int, int]]:
    """(reason, port) of every PORT_STATUS a controller got, taken."""
    connection = lab.conn(name)
    found = []
    for _ in connection.unseen("port_status"):
        status = of.parse_port_status(connection.expect("port_status"))
        found.append((status.reason, status.port.number))
    return found


def test_v200(v10: Lab) -> None:
    """A packet-in of its VLAN and port reaches A alone, without a buffer."""
    v10.switch.packet_in(1, E(100), buffer_id=77)
    (seen,) = v10.packet_ins("A")
    assert (seen.in_port, seen.data, seen.total_len, seen.buffer_id) == (1, E(100), 64, of.NO_BUFFER)


def test_v201(v10: Lab) -> None:
    """Its VLAN on a port that is not its own reaches nobody."""
    v10.switch.packet_in(4, E(100))
    v10.packet_ins()


def test_v202(v10: Lab) -> None:
    """VLAN 200 reaches B alone."""
    v10.switch.packet_in(2, E(200))
    (seen,) = v10.packet_ins("B")
    assert seen.data == E(200)


def test_v203(v10: Lab) -> None:
    """Untagged, priority-tagged, other tags and unknown VLANs reach nobody and are counted."""
    counter = ("vmoc_packet_ins_dropped_total", 'reason="no-slice"')
    before = v10.metric(*counter)
    for frame in (E(), E(0), E(100, tpid=0x9100), E(999)):
        v10.switch.packet_in(2, frame)
    v10.packet_ins()
    assert v10.metric(*counter) == before + 4


def test_v205(v10: Lab) -> None:
    """The outer tag decides."""
    v10.switch.packet_in(2, E(100, inner=200))
    (seen,) = v10.packet_ins("A")
    assert seen.data == E(100, inner=200)
    v10.switch.packet_in(2, E(200, inner=100))
    (seen,) = v10.packet_ins("B")
    assert seen.data == E(200, inner=100)


def test_v206(v10: Lab) -> None:
    """Transparent: the tag is taken out, and total_len with it."""
    v10.switch.packet_in(1, E(300, pcp=5), total_len=64)
    (seen,) = v10.packet_ins("T")
    assert (seen.data, seen.total_len) == (E(), 60)


def test_v208(v13: Lab) -> None:
    """A tag that the switch moved into the match is put back."""
    v13.switch.packet_in(1, E(), vlan_vid=0x1064)
    (seen,) = v13.packet_ins("A")
    assert seen.data[12:16] == bytes.fromhex("81000064")
    assert seen.data == E(100)


def test_v209(v13: Lab) -> None:
    """A frame and a match that disagree about the VLAN reach nobody."""
    v13.switch.packet_in(2, E(100), vlan_vid=0x10C8)
    v13.packet_ins()


def test_v211(v13: Lab) -> None:
    """Cookies of nobody are shown as all ones."""
    for cookie in (ALL_ONES, 0x1234):
        v13.switch.packet_in(1, E(100), cookie=cookie)
        (seen,) = v13.packet_ins("A")
        assert (seen.cookie, seen.data) == (ALL_ONES, E(100))


def test_v213(v13: Lab) -> None:
    """The packet of a table-miss entry has reason NO_MATCH."""
    mod = v13.added("A", v13.mod(v13.out("controller"), priority=0, cookie=0x77))
    v13.switch.packet_in(1, E(100), reason=1, cookie=mod.cookie)
    (seen,) = v13.packet_ins("A")
    assert (seen.reason, seen.cookie) == (0, 0x77)


def test_v215(v10: Lab) -> None:
    """FLOW_REMOVED is in the controller's own terms."""
    v10.added("A", v10.mod(v10.out(2), flags=1))
    (entry,) = [e for e in v10.switch.flows(100) if e.actions]
    v10.switch.expire(entry)
    v10.fence()
    removed = of.parse_flow_removed(v10.A.expect("flow_removed"))
    assert (removed.match, removed.priority, removed.cookie) == ({}, 100, 0x11)


def test_v217(private: Callable[..., Lab]) -> None:
    """FLOW_REMOVED of an earlier registration reaches nobody."""
    lab = private(of.V10)
    old = lab.added("A", lab.mod(lab.out(2), flags=1))
    (entry,) = [e for e in lab.switch.flows(100) if e.actions]
    everything, a = lab.slices(), lab.A
    lab.closed.add("A")
    lab.reload(lab.slices(alice=None))
    a.expect_closed()
    lab.reload(everything)
    again = lab.controllers["A"].wait_connected(2)
    again.wait_for(lambda: again.up, "handshake")
    lab.forget()
    new = lab.added("A", lab.mod(lab.out(2), flags=1))
    assert new.cookie >> 48 != old.cookie >> 48
    lab.switch.send_raw(of.message(1, "flow_removed", lab.switch.table.removed_message(entry, 0)))
    lab.fence()
    assert again.closed is None


def test_v218(v10: Lab) -> None:
    """PORT_STATUS reaches those who have the port."""
    for port in (2, 4, 6):
        v10.switch.port_status("modify", port, state=1)
    v10.fence()
    told = {name: port_statuses(v10, name) for name in "ABTU"}
    assert told == {"A": [(2, 2)], "B": [(2, 2), (2, 4)], "T": [(2, 2)], "U": [(2, 2), (2, 4), (2, 6)]}


def test_v219(v10: Lab) -> None:
    """A new port is guarded for all who do not have it before anything else, and told to those who do."""
    v10.switch.mark()
    v10.switch.port_status("add", 7)
    v10.fence()
    sent = [m for m in v10.switch.since() if m.name not in ("echo_reply", "echo_request")]
    assert all(is_guard(m) for m in sent[:3])
    mods = [of.parse_flow_mod(m) for m in sent[:3]]
    assert [guard_ports(mods, vlan) for vlan in (100, 200, 300)] == [{7}] * 3
    assert {m.name for m in sent[3:]} <= {"barrier_request"}
    assert {name: port_statuses(v10, name) for name in "ABTU"} == {"A": [], "B": [], "T": [], "U": [(0, 7)]}


def test_v220(v10: Lab) -> None:
    """The switch's error reaches the one who caused it, around its own bytes."""
    refused: list[Message] = []

    def refuse(msg: Message) -> bool:
        refused.append(msg)
        v10.switch.error(msg, 3, 0, 64)
        return True

    v10.switch.script["flow_mod"] = refuse
    raw = v10.mod(v10.out(2), match={"eth_dst": "02:00:00:00:00:0a"}, xid=0xCAFE)
    v10.send("A", raw)
    assert refused[0].raw[8:64] != raw[8:64]
    v10.error("A", raw, 3, 0)


def test_v222(v13: Lab) -> None:
    """Errors that belong to nobody's message, or to a guard, reach nobody."""
    guards = [m for m in v13.switch.log("flow_mod") if is_guard(m)]
    assert len(guards) == sum(len(ports) + 1 for ports in GUARDED.values())
    unused = of.message(4, "error", struct.pack("!HH", 5, 4) + bytes(64), 0x7FFF0001)
    v13.switch.send_raw(unused)
    v13.switch.error(guards[0], 5, 4, 64)
    v13.fence()


def test_v224(private: Callable[..., Lab]) -> None:
    """Asynchronous masks are each connection's own."""
    lab = private(of.V13, twice=True)
    a1, a2 = lab.conn("A"), lab.conn("A2")
    lab.silent("A", lab.message("set_async", struct.pack("!IIIIII", 0, 0, 7, 7, 15, 0)))
    lab.switch.packet_in(1, E(100))
    (seen,) = lab.packet_ins("A2")
    assert seen.data == E(100)
    assert a1.unseen("packet_in") == a2.unseen("packet_in") == []
    reply = lab.ask("A", lab.message("get_async_request"))
    assert struct.unpack("!IIIIII", reply.body) == (0, 0, 7, 7, 15, 0)
    assert [m for m in lab.switch.log("set_async") if m.body != struct.pack("!IIIIII", 7, 7, 7, 7, 15, 15)] == []


def test_v225(v10: Lab) -> None:
    """LLDP is nothing special: untagged it is nobody's, in VLAN 300 it is T's."""
    v10.switch.packet_in(1, E(ethertype=0x88CC))
    v10.packet_ins()
    v10.switch.packet_in(1, E(300, ethertype=0x88CC))
    (seen,) = v10.packet_ins("T")
    assert seen.data == E(ethertype=0x88CC)
