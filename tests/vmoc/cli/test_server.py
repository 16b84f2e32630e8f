"""What every command does when the service does not answer, or refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.vmoc.cli.fakeserver import FakeServer, Refusal, info
from vmoc.cli import main
from vmoc.v1 import switches_pb2 as w

Captured = pytest.CaptureFixture[str]


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
