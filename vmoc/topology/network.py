"""The network at one moment: switches, links, and what each slice has of it; for the whole rack or one slice.

Plain values that any thread, or a client that got them over the API, can put
together, and write as JSON or as DOT (the language of Graphviz). Times are
seconds since the epoch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from vmoc.model import format_dpid, format_runs
from vmoc.status import PortStatus

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class NetworkSwitch:
    """A switch; ``name`` is its own description of itself, if it gives one."""

    dpid: int
    native_vlan: int
    name: str
    connected: bool
    ports: tuple[PortStatus, ...]
    up: bool = False
    """It has also been looked through, and carries slices."""


@dataclass(frozen=True, slots=True, order=True)
class NetworkLink:
    """From the port that sends to the port that receives; a cable seen in both directions is two."""

    source_dpid: int
    source_port: int
    target_dpid: int
    target_port: int
    since: float
    last_seen: float


@dataclass(frozen=True, slots=True, order=True)
class SlicePorts:
    """The ports of one switch that a slice has in one VLAN."""

    slice: str
    vlan: int
    dpid: int
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """Everything, each part in a stable order."""

    switches: tuple[NetworkSwitch, ...]
    links: tuple[NetworkLink, ...]
    slices: tuple[SlicePorts, ...]

    def of_slice(self, name: str) -> Network:
        """What one slice has: its switches with its ports, and links between two ports of one of its VLANs."""
        own = tuple(one for one in self.slices if one.slice == name)
        ports: dict[int, set[int]] = {}
        places: set[tuple[int, int, int]] = set()
        for one in own:
            ports.setdefault(one.dpid, set()).update(one.ports)
            places.update((one.vlan, one.dpid, port) for port in one.ports)
        vlans = {one.vlan for one in own}
        switches = tuple(
            replace(switch, ports=tuple(port for port in switch.ports if port.number in ports[switch.dpid]))
            for switch in self.switches
            if switch.dpid in ports
        )
        links = tuple(
            link
            for link in self.links
            if any(
                (vlan, link.source_dpid, link.source_port) in places
                and (vlan, link.target_dpid, link.target_port) in places
                for vlan in vlans
            )
        )
        return Network(switches, links, own)

    def graph(self) -> nx.MultiDiGraph[int]:
        """Nodes are DPIDs with ``name``, ``connected``, ``ports``; edges have ``source_port``, ``target_port``."""
        import networkx as nx

        made: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        for switch in self.switches:
            ports = {port.number: port.name for port in switch.ports}
            made.add_node(switch.dpid, name=switch.name, connected=switch.connected, ports=ports)
        for link in self.links:
            ends = {"source_port": link.source_port, "target_port": link.target_port}
            made.add_edge(link.source_dpid, link.target_dpid, (link.source_port, link.target_port), **ends)
        return made

    def to_json(self) -> str:
        """One JSON object; DPIDs are ``0x`` and 16 digits."""
        return json.dumps({key: _plain(value) for key, value in asdict(self).items()}, indent=2)

    def to_dot(self) -> str:
        """An undirected graph: a cable seen in both directions is one line, one seen in one direction is dashed."""
        lines = ["graph vmoc {", "  node [shape=box];"]
        for switch in self.switches:
            label = _quote(switch.name or format_dpid(switch.dpid), format_dpid(switch.dpid), *self._slices_on(switch))
            style = "" if switch.connected else ", style=dashed"
            lines.append(f'  "{format_dpid(switch.dpid)}" [label={label}{style}];')
        pairs = {(link.source_dpid, link.source_port, link.target_dpid, link.target_port) for link in self.links}
        known = {switch.dpid for switch in self.switches}
        for source, out, target, into in sorted(pairs):
            back = (target, into, source, out)
            if not {source, target} <= known or (back in pairs and back < (source, out, target, into)):
                continue
            style = "" if back in pairs else ", style=dashed"
            ends = f'taillabel="{out}", headlabel="{into}"{style}'
            lines.append(f'  "{format_dpid(source)}" -- "{format_dpid(target)}" [{ends}];')
        return "\n".join([*lines, "}", ""])

    def _slices_on(self, switch: NetworkSwitch, most: int = 8) -> list[str]:
        here = [one for one in self.slices if one.dpid == switch.dpid]
        words = [
            f"{one.slice} VLAN {one.vlan}: {','.join(format_runs(sorted(one.ports))) or 'no ports'}"
            for one in here[:most]
        ]
        return words + ([f"and {len(here) - most} more"] if len(here) > most else [])


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _plain(one, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return format_dpid(value) if key.endswith("dpid") else value


def _quote(*rows: str) -> str:
    escaped = (row.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for row in dict.fromkeys(rows))
    return '"' + "\\n".join(escaped) + '"'
