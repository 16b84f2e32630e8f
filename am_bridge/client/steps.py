"""What the reconciler asks to be done, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from am_bridge.client.errors import ClientError
from am_bridge.convert import Choice
from vmoc.model import Slice

# -- steps: each is one call to the server -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Greet:
    """GetServerInfo; answered with ``Greeting``."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who answered, and what it takes."""

    boot_id: str
    manager: str
    """Whose slices the server thinks the caller's are; empty if it doesn't care."""
    most_batch: int
    most_sync: int
    clock: float
    """The server's clock, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ListAll:
    """ListSlices of the manager, every page; answered with a list of ``Slice``."""


@dataclass(frozen=True, slots=True)
class Check:
    """GetSlice; answered with the ``Slice``, or None if there is none."""

    slice_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One slice of a step; ``version`` tells whether it is still what is wanted when the answer comes."""

    slice: Slice
    choices: Mapping[int, Choice]
    version: int


@dataclass(frozen=True, slots=True)
class Register:
    """RegisterSlice or BatchRegisterSlices; answered with the slices as they are, in order."""

    wanted: tuple[Wanted, ...]
    request_id: str


@dataclass(frozen=True, slots=True)
class Unregister:
    """UnregisterSlice with allow_missing; answered with None."""

    slice_id: str
    version: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Sync:
    """SyncSlices; answered with the slices that it added or changed."""

    wanted: tuple[Wanted, ...]
    removed: tuple[tuple[str, int], ...]
    """Ids and versions of what is wanted gone."""
    request_id: str


Step = Greet | ListAll | Check | Register | Unregister | Sync


# -- reports -----------------------------------------------------------------------------------------------------------


class DriftKind(StrEnum):
    """What somebody else did."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Done:
    """A change was made. ``slice`` is as the server has it, with the VLANs that were chosen; None: it is gone."""

    slice_id: str
    slice: Slice | None
    ticket: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A change was refused, or its place taken by a later one, and it won't be tried again.

    What was desired before is desired again. A slice that is part of the desired state from the start, or was refused
    when it had to be restored, stays desired, and is tried once more when the server was restarted.
    """

    slice_id: str
    error: ClientError
    ticket: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Drifted:
    """Somebody else added, changed or removed a slice of this manager's; ``restored``: it is being put right."""

    slice_id: str
    kind: DriftKind
    slice: Slice | None
    restored: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """The slice's time is over; it is no longer desired."""

    slice_id: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The server answers; ``restarted``: it isn't the one (by boot_id) that answered before."""

    boot_id: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call failed and is made again in ``retry_in`` seconds. Nothing that is desired is lost."""

    error: ClientError
    retry_in: float


Report = Done | Failed | Drifted | Expired | Connected | Trouble
