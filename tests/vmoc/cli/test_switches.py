"""``vmoc switch``: switches and their flows."""

from __future__ import annotations

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import switches_pb2 as w

Captured = pytest.CaptureFixture[str]


def test_switches(server: FakeServer, capsys: Captured) -> None:
    one = w.Switch(
        dpid="0x0000000000000001",
        state=w.SWITCH_STATE_UP,
        peer="10.0.0.2:5000",
        openflow_version="1.3",
        ports=[{"port": 1, "name": "eth1", "state": "PORT_STATE_LIVE", "speed_kbps": 10_000_000}, {"port": 0xFFFFFFFE}],
        virtual_datapaths=[{"slice_id": "alice", "vlan_id": 101, "state": "VIRTUAL_DATAPATH_STATE_ACTIVE"}],
    )
    server.on("SwitchService/ListSwitches", w.ListSwitchesResponse(switches=[one]))
    server.on("SwitchService/GetSwitch", one)
    assert main(["switch", "list", "--state", "up"]) == 0
    assert server.requests[0].state == w.SWITCH_STATE_UP
    assert "0x0000000000000001  up" in capsys.readouterr().out
    assert main(["switch", "show", "1"]) == 0
    out = capsys.readouterr().out
    assert "10000" in out and "LOCAL" in out and "alice" in out and "10.0.0.2:5000" in out


def test_flows_in_both_forms(server: FakeServer, capsys: Captured) -> None:
    flows = [
        w.Flow(text="dl_vlan=101,actions=output:2", virtual_text="actions=output:2", slice_id="alice", packet_count=7),
        w.Flow(text="in_port=9,actions=drop", kind=w.FLOW_KIND_GUARD),
    ]
    server.on("SwitchService/ListFlows", w.ListFlowsResponse(flows=flows))
    assert main(["switch", "flows", "0x1", "--slice", "alice", "--table", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["alice", "7", "0", "dl_vlan=101,actions=output:2"]
    assert lines[2].split()[0] == "(guard)"
    assert server.requests[0].HasField("table_id")
    assert main(["switch", "flows", "0x1", "--virtual"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["alice  7        0           actions=output:2"]
    assert not server.requests[1].HasField("table_id")
