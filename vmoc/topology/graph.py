"""The network as a graph: switches, their ports, and the links seen between them.

A link is directed, because it is learnt in one direction at a time, and it
lives as long as it is seen again. Time arrives as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True, order=True)
class PortRef:
    """One port of one switch."""

    dpid: int
    port: int

    def __str__(self) -> str:
        return f"{self.dpid:#018x}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """From a port to the port that receives what it sends."""

    source: PortRef
    target: PortRef

    @property
    def reverse(self) -> Link:
        """The other direction."""
        return Link(self.target, self.source)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


class Topology:
    """Nodes are DPIDs with an attribute ``ports`` (number to name); edges are links with ``since`` and ``seen``.

    An edge's key is the pair of its port numbers, which are also its
    attributes ``source_port`` and ``target_port``. ``lifetime`` is in seconds.
    """

    def __init__(self, lifetime: float) -> None:
        import networkx as nx  # a good part of a second, which only discovery need wait

        self.lifetime = lifetime
        self._graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()

    def __contains__(self, where: PortRef) -> bool:
        return where.dpid in self._graph and where.port in self._graph.nodes[where.dpid]["ports"]

    def switch_up(self, dpid: int, ports: Mapping[int, str]) -> tuple[Link, ...]:
        """A switch with its ports (number to name); a known one starts afresh. Returns the links that ended."""
        gone = self.switch_down(dpid)
        self._graph.add_node(dpid, ports=dict(ports))
        return gone

    def switch_down(self, dpid: int) -> tuple[Link, ...]:
        """Forget a switch; returns the links that ended with it."""
        if dpid not in self._graph:
            return ()
        gone = self._links_at(dpid)
        self._graph.remove_node(dpid)
        return gone

    def port_up(self, where: PortRef, name: str = "") -> None:
        """A port appeared, or its name changed; nothing for an unknown switch."""
        if where.dpid in self._graph:
            self._graph.nodes[where.dpid]["ports"][where.port] = name

    def port_gone(self, where: PortRef) -> tuple[Link, ...]:
        """Forget a port; returns the links that ended with it."""
        if where in self:
            del self._graph.nodes[where.dpid]["ports"][where.port]
        return self.port_down(where)

    def port_down(self, where: PortRef) -> tuple[Link, ...]:
        """A port carries nothing any more; returns the links that ended with it."""
        if where.dpid not in self._graph:
            return ()
        gone = tuple(link for link in self._links_at(where.dpid) if where in (link.source, link.target))
        self._remove(gone)
        return gone

    def link_seen(self, link: Link, now: float) -> bool:
        """Something passed along ``link``; True if the link is new. A link of unknown ports is not one."""
        if link.source not in self or link.target not in self or link.source == link.target:
            return False
        key = (link.source.port, link.target.port)
        if self._graph.has_edge(link.source.dpid, link.target.dpid, key):
            self._graph.edges[link.source.dpid, link.target.dpid, key]["seen"] = now
            return False
        ends = {"source_port": key[0], "target_port": key[1]}
        self._graph.add_edge(link.source.dpid, link.target.dpid, key, **ends, since=now, seen=now)
        return True

    def expire(self, now: float) -> tuple[Link, ...]:
        """Remove, and return, the links not seen for longer than ``lifetime``."""
        old = tuple(
            _link(source, target, data)
            for source, target, data in self._graph.edges(data=True)
            if now - data["seen"] > self.lifetime
        )
        self._remove(old)
        return old

    def links(self, among: Iterable[int] | None = None) -> tuple[Link, ...]:
        """Every link, or those that start at ``among`` these switches; sorted."""
        edges = self._graph.edges(among, data=True)
        return tuple(sorted(_link(source, target, data) for source, target, data in edges))

    def part(self, dpid: int) -> frozenset[int]:
        """The switches that links connect with one, whichever way they go; itself too, if it is there."""
        found, todo = set(), [dpid] if dpid in self._graph else []
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo += [*self._graph.successors(at), *self._graph.predecessors(at)]
        return frozenset(found)

    def snapshot(self) -> nx.MultiDiGraph[int]:
        """A copy nobody can change, for other threads and for printing."""
        import networkx as nx

        copy = self._graph.copy()
        for _, data in copy.nodes(data=True):
            data["ports"] = dict(data["ports"])
        nx.freeze(copy)
        return copy

    def _links_at(self, dpid: int) -> tuple[Link, ...]:
        edges = [*self._graph.out_edges(dpid, data=True), *self._graph.in_edges(dpid, data=True)]
        return tuple(dict.fromkeys(_link(source, target, data) for source, target, data in edges))

    def _remove(self, links: Iterable[Link]) -> None:
        for link in links:
            self._graph.remove_edge(link.source.dpid, link.target.dpid, (link.source.port, link.target.port))


def _link(source: int, target: int, data: Mapping[str, int]) -> Link:
    return Link(PortRef(source, data["source_port"]), PortRef(target, data["target_port"]))
