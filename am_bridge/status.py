"""Errors, ours and gRPC's: a reason, one sentence, and the standard details, both ways.

A server raises ``ApiError``, or anything that ``api_error`` knows, and ends the call with ``to_status``. A client
gives what it caught to ``from_rpc_error`` and has an ``ApiError`` again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from am_bridge import reasons
from am_bridge.reasons import API_REASONS, ApiReason
from vmoc.errors import Refused, VmocError
from vmoc.model import format_dpid
from vmoc.registry import Conflict, ConflictKind, PlanRejectedError

DOMAIN: Final = "vmoc"
# gRPC sends all this as trailing metadata, and peers refuse more than 8 KiB of it.
MOST_DETAILS: Final = 4096
MOST_MESSAGE: Final = 512
_MOST_VALUE: Final = 256
_MOST_INFO: Final = 1536
_CONFLICTS: Final = {
    ConflictKind.ID: reasons.NAME_TAKEN,
    ConflictKind.VLAN: reasons.VLAN_OWNED_ELSEWHERE,
    ConflictKind.DPID: reasons.DPID_SHOWN_TWICE,
}


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """When calling again may help, in seconds."""

    seconds: float


class ApiError(VmocError):
    """A call failed, and the caller shall know why.

    ``violations`` are (path, description); ``violation_count`` counts also those that were left out. ``details`` are
    further messages for the status, such as HandlerFailure.
    """

    def __init__(
        self,
        reason: ApiReason,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[tuple[str, str]] = (),
        violation_count: int = 0,
        retry: RetryAfter | None = None,
        details: Iterable[Message] = (),
    ) -> None:
        super().__init__(message or reason.summary)
        self.reason = reason
        self.message = message or reason.summary
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.violation_count = max(violation_count, len(self.violations))
        self.retry = retry
        self.details = tuple(details)


def conflict_error(conflicts: Iterable[Conflict], may_know: Callable[[str], bool]) -> ApiError:
    """The error for a plan with conflicts. Other slices are named only if ``may_know`` says so of their ids."""
    found = list(conflicts)
    first = found[0]
    metadata = {"slice": first.slice, "conflicts": str(len(found))}
    if first.vlan is not None:
        metadata["vlan"] = str(first.vlan)
    if first.dpid is not None:
        metadata["dpid"] = format_dpid(first.dpid)
    if first.ports:
        metadata["ports"] = ",".join(str(port) for port in sorted(first.ports)[:32])
    if may_know(first.other_slice):
        metadata["other_slice"] = first.other_slice
        if first.other_vlan is not None:
            metadata["other_vlan"] = str(first.other_vlan)
    failures = error_details_pb2.PreconditionFailure()
    for one in found[:100]:
        reason = _CONFLICTS[one.kind]
        subject = f"slices/{one.slice}" + (f"/segments/{one.vlan}" if one.vlan is not None else "")
        failures.violations.add(type=reason.code, subject=subject, description=_conflict_text(one, may_know))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    text = f"slice {first.slice}: {_conflict_text(first, may_know)}{more}"
    return ApiError(_CONFLICTS[first.kind], text, metadata=metadata, details=(failures,))


def _conflict_text(one: Conflict, may_know: Callable[[str], bool]) -> str:
    if one.other_slice == one.slice or not may_know(one.other_slice):
        return one.text
    vlan = f", VLAN {one.other_vlan}" if one.other_vlan is not None else ""
    return f"{one.text}; it clashes with slice {one.other_slice}{vlan}"


def api_error(error: BaseException) -> ApiError:
    """What the caller is told of any exception; nothing of one that was not foreseen."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Refused):
        rule = error.reason
        return ApiError(ApiReason(rule.code, grpc.StatusCode[rule.grpc], rule.summary), error.detail)
    if isinstance(error, PlanRejectedError):
        retry = RetryAfter(0.1)
        return ApiError(reasons.ETAG_MISMATCH, "the slices have changed meanwhile; call again", retry=retry)
    return ApiError(reasons.BUG)


def to_status(error: ApiError) -> status_pb2.Status:
    """As google.rpc.Status: ErrorInfo first, BadRequest if fields are wrong, RetryInfo, then further details.

    What would not fit into a call's metadata is left out from the end; a BadRequest then says how much.
    """
    status = status_pb2.Status(code=error.reason.status.value[0], message=_cut(error.message, MOST_MESSAGE))
    info = error_details_pb2.ErrorInfo(reason=error.reason.code, domain=DOMAIN)
    for key, value in error.metadata.items():
        key, value = _cut(key, 64), _cut(value, _MOST_VALUE)
        if info.ByteSize() + len(key.encode()) + len(value.encode()) > _MOST_INFO:
            break
        info.metadata[key] = value
    room = MOST_DETAILS - _append(status, info, MOST_DETAILS)
    if error.retry is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry.seconds * 1e9))
        room -= _append(status, error_details_pb2.RetryInfo(retry_delay=delay), room)
    if error.violation_count:
        room -= _append(status, _bad_request(error, room - 512), room)
    for detail in error.details:
        room -= _append(status, _fitting(detail, room), room)
    return status


def _append(status: status_pb2.Status, detail: Message, room: int) -> int:
    """Pack ``detail`` if it fits; returns the bytes it took."""
    packed = AnyMessage()
    packed.Pack(detail)
    size = packed.ByteSize() + 4
    if size > room:
        return 0
    status.details.append(packed)
    return size


def _bad_request(error: ApiError, room: int) -> error_details_pb2.BadRequest:
    request = error_details_pb2.BadRequest()
    for path, description in error.violations:
        one = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(path, _MOST_VALUE), description=_cut(description, _MOST_VALUE)
        )
        room -= one.ByteSize() + 3
        if room < 0:
            break
        request.field_violations.append(one)
    left = error.violation_count - len(request.field_violations)
    if left:
        request.field_violations.add(field="", description=f"and {left} more; mend these first")
    return request


def _fitting(detail: Message, room: int) -> Message:
    """``detail``, or as many of a PreconditionFailure's violations as fit."""
    cut = error_details_pb2.PreconditionFailure()
    if detail.DESCRIPTOR is not cut.DESCRIPTOR:
        return detail
    room -= 128
    for violation in getattr(detail, "violations", ()):
        room -= violation.ByteSize() + 3
        if room < 0:
            break
        cut.violations.append(violation)
    return cast("Message", cut)


def _cut(text: str, most: int) -> str:
    """At most that many bytes of UTF-8, and an ellipsis where something is missing."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= most else raw[: most - 3].decode("utf-8", "ignore") + "..."


def to_grpc(error: BaseException) -> grpc.Status:
    """What ``context.abort_with_status`` takes."""
    status: grpc.Status = rpc_status.to_status(to_status(api_error(error)))
    return status


# -- the caller's side -------------------------------------------------------------------------------------------------


def from_status(status: status_pb2.Status) -> ApiError:
    """The error that such a status came from; ``reason.code`` is empty if that is not our server's word."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, delay = None, error_details_pb2.RetryInfo()
    details: list[Message] = []
    for packed in status.details:
        try:
            if packed.Unpack(info) or packed.Unpack(bad):
                continue
            if packed.Unpack(delay):
                retry = RetryAfter(delay.retry_delay.ToNanoseconds() / 1e9)
                continue
        except (DecodeError, ValueError):
            continue
        details.append(packed)
    reason = API_REASONS.get(info.reason) if info.domain == DOMAIN else None
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    if reason is None or reason.status is not code:
        named = info.reason if info.domain == DOMAIN else ""
        reason = ApiReason(named, code, status.message or code.name.lower().replace("_", " "))
    violations = [(one.field, one.description) for one in bad.field_violations]
    return ApiError(reason, status.message, metadata=info.metadata, violations=violations, retry=retry, details=details)


class _Failed(Protocol):
    """What failed calls have in common, with threads or asyncio."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc_error(error: grpc.RpcError) -> ApiError:
    """What a failed call says; the details are missing when it failed on the way."""
    if not hasattr(error, "trailing_metadata"):
        return from_status(status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error)))
    failed = cast("_Failed", error)
    code = failed.code().value[0]
    for key, value in failed.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if status.code == code:
                return from_status(status)
    return from_status(status_pb2.Status(code=code, message=failed.details() or ""))


_CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
