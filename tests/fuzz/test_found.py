"""What the fuzzer found, each as a test of its own; whole episodes are in ``regressions/``."""

from __future__ import annotations

import pytest

from tests.emulation import E
from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, piece, with_limits
from vmoc.model import Policy
from vmoc.mux.effects import OperatorInput

CHUNK = 64 * 1024


def _congested(book: Playbook, cid: int) -> None:
    book.mux.congested(cid, book.now)
    book.settle()


def _relieved(book: Playbook, cid: int) -> None:
    book.mux.relieved(cid, book.now)
    book.settle()


@pytest.mark.parametrize("version", [V10, V13])
def test_a_slow_switch_when_the_rate_allows_more_again_does_not_stop_a_controller_for_ever(version: int) -> None:
    book, switch = scene(version, with_limits(ALICE, stats_rate=1))
    alice = book.at("alice")
    alice.send(*(of.stats_request(version, "port", of.port_stats_body(version), xid=xid) for xid in (1, 2)))
    _congested(book, switch.cid)
    book.advance(3)
    _relieved(book, switch.cid)
    assert [reply.xid for reply in alice.take("stats_reply")] == [1, 2]
    assert not alice.paused


@pytest.mark.parametrize("version", [V10, V13])
def test_both_sides_slow_and_the_switch_last_does_not_stop_a_controller_for_ever(version: int) -> None:
    book, switch = scene(version, ALICE)
    alice = book.at("alice")
    _congested(book, switch.cid)
    _congested(book, alice.cid)
    _relieved(book, alice.cid)
    assert alice.paused
    _relieved(book, switch.cid)
    assert not alice.paused


@pytest.mark.parametrize("request_name", ["features_request", "get_config_request", "echo_request"])
@pytest.mark.parametrize("version", [V10, V13])
def test_small_questions_with_large_answers_are_answered_a_few_at_a_time(version: int, request_name: str) -> None:
    book, _ = scene(version, ALICE)
    alice = book.at("alice")
    book.mux.north_data(alice.cid, of.message(version, request_name) * (CHUNK // 8), book.now)
    written = book.mux.take().writes[alice.cid]
    assert sum(map(len, written)) < 4 * CHUNK
    deadline = book.mux.next_deadline()
    assert deadline is not None and deadline <= book.now, "goes on at once, when others have had their turn"


@pytest.mark.parametrize("version", [V10, V13])
def test_everything_of_a_long_chunk_is_answered_in_order(version: int) -> None:
    book, switch = scene(version, ALICE)
    alice = book.at("alice")
    count = 2000
    alice.send(b"".join(of.message(version, "get_config_request", b"", xid) for xid in range(1, count + 1)))
    book.advance(0.001)
    assert [message.xid for message in alice.take("get_config_reply")] == [*range(1, count + 1)]
    assert not alice.paused
    assert isinstance(switch, SwitchEnd) and switch.open


@pytest.mark.parametrize("version", [V10, V13])
@pytest.mark.parametrize("stated", [8, 0, 4000])
def test_an_application_cannot_break_the_framing_towards_a_switch(version: int, stated: int) -> None:
    book, switch = scene(version, ALICE, tap=True)
    sent = of.packet_out(version, E(None), of.output(version, 1), xid=7)
    book.mux.operator_send((switch.model.dpid, 0), sent[:2] + stated.to_bytes(2, "big") + sent[4:], book.now)
    book.settle()
    assert not switch.log("packet_out")
    (answer,) = (one.message for one in book.operator if isinstance(one, OperatorInput))
    assert (answer[1], int.from_bytes(answer[4:8], "big")) == (1, 7)


@pytest.mark.parametrize("version", [V10, V13])
def test_a_flood_beside_a_port_that_is_away_follows_the_slice_to_its_new_ports(version: int) -> None:
    book, switch = scene(version, piece("alice", 100, (1, 5)))
    alice = book.at("alice")
    alice.flow_mod(actions=of.output(version, "flood") + of.output(version, 1))
    switch.port_status("delete", 1)
    book.adopt(piece("alice", 100, (1, 4, 6)))
    book.advance(2)
    for entry in switch.flows(100):
        assert 5 not in entry.outputs(version)


@pytest.mark.parametrize("version", [V10, V13])
def test_a_flood_that_the_switch_does_not_write_anew_is_deleted(version: int) -> None:
    book, switch = scene(version, piece("alice", 100, (1, 5)))
    alice = book.at("alice")
    alice.flow_mod(actions=of.output(version, "flood"))
    switch.answering = False
    switch.take("flow_mod")
    book.adopt(piece("alice", 100, (1, 4)))
    rewritten = [message for message in switch.log("flow_mod") if of.parse_flow_mod(message).command == "modify_strict"]
    switch.answering = True
    switch.take()
    switch.error(rewritten[-1], 2, 4)
    (deleted,) = switch.flow_mods()
    assert deleted.command == "delete_strict" and deleted.vlan == 100


@pytest.mark.parametrize("version", [V10, V13])
def test_flows_of_a_slice_that_went_while_its_switch_was_away_are_not_foreign(version: int) -> None:
    book, switch = scene(version, ALICE, BOB, policy=Policy(foreign_flows="keep"))
    book.at("bob").add(2)
    model = switch.model
    switch.close()
    book.adopt(ALICE)
    book.advance(1)
    again = book.switch(model=model)
    book.advance(3)
    assert not again.flows(200)


@pytest.mark.parametrize("version", [V10, V13])
def test_flows_of_a_slice_that_went_just_before_its_switch_did_are_not_known_any_more(version: int) -> None:
    book, switch = scene(version, ALICE, BOB)
    book.at("bob").add(2)
    model = switch.model
    book.adopt(ALICE)
    switch.close()
    again = book.switch(model=model)
    book.advance(3)
    assert not again.flows(200)
