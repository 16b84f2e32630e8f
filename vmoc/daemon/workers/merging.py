"""Putting together what several workers show, so that it reads as if there was one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vmoc.status import Connection, DatapathStatus, SliceStatus, SwitchSummary
from vmoc.topology import Network, NetworkLink

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
    found: Mapping[int, Iterable[SliceStatus]], worker_of: Callable[[int], int | None]
) -> list[DatapathStatus]:
    """Every virtual datapath, by whoever serves its switch; of a switch nobody has, by the first who was asked.

    ``found`` is by worker.
    """
    every: list[DatapathStatus] = []
    for worker, statuses in found.items():
        for status in statuses:
            for one in status.datapaths:
                home = worker_of(one.dpid)
                if worker == (next(iter(found)) if home is None or home not in found else home):
                    every.append(renumbered(one, worker))
    return every


def network(parts: Iterable[Network], links: Iterable[NetworkLink]) -> Network:
    """One network. Every part has switches of its own; slices may be told by several."""
    every: Sequence[Network] = list(parts)
    switches: dict[tuple[int, int], Any] = {(one.dpid, one.native_vlan): one for part in every for one in part.switches}
    slices = {one for part in every for one in part.slices}
    return Network(tuple(switch for _, switch in sorted(switches.items())), tuple(sorted(links)), tuple(sorted(slices)))
