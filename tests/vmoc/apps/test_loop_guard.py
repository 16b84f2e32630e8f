"""No copy goes round twice, loops are found by probes, and their links come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmoc.apps.loop_guard import FRESH, GROUP, INTERVAL, LIFETIME, MEMORY, LoopGuard, Repeats
from vmoc.apps.mac_table import UNTAGGED
from vmoc.topology import Link, PortRef
from vmoc.topology.spanning import blocked_ports

VLAN = 101
MAC = bytes.fromhex("0e0000000001")
SHOUT = b"\xff" * 6 + MAC + b"\x08\x06" + bytes(46)


class Network:
    """Switches that flood as the learning switch does, joined by cables; every other port is a host's."""

    def __init__(
        self, ports: dict[int, int], *cables: tuple[tuple[int, int], tuple[int, int]], among: Network | None = None
    ) -> None:
        self.guard = LoopGuard() if among is None else among.guard
        self.now = 100.0
        self.ports = ports
        self.cables: dict[tuple[int, int], tuple[int, int]] = {}
        for one, other in cables:
            self.cables[one], self.cables[other] = other, one
        for number, count in ports.items():
            self.guard.join(number, dict.fromkeys(range(1, count + 1), ""))
        self.delivered: list[tuple[int, int]] = []
        self.steps = 0

    def shout(self, number: int, port: int, data: bytes = SHOUT) -> list[tuple[int, int]]:
        """A host broadcasts; the host ports where it came out, each as often as it did."""
        self.delivered = []
        self.steps = 0
        queue = deque([(number, port, data)])
        while queue:
            self.steps += 1
            assert self.steps < 1000, "a storm"
            at, into, frame = queue.popleft()
            if self.guard.ends(at, into, frame, self.now):
                continue
            for out in range(1, self.ports[at] + 1):
                if out != into and out not in self.guard.blocked(at):
                    if (at, out) in self.cables:
                        queue.append((*self.cables[at, out], frame))
                    else:
                        self.delivered.append((at, out))
        return sorted(self.delivered)

    def pass_time(self, seconds: float) -> set[int]:
        """Ticks; the switches that had to forget what they knew."""
        changed: set[int] = set()
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            due, concerned = self.guard.tick(self.now)
            changed |= concerned
            for number, vlan in due:
                for port in range(1, self.ports[number] + 1):
                    there = self.cables.get((number, port))
                    if there:
                        assert self.guard.ends(*there, self.guard.probe(number, port, MAC, vlan, self.now), self.now)
        return changed

    @property
    def blocked(self) -> set[tuple[int, int]]:
        return {(number, port) for number in self.ports for port in self.guard.blocked(number)}

    @property
    def host_ports(self) -> list[tuple[int, int]]:
        every = ((number, port) for number, count in self.ports.items() for port in range(1, count + 1))
        return sorted(set(every) - set(self.cables))


def ring(first: int = 1, among: Network | None = None) -> Network:
    cables = [((first + step, 2), (first + (step + 1) % 4, 1)) for step in range(4)]
    return Network(dict.fromkeys(range(first, first + 4), 3), *cables, among=among)


def test_a_frame_that_comes_back_by_another_port_is_a_copy() -> None:
    seen = Repeats()
    assert not seen.is_copy(1, b"one", 0.0)
    assert not seen.is_copy(1, b"one", 0.1), "a host may say the same again"
    assert seen.is_copy(2, b"one", 0.2)
    assert not seen.is_copy(2, b"other", 0.2)
    assert not seen.is_copy(2, b"one", 0.1 + MEMORY + 0.01), "a station that moved is believed after a while"
    assert seen.is_copy(1, b"one", 0.2 + MEMORY)


def test_copies_do_not_prolong_the_memory() -> None:
    seen = Repeats()
    seen.is_copy(1, b"one", 0.0)
    assert all(seen.is_copy(2, b"one", step * MEMORY / 8) for step in range(8))
    assert not seen.is_copy(2, b"one", MEMORY + 0.01)


def test_the_memory_is_bounded() -> None:
    seen = Repeats(capacity=10)
    for number in range(100):
        seen.is_copy(1, bytes([number]), 0.0)
    assert len(seen) == 10
    assert seen.is_copy(2, bytes([99]), 0.0) and not seen.is_copy(2, bytes([0]), 0.0)


def test_without_a_loop_nobody_probes() -> None:
    line = Network({1: 3, 2: 3, 3: 3}, ((1, 2), (2, 1)), ((2, 2), (3, 1)))
    assert line.shout(1, 1) == [port for port in line.host_ports if port != (1, 1)]
    assert line.guard.tick(line.now + 1) == ([], frozenset())
    assert line.blocked == set()


def test_in_a_ring_the_first_broadcast_already_ends() -> None:
    network = ring()
    heard = network.shout(1, 3)
    assert set(heard) == set(network.host_ports) - {(1, 3)}
    assert network.steps < 12


def test_then_the_ring_is_opened_at_one_port_and_everybody_is_heard_once() -> None:
    network = ring()
    network.shout(1, 3)
    assert network.pass_time(4) == {1, 2, 3, 4}
    assert len(network.blocked) == 1
    for number in network.ports:
        network.pass_time(MEMORY + 1)
        assert network.shout(number, 3) == [port for port in network.host_ports if port != (number, 3)]
    assert network.pass_time(30) == set(), "and it stays as it is"


def test_a_cable_that_breaks_silently_opens_the_blocked_port() -> None:
    network = ring()
    network.shout(1, 3)
    network.pass_time(4)
    end = network.cables.pop((1, 2))
    del network.cables[end]
    changed = network.pass_time(LIFETIME + INTERVAL + 1)
    assert changed == {1, 2, 3, 4} and network.blocked == set()
    expected = [port for port in network.host_ports if port != (1, 3)]
    assert network.shout(1, 3) == expected


def test_a_port_that_goes_down_opens_it_at_once() -> None:
    network = ring()
    network.shout(1, 3)
    network.pass_time(4)
    assert network.guard.port_down(1, 2) == {1, 2, 3, 4}
    assert network.blocked == set()


def test_so_does_a_switch_that_leaves() -> None:
    network = ring()
    network.shout(1, 3)
    network.pass_time(4)
    assert network.guard.leave(2) >= {1, 3, 4}
    assert network.blocked == set()
    assert not network.guard.ends(2, 3, SHOUT, network.now), "a switch that is gone is nobody"


def test_a_cable_that_comes_later_is_found_by_the_next_broadcast() -> None:
    network = Network({1: 3, 2: 3}, ((1, 1), (2, 1)))
    assert network.shout(1, 3) == [(1, 2), (2, 2), (2, 3)]
    network.cables[1, 2], network.cables[2, 2] = (2, 2), (1, 2)
    network.guard.port_up(1, 2, "", network.now)
    network.pass_time(MEMORY + 1)
    network.shout(1, 3)
    network.pass_time(2)
    assert network.blocked == {(2, 2)}


def test_probing_ends_where_nobody_is_heard() -> None:
    network = Network({1: 3})
    network.shout(1, 1)
    network.shout(1, 2)  # as if it had moved
    assert network.guard.tick(network.now + 0.5)[0] == [(1, UNTAGGED)]
    network.now += LIFETIME + 1
    assert network.guard.tick(network.now) == ([], frozenset())
    assert network.guard.tick(network.now + INTERVAL) == ([], frozenset())


def test_probes_are_tagged_as_the_slice_is() -> None:
    guard = LoopGuard()
    tagged, plain = guard.probe(1, 2, MAC, VLAN, 1.0), guard.probe(1, 2, MAC, UNTAGGED, 1.0)
    assert tagged[:18] == GROUP + MAC + bytes.fromhex("8100006588cc")
    assert plain[:14] == GROUP + MAC + bytes.fromhex("88cc") and len(plain) == len(tagged) - 4


def test_nobody_else_can_make_one() -> None:
    network = Network({1: 2, 2: 2})
    forged = LoopGuard().probe(1, 1, MAC, VLAN, network.now)
    assert network.guard.ends(2, 1, forged, network.now), "it goes no further"
    assert network.guard.tick(network.now) == ([], frozenset())
    for cut in range(len(forged)):
        network.guard.ends(2, 1, forged[:cut], network.now)
    assert network.blocked == set()


# ---- what a host can send --------------------------------------------------------------------------------------------


def test_a_probe_said_again_later_is_a_replay() -> None:
    network = Network({1: 2, 2: 2})
    heard = network.guard.probe(1, 1, MAC, VLAN, network.now)
    assert network.guard.ends(2, 1, heard, network.now + FRESH + 0.1), "it goes no further"
    assert network.guard.tick(network.now + FRESH + 1) == ([], frozenset())
    assert network.guard.ends(2, 1, heard, network.now + FRESH - 0.1)
    assert network.guard.tick(network.now + FRESH)[0] == [(2, VLAN)], "while one that is relayed at once is a bridge"


def test_a_probe_of_one_slice_says_nothing_in_another() -> None:
    network = Network({1: 2, 2: 2})
    probe = network.guard.probe(1, 1, MAC, VLAN, network.now)
    moved = probe[:14] + (VLAN + 1).to_bytes(2) + probe[16:]
    for frame in (moved, probe[:12] + probe[16:]):
        assert network.guard.ends(2, 1, frame, network.now), "it goes no further"
    assert network.guard.tick(network.now + 1) == ([], frozenset())


def test_a_priority_on_the_way_changes_nothing() -> None:
    network = Network({1: 2, 2: 2})
    probe = network.guard.probe(1, 1, MAC, VLAN, network.now)
    network.guard.ends(2, 1, probe[:14] + (0xE000 | VLAN).to_bytes(2) + probe[16:], network.now)
    assert network.guard.tick(network.now + 1)[0] == [(2, VLAN)]


def test_probes_have_the_tag_of_what_went_round_whatever_came_before() -> None:
    network = ring()
    tagged = SHOUT[:12] + bytes.fromhex("810000ca") + SHOUT[12:]
    assert not network.guard.ends(1, 3, tagged, network.now)
    network.shout(1, 3)
    assert {vlan for _, vlan in network.guard.tick(network.now)[0]} == {UNTAGGED}


def test_links_of_one_slice_are_not_looked_at_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ring(1)
    other = ring(5, among=one)
    for network in (one, other):
        network.shout(min(network.ports), 3)
    one.cables.update(other.cables)
    one.ports.update(other.ports)
    one.pass_time(4)
    assert len(one.blocked) == 2
    looked: list[set[int]] = []

    def choose(links: Iterable[Link]) -> frozenset[PortRef]:
        looked.append({link.source.dpid for link in links})
        return blocked_ports(links)

    monkeypatch.setattr("vmoc.apps.loop_guard.blocked_ports", choose)
    for _ in range(3):  # a host's card goes down and up
        one.guard.port_down(1, 2)
        one.guard.port_up(1, 2, "", one.now)
        one.pass_time(3)
    assert looked and all(part <= {1, 2, 3, 4} for part in looked)
    assert len(one.blocked) == 2


steps = st.lists(
    st.one_of(
        st.tuples(st.just("link"), st.integers(1, 6), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3)),
        st.tuples(st.just("down"), st.integers(1, 6), st.integers(1, 3)),
        st.tuples(st.just("leave"), st.integers(1, 6)),
        st.tuples(st.just("wait"), st.integers(1, 10)),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_chosen_part_by_part_is_what_would_be_chosen_for_all(script: list[tuple[Any, ...]]) -> None:
    guard, now = LoopGuard(), 100.0
    for number in range(1, 7):
        guard.join(number, {1: "", 2: "", 3: ""})
    for word, *rest in script:
        if word == "link":
            source, out, target, into = rest
            guard.ends(target, into, guard.probe(source, out, MAC, VLAN, now), now)
        elif word == "down":
            guard.port_down(*rest)
        elif word == "leave":
            guard.leave(*rest)
            guard.join(*rest, {1: "", 2: "", 3: ""})
        else:
            now += rest[0]
        guard.tick(now)
        found = {PortRef(number, port) for number in range(1, 7) for port in guard.blocked(number)}
        assert found == blocked_ports(guard._topology.links())


def test_a_link_to_a_port_that_is_not_there_is_none() -> None:
    network = Network({1: 2, 2: 2})
    probe = network.guard.probe(1, 9, MAC, VLAN, network.now)
    assert network.guard.ends(2, 1, probe, network.now)
    network.pass_time(1)
    assert not network.guard._topology.links() and PortRef(1, 9) not in network.guard._topology
