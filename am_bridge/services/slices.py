"""SliceService: slices are changed in the book and read from it; how they are doing is the rack's to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message

from am_bridge import convert, reasons
from am_bridge import fields as read
from am_bridge.call import Call, shown_name
from am_bridge.convert import Asked, slice_message
from am_bridge.fieldmask import apply_mask
from am_bridge.handlers.operations import Sliver
from am_bridge.once import once_of
from am_bridge.paging import PageTokens, page_size
from am_bridge.refusals import refusal
from am_bridge.services.owners import OwnerRack, lookup_owner
from am_bridge.services.told import entry_message, slice_status_message
from am_bridge.services.vlans import POOL, list_vlans
from am_bridge.status import ApiError
from am_bridge.violations import Violations, violation
from vmoc.errors import VmocError
from vmoc.ledger import Entry, Outcome, SliceBook
from vmoc.ledger.vlans import Fits
from vmoc.model import Limits, Slice
from vmoc.status import SliceStatus
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m

PAGE: Final = 100
MOST_PAGE: Final = 1000
PAGE_BYTES: Final = 3 << 20
"""Of slices in one answer: callers that change nothing take 4 MiB."""
_LATEST: Final = 253_402_300_799
A = TypeVar("A", bound=Message)


class SliceRack(OwnerRack, Protocol):
    """What of the running service this needs."""

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float) -> dict[str, SliceStatus]: ...


class SliceService:
    """See the module. ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        book: SliceBook,
        rack: SliceRack,
        tokens: PageTokens,
        defaults: Callable[[], Limits],
        wall: Callable[[], float] = time.time,
        slivers: Callable[[], Iterable[Sliver]] = lambda: (),
    ) -> None:
        self._book = book
        self._slivers = slivers
        self._rack = rack
        self._tokens = tokens
        self._defaults = defaults
        self._wall = wall

    # -- changing ------------------------------------------------------------------------------------------------------

    def RegisterSlice(self, request: m.RegisterSliceRequest, call: Call) -> m.RegisterSliceResponse:
        """Create or replace one."""
        call.slice_id = shown_name(request.slice.slice_id)
        asked = convert.asked_slice(request.slice, self._defaults())

        def answer(outcome: Outcome) -> m.RegisterSliceResponse:
            return _registered(_changes(outcome), outcome.entries[0])

        with self._refusals(call, {asked.slice.id: "slice"}):
            outcome = self._book.register(
                [asked.slice],
                once=once_of(request, call.caller, answer),
                etags={asked.slice.id: request.slice.etag},
                choices=self._choices([asked]),
                manager=call.caller.scope,
                dry_run=request.validate_only,
            )
        return _answer(outcome, answer, m.RegisterSliceResponse)

    def BatchRegisterSlices(self, request: m.BatchRegisterSlicesRequest, call: Call) -> m.BatchRegisterSlicesResponse:
        """Create or replace many."""
        call.detail["slices"] = len(request.slices)
        asked = convert.asked_slices(request.slices, self._defaults(), convert.MOST_BATCH)

        def answer(outcome: Outcome) -> m.BatchRegisterSlicesResponse:
            changes = _changes(outcome)
            return m.BatchRegisterSlicesResponse(results=[_registered(changes, entry) for entry in outcome.entries])

        with self._refusals(call, _paths(asked)):
            outcome = self._book.register(
                [one.slice for one in asked],
                once=once_of(request, call.caller, answer),
                etags={one.slice_id: one.etag for one in request.slices if one.etag},
                choices=self._choices(asked),
                manager=call.caller.scope,
                dry_run=request.validate_only,
            )
        return _answer(outcome, answer, m.BatchRegisterSlicesResponse)

    def SyncSlices(self, request: m.SyncSlicesRequest, call: Call) -> m.SyncSlicesResponse:
        """Make them all a manager has."""
        call.detail["slices"] = len(request.slices)
        manager = self._manager(request.manager, call)
        call.detail["manager"] = manager
        asked = convert.asked_slices(request.slices, self._defaults(), convert.MOST_SYNC)

        def answer(outcome: Outcome) -> m.SyncSlicesResponse:
            changes = _changes(outcome)
            response = m.SyncSlicesResponse(removed_slice_ids=outcome.removed)
            for entry in outcome.entries:
                match changes.get(entry.slice.id):
                    case pb.CHANGE_KIND_ADDED:
                        response.added.append(entry_message(entry))
                    case pb.CHANGE_KIND_CHANGED:
                        response.changed.append(entry_message(entry))
                    case _:
                        response.unchanged_slice_ids.append(entry.slice.id)
            return response

        with self._refusals(call, _paths(asked)):
            outcome = self._book.sync(
                manager,
                [one.slice for one in asked],
                choices=self._choices(asked),
                once=once_of(request, call.caller, answer),
                dry_run=request.validate_only,
            )
        return _answer(outcome, answer, m.SyncSlicesResponse)

    def UpdateSlice(self, request: m.UpdateSliceRequest, call: Call) -> pb.Slice:
        """Set the fields that the mask names."""
        call.slice_id = slice_id = read.name_of(request.slice.slice_id, "slice.slice_id")
        mask = request.update_mask if request.HasField("update_mask") else None
        choices: dict[str, Mapping[int, Fits]] = {}

        def change(old: Slice) -> Slice:
            asked = convert.asked_slice(apply_mask(mask, slice_message(old), request.slice), self._defaults())
            choices.update(self._choices([asked]))
            return asked.slice

        with self._refusals(call, {slice_id: "slice"}):
            outcome = self._book.edit(
                slice_id,
                change,
                etag=request.slice.etag,
                choices=choices,
                once=once_of(request, call.caller, _first),
                manager=call.caller.scope,
                dry_run=request.validate_only,
            )
        return _answer(outcome, _first, pb.Slice)

    def UnregisterSlice(self, request: m.UnregisterSliceRequest, call: Call) -> m.UnregisterSliceResponse:
        """Remove one."""
        call.slice_id = slice_id = read.name_of(request.slice_id, "slice_id")

        def answer(outcome: Outcome) -> m.UnregisterSliceResponse:
            last = [entry_message(entry) for entry in outcome.last]
            return m.UnregisterSliceResponse(slice=last[0] if last else None)

        with self._refusals(call):
            outcome = self._book.unregister(
                [slice_id],
                once=once_of(request, call.caller, answer),
                etags={slice_id: request.etag},
                manager=call.caller.scope,
                missing_ok=request.allow_missing,
                dry_run=request.validate_only,
            )
        return _answer(outcome, answer, m.UnregisterSliceResponse)

    def RenewSlice(self, request: m.RenewSliceRequest, call: Call) -> pb.Slice:
        """Set when one expires."""
        call.slice_id = slice_id = read.name_of(request.slice_id, "slice_id")
        problems = Violations()
        match request.WhichOneof("expiration"):
            case "expire_time":
                until = read.read_time(request.expire_time, "expire_time", problems)
            case "ttl":
                until = self._wall() + read.read_duration(request.ttl, "ttl", problems)
                if until > _LATEST:
                    problems.add("ttl", "must end before the year 10000")
            case _:
                raise violation("expire_time", "must be given, or ttl")
        problems.check()
        with self._refusals(call, {slice_id: "slice"}):
            outcome = self._book.renew(
                slice_id,
                until,
                etag=request.etag,
                once=once_of(request, call.caller, _first),
                manager=call.caller.scope,
                dry_run=request.validate_only,
            )
        return _answer(outcome, _first, pb.Slice)

    def EnableSlice(self, request: m.EnableSliceRequest, call: Call) -> pb.Slice:
        """Switch one on."""
        return self._set_enabled(request, True, call)

    def DisableSlice(self, request: m.DisableSliceRequest, call: Call) -> pb.Slice:
        """Switch one off."""
        return self._set_enabled(request, False, call)

    def _set_enabled(
        self, request: m.EnableSliceRequest | m.DisableSliceRequest, enabled: bool, call: Call
    ) -> pb.Slice:
        call.slice_id = slice_id = read.name_of(request.slice_id, "slice_id")
        with self._refusals(call):
            outcome = self._book.set_enabled(
                slice_id,
                enabled,
                etag=request.etag,
                once=once_of(request, call.caller, _first),
                manager=call.caller.scope,
                dry_run=request.validate_only,
            )
        return _answer(outcome, _first, pb.Slice)

    # -- reading -------------------------------------------------------------------------------------------------------

    def GetSlice(self, request: m.GetSliceRequest, call: Call) -> pb.Slice:
        """One, with its status unless that is not wanted."""
        slice_id, full = read.name_of(request.slice_id, "slice_id"), _full(request.view, True)
        with self._refusals(call):
            entry = self._book.get(slice_id, manager=call.caller.scope)
        message = entry_message(entry)
        if full:
            status = self._rack.slice_statuses([slice_id], timeout=call.left).get(slice_id)
            message.status.CopyFrom(slice_status_message(status))
        return message

    def ListSlices(self, request: m.ListSlicesRequest, call: Call) -> m.ListSlicesResponse:
        """A page, in the order of ids."""
        wanted, full = _condition(request, call), _full(request.view, False)
        size = page_size(request.page_size, PAGE, MOST_PAGE)
        after = self._tokens.read(request, request.page_token)
        entries, following = self._book.page(after or "", size, wanted)
        statuses: dict[str, SliceStatus] = {}
        if full:
            statuses = self._rack.slice_statuses([entry.slice.id for entry in entries], timeout=call.left)
        response, total = m.ListSlicesResponse(), 0
        for position, entry in enumerate(entries):
            message = entry_message(entry)
            if full:
                message.status.CopyFrom(slice_status_message(statuses.get(entry.slice.id)))
            total += message.ByteSize()
            if position and total > PAGE_BYTES:
                following = entries[position - 1].slice.id
                break
            response.slices.append(message)
        if following is not None:
            response.next_page_token = self._tokens.make(request, following)
        return response

    def ListVlans(self, request: m.ListVlansRequest, call: Call) -> m.ListVlansResponse:
        """VLANs and who has them."""
        return list_vlans(self._book, request, call.caller, self._tokens)

    def LookupOwner(self, request: m.LookupOwnerRequest, call: Call) -> m.LookupOwnerResponse:
        """Who has a VLAN, a port or an address; of ports and addresses also which sliver, as its handler last said."""
        return lookup_owner(self._book, self._rack, self._slivers(), request, call)

    # -- between -------------------------------------------------------------------------------------------------------

    def _manager(self, asked: str, call: Call) -> str:
        problems = Violations()
        manager = read.read_name(asked, "manager", problems, optional=True) or call.caller.manager
        if not manager and not problems.count:
            problems.add("manager", "must be given by a caller who has none of its own")
        problems.check()
        if call.caller.scope not in (None, manager):
            text = f"only slices of manager {call.caller.manager} are yours to sync"
            raise ApiError(reasons.NOT_OWNER, text, metadata={"manager": manager})
        return manager

    def _choices(self, asked: Sequence[Asked]) -> dict[str, Mapping[int, Fits]]:
        for one in asked:
            for choice in one.choices.values():
                if choice.pool not in ("", POOL):
                    raise violation("vlan_choice.pool", f"must be {POOL!r} or empty, not {read.shown(choice.pool)}")
        return {
            one.slice.id: {index: choice.allows for index, choice in one.choices.items()}
            for one in asked
            if one.choices
        }

    @contextmanager
    def _refusals(self, call: Call, paths: Mapping[str, str] | None = None) -> Iterator[None]:
        try:
            yield
        except ApiError:
            raise
        except VmocError as error:
            told = refusal(error, self._book, call.caller, paths or {})
            if told is None:
                raise
            raise told from error


def _changes(outcome: Outcome) -> dict[str, pb.ChangeKind]:
    """What became of slices, by id; those that are not in it are unchanged."""
    added = dict.fromkeys(outcome.added, pb.CHANGE_KIND_ADDED)
    return added | dict.fromkeys(outcome.changed, pb.CHANGE_KIND_CHANGED)


def _registered(changes: Mapping[str, pb.ChangeKind], entry: Entry) -> m.RegisterSliceResponse:
    change = changes.get(entry.slice.id, pb.CHANGE_KIND_UNCHANGED)
    return m.RegisterSliceResponse(slice=entry_message(entry), change=change)


def _first(outcome: Outcome) -> pb.Slice:
    return entry_message(outcome.entries[0])


def _answer(outcome: Outcome, make: Callable[[Outcome], A], kind: type[A]) -> A:
    """What ``make`` makes of the outcome, or made of the first one's."""
    return make(outcome) if outcome.answer is None else kind.FromString(outcome.answer)


def _paths(asked: Sequence[Asked]) -> dict[str, str]:
    return {one.slice.id: f"slices[{index}]" for index, one in enumerate(asked)}


def _full(view: m.SliceView, default: bool) -> bool:
    if view == m.SLICE_VIEW_UNSPECIFIED:
        return default
    if view not in (m.SLICE_VIEW_BASIC, m.SLICE_VIEW_FULL):
        raise violation("view", f"must be one of SliceView, not {view}")
    return view == m.SLICE_VIEW_FULL


def _condition(request: m.ListSlicesRequest, call: Call) -> Callable[[Entry], bool] | None:
    """What the conditions of a ListSlices come to; None if every slice will do."""
    problems = Violations()
    vlan = read.read_vlan(request.vlan_id, "vlan_id", problems, optional=True)
    dpid = read.read_dpid(request.dpid, "dpid", problems) if request.dpid else None
    manager = read.read_name(request.manager, "manager", problems, optional=True)
    owner = read.read_text(request.owner, "owner", problems, convert.MOST_OWNER)
    labels = dict(request.labels)
    if len(labels) > convert.MOST_LABELS:
        problems.add("labels", f"must be at most {convert.MOST_LABELS}, not {len(labels)}")
    origins = {pb.SLICE_ORIGIN_UNSPECIFIED, pb.SLICE_ORIGIN_FILE, pb.SLICE_ORIGIN_API}
    if request.origin not in origins:
        problems.add("origin", f"must be one of SliceOrigin, not {request.origin}")
    states = {pb.ADMIN_STATE_UNSPECIFIED, pb.ADMIN_STATE_ENABLED, pb.ADMIN_STATE_DISABLED}
    if request.admin_state not in states:
        problems.add("admin_state", f"must be one of AdminState, not {request.admin_state}")
    problems.check()
    tests: list[Callable[[Slice], bool]] = []
    scope = call.caller.scope
    if scope is not None:
        tests.append(lambda one: one.manager == scope)
    if manager:
        tests.append(lambda one: one.manager == manager)
    if owner:
        tests.append(lambda one: one.owner == owner)
    for key, value in labels.items():
        tests.append(lambda one, key=key, value=value: _labelled(one, key, value))  # type: ignore[misc]
    if request.origin:
        tests.append(lambda one: convert.origin_of(one) == request.origin)
    if request.admin_state:
        enabled = request.admin_state == pb.ADMIN_STATE_ENABLED
        tests.append(lambda one: one.enabled == enabled)
    if vlan or dpid is not None:
        tests.append(lambda one: _has_segment(one, vlan, dpid))
    return (lambda entry: all(test(entry.slice) for test in tests)) if tests else None


def _labelled(one: Slice, key: str, value: str) -> bool:
    found = one.labels.get(key)
    return found is not None and value in ("", found)


def _has_segment(one: Slice, vlan: int, dpid: int | None) -> bool:
    """Whether one segment fits both conditions, those that are given."""
    return any(
        vlan in (0, segment.vlan)
        and (
            dpid is None
            or segment.attachments is None
            or any(attachment.dpid == dpid for attachment in segment.attachments)
        )
        for segment in one.segments
    )
