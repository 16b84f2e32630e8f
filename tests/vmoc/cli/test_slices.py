"""``vmoc slice``: what it sends, what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import slices_pb2 as s

Captured = pytest.CaptureFixture[str]


def alice(**more: object) -> r.Slice:
    return r.Slice(
        slice_id="alice",
        owner="a@example.org",
        admin_state=r.ADMIN_STATE_ENABLED,
        etag="e1",
        segments=[{"vlan_id": 101, "controllers": ["tcp:10.0.0.1:6640"]}, {"vlan_id": 102}],
        **more,
    )


def registered(request: s.BatchRegisterSlicesRequest) -> s.BatchRegisterSlicesResponse:
    results = []
    for one in request.slices:
        for number, segment in enumerate(one.segments):
            segment.vlan_id = segment.vlan_id or 900 + number
        results.append(s.RegisterSliceResponse(slice=one, change=r.CHANGE_KIND_ADDED))
    return s.BatchRegisterSlicesResponse(results=results)


def test_register_from_options(server: FakeServer, capsys: Captured) -> None:
    server.on("SliceService/BatchRegisterSlices", registered)
    words = "slice register alice --vlan 101 --vlan 0 --controller tcp:10.0.0.1:6640 --presentation transparent"
    more = "--attach 0x1:1,2 --attach 00:00:00:00:00:00:00:02:LOCAL --attach 0x3"
    more += " --label a=b --owner o --fail-mode flush --dpid-scheme physical --expires 2h"
    assert main([*words.split(), *more.split()]) == 0
    assert capsys.readouterr().out == "alice added, VLAN 101, 901\n"
    (request,) = server.requests
    assert request.request_id
    assert not request.validate_only
    (one,) = request.slices
    first = one.segments[0]
    assert first.presentation == r.PRESENTATION_TRANSPARENT
    assert (first.fail_mode, first.dpid_scheme) == (r.FAIL_MODE_FLUSH, r.DPID_SCHEME_PHYSICAL)
    assert [(at.dpid, list(at.ports)) for at in first.attachments] == [
        ("0x1", [1, 2]),
        ("00:00:00:00:00:00:00:02", [0xFFFFFFFE]),
        ("0x3", []),
    ]
    assert dict(one.labels) == {"a": "b"}
    assert one.HasField("expire_time")


def test_register_a_file_in_batches(server: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    server.on("SliceService/BatchRegisterSlices", registered)
    file = tmp_path / "many.yaml"
    file.write_text(yaml.safe_dump({"slices": [{"id": f"s{n}", "segments": [{"vlan": n + 1}]} for n in range(1500)]}))
    assert main(["slice", "register", "-f", str(file), "--dry-run"]) == 0
    assert capsys.readouterr().out == "1500 would be added\n"
    assert [len(request.slices) for request in server.requests] == [1000, 500]
    assert all(request.validate_only for request in server.requests)
    assert server.requests[0].request_id != server.requests[1].request_id


@pytest.mark.parametrize(
    "words",
    [
        "slice register",
        "slice register a -f x",
        "slice register a --label b",
        "slice register a --vlan 5000",
        "slice register a --vlan 5 --attach 0x1:a",
        "slice register a --vlan 5 --attach 0x1:",
        "slice register a --vlan 5 --attach 0x1:4294967296",
        "slice register a --expires 0001-01-01T00:00:00+23:00",
        "slice register a --expires 999999999w",
        "slice list --server localhost",
        "slice register a --expires soon",
        "slice update a",
        "slice update a --vlan 5",
        "slice update a --limit flows=1",
        "slice update a --expires 1d --never-expires",
        "slice unregister",
    ],
)
def test_usage_errors_are_2_and_send_nothing(server: FakeServer, words: str, capsys: Captured) -> None:
    assert main(words.split()) == 2
    assert server.requests == []
    assert "see 'vmoc slice" in capsys.readouterr().err


def test_list_pages_and_prints(server: FakeServer, capsys: Captured) -> None:
    def pages(request: s.ListSlicesRequest) -> s.ListSlicesResponse:
        if not request.page_token:
            return s.ListSlicesResponse(slices=[alice()], next_page_token="2")
        return s.ListSlicesResponse(slices=[r.Slice(slice_id="bob", origin=r.SLICE_ORIGIN_FILE)])

    server.on("SliceService/ListSlices", pages)
    assert main(["slice", "list", "--label", "a", "--vlan", "101", "--origin", "api"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["SLICE", "STATE", "VLANS", "CONTROLLERS", "ORIGIN", "MANAGER", "OWNER", "EXPIRES"]
    assert lines[1].split() == ["alice", "enabled", "101,", "102", "tcp:10.0.0.1:6640", "a@example.org"]
    assert lines[2].split() == ["bob", "default", "file"]
    first, second = server.requests
    assert (first.vlan_id, dict(first.labels), first.origin) == (101, {"a": ""}, r.SLICE_ORIGIN_API)
    assert (first.page_token, second.page_token) == ("", "2")


def test_json_is_the_whole_list(server: FakeServer, capsys: Captured) -> None:
    server.on("SliceService/ListSlices", s.ListSlicesResponse(slices=[alice()]))
    assert main(["slice", "list", "-o", "json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["slice_id"] == "alice"
    assert one["admin_state"] == "enabled"
    assert [segment["vlan_id"] for segment in one["segments"]] == [101, 102]


def test_show_tells_why_a_datapath_does_not_work(server: FakeServer, capsys: Captured) -> None:
    one = alice()
    datapath = one.status.virtual_datapaths.add(
        dpid="0x0000000000000001",
        vlan_id=101,
        state=r.VIRTUAL_DATAPATH_STATE_FAILED,
        usage={"flow_count": 3, "max_flows": 9},
    )
    datapath.controllers.add(
        address="tcp:10.0.0.1:6640", state="CONTROLLER_CONNECTION_STATE_BACKOFF", last_error="refused"
    )
    server.on("SliceService/GetSlice", one)
    assert main(["slice", "show", "alice"]) == 0
    out = capsys.readouterr().out
    assert "owner:   a@example.org" in out
    assert "failed" in out and "3/9" in out and "tcp:10.0.0.1:6640 backoff" in out and "refused" in out


def test_update_swaps_the_controller_of_one_segment(server: FakeServer, capsys: Captured) -> None:
    server.on("SliceService/GetSlice", alice())
    server.on("SliceService/UpdateSlice", lambda request: request.slice)
    words = "slice update alice --controller tcp:10.0.0.9:6640 --vlan 102 --owner x --limit max_flows=5 --never-expires"
    assert main(words.split()) == 0
    request = server.requests[-1]
    assert list(request.update_mask.paths) == ["owner", "segments", "limits.max_flows", "expire_time"]
    assert [list(one.controllers) for one in request.slice.segments] == [["tcp:10.0.0.1:6640"], ["tcp:10.0.0.9:6640"]]
    assert request.slice.etag == "e1", "somebody else's change in between must not be undone"
    assert request.slice.limits.max_flows == 5
    assert not request.slice.HasField("expire_time")
    assert capsys.readouterr().out == "alice updated\n"


def test_unregister_renew_enable_disable(server: FakeServer, capsys: Captured) -> None:
    server.on(
        "SliceService/UnregisterSlice",
        lambda q: s.UnregisterSliceResponse(slice=alice() if q.slice_id == "alice" else None),
    )
    for verb in ("RenewSlice", "EnableSlice", "DisableSlice"):
        server.on(f"SliceService/{verb}", alice(expire_time={"seconds": 1_900_000_000}))
    assert main(["slice", "unregister", "alice", "bob", "--allow-missing"]) == 0
    assert main(["slice", "renew", "alice", "7d12h"]) == 0
    assert main(["slice", "renew", "alice", "2030-01-31T12:00:00Z"]) == 0
    assert main(["slice", "enable", "alice"]) == 0
    assert main(["slice", "disable", "alice", "--etag", "e1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "alice removed",
        "bob was not there",
        "alice expires 2030-03-17T17:46:40.000Z",
        "alice expires 2030-03-17T17:46:40.000Z",
        "alice enabled",
        "alice disabled",
    ]
    _, _, ttl, until, _, disable = server.requests
    assert ttl.ttl.seconds == 7 * 86400 + 12 * 3600
    assert until.expire_time.ToJsonString() == "2030-01-31T12:00:00Z"
    assert disable.etag == "e1"
