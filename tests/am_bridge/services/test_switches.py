"""SwitchService over loopback, with a rack that says what the test wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from am_bridge.auth import Caller, Callers, Role
from am_bridge.services.told import CONNECTIONS, KINDS, LIFECYCLES
from tests.am_bridge.api import NOW, Api, a_summary, refused
from vmoc.status import (
    Connection,
    DatapathStatus,
    FlowCounts,
    FlowStatus,
    Lifecycle,
    PortStatus,
    SliceStatus,
    SwitchStatus,
)
from vmoc.topology import Network, NetworkLink, NetworkSwitch, SlicePorts
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import switches_pb2 as m

PORT = PortStatus(3, "eth3", "02:00:00:00:00:03", False, False, True, 1000, 2000)


class Whoever(Callers):
    """Everybody is the caller that the test says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.caller: Caller | None = Caller("root", Role.ADMIN)

    def identify(self, peer: Any) -> Caller | None:
        return self.caller


@pytest.fixture
def whoever() -> Whoever:
    return Whoever()


@pytest.fixture
def api(whoever: Whoever) -> Iterator[Api]:
    running = Api(callers=whoever)
    running.register("alice", 100, manager="am")
    running.register("bob", 200, manager="else")
    for dpid in range(1, 6):
        running.rack.known[dpid] = SwitchStatus(
            a_summary(dpid, up=dpid not in (2, 3), connected=dpid != 3), (PORT,), (100,)
        )
    yield running
    running.close()


def datapath(name: str, vlan: int, dpid: int, state: str = "ready") -> DatapathStatus:
    return DatapathStatus(name, vlan, dpid, 0, dpid, Lifecycle.ACTIVE, state, "", NOW, (1,))


def link(number: int, name: str, vlan: int, state: str = "active", endpoint: str = "tcp:192.0.2.1:6653") -> Connection:
    return Connection(
        number, name, vlan, 1, 0, 1, endpoint, state, NOW, NOW, "broke", NOW + 3, 2, "1.3", "master", False, 7
    )


def flow(kind: str, name: str | None, vlan: int | None, table: int = 0) -> FlowStatus:
    counts = FlowCounts(5, 2**64 - 1, 1.5)
    return FlowStatus(1, 0, vlan, name, kind, table, 9, 0xABC, f"{kind} physical", "virtual", 1, True, counts)


def test_switches_in_pages_by_state_and_slice(api: Api) -> None:
    found, request = [], m.ListSwitchesRequest(page_size=2)
    while True:
        answer = api.switches.ListSwitches(request)
        found += [(int(one.dpid, 16), one.state) for one in answer.switches]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    up, away = m.SWITCH_STATE_UP, m.SWITCH_STATE_DISCONNECTED
    assert found == [(1, up), (2, m.SWITCH_STATE_CONNECTING), (3, away), (4, up), (5, up)]
    # The only one of a state may be pages away.
    (one,) = api.switches.ListSwitches(m.ListSwitchesRequest(page_size=1, state=away)).switches
    assert int(one.dpid, 16) == 3 and one.last_seen_time.seconds == NOW and one.manufacturer == "maker"
    api.rack.statuses["alice"] = SliceStatus(
        "alice", True, (datapath("alice", 100, 4), datapath("alice", 100, 5, "absent")), {}
    )
    answer = api.switches.ListSwitches(m.ListSwitchesRequest(slice_id="alice"))
    assert [int(one.dpid, 16) for one in answer.switches] == [4]
    with refused("SLICE_NOT_FOUND"):
        api.switches.ListSwitches(m.ListSwitchesRequest(slice_id="nobody"))
    with refused("FIELD_INVALID"):
        api.switches.ListSwitches(m.ListSwitchesRequest(state=99))  # type: ignore[arg-type]
    with refused("PAGE_TOKEN_INVALID"):
        api.switches.ListSwitches(m.ListSwitchesRequest(page_token="5"))


def test_a_switch_with_ports_and_datapaths(api: Api, whoever: Whoever) -> None:
    api.rack.on_switch[1] = [datapath("alice", 100, 1), datapath("bob", 200, 1)]
    one = api.switches.GetSwitch(m.GetSwitchRequest(dpid="00:00:00:00:00:00:00:01"))
    assert (one.ports[0].port, one.ports[0].name, one.ports[0].state) == (3, "eth3", m.PORT_STATE_LINK_DOWN)
    assert [each.slice_id for each in one.virtual_datapaths] == ["alice", "bob"]
    whoever.caller = Caller("am", Role.AM, "am")
    one = api.switches.GetSwitch(m.GetSwitchRequest(dpid="0x1"))
    assert [each.slice_id for each in one.virtual_datapaths] == ["alice"]
    with refused("SWITCH_NOT_FOUND"):
        api.switches.GetSwitch(m.GetSwitchRequest(dpid="0x9"))
    with refused("FIELD_INVALID") as found:
        api.switches.GetSwitch(m.GetSwitchRequest(dpid="nine", native_vlan_id=5000))
    assert [path for path, _ in found[0].violations] == ["dpid", "native_vlan_id"]


def test_flows_by_kind_and_table_and_only_ones_own(api: Api, whoever: Whoever) -> None:
    api.rack.flow_list = [
        flow("slice", "alice", 100),
        flow("slice", "bob", 200),
        flow("guard", "alice", 100),
        flow("foreign", None, None, 3),
    ]
    first = api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", page_size=3))
    assert [one.slice_id for one in first.flows] == ["alice", "bob", "alice"]
    rest = api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", page_size=3, page_token=first.next_page_token))
    (last,) = rest.flows
    assert (last.kind, last.vlan_id, last.table_id, last.cookie) == (m.FLOW_KIND_FOREIGN, 0, 3, 0xABC)
    assert (last.packet_count, last.byte_count, last.age.nanos) == (5, 2**63 - 1, 500_000_000)
    assert not rest.next_page_token
    guards = api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", kind=m.FLOW_KIND_GUARD)).flows
    assert [one.text for one in guards] == ["guard physical"]
    (third,) = api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", page_size=1, table_id=3)).flows
    assert third.text == "foreign physical"
    api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", slice_id="alice", vlan_id=100, native_vlan_id=0))
    assert api.rack.asked[-1] == {"dpid": 1, "native_vlan": 0, "slice_id": "alice", "vlan": 100}
    whoever.caller = Caller("am", Role.AM, "am")
    own = api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1")).flows
    assert [(one.slice_id, one.kind) for one in own] == [("alice", m.FLOW_KIND_SLICE), ("alice", m.FLOW_KIND_GUARD)]
    with refused("SLICE_NOT_FOUND"):
        api.switches.ListFlows(m.ListFlowsRequest(dpid="0x1", slice_id="bob"))
    with refused("FIELD_INVALID") as found:
        api.switches.ListFlows(m.ListFlowsRequest(vlan_id=4095, table_id=255, kind=77))  # type: ignore[arg-type]
    assert [path for path, _ in found[0].violations] == ["dpid", "vlan_id", "table_id", "kind"]


def test_connections_by_every_condition(api: Api, whoever: Whoever) -> None:
    other = "tcp:192.0.2.2:6653"
    api.rack.links = [
        link(1, "alice", 100),
        link(2, "bob", 200, "held"),
        link(3, "bob", 201, "idle"),
        link(4, "alice", 100, "dialling", other),
        link(5, "bob", 200, "handshaking"),
        link(6, "bob", 200, "waiting"),
    ]

    def numbers(**conditions: Any) -> list[tuple[str, int]]:
        found, request = [], m.ListControllerConnectionsRequest(page_size=1, **conditions)
        while True:
            answer = api.switches.ListControllerConnections(request)
            found += [(one.slice_id, one.state) for one in answer.connections]
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    idle, opening = pb.CONTROLLER_CONNECTION_STATE_IDLE, pb.CONTROLLER_CONNECTION_STATE_CONNECTING
    active, backoff = pb.CONTROLLER_CONNECTION_STATE_ACTIVE, pb.CONTROLLER_CONNECTION_STATE_BACKOFF
    assert [state for _, state in numbers()] == [active, idle, idle, opening, opening, backoff]
    assert numbers(state=idle) == [("bob", idle)] * 2
    assert numbers(state=opening) == [("alice", opening), ("bob", opening)]
    assert numbers(state=pb.CONTROLLER_CONNECTION_STATE_CLOSING) == []
    assert numbers(vlan_id=201) == [("bob", idle)]
    assert numbers(address=other) == [("alice", opening)]
    assert numbers(slice_id="alice") == [("alice", active), ("alice", opening)]
    numbers(state=backoff, dpid="0x1")
    assert api.rack.asked[-1] == {"slice_id": None, "dpid": 1, "state": "waiting"}
    first = api.switches.ListControllerConnections(m.ListControllerConnectionsRequest()).connections[0]
    assert (first.last_error, first.failed_attempt_count, first.dropped_packet_in_count) == ("broke", 2, 7)
    assert first.role == pb.CONTROLLER_ROLE_MASTER and first.next_retry_time.seconds == NOW + 3
    whoever.caller = Caller("am", Role.AM, "am")
    assert {name for name, _ in numbers()} == {"alice"}
    with refused("FIELD_INVALID") as found:
        numbers(vlan_id=4095, dpid="x", address="nowhere", state=88)
    assert [path for path, _ in found[0].violations] == ["vlan_id", "dpid", "address", "state"]


def test_topology_of_all_and_of_ones_own(api: Api, whoever: Whoever) -> None:
    switches = tuple(NetworkSwitch(dpid, 0, "", True, (PORT,), True) for dpid in (1, 2))
    link = NetworkLink(1, 3, 2, 3, NOW, NOW + 1)
    api.rack.network = Network(
        switches, (link,), (SlicePorts("alice", 100, 1, (3,)), SlicePorts("alice", 100, 2, (3,)))
    )
    found = api.switches.GetTopology(m.GetTopologyRequest(include_hosts=True))
    assert [(one.dpid, one.state) for one in found.switches][1] == ("0x0000000000000002", m.SWITCH_STATE_UP)
    assert (found.links[0].source_port, found.links[0].last_seen_time.seconds) == (3, NOW + 1)
    assert list(found.slice_ports[0].ports) == [3] and not found.hosts
    assert api.rack.asked[-1] == {"slice_id": None, "among": None}
    whoever.caller = Caller("am", Role.AM, "am")
    api.switches.GetTopology(m.GetTopologyRequest())
    assert api.rack.asked[-1]["among"] == frozenset({"alice"})
    api.switches.GetTopology(m.GetTopologyRequest(slice_id="alice"))
    with refused("SLICE_NOT_FOUND"):
        api.switches.GetTopology(m.GetTopologyRequest(slice_id="bob"))


def test_every_word_of_the_rack_has_its_value() -> None:
    assert set(LIFECYCLES) == set(Lifecycle)
    assert len(set(LIFECYCLES.values())) == len(LIFECYCLES) == len(pb.VirtualDatapathState.values()) - 1
    assert set(KINDS.values()) == set(m.FlowKind.values()) - {0}
    closing = pb.CONTROLLER_CONNECTION_STATE_CLOSING
    assert set(CONNECTIONS.values()) == set(pb.ControllerConnectionState.values()) - {0, closing}


def test_a_bug_in_a_service_is_told_as_one_and_nothing_of_it(api: Api) -> None:
    api.rack.known[1] = replace(api.rack.known[1], ports=None)  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError) as caught:
        api.switches.GetSwitch(m.GetSwitchRequest(dpid="0x1"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "NoneType" not in (caught.value.details() or "")
    assert api.bugs.pop().startswith("/vmoc.v1.SwitchService/GetSwitch\nTraceback")
