"""``vmoc events``: the past, and where it begins."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.vmoc.cli.fakeserver import FakeServer, Refusal, info
from vmoc.cli import main
from vmoc.v1 import events_pb2 as e

Captured = pytest.CaptureFixture[str]


def test_events_end_when_the_past_is_told(server: FakeServer, capsys: Captured) -> None:
    refused = e.Event(name="refused", message="not your VLAN", slice_id="alice", dpid="0x1")
    refused.refusal.reason = "E.VLAN"
    refused.refusal.message_summary = "add dl_vlan=5"
    answers = [
        e.WatchEventsResponse(resume_token="t1", event=refused),
        e.WatchEventsResponse(resume_token="t1", heartbeat=True),
        e.WatchEventsResponse(resume_token="t2", event=e.Event(name="later")),
    ]
    server.on("EventService/WatchEvents", answers)
    assert main(["events", "--slice", "alice", "--kind", "refusal"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("not your VLAN slice=alice dpid=0x1 reason=E.VLAN message='add dl_vlan=5'")
    request = server.requests[0]
    assert (request.resume_token, list(request.kinds)) == ("earliest", [e.EVENT_KIND_REFUSAL])
    assert main(["events", "--follow", "-o", "json", "--since", "t0"]) == 0
    lines = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert [one["resume_token"] for one in lines] == ["t1", "t2"]
    assert server.requests[1].resume_token == "t0"
    assert main(["events", "--new"]) == 0
    assert server.requests[2].resume_token == ""


@pytest.mark.parametrize("words", ["--new --state", "--since t1 --new", "--since t1 --state"])
def test_events_begin_at_one_place(server: FakeServer, words: str, capsys: Captured) -> None:
    assert main(["events", *words.split()]) == 2
    assert "--since, --new and --state each say where to begin" in capsys.readouterr().err


def test_a_lost_token_is_told(server: FakeServer, capsys: Captured) -> None:
    server.on(
        "EventService/WatchEvents", [Refusal(grpc.StatusCode.OUT_OF_RANGE, "too old", info("RESUME_TOKEN_EXPIRED"))]
    )
    assert main(["events", "--since", "t0"]) == 1
    assert "too old (RESUME_TOKEN_EXPIRED)" in capsys.readouterr().err
