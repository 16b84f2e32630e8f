"""Operations on slivers, begun by ``vmoc sliver`` and followed by ``vmoc operation``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from tests.vmoc.cli.fakeserver import FakeServer
from vmoc.cli import main
from vmoc.v1 import slivers_pb2 as v

Captured = pytest.CaptureFixture[str]


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
