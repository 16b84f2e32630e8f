"""``vmoc events``: what happened, and what happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

from vmoc.cli.document import number_of, to_document, to_line, word, words
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import output_option, show_document
from vmoc.cli.terminal import printable
from vmoc.v1 import events_pb2 as e
from vmoc.v1 import events_pb2_grpc

EARLIEST: Final = "earliest"
"""The resume token that stands for the oldest event the server still has."""
_KINDS: Final = e.EventKind.DESCRIPTOR


@click.command("events")
@server_options
@output_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on; end it with Ctrl-C.")
@click.option("--slice", "slice_ids", multiple=True, metavar="ID", help="Only of this slice; repeat it for more.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(words(_KINDS)), help="Only of this kind; repeat it.")
@click.option("--dpid", "dpids", multiple=True, help="Only of this switch; repeat it for more.")
@click.option("--since", metavar="TOKEN", help="From a resume_token on; left out: all that is kept.")
@click.option("--new", is_flag=True, help="Nothing of the past.")
@click.option("--state", is_flag=True, help="Begin with what is, as events, and nothing of the past.")
def command(
    server: Server,
    output: str,
    follow: bool,
    slice_ids: Sequence[str],
    kinds: Sequence[str],
    dpids: Sequence[str],
    since: str | None,
    new: bool,
    state: bool,
) -> None:
    """Show what happened; with --follow, go on.

    Newest last. With -o json, one object a line; with -o yaml, one document
    each. Each has its resume_token: --since goes on from there.
    """
    if (since is not None) + new + state > 1:
        raise click.UsageError("--since, --new and --state each say where to begin; give one of them")
    wanted: Any = [number_of(_KINDS, kind) for kind in kinds]
    request = e.WatchEventsRequest(
        resume_token="" if new or state else since or EARLIEST,
        slice_ids=slice_ids,
        kinds=wanted,
        dpids=dpids,
        include_initial_state=state,
    )
    stub = events_pb2_grpc.EventServiceStub(server.channel)
    for answer in server.stream(stub.WatchEvents, request):
        content = answer.WhichOneof("content")
        if content == "event":
            _print(output, answer)
        elif not follow:
            return  # a heartbeat, or the end of the initial state: that was all there is


def _print(output: str, answer: e.WatchEventsResponse) -> None:
    document = {"resume_token": answer.resume_token, **to_document(answer.event)} if output != "table" else {}
    if output == "yaml":
        click.echo("---")
        show_document(output, document)
        return
    if output == "json":
        click.echo(to_line(document))
        return
    event = answer.event
    local = datetime.fromtimestamp(event.event_time.seconds).astimezone()
    where = [
        text
        for text in (
            event.slice_id and f"slice={event.slice_id}",
            event.vlan_id and f"vlan={event.vlan_id}",
            event.dpid and f"dpid={event.dpid}",
            *_details(event),
        )
        if text
    ]
    line = f"{local:%Y-%m-%d %H:%M:%S} {event.name or word(_KINDS, event.kind):<22} {event.message} {' '.join(where)}"
    click.echo(printable(line).rstrip())


def _details(event: e.Event) -> list[str]:
    if event.HasField("refusal"):
        refusal = event.refusal
        return [
            f"reason={refusal.reason}",
            *([f"message={refusal.message_summary!r}"] if refusal.message_summary else []),
        ]
    if event.HasField("controller_connection"):
        return [f"controller={event.controller_connection.connection.address}"]
    if event.HasField("quota"):
        return [f"limit={event.quota.limit}"]
    return []
