"""The network as a graph: ``graph`` holds what discovery learns, ``network`` all of it at one moment."""

from vmoc.topology.graph import Link, PortRef, Topology
from vmoc.topology.network import Network, NetworkLink, NetworkSwitch, SlicePorts

__all__ = ["Link", "Network", "NetworkLink", "NetworkSwitch", "PortRef", "SlicePorts", "Topology"]
