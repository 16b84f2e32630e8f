"""Flow-mods that the switch refuses: the shadow is as before, and who caused it is told (vetting B.4; vector 220)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.shadow import X, Y, full, outputs, shown, table
from tests.vmoc.mux.tenants import piece
from vmoc.model import Limits, Policy
from vmoc.mux.flows import LINGER

BOTH = pytest.mark.parametrize("version", [V10, V13])
NO_ERRORS = Policy(error_rate=0)


@BOTH
def test_the_error_of_a_switch_comes_with_the_controllers_own_bytes(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.answering = False
    sent = of.flow_mod(version, "add", None, of.output(version, 2) * 3, xid=0x4711)
    a.send(sent)
    switch.error(switch.take_one("flow_mod"), *full(version))
    a.error(0x4711, full(version), sent)
    assert book.heard() == {}
    assert len(table(book)) == 0


@BOTH
def test_what_was_replaced_is_forgotten_when_the_switch_has_said_so(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in range(5):
        a.add(2, eth_dst=X, cookie=number)
    assert len(table(book).by_serial) == 5
    book.advance(1.1)
    assert len(table(book).by_serial) == 1
    assert table(book).by_identity.popitem()[1].previous is None
    assert len(switch.flows(100)) == 1


@BOTH
def test_two_replacements_of_which_the_first_is_refused(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(1, eth_dst=X, cookie=1)
    book.advance(2)
    switch.inbox.clear()
    switch.answering = False
    a.add(2, eth_dst=X, cookie=2)
    a.add(3, eth_dst=X, cookie=3)
    first, second = switch.take("flow_mod")
    switch.error(first, *full(version))
    switch.answering = True
    switch.does(lambda model: model._handle(model.peers[-1], second))
    assert shown(a) == [(X, 3, 3)]
    book.advance(1.5)
    a.request("barrier_request")
    assert len(table(book).by_serial) == 1


@BOTH
@pytest.mark.parametrize("quick", [False, True])
def test_a_refused_add_costs_no_quota(version: int, quick: bool):
    book, switch = scene(version, policy=NO_ERRORS)
    a = book.at("alice")
    if quick:
        a.add(2, eth_dst=99)
        a.add(None, command="delete", eth_dst=99)
    switch.model.table.capacity = len(switch.model.table.entries)
    for number in range(20):
        a.add(2, eth_dst=number)
    assert a.errors() == [full(version)] * 20
    assert not a.flow_stats() and len(table(book)) == 0
    switch.model.table.capacity = 1000
    for number in range(10):
        a.add(2, eth_dst=number)
    assert not a.inbox


@BOTH
def test_a_refused_replacement_leaves_what_was_there(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add("flood", eth_dst=X, cookie=1)
    book.advance(2)
    switch.inbox.clear()
    switch.answering = False
    for cookie in (2, 3):
        a.add(3, eth_dst=X, cookie=cookie)
    first, second = switch.take("flow_mod")
    switch.error(first, *full(version))
    switch.error(second, *full(version))
    assert a.errors() == [full(version)] * 2
    switch.answering = True
    assert shown(a) == [(X, 1, of.port_number(version, "flood"))]
    switch.port_status("delete", 3)
    assert outputs(version, switch.flows(100)[0]) == [1, 2], "it floods as before"


@BOTH
def test_a_refused_replacement_of_what_expired_leaves_nothing(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, flags=1)
    book.advance(2)
    (old,) = switch.flows(100)
    switch.answering = False
    a.add(3, eth_dst=X)
    switch.does(lambda model: model.expire(old))
    switch.error(switch.log("flow_mod")[-1], *full(version))
    switch.answering = True
    assert [m.name for m in a.take()] == ["flow_removed", "error"]
    assert not a.flow_stats() and not table(book).by_serial


@BOTH
def test_a_refused_modify_leaves_the_actions(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add("flood", eth_dst=X, cookie=1)
    a.add(2, eth_dst=Y, cookie=2)
    book.advance(1.1)
    book.clear()
    switch.answering = False
    a.add(3, command="modify", cookie=9)
    mods = switch.take("flow_mod")
    refused = next(m for m in mods if version == V13 or of.parse_flow_mod(m).match["eth_dst"][0] == X)
    switch.error(refused, 2, 4)
    switch.answering = True
    if version == V10:
        for message in mods:
            if message is not refused:
                switch.does(lambda model, message=message: model._handle(model.peers[-1], message))
    assert a.errors() == [(2, 4)]
    flood = of.port_number(version, "flood")
    assert shown(a) == ([(X, 1, flood), (Y, 9, 3)] if version == V10 else [(X, 1, flood), (Y, 2, 2)])
    switch.port_status("delete", 3)
    assert [outputs(version, f) for f in switch.flows(100) if f.match["eth_dst"][0] == X] == [[1, 2]]


@BOTH
def test_a_refused_delete_leaves_the_flows(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, cookie=1)
    a.add(3, eth_dst=Y, cookie=2)
    book.advance(1.1)
    book.clear()
    switch.answering = False
    a.add(None, command="delete", eth_dst=X)
    a.add(None, command="delete", out_port=3)
    assert len(table(book)) == 0
    for message in switch.take("flow_mod"):
        switch.error(message, 1, 6)
    switch.answering = True
    book.advance(2)
    assert a.errors() == [(1, 6)] * 2
    assert shown(a) == [(X, 1, 2), (Y, 2, 3)]


@BOTH
def test_only_the_first_error_of_several_messages_is_told(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    a.add(2, eth_dst=Y)
    book.advance(1.1)
    book.clear()
    switch.answering = False
    xid = a.add(None, command="delete", out_port=2)
    messages = switch.take("flow_mod")
    assert len(messages) == 2
    for message in messages:
        switch.error(message, 1, 5)
    a.error(xid, (1, 5))


@pytest.mark.parametrize(
    ("version", "kind", "prefix"), [(V10, 0xB0C2, struct.pack("!IHH", 0x2320, 1, 2)), (V13, 0xFFFF, b"ONF\0")]
)
def test_vendor_errors_keep_their_prefix(version: int, kind: int, prefix: bytes):
    book, switch = scene(version)
    a = book.at("alice")
    switch.answering = False
    sent = of.flow_mod(version, "add", None, of.output(version, 2), xid=5)
    a.send(sent)
    asked = switch.take_one("flow_mod")
    body = struct.pack("!HH", kind, 2600) + prefix + asked.raw[:64]
    switch.send(of.message(version, "error", body, asked.xid))
    error = of.parse_error(a.take_one("error"))
    assert (error.type, error.code) == (kind, 2600)
    assert error.data == prefix + sent[:64]


@BOTH
def test_an_error_without_our_xid_is_found_by_the_message_in_it(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.answering = False
    sent = of.packet_out(version, bytes(12) + bytes.fromhex("81000064") + bytes(50), of.output(version, 2), xid=5)
    a.send(sent)
    asked = switch.take_one("packet_out")
    switch.error(Message(asked.raw[:4] + bytes(4) + asked.raw[8:]), 1, 5)
    assert not a.errors(), "neither names it"
    switch.send(of.message(version, "error", struct.pack("!HH", 1, 5) + asked.raw[:64], 0))
    a.error(5, (1, 5), sent)


@BOTH
def test_errors_nobody_caused_go_to_nobody(version: int):
    book, switch = scene(version)
    switch.send(of.message(version, "error", struct.pack("!HH", 1, 5) + bytes(8), 0x7FFFFFFF))
    switch.send(of.message(version, "error", struct.pack("!HH", 1, 5), 0x7FFFFFFF))
    assert book.heard() == {}
    assert book.mux.counters.unrouted["ERROR"] == 2
    switch.send(of.message(version, "error", b"", 0x7FFFFFFF))
    assert book.mux.counters.malformed["south"] == 1


@BOTH
def test_the_error_of_a_controller_that_left(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    switch.answering = False
    a.add(2)
    a.close()
    switch.error(switch.take_one("flow_mod"), *full(version))
    assert len(table(book)) == 0
    book.advance(2)
    assert [m.name for m in book.at("alice").inbox] == ["hello"]


@BOTH
def test_a_refused_delete_of_what_expired_revives_nothing(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, flags=1)
    (old,) = switch.flows(100)
    book.clear()
    switch.answering = False
    a.add(None, command="delete", eth_dst=X)
    switch.does(lambda model: model.expire(old))
    switch.error(switch.take_one("flow_mod"), 1, 6)
    assert [m.name for m in a.take()] == ["flow_removed", "error"]
    assert len(table(book)) == 0 and not table(book).by_serial


@BOTH
def test_of_two_modifies_the_second_waits_for_the_first(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(1, eth_dst=X)
    book.advance(1.1)
    book.clear()
    switch.answering = False
    a.add(2, command="modify", eth_dst=X)
    a.add(3, command="modify", eth_dst=X)
    a.add(3, eth_dst=Y)
    switch.error(switch.take_one("flow_mod"), 2, 4)
    switch.answering = True
    play(switch, "barrier_request")
    assert a.errors() == [(2, 4)]
    assert [output for _, _, output in shown(a)] == [3, 3], "and what came behind it"


def play(switch: SwitchEnd, name: str) -> None:
    """The switch does what it left undone."""
    for message in switch.take(name):
        switch.does(lambda model, message=message: model._handle(model.peers[-1], message))


def late(switch: SwitchEnd) -> None:
    """The switch is full, and its errors are on the way for a while."""
    switch.model.table.capacity = len(switch.model.table.entries)
    switch.hold("error")
    switch.hold("barrier_reply")


def recovers(switch: SwitchEnd) -> None:
    """It has room again, and what it said arrives."""
    switch.model.table.capacity = 1000
    switch.release("error")
    switch.release("barrier_reply")


@BOTH
@pytest.mark.parametrize("command", ["modify", "modify_strict"])
def test_a_modify_waits_for_an_add_that_may_be_refused(version: int, command: str):
    """Else 1.0, in which a modify adds what is not there, would have the flow that the switch had refused."""
    book, switch = scene(version)
    a = book.at("alice")
    late(switch)
    a.add(2, eth_dst=X, eth_src=Y, cookie=1)
    match = {"eth_dst": X} if command == "modify" else {"eth_dst": X, "eth_src": Y}
    a.add(3, command=command, cookie=2, **match)
    assert [of.parse_flow_mod(m).command for m in switch.take("flow_mod")] == ["add"]
    recovers(switch)
    assert a.errors() == [full(version)]
    found = [(set(flow.match) & {"eth_dst", "eth_src"}, outputs(version, flow)) for flow in switch.flows(100)]
    assert found == ([(set(match), [3])] if version == V10 else [])
    assert shown(a) == ([(X, 2, 3)] if version == V10 else [])
    assert len(table(book)) == len(found)


@BOTH
def test_a_delete_by_what_a_flow_does_waits_for_its_replacement(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, cookie=1)
    book.advance(1.1)
    book.clear()
    switch.answering = False
    a.add(3, eth_dst=X, cookie=2)
    a.add(None, command="delete", out_port=2)
    switch.error(switch.take_one("flow_mod"), *full(version))
    switch.answering = True
    play(switch, "barrier_request")
    assert a.errors() == [full(version)]
    assert not shown(a) and not switch.flows(100)


@BOTH
def test_a_delete_of_all_waits_for_nothing(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    late(switch)
    a.add(2, eth_dst=X)
    a.add(None, command="delete")
    assert [of.parse_flow_mod(m).command for m in switch.take("flow_mod")][:2] == ["add", "delete"]


@BOTH
def test_a_modify_of_what_is_settled_waits_for_nothing(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    book.advance(1.1)
    book.clear()
    switch.hold("barrier_reply")
    a.add(2, eth_dst=Y)
    a.add(3, command="modify", eth_dst=X)
    assert len(switch.take("flow_mod")) == 2


@BOTH
def test_the_quota_is_full_only_when_the_switch_has_taken_the_flows(version: int):
    book, switch = scene(version, piece("alice", 100, limits=Limits(max_flows=1)))
    a = book.at("alice")
    late(switch)
    a.add(2, eth_dst=X)
    a.add(3, eth_dst=Y)
    recovers(switch)
    assert a.errors() == [full(version)], "of the first, by the switch"
    assert [where for where, _, _ in shown(a)] == [Y]
    a.add(3, eth_dst=X)
    assert a.errors() == [full(version)], "by VMOC"


@BOTH
def test_what_waits_waits_once(version: int):
    """Another controller of the slice that adds all the time does not hold it up for ever, nor is it counted twice."""
    book, switch = scene(version, piece("alice", 100, controllers=("alice", "amy")))
    a, amy = book.at("alice"), book.at("amy")
    switch.hold("barrier_reply")
    a.add(2, eth_dst=X)
    a.add(3, command="modify", eth_dst=X)
    amy.add(2, eth_dst=X)
    amy.add(2, eth_dst=Y)
    assert book.mux.counters.flow_mods == 3
    switch.release("barrier_reply")
    assert sorted(output for _, _, output in shown(a)) == [2, 3]
    assert book.mux.counters.flow_mods == 4


@BOTH
def test_waiting_costs_a_barrier(version: int):
    """A barrier makes the switch stall for everybody: they are rationed, whoever causes them."""
    book, switch = scene(version, piece("alice", 100, limits=Limits(barrier_rate=3)))
    a = book.at("alice")
    book.advance(1.1)
    book.clear()
    for _ in range(6):
        a.add(2, eth_dst=X)
        a.add(3, command="modify", eth_dst=X)
    assert len(switch.take("barrier_request")) == 3
    assert a.paused
    book.advance(2.0)
    assert len(switch.take("barrier_request")) >= 3
    assert [output for _, _, output in shown(a)] == [3]
    assert book.mux.counters.flow_mods == 12


def test_10_a_flood_written_anew_behind_a_refused_add_is_taken_back():
    book, switch = scene(V10)
    a = book.at("alice")
    switch.answering = False
    a.add("flood", eth_dst=X)
    added = switch.take_one("flow_mod")
    switch.answering = True
    switch.port_status("delete", 3)  # writes it anew, which adds it
    assert len(switch.flows(100)) == 1
    switch.error(added, *full(V10))
    assert not switch.flows(100) and not shown(a)


@BOTH
def test_a_delete_that_was_refused_after_its_barrier_keeps_what_it_revives(version: int):
    """The error of one of two deletes comes late; the time in which the other's FLOW_REMOVED counts passes."""
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    book.advance(2)
    switch.answering = False
    book.clear()
    flows = table(book)
    a.add(None, command="delete", eth_dst=X)
    message = switch.take_one("flow_mod")
    (entry,) = flows.by_serial.values()
    flows.forget_dead([entry], book.now)
    switch.error(message, 1, 6)
    flows.forget_dead([], book.now + LINGER)
    assert [flows.find(flows.cookie(e)) for e in flows.by_identity.values()] == [entry]


# -- a modify that meets an expiry -----------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("command", ["modify", "modify_strict"])
def test_a_modify_that_comes_just_after_the_expiry_leaves_nothing(version: int, command: str):
    """In 1.0 the switch then adds the entry, without timeouts and unknown to anybody."""
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, idle=1, flags=1)
    (entry,) = switch.flows(100)
    book.advance(2)
    book.clear()
    switch.answering = False
    a.add(3, command=command, eth_dst=X, flags=1)
    modify = switch.take_one("flow_mod")
    entry = switch.flows(100)[0]
    switch.model.table.entries.remove(entry)
    switch.does(lambda model: model._handle(model.peers[-1], modify))
    assert len(switch.flows(100)) == (1 if version == V10 else 0), "as 1.0 and 1.3 say"
    switch.answering = True
    cookie = entry.cookie.to_bytes(8, "big")
    removed = bytes.fromhex("0064") + bytes(20)  # priority; a reason and counters
    if version == V10:
        body = entry.match_raw + cookie + removed[:2] + bytes(2) + bytes(12) + bytes(16)
    else:
        body = cookie + removed[:2] + bytes(2) + bytes(28) + entry.match_raw
    switch.send(of.message(version, "flow_removed", body))
    assert [m.name for m in a.take()] == ["flow_removed"], "once, however it came about"
    assert not switch.flows(100) and len(table(book)) == 0
    a.add(2, eth_dst=X)
    assert len(switch.flows(100)) == 1


def test_an_entry_that_only_expires_costs_no_message():
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2, eth_dst=X, flags=1)
    a.add(2, eth_dst=Y, flags=1)
    a.add(3, command="modify_strict", eth_dst=Y)
    a.add(2, eth_dst=Y, flags=1)
    book.advance(2)
    book.clear()
    for entry in switch.flows(100):
        switch.does(lambda model, entry=entry: model.expire(entry))
    assert len(a.take("flow_removed")) == 2 and not switch.log("flow_mod")
