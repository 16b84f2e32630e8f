"""Putting together what several workers show, so that it reads as if there was one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from vmoc.status import Connection, DatapathStatus, SliceStatus, SwitchSummary

NUMBERS: Final = 1 << 40
"""Numbers of connections that one worker may give; those of worker ``i`` begin at ``i`` times as many."""


def switches(pages: Iterable[Sequence[SwitchSummary]], size: int) -> tuple[list[SwitchSummary], bool]:
    """The first ``size`` of what several tell, each in order, and whether there are more."""
    every = sorted((one for page in pages for one in page), key=lambda one: (one.dpid, one.native_vlan))
    return every[:size], len(every) > size


def numbered(connection: Connection, worker: int) -> Connection:
    """A connection under its number in the service."""
    return replace(connection, number=worker * NUMBERS + connection.number)


def renumbered(one: DatapathStatus, worker: int) -> DatapathStatus:
    """A virtual datapath with its connections under their numbers in the service."""
    if not one.controllers or not worker:
        return one
    return replace(one, controllers=tuple(numbered(link, worker) for link in one.controllers))


def place_of(number: int) -> tuple[int, int]:
    """Worker and its own number, of the number of a connection in the service."""
    return divmod(number, NUMBERS)


def datapaths(
    here: Iterable[DatapathStatus], found: Mapping[int, Iterable[SliceStatus]], worker_of: Callable[[int], int | None]
) -> list[DatapathStatus]:
    """Every virtual datapath as whoever serves its switch tells it (``found``, by worker), else as ``here``."""
    told = [
        renumbered(one, worker)
        for worker, statuses in found.items()
        for status in statuses
        for one in status.datapaths
        if worker_of(one.dpid) == worker
    ]
    known = {(one.slice, one.vlan, one.dpid) for one in told}
    return told + [one for one in here if (one.slice, one.vlan, one.dpid) not in known]
