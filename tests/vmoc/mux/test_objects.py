"""Groups and meters of slices through the mux: to the switch and back, and never another slice's."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.groupwire import (
    ADD,
    ALL,
    ANY,
    DELETE,
    DROP,
    EVERY_GROUP,
    EVERY_METER,
    FAST_FAILOVER,
    MODIFY,
    SELECT,
    SEND_FLOW_REM,
    TO2,
    bucket,
    change,
    changes,
    group_desc,
    group_mod,
    group_references,
    meter,
    meter_mod,
    meters,
    out,
)
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, with_limits
from vmoc.events import Kind
from vmoc.model import Policy, Timers
from vmoc.mux import objects
from vmoc.mux.groups import SLOT_MAX, SLOT_SHIFT

FLOW_REMOVED_GROUP_DELETE = 3
UNLIMITED = with_limits(ALICE, max_groups=0, max_meters=0)


# -- changes -----------------------------------------------------------------------------------------


def test_the_same_ids_in_two_slices_are_different_groups_and_meters() -> None:
    book, switch = scene(V13)
    for name in ("alice", "bob"):
        group_mod(book.at(name), 1, TO2)
        meter_mod(book.at(name), 1)
    (_, a), (_, b) = changes(switch)
    assert a >> SLOT_SHIFT != b >> SLOT_SHIFT
    assert set(switch.model.groups) == {a, b}
    assert {command for command, _ in changes(switch, "meter_mod")} == {ADD}
    assert len(switch.model.meters) == 2
    assert not book.told(Kind.REFUSED)


def test_groups_lead_to_groups_by_the_slices_own_numbers() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 0x70000001, TO2)
    group_mod(alice, 2, bucket(of.group(0x70000001), watch_group=0x70000001), kind=FAST_FAILOVER)
    (_, first), (_, second) = changes(switch)
    assert switch.model.groups[second] == (FAST_FAILOVER, bucket(of.group(first), watch_group=first))
    alice.add(None, priority=1)
    alice.flow_mod(actions=of.group(2))
    assert switch.flows(100)[1].uses_group(second)
    alice.send(of.packet_out(V13, E(100), of.group(2)))
    assert of.group(second) in switch.take_one("packet_out").raw
    assert not alice.errors()


def test_a_delete_by_out_group_is_about_the_slices_own_number() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 7, TO2)
    group_mod(alice, 8, TO2)
    alice.flow_mod("add", of.match(V13, eth_dst=7), of.group(7))
    alice.flow_mod("add", of.match(V13, eth_dst=8), of.set_field("eth_src", 1) + of.group(8))
    alice.flow_mod("add", of.match(V13, eth_dst=9), of.output(V13, 2))
    alice.flow_mod("delete", out_group=8)
    assert sorted(flow.match["eth_dst"][0] for flow in switch.flows(100)) == [7, 9]
    alice.flow_mod("delete", out_group=8, out_port=2)
    assert len(switch.flows(100)) == 2
    assert not alice.errors()


def test_what_it_gets_is_what_it_gave() -> None:
    book, _ = scene(V13)
    alice, bob = book.at("alice"), book.at("bob")
    group_mod(alice, 7, TO2 + bucket(out(3)), kind=SELECT)
    group_mod(alice, 8, bucket(of.group(7)))
    group_mod(bob, 8, bucket(out(4)))
    assert group_desc(alice) == {7: (SELECT, [TO2, bucket(out(3))]), 8: (ALL, [bucket(of.group(7))])}
    group_mod(alice, 7, TO2, MODIFY, SELECT)
    assert group_desc(alice)[7] == (SELECT, [TO2])
    assert group_desc(bob) == {8: (ALL, [bucket(out(4))])}
    assert group_desc(book.at("tina")) == {}


def test_statistics_of_groups_are_ones_own() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    for name in ("alice", "bob"):
        group_mod(book.at(name), 1, TO2)
    group_mod(alice, 2, TO2)
    alice.flow_mod(actions=of.group(1))
    assert group_references(alice) == {1: 1, 2: 0}
    assert group_references(alice, 1) == {1: 1}
    assert group_references(book.at("bob")) == {1: 0}
    switch.take()
    for unknown in (9, ANY, 0xFFFFFF01):
        assert group_references(alice, unknown) == {}
    assert group_references(book.at("tina")) == {}
    assert not switch.log("stats_request"), "what is not there needs no asking"


def test_statistics_come_in_parts() -> None:
    book, _ = scene(V13, UNLIMITED, BOB, stats_size=200)
    alice = book.at("alice")
    for number in range(10):
        group_mod(alice, number, TO2)
        group_mod(book.at("bob"), number, TO2)
        meter_mod(alice, number + 1)
    assert len(group_desc(alice)) == len(meters(alice)) == len(group_references(alice)) == 10


def test_statistics_of_meters_are_ones_own() -> None:
    book, switch = scene(V13)
    alice, bob = book.at("alice"), book.at("bob")
    meter_mod(bob, 1)
    meter_mod(alice, 1, DROP + DROP)
    meter_mod(alice, 9)
    alice.flow_mod(instructions=meter(9) + of.apply_actions(out(2)))
    alice.flow_mod(instructions=meter(9), priority=7)
    alice.add(priority=8)
    assert {number: (each.flows, each.bands) for number, each in meters(alice).items()} == {
        1: (0, DROP + DROP),
        9: (2, DROP),
    }
    assert {number: each.flows for number, each in meters(bob).items()} == {1: 0}
    assert meters(book.at("tina")) == {}
    xid = alice.stats("meter_config", struct.pack("!I4x", 9))
    assert len(alice.stats_replies(xid)) == 1
    assert {entry.uses_meter(n) for entry in switch.flows(100) for n in switch.model.meters} == {True, False}


@pytest.mark.parametrize("kind", ["meter", "meter_config"])
@pytest.mark.parametrize("number", [2, 0xFFFFFFFD, 0xFFFFFFFE])
def test_a_meter_that_is_not_there_is_unknown(kind: str, number: int) -> None:
    book, _ = scene(V13)
    meter_mod(book.at("bob"), 2)
    xid = book.at("alice").stats(kind, struct.pack("!I4x", number))
    book.at("alice").error(xid, (12, 3))


@pytest.mark.parametrize(
    ("kind", "body"),
    [("group", b""), ("group", bytes(4)), ("group_desc", bytes(8)), ("group_features", bytes(8)), ("meter", bytes(4)),
     ("meter_config", b""), ("meter_features", bytes(8))],
)  # fmt: skip
def test_requests_of_a_wrong_length(kind: str, body: bytes) -> None:
    book, _ = scene(V13)
    xid = book.at("alice").stats(kind, body)
    book.at("alice").error(xid, (1, 6))


def test_features_say_what_a_slice_may_use() -> None:
    book, _ = scene(V13, ALICE, with_limits(TINA, max_groups=0, max_meters=0), BOB)

    def features(name: str, kind: str) -> bytes:
        end = book.at(name)
        ((_, body),) = end.stats_replies(end.stats(kind))
        return body

    types, capabilities, *most = struct.unpack("!2I4I16x", features("alice", "group_features"))
    assert (types, capabilities, most) == (0xF, 0x7, [4, 4, 4, 4])
    assert struct.unpack("!8x4I16x", features("tina", "group_features")) == (4 * (0xFFFFFF00,))
    offered = struct.unpack("!24x4I", features("alice", "group_features"))
    assert len(set(offered)) == 1
    # The switch has neither push, pop nor MPLS for us; alice has a queue, bob none.
    assert offered[0] == sum(1 << kind for kind in (0, 11, 12, 15, 16, 21, 22, 23, 24, 25))
    assert struct.unpack("!24xI12x", features("bob", "group_features"))[0] == offered[0] & ~(1 << 21)
    assert struct.unpack("!IIIBB2x", features("alice", "meter_features")) == (2, 1 << 1, 0xF, 8, 0)
    assert struct.unpack("!I12x", features("tina", "meter_features")) == (100,)


# -- refusals and limits -----------------------------------------------------------------------------


def test_what_the_policy_refuses_never_reaches_the_switch() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    switch.take()
    alice.error(group_mod(alice, 1, bucket(out(4))), (2, 4))
    alice.error(group_mod(alice, 1, TO2, MODIFY), (6, 8))
    alice.error(meter_mod(alice, 0xFFFFFFFE), (12, 2))
    group_mod(alice, 5, command=DELETE)
    meter_mod(alice, 5, b"", DELETE)
    assert not switch.log("group_mod")
    assert not switch.log("meter_mod")
    assert not alice.errors()


def test_loops_and_depth_are_refused() -> None:
    book, switch = scene(V13, policy=Policy(chain_depth=2))
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    group_mod(alice, 2, bucket(of.group(1)))
    switch.take()
    alice.error(group_mod(alice, 1, bucket(of.group(2)), MODIFY), (6, 7))
    alice.error(group_mod(alice, 3, bucket(of.group(2))), (6, 5))
    alice.error(group_mod(alice, 1, command=DELETE), (6, 9))
    assert not switch.log("group_mod")


def test_quotas_are_told_once_in_a_while() -> None:
    book, _ = scene(V13)
    alice = book.at("alice")
    for number in range(1, 5):
        group_mod(alice, number, TO2)
    for _ in range(3):
        alice.error(group_mod(alice, 9, TO2), (6, 3))
    assert [event.message for event in book.told(Kind.QUOTA)] == ["4 groups are all this slice may have here"]
    book.advance(20)
    meter_mod(alice, 1)
    meter_mod(alice, 2)
    alice.error(meter_mod(alice, 3), (12, 10))
    limits = [(event.detail["limit"], event.detail["value"]) for event in book.told(Kind.QUOTA)]
    assert limits == [("max_groups", 4), ("max_meters", 2)]


def test_a_switch_has_only_so_many_meters() -> None:
    book, switch = scene(V13, UNLIMITED, BOB)
    alice = book.at("alice")
    for number in range(1, 101):
        meter_mod(alice, number)
    assert len(switch.model.meters) == 100
    bob = book.at("bob")
    bob.error(meter_mod(bob, 1), (12, 10))
    meter_mod(alice, 50, b"", DELETE)
    bob.error(meter_mod(bob, 1), (12, 10))  # not before the switch has confirmed it
    book.advance(2)
    meter_mod(bob, 1)
    assert not bob.errors()
    assert len(switch.model.meters) == 100


def test_a_switch_has_only_so_many_slots() -> None:
    book, switch = scene(V13)
    inside = book.mux._switches[0xAA, 0]
    inside.taken_slots = set(range(1, SLOT_MAX))
    group_mod(book.at("alice"), 1, TO2)
    assert change(switch.take_one("group_mod"))[1] >> SLOT_SHIFT == SLOT_MAX
    bob = book.at("bob")
    bob.error(group_mod(bob, 1, TO2), (6, 3))
    assert not switch.log("group_mod")
    group_mod(bob, EVERY_GROUP, command=DELETE)
    assert not bob.errors()


def test_a_slave_changes_nothing() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    alice.request("role_request", struct.pack("!I4xQ", 3, 1))
    alice.take()
    alice.error(group_mod(alice, 1, TO2), (1, 10))
    alice.error(meter_mod(alice, 1), (1, 10))
    assert not switch.log("group_mod")


@pytest.mark.parametrize("send", [lambda end, n: group_mod(end, n, TO2), meter_mod])
def test_changes_count_against_the_rate(send) -> None:  # type: ignore[no-untyped-def]
    book, switch = scene(V13, with_limits(UNLIMITED, flow_mod_rate=5))
    alice = book.at("alice")
    for number in range(1, 21):
        send(alice, number)
    assert len(changes(switch, "group_mod") + changes(switch, "meter_mod")) < 20
    assert alice.paused
    book.advance(10)
    assert not alice.paused
    assert len(switch.model.groups) + len(switch.model.meters) == 20
    assert not alice.errors()


@pytest.mark.parametrize("what", ["group", "meter"])
def test_deleting_beside_many_flows_costs(what: str) -> None:
    book, _ = scene(V13, with_limits(UNLIMITED, max_flows=0, flow_mod_rate=400))
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    alice.send(*(of.flow_mod(V13, "add", of.match(V13, eth_dst=n), of.output(V13, 2)) for n in range(400)))
    book.advance(5)
    if what == "group":
        group_mod(alice, 1, command=DELETE)
    else:
        meter_mod(alice, 1, b"", DELETE)
    alice.send(*(of.flow_mod(V13, "add", of.match(V13, eth_dst=n), of.output(V13, 2)) for n in range(398)))
    assert alice.paused, "with what the delete costs, these are more than a second's worth"


# -- flows go along ----------------------------------------------------------------------------------


def test_a_group_takes_its_flows_along_and_those_who_asked_are_told() -> None:
    book, switch = scene(V13)
    alice, bob = book.at("alice"), book.at("bob")
    for end in (alice, bob):
        group_mod(end, 1, TO2)
    group_mod(alice, 2, TO2)
    alice.flow_mod(actions=of.group(1), cookie=1, priority=1, flags=SEND_FLOW_REM)
    alice.flow_mod(actions=of.group(1), cookie=2, priority=2)
    both = of.goto_table(1) + of.write_actions(of.group(1))
    alice.flow_mod(instructions=both, cookie=3, priority=3, flags=SEND_FLOW_REM)
    meter_mod(alice, 1)
    other = meter(1) + of.apply_actions(of.group(2))
    alice.flow_mod(instructions=other, cookie=4, priority=4, flags=SEND_FLOW_REM)
    bob.flow_mod(actions=of.group(1), cookie=5, flags=SEND_FLOW_REM)
    group_mod(alice, 1, command=DELETE)
    told = [of.parse_flow_removed(message) for message in alice.take("flow_removed")]
    assert {(each.cookie, each.reason) for each in told} == {
        (1, FLOW_REMOVED_GROUP_DELETE),
        (3, FLOW_REMOVED_GROUP_DELETE),
    }
    assert [stat.cookie for stat in alice.flow_stats()] == [4]
    assert not bob.take("flow_removed")
    assert [stat.cookie for stat in bob.flow_stats()] == [5]
    # The quota is theirs again at once.
    for priority in range(10, 19):
        alice.add(priority=priority)
    assert not alice.errors()


def test_all_groups_of_one_slice_only() -> None:
    book, switch = scene(V13)
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    group_mod(alice, 2, bucket(of.group(1)))
    group_mod(book.at("bob"), 1, TO2)
    (_, first), (_, second), (_, theirs) = changes(switch)
    group_mod(alice, EVERY_GROUP, command=DELETE)
    assert changes(switch) == [(DELETE, second), (DELETE, first)]
    assert set(switch.model.groups) == {theirs}
    assert group_desc(alice) == {}


def test_a_meter_takes_its_flows_along_silently() -> None:
    book, switch = scene(V13)
    alice, bob = book.at("alice"), book.at("bob")
    for end in (alice, bob):
        meter_mod(end, 1)
        end.flow_mod(instructions=meter(1), flags=SEND_FLOW_REM)
    for priority in range(1, 10):
        alice.add(priority=priority)
    switch.hold("barrier_reply")
    meter_mod(alice, EVERY_METER, b"", DELETE)
    assert len(switch.flows(100)) == 9
    alice.add(priority=20)
    assert len(switch.flows(100)) == 9  # the quota is not free before the switch has confirmed it
    switch.release("barrier_reply")
    assert not alice.take("flow_removed") + bob.take("flow_removed")
    assert not alice.errors()
    assert len(alice.flow_stats()) == 10
    assert len(bob.flow_stats()) == 1


# -- malformed answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["meter", "meter_config", "group", "group_desc"])
def test_a_record_that_does_not_fit_costs_the_switch(kind: str) -> None:
    book, switch = scene(V13, ALICE, timers=Timers(audit=0))
    alice = book.at("alice")
    group_mod(alice, 1, TO2)
    meter_mod(alice, 1)
    switch.answering = False
    switch.take()
    body = b"" if kind == "group_desc" else struct.pack("!I4x", EVERY_METER if "meter" in kind else EVERY_GROUP)
    alice.stats(kind, body)
    asked = switch.take_one("stats_request")
    number = of.STATS[V13][kind]
    switch.send(of.message(V13, "stats_reply", struct.pack("!HH4x", number, 0) + b"\0\x05" * 4, asked.xid))
    assert len(book.told(Kind.MALFORMED)) == 1
    assert not alice.take("stats_reply")


def test_features_of_a_switch_that_cannot_count() -> None:
    short = of.message(V13, "stats_reply", struct.pack("!HH4x", 8, 0) + bytes(8), 1)
    assert objects.parse_group_features(short) is None
    assert objects.parse_meter_features(short) is None
