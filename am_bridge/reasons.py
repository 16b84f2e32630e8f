"""The code book of the API: every reason a call can fail for, with its gRPC status and what it means.

The names are the ``reason`` of google.rpc.ErrorInfo and stable; callers tell cases apart by them, not by sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from grpc import StatusCode


@dataclass(frozen=True, slots=True)
class ApiReason:
    """One way a call can fail."""

    code: str
    status: StatusCode
    summary: str


API_REASONS: Final[dict[str, ApiReason]] = {}


def _reason(code: str, status: StatusCode, summary: str) -> ApiReason:
    reason = API_REASONS[code] = ApiReason(code, status, summary)
    return reason


# The request itself.
FIELD_INVALID = _reason("FIELD_INVALID", StatusCode.INVALID_ARGUMENT, "fields of the request are out of range")
REQUEST_ID_REUSED = _reason(
    "REQUEST_ID_REUSED", StatusCode.INVALID_ARGUMENT, "the request_id was used for another request; take a new one"
)
PAGE_TOKEN_INVALID = _reason(
    "PAGE_TOKEN_INVALID", StatusCode.INVALID_ARGUMENT, "the page_token belongs to another request; begin at page one"
)
SCHEMA_VIOLATION = _reason(
    "SCHEMA_VIOLATION", StatusCode.INVALID_ARGUMENT, "the spec is not what its handler's schema says"
)
OWN_LISTENER = _reason(
    "OWN_LISTENER", StatusCode.INVALID_ARGUMENT, "the controller's address is one of this server's own listeners"
)
RESUME_TOKEN_INVALID = _reason(
    "RESUME_TOKEN_INVALID", StatusCode.INVALID_ARGUMENT, "the resume_token is not one of this server's"
)
RESUME_TOKEN_EXPIRED = _reason(
    "RESUME_TOKEN_EXPIRED",
    StatusCode.OUT_OF_RANGE,
    "events after the resume_token are no longer kept; ask without it and with include_initial_state",
)

# The caller.
NO_IDENTITY = _reason("NO_IDENTITY", StatusCode.UNAUTHENTICATED, "the server knows no role for this caller")
NOT_OWNER = _reason("NOT_OWNER", StatusCode.PERMISSION_DENIED, "it belongs to another manager")
ROLE_FORBIDS = _reason("ROLE_FORBIDS", StatusCode.PERMISSION_DENIED, "the caller's role does not allow this")
ADMIN_ONLY = _reason("ADMIN_ONLY", StatusCode.PERMISSION_DENIED, "only an administrator may do this")

# What there is not.
SLICE_NOT_FOUND = _reason("SLICE_NOT_FOUND", StatusCode.NOT_FOUND, "there is no such slice")
SWITCH_NOT_FOUND = _reason("SWITCH_NOT_FOUND", StatusCode.NOT_FOUND, "no such switch has ever connected")
SLIVER_NOT_FOUND = _reason("SLIVER_NOT_FOUND", StatusCode.NOT_FOUND, "there is no such sliver")
HANDLER_NOT_FOUND = _reason("HANDLER_NOT_FOUND", StatusCode.NOT_FOUND, "no handler provisions that resource type")
HOST_NOT_FOUND = _reason("HOST_NOT_FOUND", StatusCode.NOT_FOUND, "there is no such host")
OPERATION_NOT_FOUND = _reason("OPERATION_NOT_FOUND", StatusCode.NOT_FOUND, "there is no such operation")

# What is in the way.
NAME_TAKEN = _reason("NAME_TAKEN", StatusCode.ALREADY_EXISTS, "the name is taken")
VLAN_OWNED_ELSEWHERE = _reason(
    "VLAN_OWNED_ELSEWHERE", StatusCode.FAILED_PRECONDITION, "another segment owns the VLAN there"
)
VLAN_RESERVED = _reason("VLAN_RESERVED", StatusCode.FAILED_PRECONDITION, "the operator keeps that VLAN")
VLAN_TAINTED = _reason(
    "VLAN_TAINTED", StatusCode.FAILED_PRECONDITION, "flows or slivers of a former owner may still be in that VLAN"
)
DPID_SHOWN_TWICE = _reason(
    "DPID_SHOWN_TWICE", StatusCode.FAILED_PRECONDITION, "a controller would see the same DPID twice"
)
SLICE_FROM_FILE = _reason(
    "SLICE_FROM_FILE", StatusCode.FAILED_PRECONDITION, "the slice is in the configuration file; change it there"
)
SLICE_EXPIRED = _reason("SLICE_EXPIRED", StatusCode.FAILED_PRECONDITION, "the slice has expired")
WRONG_STATE = _reason("WRONG_STATE", StatusCode.FAILED_PRECONDITION, "its state does not allow this")
ETAG_MISMATCH = _reason(
    "ETAG_MISMATCH", StatusCode.ABORTED, "it has changed since the etag was given; read it and decide again"
)
OPERATION_IN_PROGRESS = _reason(
    "OPERATION_IN_PROGRESS", StatusCode.ABORTED, "another operation works on it; wait for that one"
)
SERVER_RESTARTED = _reason(
    "SERVER_RESTARTED", StatusCode.ABORTED, "the server was restarted while the operation ran; ask again"
)
CANCELLED = _reason("CANCELLED", StatusCode.CANCELLED, "it was cancelled")

# What there is not enough of.
VLAN_POOL_EMPTY = _reason("VLAN_POOL_EMPTY", StatusCode.RESOURCE_EXHAUSTED, "no VLAN that would do is free")
QUOTA = _reason("QUOTA", StatusCode.RESOURCE_EXHAUSTED, "a quota is used up")
NO_CAPACITY = _reason("NO_CAPACITY", StatusCode.RESOURCE_EXHAUSTED, "no host has room for it")
TOO_MANY_CALLS = _reason("TOO_MANY_CALLS", StatusCode.RESOURCE_EXHAUSTED, "too many calls at once; call again later")
SLOW_READER = _reason(
    "SLOW_READER", StatusCode.RESOURCE_EXHAUSTED, "the stream was not read fast enough; resume it with its last token"
)

# What does not work now, or not at all.
HANDLER_TIMEOUT = _reason("HANDLER_TIMEOUT", StatusCode.DEADLINE_EXCEEDED, "the handler took too long")
SWITCH_TIMEOUT = _reason("SWITCH_TIMEOUT", StatusCode.DEADLINE_EXCEEDED, "the switch did not answer in time")
SWITCH_AWAY = _reason("SWITCH_AWAY", StatusCode.UNAVAILABLE, "the switch is not connected")
HOST_UNREACHABLE = _reason("HOST_UNREACHABLE", StatusCode.UNAVAILABLE, "the host does not answer")
SERVER_DRAINING = _reason("SERVER_DRAINING", StatusCode.UNAVAILABLE, "the server is stopping")
STORE_FAILED = _reason("STORE_FAILED", StatusCode.UNAVAILABLE, "the server cannot write its state; nothing was changed")
ACTION_UNSUPPORTED = _reason("ACTION_UNSUPPORTED", StatusCode.UNIMPLEMENTED, "the handler does not offer that")
NOT_LEARNT = _reason(
    "NOT_LEARNT",
    StatusCode.UNIMPLEMENTED,
    "no sliver has that address, and traffic is not learnt from; ask for a VLAN or a port",
)
HANDLER_FAILED = _reason("HANDLER_FAILED", StatusCode.INTERNAL, "the handler failed")
BUG = _reason("BUG", StatusCode.INTERNAL, "the server failed to answer; its log has more")
