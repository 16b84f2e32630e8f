"""Callers of a real ``vmoc run``: certificates, roles, the audit log; and what it refuses to listen on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import VmocProcess, free_port, wait_until
from tests.emulation.process import vmoc_command
from tests.vmoc.net.stage import Authority
from vmoc.cli import main

Captured = pytest.CaptureFixture[str]


class Rack:
    """A VMOC with mutual TLS, and commands with certificates."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority(folder, "ours")
        server = self.ca.issue("server", hosts=("127.0.0.1",))
        tls = {"cert": server.cert, "key": server.key, "client_ca": str(self.ca.path)}
        self.grpc: dict[str, Any] = {"listen": f"127.0.0.1:{free_port()}", "tls": tls, "roles": self.roles("am-1")}
        self.vmoc = VmocProcess(folder, {"grpc": self.grpc, "slices": []}, options=("--log-format", "json"))

    def roles(self, am: str) -> list[dict[str, str]]:
        return [
            {"name": "root", "role": "admin"},
            {"name": am, "role": "am", "manager": "lab"},
            {"name": "eyes", "role": "viewer"},
        ]

    def run(self, who: str, *words: str) -> int:
        own = self.ca.issue(who)
        tls = ["--tls-ca", str(self.ca.path), "--tls-cert", str(own.cert), "--tls-key", str(own.key)]
        return main([*words, "--server", self.grpc["listen"], *tls])

    def calls(self) -> list[tuple[Any, ...]]:
        """What the audit log has: identity, method, slice, outcome."""
        found = []
        for line in self.vmoc.log().splitlines():
            entry = json.loads(line)
            if entry.get("kind") == "call":
                found.append((entry["identity"], entry["method"], entry.get("slice"), entry["outcome"]))
        return found


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    made = Rack(tmp_path)
    with made.vmoc:
        made.vmoc.wait_log("the API is at")
        yield made


@pytest.mark.slow
def test_commands_with_certificates_roles_and_the_audit_log(rack: Rack, capsys: Captured) -> None:
    assert rack.run("root", "status", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["caller"] == {"name": "root", "role": "admin", "manager": ""}
    assert rack.run("am-1", "slice", "register", "one", "--vlan", "101") == 0
    assert rack.run("root", "slice", "register", "two", "--vlan", "102") == 0
    assert rack.run("eyes", "slice", "disable", "one") == 1
    assert "the role viewer only reads (ROLE_FORBIDS)" in capsys.readouterr().err
    assert rack.run("am-1", "slice", "unregister", "two") == 1
    assert rack.run("am-1", "slice", "list", "-o", "json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert [(one["slice_id"], one["manager"]) for one in seen] == [("one", "lab")]
    assert rack.run("stranger", "slice", "list") == 1
    assert "the server knows no role for this caller (NO_IDENTITY)" in capsys.readouterr().err
    assert main(["status", "--server", rack.grpc["listen"]]) == 3, "without TLS nobody answers"
    expected = [
        ("am-1", "BatchRegisterSlices", None, "OK"),
        ("root", "BatchRegisterSlices", None, "OK"),
        ("eyes", "DisableSlice", "one", "ROLE_FORBIDS"),
        ("am-1", "UnregisterSlice", "two", "NOT_OWNER"),
    ]
    wait_until(lambda: len(rack.calls()) >= len(expected), "the audit log")
    assert rack.calls() == expected

    rack.vmoc.reload(grpc=rack.grpc | {"roles": rack.roles("am-2")})
    rack.vmoc.wait_log("config-reloaded")
    assert rack.run("am-1", "slice", "list") == 1
    assert rack.run("am-2", "slice", "list") == 0
    assert "NO_IDENTITY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("grpc", "said"),
    [
        ({"listen": "0.0.0.0:0"}, "0.0.0.0 can be reached from elsewhere"),
        ({"listen": "127.0.0.1:0", "roles": [{"name": "a", "role": "admin"}]}, "need grpc.tls.client_ca"),
    ],
)
def test_a_listener_for_everybody_is_refused(tmp_path: Path, grpc: dict[str, Any], said: str) -> None:
    vmoc = VmocProcess(tmp_path, {"grpc": grpc})
    vmoc.write_config()
    ended = subprocess.run(
        [*vmoc_command(), "run", "-c", str(vmoc.file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2 and said in ended.stderr and "grpc." in ended.stderr
