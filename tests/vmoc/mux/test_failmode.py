"""When the last controller of a slice leaves: secure, standalone, flush (vetting D.5; vectors 305, 307)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, TINA, UMA, endpoint, piece, with_ports, with_segment
from vmoc.model import FailMode, Slice
from vmoc.mux.flows import LINGER

BOTH = pytest.mark.parametrize("version", [V10, V13])


def failing(mode: FailMode) -> tuple[Slice, ...]:
    return with_segment(ALICE, fail_mode=mode), BOB, TINA, UMA


@BOTH
def test_secure_keeps_everything(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, cookie=9)
    book.clear()
    book.accept = False
    a.close()
    book.advance(20)
    switch.packet_in(1, E(100))
    assert len(switch.flows(100)) == 1
    assert not switch.log("flow_mod")
    assert book.mux.counters.dropped_packet_ins == {"down": 1}
    book.accept = True
    book.advance(40)
    assert [s.cookie for s in book.at("alice").flow_stats()] == [9]


@BOTH
def test_flush_empties_the_vlan_and_keeps_the_guards(version: int):
    book, switch = scene(version, *failing(FailMode.FLUSH))
    a = book.at("alice")
    for number in range(4):
        a.add(2, eth_dst=number, flags=1)
    book.at("bob").add(2)
    tag = switch.flows(100)[0].cookie >> 48
    book.clear()
    book.accept = False
    switch.model.mute = {"flow_removed"}
    a.close()
    mod = switch.flow_mods()[0]
    assert (mod.command, mod.vlan) == ("delete", 100)
    if version == V13:
        assert (mod.cookie >> 48, mod.cookie_mask, mod.table) == (tag, 0xFFFF << 48, 255)
    assert not switch.flows(100)
    assert switch.guards(100) == [4, 5, 6, of.port_number(version, "local")]
    assert len(switch.flows(200)) == 1
    flows = next(iter(book.mux._switches.values())).datapaths[100].flows
    assert not flows.by_identity
    book.accept = True
    book.advance(LINGER)
    assert book.at("alice").flow_stats() == []
    book.at("alice").add(None, command="delete")
    book.advance(1.1)
    assert not flows.by_serial, "settled by the barrier although nothing was removed aloud"


@BOTH
def test_one_of_two_controllers_leaving_is_not_the_last(version: int):
    two = with_segment(ALICE, controllers=(endpoint("alice"), endpoint("alice2")), fail_mode=FailMode.FLUSH)
    book, switch = scene(version, two, BOB)
    book.at("alice").add(2)
    book.accept = False
    book.at("alice").close()
    assert switch.flows(100)
    book.at("alice2").close()
    assert not switch.flows(100)


def standalone(switch: SwitchEnd, vlan: int = 100) -> list[list[int]]:
    return [
        sorted(e.outputs(switch.version))
        for e in switch.model.flows(vlan)
        if e.cookie >> 48 == 0xFFFE and e.priority == 0
    ]


@BOTH
def test_standalone_forwards_among_the_slices_own_ports(version: int):
    book, switch = scene(version, *failing(FailMode.STANDALONE))
    book.accept = False
    book.at("alice").close()
    book.advance(4.9)
    assert standalone(switch) == []
    book.advance(0.2)
    assert standalone(switch) == [[1, 2, 3]]
    sent = switch.model.inject(1, E(100)).sent
    assert {port for port, _ in sent} == {2, 3}
    switch.model.inject(1, E(200))
    switch.port_status("delete", 3)
    assert standalone(switch) == [[1, 2]]
    switch.port_status("add", 3)
    assert standalone(switch) == [[1, 2, 3]]
    book.adopt(with_ports(failing(FailMode.STANDALONE)[0], (1, 2)), *FOUR[1:])
    assert standalone(switch) == [[1, 2]], "a port that is no longer the slice's is not forwarded to"
    book.accept = True
    book.advance(40)
    assert standalone(switch) == []
    assert book.at("alice").flow_stats() == []


@BOTH
def test_standalone_is_off_when_the_controller_is_back_in_time(version: int):
    book, switch = scene(version, *failing(FailMode.STANDALONE))
    book.at("alice").close()
    book.advance(10)
    assert book.at("alice")
    assert standalone(switch) == [] and not switch.log("flow_mod")


@BOTH
def test_standalone_yields_to_the_slices_own_entry(version: int):
    book, switch = scene(version, *failing(FailMode.STANDALONE))
    a = book.at("alice")
    a.add(2, priority=0)
    book.accept = False
    a.close()
    book.advance(20)
    assert standalone(switch) == []
    assert len(switch.flows(100)) == 1


@BOTH
def test_standalone_also_when_no_controller_ever_came(version: int):
    book = Playbook(failing(FailMode.STANDALONE), accept=False)
    switch = book.switch(version)
    book.advance(6)
    assert standalone(switch) == [[1, 2, 3]]
    switch.close()
    book.advance(10)
    again = book.switch(model=switch.model)
    assert standalone(again) == [], "not taken for a slice's"
    book.advance(6)
    assert standalone(again) == [[1, 2, 3]]
    book.adopt(*FOUR[1:])
    assert standalone(again) == []


@BOTH
def test_standalone_with_the_switch_gone(version: int):
    book, switch = scene(version, *failing(FailMode.STANDALONE))
    book.accept = False
    book.at("alice").close()
    switch.close()
    book.advance(20)
    assert book.mux.describe()["switches"][0]["connected"] is False  # type: ignore[index]


def test_standalone_without_any_port():
    book = Playbook((piece("none", 500, (42,), fail_mode=FailMode.STANDALONE),), accept=False)
    switch = book.switch(V13)
    book.advance(6)
    assert standalone(switch, 500) == [[]]
