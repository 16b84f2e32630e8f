"""SwitchService: switches, their flows, links, and connections to controllers, as the rack tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from am_bridge import fields as read
from am_bridge.call import Call
from am_bridge.paging import PageTokens, page_size
from am_bridge.services.sight import Sight
from am_bridge.services.told import (
    CONNECTIONS,
    connection_message,
    datapath_message,
    flow_message,
    port_message,
    summary_message,
    switch_state,
    topology_message,
)
from am_bridge.services.told import KINDS as FLOW_KINDS
from am_bridge.violations import Violations
from vmoc.ledger import SliceBook
from vmoc.status import Connection, DatapathStatus, FlowStatus, SliceStatus, SwitchStatus, SwitchSummary
from vmoc.topology import Network
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import switches_pb2 as m

PAGE: Final = 100
MOST_PAGE: Final = 1000
FLOWS: Final = 1000
MOST_FLOWS: Final = 10_000
MOST_TABLE: Final = 254
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Part(Protocol[T_co]):
    """Of a list of the rack's; ``next`` is where it goes on, empty at the end."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str: ...


class SwitchRack(Protocol):
    """What of the running service this needs. ``timeout`` is in seconds."""

    def switches(self, token: str = ..., size: int = ..., *, timeout: float) -> Part[SwitchSummary]: ...

    def switch(self, dpid: int, native_vlan: int | None = ..., *, timeout: float) -> SwitchStatus: ...

    def datapaths(self, dpid: int, native_vlan: int | None = ..., *, timeout: float) -> list[DatapathStatus]: ...

    def slice_statuses(self, slice_ids: Iterable[str], *, timeout: float) -> dict[str, SliceStatus]: ...

    def connections(
        self,
        token: str = ...,
        size: int = ...,
        *,
        slice_id: str | None = ...,
        dpid: int | None = ...,
        state: str | None = ...,
        timeout: float,
    ) -> Part[Connection]: ...

    @property
    def flows(self) -> Flows: ...

    def topology(self, slice_id: str | None = ..., *, among: Iterable[str] | None = ..., timeout: float) -> Network: ...


class Flows(Protocol):
    """Of one switch."""

    def __call__(
        self,
        dpid: int,
        *,
        native_vlan: int | None = ...,
        slice_id: str | None = ...,
        vlan: int | None = ...,
        token: str = ...,
        size: int = ...,
        timeout: float,
    ) -> Part[FlowStatus]: ...


class SwitchService:
    """See the module."""

    def __init__(self, book: SliceBook, rack: SwitchRack, tokens: PageTokens) -> None:
        self._book = book
        self._rack = rack
        self._tokens = tokens

    def ListSwitches(self, request: m.ListSwitchesRequest, call: Call) -> m.ListSwitchesResponse:
        """A page, in the order of DPIDs."""
        problems = Violations()
        _known(request.state, m.SwitchState, "state", problems)
        problems.check()
        size = page_size(request.page_size, PAGE, MOST_PAGE)
        after = self._tokens.read(request, request.page_token) or ""
        places: set[tuple[int, int]] | None = None
        if request.slice_id:
            name = Sight(self._book, call.caller).slice(request.slice_id).slice.id
            status = self._rack.slice_statuses([name], timeout=call.left).get(name)
            datapaths = status.datapaths if status is not None else ()
            places = {(one.dpid, one.native_vlan) for one in datapaths if one.state != "absent"}

        def wanted(one: SwitchSummary) -> bool:
            return request.state in (m.SWITCH_STATE_UNSPECIFIED, switch_state(one.connected, one.up)) and (
                places is None or (one.dpid, one.native_vlan) in places
            )

        found, following = _fill(lambda token: self._rack.switches(token, size, timeout=call.left), wanted, after)
        response = m.ListSwitchesResponse(switches=[summary_message(one) for one in found])
        if following:
            response.next_page_token = self._tokens.make(request, following)
        return response

    def GetSwitch(self, request: m.GetSwitchRequest, call: Call) -> m.Switch:
        """One, with its ports and virtual datapaths."""
        problems = Violations()
        dpid, native = read.read_dpid(request.dpid, "dpid", problems), _native(request, problems)
        problems.check()
        status = self._rack.switch(dpid, native, timeout=call.left)
        native = status.summary.native_vlan
        own = Sight(self._book, call.caller).own()
        datapaths = self._rack.datapaths(dpid, native, timeout=call.left)
        message = summary_message(status.summary)
        message.ports.extend(port_message(port) for port in status.ports)
        message.virtual_datapaths.extend(datapath_message(one) for one in datapaths if own is None or one.slice in own)
        return message

    def ListFlows(self, request: m.ListFlowsRequest, call: Call) -> m.ListFlowsResponse:
        """A page, by table and falling priority, asked of the switch."""
        problems = Violations()
        dpid, native = read.read_dpid(request.dpid, "dpid", problems), _native(request, problems)
        vlan = read.read_vlan(request.vlan_id, "vlan_id", problems, optional=True) or None
        table = request.table_id if request.HasField("table_id") else None
        if table is not None and table > MOST_TABLE:
            problems.add("table_id", f"must be 0 to {MOST_TABLE}, not {table}")
        _known(request.kind, m.FlowKind, "kind", problems)
        problems.check()
        size = page_size(request.page_size, FLOWS, MOST_FLOWS)
        after = self._tokens.read(request, request.page_token) or ""
        sight = Sight(self._book, call.caller)
        name: str | None = None
        if request.slice_id:
            entry = sight.slice(request.slice_id)
            if entry.held:
                return m.ListFlowsResponse()
            name = entry.slice.id
        own = sight.own()

        def wanted(one: FlowStatus) -> bool:
            return (
                (own is None or one.slice in own)
                and (table is None or one.table == table)
                and request.kind in (m.FLOW_KIND_UNSPECIFIED, FLOW_KINDS[one.kind])
            )

        def fetch(token: str) -> Part[FlowStatus]:
            return self._rack.flows(
                dpid, native_vlan=native, slice_id=name, vlan=vlan, token=token, size=size, timeout=call.left
            )

        found, following = _fill(fetch, wanted, after)
        response = m.ListFlowsResponse(flows=[flow_message(one) for one in found])
        if following:
            response.next_page_token = self._tokens.make(request, following)
        return response

    def GetTopology(self, request: m.GetTopologyRequest, call: Call) -> m.Topology:
        """The whole network, or what one slice has of it."""
        sight = Sight(self._book, call.caller)
        if not request.slice_id:
            return topology_message(self._rack.topology(among=sight.own(), timeout=call.left))
        entry = sight.slice(request.slice_id)
        if entry.held:
            return m.Topology()
        return topology_message(self._rack.topology(entry.slice.id, timeout=call.left))

    def ListControllerConnections(
        self, request: m.ListControllerConnectionsRequest, call: Call
    ) -> m.ListControllerConnectionsResponse:
        """A page, oldest first."""
        problems = Violations()
        vlan = read.read_vlan(request.vlan_id, "vlan_id", problems, optional=True)
        dpid = read.read_dpid(request.dpid, "dpid", problems) if request.dpid else None
        address = read.read_controller(request.address, "address", problems) if request.address else None
        _known(request.state, pb.ControllerConnectionState, "state", problems)
        problems.check()
        size = page_size(request.page_size, PAGE, MOST_PAGE)
        after = self._tokens.read(request, request.page_token) or ""
        sight = Sight(self._book, call.caller)
        name: str | None = None
        if request.slice_id:
            entry = sight.slice(request.slice_id)
            if entry.held:
                return m.ListControllerConnectionsResponse()
            name = entry.slice.id
        own, endpoint = sight.own(), str(address) if address is not None else None
        states = [word for word, state in CONNECTIONS.items() if request.state in (0, state)]
        if not states:
            return m.ListControllerConnectionsResponse()
        state = states[0] if len(states) == 1 else None

        def wanted(one: Connection) -> bool:
            return (
                (own is None or one.slice in own)
                and vlan in (0, one.vlan)
                and endpoint in (None, one.endpoint)
                and one.state in states
            )

        def fetch(token: str) -> Part[Connection]:
            return self._rack.connections(token, size, slice_id=name, dpid=dpid, state=state, timeout=call.left)

        found, following = _fill(fetch, wanted, after)
        response = m.ListControllerConnectionsResponse(connections=[connection_message(one) for one in found])
        if following:
            response.next_page_token = self._tokens.make(request, following)
        return response


def _fill(fetch: Callable[[str], Part[T]], wanted: Callable[[T], bool], token: str) -> tuple[list[T], str]:
    """What is wanted of the first part that has any; and where to go on."""
    while True:
        part = fetch(token)
        found = list(filter(wanted, part.items))
        token = part.next
        if found or not token:
            return found, token


def _native(request: m.GetSwitchRequest | m.ListFlowsRequest, problems: Violations) -> int | None:
    if not request.HasField("native_vlan_id"):
        return None
    return read.read_vlan(request.native_vlan_id, "native_vlan_id", problems, optional=True)


def _known(value: int, kind: EnumTypeWrapper, path: str, problems: Violations) -> None:
    if value not in kind.values():
        problems.add(path, f"must be one of {kind.DESCRIPTOR.name}, not {value}")
