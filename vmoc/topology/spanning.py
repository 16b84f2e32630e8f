"""A tree over switches and the segments between them: which ports have to be silent so that nothing runs in circles.

Ports that hear each other are on one segment, be it a cable or a bridge that
knows nothing of this. Switches and segments are the two kinds of nodes of a
graph, ports its edges; every port that is not in the breadth-first tree from
the lowest switch is blocked. A segment keeps one way out, whoever is on it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from vmoc.topology.graph import Link, PortRef

if TYPE_CHECKING:
    import networkx as nx


def blocked_ports(links: Collection[Link]) -> frozenset[PortRef]:
    """The ports to block; ports without a link never are. The same links always give the same answer."""
    if not links:
        return frozenset()
    import networkx as nx  # a quarter of a learning switch's start, which most need not wait for

    heard: nx.Graph[PortRef] = nx.Graph()
    heard.add_edges_from((link.source, link.target) for link in links)
    segments = sorted(sorted(segment) for segment in nx.connected_components(heard))
    graph: nx.Graph[tuple[str, int]] = nx.Graph()
    for number, segment in enumerate(segments):
        for port in segment:
            ends = ("switch", port.dpid), ("segment", number)
            if not graph.has_edge(*ends):  # of two ports of a switch on one segment the lower one may be used
                graph.add_edge(*ends, port=port)
    used: set[PortRef] = set()
    for part in nx.connected_components(graph):
        root = min(node for node in part if node[0] == "switch")
        used.update(graph.edges[edge]["port"] for edge in nx.bfs_edges(graph, root, sort_neighbors=sorted))
    return frozenset(port for segment in segments for port in segment) - used
