"""``vmoc slice list`` and ``show``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import click

from vmoc.cli.document import moment, to_document, word
from vmoc.cli.ports import port_text
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, output_option, show_document, show_facts, show_list, show_table
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import slices_pb2, slices_pb2_grpc

_ORIGINS: Final = {
    None: r.SLICE_ORIGIN_UNSPECIFIED,
    "file": r.SLICE_ORIGIN_FILE,
    "api": r.SLICE_ORIGIN_API,
}
_STATES: Final = r.VirtualDatapathState.DESCRIPTOR
SLICE_ID: Final = click.argument("slice_id", metavar="ID")


@click.command("list")
@server_options
@output_option
@click.option("--manager", default="", help="Only of this aggregate manager.")
@click.option("--owner", default="", help="Only of this owner.")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Only with this label; repeat it.")
@click.option("--vlan", type=click.IntRange(1, 4094), default=None, help="Only with this VLAN.")
@click.option("--dpid", default="", help="Only with a segment on this switch.")
@click.option("--origin", type=click.Choice(["file", "api"]), default=None, help="Only from the file, or from the API.")
@click.option("--status", is_flag=True, help="With the state of their virtual datapaths.")
def list_(
    server: Server,
    output: str,
    manager: str,
    owner: str,
    labels: Sequence[str],
    vlan: int | None,
    dpid: str,
    origin: str | None,
    status: bool,
) -> None:
    """List slices, by their ids."""
    request = slices_pb2.ListSlicesRequest(
        manager=manager,
        owner=owner,
        labels=labels_of(labels, bare=True),
        vlan_id=vlan or 0,
        dpid=dpid,
        origin=_ORIGINS[origin],
        view=slices_pb2.SLICE_VIEW_FULL if status else slices_pb2.SLICE_VIEW_BASIC,
    )
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    found = server.pages(stub.ListSlices, request, "slices")
    titles = ["SLICE", "STATE", "VLANS", "CONTROLLERS", "ORIGIN", "MANAGER", "OWNER", "EXPIRES"]
    show_list(
        output,
        found,
        [*titles, "DATAPATHS"] if status else titles,
        lambda one: [
            one.slice_id,
            word(r.AdminState.DESCRIPTOR, one.admin_state),
            _some([str(segment.vlan_id) for segment in one.segments]),
            _some(sorted({text for segment in one.segments for text in segment.controllers}) or ["default"]),
            word(r.SliceOrigin.DESCRIPTOR, one.origin),
            one.manager,
            one.owner,
            ago(one.expire_time.seconds),
            *([_states(one)] if status else []),
        ],
        empty="no slices",
    )


@click.command("show")
@server_options
@output_option
@SLICE_ID
def show(server: Server, output: str, slice_id: str) -> None:
    """Show one slice: its segments, and how each is doing on each switch."""
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    found = server.call(stub.GetSlice, slices_pb2.GetSliceRequest(slice_id=slice_id))
    _show(output, found)


def labels_of(texts: Sequence[str], *, bare: bool = False) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping; ``bare`` allows ``KEY`` alone. Raises ``click.UsageError``."""
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not (equals or bare):
            raise click.UsageError(f"--label {text!r}: write KEY=VALUE")
        labels[key] = value
    return labels


def _some(texts: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(texts[:most])
    return f"{shown} and {len(texts) - most} more" if len(texts) > most else shown


def _states(one: r.Slice) -> str:
    counts = Counter(word(_STATES, datapath.state) for datapath in one.status.virtual_datapaths)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _show(output: str, one: r.Slice) -> None:
    if output != "table":
        show_document(output, to_document(one))
        return
    limits = {field.name: getattr(one.limits, field.name) for field in r.Limits.DESCRIPTOR.fields}
    show_facts(
        {
            "slice": one.slice_id,
            "state": word(r.AdminState.DESCRIPTOR, one.admin_state),
            "origin": word(r.SliceOrigin.DESCRIPTOR, one.origin),
            "manager": one.manager,
            "owner": one.owner,
            "labels": [f"{key}={value}" for key, value in sorted(one.labels.items())],
            "limits": [f"{name}={value}" for name, value in limits.items()] if one.HasField("limits") else "",
            "registered": moment(one.create_time) if one.HasField("create_time") else "",
            "changed": moment(one.update_time) if one.HasField("update_time") else "",
            "expires": moment(one.expire_time) if one.HasField("expire_time") else "never",
            "etag": one.etag,
        }
    )
    click.echo()
    show_table(
        ["VLAN", "CONTROLLERS", "PRESENTATION", "DPID", "FAIL MODE", "ATTACHED TO"],
        [
            [
                segment.vlan_id,
                list(segment.controllers) or "default",
                word(r.Presentation.DESCRIPTOR, segment.presentation),
                word(r.DpidScheme.DESCRIPTOR, segment.dpid_scheme),
                word(r.FailMode.DESCRIPTOR, segment.fail_mode),
                " ".join(_attached(attachment) for attachment in segment.attachments) or "everything",
            ]
            for segment in one.segments
        ],
        empty="no segments",
    )
    if one.status.virtual_datapaths:
        click.echo()
        show_table(
            ["VLAN", "SWITCH", "STATE", "SINCE", "PRESENTED AS", "FLOWS", "CONTROLLER", "DETAIL"],
            [
                [
                    datapath.vlan_id,
                    datapath.dpid,
                    word(_STATES, datapath.state),
                    ago(datapath.state_time.seconds),
                    datapath.presented_dpid,
                    f"{datapath.usage.flow_count}/{datapath.usage.max_flows or '-'}",
                    [
                        f"{link.address} {word(r.ControllerConnectionState.DESCRIPTOR, link.state)}"
                        for link in datapath.controllers
                    ],
                    datapath.detail or next((link.last_error for link in datapath.controllers if link.last_error), ""),
                ]
                for datapath in one.status.virtual_datapaths
            ],
            empty="",
        )


def _attached(attachment: r.Attachment) -> str:
    ports = ",".join(map(port_text, attachment.ports))
    return f"{attachment.dpid}:{ports}" if ports else attachment.dpid
