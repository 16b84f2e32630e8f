"""``vmoc vlan``: which VLANs are taken, and which can be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import click

from vmoc.cli.document import to_document, word
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import output_option, show_document, show_table
from vmoc.model import format_runs
from vmoc.v1 import slices_pb2, slices_pb2_grpc

_STATES = slices_pb2.VlanState.DESCRIPTOR
_TAKEN = [slices_pb2.VLAN_STATE_USED, slices_pb2.VLAN_STATE_RESERVED, slices_pb2.VLAN_STATE_DRAINING]


@click.group("vlan")
def command() -> None:
    """Show VLANs: used, reserved, free."""


@command.command("list")
@server_options
@output_option
@click.option("--dpid", default="", help="As they are on this switch; left out: on all together.")
@click.option("--all", "everything", is_flag=True, help="Free ones too.")
def list_(server: Server, output: str, dpid: str, everything: bool) -> None:
    """List VLANs that are in use or reserved, and who has them."""
    states = [] if everything else _TAKEN
    request = slices_pb2.ListVlansRequest(dpid=dpid, states=states)
    answer = server.call(slices_pb2_grpc.SliceServiceStub(server.channel).ListVlans, request)
    if output != "table":
        show_document(output, to_document(answer))
        return
    show_table(
        ["VLAN", "STATE", "POOL", "SLICE", "ON"],
        [
            [
                numbers,
                word(_STATES, one.state),
                one.pool,
                holder.slice_id if holder is not None else "",
                "" if holder is None else list(holder.dpids) or "every switch",
            ]
            for numbers, one in _runs(answer.vlans)
            for holder in (one.holders or [None])
        ],
        empty="no VLAN is in use or reserved",
    )


@command.command("free")
@server_options
@output_option
@click.option("--dpid", default="", help="Free on this switch; left out: on all.")
@click.option("--pool", default="", metavar="NAME", help="Of this pool; left out: of any, or of none.")
@click.option("--count", type=click.IntRange(1, 4094), default=None, help="Only the lowest so many.")
def free(server: Server, output: str, dpid: str, pool: str, count: int | None) -> None:
    """List free VLANs, as ranges."""
    request = slices_pb2.ListVlansRequest(dpid=dpid, pool=pool, states=[slices_pb2.VLAN_STATE_FREE])
    answer = server.call(slices_pb2_grpc.SliceServiceStub(server.channel).ListVlans, request)
    numbers = [one.vlan_id for one in answer.vlans][:count]
    if output != "table":
        pools = [to_document(one) for one in answer.pools]
        show_document(output, {"vlans": numbers, "pools": pools})
        return
    if not numbers:
        raise click.ClickException("no VLAN is free" + (f" in pool {pool}" if pool else ""))
    click.echo(", ".join(format_runs(numbers)))


def _runs(vlans: Iterable[slices_pb2.Vlan]) -> Iterator[tuple[str, slices_pb2.Vlan]]:
    """VLANs that nobody has, as ``1-99`` where neighbours are alike; the others one by one."""

    def alike(pair: tuple[int, slices_pb2.Vlan]) -> object:
        position, one = pair
        return one.vlan_id if one.holders else (one.vlan_id - position, one.state, one.pool)

    for _, pairs in groupby(enumerate(vlans), alike):
        run = [one for _, one in pairs]
        yield format_runs([one.vlan_id for one in run])[0], run[0]
