"""``vmoc vlan``: used, reserved, free."""

from __future__ import annotations

import json

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import slices_pb2 as s

Captured = pytest.CaptureFixture[str]


def test_vlans(server: FakeServer, capsys: Captured) -> None:
    used = s.Vlan(vlan_id=5, state=s.VLAN_STATE_USED, holders=[{"slice_id": "a", "dpids": ["0x1"]}, {"slice_id": "b"}])
    free = [s.Vlan(vlan_id=n, state=s.VLAN_STATE_FREE) for n in (2, 3, 4, 9)]
    server.on(
        "SliceService/ListVlans", lambda q: s.ListVlansResponse(vlans=free if s.VLAN_STATE_FREE in q.states else [used])
    )
    assert main(["vlan", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["5", "used", "a", "0x1"]
    assert lines[2].split() == ["5", "used", "b", "every", "switch"]
    assert s.VLAN_STATE_FREE not in server.requests[0].states
    assert main(["vlan", "free"]) == 0
    assert capsys.readouterr().out == "2-4, 9\n"
    assert main(["vlan", "free", "--count", "2", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["vlans"] == [2, 3]
    free.clear()
    assert main(["vlan", "free", "--pool", "p"]) == 1
    assert capsys.readouterr().err == "vmoc: no VLAN is free in pool p\n"


def test_reserved_neighbours_are_one_line(server: FakeServer, capsys: Captured) -> None:
    vlans = [s.Vlan(vlan_id=n, state=s.VLAN_STATE_RESERVED) for n in (1, 2, 3)]
    vlans.append(s.Vlan(vlan_id=4, state=s.VLAN_STATE_USED, holders=[{"slice_id": "a"}]))
    vlans += [s.Vlan(vlan_id=n, state=s.VLAN_STATE_RESERVED) for n in (5, 7)]
    server.on("SliceService/ListVlans", lambda _: s.ListVlansResponse(vlans=vlans))
    assert main(["vlan", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [
        ["1-3", "reserved"],
        ["4", "used"],
        ["5", "reserved"],
        ["7", "reserved"],
    ]
