"""``vmoc controller``."""

from __future__ import annotations

import pytest

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import switches_pb2 as w

Captured = pytest.CaptureFixture[str]


def test_controllers(server: FakeServer, capsys: Captured) -> None:
    link = r.ControllerConnection(address="tcp:a:1", slice_id="alice", default_controller=True, last_error="refused")
    link.state = r.CONTROLLER_CONNECTION_STATE_BACKOFF
    server.on("SwitchService/ListControllerConnections", w.ListControllerConnectionsResponse(connections=[link]))
    assert main(["controller", "list", "--state", "backoff"]) == 0
    out = capsys.readouterr().out
    assert "tcp:a:1 (default)" in out and "refused" in out
    assert server.requests[0].state == r.CONTROLLER_CONNECTION_STATE_BACKOFF
