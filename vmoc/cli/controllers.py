"""``vmoc controller``: the connections to the experimenters' controllers."""

from __future__ import annotations

from typing import Any

import click

from vmoc.cli.document import number_of, word, words
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, output_option, show_list
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import switches_pb2 as s
from vmoc.v1 import switches_pb2_grpc

_STATES = r.ControllerConnectionState.DESCRIPTOR


@click.group("controller")
def command() -> None:
    """Show connections to controllers."""


@command.command("list")
@server_options
@output_option
@click.option("--slice", "slice_id", default="", metavar="ID", help="Only of this slice.")
@click.option("--vlan", type=click.IntRange(1, 4094), default=None, help="Only of this VLAN.")
@click.option("--dpid", default="", help="Only for this switch.")
@click.option("--address", default="", metavar="tcp:H:P", help="Only to this controller.")
@click.option("--state", type=click.Choice(words(_STATES)), default=None, help="Only in this state.")
def list_(
    server: Server, output: str, slice_id: str, vlan: int | None, dpid: str, address: str, state: str | None
) -> None:
    """List one line for each virtual datapath and controller."""
    wanted: Any = number_of(_STATES, state) if state else 0
    request = s.ListControllerConnectionsRequest(
        slice_id=slice_id, vlan_id=vlan or 0, dpid=dpid, address=address, state=wanted
    )
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    found = server.pages(stub.ListControllerConnections, request, "connections")
    show_list(
        output,
        found,
        ["SLICE", "VLAN", "SWITCH", "CONTROLLER", "STATE", "SINCE", "OPENFLOW", "ROLE", "LAST ERROR", "NEXT RETRY"],
        lambda one: [
            one.slice_id,
            one.vlan_id,
            one.dpid,
            one.address + (" (default)" if one.default_controller else ""),
            word(_STATES, one.state),
            ago(one.state_time.seconds),
            one.openflow_version,
            word(r.ControllerRole.DESCRIPTOR, one.role),
            one.last_error,
            ago(one.next_retry_time.seconds),
        ],
        empty="no connection fits"
        if slice_id or vlan or dpid or address or state
        else "no connections: no slice is on a connected switch",
    )
