"""The whole: slices that change, the default controller, shutting down, bounds (vetting D.1; vectors 13, 297..312)."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, TINA, UMA, endpoint, piece, with_limits, with_segment
from vmoc.events import Kind
from vmoc.model import Attachment, DpidScheme, FailMode, Presentation, Slice
from vmoc.mux import core
from vmoc.mux.effects import Close, Output

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


# -- late news -------------------------------------------------------------------------------------------


@BOTH
def test_dials_nobody_waits_for_any_more(version: int):
    book = Playbook(accept=None)
    switch = book.switch(version)
    links = [dial.link for dial in book.dials]
    switch.close()
    for link in (*links, 999):
        book.mux.dial_failed(link, "too late", book.now)
        book.mux.dialled(link, 7000 + link, book.now)
    output = book.mux.take()
    assert not output.writes
    assert output.effects == [Close(7000 + link, abort=True) for link in (*links, 999)]


@BOTH
def test_late_data_of_closed_connections(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.close()
    book.mux.north_data(a.cid, of.message(version, "echo_request"), book.now)
    book.mux.north_closed(a.cid, "again", book.now)
    book.mux.operator_send((1, 2), b"", book.now)
    book.carry()


# -- bounds ----------------------------------------------------------------------------------------------


def test_switches_that_left_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(core, "ABSENT_SWITCHES", 5)
    book = Playbook((piece("everywhere", 9, dpid=None),))
    for dpid in range(1, 20):
        book.switch(V10, dpid).close()
    assert len(book.mux.describe()["switches"]) == 5  # type: ignore[arg-type]
    assert book.mux.describe()["switches"][-1]["dpid"] == "0x0000000000000013"  # type: ignore[index]
    assert len(book.mux._links._links) == 5


@BOTH
def test_slices_of_every_switch_are_not_kept_for_all_that_were_ever_made_up(
    version: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(core, "ABSENT_DATAPATHS", 100)
    book = Playbook([piece(f"s{vlan}", vlan, dpid=None, controllers=()) for vlan in range(1, 31)], default=None)
    one = book.switch(version, 1)
    inside = book.mux._switches[1, 0]
    entry = inside.datapaths[7].flows.add(b"\0\0\1" + bytes(40), bytes(80), False)
    assert entry is not None
    one.close()
    for dpid in range(2, 20):
        book.switch(version, dpid).close()
    known = [dpid for dpid, _ in book.mux._switches]
    assert known == [1, 18, 19], "the one with flows, and the latest"
    assert sum(len(switch.datapaths) for switch in book.mux._switches.values()) <= 100


@BOTH
def test_switches_that_were_made_up_drive_out_none_with_flows(version: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(core, "ABSENT_SWITCHES", 3)
    book = Playbook((piece("everywhere", 9, dpid=None),))
    for dpid in (1, 2):
        real = book.switch(version, dpid)
        book.at("everywhere", dpid).add(2)
        book.advance(2)
        real.close()
    for dpid in range(100, 120):
        book.switch(version, dpid).close()
        book.advance(1)
    kept = [each["dpid"] for each in book.mux.describe()["switches"]]  # type: ignore[attr-defined]
    assert kept == ["0x0000000000000001", "0x0000000000000002", "0x0000000000000077"]


def ports_so_far(first: int, count: int) -> bytes:
    """PORT_DESC of ``count`` invented ports, and more to come."""
    port = b"".join(
        number.to_bytes(4, "big") + bytes(4) + bytes(6) + bytes(2) + b"p".ljust(16, b"\0") + bytes(32)
        for number in range(first, first + count)
    )
    return (13).to_bytes(2, "big") + b"\0\1" + bytes(4) + port


def test_what_an_invented_switch_says_of_ports_is_not_kept():
    """It never finishes its handshake; thousands of ports, then the next DPID."""
    book = Playbook((piece("everywhere", 9, dpid=None),))
    for dpid in (1, 2):
        switch = book.dial_in(version=V13, dpid=dpid)
        switch.hold("stats_reply")
        switch.send(of.hello(V13, 1, (V13,)))
        (asked,) = [m for m in switch.log("stats_request") if m.body[:2] == b"\0\x0d"]
        for part in range(3):
            switch.send(of.message(V13, "stats_reply", ports_so_far(1 + part * 900, 900), asked.xid))
        (inside,) = book.mux._switches.values()
        assert len(inside.ports) == 2700
        switch.close()
        assert not book.mux._switches and not inside.ports
        assert book.mux.describe()["switches"] == []
        assert not book.mux._links._links


@BOTH
def test_a_switch_that_replaces_one_that_never_came_up_is_known(version: int):
    """Found by the fuzzer: it was forgotten with the connection it replaced, and slices that went kept their guards."""
    book = Playbook((ALICE,))
    silent = book.dial_in(version=version, dpid=DPID)
    silent.hold("stats_reply")
    silent.send(of.hello(version, 1, silent.model.versions))
    silent.answering = False
    switch = book.switch(version)
    book.advance(20)
    assert not silent.open and switch.open
    (shown,) = book.mux.describe()["switches"]  # type: ignore[misc]
    assert shown["up"] and book.at("alice")
    book.adopt(BOB)
    switch.inbox.clear()
    switch.port_status("add", 9)
    assert {mod.vlan for mod in switch.flow_mods()} == {200}


@BOTH
def test_one_that_was_up_before_is_remembered_when_it_fails_to_come_up_again(version: int):
    book, switch = scene(version)
    book.at("alice").add(2)
    book.advance(2)
    switch.close()
    again = book.dial_in(model=switch.model)
    again.hold("stats_reply")
    again.send(of.hello(version, 1, switch.model.versions))
    assert not book.mux.describe()["switches"][0]["up"]  # type: ignore[index]
    again.close()
    switch.model.hold = set()
    book.switch(model=switch.model)
    book.advance(2)
    assert len(book.at("alice").flow_stats()) == 1, "its flow is still known"


@BOTH
@pytest.mark.parametrize(("count", "kept"), [(256, 256), (257, 0)])
def test_ports_of_a_switch_that_is_away(version: int, count: int, kept: int):
    book, switch = scene(version, ALICE, ports=range(1, count))  # and LOCAL
    switch.close()
    ((away,),) = (book.mux._switches.values(),)
    assert len(away.ports) == kept and not away.port_messages and not away.features_message
    book.switch(model=switch.model)
    assert len(away.ports) == count


@BOTH
def test_nothing_is_left_of_connections_that_ended(version: int):
    book, switch = scene(version)
    for _ in range(20):
        book.at("alice").close()
        book.advance(40)
        book.at("bob").pongs = False
        book.advance(90)
    assert len(book.mux._hub.north) == len(book.controllers())
    for _ in range(20):
        switch.close()
        switch = book.switch(model=switch.model)
        book.advance(3)
    assert len(book.mux._hub.north) == 4
    assert len(book.mux._south) == 1
    assert len(book.mux._hub.clock._heap) < 60


@BOTH
def test_slices_that_come_and_go_leave_nothing(version: int):
    book, switch = scene(version)
    for number in range(30):
        book.adopt(*FOUR, piece(f"s{number}", 500 + number, (1,)))
        book.at(f"s{number}").add(2)
        book.adopt(*FOUR)
    (inside,) = book.mux._switches.values()
    assert len(inside.datapaths) == len(inside.by_tag) == 4
    assert len(book.mux._links._links) == 4
    assert {str(f.vlan) for f in switch.flows(guards=True)} == {"100", "200", "300", "400"}


@BOTH
def test_an_attacked_switch_is_no_ones_memory(version: int):
    book, switch = scene(version)
    for vid in range(4096):
        switch.packet_in(1, E(vid))
        switch.packet_in(5, E(vid))
    assert len(book.mux.counters.unclassified) <= 4096


# -- counters --------------------------------------------------------------------------------------------


@BOTH
def test_counters(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    start = (book.mux.counters.north_in, book.mux.counters.south_in)
    a.add(2)
    a.packet_out(E(100))
    switch.packet_in(1, E(100))
    counters = book.mux.counters
    assert (counters.flow_mods, counters.packet_outs, counters.packet_ins) == (1, 1, 1)
    assert (counters.north_in, counters.south_in) == (start[0] + 2, start[1] + 1)


def test_a_garbled_stream_from_a_controller_and_a_switch():
    book, switch = scene(V13)
    book.at("bob").send(b"GET / HTTP/1.1\r\n\r\n" * 10)
    assert book.mux.counters.north_in
    assert {"alice", "tina", "uma"} <= {end.endpoint.host for end in book.controllers()}
    switch.send(struct.pack("!BBHI", 0x47, 0x45, 0x0008, 0) * 3)
    assert not switch.open
