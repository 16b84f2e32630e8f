"""``vmoc slice register``, ``update``, ``unregister`` and the other changes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

from vmoc.cli.document import moment, to_document, word
from vmoc.cli.moments import Expiry, until
from vmoc.cli.ports import port_number
from vmoc.cli.server import Server, changing, dry_run_option, server_options
from vmoc.cli.slice_file import read_slices
from vmoc.cli.slice_views import SLICE_ID, labels_of
from vmoc.cli.tables import output_option, show_document
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import slices_pb2, slices_pb2_grpc

BATCH: Final = 1000
_FILE: Final = click.Path(path_type=Path, allow_dash=True)
_STATES: Final = r.VirtualDatapathState.DESCRIPTOR
_ETAG: Final = click.option("--etag", default="", help="Only if the slice has not changed since it showed this etag.")


@click.command("register")
@server_options
@output_option
@click.argument("slice_id", metavar="[ID]", required=False)
@click.option("-f", "--file", type=_FILE, help="Slices as YAML or JSON; - reads stdin.")
@click.option("--vlan", "vlans", type=click.IntRange(0, 4094), multiple=True, help="Repeat it; 0 takes any free one.")
@click.option("--controller", "controllers", multiple=True, metavar="tcp:H:P", help="A controller; repeat it for more.")
@click.option("--presentation", type=click.Choice(["tagged", "transparent"]), help="How frames look to the controller.")
@click.option("--dpid-scheme", type=click.Choice(["vlan", "physical"]), help="Which DPID the controller sees.")
@click.option("--fail-mode", type=click.Choice(["secure", "standalone", "flush"]), help="Without a controller.")
@click.option("--attach", "attachments", multiple=True, metavar="DPID[:PORT,...]", help="Where; left out: everywhere.")
@click.option("--owner", default="", help="Whom to ask about the slice.")
@click.option("--manager", default="", help="The aggregate manager it belongs to; left out: your own.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeat it for more.")
@click.option("--expires", type=Expiry(), help="A time, or a length of time from now such as 7d.")
@dry_run_option
def register(
    server: Server,
    output: str,
    slice_id: str | None,
    file: Path | None,
    dry_run: bool,
    **wanted: Any,
) -> None:
    """Make slices, or replace those of the same id.

    Either ID with its options, or -f FILE: slices as in the configuration,
    or as 'vmoc slice show -o yaml' prints them. Up to 1000 slices are
    registered together or not at all; of more, 1000 at a time.
    """
    if (slice_id is None) == (file is None):
        raise click.UsageError("give either an ID with its options, or -f FILE")
    if file is not None:
        if any(wanted.values()):
            raise click.UsageError("-f FILE says it all; leave the other options out")
        slices = read_slices(file)
    else:
        assert slice_id is not None
        slices = [_from_options(slice_id, **wanted)]
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    results: list[slices_pb2.RegisterSliceResponse] = []
    batches = [slices[start : start + BATCH] for start in range(0, len(slices), BATCH)]
    with click.progressbar(batches, label="registering", hidden=len(batches) < 2, file=sys.stderr) as bar:
        for batch in bar:
            request = changing(slices_pb2.BatchRegisterSlicesRequest, dry_run=dry_run, slices=batch)
            results.extend(server.call(stub.BatchRegisterSlices, request).results)
    if output != "table":
        show_document(output, [to_document(one) for one in results])
        return
    if len(results) == 1:
        made = results[0].slice
        change = word(r.ChangeKind.DESCRIPTOR, results[0].change)
        vlans = ", ".join(str(segment.vlan_id) for segment in made.segments)
        click.echo(f"{made.slice_id} {_would(dry_run)}{change}" + (f", VLAN {vlans}" if vlans else ""))
        return
    counts = Counter(word(r.ChangeKind.DESCRIPTOR, one.change) for one in results)
    click.echo(
        ", ".join(f"{count} {_would(dry_run)}{change}" for change, count in sorted(counts.items())) or "no slices"
    )


@click.command("update")
@server_options
@output_option
@SLICE_ID
@click.option("--owner", default=None, help="Whom to ask about the slice.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="All labels it shall have; repeat it.")
@click.option("--controller", "controllers", multiple=True, metavar="tcp:H:P", help="Controllers, or default.")
@click.option("--vlan", type=click.IntRange(1, 4094), default=None, help="The segment that gets the controllers.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=N", help="For example max_flows=500; repeat it.")
@click.option("--expires", type=Expiry(), help="A time, or a length of time from now such as 7d.")
@click.option("--never-expires", is_flag=True, help="Take the expiry away.")
@_ETAG
@dry_run_option
def update(
    server: Server,
    output: str,
    slice_id: str,
    owner: str | None,
    labels: Sequence[str],
    controllers: Sequence[str],
    vlan: int | None,
    limits: Sequence[str],
    expires: timestamp_pb2.Timestamp | duration_pb2.Duration | None,
    never_expires: bool,
    etag: str,
    dry_run: bool,
) -> None:
    """Change what is given; the rest stays.

    A controller's new address is a hot swap: the new one is connected while
    the slice's flows stay.
    """
    if expires is not None and never_expires:
        raise click.UsageError("--expires and --never-expires exclude each other")
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    wanted = r.Slice(slice_id=slice_id, etag=etag)
    paths = []
    if owner is not None:
        wanted.owner = owner
        paths.append("owner")
    if labels:
        wanted.labels.update(labels_of(labels))
        paths.append("labels")
    if controllers:
        asked = slices_pb2.GetSliceRequest(slice_id=slice_id, view=slices_pb2.SLICE_VIEW_BASIC)
        now = server.call(stub.GetSlice, asked)
        wanted.segments.extend(now.segments)
        wanted.etag = etag or now.etag  # the segments are sent as they were read
        _control(wanted, [] if list(controllers) == ["default"] else controllers, vlan)
        paths.append("segments")
    elif vlan is not None:
        raise click.UsageError("--vlan says which segment gets the controllers; give --controller too")
    for name, amount in (_limit(text) for text in limits):
        setattr(wanted.limits, name, amount)
        paths.append(f"limits.{name}")
    if expires is not None or never_expires:
        if expires is not None:
            wanted.expire_time.CopyFrom(until(expires))
        paths.append("expire_time")
    if not paths:
        raise click.UsageError("nothing to change; say what, for example --controller tcp:10.0.0.5:6640")
    request = changing(
        slices_pb2.UpdateSliceRequest, dry_run=dry_run, slice=wanted, update_mask=field_mask_pb2.FieldMask(paths=paths)
    )
    _changed(output, server.call(stub.UpdateSlice, request), "would be updated" if dry_run else "updated")


@click.command("unregister")
@server_options
@output_option
@click.argument("slice_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--allow-missing", is_flag=True, help="A slice that is not there is not an error.")
@_ETAG
@dry_run_option
def unregister(
    server: Server, output: str, slice_ids: Sequence[str], allow_missing: bool, etag: str, dry_run: bool
) -> None:
    """Remove slices, with their flows, groups and meters on every switch."""
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    answers = []
    for slice_id in slice_ids:
        request = changing(
            slices_pb2.UnregisterSliceRequest,
            dry_run=dry_run,
            slice_id=slice_id,
            etag=etag,
            allow_missing=allow_missing,
        )
        answers.append(server.call(stub.UnregisterSlice, request))
        if output == "table":
            there = answers[-1].HasField("slice")
            click.echo(f"{slice_id} {_would(dry_run)}removed" if there else f"{slice_id} was not there")
    if output != "table":
        show_document(output, [to_document(one) for one in answers])


@click.command("renew")
@server_options
@output_option
@SLICE_ID
@click.argument("when", type=Expiry(), metavar="WHEN")
@_ETAG
@dry_run_option
def renew(
    server: Server,
    output: str,
    slice_id: str,
    when: timestamp_pb2.Timestamp | duration_pb2.Duration,
    etag: str,
    dry_run: bool,
) -> None:
    """Set when a slice expires: a time, or a length of time from now such as 7d."""
    request = changing(slices_pb2.RenewSliceRequest, dry_run=dry_run, slice_id=slice_id, etag=etag)
    if isinstance(when, duration_pb2.Duration):
        request.ttl.CopyFrom(when)
    else:
        request.expire_time.CopyFrom(when)
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    renewed = server.call(stub.RenewSlice, request)
    _changed(output, renewed, f"{'would expire' if dry_run else 'expires'} {moment(renewed.expire_time)}")


@click.command("enable")
@server_options
@output_option
@SLICE_ID
@_ETAG
@dry_run_option
def enable(server: Server, output: str, slice_id: str, etag: str, dry_run: bool) -> None:
    """Let a slice's controllers connect again."""
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    request = changing(slices_pb2.EnableSliceRequest, dry_run=dry_run, slice_id=slice_id, etag=etag)
    _changed(output, server.call(stub.EnableSlice, request), f"{_would(dry_run)}enabled")


@click.command("disable")
@server_options
@output_option
@SLICE_ID
@_ETAG
@dry_run_option
def disable(server: Server, output: str, slice_id: str, etag: str, dry_run: bool) -> None:
    """Disconnect a slice's controllers and delete its flows; its VLANs stay reserved."""
    stub = slices_pb2_grpc.SliceServiceStub(server.channel)
    request = changing(slices_pb2.DisableSliceRequest, dry_run=dry_run, slice_id=slice_id, etag=etag)
    _changed(output, server.call(stub.DisableSlice, request), f"{_would(dry_run)}disabled")


def _would(dry_run: bool) -> str:
    return "would be " if dry_run else ""


def _changed(output: str, one: r.Slice, what: str) -> None:
    if output == "table":
        click.echo(f"{one.slice_id} {what}")
    else:
        show_document(output, to_document(one))


def _from_options(
    slice_id: str,
    *,
    vlans: Sequence[int],
    controllers: Sequence[str],
    presentation: str | None,
    dpid_scheme: str | None,
    fail_mode: str | None,
    attachments: Sequence[str],
    owner: str,
    manager: str,
    labels: Sequence[str],
    expires: timestamp_pb2.Timestamp | duration_pb2.Duration | None,
) -> r.Slice:
    made = r.Slice(slice_id=slice_id, owner=owner, manager=manager, labels=labels_of(labels))
    if expires is not None:
        made.expire_time.CopyFrom(until(expires))
    for vlan in vlans:
        made.segments.add(
            vlan_id=vlan,
            controllers=controllers,
            presentation=_value(r.Presentation, "PRESENTATION", presentation),
            dpid_scheme=_value(r.DpidScheme, "DPID_SCHEME", dpid_scheme),
            fail_mode=_value(r.FailMode, "FAIL_MODE", fail_mode),
            attachments=[_attachment(text) for text in attachments],
        )
    return made


def _value(enum: Any, prefix: str, name: str | None) -> Any:
    return 0 if name is None else enum.Value(f"{prefix}_{name.upper()}")


def _attachment(text: str) -> r.Attachment:
    # A DPID may be eight pairs of digits, joined by colons.
    dpid, colon, ports = text.rpartition(":") if text.count(":") in (1, 8) else (text, "", "")
    try:
        return r.Attachment(dpid=dpid, ports=[port_number(one) for one in ports.split(",")] if colon else [])
    except ValueError:
        raise click.UsageError(f"--attach {text!r}: write DPID, or DPID:PORT,PORT with numbers or LOCAL") from None


def _limit(text: str) -> tuple[str, int]:
    name, _, amount = text.partition("=")
    names = [field.name for field in r.Limits.DESCRIPTOR.fields]
    if name not in names or not (amount.isascii() and amount.isdigit()) or int(amount) >= 1 << 31:
        raise click.UsageError(f"--limit {text!r}: write NAME=NUMBER, with one of {', '.join(names)}")
    return name, int(amount)


def _control(one: r.Slice, controllers: Sequence[str], vlan: int | None) -> None:
    chosen = [segment for segment in one.segments if vlan in (None, segment.vlan_id)]
    if not chosen:
        raise click.UsageError(f"slice {one.slice_id} has no segment" + (f" with VLAN {vlan}" if vlan else ""))
    for segment in chosen:
        del segment.controllers[:]
        segment.controllers.extend(controllers)
