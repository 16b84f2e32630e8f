"""Messages on their way down: above a slice's rate they wait, and nothing is ever dropped (vetting A.10)."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.tenants import ALICE, BOB, piece, with_limits
from vmoc.events import Kind
from vmoc.mux.downward import HANDLERS
from vmoc.mux.effects import PauseReading, ResumeReading

BOTH = pytest.mark.parametrize("version", [V10, V13])


@BOTH
@pytest.mark.parametrize("kind", ["flow_mod", "packet_out", "stats", "barrier"])
def test_over_the_rate_it_waits_and_nothing_is_lost(version: int, kind: str):
    book, switch = scene(version, with_limits(ALICE, max_flows=0, **{f"{kind}_rate": 10}), BOB)
    a = book.at("alice")
    match = [of.match(version, eth_dst=number) for number in range(35)]
    message = {
        "flow_mod": [of.flow_mod(version, "add", m, of.output(version, 2), xid=n) for n, m in enumerate(match)],
        "packet_out": [of.packet_out(version, E(100), of.output(version, 2), xid=n) for n in range(35)],
        "stats": [of.stats_request(version, "flow", of.flow_stats_body(version), xid=n) for n in range(35)],
        "barrier": [of.message(version, "barrier_request", b"", n) for n in range(35)],
    }[kind]
    received = {"flow_mod": "flow_mod", "packet_out": "packet_out", "stats": "stats_request", "barrier": None}[kind]

    def done() -> int:
        return len(switch.log(received)) if received else len(a.log("barrier_reply"))

    a.send(*message)
    assert a.paused and done() == 10
    assert [type(e) for e in book.effects if isinstance(e, PauseReading | ResumeReading)] == [PauseReading]
    a.send(of.message(version, "echo_request", b"", 99))
    book.advance(1.0)
    assert a.paused and done() == 20
    book.advance(1.45)
    assert a.paused and done() == 34
    book.advance(0.1)
    assert done() == 35
    assert not a.paused
    assert a.log("echo_reply")
    assert book.at("bob").paused is False
    assert sum(book.mux.counters.rate_limited.values()) >= 3
    (told,) = book.told(Kind.RATE_LIMITED)  # not an event for every pause
    assert (told.detail["limit"], told.detail["value"]) == (f"{kind}_rate", 10)


@BOTH
@pytest.mark.parametrize("first", ["one", "two"])
def test_controllers_of_a_slice_have_its_rate_in_turns(version: int, first: str):
    alice = piece("alice", 100, (1, 2, 3), controllers=("one", "two"))
    book, switch = scene(version, with_limits(alice, max_flows=0, flow_mod_rate=5), BOB)
    second = "two" if first == "one" else "one"

    def adds(count: int, start: int) -> list[bytes]:
        matches = [of.match(version, eth_dst=start + number) for number in range(count)]
        return [of.flow_mod(version, "add", match, of.output(version, 2)) for match in matches]

    book.at(first).send(*adds(500, 0))
    book.at(second).send(*adds(2, 1000))
    assert len(switch.log("flow_mod")) == 5
    book.advance(0.81)
    arrived = [of.parse_flow_mod(m).match["eth_dst"][0] for m in switch.log("flow_mod")][5:]
    assert arrived == [5, 1000, 6, 1001], "the flood of one does not keep the other from its turn"
    assert not book.at(second).paused
    book.advance(200)
    assert len(switch.log("flow_mod")) == 502
    assert not book.at(first).paused


@BOTH
def test_who_left_does_not_keep_a_place_in_the_queue(version: int):
    alice = piece("alice", 100, (1, 2, 3), controllers=("one", "two"))
    book, switch = scene(version, with_limits(alice, max_flows=0, flow_mod_rate=5), BOB)
    one, two = book.at("one"), book.at("two")
    for number, end in enumerate((one, two)):
        matches = [of.match(version, eth_dst=100 * number + n) for n in range(10)]
        end.send(*(of.flow_mod(version, "add", match, of.output(version, 2)) for match in matches))
    one.close()
    book.advance(2.05)
    arrived = [of.parse_flow_mod(m).match["eth_dst"][0] for m in switch.log("flow_mod")]
    assert arrived == [0, 1, 2, 3, 4, *range(100, 110)]


@BOTH
def test_a_barrier_flood_of_one_does_not_delay_another(version: int):
    book, _ = scene(version, with_limits(ALICE, barrier_rate=50), BOB)
    a, b = book.at("alice"), book.at("bob")
    a.send(of.message(version, "barrier_request", b"", 1) * 1000)
    b.request("barrier_request", xid=2)
    assert len(a.log("barrier_reply")) == 50
    assert b.take_one("barrier_reply").xid == 2


@BOTH
def test_one_that_is_held_back_by_us_is_not_taken_for_dead(version: int):
    book, _ = scene(version, with_limits(ALICE, stats_rate=1), BOB)
    a = book.at("alice")
    request = of.stats_request(version, "flow", of.flow_stats_body(version))
    a.send(request * 300)
    book.advance(200)
    assert a.open and a.paused
    book.advance(110)
    assert a.open and not a.paused
    assert len(a.log("stats_reply")) == 300


@BOTH
def test_rates_do_not_touch_echo(version: int):
    book, _ = scene(version, with_limits(ALICE, stats_rate=1, barrier_rate=1, flow_mod_rate=1, packet_out_rate=1))
    a = book.at("alice")
    a.send(of.message(version, "echo_request") * 500)
    assert len(a.log("echo_reply")) == 500


@BOTH
def test_a_long_answer_is_paid_for(version: int):
    """A thousand flows are as many to look up and to put in the controller's terms, each time somebody asks."""
    book, switch = scene(version, with_limits(ALICE, max_flows=0, stats_rate=20), BOB)
    a = book.at("alice")
    a.send(*(of.flow_mod(version, "add", of.match(version, eth_dst=n), of.output(version, 2)) for n in range(1000)))
    book.advance(2)
    a.send(of.stats_request(version, "flow", of.flow_stats_body(version)) * 20)
    switch.take("stats_request")
    book.advance(1.0)
    a.send(of.stats_request(version, "flow", of.flow_stats_body(version)) * 20)
    book.advance(1.0)
    assert len(switch.log("stats_request")) <= 2
    book.advance(60)
    assert len(switch.log("stats_request")) >= 20, "and none is lost"


@BOTH
def test_whoever_flips_ports_of_a_switch_with_thousands_of_them_pays_for_that(version: int):
    ports = range(1, 1001)
    book, switch = scene(version, with_limits(piece("alice", 100, ports), flow_mod_rate=100), ports=ports)
    a, address = book.at("alice"), switch.model.ports[2].hw
    layout = "!H6sIII4x" if version == V10 else "!I4x6s2xIII4x"
    flips = [struct.pack(layout, 2, address, 0x40 * (n % 2), 0x40, 0) for n in range(1, 50)]
    a.send(*(of.message(version, "port_mod", flip) for flip in flips))
    assert a.paused and len(a.take("port_status")) < 10
    book.advance(60)
    assert len(a.take("port_status")) > 30


@BOTH
def test_nothing_but_a_controllers_messages_has_a_handler(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    kinds = set(range(40)) - HANDLERS[version].keys() - {0}
    for kind in kinds:
        a.send(of.message(version, kind, bytes(60)))
        assert a.errors() == [(1, 1)], kind
    assert len(kinds) > 15 and not switch.inbox
