"""A virtual datapath: which ports it owns, what it shows, what it says."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, TINA, piece
from vmoc.events import Kind
from vmoc.model import DpidScheme, Limits, Segment
from vmoc.mux.datapath import SAY_AGAIN, State, VirtualDatapath, presented_dpid

BOTH = pytest.mark.parametrize("version", [V10, V13])


def inside(book: Playbook, vlan: int) -> VirtualDatapath:
    (switch,) = book.mux._switches.values()
    return switch.datapaths[vlan]


@pytest.mark.parametrize(
    ("segment", "dpid", "shown"),
    [
        (Segment(100), 0xAA, 0x0064_0000_0000_00AA),
        (Segment(4094), 0xFFFF_FFFF_FFFF_FFFF, 0x0FFE_FFFF_FFFF_FFFF),
        (Segment(1), 0x0001_0000_0000_0001, 0x0001_0000_0000_0001),
        (Segment(2), 0x0000_0000_0000_0001, 0x0002_0000_0000_0001),
        (Segment(100, dpid=DpidScheme.PHYSICAL), 0xAA, 0xAA),
    ],
)
def test_presented_dpids(segment: Segment, dpid: int, shown: int):
    assert presented_dpid(segment, dpid) == shown


@BOTH
def test_all_ports_means_all_physical_ones(version: int):
    book, _ = scene(version, piece("all", 9), ports=(1, 7, 3))
    datapath = inside(book, 9)
    assert datapath.owned_ports() == {1, 3, 7}
    assert datapath.attached(12345)
    assert not datapath.attached(of.port_number(version, "local"))
    assert not datapath.attached(0)


@BOTH
def test_named_ports_are_owned_when_they_exist(version: int):
    book, _ = scene(version, piece("some", 9, (1, 42, 0xFFFFFFFE)))
    datapath = inside(book, 9)
    local = of.port_number(version, "local")
    assert datapath.owned_ports() == {1, local}
    assert [datapath.attached(port) for port in (1, 42, local, 2)] == [True, True, True, False]


@BOTH
def test_hiding_the_tag(version: int):
    book, _ = scene(version, ALICE, TINA)
    assert [inside(book, vlan).hides_tag for vlan in (100, 300)] == [False, True]
    book, _ = scene(version, ALICE, native=100)
    assert inside(book, 100).hides_tag


@BOTH
def test_states_are_reported_once(version: int):
    book = Playbook((ALICE,))
    switch = book.switch(version)
    switch.close()
    states = [(e.reason, e.detail["state"]) for e in book.told(Kind.DATAPATH_STATE)]
    assert states == [("ready", "ready"), ("pending", "pending")]
    assert [e.detail["before"] for e in book.told(Kind.DATAPATH_STATE)] == ["pending", "ready"]
    datapath = inside(book, 100)
    datapath.enter(State.PENDING, book.now)
    assert len(book.mux.take().effects) == 0


@BOTH
def test_what_goes_on_happening_is_said_once_in_a_while(version: int):
    book, _ = scene(version)
    datapath = inside(book, 100)
    for _ in range(100):
        datapath.say(Kind.QUOTA, book.now, "full")
        datapath.say(Kind.DROPPED, book.now, "dropped", "tcp:x:1")
        book.now += SAY_AGAIN / 50
    book.carry()
    assert len(book.told(Kind.QUOTA)) == 2
    (first, second) = book.told(Kind.DROPPED)
    assert (first.detail["count"], second.detail["count"]) == (1, 50), "with those that were not told since"
    assert (first.slice, first.vlan, first.dpid, first.controller) == ("alice", 100, 0xAA, "tcp:x:1")


@BOTH
def test_unlimited_by_default_limits_of_zero(version: int):
    book, _ = scene(version, piece("free", 9, limits=Limits(0, 0, 0, 0, 0, 0, 0, 0)))
    datapath = inside(book, 9)
    assert not any(bucket.rate for bucket in (datapath.flow_mods, datapath.stats, datapath.barriers))


@BOTH
def test_capabilities_follow_the_grants(version: int):
    book, _ = scene(version, ALICE, piece("bare", 9, (1,)))
    queues = 0x40
    assert inside(book, 100).shown_features().capabilities & queues
    assert not inside(book, 9).shown_features().capabilities & queues


# -- what is written anew when ports change --------------------------------------------------------------


def reissued(version: int) -> tuple[Playbook, SwitchEnd, Message]:
    """Alice's FLOOD written anew for a port that went; the switch has not answered."""
    book, switch = scene(version)
    book.at("alice").add("flood", eth_dst=1)
    book.advance(2)
    book.clear()
    switch.answering = False
    switch.port_status("delete", 3)
    (message,) = switch.take("flow_mod")
    assert of.parse_flow_mod(message).command == "modify_strict"
    return book, switch, message


@BOTH
def test_a_flood_the_switch_does_not_change_is_deleted(version: int):
    book, switch, message = reissued(version)
    cookie = of.parse_flow_mod(message).cookie
    switch.error(message, 1, 6)
    (deleted,) = switch.flow_mods()
    assert (deleted.command, deleted.cookie) == ("delete_strict", cookie), "it would lead to a port that is gone"
    assert not book.at("alice").errors(), "nothing its controller asked for was refused"
    assert len(inside(book, 100).flows) == 0


@BOTH
def test_the_controller_deleted_it_in_between(version: int):
    book, switch, message = reissued(version)
    book.at("alice").add(None, command="delete", eth_dst=1)
    switch.take("flow_mod")
    switch.error(message, 1, 6)
    assert not switch.flow_mods()


@BOTH
def test_a_port_that_is_away_excuses_no_other(version: int):
    book, switch = scene(version, piece("alice", 100, (1, 2, 3)))
    a = book.at("alice")
    a.flow_mod("add", of.match(version, eth_dst=1), of.output(version, 2) + of.output(version, 3))
    a.flow_mod("add", of.match(version, eth_dst=2), of.output(version, 1) + of.output(version, 3))
    switch.port_status("delete", 3)
    assert len(switch.flows(100)) == 2, "on a real switch they stay"
    book.adopt(piece("alice", 100, (1, 3)))
    assert [flow.match["eth_dst"][0] for flow in switch.flows(100)] == [2]
