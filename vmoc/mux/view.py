"""The core as plain values, for people and metrics."""

from __future__ import annotations

from vmoc.model import format_dpid
from vmoc.mux.datapath import VirtualDatapath
from vmoc.mux.switch import Switch
from vmoc.openflow import names


def describe_switch(switch: Switch) -> dict[str, object]:
    """One switch, its ports, and the virtual datapaths on it with their controllers."""
    return {
        "dpid": format_dpid(switch.dpid),
        "native_vlan": switch.native_vlan or None,
        "connected": switch.session is not None,
        "up": switch.up,
        "since": switch.since,
        "version": names.version_name(switch.version) if switch.features else None,
        "peer": switch.session.peer if switch.session else None,
        "in_flight": len(switch.pending),
        "ports": [{"number": port.number, "name": port.name} for port in switch.ports.values()],
        "datapaths": [_describe_datapath(datapath) for datapath in switch.datapaths.values()],
    }


def _describe_datapath(datapath: VirtualDatapath) -> dict[str, object]:
    return {
        "slice": datapath.owner.id,
        "vlan": datapath.vlan,
        "state": str(datapath.state),
        "since": datapath.since,
        "presented_dpid": format_dpid(datapath.dpid),
        "ports": sorted(datapath.grant.ports),
        "flows": len(datapath.flows),
        "flow_quota": datapath.flows.quota,
        "controllers": [
            {
                "endpoint": str(link.endpoint),
                "state": str(link.state),
                "since": link.since,
                "last_error": link.last_error,
                "next_retry": link.next_retry,
            }
            for link in datapath.links.values()
        ],
    }
