"""Which ports a loop-free slice may use: drawn networks, and random ones."""

from __future__ import annotations

import random

import networkx as nx
import pytest

from vmoc.topology import Link, PortRef
from vmoc.topology.spanning import blocked_ports


def cable(one: int, out: int, other: int, into: int) -> list[Link]:
    """A link in both directions."""
    here = Link(PortRef(one, out), PortRef(other, into))
    return [here, here.reverse]


def bus(*ports: PortRef) -> list[Link]:
    """A bridge in between that all of these hear each other through."""
    return [Link(one, other) for one in ports for other in ports if one != other]


def usable(links: list[Link]) -> nx.MultiGraph:
    """Switches and segments as they are joined by ports that are not blocked."""
    blocked = blocked_ports(links)
    heard = nx.Graph([(link.source, link.target) for link in links])
    graph = nx.MultiGraph()
    for number, segment in enumerate(nx.connected_components(heard)):
        graph.add_nodes_from([("segment", number), *(("switch", port.dpid) for port in segment)])
        graph.add_edges_from([(("switch", port.dpid), ("segment", number)) for port in segment if port not in blocked])
    return graph


def test_nothing_is_blocked_without_a_loop() -> None:
    assert blocked_ports([]) == frozenset()
    line = cable(1, 2, 2, 1) + cable(2, 2, 3, 1) + cable(2, 3, 4, 1)
    assert blocked_ports(line) == frozenset()


def test_a_ring_is_opened_at_one_port_far_from_the_lowest_switch() -> None:
    ring = cable(1, 2, 2, 1) + cable(2, 2, 3, 1) + cable(3, 2, 4, 1) + cable(4, 2, 1, 1)
    blocked = blocked_ports(ring)
    assert len(blocked) == 1
    assert {where.dpid for where in blocked} <= {3, 4, 2} - {1}


def test_two_cables_between_two_switches_leave_one() -> None:
    assert blocked_ports(cable(1, 1, 2, 1) + cable(1, 2, 2, 2)) == {PortRef(2, 2)}


def test_two_ports_of_one_switch_on_one_segment() -> None:
    assert blocked_ports(cable(1, 3, 1, 4)) == {PortRef(1, 4)}


def test_a_segment_with_hosts_on_it_keeps_one_way_out() -> None:
    shared = bus(PortRef(1, 2), PortRef(2, 2), PortRef(3, 2))
    assert blocked_ports(shared) == frozenset()
    assert blocked_ports(shared + cable(1, 3, 2, 3)) in ({PortRef(2, 2)}, {PortRef(2, 3)})


def test_a_link_heard_in_one_direction_only_counts() -> None:
    assert len(blocked_ports([*cable(1, 1, 2, 1), Link(PortRef(1, 2), PortRef(2, 2))])) == 1


@pytest.mark.parametrize("seed", range(60))
def test_any_network_becomes_a_tree_that_reaches_as_far(seed: int) -> None:
    chance = random.Random(seed)
    switches = range(1, chance.randint(2, 12))
    ports = [PortRef(switch, port) for switch in switches for port in range(1, 7)]
    chance.shuffle(ports)
    links: list[Link] = []
    while len(ports) > 4 and chance.random() < 0.95:
        group = [ports.pop() for _ in range(chance.choice((2, 2, 2, 3, 4)))]
        links += bus(*group)
    graph = usable(links)
    assert nx.number_of_nodes(graph) == 0 or nx.is_forest(graph)
    whole = nx.Graph([(link.source.dpid, link.target.dpid) for link in links])
    for part in nx.connected_components(whole):
        assert all(nx.has_path(graph, ("switch", min(part)), ("switch", other)) for other in part)
    shuffled = chance.sample(links, len(links))
    assert blocked_ports(shuffled) == blocked_ports(links)
