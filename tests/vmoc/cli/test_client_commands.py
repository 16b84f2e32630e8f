"""The commands that ask the running service: what they send, what they print, and how they fail."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import grpc
import pytest
import yaml
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.vmoc.cli.fakeserver import FakeServer, Refusal, info
from vmoc.cli import main
from vmoc.v1 import events_pb2 as e
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import server_pb2 as i
from vmoc.v1 import slices_pb2 as s
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import switches_pb2 as w

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


# ---- failures --------------------------------------------------------------------------------------------------------


def test_nobody_there_is_3_and_says_what_to_do(capsys: Captured) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert main(["slice", "list", "--server", address]) == 3
    assert f"vmoc: no VMOC answers at {address}; start it with 'vmoc run'" in capsys.readouterr().err


def test_no_answer_in_time_is_4(server: FakeServer, capsys: Captured) -> None:
    def never(_: object) -> None:
        raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    server.on("ServerService/GetServerInfo", never)
    assert main(["status"]) == 4
    assert "did not answer in time; --timeout gives it longer" in capsys.readouterr().err


def test_a_refusal_is_one_sentence_with_its_reason_and_1(server: FakeServer, capsys: Captured) -> None:
    def taken(_: object) -> None:
        raise Refusal(grpc.StatusCode.ALREADY_EXISTS, "VLAN 101 is taken.", info("VLAN_IN_USE", slice_id="bob"))

    server.on("SliceService/BatchRegisterSlices", taken)
    assert main(["slice", "register", "alice", "--vlan", "101"]) == 1
    assert capsys.readouterr().err == "vmoc: VLAN 101 is taken (VLAN_IN_USE)\n"


def test_a_busy_server_is_asked_again_when_it_says(server: FakeServer, capsys: Captured) -> None:
    soon = error_details_pb2.RetryInfo()
    soon.retry_delay.FromMilliseconds(20)
    late = error_details_pb2.RetryInfo()
    late.retry_delay.FromSeconds(3600)
    busy = [soon, late]

    def answer(request: w.ListFlowsRequest) -> w.ListFlowsResponse:
        if len(server.requests) in (1, 3):
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "asked too often", info("TOO_MANY_CALLS"), busy.pop(0))
        return w.ListFlowsResponse()

    server.on("SwitchService/ListFlows", answer)
    assert main(["switch", "flows", "0x1"]) == 0 and len(server.requests) == 2
    assert main(["switch", "flows", "0x1"]) == 1, "an hour is more than --timeout"
    assert capsys.readouterr().err == "no flows\nvmoc: asked too often (TOO_MANY_CALLS)\n"


def test_field_violations_are_named(server: FakeServer, capsys: Captured) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="slice.segments[0].vlan_id", description="must be 1 to 4094")
    bad.field_violations.add(field="slice.owner", description="is too long")

    def refuse(_: object) -> None:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "2 fields are wrong", bad, info("INVALID_FIELD"))

    server.on("SliceService/GetSlice", refuse)
    assert main(["slice", "show", "alice"]) == 1
    err = capsys.readouterr().err
    assert "slice.segments[0].vlan_id: must be 1 to 4094; slice.owner: is too long (INVALID_FIELD)" in err


def test_an_older_server_is_named_as_such(server: FakeServer, capsys: Captured) -> None:
    assert main(["slice", "list"]) == 1
    assert "is another version and cannot do this" in capsys.readouterr().err


def test_certificates_need_the_authority(server: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    assert main(["status", "--tls-cert", str(tmp_path / "c")]) == 2
    assert main(["status", "--tls-ca", str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "text").write_text("no certificate")
    assert main(["status", "--tls-ca", str(tmp_path / "text")]) == 2
    assert f"{tmp_path / 'text'} holds no certificate in PEM form; see 'vmoc" in capsys.readouterr().err


# ---- slices ----------------------------------------------------------------------------------------------------------


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


# ---- switches, controllers, VLANs, topology --------------------------------------------------------------------------


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


def test_controllers(server: FakeServer, capsys: Captured) -> None:
    link = r.ControllerConnection(address="tcp:a:1", slice_id="alice", default_controller=True, last_error="refused")
    link.state = r.CONTROLLER_CONNECTION_STATE_BACKOFF
    server.on("SwitchService/ListControllerConnections", w.ListControllerConnectionsResponse(connections=[link]))
    assert main(["controller", "list", "--state", "backoff"]) == 0
    out = capsys.readouterr().out
    assert "tcp:a:1 (default)" in out and "refused" in out
    assert server.requests[0].state == r.CONTROLLER_CONNECTION_STATE_BACKOFF


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


# ---- events, status, operations, slivers -----------------------------------------------------------------------------


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


def test_status_and_its_exit_code(server: FakeServer, capsys: Captured) -> None:
    answer = i.ServerInfo(version="1.2", state=i.SERVER_STATE_READY, counts={"slice_count": 3, "segment_count": 5})
    server.on("ServerService/GetServerInfo", lambda _: answer)
    assert main(["status"]) == 0
    assert "slices:    3, with 5 segments" in capsys.readouterr().out
    answer.state = i.SERVER_STATE_DRAINING
    assert main(["status", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "draining"


def _operation(
    *, done: bool, error: status_pb2.Status | None = None, result: v.Sliver | None = None
) -> operations_pb2.Operation:
    made = operations_pb2.Operation(name="operations/7", done=done)
    made.metadata.Pack(v.OperationMetadata(verb=v.VERB_CREATE, sliver_id="vm1", phase=v.OPERATION_PHASE_RUNNING))
    if error is not None:
        made.error.CopyFrom(error)
    if result is not None:
        made.response.Pack(result)
    return made


def _watched(end: operations_pb2.Operation) -> list[v.WatchOperationResponse]:
    return [
        v.WatchOperationResponse(operation=_operation(done=False)),
        v.WatchOperationResponse(task={"task": "make it", "host": "h1", "state": v.TASK_STATE_STARTED}),
        v.WatchOperationResponse(task={"task": "make it", "host": "h1", "state": v.TASK_STATE_CHANGED}),
        v.WatchOperationResponse(operation=end),
    ]


def test_create_a_sliver_and_follow_it(server: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    server.on("SliverService/CreateSliver", _operation(done=False))
    sliver = v.Sliver(sliver_id="vm1", status={"state": v.SLIVER_STATE_ACTIVE, "management_addresses": ["10.1.0.5"]})
    server.on("SliverService/WatchOperation", _watched(_operation(done=True, result=sliver)))
    spec = tmp_path / "spec.yaml"
    spec.write_text("cores: 2\nnics: [{network: lan}]\n")
    words = [
        "sliver",
        "create",
        "vm1",
        "--slice",
        "alice",
        "--type",
        "VM",
        "-f",
        str(spec),
        "--set",
        "image.name=debian",
    ]
    assert main([*words, "--set", "cores=4"]) == 0
    out, err = capsys.readouterr()
    assert "state:      active" in out and "10.1.0.5" in out
    assert err == "  changed   make it on h1\n"
    request = server.requests[0]
    assert request.request_id
    assert request.sliver.spec["cores"] == 4
    assert request.sliver.spec["image"]["name"] == "debian"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-f {0}/none", "{0}/none cannot be read: No such file or directory"),
        ("-f {0}", "{0} cannot be read: Is a directory"),
        ("-f {0}/list", "{0}/list must hold a mapping of keys and values"),
        ("-f {0}/deep", "{0}/deep:1:33: nested deeper than 32 levels"),
        ("-f {0}/raw", "{0}/raw is not UTF-8 text; save it as UTF-8"),
        ("--set a", "--set 'a': write KEY=VALUE; see 'vmoc sliver create --help'"),
        ("--set a=[", "--set a:2:1: not valid YAML: did not find expected node content while parsing a flow node"),
        ("--set a=1 --set a.b=1", "--set 'a.b=1': a is not a mapping; see 'vmoc sliver create --help'"),
    ],
)
def test_a_spec_that_is_none(server: FakeServer, tmp_path: Path, words: str, said: str, capsys: Captured) -> None:
    (tmp_path / "list").write_text("[1]")
    (tmp_path / "deep").write_text("[" * 100_000)
    (tmp_path / "raw").write_bytes(b"\xff")
    assert main(f"sliver create x --slice a --type VM {words.format(tmp_path)}".split()) == 2
    assert server.requests == []
    err = capsys.readouterr().err
    assert err.startswith(f"vmoc: {said.format(tmp_path)}") and err.count("\n") == 1


def test_a_failed_operation_says_where(server: FakeServer, capsys: Captured) -> None:
    error = status_pb2.Status(code=2, message="no room on h1.")
    error.details.add().Pack(v.HandlerFailure(playbook="vm.yml", task="boot", host="h1", output_tail=["last line"]))
    server.on("SliverService/DeleteSliver", _operation(done=False))
    server.on("SliverService/WatchOperation", _watched(_operation(done=True, error=error)))
    assert main(["sliver", "delete", "vm1"]) == 1
    err = capsys.readouterr().err
    assert "vmoc: no room on h1 (playbook vm.yml, task boot, host h1) \n  | last line" in err


def test_no_wait_prints_the_name(server: FakeServer, capsys: Captured) -> None:
    server.on("SliverService/PerformAction", _operation(done=False))
    assert main(["sliver", "action", "vm1", "reboot", "--no-wait", "--set", "force=true"]) == 0
    assert capsys.readouterr().out == "operations/7\n"
    assert server.requests[0].parameters["force"] is True


def test_operations(server: FakeServer, capsys: Captured) -> None:
    listed = operations_pb2.ListOperationsResponse(operations=[_operation(done=False)])
    server.on("/google.longrunning.Operations/ListOperations", listed)
    server.on("/google.longrunning.Operations/GetOperation", _operation(done=True, result=v.Sliver(sliver_id="vm1")))
    server.on("SliverService/WatchOperation", _watched(_operation(done=True, result=v.Sliver(sliver_id="vm1"))))
    assert main(["operation", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["7", "create", "vm1"]
    assert main(["operation", "show", "7", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["done"], document["response"]["sliver_id"]) == (True, "vm1")
    assert main(["operation", "wait", "operations/7"]) == 0
    assert capsys.readouterr().out == "operations/7 is done\n"


def test_completion_scripts(capsys: Captured) -> None:
    assert main(["completion", "bash"]) == 0
    assert "_VMOC_COMPLETE=bash_complete" in capsys.readouterr().out


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
