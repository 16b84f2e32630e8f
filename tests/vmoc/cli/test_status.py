"""``vmoc status``, and its exit code."""

from __future__ import annotations

import json

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import server_pb2 as i

Captured = pytest.CaptureFixture[str]


def test_status_and_its_exit_code(server: FakeServer, capsys: Captured) -> None:
    answer = i.ServerInfo(version="1.2", state=i.SERVER_STATE_READY, counts={"slice_count": 3, "segment_count": 5})
    server.on("ServerService/GetServerInfo", lambda _: answer)
    assert main(["status"]) == 0
    assert "slices:    3, with 5 segments" in capsys.readouterr().out
    answer.state = i.SERVER_STATE_DRAINING
    assert main(["status", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "draining"
