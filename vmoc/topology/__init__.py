"""The network as a graph: ``graph`` holds what discovery learns, ``network`` is all of it at one moment, to be shown."""

from vmoc.topology.graph import Link, PortRef, Topology
from vmoc.topology.network import Network, NetworkLink, NetworkSwitch, SlicePorts

__all__ = ["Link", "Network", "NetworkLink", "NetworkSwitch", "PortRef", "SlicePorts", "Topology"]
