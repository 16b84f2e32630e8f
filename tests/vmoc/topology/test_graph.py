from __future__ import annotations

import networkx as nx
import pytest

from vmoc.topology import Link, PortRef, Topology

A1, A2, B1, B2 = PortRef(1, 1), PortRef(1, 2), PortRef(2, 1), PortRef(2, 2)
AB = Link(A1, B1)


@pytest.fixture
def topology() -> Topology:
    made = Topology(lifetime=10)
    made.switch_up(1, {1: "a1", 2: "a2"})
    made.switch_up(2, {1: "b1", 2: "b2"})
    return made


def test_a_link_is_new_once_and_lives_while_it_is_seen(topology: Topology) -> None:
    assert topology.link_seen(AB, 0.0)
    assert not topology.link_seen(AB, 8.0)
    assert topology.expire(18.0) == ()
    assert topology.links() == (AB,)
    assert topology.expire(18.1) == (AB,)
    assert topology.links() == ()
    assert topology.link_seen(AB, 19.0)


def test_directions_and_parallel_links_are_links_of_their_own(topology: Topology) -> None:
    second = Link(A2, B2)
    for link in (AB, AB.reverse, second):
        assert topology.link_seen(link, 0.0)
    assert topology.links() == (AB, second, AB.reverse)


def test_unknown_ends_make_no_link(topology: Topology) -> None:
    for link in (Link(A1, PortRef(3, 1)), Link(PortRef(3, 1), A1), Link(A1, PortRef(2, 9)), Link(A1, A1)):
        assert not topology.link_seen(link, 0.0)
    assert topology.links() == ()


def test_a_port_and_a_switch_take_their_links_along(topology: Topology) -> None:
    second = Link(A2, B2)
    for link in (AB, AB.reverse, second):
        topology.link_seen(link, 0.0)
    assert set(topology.port_down(B1)) == {AB, AB.reverse}
    assert B1 in topology
    assert topology.port_gone(B1) == () and B1 not in topology
    assert topology.switch_down(1) == (second,)
    assert topology.switch_down(1) == () and topology.port_down(A1) == ()


def test_a_switch_that_comes_again_starts_afresh(topology: Topology) -> None:
    topology.link_seen(AB, 0.0)
    assert topology.switch_up(1, {2: "a2"}) == (AB,)
    assert A1 not in topology and A2 in topology
    topology.port_up(A1, "again")
    assert topology.link_seen(AB, 1.0)


def test_a_cable_that_loops_back_to_its_switch(topology: Topology) -> None:
    loop = Link(A1, A2)
    assert topology.link_seen(loop, 0.0)
    assert topology.port_down(A2) == (loop,)


def test_the_snapshot_is_a_frozen_graph_of_its_own(topology: Topology) -> None:
    topology.link_seen(AB, 3.0)
    graph = topology.snapshot()
    assert graph.nodes[1]["ports"] == {1: "a1", 2: "a2"}
    assert graph.edges[1, 2, (1, 1)] == {"source_port": 1, "target_port": 1, "since": 3.0, "seen": 3.0}
    with pytest.raises(nx.NetworkXError):
        graph.remove_node(1)
    topology.port_up(PortRef(1, 3), "a3")
    topology.link_seen(AB, 5.0)
    topology.switch_down(2)
    assert 3 not in graph.nodes[1]["ports"]
    assert graph.edges[1, 2, (1, 1)]["seen"] == 3.0


def test_text() -> None:
    assert str(AB) == "0x0000000000000001:1 -> 0x0000000000000002:1"


def test_a_part_is_whoever_links_connect_in_either_direction() -> None:
    topology = Topology(10.0)
    for dpid in (1, 2, 3, 4):
        topology.switch_up(dpid, {1: "", 2: ""})
    link = Link(PortRef(2, 1), PortRef(1, 1))
    topology.link_seen(link, 0.0)
    topology.link_seen(Link(PortRef(2, 2), PortRef(3, 1)), 0.0)
    assert topology.part(1) == topology.part(2) == topology.part(3) == {1, 2, 3}
    assert (topology.part(4), topology.part(5)) == ({4}, set())
    assert topology.links({1, 4}) == () and topology.links({2}) == topology.links()
    topology.port_down(PortRef(2, 1))
    assert (topology.part(1), topology.part(2)) == ({1}, {2, 3})
