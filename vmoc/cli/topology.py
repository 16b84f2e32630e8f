"""``vmoc topology``: switches, the links between them, and what each slice has of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click
from google.protobuf import timestamp_pb2

from vmoc.cli.document import to_document, word
from vmoc.cli.ports import port_text
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, show_document, show_table
from vmoc.model import parse_dpid
from vmoc.registry import LOCAL_PORT
from vmoc.status import PortStatus
from vmoc.topology import Network, NetworkLink, NetworkSwitch, SlicePorts
from vmoc.v1 import switches_pb2 as s
from vmoc.v1 import switches_pb2_grpc

DRAWING: Final = 60.0
"""Seconds that Graphviz may take."""


@click.command("topology")
@server_options
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "dot", "png"]), default="table", show_default=True
)
@click.option("--slice", "slice_id", default="", metavar="ID", help="Only what this slice has.")
@click.option("--hosts", is_flag=True, help="With hosts, as far as they are known.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Write the drawing there (dot, png).")
def command(server: Server, output: str, slice_id: str, hosts: bool, file: Path | None) -> None:
    """Show switches, links and the ports of each slice.

    As a table, as JSON or YAML, in the language of Graphviz (dot), or drawn
    (png, needs Graphviz).
    """
    if file is not None and output not in ("dot", "png"):
        raise click.UsageError("--file is for drawings; give -o dot or -o png too, or redirect the output")
    if output == "png" and file is None and sys.stdout.isatty():
        raise click.UsageError("a PNG is not for a terminal; give --file NAME.png, or send it on")
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    found = server.call(stub.GetTopology, s.GetTopologyRequest(slice_id=slice_id, include_hosts=hosts))
    if output in ("dot", "png"):
        dot = to_network(found).to_dot()
        drawn = draw(dot) if output == "png" else dot.encode()
        if file is None:
            sys.stdout.buffer.write(drawn)
            return
        try:
            file.write_bytes(drawn)
        except OSError as error:
            raise click.FileError(str(file), error.strerror) from error
    elif output != "table":
        show_document(output, to_document(found))
    else:
        _show(found)


def to_network(topology: s.Topology) -> Network:
    """The answer as the graph it stands for."""
    return Network(
        switches=tuple(
            NetworkSwitch(
                dpid=parse_dpid(one.dpid),
                native_vlan=0,
                name="",
                connected=one.state == s.SWITCH_STATE_UP,
                ports=tuple(_port(port) for port in one.ports),
            )
            for one in topology.switches
        ),
        links=tuple(
            NetworkLink(
                parse_dpid(one.source_dpid),
                one.source_port,
                parse_dpid(one.target_dpid),
                one.target_port,
                _seconds(one.create_time),
                _seconds(one.last_seen_time),
            )
            for one in topology.links
        ),
        slices=tuple(
            SlicePorts(one.slice_id, one.vlan_id, parse_dpid(one.dpid), tuple(one.ports))
            for one in topology.slice_ports
        ),
    )


def draw(dot: str) -> bytes:
    """A PNG, by Graphviz."""
    if shutil.which("dot") is None:
        raise click.ClickException("drawing needs Graphviz: install the package graphviz, or use -o dot")
    try:
        made = subprocess.run(["dot", "-Tpng"], input=dot.encode(), capture_output=True, timeout=DRAWING, check=False)
    except subprocess.TimeoutExpired:
        raise click.ClickException("Graphviz takes too long for this graph; use -o dot, or --slice ID") from None
    if made.returncode:
        raise click.ClickException(f"Graphviz could not draw it: {made.stderr.decode(errors='replace').strip()[:200]}")
    return made.stdout


def _port(port: s.Port) -> PortStatus:
    return PortStatus(
        number=port.port,
        name=port.name,
        hw_addr=port.mac_address,
        is_local=port.port == LOCAL_PORT,
        down=port.state == s.PORT_STATE_ADMIN_DOWN,
        link_down=port.state == s.PORT_STATE_LINK_DOWN,
        speed_kbps=port.speed_kbps,
        max_speed_kbps=port.max_speed_kbps,
    )


def _seconds(stamp: timestamp_pb2.Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def _shown(port: s.Port) -> str:
    number = port_text(port.port)
    return f"{number} ({port.name})" if port.name and port.port != LOCAL_PORT else number


def _show(topology: s.Topology) -> None:
    show_table(
        ["SWITCH", "STATE", "PORTS"],
        [
            [
                one.dpid,
                word(s.SwitchState.DESCRIPTOR, one.state),
                [_shown(port) for port in one.ports],
            ]
            for one in topology.switches
        ],
        empty="no switches",
    )
    if topology.links:
        click.echo()
        show_table(
            ["FROM", "PORT", "TO", "PORT", "SEEN"],
            [
                [one.source_dpid, one.source_port, one.target_dpid, one.target_port, ago(one.last_seen_time.seconds)]
                for one in topology.links
            ],
            empty="",
        )
    if topology.slice_ports:
        click.echo()
        show_table(
            ["SLICE", "VLAN", "SWITCH", "PORTS"],
            [
                [one.slice_id, one.vlan_id, one.dpid, [port_text(port) for port in one.ports]]
                for one in topology.slice_ports
            ],
            empty="",
        )
    if topology.hosts:
        click.echo()
        show_table(
            ["HOST", "ADDRESSES", "SLICE", "VLAN", "SWITCH", "PORT", "SLIVER"],
            [
                [
                    one.mac_address,
                    list(one.ip_addresses),
                    one.slice_id,
                    one.vlan_id,
                    one.dpid,
                    one.port,
                    one.sliver_id,
                ]
                for one in topology.hosts
            ],
            empty="",
        )
