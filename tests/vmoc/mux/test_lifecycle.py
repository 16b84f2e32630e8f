"""Guards, and ports that come and go (vetting D.2; vectors 219, 310)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, FOUR, UMA, piece, with_ports
from vmoc.events import Kind
from vmoc.mux.effects import SwitchAppeared

BOTH = pytest.mark.parametrize("version", [V10, V13])


def local(version: int) -> int:
    return of.port_number(version, "local")


# -- coming up -------------------------------------------------------------------------------------------


@BOTH
def test_the_switch_is_configured_and_asked(version: int):
    book = Playbook()
    switch = book.switch(version)
    names = [m.name for m in switch.inbox]
    assert names[:3] == ["hello", "features_request", "set_config"]
    assert switch.log("set_config")[0].body == b"\0\0\xff\xff"
    assert not switch.log("role_request")
    assert "experimenter" not in names


@BOTH
def test_controllers_are_dialled_after_the_last_barrier(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    switch.hold("barrier_reply")
    switch.send(of.hello(version, 0, switch.model.versions))
    assert not book.attempts
    assert switch.guards(100)
    switch.release()
    assert len(book.attempts) == 4


@BOTH
def test_a_switch_without_description_comes_up(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    serve = switch.model._on_stats_request

    def no_description(message: object) -> None:
        if message.raw[8:10] == b"\0\0":  # type: ignore[attr-defined]
            switch.model.error(message, 1, 2)  # type: ignore[arg-type]
        else:
            serve(message)  # type: ignore[arg-type]

    switch.model._on_stats_request = no_description  # type: ignore[method-assign, assignment]
    switch.send(of.hello(version, 0, switch.model.versions))
    a = book.at("alice")
    ((_, body),) = a.stats_replies(a.stats("desc"))
    assert body[:256] == bytes(256)


def test_a_1_3_switch_that_refuses_set_async_and_port_desc_comes_up():
    book = Playbook()
    switch = book.dial_in(version=V13)
    serve = switch.model._on_stats_request

    def no_ports(message: object) -> None:
        if message.raw[8:10] == b"\0\x0d":  # type: ignore[attr-defined]
            switch.model.error(message, 1, 2)  # type: ignore[arg-type]
        else:
            serve(message)  # type: ignore[arg-type]

    switch.model._on_stats_request = no_ports  # type: ignore[method-assign, assignment]
    switch.model._on_set_async = lambda message: switch.model.error(message, 1, 1)  # type: ignore[method-assign]
    switch.send(of.hello(V13, 0, (4,)))
    assert len(book.controllers()) == 4
    assert book.mux.describe()["switches"][0]["ports"] == []  # type: ignore[index]


def test_port_descriptions_in_several_parts():
    book = Playbook(tap=True)
    switch = book.dial_in(version=V13)
    switch.model.stats_size = 100
    switch.send(of.hello(V13, 0, (4,)))
    assert len(book.mux.describe()["switches"][0]["ports"]) == 7  # type: ignore[index]
    (appeared,) = [e for e in book.operator if isinstance(e, SwitchAppeared)]
    assert len(appeared.ports) == 7


# -- guards ----------------------------------------------------------------------------------------------


@BOTH
def test_every_foreign_port_is_guarded(version: int):
    _, switch = scene(version)
    assert switch.guards(100) == [4, 5, 6, local(version)]
    assert switch.guards(200) == [1, 5, 6, local(version)]
    assert switch.guards(300) == [3, 4, 6, local(version)]
    assert switch.guards(400) == [local(version)]
    for guard in [e for e in switch.flows(guards=True) if e.cookie >> 48 == 0xFFFE]:
        assert (guard.priority, guard.actions, guard.flags, guard.table) == (65535, b"", 1, 0)


@BOTH
def test_a_guard_that_vanishes_is_put_back(version: int):
    book, switch = scene(version)
    guard = next(e for e in switch.flows(100, guards=True) if e.match["in_port"][0] == 5)
    switch.does(lambda model: model.expire(guard, 2))
    assert switch.guards(100) == [4, 5, 6, local(version)]
    assert book.heard() == {}


@BOTH
def test_what_is_no_guard_of_ours_is_not_put_back(version: int):
    book, switch = scene(version)
    guard = next(e for e in switch.flows(100, guards=True) if e.match["in_port"][0] == 5)
    for match in (of.match(version, vlan=100, in_port=1), of.match(version, vlan=999, in_port=5), of.match(version)):
        guard.match_raw = match
        switch.send(of.message(version, "flow_removed", switch.model.table.removed_message(guard, 2)))
    assert not switch.log("flow_mod")
    assert book.heard() == {}


@BOTH
def test_local_can_be_granted_by_name(version: int):
    book, switch = scene(version, piece("lora", 500, (1, 0xFFFFFFFE)), UMA)
    assert switch.guards(500) == [2, 3, 4, 5, 6]
    lora = book.at("lora")
    lora.add("local")
    lora.add("flood", in_port="local")
    assert not lora.inbox
    assert sorted(flow.outputs(version) for flow in switch.flows(500)) == [[1], [local(version)]]
    switch.packet_in("local", E(500))
    assert len(lora.packet_ins()) == 1


# -- ports of the switch (vectors 218, 219) --------------------------------------------------------------


@BOTH
def test_port_changes_go_to_those_that_have_the_port(version: int):
    book, switch = scene(version)
    for port, owners in ((2, {"alice", "bob", "tina", "uma"}), (4, {"bob", "uma"}), (6, {"uma"})):
        book.clear()
        switch.port_status("modify", port, state=1)
        assert set(book.heard()) == owners
        for name in owners:
            status = of.parse_port_status(book.at(name).take_one("port_status"))
            assert (status.reason, status.port.number, status.port.state) == (2, port, 1)
    book.clear()
    switch.port_status("modify", local(version))
    assert book.heard() == {}


@BOTH
def test_a_new_port_is_guarded_before_anything_else(version: int):
    book, switch = scene(version)
    u = book.at("uma")
    u.add("flood")
    book.clear()
    switch.port_status("add", 7)
    mods = [of.parse_flow_mod(m) for m in switch.inbox if m.name == "flow_mod"]
    assert [(m.command, m.vlan, m.match["in_port"][0]) for m in mods[:3]] == [
        ("add", 100, 7),
        ("add", 200, 7),
        ("add", 300, 7),
    ]
    assert (mods[3].command, mods[3].vlan) == ("modify_strict", 400)
    assert switch.flows(400)[0].outputs(version) == [1, 2, 3, 4, 5, 6, 7]
    assert book.heard() == {"uma": ["port_status"]}
    assert of.parse_port_status(u.take_one("port_status")).reason == 0


@BOTH
def test_a_port_named_before_it_exists(version: int):
    book, switch = scene(version, piece("early", 500, (1, 9)), UMA)
    early = book.at("early")
    early.add("flood")
    xid = early.add(9)
    early.error(xid, (2, 4))
    switch.port_status("add", 9)
    assert of.parse_port_status(early.take_one("port_status")).port.number == 9
    assert switch.flows(500)[0].outputs(version) == [1, 9]
    assert 9 not in switch.guards(500)
    early.add(9, eth_dst=1)
    assert not early.inbox


@BOTH
def test_a_port_that_goes_leaves_the_flows(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add("flood", eth_dst=1)
    a.add(3, eth_dst=2)
    a.flow_mod("add", of.match(version, eth_dst=3), of.output(version, "flood") + of.output(version, 3))
    book.clear()
    switch.port_status("delete", 3)
    assert of.parse_port_status(a.take_one("port_status")).reason == 1
    assert len(switch.flows(100)) == len(a.flow_stats()) == 3
    assert next(f for f in switch.flows(100) if f.match["eth_dst"][0] == 1).outputs(version) == [1, 2]
    xid = a.add(3)
    a.error(xid, (2, 4))
    switch.port_status("add", 3)
    assert of.parse_port_status(a.take_one("port_status")).reason == 0
    assert next(f for f in switch.flows(100) if f.match["eth_dst"][0] == 1).outputs(version) == [1, 2, 3]
    a.add(3)
    assert not a.inbox


@BOTH
def test_odd_port_status_messages(version: int):
    book, switch = scene(version)
    switch.port_status("delete", 42)
    assert book.heard() == {}
    switch.port_status("modify", 42)
    assert set(book.heard()) == {"uma"}, "it was not known, so it is new"
    told = [(e.detail["port"], e.detail["change"]) for e in book.told(Kind.PORT_CHANGED)]
    assert told == [(42, "removed"), (42, "changed")]
    book.clear()
    switch.port_status("add", 2)
    assert len(book.heard()) == 4, "it was known; they are told what the switch says"
    raw = switch.model.ports[2].raw
    for body in (b"", bytes(8), b"\x03" + bytes(7) + raw):
        switch.send(of.message(version, "port_status", body))
    assert not switch.open, "three bad messages in a minute"


# -- ports of a segment (D.2, vector 310) ----------------------------------------------------------------


@BOTH
def test_a_port_taken_away(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(1, in_port=3, cookie=1, flags=1)
    a.add("flood", eth_dst=1, cookie=2)
    a.add(3, eth_dst=2, cookie=3)
    a.add(2, eth_dst=3, cookie=4)
    book.clear()
    book.adopt(with_ports(ALICE, (1, 2), {2: frozenset((7,))}), *FOUR[1:])
    mods = switch.flow_mods()
    first = mods[0]
    assert (first.command, first.vlan, first.match["in_port"][0], first.priority) == ("add", 100, 3, 65535)
    assert sorted(m.command for m in mods[1:]) == ["delete_strict", "delete_strict", "modify_strict"]
    assert {s.cookie: f.outputs(version) for s, f in zip(a.flow_stats(), switch.flows(100), strict=True)} == {
        2: [1, 2],
        4: [2],
    }
    assert 3 in switch.guards(100)
    assert {m.name for m in a.inbox} == {"flow_removed", "port_status"}
    assert of.parse_flow_removed(a.take_one("flow_removed")).cookie == 1
    status = of.parse_port_status(a.take_one("port_status"))
    assert (status.reason, status.port.number) == (1, 3)
    assert a.open and set(book.heard()) == set()


@BOTH
def test_a_port_given(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add("flood", eth_dst=1)
    book.clear()
    book.adopt(with_ports(ALICE, (1, 2, 3, 4), {2: frozenset((7,))}), *FOUR[1:])
    mods = switch.flow_mods()
    assert [m.command for m in mods] == ["modify_strict", "delete_strict"]
    assert switch.guards(100) == [5, 6, local(version)]
    assert switch.flows(100)[0].outputs(version) == [1, 2, 3, 4]
    status = of.parse_port_status(a.take_one("port_status"))
    assert (status.reason, status.port.number) == (0, 4)
    assert a.open and book.heard() == {}
    book.advance(2)
    assert switch.guards(100) == [5, 6, local(version)], "its FLOW_REMOVED does not bring the guard back"


@BOTH
def test_a_queue_taken_away(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.flow_mod("add", None, of.enqueue(version, 2, 7))
    assert switch.flows(100)
    book.adopt(with_ports(ALICE, (1, 2, 3)), *FOUR[1:])
    assert not switch.flows(100)
    assert a.open


@BOTH
def test_ports_changed_while_the_switch_is_away(version: int):
    book, switch = scene(version)
    book.at("alice").add(3)
    switch.close()
    book.adopt(with_ports(ALICE, (1, 2, 4)), *FOUR[1:])
    again = book.switch(model=switch.model)
    assert again.guards(100) == [3, 5, 6, local(version)]
    assert book.at("alice").features


@BOTH
def test_flows_of_a_port_taken_while_the_switch_was_away_do_not_stay(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(3, eth_dst=1, cookie=1)
    a.add("flood", eth_dst=2, cookie=2)
    a.add(1, in_port=3, cookie=3)
    a.add(2, eth_dst=3, cookie=4)
    switch.close()
    book.adopt(with_ports(ALICE, (1, 2)), *FOUR[1:])
    again = book.switch(model=switch.model)
    book.advance(2)
    stats, flows = book.at("alice").flow_stats(), again.flows(100)
    assert {s.cookie: f.outputs(version) for s, f in zip(stats, flows, strict=True)} == {2: [1, 2], 4: [2]}


@BOTH
@pytest.mark.parametrize("named", [True, False])
def test_a_port_that_is_late_after_a_reconnect_costs_no_flow(version: int, named: bool):
    one = ALICE if named else with_ports(ALICE, None)
    book, switch = scene(version, one)
    a = book.at("alice")
    a.add(3, eth_dst=1, cookie=1)
    a.add("flood", eth_dst=2, cookie=2)
    a.add(1, in_port=3, cookie=3)
    a.flow_mod("add", of.match(version, eth_dst=3), of.enqueue(version, 2, 7) if named else b"", cookie=4)
    switch.close()
    late = switch.model.ports.pop(3)
    again = book.switch(model=switch.model)
    book.advance(2)
    a = book.at("alice")
    assert sorted(s.cookie for s in a.flow_stats()) == [1, 2, 3, 4]
    flood = next(f for f in again.flows(100) if f.match.get("eth_dst", (0, 0))[0] == 2)
    assert 3 not in flood.outputs(version)
    again.port_status("add", late.number)
    assert 3 in next(f for f in again.flows(100) if f.match.get("eth_dst", (0, 0))[0] == 2).outputs(version)
    book.adopt(with_ports(ALICE, (1, 2), {2: frozenset((7,))}))
    assert sorted(s.cookie for s in a.flow_stats()) == [2, 4]
