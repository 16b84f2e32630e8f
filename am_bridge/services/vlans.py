"""ListVlans: every VLAN, who has it, and what is left of the pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from am_bridge import fields as read
from am_bridge.auth import Caller
from am_bridge.convert import MOST_RANGES
from am_bridge.paging import PageTokens, cut_page, page_size
from am_bridge.violations import Violations
from vmoc.ledger import SliceBook, VlanUse
from vmoc.ledger.errors import SliceNotFoundError
from vmoc.model import VLAN_MAX, VLAN_MIN, format_dpid, runs
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m

POOL: Final = "default"
"""The name of the one VLAN pool, ``vlans.pool`` of the configuration."""
_STATES: Final = {
    "used": m.VLAN_STATE_USED,
    "reserved": m.VLAN_STATE_RESERVED,
    "free": m.VLAN_STATE_FREE,
}


def list_vlans(book: SliceBook, request: m.ListVlansRequest, caller: Caller, tokens: PageTokens) -> m.ListVlansResponse:
    """A page of them. Raises ``ApiError``."""
    problems = Violations()
    dpid = read.read_dpid(request.dpid, "dpid", problems) if request.dpid else None
    first, last = VLAN_MIN, VLAN_MAX
    if request.HasField("range"):
        first = read.read_vlan(request.range.first, "range.first", problems)
        last = read.read_vlan(request.range.last, "range.last", problems)
        if last < first:
            problems.add("range.last", f"must not be below first, {first}; it is {last}")
    if request.pool not in ("", POOL):
        problems.add("pool", f"must be {POOL!r} or empty, not {read.shown(request.pool)}")
    if len(request.states) > MOST_RANGES:
        problems.add("states", f"must be at most {MOST_RANGES}, not {len(request.states)}")
    known = {number for number in m.VlanState.values() if number != m.VLAN_STATE_UNSPECIFIED}
    for index, state in enumerate(request.states[:MOST_RANGES]):
        if state not in known:
            problems.add(f"states[{index}]", f"must be one of VlanState, not {state}")
    problems.check()
    size = page_size(request.page_size, VLAN_MAX, VLAN_MAX)
    after = tokens.read(request, request.page_token)
    uses = book.vlans(dpid)
    wanted = set(request.states)
    found = [
        use
        for use in uses
        if first <= use.vlan <= last
        and (not wanted or _STATES[use.state] in wanted)
        and (not request.pool or use.in_pool)
    ]
    page, following = cut_page(found, lambda use: f"{use.vlan:04}", after, size)
    response = m.ListVlansResponse(vlans=[_vlan_message(book, use, caller) for use in page], pools=[_pool(uses)])
    if following is not None:
        response.next_page_token = tokens.make(request, following)
    return response


def _pool(uses: Iterable[VlanUse]) -> m.VlanPool:
    inside = [use for use in uses if use.in_pool]
    free = sum(use.state == "free" for use in inside)
    return m.VlanPool(
        name=POOL,
        ranges=[pb.VlanRange(first=first, last=last) for first, last in runs(use.vlan for use in inside)],
        free_count=free,
        used_count=len(inside) - free,
    )


def _vlan_message(book: SliceBook, use: VlanUse, caller: Caller) -> m.Vlan:
    message = m.Vlan(vlan_id=use.vlan, state=_STATES[use.state], pool=POOL if use.in_pool else "")
    holders: dict[str, list[int]] = {}
    for name, dpid in use.owners:
        switches = holders.setdefault(name, [])
        if dpid is not None:
            switches.append(dpid)
    for name, switches in holders.items():
        dpids = [format_dpid(dpid) for dpid in sorted(switches)]
        try:
            manager = book.get(name, manager=caller.scope).slice.manager
        except SliceNotFoundError:
            # Whose it is stays untold; where it is, is why the caller cannot have it.
            message.holders.append(m.VlanHolder(dpids=dpids))
        else:
            message.holders.append(m.VlanHolder(slice_id=name, manager=manager, dpids=dpids))
    return message
