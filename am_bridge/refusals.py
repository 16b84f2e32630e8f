"""Refusals of the slice book, as the API tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from am_bridge import reasons
from am_bridge.auth import Caller
from am_bridge.status import ApiError, RetryAfter, conflict_error
from vmoc.errors import VmocError
from vmoc.ledger import SliceBook
from vmoc.ledger import errors as ledger
from vmoc.model import format_dpid
from vmoc.store import StoreError


def refusal(error: VmocError, book: SliceBook, caller: Caller, paths: Mapping[str, str]) -> ApiError | None:
    """What ``caller`` is told; None for what is not the book's. ``paths``: slice ids and where the request has them."""
    if isinstance(error, ledger.ConflictError):
        told = conflict_error(error.conflicts, _knowledge(book, caller))
        if error.suggestions:
            told.metadata["free_vlans"] = ",".join(map(str, error.suggestions))
        return told
    if isinstance(error, ledger.InvalidSliceError):
        found = [(f"{paths.get(one.slice, 'slice')}.{_renamed(one.field)}", one.text) for one in error.violations]
        return ApiError(reasons.FIELD_INVALID, f"{found[0][0]}: {found[0][1]}", violations=found)
    if isinstance(error, ledger.LedgerError):
        return _plain(error, paths)
    if isinstance(error, StoreError):
        return ApiError(reasons.STORE_FAILED, f"{error}; nothing was changed", retry=RetryAfter(5.0))
    return None


def _plain(error: ledger.LedgerError, paths: Mapping[str, str]) -> ApiError | None:
    text = str(error)
    match error:
        case ledger.OwnAddressError():
            path = f"{paths.get(error.slice, 'slice')}.{error.field}"
            metadata = {"slice": error.slice, "address": str(error.endpoint), "listener": error.key}
            return ApiError(reasons.OWN_LISTENER, text, metadata=metadata, violations=[(path, text)])
        case ledger.ExpireTimeError():
            path = f"{paths.get(error.slice, 'slice')}.expire_time"
            return ApiError(
                reasons.FIELD_INVALID, text, metadata={"slice": error.slice}, violations=[(path, "must be to come")]
            )
        case ledger.ReservedVlanError():
            metadata = {"slice": error.slice, "vlan": str(error.vlan)}
            if error.suggestions:
                metadata["free_vlans"] = ",".join(map(str, error.suggestions))
            return ApiError(reasons.VLAN_RESERVED, text, metadata=metadata)
        case ledger.OccupiedVlanError():
            metadata = {"slice": error.slice, "vlan": str(error.vlan)}
            return ApiError(reasons.VLAN_TAINTED, text, metadata=metadata, retry=RetryAfter(2.0))
        case ledger.PoolEmptyError():
            metadata = {"slice": error.slice}
            if error.dpids is not None:
                metadata["dpids"] = ",".join(format_dpid(dpid) for dpid in error.dpids[:8])
            return ApiError(reasons.VLAN_POOL_EMPTY, text, metadata=metadata)
        case ledger.SliceNotFoundError():
            return ApiError(reasons.SLICE_NOT_FOUND, text, metadata={"slice": error.slices[0]})
        case ledger.EtagMismatchError():
            metadata = {"slice": error.slice, "etag": error.found or ""}
            return ApiError(reasons.ETAG_MISMATCH, text, metadata=metadata)
        case ledger.FileSliceError():
            return ApiError(reasons.SLICE_FROM_FILE, text, metadata={"slice": error.slices[0]})
        case ledger.NotYoursError():
            metadata = {"slice": error.slices[0], "manager": error.manager}
            return ApiError(reasons.NOT_OWNER, text, metadata=metadata)
        case ledger.TooManyError():
            return ApiError(reasons.QUOTA, text, metadata={"quota": error.what, "most": str(error.most)})
        case ledger.RequestReusedError():
            return ApiError(reasons.REQUEST_ID_REUSED, text, metadata={"request_id": error.request_id})
    return None


def _renamed(field: str) -> str:
    """The book's path in the API's words."""
    return f"{field}_id" if field.endswith(".vlan") else {"id": "slice_id", "enabled": "admin_state"}.get(field, field)


def _knowledge(book: SliceBook, caller: Caller) -> Callable[[str], bool]:
    def may_know(slice_id: str) -> bool:
        with suppress(ledger.SliceNotFoundError):
            book.get(slice_id, manager=caller.scope)
            return True
        return caller.scope is None

    return may_know
