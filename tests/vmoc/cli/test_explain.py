"""``vmoc explain``: one question, one answer, and a sentence for every mistake in the question."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulation.frames import E
from vmoc.cli import main
from vmoc.openflow.text.flow import parse_flow
from vmoc.openflow.text.group import parse_group

CONFIG = """
policy: {max_tables: 5}
slices:
  - id: alice
    segments:
      - {vlan: 101, attachments: [{dpid: "0x1", ports: [1, 2], queues: {2: [7]}}, {dpid: "0x2"}]}
      - {vlan: 102, presentation: transparent, attachments: [{dpid: "0x2", ports: [1, 2]}]}
  - {id: bob, segments: [{vlan: 103}]}
  - {id: carol}
"""


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    file = tmp_path / "lab.yaml"
    file.write_text(CONFIG)

    def asked(*arguments: str, name: str = "alice", dpid: str = "0x1") -> int:
        return main(["explain", "-c", str(file), "--slice", name, "--dpid", dpid, *arguments])

    return asked


@pytest.fixture
def answer(ask: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON answer; its verdict and the exit code agree."""

    def answered(*arguments: str, **place: str) -> Any:
        code = ask("-o", "json", *arguments, **place)
        out, err = capsys.readouterr()
        assert err == ""
        document = json.loads(out)
        assert code == (0 if document["allowed"] else 1)
        assert (document["sent"] is not None, document["refusal"] is None) == (document["allowed"],) * 2
        return document

    return answered


def test_allowed(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("priority=7,in_port=1,actions=FLOOD") == 0
    lines = capsys.readouterr().out.splitlines()
    sent = "add table=0,priority=7,send_flow_rem,in_port=1,vlan_vid=0x1065,actions=output:2"
    assert lines == [
        "FLOW_MOD of alice on 0x0000000000000001: VLAN 101, tagged, OpenFlow 1.3, ports 1, 2",
        "✓ decode        well formed, 1 match field(s), 1 instruction(s)",
        "✓ command       add",
        "✓ flags         flags 0x0",
        "✓ table         table 0",
        "✓ match         narrowed to VLAN 101",
        "✓ instructions  expanded FLOOD/ALL to the slice's ports",
        "✓ buffer        no buffer",
        "✓ size          24 bytes of actions",
        "allowed",
        f"  sent     {sent}",
        f"  hex      {parse_flow(sent, 4).hex()}",
        "  note     FLOOD and ALL are the slice's ports now; the flow is written again when they change",
    ]


def test_refused(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--openflow", "1.0", "modify", "actions=3") == 2  # two arguments
    capsys.readouterr()
    assert ask("--openflow", "1.0", "modify actions=3") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("OpenFlow 1.0, ports 1, 2")
    assert lines[-7:-1] == [
        "✓ match         narrowed to VLAN 101",
        "✗ actions       output to port 0x3",
        "refused: foreign-out-port",
        "  error    BAD_ACTION/BAD_OUT_PORT (2,4)",
        "  meaning  output to a port outside the slice",
        "  advice   Use the slice's own ports, or FLOOD (as an applied action): it becomes the slice's ports.",
    ]
    assert lines[-1] == "  see      docs/reasons.md#foreign-out-port"


def test_json_and_yaml_say_the_same(ask: Any, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for flow in ("actions=1", "actions=3"):
        document = answer(flow)
        ask("-o", "yaml", flow)
        assert yaml.safe_load(capsys.readouterr().out) == document
    assert document["refusal"] == {
        "reason": "foreign-out-port",
        "meaning": "output to a port outside the slice",
        "detail": "output to port 0x3",
        "error": {"type": 2, "code": 4, "name": "BAD_ACTION/BAD_OUT_PORT (2,4)"},
        "advice": document["refusal"]["advice"],
        "page": "docs/reasons.md#foreign-out-port",
    }
    assert document["rules"][-1] == {"rule": "instructions", "passed": False, "found": "output to port 0x3"}
    assert document["message"] == {"type": "FLOW_MOD", "hex": parse_flow("actions=3", 4).hex()}


def test_the_place_decides(answer: Any) -> None:
    here = answer("actions=2")
    assert (here["slice"], here["vlan"], here["dpid"], here["ports"]) == ("alice", 101, "0x0000000000000001", [1, 2])
    there = answer("--vlan", "102", "dl_vlan=0xffff,actions=2", dpid="0x0000000000000002")
    assert (there["vlan"], there["presentation"], there["native"]) == (102, "transparent", False)
    alone = answer("--native", "actions=2")
    assert alone["native"] and alone["sent"]["text"] == "add table=0,send_flow_rem,actions=output:2"
    assert answer("--vlan", "101", "actions=9", dpid="0x2")["allowed"]


def test_without_a_list_of_ports_those_of_the_message_are_the_slices(answer: Any) -> None:
    free = answer("in_port=8,actions=9,FLOOD", name="bob", dpid="0x9")
    assert free["ports"] == [8, 9] and "--ports" in free["notes"][-1]
    asked = answer("--ports", "1, 2 ,LOCAL", "actions=9", name="bob", dpid="0x9")
    assert asked["ports"] == [1, 2] and asked["refusal"]["reason"] == "foreign-out-port" and not asked["notes"]
    assert answer("--ports", "2,3", "actions=2")["ports"] == [2]
    assert not answer("meter=1", "--meter", name="bob", dpid="0x9")["notes"][1:]


def test_tables_groups_and_meters_are_as_said(answer: Any) -> None:
    assert answer("table=4,actions=1")["allowed"]  # max_tables of the configuration
    assert answer("table=5,actions=1")["refusal"]["reason"] == "table-id"
    assert answer("--tables", "2", "table=2,actions=1")["refusal"]["reason"] == "table-id"
    assert answer("actions=group:3")["refusal"]["reason"] == "unknown-group"
    assert answer("--groups", "2,3", "actions=group:3")["allowed"]
    assert answer("actions=meter:3,output:1")["refusal"]["reason"] == "unknown-meter"
    assert answer("--meters", "3", "actions=meter:3,output:1")["allowed"]


def test_other_messages(answer: Any) -> None:
    frame = E(101).hex()
    assert answer("--packet-out", f"in_port=1,packet={frame},actions=FLOOD")["sent"]["text"].endswith("output:2")
    assert answer("--packet-out", f"packet={E(102).hex()},actions=1")["refusal"]["reason"] == "packet-vlan"
    made = answer("--group", "group_id=1,type=all,bucket=1,bucket=2")
    assert made["message"]["type"] == "GROUP_MOD" and bytes.fromhex(made["sent"]["hex"]) == parse_group(
        "group_id=1,type=all,bucket=1,bucket=2"
    )
    assert answer("--meter", "meter=controller,kbps,band=type=drop,rate=1")["refusal"]["reason"] == "meter-invalid"


def test_hex(answer: Any) -> None:
    for version in (1, 4):
        message = parse_flow("in_port=1,actions=2", version).hex(" ", 4)
        told = answer("--hex", message)
        assert told["allowed"] and told["openflow"] == {1: "1.0", 4: "1.3"}[version]
    assert answer("--openflow", "1.3", "--hex", parse_flow("actions=2", 1).hex())["refusal"]["reason"] == "bad-version"
    assert answer("--hex", "0x0500000800000000")["refusal"]["reason"] == "bad-version"
    assert answer("--hex", "04")["refusal"]["reason"] == "bad-length"
    assert answer("--hex", "0463000800000000")["refusal"]["reason"] == "bad-type"


def test_standard_input(ask: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    given(b"\n  in_port=1,actions=2\n\n")
    assert ask("-") == 0
    given(b"040e\n0008\n00000000\n")
    assert ask("--hex", "-") == 1
    assert "bad-length" in capsys.readouterr().out
    for data, said in (
        (b"", "FLOW is empty"),
        (b"actions=1\nactions=2\n", "several lines"),
        (b"\xff=1 actions=2", "�"),
    ):
        given(data)
        assert ask("-") == 2
        assert said in capsys.readouterr().err


def test_a_version_the_configuration_does_not_offer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("openflow: {versions: [1.0]}\nslices: [{id: a, segments: [{vlan: 5}]}]\n")
    question = ["explain", "-c", str(file), "--slice", "a", "--dpid", "0x1"]
    assert main([*question, "actions=1"]) == 0
    assert "OpenFlow 1.0, ports 1\n" in capsys.readouterr().out
    assert main([*question, "--openflow", "1.3", "actions=1"]) == 0
    assert "  note     this configuration offers no OpenFlow 1.3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "place", "said"),
    [
        (["frob=1,actions=2"], {}, "frob: not a field of OpenFlow 1.3;"),
        (["--packet-out", "packet=0,actions=2"], {}, "packet: '0'"),
        (["actions=2"], {"name": "dave"}, "lab.yaml has no slice 'dave'; it has alice, bob, carol;"),
        (["actions=2"], {"dpid": "0x3"},
         "Slice alice is not attached to 0x0000000000000003, but to 0x0000000000000001, 0x0000000000000002;"),
        (["--vlan", "102", "actions=2"], {}, "VLAN 102 of slice alice is not attached to 0x0000000000000001, but to"),
        (["actions=2"], {"dpid": "0x2"}, "has several VLANs on 0x0000000000000002; say with --vlan which of 101, 102;"),
        (["--vlan", "5", "actions=2"], {}, "Slice alice has no VLAN 5; it has 101, 102;"),
        (["--vlan", "5", "actions=2"], {"name": "carol"}, "Slice carol has no VLAN 5; it has none at all;"),
        (["actions=2"], {"name": "carol"}, "but to no switch at all;"),
        (["actions=2"], {"dpid": "1"}, "'1' is not a DPID; write 0x"),
        (["--hex", "0"], {}, "FLOW is not hexadecimal"),
        (["--hex", ""], {}, "FLOW is empty"),
        (["--hex", "0x"], {}, "FLOW is empty"),
        (["--hex", "--group", "00"], {}, "leave out --group;"),
        (["--hex", "0414000800000000"], {}, "BARRIER_REQUEST is answered or passed on;"),
        (["--openflow", "1.0", "--group", "group_id=1,type=all"], {}, "1.0 has no groups: say --openflow 1.3;"),
        (["--ports", "eth0", "actions=2"], {}, "--ports: 'eth0' is not a number;"),
        (["--ports", "1,FLOOD", "actions=2"], {}, "--ports: FLOOD is not a port a switch has;"),
        (["--ports", "0", "actions=2"], {}, "--ports: 0 is not a port a switch has;"),
        (["--groups", "1,x", "actions=2"], {}, "'1,x' is not a list of numbers like 1,2,3;"),
        (["--vlan", "4095", "actions=2"], {}, "--vlan"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_question_is_one_sentence(
    ask: Any, arguments: list[str], place: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(*arguments, **place) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1 and "see 'vmoc explain --help'" in err


def test_many_alternatives_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "many.yaml"
    file.write_text(yaml.safe_dump({"slices": [{"id": f"s{number}"} for number in range(30)]}))
    assert main(["explain", "-c", str(file), "--slice", "x", "--dpid", "0x1", "actions=1"]) == 2
    assert "it has s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 20 more;" in capsys.readouterr().err


def test_without_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--slice", "a", "--dpid", "0x1", "actions=1"]) == 2
    assert capsys.readouterr().err.startswith("vmoc: Missing option '-c' / '--config'")


def test_a_bad_configuration_is_told_as_ever(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("policy: {pcp: x}\n")
    assert main(["explain", "-c", str(file), "--slice", "a", "--dpid", "0x1", "actions=1"]) == 2
    assert capsys.readouterr().err == f"{file}:1:15: policy.pcp: must be pass or reject, not 'x'\n"


def program(tmp_path: Path, flow: str) -> list[str]:
    file = tmp_path / "lab.yaml"
    file.write_text(CONFIG)
    return [sys.executable, "-m", "vmoc", "explain", "-c", str(file), "--slice", "alice", "--dpid", "0x1", flow]


def test_a_terminal_without_ticks_gets_words(tmp_path: Path) -> None:
    done = subprocess.run(
        program(tmp_path, "actions=3"),
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1 and done.stderr == b""
    assert b"ok decode  " in done.stdout and b"NO instructions  output to port 0x3\n" in done.stdout


@pytest.mark.parametrize(
    ("flow", "code", "words"), [("actions=3", 1, ("✗", "refused")), ("actions=1", 0, ("allowed",))]
)
def test_on_a_terminal_it_is_a_coloured_table(tmp_path: Path, flow: str, code: int, words: tuple[str, ...]) -> None:
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(program(tmp_path, flow), env=env, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    _, err = process.communicate(timeout=50)
    text = shown.decode()
    assert (process.returncode, err) == (code, b"")
    assert "\x1b[" in text and "✓" in text and all(word in text for word in words)


def test_the_answer_is_that_of_the_manual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab.yaml").write_text("slices: [{id: alice, segments: [{vlan: 101}]}]\n")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    found = re.search(r"^\$ vmoc (explain .*)\n((?:.+\n)+?)```", page, re.MULTILINE)
    assert found is not None
    assert main(shlex.split(found[1])) == 1
    for told, shown in zip(capsys.readouterr().out.splitlines(), found[2].splitlines(), strict=True):
        start, cut, _ = shown.partition("...")
        assert told.startswith(start) if cut else told == shown
