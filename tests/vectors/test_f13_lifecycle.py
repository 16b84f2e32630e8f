"""F.13 lifecycle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.emulation import Connection, E, EmulatedController, free_port
from tests.emulation import wire as of
from tests.vectors.lab import GUARDED, LOCAL, Lab, X, Y, guard_ports, guards_in
from tests.vectors.mock import MockSwitch, is_guard
from tests.vectors.test_f10_groups import add_group, add_meter, bucket, command_of, id_of

TAG_MASK = 0xFFFF << 48
QUICK = {"reconnect_first": 0.1, "reconnect_max": 0.5}
NEWCOMER = 600


def newcomer(controller: str, vlan: int = NEWCOMER, ports: tuple[int, ...] = (1,), name: str = "erin",
             dpid: int = 0xAA) -> dict[str, Any]:  # fmt: skip
    """One more slice, tagged."""
    attachment = {"dpid": f"0x{dpid:016x}", "ports": list(ports)}
    return {"id": name, "segments": [{"vlan": vlan, "controllers": [controller], "attachments": [attachment]}]}


def has_ended(connection: Connection) -> bool:
    """Whether the other side's end of the connection has arrived in the kernel, read or not."""
    try:
        return connection._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def let_one_barrier_pass(switch: MockSwitch) -> None:
    """Answer the barriers held back so far and hold the next ones."""
    with switch.changed:
        switch.release("barrier_reply")
        switch.hold.add("barrier_reply")


def test_v296(private: Callable[..., Lab]) -> None:
    """A VLAN that becomes somebody's is emptied, proven empty and guarded before its controller is dialled."""
    lab = private(of.V10)
    switch = lab.switch
    switch.plant(switch.entry({"vlan_vid": NEWCOMER}, priority=7, actions=lab.out(2)))
    with EmulatedController(of.V10, free_port(), name="controller erin") as controller:
        switch.mark()
        switch.hold.add("barrier_reply")
        lab.reload([*lab.slices(), newcomer(controller.address)])
        switch.wait_held("barrier_reply")

        def over() -> bool:
            return guard_ports(switch.flow_mods_since(), NEWCOMER) == {2, 3, 4, 5, 6, LOCAL[1]}

        while not over():
            lab.fence()
            assert controller.connections == []
            with switch.changed:
                if over():
                    break  # the barrier behind the guards may be among those held
                let_one_barrier_pass(switch)
            switch.wait_for(lambda: over() or switch.held, "next barrier")
        switch.wait_held("barrier_reply")
        lab.fence()
        assert controller.connections == []
        sent = [m for m in switch.since() if m.name in ("flow_mod", "barrier_request", "stats_request")]
        first = of.parse_flow_mod(sent[0])
        assert first.command == "delete"
        lab.is_flow(first, b"", vlan_vid=NEWCOMER)
        names = [m.name for m in sent]
        assert names[1] == "barrier_request"
        assert "stats_request" in names
        guards = [index for index, m in enumerate(sent) if is_guard(m)]
        assert min(guards) > names.index("stats_request")
        assert names[-1] == "barrier_request"
        assert len(sent) - 1 > max(guards)
        switch.release()
        assert controller.wait_connected().name
        controller.wait_up(NEWCOMER << 48 | 0xAA).expect_nothing()
        assert [e for e in switch.flows(NEWCOMER) if e.actions] == []
        lab.reload(lab.slices(erin=None))
        controller.connections[0].expect_closed()


def test_v297(private: Callable[..., Lab]) -> None:
    """A VLAN has one owner on a switch: the second one conflicts, and the first notices nothing."""
    lab = private(of.V10)
    lab.switch.mark()
    address = f"tcp:127.0.0.1:{free_port()}"
    carol = newcomer(address, 100, (3, 4), "carol")
    lab.reload([*lab.slices(), carol], result="rejected", says="VLAN 100 on switch 0x00000000000000aa")
    lab.fence()
    assert lab.switch.derived() == []
    assert guards_in(lab.switch.since()) == []


@pytest.mark.parametrize("vlan", [0, 4095, 4096, -1])
def test_v299(v10: Lab, vlan: int) -> None:
    """VLANs that are none are refused."""
    v10.reload(
        [*v10.slices(), newcomer("tcp:127.0.0.1:6699", vlan)],
        result="rejected",
        says=f"vlan: must be a whole number 1..4094, not {vlan}",
    )
    v10.fence()
    assert v10.switch.derived() == []


def test_v300(private: Callable[..., Lab]) -> None:
    """Registering what is there already changes nothing."""
    lab = private(of.V10)
    lab.added("A", lab.mod(lab.out(2)))
    a, entries = lab.A, lab.switch.flows()
    lab.switch.mark()
    lab.reload(lab.slices(), says="0 added, 0 changed, 0 removed")
    lab.fence()
    assert lab.switch.derived() == []
    assert guards_in(lab.switch.since()) == []
    assert lab.switch.flows() == entries
    assert lab.A is a


def test_v301(private: Callable[..., Lab]) -> None:
    """A slice that is removed loses its connection first, then all it had, and the proof follows."""
    lab = private(of.V13)
    group = add_group(lab, "A", 1, bucket(lab.out(2)))
    chained = add_group(lab, "A", 2, bucket(of.group(1)))
    meter = add_meter(lab, "A", 1)
    lab.added("A", lab.mod(lab.out(2)))
    lab.added("A", lab.mod(of.group(2), table=2))
    theirs = lab.added("B", lab.mod(lab.out(2)))
    a, switch = lab.A, lab.switch
    lab.closed.add("A")
    switch.mark()
    was_closed: list[bool] = []
    switch.script["flow_mod"] = lambda msg: was_closed.append(has_ended(a))
    switch.hold.add("barrier_reply")
    lab.reload(lab.slices(alice=None))
    a.expect_closed()
    switch.wait_held("barrier_reply")
    assert was_closed[0], "the DELETE came before the end of A's connection"
    switch.release()
    switch.wait_for(lambda: any(m.name == "stats_request" for m in switch.since()), "proof")
    lab.fence()
    sent = [m for m in switch.since() if m.name not in ("echo_request", "echo_reply")]
    first = of.parse_flow_mod(sent[0])
    assert (first.command, first.table, first.cookie_mask) == ("delete", 0xFF, 0)
    lab.is_flow(first, b"", vlan_vid=0x1064)
    names = [m.name for m in sent]
    assert names.index("barrier_request") < names.index("stats_request")
    before = sent[: names.index("barrier_request")]
    groups = [(command_of(m), id_of(m)) for m in before if m.name == "group_mod"]
    assert groups == [(2, chained), (2, group)]
    assert [(command_of(m), id_of(m)) for m in before if m.name == "meter_mod"] == [(2, meter)]
    assert switch.flows(100) == []
    assert [e.cookie for e in switch.flows(200) if e.actions] == [theirs.cookie]
    assert not switch.groups
    assert not switch.meters


def test_v304(private: Callable[..., Lab]) -> None:
    """Between two owners of a VLAN its packets are nobody's."""
    lab = private(of.V10)
    a, switch = lab.A, lab.switch
    with EmulatedController(of.V10, free_port(), name="controller carol") as controller:
        lab.closed.add("A")
        switch.hold.add("barrier_reply")
        carol = newcomer(controller.address, 100, (1, 2, 3), "carol")
        lab.reload([*lab.slices(alice=None), carol])
        a.expect_closed()
        switch.wait_held("barrier_reply")
        switch.packet_in(1, E(100))
        lab.packet_ins()
        switch.release()
        connection = controller.wait_up(100 << 48 | 0xAA)
        lab.fence()
        connection.expect_nothing()
        switch.packet_in(1, E(100))
        assert connection.expect_packet_in().data == E(100)
        lab.reload(lab.slices(carol=None))
        connection.expect_closed()


def test_v305(private: Callable[..., Lab]) -> None:
    """fail_mode secure: flows stay while no controller is there, and are there when it is back."""
    lab = private(of.V10, timers=QUICK)
    lab.added("A", lab.mod(lab.out(2)))
    lab.closed.add("A")
    lab.switch.mark()
    lab.controllers["A"].stop()
    lab.vmoc.wait_log("controller-lost")
    lab.switch.packet_in(1, E(100))
    lab.packet_ins()
    assert lab.switch.derived() == []
    lab.controllers["A"].listen()
    again = lab.controllers["A"].wait_connected(2)
    again.wait_for(lambda: again.up, "handshake")
    assert again.log[0].raw[:4] == b"\x01\x00\x00\x08"
    assert [(e.match, e.cookie) for e in again.flow_stats()] == [({}, 0x11)]
    again.expect_nothing()


def test_v307(private: Callable[..., Lab]) -> None:
    """fail_mode flush: flows go with the controller, by VLAN and tag."""
    lab = private(of.V13, connect=False)
    slices = lab.slices(alice={"fail_mode": "flush"})
    lab.reload(slices)
    lab.connect()
    tag = lab.tag("A")
    lab.closed.add("A")
    lab.controllers["A"].stop()
    lab.switch.wait_for(lab.switch.derived, "delete")
    lab.fence()
    (sent,) = lab.switch.derived()
    mod = of.parse_flow_mod(sent)
    assert (mod.command, mod.table, mod.cookie, mod.cookie_mask) == ("delete", 0xFF, tag << 48, TAG_MASK)
    lab.is_flow(mod, b"", vlan_vid=0x1064)


def test_v308(private: Callable[..., Lab]) -> None:
    """After a restart the journal tells what is whose; the rest is deleted before controllers are connected."""
    lab = private(of.V13, connect=False, state={"path": "vmoc.db"}, policy={"on_restart": "journal"})
    lab.connect()
    known = lab.added("A", lab.mod(lab.out(2), match={"eth_dst": X}, cookie=0xABCD))
    before = lab.flow_stats("A")
    lab.vmoc.terminate()
    lab.end()
    table = lab.switch.table
    lab.begin(of.V13)
    lab.switch.table = lab.switch.pipeline.table = table
    unknown = lab.switch.plant(
        lab.switch.entry({"vlan_vid": 0x1064}, cookie=known.cookie >> 48 << 48 | 0xFFFFFF, priority=3)
    )
    normal = lab.switch.plant(lab.switch.entry({}, priority=0, actions=of.apply_actions(lab.out("normal"))))
    lab.switch.start()
    lab.switch.wait_connected()
    lab.A.wait_for(lambda: lab.A.up, "handshake")
    mods = [of.parse_flow_mod(m) for m in lab.switch.log("flow_mod") if not is_guard(m)]
    deleted = [(m.command, m.match, m.priority) for m in mods]
    expected = [("delete_strict", e.match, e.priority) for e in (unknown, normal)]
    assert sorted(deleted, key=repr) == sorted(expected, key=repr)
    assert [e.cookie for e in lab.switch.flows(100) if e.actions] == [known.cookie]
    guards = {e.match["in_port"][0] for e in lab.switch.flows(100) if not e.actions}
    assert guards == {*GUARDED["A"], LOCAL[4]}
    greeted = lab.A.log[0].at
    assert all(m.at <= greeted for m in lab.switch.log("flow_mod"))
    after = lab.flow_stats("A")
    assert [(e.match, e.cookie, e.priority, e.actions) for e in after] == [
        (e.match, e.cookie, e.priority, e.actions) for e in before
    ]
    for name, controller in lab.controllers.items():
        controller.wait_up(lab.presented(name))
    lab.fence()
    lab.forget()


def test_v310(private: Callable[..., Lab]) -> None:
    """A port that is taken away is guarded first, then all that names it goes, and floods go on without it."""
    lab = private(of.V10)
    one = lab.added("A", lab.mod(lab.out(1), match={"in_port": 3}, flags=1))
    flood = lab.added("A", lab.mod(lab.out("flood"), match={"eth_dst": X}))
    named = lab.added("A", lab.mod(lab.out(3), match={"eth_dst": Y}, flags=1))
    switch = lab.switch
    switch.mark()
    attachment = {"dpid": "0x00000000000000aa", "ports": [1, 2], "queues": {2: [7]}}
    lab.reload(lab.slices(alice={"attachments": [attachment]}))
    lab.fence()
    sent = [m for m in switch.since() if m.name == "flow_mod"]
    assert guard_ports(guards_in(sent[:1]), 100) == {3}
    mods = [of.parse_flow_mod(m) for m in sent[1:]]
    deleted = [m for m in mods if m.command == "delete_strict"]
    assert {(m.match_raw, m.priority) for m in deleted} == {(e.match_raw, e.priority) for e in (one, named)}
    (again,) = [m for m in mods if m not in deleted]
    assert again.cookie == flood.cookie
    lab.is_flow(again, lab.out(1, 2), vlan_vid=100, eth_dst=X)
    status = of.parse_port_status(lab.A.expect("port_status"))
    assert (status.reason, status.port.number) == (1, 3)
    removed = [of.parse_flow_removed(lab.A.expect("flow_removed")) for _ in range(2)]
    assert {r.reason for r in removed} == {2}
    assert sorted(len(r.match) for r in removed) == [1, 1]


def test_v312(v10: Lab) -> None:
    """A controller that is VMOC itself is refused."""
    own = f"tcp:127.0.0.1:{v10.vmoc.port}"
    v10.reload([*v10.slices(), newcomer(own)], result="rejected", says=f"{own} is VMOC itself")
    v10.fence()
    assert v10.switch.derived() == []


def test_v314(private: Callable[..., Lab]) -> None:
    """The audit finds out that an entry is gone, and gives the quota back."""
    lab = private(of.V13, timers={"audit": 0.5})

    def flow_mods(*raws: bytes) -> int:
        """How many FLOW_MODs come of it; an audit may ask for statistics at any time."""
        return sum(message.name == "flow_mod" for message in lab.send("A", *raws))

    ten = [lab.mod(lab.out(2), match={"eth_dst": f"02:00:00:00:01:{number:02x}"}) for number in range(10)]
    one_more = lab.mod(lab.out(2), match={"eth_dst": X})
    assert flow_mods(*ten) == 10
    assert flow_mods(one_more) == 0
    lab.error("A", one_more, 5, 1)
    switch = lab.switch
    with switch.changed:
        gone = next(e for e in switch.table.entries if e.match.get("eth_dst", (0, 0))[0] == 0x020000000103)
        switch.table.entries.remove(gone)
    switch.mark()
    for _ in range(2):  # the first dump may have begun before
        count = len(switch.log("stats_request"))
        switch.wait_for(lambda count=count: len(switch.log("stats_request")) > count, "audit")
    lab.fence()
    assert len(lab.flow_stats("A")) == 9
    assert flow_mods(lab.mod(lab.out(2), match={"eth_dst": X})) == 1
