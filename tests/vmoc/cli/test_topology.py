"""``vmoc topology``: as a table and as a drawing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import switches_pb2 as w

Captured = pytest.CaptureFixture[str]


def _triangle() -> w.Topology:
    found = w.Topology(slice_ports=[{"slice_id": "alice", "vlan_id": 101, "dpid": "0x1", "ports": [1, 2]}])
    for dpid in ("0x1", "0x2"):
        found.switches.add(dpid=dpid, state=w.SWITCH_STATE_UP, ports=[{"port": 1, "name": "eth1"}])
    found.links.add(source_dpid="0x1", source_port=1, target_dpid="0x2", target_port=1)
    found.links.add(source_dpid="0x2", source_port=1, target_dpid="0x1", target_port=1)
    return found


def test_topology(server: FakeServer, capsys: Captured) -> None:
    server.on("SwitchService/GetTopology", _triangle())
    assert main(["topology", "--slice", "alice"]) == 0
    assert "1 (eth1)" in capsys.readouterr().out
    assert server.requests[0].slice_id == "alice"
    assert main(["topology", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["links"]) == 2


def test_topology_as_a_drawing(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    server.on("SwitchService/GetTopology", _triangle())
    file = tmp_path / "net.dot"
    assert main(["topology", "-o", "dot", "--file", str(file)]) == 0
    text = file.read_text()
    assert text.count(" -- ") == 1 and "alice VLAN 101: 1-2" in text
    fake = tmp_path / "dot"
    fake.write_text("#!/bin/sh\nprintf PNG:; cat\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["topology", "-o", "png", "--file", str(tmp_path / "net.png")]) == 0
    assert (tmp_path / "net.png").read_text() == f"PNG:{text}"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert main(["topology", "-o", "png", "--file", str(file)]) == 1
    assert "needs Graphviz" in capsys.readouterr().err
    assert main(["topology", "-o", "dot", "--file", str(tmp_path / "no" / "net.dot")]) == 1
    assert "no/net.dot': No such file or directory" in capsys.readouterr().err
    assert main(["topology", "-o", "json", "--file", str(file)]) == 2
    assert "--file is for drawings" in capsys.readouterr().err
