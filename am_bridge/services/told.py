"""What is told as messages: slices, virtual datapaths, connections to controllers, switches, flows, links."""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.convert import slice_message
from am_bridge.fields import to_timestamp
from vmoc.ledger import Entry
from vmoc.model import format_dpid
from vmoc.status import (
    Connection,
    DatapathStatus,
    FlowStatus,
    Lifecycle,
    PortStatus,
    SliceStatus,
    SwitchSummary,
)
from vmoc.topology import Network
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import switches_pb2 as s

LIFECYCLES: Final = {
    Lifecycle.PENDING: pb.VIRTUAL_DATAPATH_STATE_PENDING,
    Lifecycle.FLUSHING: pb.VIRTUAL_DATAPATH_STATE_FLUSHING,
    Lifecycle.CONNECTING: pb.VIRTUAL_DATAPATH_STATE_CONNECTING,
    Lifecycle.ACTIVE: pb.VIRTUAL_DATAPATH_STATE_ACTIVE,
    Lifecycle.FAILED: pb.VIRTUAL_DATAPATH_STATE_FAILED,
    Lifecycle.DRAINING: pb.VIRTUAL_DATAPATH_STATE_DRAINING,
    Lifecycle.TAINTED: pb.VIRTUAL_DATAPATH_STATE_TAINTED,
    Lifecycle.COLLIDING: pb.VIRTUAL_DATAPATH_STATE_COLLIDING,
    Lifecycle.DISABLED: pb.VIRTUAL_DATAPATH_STATE_DISABLED,
}
CONNECTIONS: Final = {
    "idle": pb.CONTROLLER_CONNECTION_STATE_IDLE,
    "held": pb.CONTROLLER_CONNECTION_STATE_IDLE,
    "waiting": pb.CONTROLLER_CONNECTION_STATE_BACKOFF,
    "dialling": pb.CONTROLLER_CONNECTION_STATE_CONNECTING,
    "handshaking": pb.CONTROLLER_CONNECTION_STATE_CONNECTING,
    "active": pb.CONTROLLER_CONNECTION_STATE_ACTIVE,
}
_ROLES: Final = {
    None: pb.CONTROLLER_ROLE_UNSPECIFIED,
    "equal": pb.CONTROLLER_ROLE_EQUAL,
    "master": pb.CONTROLLER_ROLE_MASTER,
    "slave": pb.CONTROLLER_ROLE_SLAVE,
}
KINDS: Final = {
    "slice": s.FLOW_KIND_SLICE,
    "guard": s.FLOW_KIND_GUARD,
    "standalone": s.FLOW_KIND_STANDALONE,
    "foreign": s.FLOW_KIND_FOREIGN,
    "admission": s.FLOW_KIND_ADMISSION,
    "suppress": s.FLOW_KIND_SUPPRESS,
    "operator": s.FLOW_KIND_OPERATOR,
    "missing": s.FLOW_KIND_MISSING,
    "own": s.FLOW_KIND_OWN,
}
"""Of flows, by the rack's words."""
_MOST: Final = 0x7FFFFFFF
_MOST_COUNT: Final = 0x7FFFFFFFFFFFFFFF


def moment(seconds: float | None) -> Timestamp | None:
    """A field's value; None leaves it absent."""
    return None if seconds is None else to_timestamp(seconds)


def entry_message(entry: Entry) -> pb.Slice:
    """A slice without status."""
    return slice_message(
        entry.slice,
        etag=entry.etag,
        create_time=entry.create_time or None,
        update_time=entry.update_time or None,
    )


def slice_status_message(status: SliceStatus | None) -> pb.SliceStatus:
    """Of a slice the core does not know (held, or gone meanwhile): nothing."""
    datapaths = status.datapaths if status is not None else ()
    return pb.SliceStatus(virtual_datapaths=[datapath_message(one) for one in datapaths])


def datapath_message(one: DatapathStatus) -> pb.VirtualDatapath:
    """A segment on a switch."""
    return pb.VirtualDatapath(
        dpid=format_dpid(one.dpid),
        vlan_id=one.vlan,
        slice_id=one.slice,
        presented_dpid=format_dpid(one.presented_dpid),
        state=LIFECYCLES[one.lifecycle],
        state_time=moment(one.since),
        detail=one.reason,
        controllers=[connection_message(link) for link in one.controllers],
        ports=one.ports,
        usage=pb.ResourceUsage(
            flow_count=one.flows.used,
            max_flows=min(one.flows.limit, _MOST),
            group_count=one.groups.used,
            max_groups=min(one.groups.limit, _MOST),
            meter_count=one.meters.used,
            max_meters=min(one.meters.limit, _MOST),
        ),
    )


def connection_message(one: Connection) -> pb.ControllerConnection:
    """A connection to a controller, or the wish for it."""
    return pb.ControllerConnection(
        address=one.endpoint,
        slice_id=one.slice,
        vlan_id=one.vlan,
        dpid=format_dpid(one.dpid),
        state=CONNECTIONS[one.state],
        state_time=moment(one.since),
        last_error=one.last_error,
        next_retry_time=moment(one.next_retry),
        failed_attempt_count=min(one.failures, _MOST),
        openflow_version=one.version or "",
        role=_ROLES[one.role],
        default_controller=one.is_default,
        dropped_packet_in_count=one.dropped,
    )


def port_message(one: PortStatus) -> s.Port:
    """A port of a switch."""
    state = s.PORT_STATE_LIVE
    if one.down:
        state = s.PORT_STATE_ADMIN_DOWN
    elif one.link_down:
        state = s.PORT_STATE_LINK_DOWN
    return s.Port(
        port=one.number,
        name=one.name,
        mac_address=one.hw_addr,
        state=state,
        speed_kbps=one.speed_kbps,
        max_speed_kbps=one.max_speed_kbps,
    )


def switch_state(connected: bool, up: bool) -> s.SwitchState:
    """Up means that it also carries slices."""
    if up:
        return s.SWITCH_STATE_UP
    return s.SWITCH_STATE_CONNECTING if connected else s.SWITCH_STATE_DISCONNECTED


def summary_message(one: SwitchSummary) -> s.Switch:
    """A switch without its ports and what slices have on it."""
    return s.Switch(
        dpid=format_dpid(one.dpid),
        state=switch_state(one.connected, one.up),
        state_time=moment(one.since),
        last_seen_time=moment(one.last_seen),
        peer=one.peer or "",
        openflow_version=one.version or "",
        native_vlan_id=one.native_vlan,
        manufacturer=one.manufacturer,
        hardware=one.hardware,
        software=one.software,
        serial_number=one.serial_number,
        description=one.description,
        table_count=one.tables,
        virtual_datapath_count=one.datapaths,
        flow_count=one.flows,
        tls=one.tls,
    )


def flow_message(one: FlowStatus) -> s.Flow:
    """A flow of a switch. What counts no packets, or bytes, says all ones for them."""
    message = s.Flow(
        dpid=format_dpid(one.dpid),
        text=one.physical,
        virtual_text=one.virtual,
        slice_id=one.slice or "",
        vlan_id=one.vlan or 0,
        kind=KINDS[one.kind],
        table_id=one.table,
        priority=one.priority,
        cookie=one.cookie,
    )
    if one.counts is not None:
        message.packet_count = min(one.counts.packets, _MOST_COUNT)
        message.byte_count = min(one.counts.bytes, _MOST_COUNT)
        message.age.CopyFrom(_duration(one.counts.duration))
    return message


def topology_message(network: Network) -> s.Topology:
    """The network; no hosts, as none are learnt."""
    return s.Topology(
        switches=[
            s.TopologySwitch(
                dpid=format_dpid(one.dpid),
                state=switch_state(one.connected, one.up),
                ports=[port_message(port) for port in one.ports],
            )
            for one in network.switches
        ],
        links=[
            s.TopologyLink(
                source_dpid=format_dpid(one.source_dpid),
                source_port=one.source_port,
                target_dpid=format_dpid(one.target_dpid),
                target_port=one.target_port,
                create_time=moment(one.since),
                last_seen_time=moment(one.last_seen),
            )
            for one in network.links
        ],
        slice_ports=[
            s.SlicePorts(slice_id=one.slice, vlan_id=one.vlan, dpid=format_dpid(one.dpid), ports=one.ports)
            for one in network.slices
        ],
    )


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))
