"""What a client's calls and changes fail with: one class for each thing that a caller may do about it."""

from __future__ import annotations

from typing import Final

import grpc

from am_bridge import reasons
from am_bridge.status import ApiError, from_rpc_error
from vmoc.errors import VmocError


class ClientError(VmocError):
    """Whatever a client fails with; what follows is empty where the failure isn't the server's word.

    ``reason`` is a stable name of docs/am-guide.md, ``code`` the gRPC status, ``metadata`` what the reason is about,
    ``violations`` are (field, what is wrong with it), and ``retry_after`` are seconds, if the server named any.
    """

    retryable = False
    """Whether the same call may succeed later without anyone changing anything."""
    tries: int | None = None
    """How often the client itself tries it at most; None: as long as it takes."""

    def __init__(self, message: str, error: ApiError | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = error.reason.code if error else ""
        self.code = error.reason.status.name if error else ""
        self.metadata: dict[str, str] = dict(error.metadata) if error else {}
        self.violations: tuple[tuple[str, str], ...] = error.violations if error else ()
        self.retry_after = error.retry.seconds if error and error.retry else None


class UnreachableError(ClientError):
    """The server is away, starting or stopping, or can't write its state."""

    retryable = True


class TimedOutError(ClientError):
    """No answer before the deadline. The change may have been made; the same ``request_id`` tells."""

    retryable = True


class BusyError(ClientError):
    """Too many calls, or somebody else was quicker: the same call again may do."""

    retryable = True


class ServerFailedError(ClientError):
    """A mistake of the server's. Tried a few times, because the next try may find it restarted."""

    retryable = True
    tries = 3


class InvalidRequestError(ClientError):
    """Fields are out of range; ``violations`` has all of them."""


class ConflictError(ClientError):
    """Something is in the way, such as another slice's VLAN; ``metadata`` names it as far as the caller may know."""

    @property
    def vlan(self) -> int | None:
        """The VLAN it is about, if it is about one."""
        text = self.metadata.get("vlan", "")
        return int(text) if text.isdecimal() else None

    @property
    def other_slice(self) -> str:
        """The slice in the way; empty if the caller may not know."""
        return self.metadata.get("other_slice", "")


class ChangedMeanwhileError(ClientError):
    """The etag is an old one: read the slice again and decide anew."""


class NotFoundError(ClientError):
    """There is no such thing."""


class ForbiddenError(ClientError):
    """The server doesn't know the caller, or the caller may not do this."""


class ExhaustedError(ClientError):
    """A quota, a VLAN pool or a message size is used up."""


class UnsupportedError(ClientError):
    """The server is older than the call."""


class SupersededError(ClientError):
    """A later change of the same slice took this one's place before it was made."""


class ClosedError(ClientError):
    """The client was closed before the change was made."""


_CLASSES: Final[dict[grpc.StatusCode, type[ClientError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOutError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ABORTED: ChangedMeanwhileError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.UNAUTHENTICATED: ForbiddenError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExhaustedError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
}
_BUSY: Final = {reasons.TOO_MANY_CALLS.code, reasons.SLOW_READER.code}


def client_error(error: grpc.RpcError) -> ClientError:
    """What a failed call is to its caller."""
    told = from_rpc_error(error)
    kind = _CLASSES.get(told.reason.status, ServerFailedError)
    waiting_helps = told.retry is not None and kind in (ChangedMeanwhileError, ExhaustedError)
    if told.reason.code in _BUSY or waiting_helps:
        kind = BusyError
    return kind(told.message, told)
