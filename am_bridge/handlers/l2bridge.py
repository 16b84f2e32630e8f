"""Networks as slivers: ``L2Bridge`` is a VLAN of the slice, and what cards on it get.

The book is the truth. A segment that a network added is named by a label of
its slice, ``network:SLIVER``, stored in the same transaction; so a creation
that was cut off anywhere is found, taken up or undone. A network may also be
about a VLAN that the slice has anyway, which it neither adds nor removes.

Properties: ``vlan`` (0: any of the pool), ``controllers``, ``presentation``,
``dpid``, ``fail_mode``, ``attachments`` (``[{dpid, ports}]``; without them every
switch), ``subnet`` and ``gateway`` (cards without addresses get one), ``mtu``.
With ``follow`` the segment is where the cards on the network are, beside ``attachments``.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from am_bridge.handlers.catalogue import HandlerConfig
from am_bridge.handlers.difference import Difference
from am_bridge.handlers.handler import (
    FailureKind,
    HandlerError,
    HandlerFailure,
    HandlerResult,
    Progress,
    Run,
    SliverSpec,
    SliverState,
)
from am_bridge.handlers.operations import Sliver
from vmoc.ledger import Entry, SliceBook
from vmoc.ledger.errors import ConflictError, LedgerError, OccupiedVlanError, PoolEmptyError, SliceNotFoundError
from vmoc.model import (
    Attachment,
    DpidScheme,
    Endpoint,
    FailMode,
    Presentation,
    Segment,
    Slice,
    parse_dpid,
)
from vmoc.store import StoreError

_log = logging.getLogger(__name__)

LABEL: Final = "network:"
_TRIES: Final = 8
_ADDRESS: Final = {"type": "string", "maxLength": 64}
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "vlan": {"type": "integer", "minimum": 0, "maximum": 4094},
        "controllers": {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": 16},
        "presentation": {"enum": [one.value for one in Presentation]},
        "dpid": {"enum": [one.value for one in DpidScheme]},
        "fail_mode": {"enum": [one.value for one in FailMode]},
        "attachments": {
            "type": "array",
            "maxItems": 256,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["dpid"],
                "properties": {
                    "dpid": {"type": "string", "maxLength": 64},
                    "ports": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 1024},
                },
            },
        },
        "follow": {"type": "boolean"},
        "subnet": _ADDRESS,
        "gateway": _ADDRESS,
        "mtu": {"type": "integer", "minimum": 576, "maximum": 9216},
    },
}


class L2Bridge:
    """See the module. Slices are changed in the book, on behalf of callers that were let in."""

    def __init__(self, config: HandlerConfig, book: SliceBook) -> None:
        self._book = book
        self._variables = config.variables

    def create(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        segment = read_segment(spec.properties)
        addresses = read_addresses(spec.properties)
        run.report(Progress("task", task="Segment of the slice"))
        entry = self._entry(spec)
        vlan = added_vlan(entry.slice, spec.sliver_id)
        own = {one.vlan: one for one in entry.slice.segments}
        if vlan and spec.properties.get("follow"):
            segment = replace(segment, attachments=own[vlan].attachments)  # where its cards are
        if vlan and segment.vlan not in (0, vlan):
            raise _refused(f"the network has VLAN {vlan} already; delete it first")
        if not vlan and segment.vlan in own:
            vlan = segment.vlan  # the slice's own, whatever becomes of the network
        elif not vlan:
            vlan = self._add(spec, segment)
        elif own.get(vlan) != replace(segment, vlan=vlan):
            self._put(spec, replace(segment, vlan=vlan))
        run.report(Progress("changed", text=f"VLAN {vlan}", task="Segment of the slice"))
        return self._result(vlan, addresses)

    def modify(self, run: Run, old: SliverSpec, new: SliverSpec, difference: Difference) -> HandlerResult:
        """See ``Handler``."""
        return self.create(run, new)

    def delete(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        removed: list[str] = []

        def without(one: Slice) -> Slice:
            vlan = added_vlan(one, spec.sliver_id)
            if vlan:
                removed.append(f"vlan:{vlan}")
            kept = tuple(segment for segment in one.segments if segment.vlan != vlan)
            labels = {key: text for key, text in one.labels.items() if key != LABEL + spec.sliver_id}
            return replace(one, segments=kept, labels=labels)

        try:
            if added_vlan(self._book.get(spec.slice_id).slice, spec.sliver_id):
                self._book.edit(spec.slice_id, without)
        except SliceNotFoundError:
            pass  # and its segments with it
        except (LedgerError, StoreError) as error:
            raise _failed(error) from error
        return HandlerResult(SliverState.ABSENT, facts={"removed": removed}, changed=bool(removed))

    def probe(self, run: Run, spec: SliverSpec) -> HandlerResult:
        """See ``Handler``."""
        try:
            entry = self._book.get(spec.slice_id)
        except SliceNotFoundError:
            return HandlerResult(SliverState.ABSENT, problems=("its slice is gone",))
        vlan = added_vlan(entry.slice, spec.sliver_id) or int(spec.properties.get("vlan", 0))
        if vlan not in {segment.vlan for segment in entry.slice.segments}:
            return HandlerResult(SliverState.ABSENT, problems=("its slice has lost the segment",))
        return self._result(vlan, read_addresses(spec.properties))

    def action(self, run: Run, spec: SliverSpec, name: str, parameters: Mapping[str, Any]) -> HandlerResult:
        """See ``Handler``."""
        raise HandlerError(HandlerFailure(FailureKind.UNSUPPORTED, "a network has no actions"))

    def clean(self, operation: str) -> None:
        """Nothing is ever left running."""

    # -- inside --------------------------------------------------------------------------------------------------------

    def _entry(self, spec: SliverSpec) -> Entry:
        try:
            return self._book.get(spec.slice_id)
        except LedgerError as error:
            raise _failed(error) from error

    def _add(self, spec: SliverSpec, segment: Segment) -> int:
        """A new segment; of VLANs that are nobody's where any will do."""
        if segment.vlan:
            self._put(spec, segment)
            return segment.vlan
        for use in self._free()[:_TRIES]:
            try:
                self._put(spec, replace(segment, vlan=use), retry=True)
            except (ConflictError, OccupiedVlanError):
                continue  # somebody was faster
            return use
        text = "no VLAN of the pool is free; name one, or enlarge vlans.pool"
        raise HandlerError(HandlerFailure(FailureKind.EXHAUSTED, text))

    def _free(self) -> list[int]:
        pool = self._book.pool
        return [use.vlan for use in self._book.vlans() if use.state == "free" and use.vlan in pool]

    def _put(self, spec: SliverSpec, segment: Segment, *, retry: bool = False) -> None:
        def with_segment(one: Slice) -> Slice:
            kept = tuple(other for other in one.segments if other.vlan != segment.vlan)
            labels = {**one.labels, LABEL + spec.sliver_id: str(segment.vlan)}
            return replace(one, segments=(*kept, segment), labels=labels)

        try:
            self._book.edit(spec.slice_id, with_segment)
        except (LedgerError, StoreError) as error:
            if retry and isinstance(error, (ConflictError, OccupiedVlanError)):
                raise
            raise _failed(error) from error

    def _result(self, vlan: int, addresses: Mapping[str, Any]) -> HandlerResult:
        facts = {"vlan": vlan, **addresses}
        if isinstance(self._variables.get("bridge"), str):
            facts["bridge"] = self._variables["bridge"]
        return HandlerResult(SliverState.READY, instance=f"vlan{vlan}", facts=facts)


def follow_cards(book: SliceBook, slivers: Sequence[Sliver]) -> None:
    """Let the segments of networks that ``follow`` be where their cards are."""
    for network in slivers:
        spec = network.spec
        followed = spec.properties.get("follow") is True and network.result is not None
        if not followed or network.state is not SliverState.READY:
            continue
        base = read_segment(spec.properties).attachments or ()
        wanted = attachments_of(base, cards_on(network, slivers))

        def moved(one: Slice, name: str = spec.sliver_id, wanted: tuple[Attachment, ...] = wanted) -> Slice:
            vlan = added_vlan(one, name)
            segments = (replace(each, attachments=wanted) if each.vlan == vlan else each for each in one.segments)
            return replace(one, segments=tuple(segments))

        try:
            before = book.get(spec.slice_id).slice
            if added_vlan(before, spec.sliver_id) and moved(before) != before:
                book.edit(spec.slice_id, moved)
        except (LedgerError, StoreError) as error:
            _log.error("network %s cannot follow its cards: %s", network.key, error)


def cards_on(network: Sliver, slivers: Sequence[Sliver]) -> Iterator[tuple[int, int]]:
    """DPID and port of every card on a network, as far as known."""
    for one in slivers:
        if one.key.slice_id != network.key.slice_id or one.result is None:
            continue
        names = {nic.name for nic in one.spec.interfaces if nic.network == network.key.sliver_id}
        for card in one.result.interfaces:
            if card.name in names and card.dpid and card.port > 0:
                yield parse_dpid(card.dpid), card.port


def added_vlan(one: Slice, sliver_id: str) -> int:
    """The VLAN of the segment that a network added to the slice; 0 if it added none."""
    text = one.labels.get(LABEL + sliver_id, "")
    vlan = int(text) if text.isdecimal() else 0
    return vlan if vlan in {segment.vlan for segment in one.segments} else 0


def read_segment(properties: Mapping[str, Any]) -> Segment:
    """The segment that properties, checked by ``SCHEMA``, describe. Raises ``HandlerError``."""
    try:
        found = properties.get("attachments")
        attachments = None if found is None else tuple(_attachment(one) for one in found)
        if properties.get("follow") and attachments is None:
            attachments = ()
        return Segment(
            int(properties.get("vlan", 0)),
            tuple(Endpoint.parse(text) for text in properties.get("controllers", ())),
            Presentation(properties.get("presentation", Presentation.TAGGED)),
            DpidScheme(properties.get("dpid", DpidScheme.VLAN)),
            attachments,
            FailMode(properties.get("fail_mode", FailMode.SECURE)),
        )
    except ValueError as error:
        raise _refused(f"the network cannot be: {error}") from error


def _attachment(one: Mapping[str, Any]) -> Attachment:
    ports = one.get("ports")
    return Attachment(parse_dpid(one["dpid"]), None if ports is None else frozenset(int(port) for port in ports))


def read_addresses(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What cards on the network get: ``subnet``, ``gateway``, ``mtu``, if they are given. Raises ``HandlerError``."""
    found: dict[str, Any] = {}
    try:
        if text := properties.get("subnet"):
            network = ipaddress.ip_network(text)
            found["subnet"] = str(network)
            if gateway := properties.get("gateway"):
                if ipaddress.ip_address(gateway) not in network:
                    raise _refused(f"gateway {gateway} is not in {network}")
                found["gateway"] = str(ipaddress.ip_address(gateway))
        elif properties.get("gateway"):
            raise _refused("a gateway needs a subnet")
    except ValueError as error:
        raise _refused(f"the network cannot be: {error}") from error
    if properties.get("mtu"):
        found["mtu"] = int(properties["mtu"])
    return found


def attachments_of(base: Iterable[Attachment], cards: Iterable[tuple[int, int]]) -> tuple[Attachment, ...]:
    """``base`` and where cards are, as (DPID, port)."""
    places: dict[int, frozenset[int] | None] = {one.dpid: one.ports for one in base}
    for dpid, port in cards:
        ports = places.get(dpid, frozenset())
        places[dpid] = None if ports is None else ports | {port}
    return tuple(Attachment(dpid, ports) for dpid, ports in sorted(places.items()))


def _refused(text: str) -> HandlerError:
    return HandlerError(HandlerFailure(FailureKind.INVALID, text))


def _failed(error: LedgerError | StoreError) -> HandlerError:
    kind = FailureKind.TASK if isinstance(error, StoreError) else FailureKind.INVALID
    if isinstance(error, PoolEmptyError):
        kind = FailureKind.EXHAUSTED
    return HandlerError(HandlerFailure(kind, str(error)))
