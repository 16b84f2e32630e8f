"""Statistics of a virtual switch (vetting A.7, B.6; vectors 27, 226..245, 282, 295)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.answers import flow_entry
from tests.emulation.table import Entry
from tests.vmoc.mux.ends import V10, V13, ControllerEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, TINA, with_limits
from vmoc.model import Policy

BOTH = pytest.mark.parametrize("version", [V10, V13])
ALL_ONES = 0xFFFFFFFFFFFFFFFF


def ports_of(version: int, end: ControllerEnd, port: int | str = "none") -> dict[int, set[int]]:
    ((flags, body),) = end.stats_replies(end.stats("port", of.port_stats_body(version, port)))
    assert not flags
    size = 104 if version == V10 else 112
    found = {}
    for at in range(0, len(body), size):
        number = struct.unpack_from("!H" if version == V10 else "!I", body, at)[0]
        found[number] = set(struct.unpack_from("!12Q", body, at + 8))
    return found


# -- FLOW ------------------------------------------------------------------------------------------------


@BOTH
def test_only_own_entries_in_own_terms(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    a.add(2, cookie=0x11, eth_dst=5, idle=3, hard=4)
    b.add(2)
    stray = Entry(0, of.parse_match(version, of.match(version, vlan=100))[0], of.match(version, vlan=100), 3, 0x77, b"")
    switch.model.table.entries.append(stray)
    switch.flows(100)[0].packets = 42
    book.clear()
    xid = a.stats("flow", of.flow_stats_body(version))
    asked = switch.take_one("stats_request")
    assert asked.xid not in (xid, 0, 0xFFFFFFFF)
    ((flags, body),) = a.stats_replies(xid)
    (entry,) = of.parse_flow_stats(version, body)
    assert flags == 0
    assert (entry.cookie, entry.priority, entry.idle, entry.hard, entry.packets) == (0x11, 100, 3, 4, 42)
    assert entry.match.keys() == {"eth_dst"}
    if version == V13:
        assert entry.flags == 0
        _, _, _, cookie, mask = struct.unpack_from("!B3xII4xQQ", asked.raw, 16)
        assert mask == 0xFFFF << 48 and cookie & ~mask == 0


@BOTH
def test_a_transparent_slice_sees_its_own_spelling(version: int):
    book, _ = scene(version)
    t = book.at("tina")
    actions = of.output(version, 2)
    if version == V10:
        actions = of.strip_vlan(V10) + actions
    t.flow_mod("add", of.match(version, vlan="none"), actions)
    (entry,) = t.flow_stats()
    assert entry.vlan == "none"
    assert of.action_lists(version, entry.actions)[0] == actions


@BOTH
def test_filters_are_judged_on_what_the_controller_meant(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=1, cookie=1)
    a.add("flood", eth_dst=2, cookie=2)
    a.add(3, eth_dst=3, cookie=3)
    assert [s.cookie for s in a.flow_stats(out_port=3)] == [3]
    assert [s.cookie for s in a.flow_stats(out_port="flood")] == [2]
    assert [s.cookie for s in a.flow_stats(out_port=4)] == []
    assert [s.cookie for s in a.flow_stats(of.match(version, eth_dst=2))] == [2]
    assert [s.cookie for s in a.flow_stats(of.match(version, vlan=100))] == [1, 2, 3]
    assert a.aggregate(out_port=2) == (0, 0, 1)
    if version == V13:
        assert [s.cookie for s in a.flow_stats(cookie=2, cookie_mask=2)] == [2, 3]
        assert [s.cookie for s in a.flow_stats(out_group=5)] == []
        assert a.aggregate(cookie=1, cookie_mask=1) == (0, 0, 2)
    assert switch.open


@BOTH
@pytest.mark.parametrize("wanted", [{"vlan": 200}, {"in_port": 4}])
def test_what_is_not_the_slices_does_not_exist(version: int, wanted: dict[str, int]):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    book.clear()
    match = of.match(version, **wanted)
    assert a.flow_stats(match) == []
    assert a.aggregate(match) == (0, 0, 0)
    assert not switch.inbox


@BOTH
def test_more_flags_survive_and_the_last_part_is_always_sent(version: int):
    book, switch = scene(version, with_limits(ALICE, max_flows=0), with_limits(BOB, max_flows=0))
    a, b = book.at("alice"), book.at("bob")
    switch.model.stats_size = 600
    for number in range(20):
        a.add(2, eth_dst=number)
        b.add(2, eth_dst=number)
    switch.model.table.entries.sort(key=lambda entry: entry.cookie >> 48)
    for end in (a, b):
        xid = end.stats("flow", of.flow_stats_body(version))
        parts = end.stats_replies(xid)
        assert [flags for flags, _ in parts] == [1] * (len(parts) - 1) + [0]
        assert all(body for _, body in parts[:-1]), "an empty part with more to come is not sent"
        assert sum(len(of.parse_flow_stats(version, body)) for _, body in parts) == 20


@BOTH
def test_one_empty_reply_when_nothing_is_left(version: int):
    book, switch = scene(version)
    book.at("bob").add(2)
    switch.model.stats_size = 100
    a = book.at("alice")
    assert a.stats_replies(a.stats("flow", of.flow_stats_body(version))) == [(0, b"")]


def test_a_reply_that_grows_is_split():
    book, switch = scene(V10, with_limits(TINA, max_flows=0))
    t = book.at("tina")
    switch.model.stats_size = 65000
    actions = of.strip_vlan(V10) * 200 + of.output(V10, 2)
    for number in range(60):
        t.flow_mod("add", of.match(V10, eth_dst=number), actions)
    parts = t.stats_replies(t.stats("flow", of.flow_stats_body(V10)))
    assert [flags for flags, _ in parts] == [1, 0]
    assert sum(len(of.parse_flow_stats(V10, body)) for _, body in parts) == 60


@pytest.mark.parametrize(
    ("version", "body", "code"),
    [
        (V10, bytes(10), (1, 6)),
        (V13, bytes(10), (1, 6)),
        (V13, of.flow_stats_body(V13) + bytes(8), (1, 6)),
        (V13, of.flow_stats_body(V13, table=254), (1, 9)),
        (V13, of.flow_stats_body(V13, of.match(V13, vlan_pcp=3)), (4, 9)),
    ],
)
def test_malformed_flow_requests(version: int, body: bytes, code: tuple[int, int]):
    book, switch = scene(version)
    a = book.at("alice")
    xid = a.stats("flow", body)
    a.error(xid, code)
    assert not switch.inbox


def test_a_table_that_does_not_exist_is_empty_in_1_0():
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2)
    assert a.flow_stats(table=7) == []
    assert len(a.flow_stats(table=0)) == 1
    assert switch.open


@BOTH
def test_requests_with_the_same_xid_do_not_meet(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    a.add(2, cookie=1)
    b.add(2, cookie=2)
    book.clear()
    switch.hold("stats_reply")
    request = of.stats_request(version, "flow", of.flow_stats_body(version), xid=0x1234)
    a.send(request)
    b.send(request)
    first, second = switch.log("stats_request")
    assert len({first.xid, second.xid, 0x1234}) == 3
    switch.model.held.reverse()
    switch.release()
    for end, cookie in ((a, 1), (b, 2)):
        ((_, body),) = end.stats_replies(0x1234)
        assert [s.cookie for s in of.parse_flow_stats(version, body)] == [cookie]


@BOTH
@pytest.mark.parametrize("xid", [0, 0xFFFFFFFF])
def test_extreme_xids_are_echoed(version: int, xid: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.send(of.stats_request(version, "flow", of.flow_stats_body(version), xid=xid))
    a.request("barrier_request", xid=xid)
    assert [m.xid for m in a.inbox] == [xid, xid]
    assert all(m.xid not in (0, 0xFFFFFFFF) for m in switch.inbox)


# -- AGGREGATE -------------------------------------------------------------------------------------------


def test_aggregate_of_1_0_does_not_count_guards():
    book, switch = scene(V10)
    a = book.at("alice")
    for number in range(3):
        a.add(2, eth_dst=number)
    for entry in switch.flows(100, guards=True):
        entry.packets, entry.bytes = 10, 100
    switch.model.stats_size = 200
    book.clear()
    assert a.aggregate() == (30, 300, 3)
    assert a.aggregate(of.match(V10, eth_dst=1)) == (10, 100, 1)
    assert all(struct.unpack_from("!H", m.raw, 8)[0] == 1 for m in switch.log("stats_request"))


def test_aggregate_of_1_3_is_the_switchs_by_tag():
    book, switch = scene(V13)
    a = book.at("alice")
    for number in range(3):
        a.add(2, eth_dst=number)
    for entry in switch.flows(100, guards=True):
        entry.packets, entry.bytes = 10, 100
    book.clear()
    assert a.aggregate() == (30, 300, 3)
    asked = switch.take_one("stats_request")
    assert struct.unpack_from("!H", asked.raw, 8)[0] == 2


# -- PORT, QUEUE -----------------------------------------------------------------------------------------


@BOTH
def test_counters_of_shared_ports_are_not_available(version: int):
    book, _ = scene(version, ALICE, BOB, TINA)
    b = book.at("bob")
    found = ports_of(version, b)
    assert sorted(found) == [2, 3, 4]
    assert found[2] == found[3] == {ALL_ONES}
    assert found[4] == {400 + number for number in range(12)}


@BOTH
@pytest.mark.parametrize(("setting", "real"), [("real", True), ("hidden", False)])
def test_the_operator_may_decide_otherwise(version: int, setting: str, real: bool):
    book, _ = scene(version, ALICE, BOB, TINA, policy=Policy(port_counters=setting))
    found = ports_of(version, book.at("bob"))
    assert all((values != {ALL_ONES}) is real for values in found.values())


@BOTH
def test_one_port_at_a_time_and_foreign_ones_are_empty(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    assert sorted(ports_of(version, a, 1)) == [1]
    switch.inbox.clear()
    assert ports_of(version, a, 4) == {}
    assert ports_of(version, a, "local") == {}
    assert not switch.inbox
    xid = a.stats("port", bytes(3))
    a.error(xid, (1, 6))


def queue_body(version: int, port: int | str, queue: int = 0xFFFFFFFF) -> bytes:
    return struct.pack("!H2xI" if version == V10 else "!II", of.port_number(version, port), queue)


@BOTH
def test_only_granted_queues_show(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    every = "all" if version == V10 else "none"
    size = 32 if version == V10 else 40
    for port, queue in ((every, 0xFFFFFFFF), (2, 0xFFFFFFFF), (2, 7), (every, 7)):
        ((_, body),) = a.stats_replies(a.stats("queue", queue_body(version, port, queue)))
        assert len(body) == size
        assert struct.unpack_from("!H2xI" if version == V10 else "!II", body) == (2, 7)


@BOTH
def test_foreign_queues_do_not_exist(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    kind = 5 if version == V10 else 9
    for port, queue, code in ((4, 7, (kind, 0)), (2, 8, (kind, 1)), (1, 7, (kind, 1))):
        xid = a.stats("queue", queue_body(version, port, queue))
        a.error(xid, code)
    xid = a.stats("queue", bytes(3))
    a.error(xid, (1, 6))
    assert not switch.inbox


# -- answered here ---------------------------------------------------------------------------------------


@BOTH
def test_the_description_names_nobody_else(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    ((flags, body),) = a.stats_replies(a.stats("desc"))
    assert flags == 0 and len(body) == 1056
    texts = [part.rstrip(b"\0") for part in struct.unpack("!256s256s256s32s256s", body)]
    assert texts[:2] == [b"emulation", b"emulated switch"]
    assert texts[4] == b"vlan 100 of 0x00000000000000aa"
    assert not switch.inbox


def test_tables_of_1_0():
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2)
    book.at("bob").add(2)
    switch.inbox.clear()
    ((_, body),) = a.stats_replies(a.stats("table"))
    table, _, wildcards, most, active, looked_up, matched = struct.unpack("!B3x32sIIIQQ", body)
    assert (table, wildcards, most, active) == (0, 0x3FFFFF, 10, 1)
    assert looked_up == matched == ALL_ONES
    assert not switch.inbox


def test_tables_of_1_3():
    book, _ = scene(V13)
    a = book.at("alice")
    a.add(2, table=2)
    a.add(3, table=2, eth_dst=1)
    ((_, body),) = a.stats_replies(a.stats("table"))
    rows = [struct.unpack_from("!B3xIQQ", body, at) for at in range(0, len(body), 24)]
    assert [(row[0], row[1]) for row in rows] == [(0, 0), (1, 0), (2, 2), (3, 0)]


@BOTH
@pytest.mark.parametrize("kind", ["desc", "table"])
def test_requests_without_body_must_have_none(version: int, kind: str):
    book, _ = scene(version)
    a = book.at("alice")
    xid = a.stats(kind, bytes(8))
    a.error(xid, (1, 6))


def test_1_0_has_no_port_descriptions():
    book, switch = scene(V10)
    a = book.at("alice")
    sent = bytes.fromhex("0110000c00001004000d0000")
    a.send(sent)
    a.error(0x1004, (1, 2), sent)
    assert not switch.inbox


@BOTH
def test_what_is_not_offered(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for kind, code in ((0xFFFF, (1, 3)), (99, (1, 2))):
        xid = a.stats(kind, bytes(8))
        a.error(xid, code)
    a.request("stats_request", b"", xid=3)
    a.error(3, (1, 6))
    assert not switch.inbox


def test_a_request_in_parts_is_refused_in_1_3():
    book, switch = scene(V13)
    a = book.at("alice")
    xid = a.stats("flow", of.flow_stats_body(V13), flags=1)
    a.error(xid, (1, 13))
    assert not switch.inbox
    book, switch = scene(V10)
    a = book.at("alice")
    assert a.stats_replies(a.stats("flow", of.flow_stats_body(V10), flags=1)) == [(0, b"")]


def test_groups_and_meters_there_are_none_of():
    book, switch = scene(V13)
    a = book.at("alice")
    every = struct.pack("!I4x", 0xFFFFFFFF)
    for kind, body in (("group", struct.pack("!I4x", 0xFFFFFFFC)), ("group_desc", b""), ("meter", every)):
        assert a.stats_replies(a.stats(kind, body)) == [(0, b"")]
    for kind, size in (("group_features", 40), ("meter_features", 16)):
        ((_, body),) = a.stats_replies(a.stats(kind))
        assert len(body) == size
    xid = a.stats("meter", struct.pack("!I4x", 1))
    a.error(xid, (12, 3))
    xid = a.stats("meter_config", b"")
    a.error(xid, (1, 6))
    xid = a.stats("table_features", bytes(64))
    a.error(xid, (13, 5))
    assert not switch.inbox


# -- bad and missing answers -----------------------------------------------------------------------------


@BOTH
def test_an_entry_of_length_zero_costs_only_itself(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    switch.model.mute = {"stats_reply"}
    a.stats("flow", of.flow_stats_body(version))
    asked = switch.take_one("stats_request")
    head = struct.pack("!HH" if version == V10 else "!HH4x", 1, 0)
    switch.send(of.message(version, "stats_reply", head + bytes(96), asked.xid))
    assert not a.inbox
    b.request("echo_request")
    assert b.take_one("echo_reply")
    assert book.mux.counters.malformed["south"] == 1
    assert switch.open


@BOTH
@pytest.mark.parametrize("kind", ["port", "queue", "desc"])
def test_an_answer_of_another_kind_is_not_taken(version: int, kind: str):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"stats_reply"}
    a.stats("flow", of.flow_stats_body(version))
    asked = switch.take_one("stats_request")
    head = struct.pack("!HH" if version == V10 else "!HH4x", of.STATS[version][kind], 0)
    switch.send(of.message(version, "stats_reply", head, asked.xid))
    assert not a.inbox
    assert book.mux.counters.malformed["south"] == 1


@BOTH
def test_records_that_do_not_fill_the_reply(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"stats_reply"}
    a.stats("port", of.port_stats_body(version))
    asked = switch.take_one("stats_request")
    head = struct.pack("!HH" if version == V10 else "!HH4x", 4, 0)
    switch.send(of.message(version, "stats_reply", head + bytes(50), asked.xid))
    assert not a.inbox and book.mux.counters.malformed["south"] == 1


@BOTH
def test_a_request_nobody_answers_is_forgotten_and_counted(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.model.mute = {"stats_reply"}
    a.stats("flow", of.flow_stats_body(version))
    asked = switch.take_one("stats_request")
    before = book.mux.describe()["switches"][0]["in_flight"]  # type: ignore[index]
    book.advance(25)
    assert book.mux.describe()["switches"][0]["in_flight"] == before - 1  # type: ignore[index]
    assert book.mux.counters.unrouted["expired"] == 1
    switch.model.mute = set()
    switch.send(of.message(version, "stats_reply", struct.pack("!HH4x", 1, 0), asked.xid))
    assert not [m for m in a.inbox if m.name != "echo_request"]


@BOTH
def test_parts_that_keep_coming_are_not_expired(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2)
    (entry,) = switch.flows(100)
    switch.model.mute = {"stats_reply"}
    xid = a.stats("flow", of.flow_stats_body(version))
    asked = switch.take("stats_request")[-1]
    for more in (1, 1, 1, 1, 0):
        book.advance(8)
        head = struct.pack("!HH" if version == V10 else "!HH4x", 1, more)
        switch.send(of.message(version, "stats_reply", head + flow_entry(version, entry), asked.xid))
    assert [flags for flags, _ in a.stats_replies(xid)] == [1, 1, 1, 1, 0]


@BOTH
def test_the_answer_to_a_controller_that_left(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.hold("stats_reply")
    for kind, body in (("flow", of.flow_stats_body(version)), ("aggregate", of.flow_stats_body(version))):
        a.stats(kind, body)
    book.accept = False
    a.close()
    switch.release()
    assert book.mux.counters.malformed["south"] == 0


def test_four_share_a_switch():
    book, _ = scene(V13)
    assert isinstance(book, Playbook) and len(FOUR) == 4
