"""The read side of a service of several processes: the parent's ``Rack``, which asks those of the workers.

What is about slices alone is answered here; what is about switches is asked of
whoever serves them, of all at once where it is a list. A worker that is being
started again is waited for, within the ``timeout``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from itertools import islice
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from vmoc.daemon.asking import TIMEOUT, NotKnownError, Page, RackTimeoutError, no_switch, result, sane
from vmoc.daemon.rack import Rack, number_of, switch_of
from vmoc.daemon.workers import merging
from vmoc.daemon.workers.member import Member
from vmoc.daemon.workers.messages import Raised, unpack
from vmoc.model import Slice
from vmoc.mux.core import Mux
from vmoc.mux.view import View
from vmoc.net.edge import Edge
from vmoc.registry import Snapshot
from vmoc.status import Connection, DatapathStatus, FlowStatus, SwitchStatus, SwitchSummary
from vmoc.telemetry.events import EventLog
from vmoc.topology import NetworkSwitch

if TYPE_CHECKING:
    import networkx as nx

SLICES: Final = 200
"""Slices asked about at a time."""
_BUSY: Final = "VMOC is too busy to answer, or a worker is being started again; try again"


class CrewRack(Rack):
    """Everything ``Rack`` offers."""

    def __init__(
        self,
        edge: Edge,
        snapshot: Callable[[], Snapshot],
        worker_of: Callable[[int], int | None],
        members: Sequence[Member],
        events: EventLog,
        links: Callable[[], nx.MultiDiGraph[int] | None],
    ) -> None:
        """``worker_of``: who serves a switch, by its DPID."""
        # No switch is served here, so that a view over none tells what there is to tell of slices.
        here = SimpleNamespace(view=View({}, cast(Any, None), snapshot))
        super().__init__(edge, cast(Mux, here), events, links)
        self._members = members
        self._worker_of = worker_of
        self.flows = self._flows

    # -- asking ------------------------------------------------------------------------------------

    def _remote(self, member: Member, deadline: float, method: str, *arguments: Any, **options: Any) -> Any:
        return self._remotes([member], deadline, method, *arguments, **options)[member.number]

    def _remotes(
        self, members: Iterable[Member], deadline: float, method: str, *arguments: Any, **options: Any
    ) -> dict[int, Any]:
        left = max(0.0, deadline - monotonic())
        asked = {one.number: one.ask(method, *arguments, timeout=left, **options) for one in members}
        found: dict[int, Any] = {}
        try:
            for number, future in asked.items():
                found[number] = unpack(result(future, deadline, _BUSY))
        except CancelledError:
            raise RackTimeoutError(_BUSY) from None
        finally:
            for future in asked.values():
                future.cancel()
        for answer in found.values():
            if isinstance(answer, Raised):
                raise answer.error()
        return found

    def _home(self, dpid: int, deadline: float) -> Member:
        worker = self._loop.ask(lambda: self._worker_of(dpid), deadline)
        if worker is None:
            raise NotKnownError(no_switch(dpid))
        return self._members[worker]

    # -- switches ----------------------------------------------------------------------------------

    def switches(self, token: str = "", size: int = 100, *, timeout: float = TIMEOUT) -> Page[SwitchSummary]:
        """Switches by DPID, also those that are away. Raises ``PageTokenError``."""
        if token:
            switch_of(token)
        size = sane(size)
        pages = self._remotes(self._members, monotonic() + timeout, "switches", token, size)
        found, more = merging.switches([page.items for page in pages.values()], size)
        more = more or any(page.next for page in pages.values())
        return Page(tuple(found), f"{found[-1].dpid:x}.{found[-1].native_vlan}" if more and found else "")

    def switch(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> SwitchStatus:
        """One switch. Raises ``NotKnownError``."""
        deadline = monotonic() + timeout
        found: SwitchStatus = self._remote(self._home(dpid, deadline), deadline, "switch", dpid, native_vlan)
        return found

    def datapaths(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> list[DatapathStatus]:
        """All virtual datapaths on a switch, by VLAN. Raises ``NotKnownError``."""
        deadline = monotonic() + timeout
        member = self._home(dpid, deadline)
        found = self._remote(member, deadline, "datapaths", dpid, native_vlan)
        return [merging.renumbered(one, member.number) for one in found]

    # -- slices ------------------------------------------------------------------------------------

    def _statuses(self, owners: Iterable[Slice], deadline: float) -> Iterator[DatapathStatus]:
        every = iter(owners)
        while some := list(islice(every, SLICES)):
            told = self._remotes(self._members, deadline, "slice_statuses", [owner.id for owner in some])
            found = {number: list(statuses.values()) for number, statuses in told.items()}
            # A worker knows the slices that concern its switches; of a switch that nobody has, what there is to say
            # is known here.
            here = list(super()._statuses(some, deadline))
            yield from self._loop.ask(partial(merging.datapaths, here, found, self._worker_of), deadline)

    # -- connections -------------------------------------------------------------------------------

    def connections(
        self,
        token: str = "",
        size: int = 500,
        *,
        slice_id: str | None = None,
        dpid: int | None = None,
        state: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Page[Connection]:
        """Connections to controllers, worker by worker, there oldest first. Raises as ``Rack.connections``."""
        deadline, size, after = monotonic() + timeout, sane(size), number_of(token)
        if slice_id is not None:
            return self._connections_of(slice_id, after, size, dpid, state, deadline)
        found: list[Connection] = []
        first, number = merging.place_of(after)
        for member in self._members[first:]:
            start = str(number) if member.number == first and number else ""
            page = self._remote(member, deadline, "connections", start, size - len(found), dpid=dpid, state=state)
            found += (merging.numbered(one, member.number) for one in page.items)
            if page.next:
                return Page(tuple(found), str(member.number * merging.NUMBERS + int(page.next)))
            if len(found) >= size:
                more = member is not self._members[-1]
                return Page(tuple(found), str((member.number + 1) * merging.NUMBERS) if more else "")
        return Page(tuple(found))

    def connected_controllers(self, *, timeout: float = TIMEOUT) -> int:
        """How many connections to controllers are up."""
        return sum(self._remotes(self._members, monotonic() + timeout, "connected_controllers").values())

    # -- flows -------------------------------------------------------------------------------------

    def _flows(
        self,
        dpid: int,
        *,
        native_vlan: int | None = None,
        slice_id: str | None = None,
        vlan: int | None = None,
        counts: bool = True,
        token: str = "",
        size: int = 1000,
        timeout: float = TIMEOUT,
    ) -> Page[FlowStatus]:
        """Flows by table and falling priority. Raises as ``FlowShelf.flows``."""
        deadline = monotonic() + timeout
        home = self._home(dpid, deadline)
        if slice_id is not None:
            owner = self._slice(slice_id, deadline)
            if not any(segment.attachment(dpid) for segment in owner.segments):
                return Page(())  # and its worker need not know the slice
        page: Page[FlowStatus] = self._remote(
            home,
            deadline,
            "flows",
            dpid,
            native_vlan=native_vlan,
            slice_id=slice_id,
            vlan=vlan,
            counts=counts,
            token=token,
            size=size,
        )
        return page

    # -- who ---------------------------------------------------------------------------------------

    def _network_switches(self, deadline: float) -> list[NetworkSwitch]:
        parts = self._remotes(self._members, deadline, "topology", None, among=[])
        return sorted(
            (switch for part in parts.values() for switch in part.switches), key=lambda one: (one.dpid, one.native_vlan)
        )
