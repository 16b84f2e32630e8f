"""Packet-ins and flow-removed on their way up (vetting B.1, B.2; vectors 200..217, 225)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, endpoint, piece, with_limits, with_segment
from vmoc.events import Kind
from vmoc.model import Presentation

BOTH = pytest.mark.parametrize("version", [V10, V13])
ALL_ONES = 0xFFFFFFFFFFFFFFFF
LLDP = bytes.fromhex("0180c200000e020000000001")


def nobody(book: Playbook) -> None:
    assert book.heard() == {}


# -- whose is it -----------------------------------------------------------------------------------------


@BOTH
def test_the_owner_of_the_vlan_gets_it_without_the_switchs_buffer(version: int):
    book, switch = scene(version)
    switch.packet_in(1, E(100), buffer_id=77)
    assert book.heard() == {"alice": ["packet_in"]}
    (packet,) = book.at("alice").packet_ins()
    assert (packet.data, packet.buffer_id, packet.in_port, packet.total_len) == (E(100), 0xFFFFFFFF, 1, 64)


@BOTH
@pytest.mark.parametrize(
    ("port", "frame", "owner"),
    [
        (2, E(200), "bob"),
        (2, E(100, inner=200), "alice"),
        (2, E(200, inner=100), "bob"),
        (1, E(100, tpid=0x88A8), "alice"),
        (1, E(100, pcp=5), "alice"),
        (6, E(400), "uma"),
        (1, E(300), "tina"),
        (1, E(100, ethertype=0x88CC), "alice"),
    ],
)
def test_vlan_and_port_decide(version: int, port: int, frame: bytes, owner: str):
    book, switch = scene(version)
    switch.packet_in(port, frame)
    assert list(book.heard()) == [owner]


@BOTH
@pytest.mark.parametrize(("port", "vlan"), [(4, 100), (1, 200), (3, 300), ("local", 100), ("local", 400)])
def test_a_foreign_port_is_nobodys(version: int, port: int | str, vlan: int):
    book, switch = scene(version)
    switch.packet_in(port, E(vlan))
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"foreign-port": 1}


@BOTH
@pytest.mark.parametrize("frame", [E(), E(0), E(100, tpid=0x9100), E(999), LLDP + b"\x88\xcc" + bytes(46), E(100)[:17]])
def test_unclassified_frames_are_counted_and_dropped(version: int, frame: bytes):
    book, switch = scene(version)
    switch.packet_in(2, frame)
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"no-slice": 1}
    assert sum(book.mux.counters.unclassified.values()) == 1


def test_unclassified_frames_are_told_apart():
    book, switch = scene(V10)
    for frame in (E(), E(0), E(999), E(998)):
        switch.packet_in(2, frame)
    assert book.mux.counters.unclassified == {(0xAA, 2, -1): 2, (0xAA, 2, 999): 1, (0xAA, 2, 998): 1}


@BOTH
def test_a_runt_is_dropped_without_blaming_the_switch(version: int):
    book, switch = scene(version)
    for _ in range(5):
        switch.packet_in(1, E(100)[:13])
    nobody(book)
    assert switch.open
    assert book.mux.counters.dropped_packet_ins == {"malformed": 5}


@BOTH
def test_a_packet_in_that_is_none_is_the_switchs_fault(version: int):
    book, switch = scene(version)
    switch.send(of.message(version, "packet_in", bytes(8)))
    assert book.mux.counters.malformed["south"] == 1
    assert switch.open


@BOTH
def test_the_echo_of_a_packet_out(version: int):
    book, switch = scene(version)
    port = "none" if version == V10 else "controller"
    switch.packet_in(port, E(100), reason=1)
    assert book.heard() == {"alice": ["packet_in"]}
    book.clear()
    switch.packet_in(port, E(100), reason=0)
    nobody(book)


@BOTH
def test_lldp_inside_the_vlan_is_the_slices(version: int):
    book, switch = scene(version)
    tagged = LLDP + b"\x81\x00\x01\x2c\x88\xcc" + bytes(46)
    switch.packet_in(1, tagged)
    (packet,) = book.at("tina").packet_ins()
    assert packet.data == LLDP + b"\x88\xcc" + bytes(46)


# -- in which form ---------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("tpid", [0x8100, 0x88A8])
def test_transparent_takes_the_outer_tag_off(version: int, tpid: int):
    book, switch = scene(version)
    switch.packet_in(1, E(300, pcp=5, tpid=tpid), total_len=64)
    (packet,) = book.at("tina").packet_ins()
    assert (packet.data, packet.total_len) == (E(), 60)
    switch.packet_in(1, E(300, inner=7), total_len=2000)
    (packet,) = book.at("tina").packet_ins()
    assert (packet.data, packet.total_len) == (E(7), 1996)


@BOTH
def test_total_len_never_goes_below_nothing(version: int):
    book, switch = scene(version)
    switch.packet_in(1, E(300), total_len=1)
    (packet,) = book.at("tina").packet_ins()
    assert packet.total_len == 0


def test_a_tag_the_switch_stripped_is_put_back():
    book, switch = scene(V13)
    switch.packet_in(1, E(), vlan_vid=0x1064, vlan_pcp=3, total_len=60)
    (packet,) = book.at("alice").packet_ins()
    assert (packet.data, packet.total_len) == (E(100, pcp=3), 64)
    assert packet.match["vlan_vid"][0] == 0x1064
    switch.packet_in(1, E(), vlan_vid=0x1064)
    (packet,) = book.at("alice").packet_ins()
    assert packet.data == E(100)


def test_a_tag_the_switch_stripped_stays_off_for_transparent():
    book, switch = scene(V13)
    switch.packet_in(1, E(), vlan_vid=0x112C, vlan_pcp=3, total_len=60)
    (packet,) = book.at("tina").packet_ins()
    assert (packet.data, packet.total_len) == (E(), 60)
    assert packet.match.keys() == {"in_port"}


def test_tag_and_match_that_disagree_are_nobodys():
    book, switch = scene(V13)
    switch.packet_in(2, E(100), vlan_vid=0x10C8)
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"malformed": 1}


def test_the_match_holds_only_what_is_the_slices_business():
    book, switch = scene(V13)
    switch.packet_in(1, E(100), in_phy_port=2, metadata=5, eth_type=0x800, vlan_vid=0x1064, tunnel_id=9)
    (packet,) = book.at("alice").packet_ins()
    assert packet.match.keys() == {"in_port", "in_phy_port", "metadata", "vlan_vid", "tunnel_id"}
    switch.packet_in(1, E(100), in_phy_port=4)
    (packet,) = book.at("alice").packet_ins()
    assert packet.match.keys() == {"in_port"}


def test_a_frame_that_grows_beyond_a_message_is_dropped():
    book, switch = scene(V13)
    frame = E() + bytes(0xFFFF - 42 - 8 - 60)
    switch.packet_in(1, frame, vlan_vid=0x1064, total_len=0)
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"malformed": 1}


@pytest.mark.parametrize("version", [V10, V13])
def test_native_switches_carry_one_slice_untagged(version: int):
    book, switch = scene(version, native=300)
    assert list({end.endpoint.host for end in book.controllers()}) == ["tina"]
    switch.packet_in(1, E())
    (packet,) = book.at("tina").packet_ins()
    assert packet.data == E()
    switch.packet_in(3, E())
    assert not book.at("tina").packet_ins()


# -- cookies (vectors 211, 213) --------------------------------------------------------------------------


def test_cookies_are_the_controllers_own():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(2, cookie=0xDEADBEEFCAFEF00D)
    (entry,) = switch.flows(100)
    for cookie, shown in (
        (entry.cookie, 0xDEADBEEFCAFEF00D),
        (ALL_ONES, ALL_ONES),
        (0x1234, ALL_ONES),
        (entry.cookie + 77, ALL_ONES),
    ):
        switch.packet_in(1, E(100), cookie=cookie, reason=1)
        (packet,) = a.packet_ins()
        assert (packet.cookie, packet.reason) == (shown, 1)
        switch.packet_in(1, E(100), cookie=cookie, reason=1, metadata=1)
        assert [p.cookie for p in a.packet_ins()] == [shown]


def test_an_entry_of_another_slice_never_delivers():
    book, switch = scene(V13)
    book.at("bob").add(2)
    (entry,) = switch.flows(200)
    for cookie in (entry.cookie, 0xFFFE << 48):
        switch.packet_in(2, E(100), cookie=cookie)
        switch.packet_in(2, E(100), cookie=cookie, metadata=1)
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"foreign-cookie": 4}


def test_the_slices_table_miss_is_a_no_match():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add("controller", priority=0, cookie=0x77)
    a.add("controller", priority=0, eth_dst=1, cookie=0x78)
    miss, other = sorted(switch.flows(100), key=lambda e: len(e.match))
    switch.packet_in(1, E(100), cookie=miss.cookie, reason=1)
    switch.packet_in(1, E(100), cookie=other.cookie, reason=1)
    assert [(p.reason, p.cookie) for p in a.packet_ins()] == [(0, 0x77), (1, 0x78)]


# -- whether at all --------------------------------------------------------------------------------------


@BOTH
def test_the_rate_is_the_slices_own_and_excess_is_dropped(version: int):
    book, switch = scene(version, with_limits(ALICE, packet_in_rate=10), BOB)
    for _ in range(25):
        switch.packet_in(2, E(100))
        switch.packet_in(2, E(200))
    assert len(book.at("alice").packet_ins()) == 10
    assert len(book.at("bob").packet_ins()) == 25
    assert book.mux.counters.dropped_packet_ins == {"rate": 15}
    (told,) = book.told(Kind.DROPPED)
    assert (told.slice, told.detail["limit"], told.detail["value"]) == ("alice", "packet_in_rate", 10)
    (link,) = (one for one in book.mux.view.connections(0, 99, 0.0)[0] if one.slice == "alice")
    assert link.dropped == 15
    book.advance(0.5)
    for _ in range(9):
        switch.packet_in(2, E(100))
    assert len(book.at("alice").packet_ins()) == 5


@BOTH
def test_without_a_controller_they_are_dropped(version: int):
    book, switch = scene(version)
    book.accept = False
    book.at("alice").close()
    switch.packet_in(1, E(100))
    nobody(book)
    assert book.mux.counters.dropped_packet_ins == {"down": 1}


@BOTH
def test_until_the_datapath_is_ready_nobody_gets_any(version: int):
    book = Playbook()
    switch = book.dial_in(version=version)
    switch.hold("barrier_reply")
    switch.send(of.hello(version, 0, switch.model.versions))
    switch.packet_in(1, E(100))
    assert book.mux.counters.dropped_packet_ins == {"down": 1}
    switch.release()
    assert book.at("alice")


@BOTH
def test_every_controller_of_the_segment_gets_it(version: int):
    two = with_segment(ALICE, controllers=(endpoint("alice"), endpoint("alice2")))
    book, switch = scene(version, two, BOB)
    switch.packet_in(1, E(100))
    assert book.heard() == {"alice": ["packet_in"], "alice2": ["packet_in"]}


# -- FLOW_REMOVED (vectors 171, 173, 215, 217) -----------------------------------------------------------


@BOTH
def test_flow_removed_is_in_the_controllers_terms(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, cookie=0xDEADBEEFCAFEF00D, priority=65535, idle=5, hard=10, flags=1)
    (entry,) = switch.flows(100)
    assert entry.priority == 65534
    entry.packets = 99
    switch.does(lambda model: model.expire(entry, 0))
    removed = of.parse_flow_removed(a.take_one("flow_removed"))
    assert removed.match == {}
    assert (removed.cookie, removed.priority, removed.reason) == (0xDEADBEEFCAFEF00D, 65535, 0)
    assert (removed.idle, removed.packets) == (5, 99)
    assert book.heard() == {}
    assert a.flow_stats() == []


@BOTH
def test_flow_removed_in_a_transparent_slice(version: int):
    book, switch = scene(version)
    t = book.at("tina")
    t.add(2, flags=1, vlan="none", eth_dst=5)
    (entry,) = switch.flows(300)
    switch.does(lambda model: model.expire(entry, 1))
    removed = of.parse_flow_removed(t.take_one("flow_removed"))
    assert removed.match["vlan_vid"] == (0, 0x1FFF)
    assert removed.match["eth_dst"][0] == 5
    assert removed.reason == 1


@BOTH
def test_not_asked_for_is_not_told_but_counted(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in range(10):
        a.add(2, eth_dst=number, idle=5)
    assert all(mod.flags & 1 for mod in switch.flow_mods())
    entry = switch.flows(100)[0]
    switch.does(lambda model: model.expire(entry))
    nobody(book)
    a.add(2, eth_dst=50)
    assert not a.inbox, "the quota was refunded"


@BOTH
def test_a_tail_on_a_flow_removed_does_not_reach_the_controller(version: int):
    """Its length is that of what is told: the next message begins where the controller looks for it."""
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst="02:00:00:00:00:11", flags=1)
    (entry,) = switch.flows(100)
    body = switch.model.table.removed_message(entry, 0)
    switch.send(of.message(version, "flow_removed", body + bytes(8 if version == V13 else 2)))
    told = a.take_one("flow_removed")
    assert len(told.raw) == int.from_bytes(told.raw[2:4], "big")
    assert of.parse_flow_removed(told).match == {"eth_dst": (0x020000000011, 0xFFFFFFFFFFFF)}


@BOTH
def test_flow_removed_of_a_former_instance_is_nobodys(version: int):
    book, switch = scene(version)
    book.at("alice").add(2, flags=1)
    (entry,) = switch.flows(100)
    book.adopt(*FOUR[1:])
    book.adopt(piece("carol", 100, (1, 2, 3)), *FOUR[1:])
    book.clear()
    body = switch.model.table.removed_message(entry, 2)
    switch.send(of.message(version, "flow_removed", body))
    nobody(book)
    assert book.mux.counters.unrouted["FLOW_REMOVED"] >= 1


@BOTH
def test_masks_of_flow_removed(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    if version == V13:
        a.request("set_async", struct.pack("!6I", 3, 0, 7, 7, 0xE, 0))
    a.add(2, flags=1)
    switch.does(lambda model: model.expire(switch.flows(100)[0], 0))
    assert len(a.take("flow_removed")) == (1 if version == V10 else 0)


@BOTH
def test_an_entry_that_expired_while_it_was_replaced_is_still_told(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, cookie=0x51, flags=1)
    (old,) = switch.flows(100)
    book.advance(2)
    a.add(3, cookie=0x52, flags=1)
    switch.send(of.message(version, "flow_removed", switch.model.table.removed_message(old, 0)))
    assert of.parse_flow_removed(a.take_one("flow_removed")).cookie == 0x51
    assert [stat.cookie for stat in a.flow_stats()] == [0x52]


@BOTH
def test_a_flow_removed_that_is_cut_short_is_malformed(version: int):
    book, switch = scene(version)
    switch.send(of.message(version, "flow_removed", bytes(40)))
    assert book.mux.counters.malformed["south"] == 1


def test_presentations_share_a_switch():
    assert {one.segments[0].presentation for one in FOUR} == set(Presentation)
