"""Everything the API shows, for its threads: asks the loop in small pieces, writes out elsewhere.

Rules of this file: no call is for the loop's own thread; every call ends
within its ``timeout`` (seconds); what is asked of the loop at a time is
bounded by ``PIECE``; nothing is remembered between calls (but see ``flowshelf``).
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from vmoc.daemon.asking import PIECE, TIMEOUT, Loop, NotKnownError, Page, bad_token, no_switch, sane
from vmoc.daemon.flowshelf import FlowShelf
from vmoc.events import Event, Kind
from vmoc.model import Slice
from vmoc.mux.core import Mux
from vmoc.mux.view import Key
from vmoc.net.edge import Edge
from vmoc.status import (
    Connection,
    DatapathStatus,
    Owner,
    SliceStatus,
    SwitchStatus,
    SwitchSummary,
)
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import EventFilter, Group, Item, StateEnd, StateItem, Stream, Subscription
from vmoc.topology import Network, NetworkLink, NetworkSwitch, SlicePorts

if TYPE_CHECKING:
    import networkx as nx

LOOKS: Final = 256
"""Slices, segments or connections that may be passed over in one visit."""
SWITCHES: Final = 4
"""Switches of one visit: each may have thousands of virtual datapaths to add up."""


class Rack:
    """The read side of one running service."""

    def __init__(
        self,
        edge: Edge,
        core: Mux,
        events: EventLog,
        links: Callable[[], nx.MultiDiGraph[int] | None] = lambda: None,
    ) -> None:
        """``links`` gives what discovery has found (``vmoc.topology.graph``), None when it does not run."""
        self.boot_id = secrets.token_hex(16)
        self.events = Stream(events, self.boot_id)
        self._edge = edge
        self._core = core
        self._log = events
        self._links = links
        self._loop = Loop(edge, core)
        self.flows = FlowShelf(self._loop).flows
        """See there."""

    # -- switches ----------------------------------------------------------------------------------

    def switches(self, token: str = "", size: int = 100, *, timeout: float = TIMEOUT) -> Page[SwitchSummary]:
        """Switches by DPID, also those that are away. Raises ``PageTokenError``."""
        deadline, view, epoch = monotonic() + timeout, self._core.view, _epoch()
        keys = self._loop.ask(view.switch_keys, deadline)
        start = bisect_right(keys, switch_of(token)) if token else 0
        wanted = keys[start : start + sane(size)]
        found: list[SwitchSummary] = []
        for at in range(0, len(wanted), SWITCHES):
            piece = wanted[at : at + SWITCHES]
            found += self._loop.ask(lambda piece=piece: self._secured(view.switches(piece, epoch)), deadline)  # type: ignore[misc]
        items = tuple(found)
        more = start + len(wanted) < len(keys)
        return Page(items, f"{wanted[-1][0]:x}.{wanted[-1][1]}" if more and wanted else "")

    def switch(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> SwitchStatus:
        """One switch. Raises ``NotKnownError``."""
        deadline, epoch = monotonic() + timeout, _epoch()
        key = self._loop.key(dpid, native_vlan, deadline)

        def look() -> SwitchStatus | None:
            found = self._core.view.switch(key, epoch)
            return found and replace(found, summary=self._secured([found.summary])[0])

        found = self._loop.ask(look, deadline)
        if found is None:
            raise NotKnownError(no_switch(dpid))
        return found

    def _secured(self, found: Iterable[SwitchSummary]) -> list[SwitchSummary]:
        """On the loop: with what only the connection knows."""
        return [replace(one, tls=True) if self._has_tls((one.dpid, one.native_vlan)) else one for one in found]

    def _has_tls(self, key: Key) -> bool:
        wire = self._edge.wires.get(self._core.view.connection(key) or 0)
        return wire is not None and wire.secured

    def datapaths(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> list[DatapathStatus]:
        """All virtual datapaths on a switch, by VLAN. Raises ``NotKnownError``."""
        deadline, epoch = monotonic() + timeout, _epoch()
        status = self.switch(dpid, native_vlan, timeout=timeout)
        key = status.summary.dpid, status.summary.native_vlan
        found: list[DatapathStatus] = []
        for start in range(0, len(status.vlans), PIECE):
            vlans = status.vlans[start : start + PIECE]
            found += self._loop.ask(lambda vlans=vlans: self._core.view.datapaths(key, vlans, epoch), deadline)  # type: ignore[misc]
        return found

    # -- slices ------------------------------------------------------------------------------------

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float = TIMEOUT) -> dict[str, SliceStatus]:
        """Every virtual datapath of the slices, in few visits to the loop; slices that are not known are left out."""
        deadline = monotonic() + timeout
        owners = self._owners(list(slice_ids), deadline)
        found: dict[str, list[DatapathStatus]] = {owner.id: [] for owner in owners}
        for one in self._statuses(owners, deadline):
            found[one.slice].append(one)
        return {
            owner.id: SliceStatus(
                owner.id,
                owner.enabled,
                tuple(sorted(found[owner.id], key=lambda one: (one.vlan, one.dpid, one.native_vlan))),
                dict(Counter(one.lifecycle for one in found[owner.id])),
            )
            for owner in owners
        }

    def _owners(self, names: list[str], deadline: float) -> list[Slice]:
        known = self._loop.ask(self._core.view.slices, deadline)
        return [owner for name in names if (owner := known.get(name)) is not None]

    def _slice(self, slice_id: str, deadline: float) -> Slice:
        owner = self._loop.ask(lambda: self._core.view.slice(slice_id), deadline)
        if owner is None:
            raise NotKnownError(f"there is no slice {slice_id}")
        return owner

    def _statuses(self, owners: Iterable[Slice], deadline: float) -> Iterator[DatapathStatus]:
        """The slices are immutable, so that they can be walked here and read there."""
        view, epoch = self._core.view, _epoch()
        todo = ((owner, segment) for owner in owners for segment in owner.segments)

        def steps() -> Iterator[list[DatapathStatus]]:
            for owner, segment in todo:
                places = view.places(segment)
                for start in range(0, max(len(places), 1), PIECE):
                    yield view.statuses(owner, segment, epoch, places[start : start + PIECE])

        walk = steps()

        def piece() -> tuple[list[DatapathStatus], bool]:
            # On the loop. A step may be one datapath or PIECE of them: at least one step, then up to PIECE in all.
            found: list[DatapathStatus] = []
            for steps_done, step in enumerate(walk, 1):
                found += step
                if len(found) >= PIECE or steps_done >= LOOKS:
                    return found, True
            return found, False

        more = True
        while more:
            found, more = self._loop.ask(piece, deadline)
            yield from found

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
        """Connections to controllers, oldest first. Raises ``PageTokenError``, and ``NotKnownError`` for the slice."""
        deadline, size, after = monotonic() + timeout, sane(size), number_of(token)
        if slice_id is not None:
            return self._connections_of(slice_id, after, size, dpid, state, deadline)
        view, epoch = self._core.view, _epoch()
        found: list[Connection] = []
        place: int | None = after
        while place is not None and len(found) < size:
            # Of links that are wanted PIECE are written out at most; of a few wanted ones among many, LOOKS are passed.
            looks = PIECE if dpid is None and state is None else 4 * PIECE
            part, place = self._loop.ask(
                lambda place=place, looks=looks: view.connections(place, looks, epoch, dpid, state),  # type: ignore[misc]
                deadline,
            )
            found += part
        if len(found) > size or (found and place is not None):
            del found[size:]
            return Page(tuple(found), str(found[-1].number))
        return Page(tuple(found))

    def _connections_of(
        self, slice_id: str, after: int, size: int, dpid: int | None, state: str | None, deadline: float
    ) -> Page[Connection]:
        owner = self._slice(slice_id, deadline)
        found = sorted(
            (
                link
                for one in self._statuses([owner], deadline)
                if dpid in (None, one.dpid)
                for link in one.controllers
                if link.number > after and state in (None, link.state)
            ),
            key=lambda link: link.number,
        )
        page = tuple(found[:size])
        return Page(page, str(page[-1].number) if len(found) > size else "")

    def connected_controllers(self, *, timeout: float = TIMEOUT) -> int:
        """How many connections to controllers are up."""
        _, links = self._loop.ask(self._core.tally, monotonic() + timeout)
        return sum(count for (_, state), count in links.items() if state == "active")

    # -- who ---------------------------------------------------------------------------------------

    def lookup_owner(
        self, vlan: int | None = None, dpid: int | None = None, port: int | None = None, *, timeout: float = TIMEOUT
    ) -> list[Owner]:
        """Who has a VLAN (on a switch, on a port of it), or who has a port; several where they share it."""
        deadline = monotonic() + timeout
        view = self._core.view
        placed = self._loop.ask(lambda: view.placed(vlan, dpid), deadline)
        found = []
        for owner, segment in placed:
            for attachment in segment.attachments if segment.attachments is not None else (None,):
                if attachment is None:
                    found.append(Owner(owner.id, segment.vlan, None, None, owner.enabled))
                elif dpid in (None, attachment.dpid) and (
                    port is None or attachment.ports is None or port in attachment.ports
                ):
                    ports = None if attachment.ports is None else tuple(sorted(attachment.ports))
                    found.append(Owner(owner.id, segment.vlan, attachment.dpid, ports, owner.enabled))
        return sorted(found, key=lambda one: (one.vlan, one.slice, one.dpid or 0))

    def topology(
        self, slice_id: str | None = None, *, among: Iterable[str] | None = None, timeout: float = TIMEOUT
    ) -> Network:
        """Switches, links and what slices (``among`` these) have of them; of one slice only that.

        Raises ``NotKnownError``.
        """
        deadline, view = monotonic() + timeout, self._core.view
        if slice_id is not None:
            self._slice(slice_id, deadline)
            names = [slice_id]
        else:
            names = list(self._loop.ask(view.slices, deadline)) if among is None else list(among)
        switches = self._network_switches(deadline)
        slices = (
            SlicePorts(one.slice, one.vlan, one.dpid, one.ports)
            for one in self._statuses(self._owners(names, deadline), deadline)
            if one.ports
        )
        network = Network(tuple(switches), self._seen_links(), tuple(sorted(slices)))
        return network if slice_id is None else network.of_slice(slice_id)

    def _network_switches(self, deadline: float) -> list[NetworkSwitch]:
        view, epoch = self._core.view, _epoch()
        switches = []
        for key in self._loop.ask(view.switch_keys, deadline):
            found = self._loop.ask(lambda key=key: view.switch(key, epoch), deadline)  # type: ignore[misc]
            if found is not None:
                one = found.summary
                switches.append(
                    NetworkSwitch(one.dpid, one.native_vlan, one.description, one.connected, found.ports, one.up)
                )
        return switches

    def _seen_links(self) -> tuple[NetworkLink, ...]:
        graph, epoch = self._links(), _epoch()
        links = (
            NetworkLink(
                source, data["source_port"], target, data["target_port"], data["since"] + epoch, data["seen"] + epoch
            )
            for source, target, data in (graph.edges(data=True) if graph is not None else ())
        )
        return tuple(sorted(links))

    # -- events ------------------------------------------------------------------------------------

    def watch(
        self,
        wanted: EventFilter | None = None,
        token: str = "",
        *,
        initial_state: bool = False,
        among: Collection[str] | None = None,
        on_news: Callable[[], None] | None = None,
    ) -> Subscription:
        """Read events; ``initial_state`` (without a token) begins with what is now, of slices ``among`` these.

        ``on_news`` is called on the loop, as told at ``Subscription.ready``. Raises ``TokenError`` and
        ``TooManyReadersError``.
        """
        wanted = wanted or EventFilter()
        prelude = self._state(wanted, among, self.events.now()) if initial_state and not token else None
        return self.events.subscribe(wanted, token, prelude, on_news)

    def _state(self, wanted: EventFilter, among: Collection[str] | None, token: str) -> Iterator[Item]:
        groups = wanted.groups if wanted.groups is not None else frozenset(Group)
        if Group.SWITCH in groups and (wanted.slices is None or wanted.unowned):
            place = ""
            while True:
                page = self.switches(place)
                yield from (StateItem(one) for one in page.items if wanted.dpids is None or one.dpid in wanted.dpids)
                place = page.next
                if not place:
                    break
        deadline = monotonic() + 12 * TIMEOUT
        names = list(self._loop.ask(self._core.view.slices, deadline)) if Group.SEGMENT in groups else []
        for chosen in (wanted.slices, among):
            if chosen is not None:
                names = [name for name in names if name in chosen]
        for one in self._statuses(self._owners(names, deadline), deadline):
            if wanted.dpids is None or one.dpid in wanted.dpids:
                yield StateItem(one)
        yield StateEnd(token)

    def audit(
        self, identity: str, method: str, slice_id: str | None, outcome: str, message: str = "", **detail: object
    ) -> None:
        """Record one mutating call; never waits. ``outcome`` is ``OK`` or the status; ``detail`` plain values."""
        fields: dict[str, object] = {"identity": identity, "method": method, "outcome": outcome, **detail}
        event = Event(Kind.CALL, slice=slice_id, reason=outcome, message=message or method, detail=fields)
        self._edge.call(lambda: self._log.record(event))


def _epoch() -> float:
    return time() - monotonic()


def number_of(token: str) -> int:
    """The number of a connection that a page token names. Raises ``PageTokenError``."""
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) < 20):
        raise bad_token()
    return int(token)


def switch_of(token: str) -> Key:
    """The switch that a page token names. Raises ``PageTokenError``."""
    dpid, _, native = token.partition(".")
    try:
        return int(dpid, 16), number_of(native)
    except ValueError:
        raise bad_token() from None
