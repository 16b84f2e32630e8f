"""``vmoc doctor``: problem and cure."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import server_pb2 as i
from vmoc.v1 import switches_pb2 as w

Captured = pytest.CaptureFixture[str]


def test_doctor_names_problem_and_cure(server: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    server.on("ServerService/GetServerInfo", i.ServerInfo(version="1.2", state=i.SERVER_STATE_READY))
    server.on("SwitchService/ListSwitches", w.ListSwitchesResponse(switches=[{"dpid": "0x1"}]))
    server.on("SwitchService/ListControllerConnections", w.ListControllerConnectionsResponse())
    file = tmp_path / "vmoc.yaml"
    state = f"state: {{path: {tmp_path}/vmoc.db}}\n"
    others = "grpc: {listen: none}\nmetrics: {listen: none}\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file.write_text(f"{state}{others}openflow: {{listen: [{{address: 127.0.0.1, port: {port}}}]}}\n")
        assert main(["doctor", "-c", str(file), "-o", "json"]) == 0, "a running VMOC has its ports"
        findings = {(one["subject"], one["verdict"]): one for one in json.loads(capsys.readouterr().out)}
        assert findings["state", "ok"] and findings["configuration", "ok"] and findings["service", "ok"]
        assert "1 of 1 are away: 0x1" in findings["switches", "warning"]["text"]
        assert (f"openflow port {port}", "ok") in findings
        server.stop()
        assert main(["doctor", "-c", str(file), "-o", "json"]) == 1, "nobody answers, and the port is taken"
        findings = {(one["subject"], one["verdict"]): one for one in json.loads(capsys.readouterr().out)}
        assert findings[f"openflow port {port}", "problem"]["advice"].startswith(f"'ss -ltnp sport = :{port}' shows")
        assert findings["service", "warning"]["text"].startswith("no VMOC answers")
    file.write_text(f"{{state: {{path: {'x' * 300}}}, grpc: {{listen: off}}, metrics: {{listen: off}}}}")
    assert main(["doctor", "-c", str(file)]) == 1
    assert "cannot be looked at: File name too long" in capsys.readouterr().out
    file.write_text(state + "openflow: {listen: [{port: x}]}")
    assert main(["doctor", "-c", str(file)]) == 1
    assert "run 'vmoc config check'" in capsys.readouterr().out
