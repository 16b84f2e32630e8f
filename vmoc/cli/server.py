"""The running service, as the commands call it: where it is, and how each failed call ends."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, TypeVar

import click
import grpc
from google.protobuf.message import Message

from am_bridge.channel import DEFAULT_ADDRESS, ClientTlsFiles, TlsFilesError, open_channel
from am_bridge.status import ApiError, from_rpc_error
from vmoc.cli.learning_switch import HostPort

FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
TIMED_OUT: Final = 4
PAGE: Final = 1000
SHORTEST_WAIT: Final = 0.1
_PATH: Final = click.Path(path_type=Path, dir_okay=False)

Command = TypeVar("Command", bound=Callable[..., Any])
M = TypeVar("M", bound=Message)


class CallFailedError(click.ClickException):
    """A call that did not succeed: one sentence, and the exit code of the contract."""

    exit_code = FAILED


class UnreachableError(CallFailedError):
    """Nobody answered."""

    exit_code = UNREACHABLE


class TimedOutError(CallFailedError):
    """The answer did not come in time."""

    exit_code = TIMED_OUT


class Server:
    """A connection to the service; ``services`` of the generated code are made on its ``channel``."""

    def __init__(self, address: str, deadline: float, tls: ClientTlsFiles | None) -> None:
        self.address = address
        self.deadline = deadline
        try:
            self.channel = open_channel(address, tls)
        except TlsFilesError as error:
            raise click.UsageError(str(error)) from error

    def call(self, method: Any, request: Any, *, deadline: float | None = None) -> Any:
        """One answer; waits its turn where the service says when that is. Raises ``CallFailedError``."""
        end = monotonic() + (self.deadline if deadline is None else deadline)
        while True:
            try:
                return method(request, timeout=max(0.1, end - monotonic()))
            except grpc.RpcError as error:
                told = from_rpc_error(error)
                full = told.reason.status is grpc.StatusCode.RESOURCE_EXHAUSTED
                if not full or told.retry is None or monotonic() + told.retry.seconds >= end:
                    raise _failed(told, self.address) from error
            sleep(max(told.retry.seconds, SHORTEST_WAIT))

    def pages(self, method: Any, request: Any, field: str, *, size: int = PAGE) -> Iterator[Any]:
        """The entries of ``field`` in all pages. Raises ``CallFailedError``."""
        request.page_size = size
        while True:
            answer = self.call(method, request)
            yield from getattr(answer, field)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def stream(self, method: Any, request: Any) -> Iterator[Any]:
        """The answers of a stream until it ends. Raises ``CallFailedError``."""
        answers = method(request)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise _failed(from_rpc_error(error), self.address) from error
        finally:
            answers.cancel()

    def close(self) -> None:
        """Give up the connection."""
        self.channel.close()


def _checked(context: click.Context, option: click.Parameter, value: str) -> str:
    HostPort().convert(value, option, context)
    return value


def server_options(command: Command) -> Command:
    """Add where the service is; the command gets a ``Server`` as its first argument."""

    @functools.wraps(command)
    def connected(
        *args: Any,
        server: str,
        deadline: float,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        tls_name: str,
        **options: Any,
    ) -> Any:
        tls = None
        if tls_ca is not None:
            tls = ClientTlsFiles(tls_ca, tls_cert, tls_key, tls_name)
        elif tls_cert is not None or tls_key is not None:
            raise click.UsageError("--tls-cert and --tls-key need --tls-ca, the authority of the server's certificate")
        connection = Server(server, deadline, tls)
        try:
            return command(connection, *args, **options)
        finally:
            connection.close()

    options = (
        click.option(
            "--server",
            envvar="VMOC_SERVER",
            default=DEFAULT_ADDRESS,
            show_default=True,
            callback=_checked,
            metavar="ADDR",
            help="HOST:PORT of the service; also $VMOC_SERVER.",
        ),
        click.option(
            "--timeout",
            "deadline",
            type=click.FloatRange(0.1, 86400),
            default=30.0,
            show_default=True,
            metavar="SECONDS",
            help="How long one call may take.",
        ),
        click.option("--tls-ca", envvar="VMOC_TLS_CA", type=_PATH, help="Authority of the server's certificate (PEM)."),
        click.option("--tls-cert", envvar="VMOC_TLS_CERT", type=_PATH, help="Certificate that says who you are."),
        click.option("--tls-key", envvar="VMOC_TLS_KEY", type=_PATH, help="Its key."),
        click.option(
            "--tls-name", envvar="VMOC_TLS_NAME", default="", metavar="NAME", help="Name in the server's certificate."
        ),
    )
    decorated: Any = connected
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")


def changing(kind: Callable[..., M], *, dry_run: bool = False, **fields: Any) -> M:
    """A request for a change, with an id of its own: if the call is repeated, it is still carried out once."""
    return kind(request_id=str(uuid.uuid4()), validate_only=dry_run, **fields)


def _failed(error: ApiError, address: str) -> CallFailedError:
    if not error.reason.code:  # not the server's word: a server that gives a reason is there
        match error.reason.status:
            case grpc.StatusCode.UNAVAILABLE:
                advice = "start it with 'vmoc run', or say where it is with --server or $VMOC_SERVER"
                return UnreachableError(f"no VMOC answers at {address}; {advice}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return TimedOutError(f"VMOC at {address} did not answer in time; --timeout gives it longer")
            case grpc.StatusCode.UNIMPLEMENTED:
                advice = "'vmoc status' shows which"
                return CallFailedError(f"VMOC at {address} is another version and cannot do this; {advice}")
    fields = "; ".join(f"{path}: {text}" if path else text for path, text in error.violations)
    text = (fields or error.message).strip().rstrip(".")
    return CallFailedError(f"{text} ({error.reason.code})" if error.reason.code else text)
