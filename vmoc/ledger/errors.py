"""Why a change of slices is refused: one class per kind of reason, with what a caller needs to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmoc.errors import VmocError
from vmoc.model import Endpoint, format_dpid
from vmoc.registry import Conflict


class LedgerError(VmocError):
    """A change was refused; nothing of it was done. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of one slice that can't be. ``field`` is a path like ``segments[0].vlan``."""

    slice: str
    field: str
    text: str


class InvalidSliceError(LedgerError):
    """Values out of range or at odds with each other; every one is in ``violations``."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"slice {first.slice}: {first.field}: {first.text}{more}")
        self.violations = tuple(violations)


class OwnAddressError(LedgerError):
    """A controller's address is one of VMOC's own listeners (``key`` configures it)."""

    def __init__(self, slice_id: str, field: str, endpoint: Endpoint, key: str) -> None:
        super().__init__(f"slice {slice_id}: {endpoint} is VMOC itself ({key}); name the slice's own controller")
        self.slice, self.field, self.endpoint, self.key = slice_id, field, endpoint, key


class ExpireTimeError(LedgerError):
    """An expiry time that is past already."""

    def __init__(self, slice_id: str, expire_time: float) -> None:
        super().__init__(f"slice {slice_id}: expire_time is in the past; give a later one, or none")
        self.slice, self.expire_time = slice_id, expire_time


class ReservedVlanError(LedgerError):
    """The configuration keeps the VLAN from everybody; ``suggestions`` are free ones."""

    def __init__(self, slice_id: str, field: str, vlan: int, suggestions: Sequence[int]) -> None:
        super().__init__(f"slice {slice_id}: VLAN {vlan} is reserved by the configuration{_instead(suggestions)}")
        self.slice, self.field, self.vlan, self.suggestions = slice_id, field, vlan, tuple(suggestions)


class OccupiedVlanError(LedgerError):
    """Slivers of the VLAN's last owner are not gone yet; they are being removed."""

    def __init__(self, slice_id: str, field: str, vlan: int) -> None:
        super().__init__(f"slice {slice_id}: slivers of its last owner are still on VLAN {vlan}; call again in a while")
        self.slice, self.field, self.vlan = slice_id, field, vlan


class PoolEmptyError(LedgerError):
    """A segment left the choice of its VLAN to VMOC and none is free on all of ``dpids`` (None: every switch)."""

    def __init__(self, slice_id: str, field: str, dpids: Sequence[int] | None) -> None:
        where = "every switch" if dpids is None else ", ".join(format_dpid(dpid) for dpid in dpids[:4])
        super().__init__(f"slice {slice_id}: no VLAN of the pool is free on {where}; name one, or enlarge vlans.pool")
        self.slice, self.field, self.dpids = slice_id, field, None if dpids is None else tuple(dpids)


class ConflictError(LedgerError):
    """Somebody else has it. ``conflicts`` name both slices and segments; ``suggestions`` are VLANs free instead.

    ``suggestions`` is about the first conflict and empty when that is not about a VLAN.
    """

    def __init__(self, conflicts: Sequence[Conflict], suggestions: Sequence[int]) -> None:
        first = conflicts[0]
        other = f"slice {first.other_slice}"
        if first.other_vlan is not None:
            other += f", VLAN {first.other_vlan}"
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(f"slice {first.slice}: {first.text} ({other}){_instead(suggestions)}{more}")
        self.conflicts, self.suggestions = tuple(conflicts), tuple(suggestions)


class SliceNotFoundError(LedgerError):
    """There are no slices of those ids."""

    def __init__(self, slices: Sequence[str]) -> None:
        super().__init__(f"{_named(slices)} not known")
        self.slices = tuple(slices)


class EtagMismatchError(LedgerError):
    """The slice has changed since the caller read it; read it again. ``found`` is None when it does not exist."""

    def __init__(self, slice_id: str, expected: str, found: str | None) -> None:
        what = "does not exist any more" if found is None else "has changed meanwhile; read it again"
        super().__init__(f"slice {slice_id} {what}")
        self.slice, self.expected, self.found = slice_id, expected, found


class FileSliceError(LedgerError):
    """The slices are of the configuration file and change only there."""

    def __init__(self, slices: Sequence[str]) -> None:
        super().__init__(f"{_named(slices)} of the configuration file; change the file and reload it")
        self.slices = tuple(slices)


class NotYoursError(LedgerError):
    """The slices belong to another manager than the caller."""

    def __init__(self, slices: Sequence[str], manager: str) -> None:
        super().__init__(f"{_named(slices)} not of manager {manager!r}")
        self.slices, self.manager = tuple(slices), manager


class TooManyError(LedgerError):
    """More of ``what`` than ``most``."""

    def __init__(self, what: str, count: int, most: int) -> None:
        super().__init__(f"{count} {what} are too many; at most {most} are allowed")
        self.what, self.count, self.most = what, count, most


class RequestReusedError(LedgerError):
    """The request id was used for another request within the last day."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id!r} was used for another request already; take a new one")
        self.request_id = request_id


def _named(slices: Sequence[str]) -> str:
    names = ", ".join(slices[:3])
    if len(slices) == 1:
        return f"slice {names} is"
    return f"slices {names}{f' and {len(slices) - 3} more' if len(slices) > 3 else ''} are"


def _instead(suggestions: Sequence[int]) -> str:
    return f"; free there: {', '.join(map(str, suggestions))}" if suggestions else ""
