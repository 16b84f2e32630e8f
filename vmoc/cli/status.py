"""``vmoc status``: is it running, and how is it doing."""

from __future__ import annotations

import click

from vmoc.cli.document import moment, to_document, word
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, output_option, show_document, show_facts
from vmoc.v1 import server_pb2 as v
from vmoc.v1 import server_pb2_grpc


@click.command("status")
@server_options
@output_option
def command(server: Server, output: str) -> int:
    """Show the service: version, since when, what it has.

    Exits 0 if it is ready, 3 if it cannot be reached, 1 if it is starting,
    stopping, or degraded: a switch that slices are on is away, or old flows
    could not be removed; 'vmoc switch list' and 'vmoc events' tell more.
    """
    stub = server_pb2_grpc.ServerServiceStub(server.channel)
    info = server.call(stub.GetServerInfo, v.GetServerInfoRequest())
    if output != "table":
        show_document(output, to_document(info))
    else:
        counts = info.counts
        show_facts(
            {
                "state": word(v.ServerState.DESCRIPTOR, info.state),
                "version": info.version,
                "started": f"{moment(info.start_time)} ({ago(info.start_time.seconds)} ago)",
                "boot id": info.boot_id,
                "switches": f"{counts.connected_switch_count} connected",
                "slices": f"{counts.slice_count}, with {counts.segment_count} segments",
                "datapaths": f"{counts.virtual_datapath_count}, {counts.connected_controller_count} connections up",
                "slivers": counts.sliver_count or "",
                "operations": f"{counts.running_operation_count} running" if counts.running_operation_count else "",
                "listens": list(info.openflow_listeners),
                "openflow": list(info.openflow_versions),
                "features": list(info.features),
                "you are": f"{info.caller.name} ({word(v.CallerRole.DESCRIPTOR, info.caller.role)})"
                + (f" of {info.caller.manager}" if info.caller.manager else ""),
            }
        )
    return 0 if info.state == v.SERVER_STATE_READY else 1
