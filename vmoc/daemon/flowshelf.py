"""The flows of a switch, for the API's threads: asked of the switch, set beside what is known, and kept a while.

Nothing is remembered between calls but a dump, for ``DUMP_KEPT`` seconds, so that the pages of a list are of one dump.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

from vmoc.daemon.asking import (
    PIECE,
    TIMEOUT,
    BusyError,
    Loop,
    NotKnownError,
    Page,
    SwitchAwayError,
    bad_token,
    no_switch,
    result,
    sane,
)
from vmoc.errors import Refused
from vmoc.mux import flowlist
from vmoc.mux.flowdump import Dump
from vmoc.mux.flowlist import Found, Source
from vmoc.mux.flows import SERIAL_BITS
from vmoc.mux.view import Key
from vmoc.status import FlowStatus

DUMP_KEPT: Final = 10.0
DUMPS: Final = 4


@dataclass(slots=True)
class _Kept:
    until: float
    version: int
    found: list[Found]
    places: list[bytes]


class FlowShelf:
    """See the module."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._lock = threading.Lock()

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
        deadline, size, after = monotonic() + timeout, sane(size), _place(token)
        key = self._loop.key(dpid, native_vlan, deadline)
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
        view = self._loop.core.view
        status = self._loop.ask(lambda: view.switch(key, 0.0), deadline)
        if status is None:
            raise NotKnownError(no_switch(key[0]))
        vlans = status.vlans if vlan is None else tuple(one for one in status.vlans if one == vlan)
        if slice_id is not None:
            segments = self._vlans_of(slice_id, deadline)
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

    def _vlans_of(self, slice_id: str, deadline: float) -> set[int]:
        owner = self._loop.ask(lambda: self._loop.core.view.slice(slice_id), deadline)
        if owner is None:
            raise NotKnownError(f"there is no slice {slice_id}")
        return {segment.vlan for segment in owner.segments}

    def _sources(self, key: Key, vlans: Sequence[int], slice_id: str | None, deadline: float) -> list[Source]:
        view = self._loop.core.view
        found: list[Source] = []
        for start in range(0, len(vlans), PIECE):
            part = vlans[start : start + PIECE]
            found += self._loop.ask(lambda part=part: view.flow_sources(key, part), deadline)  # type: ignore[misc]
        return [source for source in found if slice_id in (None, source.slice)]

    def _dump(self, key: Key, vlan: int | None, deadline: float) -> Dump:
        answer: Future[Dump] = Future()

        def give(dump: Dump) -> None:
            with suppress(InvalidStateError):  # nobody waits any more
                answer.set_result(dump)

        self._loop.edge.call(lambda: self._loop.core.view.dump_flows(key, vlan, give, monotonic()))
        dump = result(answer, deadline, "the switch did not tell its flows in time; try again")
        if dump.retry_after is not None:
            raise BusyError(f"{dump.problem}; try again in {dump.retry_after:.1f} s", dump.retry_after)
        if dump.problem:
            raise SwitchAwayError(dump.problem)
        return dump


def _place(token: str) -> bytes:
    try:
        return bytes.fromhex(token)
    except ValueError:
        raise bad_token() from None
