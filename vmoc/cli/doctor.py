"""``vmoc doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from vmoc.cli.document import word
from vmoc.cli.findings import Finding
from vmoc.cli.server import CallFailedError, Server, server_options
from vmoc.cli.synthetic import Rehearsal
from vmoc.cli.tables import output_option, show_document
from vmoc.cli.terminal import printable
from vmoc.config import ConfigError, Settings, load
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import server_pb2, server_pb2_grpc, switches_pb2, switches_pb2_grpc

FEW_FILES: Final = 4096
LITTLE_SPACE: Final = 256 << 20
_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command("doctor")
@server_options
@output_option
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="The configuration to look at.")
@click.option(
    "--synthetic",
    is_flag=True,
    help="Also make a slice with two slivers, let them ping each other, and remove it all. Safe on a rack in use.",
)
@click.option("--synthetic-type", default="netns", show_default=True, metavar="TYPE", help="What these slivers are.")
def command(server: Server, output: str, file: Path | None, synthetic: bool, synthetic_type: str) -> int:
    """Look for what is wrong, here and in the service.

    The configuration, this machine, and the running service: one line for
    each thing, with what to do where something is wrong. Exits 1 if there is
    a problem, 0 if there are only warnings.
    """
    findings: list[Finding] = []
    settings = None
    try:
        settings = load(file)
        findings.append(Finding("ok", "configuration", str(file) if file else "none: everything is at its default"))
    except ConfigError as error:
        more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        findings.append(Finding("problem", "configuration", f"{error.problems[0]}{more}", "run 'vmoc config check'"))
    service = list(_service(server))
    running = service[0].verdict == "ok"
    if settings is not None:
        findings.extend(_state(settings))
        findings.extend(_ports(settings, running))
        findings.extend(_tls(settings))
    findings.extend(_machine())
    findings.extend(service)
    if synthetic and running:
        findings.extend(Rehearsal(server, synthetic_type).play())
    elif synthetic:
        findings.append(Finding("problem", "synthetic slice", "the service does not answer", "start it: vmoc run"))
    if output != "table":
        show_document(output, [asdict(one) for one in findings])
    else:
        for one in findings:
            _print(one)
    return 1 if any(one.verdict == "problem" for one in findings) else 0


def _print(one: Finding) -> None:
    mark, colour = _MARKS[one.verdict]
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        mark = {"ok": "ok", "warning": "!!", "problem": "NO"}[one.verdict]
    click.echo(f"{click.style(mark, fg=colour)} {one.subject}: {printable(one.text, lines=True)}")
    if one.advice:
        click.echo(f"    {one.advice}")


# ---- this machine ----------------------------------------------------------------------------------------------------


def _state(settings: Settings) -> Iterator[Finding]:
    if settings.state_path == ":memory:":
        yield Finding(
            "warning", "state", "kept in memory", "slices of the API are gone after a restart: set state.path"
        )
        return
    path = Path(settings.state_path)
    folder = path.parent
    try:
        while not folder.exists():
            folder = folder.parent
        place = path if path.exists() else folder
        why = "" if os.access(place, os.W_OK) else f"{place} cannot be written"
        free = shutil.disk_usage(folder).free
    except OSError as error:
        why, free = f"{path} cannot be looked at: {error.strerror}", 0
    if why:
        yield Finding("problem", "state", why, "chown it to the user that runs VMOC, or set state.path")
    elif free < LITTLE_SPACE:
        yield Finding("warning", "state", f"{free >> 20} MiB are left for {path}", "make room: changes need some")
    else:
        yield Finding("ok", "state", f"{path} can be written")


def _ports(settings: Settings, running: bool) -> Iterator[Finding]:
    wanted = [(f"openflow port {one.port}", one.address, one.port) for one in settings.listeners]
    for name, where in (("grpc", settings.grpc_listen), ("metrics", settings.metrics_listen)):
        if where is not None:
            wanted.append((f"{name} port {where[1]}", *where))
    for name, address, port in wanted:
        if port == 0:
            continue
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            yield Finding("problem", name, f"{address} is no address of this machine: {error.strerror or error}")
            continue
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except PermissionError:
                yield Finding("problem", name, "may not be opened by this user", "take a port above 1023")
            except OSError as error:
                if running:
                    yield Finding("ok", name, "in use, by the running VMOC as it seems")
                else:
                    advice = f"'ss -ltnp sport = :{port}' shows by whom; stop that, or change the configuration"
                    yield Finding("problem", name, f"cannot be opened: {error.strerror}", advice)
            else:
                yield Finding("ok", name, "is free")


def _tls(settings: Settings) -> Iterator[Finding]:
    named = []
    if settings.tls is not None:
        named += [settings.tls.cert, settings.tls.key, settings.tls.ca]
    if settings.grpc_tls is not None:
        named += [settings.grpc_tls.cert, settings.grpc_tls.key, settings.grpc_tls.client_ca]
    for path in filter(None, named):
        if not os.access(path, os.R_OK):
            yield Finding("problem", "TLS", f"{path} cannot be read", "check that it exists and who may read it")
    keys = [one.key for one in (settings.tls, settings.grpc_tls) if one is not None and one.key is not None]
    for key in keys:
        if os.access(key, os.R_OK) and key.stat().st_mode & 0o077:
            yield Finding("warning", "TLS", f"{key} can be read by others", f"chmod 600 {key}")


def _machine() -> Iterator[Finding]:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEW_FILES:
        advice = "each virtual datapath is a connection: raise LimitNOFILE of the service"
        yield Finding("warning", "open files", f"at most {hard}", advice)
    else:
        yield Finding("ok", "open files", "at most " + ("unlimited" if hard == resource.RLIM_INFINITY else str(hard)))
    for program, what in (("ovs-vsctl", "Open vSwitch"), ("ansible-playbook", "ansible, for slivers")):
        if shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))):
            yield Finding("ok", program, f"{what} is here")
        else:
            yield Finding(
                "warning", program, f"{what} is not here", "fine, unless switches or slivers are on this machine"
            )


# ---- the service -----------------------------------------------------------------------------------------------------


def _service(server: Server) -> Iterator[Finding]:
    try:
        info = server.call(
            server_pb2_grpc.ServerServiceStub(server.channel).GetServerInfo,
            server_pb2.GetServerInfoRequest(),
            deadline=min(server.deadline, 5.0),
        )
    except CallFailedError as error:
        yield Finding("warning", "service", error.format_message())
        return
    state = word(server_pb2.ServerState.DESCRIPTOR, info.state)
    if info.state in (server_pb2.SERVER_STATE_READY, server_pb2.SERVER_STATE_STARTING):
        yield Finding("ok", "service", f"VMOC {info.version} at {server.address} is {state}")
    else:
        yield Finding("ok", "service", f"VMOC {info.version} answers at {server.address}")
        degraded = info.state == server_pb2.SERVER_STATE_DEGRADED
        yield Finding("warning" if degraded else "problem", "service", f"it is {state}", "'vmoc events' shows why")
    try:
        yield from _switches(server)
        yield from _connections(server)
    except CallFailedError as error:
        yield Finding("warning", "service", error.format_message())


def _switches(server: Server) -> Iterator[Finding]:
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    found = list(server.pages(stub.ListSwitches, switches_pb2.ListSwitchesRequest(), "switches"))
    away = [one.dpid for one in found if one.state != switches_pb2.SWITCH_STATE_UP]
    if not found:
        yield Finding("warning", "switches", "none has connected", "ovs-vsctl set-controller BRIDGE tcp:HOST:6653")
    elif away:
        yield Finding("warning", "switches", f"{len(away)} of {len(found)} are away: {', '.join(away[:5])}")
    else:
        yield Finding("ok", "switches", f"{len(found)} connected")


def _connections(server: Server) -> Iterator[Finding]:
    stub = switches_pb2_grpc.SwitchServiceStub(server.channel)
    request = switches_pb2.ListControllerConnectionsRequest()
    states = r.ControllerConnectionState
    total, failing = 0, []
    for one in server.pages(stub.ListControllerConnections, request, "connections"):
        total += 1
        if one.state == states.CONTROLLER_CONNECTION_STATE_BACKOFF:
            failing.append(one)
    if failing:
        first = failing[0]
        text = f"{len(failing)} of {total} are down; slice {first.slice_id}: {first.address}: {first.last_error}"
        yield Finding("warning", "controllers", text, "'vmoc controller list --state backoff' lists them")
    elif total:
        yield Finding("ok", "controllers", f"{total} connections, none failing")
