"""``vmoc sliver``: machines and networks of slices."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2, field_mask_pb2, json_format, struct_pb2, timestamp_pb2

from vmoc.cli.document import moment, number_of, struct_document, to_document, word, words
from vmoc.cli.moments import Expiry, until
from vmoc.cli.progress import document_of, follow, outcome
from vmoc.cli.reading import InputError, read_file, read_text
from vmoc.cli.server import Server, changing, dry_run_option, server_options
from vmoc.cli.tables import ago, output_option, show_document, show_facts, show_list, show_table
from vmoc.cli.terminal import printable
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import slivers_pb2_grpc

_ID = click.argument("sliver_id", metavar="ID")
_SPEC = click.option(
    "-f",
    "--spec",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="The spec as YAML or JSON; - reads stdin.",
)
_SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One key of the spec, or one parameter, VALUE as YAML; repeat it.",
)
_EXPIRES = click.option(
    "--expires", type=Expiry(), help="When it is removed by itself: a time, or a length of time from now such as 7d."
)
_NO_WAIT = click.option("--no-wait", is_flag=True, help="Print the operation's name instead of following it.")
_STATES = v.SliverState.DESCRIPTOR


@click.group("sliver")
def command() -> None:
    """Create, change, look at and delete slivers."""


@command.command("create")
@server_options
@output_option
@_ID
@click.option("--slice", "slice_id", required=True, metavar="ID", help="The slice it belongs to.")
@click.option(
    "--type", "resource_type", required=True, metavar="TYPE", help="What it is; 'vmoc sliver types' lists them."
)
@click.option("--host", default="", help="Where; left out: on the host with the fewest slivers.")
@_SPEC
@_SET
@_EXPIRES
@_NO_WAIT
@dry_run_option
def create(
    server: Server,
    output: str,
    sliver_id: str,
    slice_id: str,
    resource_type: str,
    host: str,
    file: Path | None,
    settings: Sequence[str],
    expires: timestamp_pb2.Timestamp | duration_pb2.Duration | None,
    no_wait: bool,
    dry_run: bool,
) -> None:
    """Make a sliver, and show what its handler does."""
    sliver = v.Sliver(
        sliver_id=sliver_id, slice_id=slice_id, resource_type=resource_type, host=host, spec=_spec(file, settings)
    )
    if expires is not None:
        sliver.expire_time.CopyFrom(until(expires))
    request = changing(v.CreateSliverRequest, dry_run=dry_run, sliver=sliver)
    _run(server, output, _stub(server).CreateSliver, request, no_wait, dry_run)


@command.command("modify")
@server_options
@output_option
@_ID
@_SPEC
@_SET
@_EXPIRES
@click.option("--never-expires", is_flag=True, help="Take the expiry away: it goes with its slice.")
@click.option("--etag", default="", help="Only if the sliver has not changed since it showed this etag.")
@_NO_WAIT
@dry_run_option
def modify(
    server: Server,
    output: str,
    sliver_id: str,
    file: Path | None,
    settings: Sequence[str],
    expires: timestamp_pb2.Timestamp | duration_pb2.Duration | None,
    never_expires: bool,
    etag: str,
    no_wait: bool,
    dry_run: bool,
) -> None:
    """Change a sliver: -f replaces its whole spec, --set single keys of it."""
    if file is None and not settings and expires is None and not never_expires:
        raise click.UsageError("nothing to change; give -f FILE, --set KEY=VALUE or --expires WHEN")
    if expires is not None and never_expires:
        raise click.UsageError("--expires and --never-expires exclude each other")
    paths = ["spec"] if file is not None else sorted({f"spec.{_top(text)}" for text in settings})
    sliver = v.Sliver(sliver_id=sliver_id, spec=_spec(file, settings), etag=etag)
    if expires is not None:
        sliver.expire_time.CopyFrom(until(expires))
    if expires is not None or never_expires:
        paths.append("expire_time")
    request = changing(
        v.ModifySliverRequest, dry_run=dry_run, sliver=sliver, update_mask=field_mask_pb2.FieldMask(paths=paths)
    )
    _run(server, output, _stub(server).ModifySliver, request, no_wait, dry_run)


@command.command("delete")
@server_options
@output_option
@_ID
@click.option("--allow-missing", is_flag=True, help="A sliver that is not there is not an error.")
@click.option("--etag", default="", help="Only if the sliver has not changed since it showed this etag.")
@_NO_WAIT
@dry_run_option
def delete(
    server: Server, output: str, sliver_id: str, allow_missing: bool, etag: str, no_wait: bool, dry_run: bool
) -> None:
    """Remove a sliver; what could not be removed is listed."""
    request = changing(
        v.DeleteSliverRequest, dry_run=dry_run, sliver_id=sliver_id, allow_missing=allow_missing, etag=etag
    )
    _run(server, output, _stub(server).DeleteSliver, request, no_wait, dry_run)


@command.command("action")
@server_options
@output_option
@_ID
@click.argument("action", metavar="ACTION")
@_SET
@_NO_WAIT
@dry_run_option
def action(
    server: Server, output: str, sliver_id: str, action: str, settings: Sequence[str], no_wait: bool, dry_run: bool
) -> None:
    """Do something its handler offers, for example reboot; --set gives parameters."""
    request = changing(
        v.PerformActionRequest, dry_run=dry_run, sliver_id=sliver_id, action=action, parameters=_spec(None, settings)
    )
    _run(server, output, _stub(server).PerformAction, request, no_wait, dry_run)


@command.command("probe")
@server_options
@output_option
@_ID
def probe(server: Server, output: str, sliver_id: str) -> None:
    """Look how a sliver is; nothing is changed."""
    _show(output, server.call(_stub(server).ProbeSliver, v.ProbeSliverRequest(sliver_id=sliver_id)))


@command.command("show")
@server_options
@output_option
@_ID
def show(server: Server, output: str, sliver_id: str) -> None:
    """Show a sliver as last known."""
    _show(output, server.call(_stub(server).GetSliver, v.GetSliverRequest(sliver_id=sliver_id)))


@command.command("list")
@server_options
@output_option
@click.option("--slice", "slice_id", default="", metavar="ID", help="Only of this slice.")
@click.option("--type", "resource_type", default="", help="Only of this type.")
@click.option("--host", default="", help="Only on this host.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(words(_STATES)), help="Only in this state; repeat it."
)
def list_(server: Server, output: str, slice_id: str, resource_type: str, host: str, states: Sequence[str]) -> None:
    """List slivers as last known."""
    wanted: Any = [number_of(_STATES, state) for state in states]
    request = v.ListSliversRequest(slice_id=slice_id, resource_type=resource_type, host=host, states=wanted)
    found = server.pages(_stub(server).ListSlivers, request, "slivers")
    show_list(
        output,
        found,
        ["SLIVER", "SLICE", "TYPE", "STATE", "SINCE", "HOST", "ADDRESSES", "PROBLEM"],
        lambda one: [
            one.sliver_id,
            one.slice_id,
            one.resource_type,
            word(_STATES, one.status.state),
            ago(one.status.state_time.seconds),
            one.host,
            [
                *one.status.management_addresses,
                *(address for entry in one.status.interfaces for address in entry.ip_addresses),
            ],
            one.status.failure.message,
        ],
        empty="no slivers",
    )


@command.command("types")
@server_options
@output_option
def types(server: Server, output: str) -> None:
    """List the types of slivers there are, and what their handlers can do."""
    found = server.pages(_stub(server).ListHandlers, v.ListHandlersRequest(), "handlers")
    show_list(
        output,
        found,
        ["TYPE", "BACKEND", "VERBS", "ACTIONS", "DESCRIPTION"],
        lambda one: [
            one.resource_type,
            one.backend,
            [word(v.Verb.DESCRIPTOR, verb) for verb in one.verbs],
            [entry.name for entry in one.actions],
            one.description,
        ],
        empty="no handlers: name a handlers.yaml in the configuration",
    )


@command.command("console")
@server_options
@_ID
@click.option("-f", "--follow", "go_on", is_flag=True, help="Go on with what is written from now on.")
@click.option("--tail", type=click.IntRange(0, 1 << 20), default=65536, show_default=True, help="Bytes of the past.")
def console(server: Server, sliver_id: str, go_on: bool, tail: int) -> None:
    """Show what a sliver writes on its console."""
    request = v.StreamConsoleRequest(sliver_id=sliver_id, tail_bytes=tail, follow=go_on)
    out = sys.stdout.buffer
    for answer in server.stream(_stub(server).StreamConsole, request):
        out.write(answer.data)
        out.flush()


@command.command("hosts")
@server_options
@output_option
def hosts(server: Server, output: str) -> None:
    """List where slivers can be."""
    found = server.pages(_stub(server).ListHosts, v.ListHostsRequest(), "hosts")
    show_list(
        output,
        found,
        ["HOST", "STATE", "TAKES NEW", "TYPES", "SLIVERS", "USED", "SEEN"],
        lambda one: [
            one.host,
            word(v.HostState.DESCRIPTOR, one.state),
            one.schedulable,
            list(one.resource_types),
            one.sliver_count,
            [f"{name} {one.used.get(name, 0)}/{most}" for name, most in sorted(one.capacity.items())],
            ago(one.last_seen_time.seconds),
        ],
        empty="no hosts",
    )


@command.command("forget")
@server_options
@output_option
@_ID
@dry_run_option
def forget(server: Server, output: str, sliver_id: str, dry_run: bool) -> None:
    """Drop a failed sliver from the records, whatever is left of it."""
    request = changing(v.ForgetSliverRequest, dry_run=dry_run, sliver_id=sliver_id)
    answer = server.call(_stub(server).ForgetSliver, request)
    if output != "table":
        show_document(output, to_document(answer))
    else:
        click.echo(f"{sliver_id} {'would be' if dry_run else 'is'} forgotten")


@command.command("reconcile")
@server_options
@output_option
@click.argument("host", metavar="HOST")
@click.option("--remove", is_flag=True, help="Remove what should not be there.")
@_NO_WAIT
@dry_run_option
def reconcile(server: Server, output: str, host: str, remove: bool, no_wait: bool, dry_run: bool) -> None:
    """Compare what is on a host with what should be there."""
    request = changing(v.ReconcileHostRequest, dry_run=dry_run, host=host, remove_strays=remove)
    _run(server, output, _stub(server).ReconcileHost, request, no_wait, dry_run)


def _top(setting: str) -> str:
    """The key of the spec that a setting is in: it is set as a whole."""
    return setting.partition("=")[0].partition(".")[0]


def _stub(server: Server) -> slivers_pb2_grpc.SliverServiceStub:
    return slivers_pb2_grpc.SliverServiceStub(server.channel)


def _run(server: Server, output: str, method: Any, request: Any, no_wait: bool, dry_run: bool) -> None:
    operation: operations_pb2.Operation = server.call(method, request)
    if not (no_wait or operation.done):
        operation = follow(server, operation.name, quiet=output != "table")
    if output != "table":
        show_document(output, document_of(operation))
        outcome(operation)
        return
    result = outcome(operation) if operation.done else None
    if dry_run:
        click.echo("nothing is wrong with it")
    elif isinstance(result, v.Sliver):
        _show(output, result)
    elif isinstance(result, v.PerformActionResponse):
        click.echo(json.dumps(to_document(result)["result"], indent=2) if result.result.fields else "done")
    elif isinstance(result, v.ReconcileHostResponse):
        for stray in result.strays:
            click.echo(printable(f"stray: {stray.kind} {stray.name} {stray.reason}".rstrip()))
        for missing in result.missing_sliver_ids:
            click.echo(f"missing: {missing}")
        click.echo(f"{len(result.removed)} removed" if result.removed else "nothing removed")
    else:
        click.echo("done" if operation.done else operation.name)


def _spec(file: Path | None, settings: Sequence[str]) -> struct_pb2.Struct:
    document: Any = {}
    if file is not None:
        name, document = read_file(file)
        if not isinstance(document, dict):
            raise InputError(f"{name} must hold a mapping of keys and values")
    for text in settings:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.UsageError(f"--set {text!r}: write KEY=VALUE")
        place = document
        *outer, last = key.split(".")
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise click.UsageError(f"--set {text!r}: {name} is not a mapping")
        place[last] = read_text(value, f"--set {key}")
    spec = struct_pb2.Struct()
    try:
        json_format.ParseDict(document, spec)
    except json_format.ParseError as error:
        raise click.UsageError(f"the spec cannot be sent: {error}") from error
    return spec


def _show(output: str, one: v.Sliver) -> None:
    if output != "table":
        show_document(output, to_document(one))
        return
    status = one.status
    show_facts(
        {
            "sliver": one.sliver_id,
            "slice": one.slice_id,
            "type": one.resource_type,
            "state": word(_STATES, status.state),
            "since": moment(status.state_time) if status.HasField("state_time") else "",
            "host": one.host,
            "instance": status.instance,
            "expires": moment(one.expire_time) if one.HasField("expire_time") else "",
            "management": list(status.management_addresses),
            "operation": status.operation_name,
            "problem": status.failure.message,
            "left over": [f"{entry.kind} {entry.name}" for entry in status.leftovers],
            "facts": [f"{key}={value}" for key, value in struct_document(status.facts).items()],
            "etag": one.etag,
        }
    )
    if status.interfaces:
        click.echo()
        show_table(
            ["NETWORK", "NAME", "VLAN", "SWITCH", "PORT", "MAC", "ADDRESSES"],
            [
                [
                    entry.network,
                    entry.guest_name,
                    entry.vlan_id or "",
                    entry.dpid,
                    entry.port or "",
                    entry.mac_address,
                    list(entry.ip_addresses),
                ]
                for entry in status.interfaces
            ],
            empty="",
        )
