"""Following an operation: a spinner with the task that runs, or plain lines, and how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from vmoc.cli.document import to_document, word
from vmoc.cli.server import Server
from vmoc.cli.tables import span
from vmoc.cli.terminal import printable
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import slivers_pb2_grpc

_MARKS: Final = {
    "ok": "ok",
    "changed": "changed",
    "skipped": "skipped",
    "ignored": "failed, ignored",
    "failed": "FAILED",
}
RESULTS: Final[tuple[type[Message], ...]] = (
    v.Sliver,
    v.DeleteSliverResponse,
    v.PerformActionResponse,
    v.ReconcileHostResponse,
)


class OperationFailedError(click.ClickException):
    """An operation that ended with an error: what its handler said."""

    exit_code = 1


def follow(server: Server, name: str, *, quiet: bool) -> operations_pb2.Operation:
    """Wait for the operation's end and show its tasks on standard error. Interrupting leaves it running."""
    stub = slivers_pb2_grpc.SliverServiceStub(server.channel)
    answers = server.stream(stub.WatchOperation, v.WatchOperationRequest(name=name))
    last: operations_pb2.Operation | None = None
    try:
        for last in _shown(answers, quiet):
            if last.done:
                return last
    except KeyboardInterrupt:
        click.echo(f"\n{name} goes on; 'vmoc operation wait {name}' follows it again", err=True)
        raise
    raise OperationFailedError(f"{name} was not followed to its end; 'vmoc operation show {name}' shows it")


def outcome(operation: operations_pb2.Operation) -> Message | None:
    """The operation's result. Raises ``OperationFailedError`` with playbook, task, host and message."""
    if operation.HasField("error"):
        raise OperationFailedError(failure_text(operation))
    return unpacked(operation)


def unpacked(operation: operations_pb2.Operation) -> Message | None:
    """The result of an operation that succeeded, in its own type."""
    for kind in RESULTS:
        result = kind()
        if operation.response.Is(kind.DESCRIPTOR) and operation.response.Unpack(result):
            return result
    return None


def metadata_of(operation: operations_pb2.Operation) -> v.OperationMetadata:
    """What it does and where it is."""
    metadata = v.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def failure_text(operation: operations_pb2.Operation) -> str:
    """One sentence with the place it failed at."""
    texts = [operation.error.message.rstrip(".")]
    for detail in operation.error.details:
        failure, info = v.HandlerFailure(), error_details_pb2.ErrorInfo()
        if detail.Is(failure.DESCRIPTOR) and detail.Unpack(failure):
            places = (("playbook", failure.playbook), ("task", failure.task), ("host", failure.host))
            where = ", ".join(f"{what} {text}" for what, text in places if text)
            texts.append(f"({where})" if where else "")
            texts.extend(f"\n  | {line}" for line in failure.output_tail)
        elif detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.reason:
            texts.append(f"({info.reason})")
    return " ".join(filter(None, texts))


def document_of(operation: operations_pb2.Operation) -> dict[str, Any]:
    """The operation with its metadata and result in place of their packed forms."""
    result = unpacked(operation)
    return {
        "name": operation.name,
        "done": operation.done,
        "metadata": to_document(metadata_of(operation)),
        "error": failure_text(operation) if operation.HasField("error") else None,
        "response": None if result is None else to_document(result),
    }


def _shown(answers: Iterator[v.WatchOperationResponse], quiet: bool) -> Iterator[operations_pb2.Operation]:
    if quiet:
        yield from (answer.operation for answer in answers if answer.HasField("operation"))
    elif sys.stderr.isatty():
        yield from _spinning(answers)
    else:
        yield from _plain(answers)


def _plain(answers: Iterator[v.WatchOperationResponse]) -> Iterator[operations_pb2.Operation]:
    for answer in answers:
        if answer.HasField("operation"):
            yield answer.operation
        elif answer.task.state != v.TASK_STATE_STARTED:
            click.echo(_line(answer.task), err=True)


def _spinning(answers: Iterator[v.WatchOperationResponse]) -> Iterator[operations_pb2.Operation]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        current = progress.add_task("waiting")
        for answer in answers:
            if answer.HasField("operation"):
                phase = word(v.OperationPhase.DESCRIPTOR, metadata_of(answer.operation).phase)
                progress.update(current, description=phase)
                yield answer.operation
            elif answer.task.state == v.TASK_STATE_STARTED:
                progress.update(current, description=answer.task.task)
            else:
                console.print(Text(_line(answer.task), "red" if answer.task.state >= v.TASK_STATE_FAILED else ""))


def _line(task: v.TaskEvent) -> str:
    state = word(v.TaskState.DESCRIPTOR, task.state)
    text = f"  {_MARKS.get(state, state):<9} {task.task}" + (f" on {task.host}" if task.host else "")
    text += f": {task.message}" if task.message else ""
    return printable(text)


def elapsed(metadata: v.OperationMetadata) -> str:
    """How long it has been running, or ran."""
    start = metadata.start_time.seconds or metadata.create_time.seconds
    return span(max(0.0, (metadata.end_time.seconds or time.time()) - start)) if start else ""
