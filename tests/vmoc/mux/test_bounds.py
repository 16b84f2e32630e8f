"""What comes late, and what must not grow, whoever comes and goes (vetting D.1)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, DPID, FOUR, piece
from vmoc.mux import core
from vmoc.mux.effects import Close

BOTH = pytest.mark.parametrize("version", [V10, V13])


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
