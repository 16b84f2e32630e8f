"""``vmoc operation``: work on slivers that takes time."""

from __future__ import annotations

import click
from google.longrunning import operations_pb2, operations_pb2_grpc

from vmoc.cli.document import word
from vmoc.cli.progress import document_of, elapsed, failure_text, follow, metadata_of, outcome
from vmoc.cli.server import Server, server_options
from vmoc.cli.tables import ago, output_option, show_document, show_facts, show_list
from vmoc.v1 import slivers_pb2 as v

_NAME = click.argument("name", metavar="OPERATION")


@click.group("operation")
def command() -> None:
    """Show, follow and cancel operations on slivers."""


@command.command("list")
@server_options
@output_option
@click.option("--running", is_flag=True, help="Only those that have not ended.")
def list_(server: Server, output: str, running: bool) -> None:
    """List operations, newest first."""
    stub = operations_pb2_grpc.OperationsStub(server.channel)
    request = operations_pb2.ListOperationsRequest(name="operations", filter="done=false" if running else "")
    found = server.pages(stub.ListOperations, request, "operations")
    titles = ["OPERATION", "VERB", "SLIVER", "SLICE", "STATE", "TOOK", "ASKED", "TASK"]
    show_list(output, found, titles, _row, empty="no operations", document=document_of)


@command.command("show")
@server_options
@output_option
@_NAME
def show(server: Server, output: str, name: str) -> None:
    """Show one operation."""
    stub = operations_pb2_grpc.OperationsStub(server.channel)
    _show(output, server.call(stub.GetOperation, operations_pb2.GetOperationRequest(name=full_name(name))))


@command.command("wait")
@server_options
@output_option
@_NAME
def wait(server: Server, output: str, name: str) -> None:
    """Follow an operation to its end; exits 1 if it failed."""
    operation = follow(server, full_name(name), quiet=output != "table")
    if output != "table":
        show_document(output, document_of(operation))
    outcome(operation)
    if output == "table":
        click.echo(f"{operation.name} is done")


@command.command("cancel")
@server_options
@_NAME
def cancel(server: Server, name: str) -> None:
    """Ask an operation to stop; what it did is undone."""
    stub = operations_pb2_grpc.OperationsStub(server.channel)
    server.call(stub.CancelOperation, operations_pb2.CancelOperationRequest(name=full_name(name)))
    click.echo(f"{full_name(name)} is asked to stop; 'vmoc operation wait' follows it")


def full_name(name: str) -> str:
    """``operations/NAME``, however it was given."""
    return name if name.startswith("operations/") else f"operations/{name}"


def _row(one: operations_pb2.Operation) -> list[object]:
    data = metadata_of(one)
    return [
        one.name.removeprefix("operations/"),
        _what(data),
        data.sliver_id or data.host,
        data.slice_id,
        _state(one, data),
        elapsed(data),
        ago(data.create_time.seconds),
        one.error.message if one.HasField("error") else data.current_task,
    ]


def _show(output: str, operation: operations_pb2.Operation) -> None:
    if output != "table":
        show_document(output, document_of(operation))
        return
    data = metadata_of(operation)
    show_facts(
        {
            "operation": operation.name,
            "what": _what(data),
            "sliver": data.sliver_id,
            "slice": data.slice_id,
            "host": data.host,
            "type": data.resource_type,
            "state": _state(operation, data),
            "attempt": f"{data.attempt} of {data.max_attempts}" if data.max_attempts else "",
            "task": data.current_task,
            "tasks": data.task_count or "",
            "took": elapsed(data),
            "asked by": data.requester,
            "error": failure_text(operation) if operation.HasField("error") else "",
            "removed": list(data.removed),
            "left over": [f"{one.kind} {one.name} on {one.host} ({one.reason})" for one in data.leftovers],
        }
    )


def _what(data: v.OperationMetadata) -> str:
    return data.action or word(v.Verb.DESCRIPTOR, data.verb)


def _state(operation: operations_pb2.Operation, data: v.OperationMetadata) -> str:
    if operation.done:
        return "failed" if operation.HasField("error") else "done"
    phase = word(v.OperationPhase.DESCRIPTOR, data.phase)
    return f"{phase}, cancelling" if data.cancel_requested else phase
