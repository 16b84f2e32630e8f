"""``vmoc config``: a file is judged without running anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from vmoc.cli import main
from vmoc.cli.program import SHOWN
from vmoc.config import load
from vmoc.config.schema import json_schema

GOOD = """
openflow:
  listen: [{}, {address: "::", port: 6634, vlan: 1001}]
default_controller: none
slices:
  - id: a
    segments: [{vlan: 101, controllers: [tcp:10.0.0.1:6640]}, {vlan: 102}]
  - id: b
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return file


def test_check_sums_up(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(good)]) == 0
    *lines, slivers = capsys.readouterr().out.splitlines()
    assert slivers.startswith("  slivers    L2Bridge, ") and slivers.endswith(" on 1 host")
    assert lines == [
        f"{good} is valid",
        "  slices     2, with 2 segments",
        "  listeners  0.0.0.0:6653, [::]:6634 (VLAN 1001)",
        "  note       no slice has VLAN 1001, which the listener on port 6634 carries",
        "  note       1 segment without a controller: default_controller is none",
    ]


def test_the_handlers_are_checked_with_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "handlers.yaml").write_text("handlers: {VM: {backend: magic}}\n")
    file = tmp_path / "vmoc.yaml"
    file.write_text("handlers: {config: handlers.yaml}\n")
    assert main(["config", "check", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/handlers.yaml:1:26: handlers.VM.backend: must be one of ")


def test_check_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith(
        "no file given: these are the defaults\n  slices     0, with 0 segments\n"
    )


def test_check_lists_every_problem_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("policy: {pcp: x}\nslices: [{id: a, segments: [{vlan: 5, dpid: y}]}]\n")
    assert main(["config", "check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{file}:1:15: policy.pcp: must be pass or reject, not 'x'",
        f"{file}:2:45: slices[0].segments[0].dpid: must be vlan or physical, not 'y'",
    ]


def test_check_of_no_file_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(tmp_path / "absent.yaml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/absent.yaml: cannot be read: no such file or directory\n"


def test_very_many_problems_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("slices:\n" + "  - {}\n" * (SHOWN + 30))
    assert main(["config", "check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == SHOWN + 1 and lines[-1] == f"{file}: and 30 more problems"


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_show_prints_a_configuration_that_means_the_same(
    good: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", str(good), "-o", form]) == 0
    printed = capsys.readouterr().out
    document = json.loads(printed) if form == "json" else yaml.safe_load(printed)
    assert document["slices"][0]["segments"][1]["fail_mode"] == "secure"  # a default, written out
    again = good.with_name("again.yaml")
    again.write_text(printed)
    assert load(again) == load(good)


def test_show_without_a_file_is_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["openflow"]["listen"] == [{"address": "0.0.0.0", "port": 6653, "tls": False}] and shown["slices"] == []


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_problems_are_told_as_the_manual_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vmoc.yaml").write_text("""\
openflow:
  listen: [{address: 127.0.0.1, port: 6653}]

slices:
  - id: alice
    segments:
      - vlan: 101
  - id: carol
    segments:
      - vlan: 103
        dpid: physical
      - vlann: 104
  - id: bob
    segments:
      - vlan: 101

        controllers:
          - tcp:127.0.0.1:6653
""")
    monkeypatch.chdir(tmp_path)
    assert main(["config", "check", "vmoc.yaml"]) == 2
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    assert f"```\n{capsys.readouterr().err}```\n" in page
