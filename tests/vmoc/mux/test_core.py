"""The whole: slices that change, a listener for one VLAN, the default controller, shutting down (vetting D.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, TINA, UMA, endpoint, piece, with_limits, with_segment
from vmoc.events import Kind
from vmoc.model import Attachment, DpidScheme, FailMode, Presentation, Slice
from vmoc.mux.effects import Output

BOTH = pytest.mark.parametrize("version", [V10, V13])
STATIC = piece("static", 42, controllers=(), dpid=None)


# -- slices that change ----------------------------------------------------------------------------------


@BOTH
def test_the_same_again_touches_nothing(version: int):
    book, switch = scene(version)
    ends = book.controllers()
    book.adopt(*(replace(one) for one in FOUR))
    assert not switch.inbox and not book.events
    assert book.controllers() == ends and book.heard() == {}


@BOTH
def test_one_slice_changed_does_not_touch_the_others(version: int):
    book, switch = scene(version)
    b = book.at("bob")
    b.add(2)
    book.clear()
    book.adopt(with_limits(ALICE, max_flows=5), *FOUR[1:])
    assert not switch.inbox and book.heard() == {}
    assert [(e.kind, e.slice) for e in book.events] == [(Kind.SLICE_CHANGED, "alice")]
    a = book.at("alice")
    for number in range(6):
        a.add(2, eth_dst=number)
    assert len(a.errors()) == 1


@BOTH
def test_a_quota_below_what_is_in_use_keeps_the_flows(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in range(10):
        a.add(2, eth_dst=number)
    book.adopt(with_limits(ALICE, max_flows=3), *FOUR[1:])
    assert len(switch.flows(100)) == 10
    a.add(3, eth_dst=0)
    assert not a.inbox
    xid = a.add(2, eth_dst=99)
    a.error(xid, (3, 0) if version == V10 else (5, 1))


@BOTH
def test_new_rates_hold_at_once(version: int):
    book, _ = scene(version)
    book.adopt(with_limits(ALICE, barrier_rate=5), *FOUR[1:])
    a = book.at("alice")
    a.send(of.message(version, "barrier_request", b"", 1) * 9)
    assert a.paused
    assert len(a.log("barrier_reply")) == 5


@BOTH
def test_controllers_that_change(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    book.clear()
    book.adopt(with_segment(ALICE, controllers=(endpoint("alice"), endpoint("second"))), *FOUR[1:])
    assert a.open and book.at("second").features
    book.adopt(with_segment(ALICE, controllers=(endpoint("second"),)), *FOUR[1:])
    assert not a.open and book.at("second").flow_stats()
    assert not switch.log("flow_mod")
    book.advance(100)
    assert not [dial for dial in book.attempts[-3:] if dial.endpoint.host == "alice"]


@BOTH
@pytest.mark.parametrize(
    "changed",
    [
        with_segment(ALICE, presentation=Presentation.TRANSPARENT),
        with_segment(ALICE, vlan=101),
        with_segment(ALICE, dpid=DpidScheme.PHYSICAL),
    ],
)
def test_another_mode_is_another_datapath(version: int, changed: Slice):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    book.adopt(changed, *FOUR[1:])
    assert not a.open
    assert not switch.flows(100)
    again = next(end for end in book.controllers() if end.endpoint.host == "alice")
    assert again.features is not None
    vlan = changed.segments[0].vlan
    assert again.features.dpid == (0xAA if changed.segments[0].dpid is DpidScheme.PHYSICAL else vlan << 48 | 0xAA)
    assert switch.guards(vlan)


@BOTH
def test_fail_mode_and_labels_are_just_taken_over(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    book.clear()
    book.adopt(replace(with_segment(ALICE, fail_mode=FailMode.FLUSH), labels={"x": "y"}), *FOUR[1:])
    assert a.open and not switch.inbox
    book.accept = False
    a.close()
    assert not switch.flows(100)


@BOTH
def test_a_disabled_slice_is_as_if_it_were_not(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    book.adopt(replace(ALICE, enabled=False), *FOUR[1:])
    assert not a.open and not switch.flows(100, guards=True)
    book.adopt(*FOUR)
    assert book.at("alice").flow_stats() == []


@BOTH
def test_a_segment_that_leaves_one_switch_and_comes_to_another(version: int):
    book = Playbook((with_segment(ALICE, attachments=(Attachment(1),)), BOB))
    first, second = book.switch(version, 1), book.switch(version, 2)
    a = book.at("alice", 1)
    a.add(2)
    book.adopt(with_segment(ALICE, attachments=(Attachment(2),)), BOB)
    assert not a.open and not first.flows(100, guards=True)
    assert book.at("alice", 2).features
    assert second.guards(100)


@BOTH
def test_events_name_what_changed(version: int):
    book, _ = scene(version)
    book.adopt(with_limits(ALICE, max_flows=3), TINA, UMA, piece("zoe", 777, (1,)))
    kinds = [(e.kind, e.slice) for e in book.events if e.kind.startswith("slice")]
    assert kinds == [(Kind.SLICE_CHANGED, "alice"), (Kind.SLICE_REMOVED, "bob"), (Kind.SLICE_ADDED, "zoe")]


def test_slices_before_any_switch():
    book = Playbook(())
    book.adopt(*FOUR)
    assert not book.attempts
    book.switch(V10)
    assert len(book.controllers()) == 4


@BOTH
def test_many_switches_many_slices(version: int):
    slices = tuple(piece(f"s{n}", n, dpid=None, controllers=(f"c{n % 3}",)) for n in range(1, 31))
    book = Playbook(slices)
    switches = [book.switch(version, dpid) for dpid in range(1, 4)]
    assert len(book.controllers()) == 90
    assert len({(end.endpoint, end.dpid) for end in book.controllers()}) == 90
    switches[0].packet_in(1, E(7))
    assert sum(len(end.log("packet_in")) for end in book.controllers()) == 1
    book.adopt(*slices[:10])
    book.advance(0.1)  # a change of this size is made in pieces
    assert len(book.controllers()) == 30 and not book.mux.behind


# -- per-VLAN listener -----------------------------------------------------------------------------------


@BOTH
def test_a_native_switch_shows_only_its_vlan_and_no_tags(version: int):
    book, switch = scene(version, native=100)
    assert [end.endpoint.host for end in book.controllers()] == ["alice"]
    a = book.at("alice")
    a.add(2, eth_dst=1)
    a.flow_mod("add", of.match(version, vlan="none"), of.output(version, "flood"))
    assert not a.inbox
    flows = switch.flows()
    assert sorted(str(f.vlan) for f in flows) == ["None", "none"]
    assert sorted(s.cookie for s in a.flow_stats()) == [0x11, 0x11]
    xid = a.add(2, vlan=100)
    a.error(xid, (3, 2) if version == V10 else (5, 4))
    a.packet_out(E())
    assert of.parse_packet_out(switch.take_one("packet_out")).data == E()
    assert {e.match["in_port"][0] for e in switch.model.table.entries if e.cookie >> 48 == 0xFFFE} == {
        4,
        5,
        6,
        of.port_number(version, "local"),
    }
    book.adopt(*FOUR[1:])
    assert switch.model.table.entries == []


@BOTH
def test_a_native_switch_keeps_its_flows_over_a_reconnect(version: int):
    book, switch = scene(version, native=100)
    book.at("alice").add(2, eth_dst=1)
    switch.close()
    again = book.switch(model=switch.model, native=100)
    assert len(book.at("alice").flow_stats()) == 1
    book.at("alice").add(None, command="delete")
    book.advance(2)
    assert len(again.model.table.entries) == 4, "the guards are back"


@BOTH
def test_a_native_switch_of_nobodys_vlan(version: int):
    book = Playbook()
    switch = book.switch(version, native=999)
    assert not book.controllers()
    book.adopt(*FOUR, piece("zoe", 999, (1,)))
    assert book.at("zoe").features
    assert switch.open


# -- the default controller ------------------------------------------------------------------------------


@BOTH
def test_slices_without_a_controller_go_to_the_default_one(version: int):
    book = Playbook((STATIC, BOB))
    book.switch(version)
    assert [end.endpoint.host for end in book.controllers()] == ["bob"]
    book.mux.set_default_controller(endpoint("builtin"), book.now)
    book.settle()
    first = book.at("builtin")
    bob = book.at("bob")
    book.mux.set_default_controller(endpoint("other"), book.now)
    book.settle()
    assert not first.open and book.at("other").open and bob.open
    book.mux.set_default_controller(None, book.now)
    book.settle()
    assert [end.endpoint.host for end in book.controllers()] == ["bob"]


@BOTH
def test_a_default_controller_from_the_start(version: int):
    book = Playbook((STATIC, BOB), default=endpoint("builtin"))
    book.switch(version)
    assert book.at("builtin").dpid == 42 << 48 | 0xAA
    book.adopt(with_segment(STATIC, controllers=(endpoint("own"),)), BOB)
    assert {end.endpoint.host for end in book.controllers()} == {"own", "bob"}


# -- shutting down ---------------------------------------------------------------------------------------


@BOTH
def test_drain_closes_everything_and_keeps_the_flows(version: int):
    book, switch = scene(version, with_segment(ALICE, fail_mode=FailMode.FLUSH), *FOUR[1:])
    a = book.at("alice")
    a.add(2)
    book.advance(0.1)
    waiting = book.dial_in()
    book.settle()
    assert not book.mux.drained
    book.mux.begin_drain(book.now)
    book.settle()
    assert book.mux.drained
    assert not switch.open and not a.open and not waiting.open and not book.ends
    assert len(switch.flows(100)) == 1
    assert book.mux.next_deadline() is None
    book.mux.begin_drain(book.now)
    book.advance(100)
    assert book.mux.take() == Output({}, [])


@BOTH
def test_drain_while_dialling(version: int):
    book = Playbook(accept=None)
    book.switch(version)
    assert len(book.dials) == 4
    book.mux.begin_drain(book.now)
    book.settle()
    assert not book.dials
