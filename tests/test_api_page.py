"""docs/api.md: every reason is in it, and its examples are what the API takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import grpc_health.v1.health_pb2  # noqa: F401 - into the pool of descriptors
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass

from am_bridge.reasons import API_REASONS
from tests.vmoc.net.stage import Authority
from vmoc.config import load
from vmoc.v1 import events_pb2, server_pb2, slices_pb2, slivers_pb2, switches_pb2  # noqa: F401

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text()
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("grpcurl") and "-d" in line
]


def test_the_reasons_are_those_of_the_code() -> None:
    wanted = [f"| `{one.code}` | `{one.status.name}` | {one.summary} |" for one in API_REASONS.values()]
    assert re.findall(r"^\| `[A-Z_]+` \| `[A-Z_]+` \| .* \|$", PAGE, re.MULTILINE) == wanted, "\n".join(wanted)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[-1])
def test_a_request_of_the_page_is_one(words: list[str]) -> None:
    service, _, name = words[-1].rpartition("/")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    Parse(words[words.index("-d") + 1], GetMessageClass(method.input_type)())


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    ca = Authority(tmp_path, "ours")
    server = ca.issue("server")
    files = {"api.pem": server.cert, "api.key": server.key, "callers-ca.pem": str(ca.path)}
    for name, file in files.items():
        assert file and f"/etc/vmoc/{name}" in text
        text = text.replace(f"/etc/vmoc/{name}", file)
    (tmp_path / "vmoc.yaml").write_text(text)
    assert [one.role for one in load(tmp_path / "vmoc.yaml").grpc_roles] == ["admin", "am", "viewer"]
