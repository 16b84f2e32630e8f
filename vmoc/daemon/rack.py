"""Everything the API shows, for its threads: asks the loop in small pieces, writes out elsewhere.

Rules of this file: no call is for the loop's own thread; every call ends
within its ``timeout`` (seconds); what is asked of the loop at a time is
bounded by ``PIECE``; nothing is remembered between calls but a flow dump, for
``DUMP_KEPT`` seconds, so that the pages of a list are of one dump.
"""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Final, Generic, TypeVar

import networkx as nx

from vmoc.errors import Refused, VmocError
from vmoc.events import Event, Kind
from vmoc.model import Slice, format_dpid
from vmoc.mux import flowlist
from vmoc.mux.core import Mux
from vmoc.mux.flowdump import Dump
from vmoc.mux.flowlist import Found, Source
from vmoc.mux.flows import SERIAL_BITS
from vmoc.mux.view import Key
from vmoc.net.edge import Edge
from vmoc.status import (
    Connection,
    DatapathStatus,
    FlowStatus,
    Lifecycle,
    Owner,
    SliceStatus,
    SwitchStatus,
    SwitchSummary,
)
from vmoc.telemetry.events import EventLog
from vmoc.telemetry.stream import EventFilter, Item, StateEnd, StateItem, Stream, Subscription
from vmoc.topology import Network, NetworkLink, NetworkSwitch, SlicePorts

TIMEOUT: Final = 5.0
PIECE: Final = 16
"""Virtual datapaths, switches or connections of one visit to the loop: well below a millisecond."""
LOOKS: Final = 256
"""Slices, segments or connections that may be passed over in one visit."""
DUMP_KEPT: Final = 10.0
DUMPS: Final = 4
MOST: Final = 10_000
T = TypeVar("T")


class RackTimeoutError(VmocError):
    """The loop, or a switch, did not answer in time."""


class NotKnownError(VmocError):
    """There is no such switch or slice."""


class SwitchAwayError(VmocError):
    """The switch cannot be asked."""


class BusyError(VmocError):
    """The switch has been asked too often; ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class PageTokenError(VmocError, ValueError):
    """A page token is not one of ours."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; ``next`` is the token of the following part, empty at the end."""

    items: tuple[T, ...]
    next: str = ""


@dataclass(slots=True)
class _Kept:
    until: float
    version: int
    found: list[Found]
    places: list[bytes]


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
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._lock = threading.Lock()

    # -- asking ------------------------------------------------------------------------------------

    def _ask(self, what: Callable[[], T], deadline: float) -> T:
        return _result(self._edge.ask(what), deadline, "VMOC is too busy to answer; try again")

    def _pieces(self, of: Sequence[Key], read: Callable[[Sequence[Key]], list[T]], deadline: float) -> Iterator[T]:
        for start in range(0, len(of), PIECE):
            piece = of[start : start + PIECE]
            yield from self._ask(lambda piece=piece: read(piece), deadline)  # type: ignore[misc]

    # -- switches ----------------------------------------------------------------------------------

    def switches(self, token: str = "", size: int = 100, *, timeout: float = TIMEOUT) -> Page[SwitchSummary]:
        """Switches by DPID, also those that are away. Raises ``PageTokenError``."""
        deadline, view, epoch = monotonic() + timeout, self._core.view, _epoch()
        keys = self._ask(view.switch_keys, deadline)
        start = bisect_right(keys, _key_of(token)) if token else 0
        wanted = keys[start : start + _sane(size)]
        items = tuple(self._pieces(wanted, lambda piece: view.switches(piece, epoch), deadline))
        more = start + len(wanted) < len(keys)
        return Page(items, f"{wanted[-1][0]:x}.{wanted[-1][1]}" if more and wanted else "")

    def switch(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> SwitchStatus:
        """One switch. Raises ``NotKnownError``."""
        deadline, epoch = monotonic() + timeout, _epoch()
        key = self._key(dpid, native_vlan, deadline)
        found = self._ask(lambda: self._core.view.switch(key, epoch), deadline)
        if found is None:
            raise NotKnownError(_no_switch(dpid))
        return found

    def datapaths(self, dpid: int, native_vlan: int | None = None, *, timeout: float = TIMEOUT) -> list[DatapathStatus]:
        """All virtual datapaths on a switch, by VLAN. Raises ``NotKnownError``."""
        deadline, epoch = monotonic() + timeout, _epoch()
        status = self.switch(dpid, native_vlan, timeout=timeout)
        key = status.summary.dpid, status.summary.native_vlan
        found: list[DatapathStatus] = []
        for start in range(0, len(status.vlans), PIECE):
            vlans = status.vlans[start : start + PIECE]
            found += self._ask(lambda vlans=vlans: self._core.view.datapaths(key, vlans, epoch), deadline)  # type: ignore[misc]
        return found

    def _key(self, dpid: int, native_vlan: int | None, deadline: float) -> Key:
        if native_vlan is not None:
            return dpid, native_vlan
        keys = self._ask(self._core.view.switch_keys, deadline)
        found = [key for key in keys if key[0] == dpid]
        if not found:
            raise NotKnownError(_no_switch(dpid))
        return found[0]

    # -- slices ------------------------------------------------------------------------------------

    def slice_status(self, slice_id: str, *, timeout: float = TIMEOUT) -> SliceStatus:
        """Every virtual datapath of a slice with its connections. Raises ``NotKnownError``."""
        deadline = monotonic() + timeout
        owner = self._slice(slice_id, deadline)
        found = list(self._datapaths_of(owner, deadline))
        found.sort(key=lambda one: (one.vlan, one.dpid, one.native_vlan))
        return SliceStatus(owner.id, owner.enabled, tuple(found), dict(Counter(one.lifecycle for one in found)))

    def slice_counts(self, slice_ids: Iterable[str], *, timeout: float = TIMEOUT) -> dict[str, dict[Lifecycle, int]]:
        """How many virtual datapaths of each lifecycle; slices that are not known are left out."""
        deadline = monotonic() + timeout
        counts: dict[str, dict[Lifecycle, int]] = {}
        for owner in self._owners(list(slice_ids), deadline):
            counts[owner.id] = {}
        for one in self._statuses(self._owners(list(counts), deadline), deadline):
            of_slice = counts[one.slice]
            of_slice[one.lifecycle] = of_slice.get(one.lifecycle, 0) + 1
        return counts

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float = TIMEOUT) -> dict[str, SliceStatus]:
        """The status of many slices in few visits to the loop; slices that are not known are left out."""
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
        known = self._ask(self._core.view.slices, deadline)
        return [owner for name in names if (owner := known.get(name)) is not None]

    def _slice(self, slice_id: str, deadline: float) -> Slice:
        owner = self._ask(lambda: self._core.view.slice(slice_id), deadline)
        if owner is None:
            raise NotKnownError(f"there is no slice {slice_id}")
        return owner

    def _datapaths_of(self, owner: Slice, deadline: float) -> Iterator[DatapathStatus]:
        return self._statuses([owner], deadline)

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
            found, more = self._ask(piece, deadline)
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
        deadline, size, after = monotonic() + timeout, _sane(size), _number(token)
        if slice_id is not None:
            return self._connections_of(slice_id, after, size, dpid, state, deadline)
        view, epoch = self._core.view, _epoch()
        found: list[Connection] = []
        place: int | None = after
        while place is not None and len(found) < size:
            # Of links that are wanted PIECE are written out at most; of a few wanted ones among many, LOOKS are passed.
            looks = PIECE if dpid is None and state is None else 4 * PIECE
            part, place = self._ask(
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
                for one in self._datapaths_of(owner, deadline)
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
        _, links = self._ask(self._core.tally, monotonic() + timeout)
        return sum(count for (_, state), count in links.items() if state == "active")

    # -- flows -------------------------------------------------------------------------------------

    def flows(
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
        """Flows by table and falling priority, in both forms; with ``counts`` as the switch itself tells them.

        Of one slice: its own, and VMOC's in its VLANs. Raises
        ``PageTokenError``, ``NotKnownError``, ``SwitchAwayError``,
        ``BusyError`` and ``RackTimeoutError``.
        """
        deadline, size, after = monotonic() + timeout, _sane(size), _place(token)
        key = self._key(dpid, native_vlan, deadline)
        wanted = (*key, slice_id, vlan, counts)
        with self._lock:
            kept = self._kept.get(wanted) if token else None
        if kept is None or kept.until < monotonic():
            kept = self._find_flows(key, slice_id, vlan, counts, deadline)
            with self._lock:
                self._kept.pop(wanted, None)
                while len(self._kept) >= DUMPS:
                    del self._kept[next(iter(self._kept))]
                self._kept[wanted] = kept
        start = bisect_right(kept.places, after) if token else 0
        part = kept.found[start : start + size]
        items = tuple(flowlist.write_out(one, kept.version, *key) for one in part)
        return Page(items, part[-1].place.hex() if start + len(part) < len(kept.found) else "")

    def _find_flows(self, key: Key, slice_id: str | None, vlan: int | None, counts: bool, deadline: float) -> _Kept:
        view = self._core.view
        status = self._ask(lambda: view.switch(key, 0.0), deadline)
        if status is None:
            raise NotKnownError(_no_switch(key[0]))
        vlans = status.vlans if vlan is None else tuple(one for one in status.vlans if one == vlan)
        if slice_id is not None:
            segments = {segment.vlan for segment in self._slice(slice_id, deadline).segments}
            vlans = tuple(one for one in vlans if one in segments)
        narrow = vlan is not None or slice_id is not None
        version = 1 if status.summary.version == "1.0" else 4
        dump: Dump | None = None
        before = self._sources(key, vlans, slice_id, deadline)
        if counts and (vlans or not narrow):
            dump = self._dump(key, vlans[0] if narrow and len(vlans) == 1 else None, deadline)
            version = dump.version
        # Entries come and go while the switch answers: one is missing only if it was there before, and still is.
        sources = self._sources(key, vlans, slice_id, deadline) if dump is not None else before
        expected = {source.tag << SERIAL_BITS | entry.serial for source in before for entry in source.entries}
        try:
            found = (
                flowlist.known(sources)
                if dump is None
                else flowlist.merge(sources, dump, key[1], strangers=slice_id is None, expected=expected)
            )
        except Refused as refused:
            raise SwitchAwayError(f"the switch's answer cannot be read: {refused.detail}") from refused
        if vlan is not None:
            found = [one for one in found if one.vlan == vlan]
        return _Kept(monotonic() + DUMP_KEPT, version, found, [one.place for one in found])

    def _sources(self, key: Key, vlans: Sequence[int], slice_id: str | None, deadline: float) -> list[Source]:
        view = self._core.view
        found: list[Source] = []
        for start in range(0, len(vlans), PIECE):
            part = vlans[start : start + PIECE]
            found += self._ask(lambda part=part: view.flow_sources(key, part), deadline)  # type: ignore[misc]
        return [source for source in found if slice_id in (None, source.slice)]

    def _dump(self, key: Key, vlan: int | None, deadline: float) -> Dump:
        answer: Future[Dump] = Future()

        def give(dump: Dump) -> None:
            with suppress(InvalidStateError):  # nobody waits any more
                answer.set_result(dump)

        self._edge.call(lambda: self._core.view.dump_flows(key, vlan, give, monotonic()))
        dump = _result(answer, deadline, "the switch did not tell its flows in time; try again")
        if dump.retry_after is not None:
            raise BusyError(f"{dump.problem}; try again in {dump.retry_after:.1f} s", dump.retry_after)
        if dump.problem:
            raise SwitchAwayError(dump.problem)
        return dump

    # -- who ---------------------------------------------------------------------------------------

    def lookup_owner(
        self, vlan: int | None = None, dpid: int | None = None, port: int | None = None, *, timeout: float = TIMEOUT
    ) -> list[Owner]:
        """Who has a VLAN (on a switch, on a port of it), or who has a port; several where they share it."""
        deadline = monotonic() + timeout
        view = self._core.view
        placed = self._ask(lambda: view.placed(vlan, dpid), deadline)
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

    def topology(self, slice_id: str | None = None, *, timeout: float = TIMEOUT) -> Network:
        """Switches, links and what slices have of them; of one slice only that. Raises ``NotKnownError``."""
        deadline, view, epoch = monotonic() + timeout, self._core.view, _epoch()
        names = [slice_id] if slice_id is not None else list(self._ask(view.slices, deadline))
        if slice_id is not None:
            self._slice(slice_id, deadline)
        switches = []
        for key in self._ask(view.switch_keys, deadline):
            found = self._ask(lambda key=key: view.switch(key, epoch), deadline)  # type: ignore[misc]
            if found is not None:
                one = found.summary
                switches.append(NetworkSwitch(one.dpid, one.native_vlan, one.description, one.connected, found.ports))
        slices = (
            SlicePorts(one.slice, one.vlan, one.dpid, one.ports)
            for one in self._statuses(self._owners(names, deadline), deadline)
            if one.ports
        )
        graph = self._links()
        links = (
            NetworkLink(
                source, data["source_port"], target, data["target_port"], data["since"] + epoch, data["seen"] + epoch
            )
            for source, target, data in (graph.edges(data=True) if graph is not None else ())
        )
        network = Network(tuple(switches), tuple(sorted(links)), tuple(sorted(slices)))
        return network if slice_id is None else network.of_slice(slice_id)

    # -- events ------------------------------------------------------------------------------------

    def watch(self, wanted: EventFilter | None = None, token: str = "", *, initial_state: bool = False) -> Subscription:
        """Read events; ``initial_state`` (without a token) begins with what is now.

        Raises ``TokenError`` and ``TooManyReadersError``.
        """
        wanted = wanted or EventFilter()
        prelude = self._state(wanted, self.events.now()) if initial_state and not token else None
        return self.events.subscribe(wanted, token, prelude)

    def _state(self, wanted: EventFilter, token: str) -> Iterator[Item]:
        if wanted.slices is None or wanted.unowned:
            place = ""
            while True:
                page = self.switches(place)
                yield from (StateItem(one) for one in page.items if wanted.dpids is None or one.dpid in wanted.dpids)
                place = page.next
                if not place:
                    break
        deadline = monotonic() + 12 * TIMEOUT
        names = list(self._ask(self._core.view.slices, deadline))
        if wanted.slices is not None:
            names = [name for name in names if name in wanted.slices]
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


def _result(future: Future[T], deadline: float, text: str) -> T:
    try:
        return future.result(max(0.0, deadline - monotonic()))
    except (TimeoutError, FutureTimeout):
        future.cancel()
        raise RackTimeoutError(text) from None


def _epoch() -> float:
    return time() - monotonic()


def _sane(size: int) -> int:
    return min(max(size, 1), MOST)


def _no_switch(dpid: int) -> str:
    return f"there is no switch {format_dpid(dpid)}; it has never been connected since VMOC started"


def _bad_token() -> PageTokenError:
    return PageTokenError("the page token is not one of VMOC's; leave it out to begin anew")


def _number(token: str) -> int:
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) < 20):
        raise _bad_token()
    return int(token)


def _place(token: str) -> bytes:
    try:
        return bytes.fromhex(token)
    except ValueError:
        raise _bad_token() from None


def _key_of(token: str) -> Key:
    dpid, _, native = token.partition(".")
    try:
        return int(dpid, 16), _number(native)
    except ValueError:
        raise _bad_token() from None
