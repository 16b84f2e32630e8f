"""``vmoc switch``: what is connected, what slices have on it, and what is in its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from vmoc.cli.document import moment, number_of, to_document, word, words
from vmoc.cli.ports import port_text
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, output_option, show_document, show_facts, show_list, show_table
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import switches_pb2 as s
from vmoc.v1 import switches_pb2_grpc

FLOWS_PAGE = 5000
_NATIVE = click.option(
    "--native-vlan",
    type=click.IntRange(0, 4094),
    default=None,
    help="Which one, if several have that DPID: the VLAN of its listener, 0 for none.",
)


@click.group("switch")
def command() -> None:
    """Show switches and their flows."""


@command.command("list")
@server_options
@output_option
@click.option("--slice", "slice_id", default="", metavar="ID", help="Only those this slice is on.")
@click.option("--state", type=click.Choice(words(s.SwitchState.DESCRIPTOR)), default=None, help="Only in this state.")
def list_(server: Server, output: str, slice_id: str, state: str | None) -> None:
    """List switches, also those that are away."""
    wanted: Any = number_of(s.SwitchState.DESCRIPTOR, state) if state else 0
    request = s.ListSwitchesRequest(slice_id=slice_id, state=wanted)
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    found = server.pages(stub.ListSwitches, request, "switches")
    show_list(
        output,
        found,
        ["DPID", "STATE", "SINCE", "LAST SEEN", "PEER", "OPENFLOW", "DATAPATHS", "FLOWS", "WHAT IT IS"],
        lambda one: [
            one.dpid,
            word(s.SwitchState.DESCRIPTOR, one.state),
            ago(one.state_time.seconds),
            ago(one.last_seen_time.seconds),
            one.peer,
            one.openflow_version,
            one.virtual_datapath_count,
            one.flow_count,
            " ".join(filter(None, (one.hardware, one.software)))
            + (f" (VLAN {one.native_vlan_id})" if one.native_vlan_id else ""),
        ],
        empty="no switch has connected yet; they connect to the addresses that 'vmoc status' shows",
    )


@command.command("show")
@server_options
@output_option
@click.argument("dpid", metavar="DPID")
@_NATIVE
def show(server: Server, output: str, dpid: str, native_vlan: int | None) -> None:
    """Show one switch: its ports, and the virtual datapaths on it."""
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    one = server.call(stub.GetSwitch, s.GetSwitchRequest(dpid=dpid, native_vlan_id=native_vlan))
    if output != "table":
        show_document(output, to_document(one))
        return
    show_facts(
        {
            "switch": one.dpid,
            "state": word(s.SwitchState.DESCRIPTOR, one.state),
            "since": moment(one.state_time) if one.HasField("state_time") else "",
            "last seen": moment(one.last_seen_time) if one.HasField("last_seen_time") else "",
            "peer": one.peer + (" (TLS)" if one.tls else ""),
            "openflow": one.openflow_version,
            "native VLAN": one.native_vlan_id or "",
            "made by": one.manufacturer,
            "hardware": one.hardware,
            "software": one.software,
            "serial": one.serial_number,
            "description": one.description,
            "tables": one.table_count,
        }
    )
    click.echo()
    show_table(
        ["PORT", "NAME", "STATE", "MAC", "MBIT/S"],
        [
            [
                port_text(port.port),
                port.name,
                word(s.PortState.DESCRIPTOR, port.state),
                port.mac_address,
                port.speed_kbps // 1000 or "",
            ]
            for port in one.ports
        ],
        empty="no ports",
    )
    click.echo()
    show_table(
        ["SLICE", "VLAN", "STATE", "SINCE", "PRESENTED AS", "PORTS", "FLOWS"],
        [
            [
                datapath.slice_id,
                datapath.vlan_id,
                word(r.VirtualDatapathState.DESCRIPTOR, datapath.state),
                ago(datapath.state_time.seconds),
                datapath.presented_dpid,
                [port_text(port) for port in datapath.ports],
                f"{datapath.usage.flow_count}/{datapath.usage.max_flows or '-'}",
            ]
            for datapath in one.virtual_datapaths
        ],
        empty="no slice is on it",
    )


@command.command("flows")
@server_options
@output_option
@click.argument("dpid", metavar="DPID")
@click.option("--slice", "slice_id", default="", metavar="ID", help="Only of this slice.")
@click.option("--vlan", type=click.IntRange(1, 4094), default=None, help="Only of this VLAN.")
@click.option("--table", "table_id", type=click.IntRange(0, 254), default=None, help="Only of this table.")
@click.option("--kind", type=click.Choice(words(s.FlowKind.DESCRIPTOR)), default=None, help="Whose work they are.")
@click.option("--virtual", is_flag=True, help="Only what slices' controllers see, and as they see it.")
@_NATIVE
def flows(
    server: Server,
    output: str,
    dpid: str,
    slice_id: str,
    vlan: int | None,
    table_id: int | None,
    kind: str | None,
    virtual: bool,
    native_vlan: int | None,
) -> None:
    """List the flows of a switch as ovs-ofctl writes them, with the slice each belongs to."""
    wanted: Any = number_of(s.FlowKind.DESCRIPTOR, kind) if kind else 0
    request = s.ListFlowsRequest(
        dpid=dpid, slice_id=slice_id, vlan_id=vlan or 0, kind=wanted, native_vlan_id=native_vlan
    )
    if table_id is not None:
        request.table_id = table_id
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    found: Iterator[s.Flow] = server.pages(stub.ListFlows, request, "flows", size=FLOWS_PAGE)
    show_list(
        output,
        (one for one in found if one.virtual_text or not virtual),
        ["OWNER", "PACKETS", "BYTES", "AGE", "FLOW"],
        lambda one: [
            one.slice_id or f"({word(s.FlowKind.DESCRIPTOR, one.kind)})",
            one.packet_count,
            one.byte_count,
            f"{one.age.seconds}s" if one.HasField("age") else "",
            one.virtual_text if virtual else one.text,
        ],
        empty="no flows",
    )
